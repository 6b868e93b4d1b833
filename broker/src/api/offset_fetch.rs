//! OffsetFetch, key 9, versions 1–9: how far groups have come.
//!
//! Behaviour (rule 67): the committed offset of each partition asked for, with its leader epoch and its metadata; −1 and
//! no error where there is none, and for a group that nobody knows. Null asks for all that a group has committed.
//! Authorization: Describe on each group, else GROUP_AUTHORIZATION_FAILED; Describe on each topic: one that is named is
//! TOPIC_AUTHORIZATION_FAILED, one of "all" is left out.
//! Version notes: 2 brings null, and an error of the group (before, it is each partition's); 5 leader epochs; 7
//! `require_stable`, which changes nothing: there are no transactions; 8 several groups; 9 who asks, which is for groups
//! of the consumer protocol.
//! Not done: version 10, with topic ids instead of names.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::group::record::{CommittedOffset, OffsetKey};
use ottla_core::group::request::{self, FetchOffsets, Request};
use ottla_core::ids::{PartitionIndex, TopicName};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use ottla_wire::messages::{self, OffsetFetchRequest, OffsetFetchResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::group::text;
use super::{Call, Reply, error_code};

/// From here on a response has an error of its own.
const GROUP_ERROR_FROM: i16 = 2;
/// From here on a request is about several groups.
const GROUPS_FROM: i16 = 8;

/// No offset, and no leader epoch.
const NONE: i64 = -1;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: OffsetFetchRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let response = if call.version >= GROUPS_FROM {
            let mut groups = Vec::with_capacity(request.groups.len());
            for group in &request.groups {
                groups.push(fetch(&call, group).await);
            }
            OffsetFetchResponse::default().with_groups(groups)
        } else {
            in_old_form(&call, fetch(&call, &of_old_form(&request)).await, &request)
        };
        call.encode::<OffsetFetchRequest>(&response)
    })))
}

fn of_old_form(request: &OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.as_ref().map(|topics| {
        let topic = |topic: &messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name.clone())
                .with_partition_indexes(topic.partition_indexes.clone())
        };
        topics.iter().map(topic).collect()
    });
    OffsetFetchRequestGroup::default().with_group_id(request.group_id.clone()).with_topics(topics)
}

fn in_old_form(
    call: &Call,
    group: OffsetFetchResponseGroup,
    request: &OffsetFetchRequest,
) -> OffsetFetchResponse {
    let partition = |partition: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    };
    let error = group.error_code;
    let topics = if error != 0 && call.version < GROUP_ERROR_FROM {
        asked(request, error)
    } else {
        let topic = |topic: OffsetFetchResponseTopics| {
            OffsetFetchResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(topic.partitions.into_iter().map(partition).collect())
        };
        group.topics.into_iter().map(topic).collect()
    };
    let error = if call.version < GROUP_ERROR_FROM { 0 } else { error };
    OffsetFetchResponse::default().with_topics(topics).with_error_code(error)
}

/// Everything that was asked for, with an error.
fn asked(request: &OffsetFetchRequest, error: i16) -> Vec<OffsetFetchResponseTopic> {
    let partition = |index: &i32| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(*index)
            .with_committed_offset(NONE)
            .with_metadata(Some(StrBytes::new()))
            .with_error_code(error)
    };
    let topic = |topic: &messages::offset_fetch_request::OffsetFetchRequestTopic| {
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(topic.partition_indexes.iter().map(partition).collect())
    };
    request.topics.iter().flatten().map(topic).collect()
}

async fn fetch(call: &Call, asked: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let response = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
    let fetched = match call.check_group(Operation::Describe, &asked.group_id) {
        Err(error) => Err(error),
        Ok(()) => match &asked.topics {
            None => all(call, asked).await,
            Some(topics) => named(call, asked, topics).await,
        },
    };
    match fetched {
        Ok(topics) => response.with_topics(topics),
        Err(error) => response.with_error_code(error.code()),
    }
}

async fn ask(
    call: &Call,
    asked: &OffsetFetchRequestGroup,
    offsets: Option<Vec<OffsetKey>>,
) -> Result<Vec<(OffsetKey, Option<CommittedOffset>)>, ResponseError> {
    let group = GroupId::from(asked.group_id.as_str());
    let wanted = FetchOffsets { group: group.clone(), offsets };
    match call.ask_group(&group, Request::FetchOffsets(wanted)).await {
        Ok(request::Reply::Offsets(offsets)) => Ok(offsets),
        Ok(other) => unreachable!("offsets are answered by {other:?}"),
        Err(error) => Err(error_code::of_group_error(&error)),
    }
}

fn may_describe(call: &Call, topic: &str) -> bool {
    call.allows(Operation::Describe, Resource::Topic, topic)
}

async fn all(
    call: &Call,
    asked: &OffsetFetchRequestGroup,
) -> Result<Vec<OffsetFetchResponseTopics>, ResponseError> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    for (at, kept) in ask(call, asked, None).await? {
        if !may_describe(call, at.topic.as_str()) {
            continue;
        }
        let partition = described(at.partition.0, kept.as_ref());
        match topics.last_mut() {
            Some(last) if last.name.as_str() == at.topic.as_str() => last.partitions.push(partition),
            Some(_) | None => topics.push(
                OffsetFetchResponseTopics::default()
                    .with_name(text(at.topic.as_str()).into())
                    .with_partitions(vec![partition]),
            ),
        }
    }
    Ok(topics)
}

async fn named(
    call: &Call,
    asked: &OffsetFetchRequestGroup,
    topics: &[OffsetFetchRequestTopics],
) -> Result<Vec<OffsetFetchResponseTopics>, ResponseError> {
    let mut keys = Vec::new();
    for topic in topics.iter().filter(|topic| may_describe(call, &topic.name)) {
        // Nothing is committed of a name that no topic can have.
        let Ok(name) = TopicName::parse(&topic.name) else { continue };
        let key = |index: &i32| OffsetKey { topic: name.clone(), partition: PartitionIndex(*index) };
        keys.extend(topic.partition_indexes.iter().map(key));
    }
    let mut found = ask(call, asked, Some(keys)).await?.into_iter().peekable();
    let mut answered = Vec::with_capacity(topics.len());
    for topic in topics {
        let allowed = may_describe(call, &topic.name);
        let partitions = topic.partition_indexes.iter().map(|index| {
            let is_this = |(at, _): &(OffsetKey, _)| {
                at.partition.0 == *index && at.topic.as_str() == topic.name.as_str()
            };
            let kept = if allowed { found.next_if(is_this).and_then(|(_, kept)| kept) } else { None };
            let error = if allowed { 0 } else { ResponseError::TopicAuthorizationFailed.code() };
            described(*index, kept.as_ref()).with_error_code(error)
        });
        let partitions = partitions.collect();
        answered.push(
            OffsetFetchResponseTopics::default().with_name(topic.name.clone()).with_partitions(partitions),
        );
    }
    Ok(answered)
}

fn described(index: i32, kept: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    let partition = OffsetFetchResponsePartitions::default().with_partition_index(index);
    match kept {
        None => partition
            .with_committed_offset(NONE)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(StrBytes::new())),
        Some(kept) => partition
            .with_committed_offset(kept.offset.0)
            .with_committed_leader_epoch(kept.leader_epoch.map_or(-1, |epoch| epoch.0))
            .with_metadata(Some(text(&kept.metadata))),
    }
}
