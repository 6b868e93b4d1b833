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
use ottla_wire::replica_fetch::{with_flushed_offset, without_room};

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
        .with_high_watermark(from.high_watermark.0)
        .with_partition_max_bytes(i32::try_from(fetch.partition_bytes_max).unwrap_or(i32::MAX));
    let partition = with_flushed_offset(partition, from.flushed_end.0);
    if from.lacks_room { without_room(partition) } else { partition }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use ottla_core::ids::BrokerEpoch;
    use ottla_core::replication::{FetchNumber, Lane};
    use ottla_wire::messages::fetch_response::{EpochEndOffset, FetchableTopicResponse};
    use ottla_wire::replica_fetch::{flushed_offset, lacks_room};
    use uuid::Uuid;

    use super::*;

    fn id(topic: u128, partition: i32) -> TopicPartition {
        TopicPartition { topic_id: TopicId(Uuid::from_u128(topic)), partition: PartitionIndex(partition) }
    }

    fn from(offset: i64) -> FollowFrom {
        FollowFrom {
            leader: NodeId(2),
            leader_epoch: LeaderEpoch(3),
            offset: Offset(offset),
            last_epoch: None,
            flushed_end: Offset(offset - 1),
            log_start: Offset(1),
            high_watermark: Offset(offset - 2),
            lacks_room: false,
            problem: None,
        }
    }

    fn fetch() -> ReplicaFetch {
        ReplicaFetch {
            number: FetchNumber(1),
            shard: 0,
            leader: NodeId(2),
            lane: Lane::Current,
            replica: NodeId(1),
            broker_epoch: BrokerEpoch(9),
            wait_max: Duration::from_millis(500),
            bytes_max: 1_000,
            partition_bytes_max: 100,
            partitions: vec![(id(7, 1), from(11)), (id(8, 0), from(12)), (id(7, 0), from(13))],
        }
    }

    #[test]
    fn a_request_names_partitions_in_order_and_says_how_far_each_has_come() {
        let request = request(&fetch());
        let named: Vec<(u128, i32, i64, Option<i64>)> = request
            .topics
            .iter()
            .flat_map(|topic| {
                let of = |partition: &FetchPartition| {
                    let flushed = flushed_offset(partition);
                    (topic.topic_id.as_u128(), partition.partition, partition.fetch_offset, flushed)
                };
                topic.partitions.iter().map(of)
            })
            .collect();
        assert_eq!(named, [(7, 1, 11, Some(10)), (8, 0, 12, Some(11)), (7, 0, 13, Some(12))]);
        let partition = &request.topics[0].partitions[0];
        assert_eq!((partition.log_start_offset, partition.high_watermark), (1, 9));
        assert_eq!((partition.current_leader_epoch, partition.last_fetched_epoch), (3, -1));
        assert_eq!((request.replica_state.replica_id.0, request.replica_state.replica_epoch), (1, 9));
        assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (500, 1, 1_000));
    }

    #[test]
    fn a_request_says_who_had_no_room() {
        let mut fetch = fetch();
        for at in [0, 2] {
            fetch.partitions[at].1.lacks_room = true;
        }
        let request = request(&fetch);
        let said: Vec<bool> =
            request.topics.iter().flat_map(|topic| &topic.partitions).map(lacks_room).collect();
        assert_eq!(said, [true, false, true]);
    }

    fn answered(data: PartitionData) -> Vec<ReplicaReply> {
        let topic = FetchableTopicResponse::default()
            .with_topic_id(Uuid::from_u128(7))
            .with_partitions(vec![data.with_partition_index(1)]);
        let response = FetchResponse::default().with_responses(vec![topic]);
        reply(&fetch(), response).expect("it is an answer")
    }

    #[test]
    fn each_thing_a_leader_can_say_is_told_apart() {
        let data = || PartitionData::default().with_high_watermark(5).with_log_start_offset(2);
        let is = |given: Option<Replicated>| vec![(id(7, 1), given)];
        let bytes = Bytes::from_static(b"batch");
        let records = data().with_records(Some(bytes.clone()));
        let given = Replicated::Records { bytes, high_watermark: Offset(5), log_start: Offset(2) };
        assert_eq!(answered(records), is(Some(given)));
        let end = EpochEndOffset::default().with_epoch(1).with_end_offset(4);
        let diverging = EpochEnd { epoch: LeaderEpoch(1), end: Offset(4) };
        assert_eq!(answered(data().with_diverging_epoch(end)), is(Some(Replicated::Diverging(diverging))));
        let out_of_range = ResponseError::OffsetOutOfRange.code();
        let behind = data().with_error_code(out_of_range).with_log_start_offset(50);
        assert_eq!(answered(behind), is(Some(Replicated::BelowLogStart(Offset(50)))));
        assert_eq!(answered(data().with_error_code(out_of_range)), is(None), "beyond its end");
        let moved = data().with_error_code(ResponseError::NotLeaderOrFollower.code());
        assert_eq!(answered(moved), is(None));
    }

    #[test]
    fn an_answer_of_one_error_is_none_and_what_was_not_asked_for_is_left_out() {
        let refused = FetchResponse::default().with_error_code(31);
        assert_eq!(reply(&fetch(), refused), None);
        let topic = FetchableTopicResponse::default()
            .with_topic_id(Uuid::from_u128(9))
            .with_partitions(vec![PartitionData::default()]);
        let unasked = FetchResponse::default().with_responses(vec![topic]);
        assert_eq!(reply(&fetch(), unasked), Some(Vec::new()));
    }
}
