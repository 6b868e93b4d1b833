//! UpdateRaftVoter, key 82, version 0.
//!
//! Behaviour (KIP-853): a voter is reached elsewhere. The reply leaves when that is committed, and names the leader.
//! The first endpoint stays the one that the voter itself gives with its messages: those move it by themselves.
//! What is no voter, with this directory, is VOTER_NOT_FOUND. The leader's epoch must be the current one:
//! FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH. A controller that does not lead says NOT_LEADER_OR_FOLLOWER.
//! Authorization: ClusterAction on the cluster; else CLUSTER_AUTHORIZATION_FAILED.
//! Version notes: there is one.
//! Not done: the range of `kraft.version` is read and ignored; there is one level.

use std::cmp::Ordering;

use bytes::Bytes;
use ottla_core::controller::operation::{QuorumDescription, VoterChange};
use ottla_core::controller::{self, OperationError};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::update_raft_voter_response::CurrentLeader;
use ottla_wire::messages::{BrokerId, UpdateRaftVoterRequest, UpdateRaftVoterResponse};
use ottla_wire::protocol::StrBytes;

use super::add_raft_voter::{change, check, code_of, voter};
use super::authorize::Operation;
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<UpdateRaftVoterRequest>(call, body)
}

impl AdminRequest for UpdateRaftVoterRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    async fn decide(&self, call: &Call) -> Result<UpdateRaftVoterResponse, OperationError> {
        let checked = check(call, Operation::ClusterAction, self.cluster_id.as_ref()).and_then(|()| {
            let listeners = self.listeners.iter().map(|one| (&one.name, &one.host, one.port));
            voter(call, (self.voter_id, self.voter_directory_id), listeners)
        });
        let voter = match checked {
            Ok(voter) => voter,
            Err(refusal) => return Ok(self.refuse(&refusal)),
        };
        let reply = forward::ask(call, controller::Operation::DescribeQuorum).await?;
        let controller::Reply::DescribeQuorum(quorum) = reply else {
            unreachable!("DescribeQuorum answered by {reply:?}")
        };
        let current = epoch_of(&quorum);
        let refusal = match self.current_leader_epoch.cmp(&current) {
            Ordering::Equal => {
                let done = change(call, VoterChange::Update(voter)).await;
                match done {
                    Ok(()) => None,
                    Err(error @ OperationError::NotController { .. }) => return Err(error),
                    Err(error) => Some(Refusal::from(error)),
                }
            }
            Ordering::Less => Some(Refusal::new(ResponseError::FencedLeaderEpoch, "")),
            Ordering::Greater => Some(Refusal::new(ResponseError::UnknownLeaderEpoch, "")),
        };
        let code = refusal.as_ref().map_or(0, code_of);
        Ok(UpdateRaftVoterResponse::default().with_error_code(code).with_current_leader(leader_of(&quorum)))
    }

    fn refuse(&self, refusal: &Refusal) -> UpdateRaftVoterResponse {
        UpdateRaftVoterResponse::default().with_error_code(code_of(refusal))
    }
}

fn epoch_of(quorum: &QuorumDescription) -> i32 {
    i32::try_from(quorum.term.0).unwrap_or(i32::MAX)
}

fn leader_of(quorum: &QuorumDescription) -> CurrentLeader {
    let leader = CurrentLeader::default()
        .with_leader_id(BrokerId(quorum.leader.0))
        .with_leader_epoch(epoch_of(quorum));
    let node = quorum.nodes.iter().find(|node| node.node_id == quorum.leader);
    match node.and_then(|node| node.endpoints.first()) {
        Some(endpoint) => {
            leader.with_host(StrBytes::from_string(endpoint.host.clone())).with_port(i32::from(endpoint.port))
        }
        None => leader,
    }
}
