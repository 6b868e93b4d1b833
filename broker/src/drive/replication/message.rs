//! A follower's request as Kafka's Fetch, and what the answer says.

use std::collections::BTreeMap;

use ottla_core::ids::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicPartition};
use ottla_core::log::EpochEnd;
use ottla_core::replication::{ReplicaFetch, ReplicaReply};
use ottla_core::shard::{FollowFrom, Replicated};
use ottla_wire::ResponseError;
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use ottla_wire::messages::fetch_response::PartitionData;
use ottla_wire::messages::{BrokerId, FetchRequest, FetchResponse};
use ottla_wire::replica_fetch::with_flushed_offset;

/// Each request names all of its partitions.
const NO_SESSION_EPOCH: i32 = -1;

/// The request. Partitions of one topic that stand side by side share a topic entry: their order is the order in
/// which the leader fills its answer.
pub(super) fn request(fetch: &ReplicaFetch) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (id, from) in &fetch.partitions {
        let partition = partition(fetch, *id, from);
        match topics.last_mut().filter(|topic| topic.topic_id == id.topic_id.0) {
            Some(topic) => topic.partitions.push(partition),
            None => topics
                .push(FetchTopic::default().with_topic_id(id.topic_id.0).with_partitions(vec![partition])),
        }
    }
    let NodeId(replica_id) = fetch.replica;
    let state = ReplicaState::default()
        .with_replica_id(BrokerId(replica_id))
        .with_replica_epoch(fetch.broker_epoch.0);
    FetchRequest::default()
        .with_replica_state(state)
        .with_max_wait_ms(i32::try_from(fetch.wait_max.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(i32::try_from(fetch.bytes_max).unwrap_or(i32::MAX))
        .with_session_epoch(NO_SESSION_EPOCH)
        .with_topics(topics)
}

fn partition(fetch: &ReplicaFetch, id: TopicPartition, from: &FollowFrom) -> FetchPartition {
    let partition = FetchPartition::default()
        .with_partition(id.partition.0)
        .with_current_leader_epoch(from.leader_epoch.0)
        .with_fetch_offset(from.offset.0)
        .with_last_fetched_epoch(from.last_epoch.map_or(-1, |epoch| epoch.0))
        .with_log_start_offset(from.log_start.0)
        .with_partition_max_bytes(i32::try_from(fetch.partition_bytes_max).unwrap_or(i32::MAX));
    with_flushed_offset(partition, from.flushed_end.0)
}

/// What the leader gives, partition by partition; `None` if it refuses all of it.
pub(super) fn reply(fetch: &ReplicaFetch, response: FetchResponse) -> Option<Vec<ReplicaReply>> {
    if response.error_code != 0 {
        return None;
    }
    let asked: BTreeMap<TopicPartition, &FollowFrom> =
        fetch.partitions.iter().map(|(id, from)| (*id, from)).collect();
    let mut replies = Vec::new();
    for topic in response.responses {
        for data in topic.partitions {
            let id = TopicPartition {
                topic_id: TopicId(topic.topic_id),
                partition: PartitionIndex(data.partition_index),
            };
            replies.extend(asked.get(&id).map(|from| (id, given(from, data))));
        }
    }
    Some(replies)
}

fn given(from: &FollowFrom, data: PartitionData) -> Option<Replicated> {
    let log_start = Offset(data.log_start_offset);
    if data.error_code == ResponseError::OffsetOutOfRange.code() && log_start > from.offset {
        return Some(Replicated::BelowLogStart(log_start));
    }
    if data.error_code != 0 {
        return None;
    }
    let diverging = data.diverging_epoch;
    if diverging.end_offset >= 0 {
        let (epoch, end) = (LeaderEpoch(diverging.epoch), Offset(diverging.end_offset));
        return Some(Replicated::Diverging(EpochEnd { epoch, end }));
    }
    let (bytes, high_watermark) = (data.records.unwrap_or_default(), Offset(data.high_watermark));
    Some(Replicated::Records { bytes, high_watermark, log_start })
}
