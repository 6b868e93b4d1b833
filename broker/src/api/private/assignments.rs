//! AssignReplicasToDirs, key 73, version 0: a broker says in which of its log directories its replicas lie (KIP-858).
//!
//! Behaviour: each replica is decided by itself, and answered without an error or with UNKNOWN_TOPIC_ID,
//! UNKNOWN_TOPIC_OR_PARTITION or NOT_LEADER_OR_FOLLOWER, as by Kafka. A broker epoch that is over refuses the whole
//! request with STALE_BROKER_EPOCH. Two things are refused that Kafka accepts: a directory that the broker has not
//! registered or has said to have failed (INVALID_REPLICA_ASSIGNMENT), and a partition that is named twice
//! (INVALID_REQUEST).
//! Authorization: ClusterAction on the cluster.
//! Version notes: there is one version.
//! Not done: nothing. Our brokers need it only for replicas that they move, since the controller chooses the directories of
//! new ones.

use bytes::Bytes;
use ottla_core::controller::operation::{AssignReplicasToDirs, AssignedReplica};
use ottla_core::controller::{self, Operation, OperationError};
use ottla_core::ids::{BrokerEpoch, DirectoryId, NodeId, PartitionIndex, TopicId, TopicPartition};
use ottla_wire::error::DecodeError;
use ottla_wire::messages::assign_replicas_to_dirs_response::{DirectoryData, PartitionData, TopicData};
use ottla_wire::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};

use super::serve;
use crate::api::{Call, Reply, forward};

pub(crate) fn assign_replicas_to_dirs(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, refused, |call, request: AssignReplicasToDirsRequest| async move {
        match assign(&call, &request).await {
            Ok(response) => response,
            Err(error) => refused(error.code()),
        }
    })
}

fn refused(code: i16) -> AssignReplicasToDirsResponse {
    AssignReplicasToDirsResponse::default().with_error_code(code)
}

async fn assign(
    call: &Call,
    request: &AssignReplicasToDirsRequest,
) -> Result<AssignReplicasToDirsResponse, OperationError> {
    let operation = operation(request);
    let assignments = operation.assignments.clone();
    let reply = forward::ask(call, Operation::AssignReplicasToDirs(operation)).await?;
    let controller::Reply::AssignReplicasToDirs(results) = reply else {
        unreachable!("AssignReplicasToDirs answered by {reply:?}")
    };
    Ok(response(&assignments, &results))
}

/// What the sender says, in the order of the request.
pub(crate) fn operation(request: &AssignReplicasToDirsRequest) -> AssignReplicasToDirs {
    let mut assignments = Vec::new();
    for directory in &request.directories {
        for topic in &directory.topics {
            let topic_id = TopicId(topic.topic_id);
            assignments.extend(topic.partitions.iter().map(|said| AssignedReplica {
                directory: DirectoryId(directory.id),
                partition: TopicPartition { topic_id, partition: PartitionIndex(said.partition_index) },
            }));
        }
    }
    let (node_id, epoch) = (NodeId(request.broker_id.0), BrokerEpoch(request.broker_epoch));
    AssignReplicasToDirs { node_id, epoch, assignments }
}

/// What came of each replica, in the same order.
pub(crate) fn response(
    assignments: &[AssignedReplica],
    results: &[Result<(), OperationError>],
) -> AssignReplicasToDirsResponse {
    assert_eq!(assignments.len(), results.len(), "the controller answers each replica it was told of");
    let answered: Vec<_> = assignments.iter().zip(results).collect();
    let directories = answered.chunk_by(|a, b| a.0.directory == b.0.directory).map(|in_directory| {
        let topics =
            in_directory.chunk_by(|a, b| a.0.partition.topic_id == b.0.partition.topic_id).map(|of_topic| {
                TopicData::default().with_topic_id(of_topic[0].0.partition.topic_id.0).with_partitions(
                    of_topic.iter().map(|(said, result)| partition_data(said, result)).collect(),
                )
            });
        DirectoryData::default().with_id(in_directory[0].0.directory.0).with_topics(topics.collect())
    });
    AssignReplicasToDirsResponse::default().with_directories(directories.collect())
}

fn partition_data(said: &AssignedReplica, result: &Result<(), OperationError>) -> PartitionData {
    PartitionData::default()
        .with_partition_index(said.partition.partition.0)
        .with_error_code(result.as_ref().map_or_else(OperationError::code, |()| 0))
}
