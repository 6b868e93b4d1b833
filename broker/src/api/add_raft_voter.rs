//! AddRaftVoter, key 80, version 0.
//!
//! Behaviour (KIP-853): a controller that follows the metadata log is to vote. The reply leaves when that is committed.
//! Until the controller has the log, and while another change is not committed, the request waits for most of its
//! time, then it is REQUEST_TIMED_OUT with a sentence that says what is missing. A second change at the same time is
//! REQUEST_TIMED_OUT at once, a node id that votes already DUPLICATE_VOTER, another cluster's id
//! INCONSISTENT_CLUSTER_ID. Listeners must name that of controllers. A controller that does not lead says
//! NOT_LEADER_OR_FOLLOWER.
//! Authorization: Alter on the cluster; else CLUSTER_AUTHORIZATION_FAILED.
//! Version notes: there is one here.
//! Not done: version 1 (KIP-1186), in which controllers add themselves without waiting for the commit: ours are added
//! by a person or by their operator.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::controller::operation::VoterChange;
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::{DirectoryId, NodeId};
use ottla_core::metadata::image::{Endpoint, Voter};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{AddRaftVoterRequest, AddRaftVoterResponse};
use ottla_wire::protocol::StrBytes;
use uuid::Uuid;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};

/// Listeners of one controller. All of them are kept in the metadata, for as long as it votes.
const LISTENERS_MAX: usize = 16;

/// The longest host name there is, and more than enough for the name of a listener.
const NAME_BYTES_MAX: usize = 255;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<AddRaftVoterRequest>(call, body)
}

impl AdminRequest for AddRaftVoterRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    async fn decide(&self, call: &Call) -> Result<AddRaftVoterResponse, OperationError> {
        let voter = match check(call, Operation::Alter, self.cluster_id.as_ref()).and_then(|()| {
            let listeners = self.listeners.iter().map(|one| (&one.name, &one.host, one.port));
            voter(call, (self.voter_id, self.voter_directory_id), listeners)
        }) {
            Ok(voter) => voter,
            Err(refusal) => return Ok(self.refuse(&refusal)),
        };
        let most = call.node.config.timeouts.request;
        let asked = u64::try_from(self.timeout_ms).map_or(most, Duration::from_millis);
        // What is missing is worth more than that the time is over, so the answer leaves before.
        let wait_max = if asked.is_zero() { most } else { asked.min(most) } / 4 * 3;
        change(call, VoterChange::Add { voter, wait_max }).await?;
        Ok(AddRaftVoterResponse::default().with_error_message(None))
    }

    fn refuse(&self, refusal: &Refusal) -> AddRaftVoterResponse {
        let code = code_of(refusal);
        AddRaftVoterResponse::default().with_error_code(code).with_error_message(refusal.text())
    }
}

/// What is asked before anything else about voters.
pub(super) fn check(call: &Call, operation: Operation, cluster_id: Option<&StrBytes>) -> Result<(), Refusal> {
    if !call.allows(operation, Resource::Cluster, "") {
        return Err(Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed));
    }
    let own = call.node.cluster_id.to_string();
    match cluster_id {
        Some(other) if other.as_str() != own => {
            let text = format!("this is cluster {own}, not the one that the request is for");
            Err(Refusal::new(ResponseError::InconsistentClusterId, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// A voter as a request names it, its listener of controllers first.
pub(super) fn voter<'a>(
    call: &Call,
    (id, directory): (i32, Uuid),
    listeners: impl Iterator<Item = (&'a StrBytes, &'a StrBytes, u16)>,
) -> Result<Voter, Refusal> {
    let refuse = |text: String| Err(Refusal::new(ResponseError::InvalidRequest, text));
    let mut endpoints: Vec<Endpoint> = listeners
        .take(LISTENERS_MAX + 1)
        .map(|(name, host, port)| Endpoint {
            listener: name.to_string(),
            host: host.to_string(),
            port,
            security_protocol: 0,
        })
        .collect();
    if id < 0 || directory.is_nil() {
        return refuse("a voter is a controller's id and the id of its directory".to_owned());
    }
    if endpoints.len() > LISTENERS_MAX {
        return refuse(format!("a voter has {LISTENERS_MAX} listeners at most"));
    }
    let long = |text: &str| text.is_empty() || text.len() > NAME_BYTES_MAX;
    if endpoints.iter().any(|endpoint| long(&endpoint.listener) || long(&endpoint.host)) {
        return refuse(format!("a listener and its host have names of 1 to {NAME_BYTES_MAX} bytes"));
    }
    let names: BTreeSet<&str> = endpoints.iter().map(|endpoint| endpoint.listener.as_str()).collect();
    if names.len() != endpoints.len() {
        return refuse(format!("controller {id} names a listener twice"));
    }
    let meets = call.node.config.controller_listener.as_str();
    let Some(place) = endpoints.iter().position(|endpoint| endpoint.listener == meets) else {
        return refuse(format!("controller {id} has no listener {meets}, where controllers meet"));
    };
    endpoints.swap(0, place);
    Ok(Voter { node_id: NodeId(id), directory_id: DirectoryId(directory), endpoints })
}

/// Asks the active controller for another set of voters.
pub(super) async fn change(call: &Call, change: VoterChange) -> Result<(), OperationError> {
    let reply = forward::ask(call, controller::Operation::ChangeVoters(change)).await?;
    let controller::Reply::ChangeVoters = reply else { unreachable!("ChangeVoters answered by {reply:?}") };
    Ok(())
}

/// In the quorum's own words, as in Kafka.
pub(super) fn code_of(refusal: &Refusal) -> i16 {
    if refusal.code == ResponseError::NotController.code() {
        return ResponseError::NotLeaderOrFollower.code();
    }
    refusal.code
}

#[cfg(test)]
mod tests {
    use ottla_wire::messages::add_raft_voter_request::Listener;

    use super::*;
    use crate::api::authorize::Authorizer;
    use crate::api::tests::rig::{ask, node};
    use crate::api::{Scope, find};

    fn listener(name: &'static str) -> Listener {
        Listener::default()
            .with_name(StrBytes::from_static_str(name))
            .with_host(StrBytes::from_static_str("c4"))
            .with_port(9090)
    }

    fn request() -> AddRaftVoterRequest {
        AddRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_timeout_ms(1000)
            .with_voter_id(4)
            .with_voter_directory_id(Uuid::from_u128(4 << 64))
            .with_listeners(vec![listener("CONTROLLER")])
    }

    async fn code(request: &AddRaftVoterRequest) -> i16 {
        let node = node(Authorizer::AllowAll);
        assert_eq!(find(80).map(|api| api.versions.clone()), Some(0..=0));
        ask(&node, Scope::Controller, 0, request).await.error_code
    }

    #[tokio::test]
    async fn what_names_no_voter_is_refused_before_the_quorum_is_asked() {
        const INVALID: i16 = 42;
        assert_eq!(
            code(&request()).await,
            6,
            "a whole one reaches the quorum, which this node does not lead"
        );
        assert_eq!(code(&request().with_voter_id(-1)).await, INVALID);
        assert_eq!(code(&request().with_voter_directory_id(Uuid::nil())).await, INVALID);
        assert_eq!(code(&request().with_listeners(vec![])).await, INVALID);
        assert_eq!(code(&request().with_listeners(vec![listener("PLAIN")])).await, INVALID);
        let twice = vec![listener("CONTROLLER"), listener("CONTROLLER")];
        assert_eq!(code(&request().with_listeners(twice)).await, INVALID);
        assert_eq!(code(&request().with_listeners(vec![listener("CONTROLLER"); 17])).await, INVALID);
        let long = StrBytes::from_string("h".repeat(256));
        let long = vec![listener("CONTROLLER").with_host(long)];
        assert_eq!(code(&request().with_listeners(long)).await, INVALID);
        let other = Some(StrBytes::from_static_str("another"));
        assert_eq!(code(&request().with_cluster_id(other)).await, 104);
    }
}
