//! RemoveRaftVoter, key 81, version 0.
//!
//! Behaviour (KIP-853): a voter is to vote no more; it goes on as an observer. The reply leaves when that is committed.
//! The leader hands leadership over first, and the next one decides. A removal after which the voters that are in
//! touch with the leader would be no majority is INVALID_REQUEST, beyond what Kafka checks, and so is that of the only
//! voter. What is no voter, with this directory, is VOTER_NOT_FOUND; a second change at the same time is
//! REQUEST_TIMED_OUT. A controller that does not lead says NOT_LEADER_OR_FOLLOWER.
//! Authorization: Alter on the cluster; else CLUSTER_AUTHORIZATION_FAILED.
//! Version notes: there is one.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::controller::OperationError;
use ottla_core::controller::operation::{VoterChange, VoterKey};
use ottla_core::ids::{DirectoryId, NodeId};
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

use super::add_raft_voter::{change, check, code_of};
use super::authorize::Operation;
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<RemoveRaftVoterRequest>(call, body)
}

impl AdminRequest for RemoveRaftVoterRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    async fn decide(&self, call: &Call) -> Result<RemoveRaftVoterResponse, OperationError> {
        if let Err(refusal) = check(call, Operation::Alter, self.cluster_id.as_ref()) {
            return Ok(self.refuse(&refusal));
        }
        let key =
            VoterKey { node_id: NodeId(self.voter_id), directory_id: DirectoryId(self.voter_directory_id) };
        change(call, VoterChange::Remove(key)).await?;
        Ok(RemoveRaftVoterResponse::default().with_error_message(None))
    }

    fn refuse(&self, refusal: &Refusal) -> RemoveRaftVoterResponse {
        let code = code_of(refusal);
        RemoveRaftVoterResponse::default().with_error_code(code).with_error_message(refusal.text())
    }
}
