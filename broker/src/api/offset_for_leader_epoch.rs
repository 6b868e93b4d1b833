//! OffsetForLeaderEpoch, key 23, versions 2–4.
//!
//! Behaviour (KIP-101, KIP-320): where a leader epoch ends in the log of each partition. The answer names the
//! greatest epoch known here that is not above the one asked for, and where the next one begins, or the log's end;
//! both are −1 for an epoch that was never heard of. Only the leader answers. One that has records not yet
//! committed counts them: who reads asks whether a position it has is still on this log, not whether it may be read.
//! `current_leader_epoch` is compared with that of the leader (rule 50): FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH.
//! A partition that nobody knows is UNKNOWN_TOPIC_OR_PARTITION.
//! Authorization: Describe on each topic, or ClusterAction for all of them, as brokers have it; else
//! TOPIC_AUTHORIZATION_FAILED.
//! Version notes: 3 says which replica asks, which changes nothing: our followers learn where logs part from Fetch.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::ids::LeaderEpoch;
use ottla_core::log::EpochEnd;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use ottla_wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use ottla_wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::authorize::{Operation, Resource};
use super::{Call, Reply, error_code};

/// An epoch or an offset that there is not.
const NONE: i32 = -1;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: OffsetForLeaderEpochRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let acts_for_cluster = call.allows(Operation::ClusterAction, Resource::Cluster, "");
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let allowed = acts_for_cluster || call.allows(Operation::Describe, Resource::Topic, &topic.topic);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let end = if allowed {
                    end_of_epoch(&call, topic, partition).await
                } else {
                    Err(ResponseError::TopicAuthorizationFailed)
                };
                partitions.push(described(end).with_partition(partition.partition));
            }
            let result = OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone());
            topics.push(result.with_partitions(partitions));
        }
        let response = OffsetForLeaderEpochResponse::default().with_topics(topics);
        call.encode::<OffsetForLeaderEpochRequest>(&response)
    })))
}

async fn end_of_epoch(
    call: &Call,
    topic: &OffsetForLeaderTopic,
    partition: &OffsetForLeaderPartition,
) -> Result<Option<EpochEnd>, ResponseError> {
    let named = call.node.image().named_partition(&topic.topic, partition.partition);
    let at = named.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let current =
        (partition.current_leader_epoch >= 0).then_some(LeaderEpoch(partition.current_leader_epoch));
    let asked = LeaderEpoch(partition.leader_epoch);
    let end = call.node.shards.end_of_epoch(at, current, asked).await;
    end.map_err(|error| error_code::of_partition_error(&error))
}

fn described(end: Result<Option<EpochEnd>, ResponseError>) -> EpochEndOffset {
    let none = EpochEndOffset::default().with_leader_epoch(NONE).with_end_offset(i64::from(NONE));
    match end {
        Ok(Some(end)) => none.with_leader_epoch(end.epoch.0).with_end_offset(end.end.0),
        Ok(None) => none,
        Err(error) => none.with_error_code(error.code()),
    }
}

#[cfg(test)]
mod tests {
    use ottla_core::ids::Offset;
    use ottla_wire::messages::BrokerId;

    use super::*;
    use crate::api::Scope;
    use crate::api::authorize::Authorizer;
    use crate::api::tests::rig::{Asked, MISSING, PRESENT, ask, node};

    #[test]
    fn an_epoch_never_heard_of_is_no_error_and_ends_nowhere() {
        let told = |end| {
            let answer = described(end);
            (answer.error_code, answer.leader_epoch, answer.end_offset)
        };
        assert_eq!(told(Ok(None)), (0, -1, -1));
        let end = EpochEnd { epoch: LeaderEpoch(3), end: Offset(70) };
        assert_eq!(told(Ok(Some(end))), (0, 3, 70));
        assert_eq!(told(Err(ResponseError::FencedLeaderEpoch)), (74, -1, -1));
    }

    #[tokio::test]
    async fn whoever_asks_a_partition_without_a_leader_here_is_sent_on() {
        let node = node(Authorizer::AllowAll);
        let of = |asked: &Asked, index| {
            let partition = OffsetForLeaderPartition::default().with_partition(index);
            OffsetForLeaderTopic::default().with_topic(asked.topic()).with_partitions(vec![partition])
        };
        for (version, replica) in [(2, -2), (3, -1), (4, -1), (4, 2)] {
            let topics = vec![of(&PRESENT, 0), of(&PRESENT, 7), of(&MISSING, 0)];
            let request = OffsetForLeaderEpochRequest::default().with_topics(topics);
            let request = request.with_replica_id(BrokerId(replica));
            let answer = ask(&node, Scope::Broker, version, &request).await;
            let codes: Vec<i16> = answer.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
            assert_eq!(codes, [6, 3, 3], "v{version}: no shard here leads it; it is not there; nor is that");
        }
    }
}
