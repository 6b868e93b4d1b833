//! AlterPartitionReassignments, key 45, versions 0–1 (KIP-455, KIP-860).
//!
//! Behaviour: gives each partition other replicas, each partition alone. The answer comes when the way is committed; the
//! replicas that are added then catch up, and the move ends with the last of them (rule 60). A partition without a
//! list of replicas takes back the move that is under way. Brokers that are out of service may be named, as in Kafka:
//! the move waits for them. A partition twice in the request is INVALID_REQUEST.
//! Authorization: Alter on the cluster; else CLUSTER_AUTHORIZATION_FAILED for the whole request and each of its items.
//! Version notes: 1 may forbid to change the number of replicas; 0 never does.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::controller::operation::{AlterPartitionReassignments, Reassignment};
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::{NodeId, PartitionIndex};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use ottla_wire::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use ottla_wire::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<AlterPartitionReassignmentsRequest>(call, body)
}

impl AdminRequest for AlterPartitionReassignmentsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    async fn decide(&self, call: &Call) -> Result<AlterPartitionReassignmentsResponse, OperationError> {
        if !call.allows(Operation::Alter, Resource::Cluster, "") {
            return Ok(self.refuse(&Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed)));
        }
        let asked = self
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| reassignment(topic, partition)));
        let operation = AlterPartitionReassignments {
            allow_replication_factor_change: self.allow_replication_factor_change,
            partitions: asked.collect(),
        };
        let operation = controller::Operation::AlterPartitionReassignments(operation);
        let controller::Reply::AlterPartitionReassignments(results) = forward::ask(call, operation).await?
        else {
            unreachable!("AlterPartitionReassignments answered by another reply")
        };
        let mut results = results.into_iter();
        Ok(respond(self, || {
            let result = results.next().expect("the controller answers each item it was asked about");
            result.err().map(Refusal::from)
        }))
    }

    fn refuse(&self, refusal: &Refusal) -> AlterPartitionReassignmentsResponse {
        respond(self, || Some(refusal.clone()))
            .with_error_code(refusal.code)
            .with_error_message(refusal.text())
    }
}

/// A response, item by item.
fn respond(
    request: &AlterPartitionReassignmentsRequest,
    mut next: impl FnMut() -> Option<Refusal>,
) -> AlterPartitionReassignmentsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let partitions = topic.partitions.iter().map(|partition| {
            let refusal = next();
            ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(refusal.as_ref().map_or(0, |refusal| refusal.code))
                .with_error_message(refusal.as_ref().and_then(Refusal::text))
        });
        let response = ReassignableTopicResponse::default().with_name(topic.name.clone());
        topics.push(response.with_partitions(partitions.collect()));
    }
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_error_message(None)
        .with_responses(topics)
}

fn reassignment(topic: &ReassignableTopic, partition: &ReassignablePartition) -> Reassignment {
    let target = partition.replicas.as_ref();
    Reassignment {
        topic: forward::bounded(&topic.name),
        partition: PartitionIndex(partition.partition_index),
        target: target.map(|replicas| replicas.iter().map(|id| NodeId(id.0)).collect()),
    }
}
