//! ListOffsets, key 2, versions 1–11.
//!
//! Behaviour (rule 53): −1 the high watermark, −2 the log's start, −3 the record with the greatest
//! timestamp, −4 the local log's start (the same, without tiering), −5 the last tiered offset and −6 the
//! earliest pending upload (none: offset −1), 0 or more the first record whose timestamp is at least that.
//! A partition that is in the request twice is INVALID_REQUEST, once, as in Kafka.
//! While the high watermark of a new leader lies before its epoch, what lies beyond is OFFSET_NOT_AVAILABLE.
//! A leader whose session may be over, so that there may be another, answers NOT_LEADER_OR_FOLLOWER to −3 and where it
//! finds no record that late: the other may have one. Kafka answers both. −1 it answers, as Kafka does, with the end it
//! knows: otherwise no consumer could begin at the end while the controllers are away. It may be an old one.
//! Authorization: Describe on each topic.
//! Version notes: 2 isolation level; 4 leader epochs (rule 50); 5 OFFSET_NOT_AVAILABLE, before it
//! LEADER_NOT_AVAILABLE; 7 brings −3, 8 −4, 9 −5, 11 −6; 10 a time-out, which nothing here needs. A special
//! time below its version is UNSUPPORTED_VERSION.
//! Not done: followers' requests; read_committed equals read_uncommitted, as there are no transactions.

use bytes::Bytes;
use ottla_core::ids::LeaderEpoch;
use ottla_core::partition::PartitionError;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla_wire::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::authorize::{Operation, Resource};
use super::forward::{self, Occurrence};
use super::{Call, Reply, error_code};
use crate::drive::shard::{OffsetFound, OffsetTarget};

/// What Kafka answers where it has nothing to say.
const UNKNOWN: i64 = -1;

/// Below this version the code OFFSET_NOT_AVAILABLE is unknown.
const OFFSET_NOT_AVAILABLE_FROM: i16 = 5;

/// From here on leader epochs travel.
const EPOCHS_FROM: i16 = 4;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: ListOffsetsRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let flat: Vec<Asked<'_>> = request
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)))
            .collect();
        let once = forward::once_each(&flat, |(topic, partition)| (&topic.name, partition.partition_index));
        let mut topics: Vec<ListOffsetsTopicResponse> = Vec::with_capacity(request.topics.len());
        for ((topic, partition), occurrence) in once {
            let answer = list_one(&call, topic, partition, occurrence).await;
            match topics.last_mut() {
                Some(last) if last.name == topic.name => last.partitions.push(answer),
                _ => topics.push(
                    ListOffsetsTopicResponse::default()
                        .with_name(topic.name.clone())
                        .with_partitions(vec![answer]),
                ),
            }
        }
        let response = ListOffsetsResponse::default().with_topics(topics);
        call.encode::<ListOffsetsRequest>(&response)
    })))
}

/// One partition of the request, and its topic.
type Asked<'a> = (&'a ListOffsetsTopic, &'a ListOffsetsPartition);

async fn list_one(
    call: &Call,
    topic: &ListOffsetsTopic,
    partition: &ListOffsetsPartition,
    occurrence: Occurrence,
) -> ListOffsetsPartitionResponse {
    let answer = match list_partition(call, topic, partition, occurrence).await {
        Ok(found) => {
            let epoch = found.epoch.filter(|_| call.version >= EPOCHS_FROM);
            ListOffsetsPartitionResponse::default()
                .with_timestamp(found.timestamp.unwrap_or(UNKNOWN))
                .with_offset(found.offset.map_or(UNKNOWN, |offset| offset.0))
                .with_leader_epoch(epoch.map_or(-1, |epoch| epoch.0))
        }
        Err(error) => ListOffsetsPartitionResponse::default()
            .with_error_code(error.code())
            .with_timestamp(UNKNOWN)
            .with_offset(UNKNOWN)
            .with_leader_epoch(-1),
    };
    answer.with_partition_index(partition.partition_index)
}

async fn list_partition(
    call: &Call,
    topic: &ListOffsetsTopic,
    partition: &ListOffsetsPartition,
    occurrence: Occurrence,
) -> Result<OffsetFound, ResponseError> {
    if !call.allows(Operation::Describe, Resource::Topic, &topic.name) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    if occurrence == Occurrence::Repeated {
        return Err(ResponseError::InvalidRequest);
    }
    let target = target(call.version, partition.timestamp)?;
    let named = call.node.image().named_partition(&topic.name, partition.partition_index);
    let at = named.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let epoch = (partition.current_leader_epoch >= 0).then_some(LeaderEpoch(partition.current_leader_epoch));
    let found = call.node.shards.list_offset(at, epoch, target);
    found.await.map_err(|error| {
        if error == PartitionError::OffsetNotAvailable && call.version < OFFSET_NOT_AVAILABLE_FROM {
            ResponseError::LeaderNotAvailable
        } else {
            error_code::of_partition_error(&error)
        }
    })
}

fn target(version: i16, timestamp: i64) -> Result<OffsetTarget, ResponseError> {
    let (target, since) = match timestamp {
        -1 => (OffsetTarget::Latest, 1),
        -2 => (OffsetTarget::Earliest, 1),
        -3 => (OffsetTarget::MaxTimestamp, 7),
        -4 => (OffsetTarget::EarliestLocal, 8),
        -5 => (OffsetTarget::None, 9),
        -6 => (OffsetTarget::None, 11),
        timestamp if timestamp >= 0 => (OffsetTarget::Timestamp(timestamp), 1),
        _ => return Err(ResponseError::InvalidRequest),
    };
    if version >= since { Ok(target) } else { Err(ResponseError::UnsupportedVersion) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_times_need_their_version() {
        assert_eq!(target(1, -1), Ok(OffsetTarget::Latest));
        assert_eq!(target(6, -3), Err(ResponseError::UnsupportedVersion));
        assert_eq!(target(7, -3), Ok(OffsetTarget::MaxTimestamp));
        assert_eq!(target(10, -6), Err(ResponseError::UnsupportedVersion));
        assert_eq!(target(11, -6), Ok(OffsetTarget::None));
        assert_eq!(target(11, -7), Err(ResponseError::InvalidRequest));
        assert_eq!(target(1, 0), Ok(OffsetTarget::Timestamp(0)));
    }
}
