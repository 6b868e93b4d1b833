//! ListPartitionReassignments, key 46, version 0 (KIP-455).
//!
//! Behaviour: which of the named partitions, or of all, have replicas on the move, as the active controller knows it. What
//! does not exist or stays where it is is left out, as in Kafka. A replica that an earlier target added and that a later
//! one does without is among those that are added and among those that are removed.
//! Authorization: Describe on the cluster; else CLUSTER_AUTHORIZATION_FAILED for the whole request.
//! Version notes: none.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::controller::operation::{ListPartitionReassignments, OngoingReassignment};
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::{NodeId, PartitionIndex};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use ottla_wire::messages::{BrokerId, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<ListPartitionReassignmentsRequest>(call, body)
}

impl AdminRequest for ListPartitionReassignmentsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    async fn decide(&self, call: &Call) -> Result<ListPartitionReassignmentsResponse, OperationError> {
        if !call.allows(Operation::Describe, Resource::Cluster, "") {
            return Ok(self.refuse(&Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed)));
        }
        let partitions = self.topics.as_ref().map(|topics| {
            let named = topics.iter().flat_map(|topic| {
                let name = forward::bounded(&topic.name);
                let indexes = topic.partition_indexes.iter();
                indexes.map(move |index| (name.clone(), PartitionIndex(*index)))
            });
            named.collect()
        });
        let operation =
            controller::Operation::ListPartitionReassignments(ListPartitionReassignments { partitions });
        let controller::Reply::ListPartitionReassignments(ongoing) = forward::ask(call, operation).await?
        else {
            unreachable!("ListPartitionReassignments answered by another reply")
        };
        Ok(describe(&ongoing))
    }

    fn refuse(&self, refusal: &Refusal) -> ListPartitionReassignmentsResponse {
        ListPartitionReassignmentsResponse::default()
            .with_error_code(refusal.code)
            .with_error_message(refusal.text())
    }
}

fn describe(ongoing: &[OngoingReassignment]) -> ListPartitionReassignmentsResponse {
    let brokers = |ids: &[NodeId]| ids.iter().map(|id| BrokerId(id.0)).collect();
    let topics = ongoing.chunk_by(|a, b| a.topic == b.topic).map(|of_topic| {
        let partitions = of_topic.iter().map(|moved| {
            OngoingPartitionReassignment::default()
                .with_partition_index(moved.partition.0)
                .with_replicas(brokers(&moved.replicas))
                .with_adding_replicas(brokers(&moved.adding))
                .with_removing_replicas(brokers(&moved.removing))
        });
        let name = StrBytes::from_string(of_topic[0].topic.to_string());
        OngoingTopicReassignment::default().with_name(name.into()).with_partitions(partitions.collect())
    });
    ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics.collect())
}
