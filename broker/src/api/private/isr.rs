//! AlterPartition, key 56, versions 2–3: a leader asks for another ISR.
//!
//! Behaviour: rule 56. Each partition is decided by itself, and answered with what is registered then or with an
//! error code. A broker epoch that is over refuses the whole request with STALE_BROKER_EPOCH; a recovery state
//! that Kafka does not know, with INVALID_REQUEST.
//! Authorization: ClusterAction on the cluster.
//! Version notes: 2 names topics by id; 3 brings the broker epoch of each member (KIP-903), where -1 is "unknown",
//! as all of version 2 are. Our brokers always send 3.
//! A leader that leads no longer by what it asks for, since that ends a reassignment or it asks for an ISR without itself,
//! hears NEW_LEADER_ELECTED: what it asked for is done.

use bytes::Bytes;
use ottla_core::controller::operation::{AlterIsr, AlterPartition, AlteredPartition};
use ottla_core::controller::{self, Operation, OperationError};
use ottla_core::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicPartition,
};
use ottla_core::metadata::image::LeaderRecoveryState;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::alter_partition_request::PartitionData as Asked;
use ottla_wire::messages::alter_partition_response::{PartitionData, TopicData};
use ottla_wire::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId};

use super::serve;
use crate::api::{Call, Reply, forward};

/// "Unknown", as the epoch of a member.
const NO_EPOCH: i64 = -1;

/// "Nobody", as the leader of a partition.
const NO_LEADER: BrokerId = BrokerId(-1);

pub(crate) fn alter_partition(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, refused, |call, request: AlterPartitionRequest| async move {
        match alter(&call, &request).await {
            Ok(response) => response,
            Err(error) => refused(error.code()),
        }
    })
}

fn refused(code: i16) -> AlterPartitionResponse {
    AlterPartitionResponse::default().with_error_code(code)
}

async fn alter(
    call: &Call,
    request: &AlterPartitionRequest,
) -> Result<AlterPartitionResponse, OperationError> {
    let operation = operation(request)?;
    let partitions: Vec<TopicPartition> = operation.partitions.iter().map(|asked| asked.partition).collect();
    let reply = forward::ask(call, Operation::AlterPartition(operation)).await?;
    let controller::Reply::AlterPartition(results) = reply else {
        unreachable!("AlterPartition answered by {reply:?}")
    };
    Ok(response(&partitions, &results))
}

/// What the sender asks for, in the order of the request.
pub(crate) fn operation(request: &AlterPartitionRequest) -> Result<AlterPartition, OperationError> {
    let mut partitions = Vec::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            partitions.push(alter_isr(TopicId(topic.topic_id), asked)?);
        }
    }
    let node_id = NodeId(request.broker_id.0);
    Ok(AlterPartition { node_id, epoch: BrokerEpoch(request.broker_epoch), partitions })
}

fn alter_isr(topic_id: TopicId, asked: &Asked) -> Result<AlterIsr, OperationError> {
    // A request has the one list or the other, as its version says.
    let without_epochs = asked.new_isr.iter().map(|id| (NodeId(id.0), None));
    let with_epochs = asked.new_isr_with_epochs.iter().map(|member| {
        let epoch = (member.broker_epoch != NO_EPOCH).then_some(BrokerEpoch(member.broker_epoch));
        (NodeId(member.broker_id.0), epoch)
    });
    Ok(AlterIsr {
        partition: TopicPartition { topic_id, partition: PartitionIndex(asked.partition_index) },
        leader_epoch: LeaderEpoch(asked.leader_epoch),
        partition_epoch: PartitionEpoch(asked.partition_epoch),
        isr: without_epochs.chain(with_epochs).collect(),
        recovery: match asked.leader_recovery_state {
            0 => LeaderRecoveryState::Recovered,
            1 => LeaderRecoveryState::Recovering,
            other => {
                return Err(OperationError::InvalidRequest(format!("there is no recovery state {other}")));
            }
        },
    })
}

/// What came of each partition that was asked about, in the same order.
pub(crate) fn response(
    partitions: &[TopicPartition],
    results: &[Result<AlteredPartition, OperationError>],
) -> AlterPartitionResponse {
    assert_eq!(partitions.len(), results.len(), "the controller answers each partition it was asked about");
    let answered: Vec<_> = partitions.iter().zip(results).collect();
    let topics = answered.chunk_by(|a, b| a.0.topic_id == b.0.topic_id).map(|of_topic| {
        let partitions = of_topic.iter().map(|(partition, result)| partition_data(**partition, result));
        TopicData::default().with_topic_id(of_topic[0].0.topic_id.0).with_partitions(partitions.collect())
    });
    AlterPartitionResponse::default().with_topics(topics.collect())
}

fn partition_data(
    partition: TopicPartition,
    result: &Result<AlteredPartition, OperationError>,
) -> PartitionData {
    let data = PartitionData::default().with_partition_index(partition.partition.0);
    match result {
        Err(error) => data.with_error_code(error.code()),
        Ok(altered) => data
            .with_leader_id(altered.leader.map_or(NO_LEADER, |leader| BrokerId(leader.0)))
            .with_leader_epoch(altered.leader_epoch.0)
            .with_isr(altered.isr.iter().map(|id| BrokerId(id.0)).collect())
            .with_leader_recovery_state(match altered.recovery {
                LeaderRecoveryState::Recovered => 0,
                LeaderRecoveryState::Recovering => 1,
            })
            .with_partition_epoch(altered.partition_epoch.0),
    }
}

#[cfg(test)]
mod tests {
    use ottla_wire::messages::alter_partition_request::TopicData;
    use uuid::Uuid;

    use super::*;

    fn request(asked: Asked) -> AlterPartitionRequest {
        let topic = TopicData::default().with_topic_id(Uuid::from_u128(7)).with_partitions(vec![asked]);
        AlterPartitionRequest::default()
            .with_broker_id(BrokerId(1))
            .with_broker_epoch(5)
            .with_topics(vec![topic])
    }

    #[test]
    fn members_without_epochs_have_unknown_ones() {
        let asked = Asked::default().with_new_isr(vec![BrokerId(1), BrokerId(2)]);
        let operation = operation(&request(asked)).expect("a request of version 2");
        assert_eq!(operation.partitions[0].isr, [(NodeId(1), None), (NodeId(2), None)]);
    }

    #[test]
    fn a_recovery_state_that_there_is_not_is_refused() {
        for code in [-1, 2] {
            let refused = operation(&request(Asked::default().with_leader_recovery_state(code)));
            assert!(matches!(refused, Err(OperationError::InvalidRequest(_))), "{code}: {refused:?}");
        }
    }
}
