//! AssignReplicasToDirs as a message to a controller, and the answer back (KIP-858).
//!
//! What the controller has not taken is said again, so a refusal that has no meaning here must not be taken for a
//! decision. `api::private::assignments` is the other side.

use std::collections::BTreeMap;

use ottla_client::{ClientError, Connection};
use ottla_core::controller::OperationError;
use ottla_core::controller::operation::{AssignReplicasToDirs, AssignedReplica, Reply};
use ottla_core::ids::{DirectoryId, PartitionIndex, TopicId, TopicPartition};
use ottla_core::lifecycle::CallError;
use ottla_wire::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
use ottla_wire::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, BrokerId};

use super::{Decision, check, lost, settle};

pub(super) async fn assign(
    connection: &Connection,
    request: AssignReplicasToDirs,
) -> Result<Reply, CallError> {
    let response = connection.request(message(&request)).await.map_err(failed)?;
    results(&request, &response).map(Reply::AssignReplicasToDirs)
}

/// A controller of an earlier release that does not know the request is the active one all the same: nothing is gained
/// by looking for another.
fn failed(error: ClientError) -> CallError {
    if matches!(error, ClientError::Unsupported { .. }) {
        return CallError::Refused(OperationError::UnsupportedVersion(error.to_string()));
    }
    lost(error)
}

/// The order is that of the operation: a directory has several entries if its replicas do not stand together, and so has
/// a topic.
fn message(request: &AssignReplicasToDirs) -> AssignReplicasToDirsRequest {
    let directories = request.assignments.chunk_by(|a, b| a.directory == b.directory);
    let directories = directories.map(|in_directory| {
        let topics = in_directory.chunk_by(|a, b| a.partition.topic_id == b.partition.topic_id);
        let topics = topics.map(|of_topic| {
            let partitions = of_topic.iter().map(|said| said.partition.partition.0);
            let partitions = partitions.map(|index| PartitionData::default().with_partition_index(index));
            TopicData::default()
                .with_topic_id(of_topic[0].partition.topic_id.0)
                .with_partitions(partitions.collect())
        });
        DirectoryData::default().with_id(in_directory[0].directory.0).with_topics(topics.collect())
    });
    AssignReplicasToDirsRequest::default()
        .with_broker_id(BrokerId(request.node_id.0))
        .with_broker_epoch(request.epoch.0)
        .with_directories(directories.collect())
}

/// What came of each replica, in the order of the request.
fn results(
    request: &AssignReplicasToDirs,
    response: &AssignReplicasToDirsResponse,
) -> Result<Vec<Result<(), OperationError>>, CallError> {
    check(response.error_code, request.node_id, None)?;
    let mut answers = BTreeMap::new();
    for directory in &response.directories {
        for topic in &directory.topics {
            for answer in &topic.partitions {
                let (topic_id, partition) = (TopicId(topic.topic_id), PartitionIndex(answer.partition_index));
                let partition = TopicPartition { topic_id, partition };
                let said = AssignedReplica { directory: DirectoryId(directory.id), partition };
                answers.insert(said, answer.error_code);
            }
        }
    }
    let mut decisions = Vec::with_capacity(request.assignments.len());
    for said in &request.assignments {
        // Who leaves some out is no controller of ours.
        let code = answers.get(said).ok_or(CallError::Unreachable)?;
        decisions.push(decision(said.partition, *code));
    }
    settle(decisions)
}

/// What the controller decided about one replica.
fn decision(at: TopicPartition, code: i16) -> Decision<()> {
    let TopicPartition { topic_id, partition } = at;
    let name = || format!("partition {partition} of the topic with id {topic_id}");
    Ok(Err(match code {
        0 => return Ok(Ok(())),
        3 => OperationError::UnknownPartition(name()),
        6 => OperationError::NotLeaderOrFollower(format!("this broker has no replica of {}", name())),
        39 => OperationError::InvalidReplicaAssignment(format!(
            "{} cannot lie in a log directory that this broker has not registered, or that has failed",
            name()
        )),
        41 => return Err(CallError::Refused(OperationError::NotController { leader: None })),
        42 => OperationError::InvalidRequest("the controller says so".to_owned()),
        100 => OperationError::UnknownTopicId(topic_id.to_string()),
        other => return Err(CallError::RefusedWithCode(other)),
    }))
}

#[cfg(test)]
mod tests;
