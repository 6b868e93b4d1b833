//! OffsetCommit, key 8, versions 2–9: how far a group has come.
//!
//! Behaviour: rule 66. The answer comes when the offsets are committed in `__consumer_offsets`. A partition that does not
//! exist is UNKNOWN_TOPIC_OR_PARTITION and the others are kept; what is wrong with the group or the member is every
//! partition's error. A commit is a sign of life.
//! Authorization: Read on the group, else GROUP_AUTHORIZATION_FAILED for all; Read on each topic.
//! Version notes: 2–4 may say for how long offsets are to be kept; 5 leaves that to the broker; 6 brings leader epochs
//! (KIP-320); 7 static members; 9 the code GROUP_ID_NOT_FOUND.
//! Not done: version 10, with topic ids instead of names; groups of the consumer protocol.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::group::record::OffsetKey;
use ottla_core::group::request::{self, Commit, CommitItem, Request};
use ottla_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicName};
use ottla_core::metadata::image::Topic;
use ottla_core::time::Wall;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_wire::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_wire::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::authorize::{Operation, Resource};
use super::group::speaker;
use super::{Call, Reply, error_code};
use crate::clock;

/// The last version in which a client says how long offsets are kept.
const RETENTION_UNTIL: i16 = 4;
/// From here on the code GROUP_ID_NOT_FOUND is known.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;
/// The broker's own retention.
const DEFAULT_RETENTION: i64 = -1;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: OffsetCommitRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let codes = commit(&call, &request).await;
        let mut codes = codes.into_iter();
        let topic = |topic: &OffsetCommitRequestTopic| {
            let partitions = topic.partitions.iter().map(|partition| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(codes.next().unwrap_or(0))
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        };
        let response =
            OffsetCommitResponse::default().with_topics(request.topics.iter().map(topic).collect());
        call.encode::<OffsetCommitRequest>(&response)
    })))
}

/// The code of each partition, in the order of the request.
async fn commit(call: &Call, request: &OffsetCommitRequest) -> Vec<i16> {
    let all = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    if let Err(error) = call.check_group(Operation::Read, &request.group_id) {
        return vec![error.code(); all];
    }
    let mut codes = Vec::with_capacity(all);
    let mut offsets = Vec::new();
    let image = call.node.image();
    let expires = expires(call, request);
    for topic in &request.topics {
        let known = find(call, &image, topic);
        for partition in &topic.partitions {
            match known.and_then(|known| item(known, partition, expires)) {
                Ok(item) => {
                    codes.push(0);
                    offsets.push(item);
                }
                Err(error) => codes.push(error.code()),
            }
        }
    }
    if offsets.is_empty() {
        return codes;
    }
    let group = GroupId::from(request.group_id.as_str());
    let commit = Commit {
        group: group.clone(),
        speaker: speaker(&request.member_id, request.group_instance_id.as_ref()),
        generation: request.generation_id_or_member_epoch,
        knows_group_id_not_found: call.version >= GROUP_ID_NOT_FOUND_FROM,
        offsets,
    };
    let asked = codes.iter_mut().filter(|code| **code == 0);
    match call.ask_group(&group, Request::Commit(commit)).await {
        Ok(request::Reply::Committed(results)) => {
            for (code, result) in asked.zip(results) {
                *code = result.err().map_or(0, |error| error_code::of_group_error(&error).code());
            }
        }
        Ok(other) => unreachable!("a commit is answered by {other:?}"),
        Err(error) => {
            let error = error_code::of_group_error(&error).code();
            asked.for_each(|code| *code = error);
        }
    }
    codes
}

fn expires(call: &Call, request: &OffsetCommitRequest) -> Option<Wall> {
    let told = call.version <= RETENTION_UNTIL && request.retention_time_ms != DEFAULT_RETENTION;
    told.then(|| Wall(clock::wall().0.saturating_add(request.retention_time_ms)))
}

fn find<'a>(
    call: &Call,
    image: &'a ottla_core::metadata::image::Image,
    topic: &OffsetCommitRequestTopic,
) -> Result<&'a Topic, ResponseError> {
    if !call.allows(Operation::Read, Resource::Topic, &topic.name) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let name = TopicName::parse(&topic.name).map_err(|_| ResponseError::UnknownTopicOrPartition)?;
    image.topic(&name).map(AsRef::as_ref).ok_or(ResponseError::UnknownTopicOrPartition)
}

fn item(
    topic: &Topic,
    partition: &OffsetCommitRequestPartition,
    expires: Option<Wall>,
) -> Result<CommitItem, ResponseError> {
    let index = PartitionIndex(partition.partition_index);
    if !topic.partitions.contains_key(&index) {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    let epoch = partition.committed_leader_epoch;
    Ok(CommitItem {
        at: OffsetKey { topic: topic.name.clone(), partition: index },
        topic_id: topic.id,
        offset: Offset(partition.committed_offset),
        leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
        metadata: partition.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default(),
        expires,
    })
}
