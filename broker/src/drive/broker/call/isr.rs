//! AlterPartition as a message to a controller, and the answer back (KIP-497, KIP-903).
//!
//! A leader counts on what was proposed until it is decided, so a refusal that has no meaning here must not be
//! taken for a decision: the change may have been written. That partition is asked about again, and what the
//! controller says then is. `api::private::isr` is the other side.

use std::collections::BTreeMap;

use ottla_client::Connection;
use ottla_core::controller::OperationError;
use ottla_core::controller::operation::{AlterIsr, AlterPartition, AlteredPartition, Reply};
use ottla_core::ids::{LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicPartition};
use ottla_core::lifecycle::CallError;
use ottla_core::metadata::image::LeaderRecoveryState;
use ottla_wire::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use ottla_wire::messages::alter_partition_response::PartitionData as Answer;
use ottla_wire::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId};

use super::{Decision, check, lost, settle};

/// "Unknown", as the epoch of a member.
const NO_EPOCH: i64 = -1;

pub(super) async fn alter(connection: &Connection, request: AlterPartition) -> Result<Reply, CallError> {
    let response = connection.request(message(&request)).await.map_err(lost)?;
    results(&request, &response).map(Reply::AlterPartition)
}

/// The order is that of the operation: a topic has several entries if its partitions do not stand together.
fn message(request: &AlterPartition) -> AlterPartitionRequest {
    let topics = request.partitions.chunk_by(|a, b| a.partition.topic_id == b.partition.topic_id);
    let topics = topics.map(|of_topic| {
        TopicData::default()
            .with_topic_id(of_topic[0].partition.topic_id.0)
            .with_partitions(of_topic.iter().map(partition_data).collect())
    });
    AlterPartitionRequest::default()
        .with_broker_id(BrokerId(request.node_id.0))
        .with_broker_epoch(request.epoch.0)
        .with_topics(topics.collect())
}

fn partition_data(asked: &AlterIsr) -> PartitionData {
    let isr = asked.isr.iter().map(|(id, epoch)| {
        BrokerState::default()
            .with_broker_id(BrokerId(id.0))
            .with_broker_epoch(epoch.map_or(NO_EPOCH, |epoch| epoch.0))
    });
    PartitionData::default()
        .with_partition_index(asked.partition.partition.0)
        .with_leader_epoch(asked.leader_epoch.0)
        .with_partition_epoch(asked.partition_epoch.0)
        .with_new_isr_with_epochs(isr.collect())
        .with_leader_recovery_state(match asked.recovery {
            LeaderRecoveryState::Recovered => 0,
            LeaderRecoveryState::Recovering => 1,
        })
}

/// What came of each partition, in the order of the request.
fn results(
    request: &AlterPartition,
    response: &AlterPartitionResponse,
) -> Result<Vec<Result<AlteredPartition, OperationError>>, CallError> {
    check(response.error_code, request.node_id, None)?;
    let mut answers = BTreeMap::new();
    for topic in &response.topics {
        for answer in &topic.partitions {
            let partition = PartitionIndex(answer.partition_index);
            answers.insert(TopicPartition { topic_id: TopicId(topic.topic_id), partition }, answer);
        }
    }
    let mut decisions = Vec::with_capacity(request.partitions.len());
    for asked in &request.partitions {
        // Who leaves some out is no controller of ours.
        let answer = answers.get(&asked.partition).ok_or(CallError::Unreachable)?;
        decisions.push(decision(request.node_id, asked.partition, answer));
    }
    settle(decisions)
}

/// What the controller decided about one partition.
fn decision(sender: NodeId, partition: TopicPartition, answer: &Answer) -> Decision<AlteredPartition> {
    let text = || "the controller says so".to_owned();
    Ok(Err(match answer.error_code {
        0 => return altered(partition, answer).map(Ok),
        3 => OperationError::UnknownPartition(text()),
        41 => return Err(CallError::Refused(OperationError::NotController { leader: None })),
        42 => OperationError::InvalidRequest(text()),
        74 => OperationError::FencedLeaderEpoch(text()),
        77 => OperationError::StaleBrokerEpoch { node_id: sender },
        95 => OperationError::InvalidUpdateVersion(text()),
        100 => OperationError::UnknownTopicId(partition.topic_id.to_string()),
        107 => OperationError::IneligibleReplica(text()),
        108 => OperationError::NewLeaderElected(text()),
        other => return Err(CallError::RefusedWithCode(other)),
    }))
}

fn altered(partition: TopicPartition, answer: &Answer) -> Result<AlteredPartition, CallError> {
    Ok(AlteredPartition {
        partition,
        leader: (answer.leader_id.0 >= 0).then_some(NodeId(answer.leader_id.0)),
        leader_epoch: LeaderEpoch(answer.leader_epoch),
        partition_epoch: PartitionEpoch(answer.partition_epoch),
        isr: answer.isr.iter().map(|id| NodeId(id.0)).collect(),
        recovery: match answer.leader_recovery_state {
            0 => LeaderRecoveryState::Recovered,
            1 => LeaderRecoveryState::Recovering,
            // A state of a later release. What is registered reaches this broker with the metadata.
            _ => return Err(CallError::Unreachable),
        },
    })
}

#[cfg(test)]
mod tests;
