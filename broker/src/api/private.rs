//! What nodes ask a controller on the controller listener: Kafka's AlterPartition, BrokerRegistration,
//! BrokerHeartbeat, AllocateProducerIds and AssignReplicasToDirs, and the private RPCs (keys from 10000).
//!
//! Every one of them needs ClusterAction on the cluster: without it the answer is
//! CLUSTER_AUTHORIZATION_FAILED and nothing else. A controller that is not the active one answers
//! NOT_CONTROLLER, and the asker looks for the active one.

pub(crate) mod assignments;
mod brokers;
mod forwarded;
pub(crate) mod isr;
mod metadata;
mod producer_ids;
mod quorum;

use std::future::Future;

use bytes::Bytes;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::protocol::Request;

pub(super) use assignments::assign_replicas_to_dirs;
pub(super) use brokers::{heartbeat, register_broker};
pub(super) use forwarded::forward;
pub(super) use isr::alter_partition;
pub(super) use metadata::{fetch_metadata, fetch_metadata_snapshot};
pub(super) use producer_ids::allocate_producer_ids;
pub(super) use quorum::{raft_message, restart_safety};

use super::authorize::{Operation, Resource};
use super::{Call, Reply};

/// Decodes, asks for ClusterAction, and answers what `decide` finds, or `refuse` an error code.
fn serve<R, Decided>(
    call: Call,
    body: Bytes,
    refuse: fn(i16) -> R::Response,
    decide: impl FnOnce(Call, R) -> Decided + Send + 'static,
) -> Result<Reply, DecodeError>
where
    R: Request + Send + 'static,
    R::Response: Send,
    Decided: Future<Output = R::Response> + Send,
{
    let request: R = ottla_wire::request::decode_body(call.version, body)?;
    if !call.allows(Operation::ClusterAction, Resource::Cluster, "") {
        return Ok(call.answer::<R>(&refuse(ResponseError::ClusterAuthorizationFailed.code())));
    }
    Ok(Reply::Later(Box::pin(async move {
        let response = decide(call.clone(), request).await;
        call.encode::<R>(&response)
    })))
}
