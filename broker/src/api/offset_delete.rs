//! OffsetDelete, key 47, version 0: what a group has committed of some partitions is no longer to be kept.
//!
//! Behaviour: a group without members gives up whatever is named; one of consumers what none of them is subscribed to
//! (GROUP_SUBSCRIBED_TO_TOPIC), and one of another kind nothing (NON_EMPTY_GROUP). A group that nobody knows is
//! GROUP_ID_NOT_FOUND, a partition that does not exist UNKNOWN_TOPIC_OR_PARTITION.
//! Authorization: Delete on the group, else GROUP_AUTHORIZATION_FAILED; Read on each topic.
//! Not done: groups of the consumer protocol.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::group::record::OffsetKey;
use ottla_core::group::request::{self, Request};
use ottla_core::ids::{PartitionIndex, TopicName};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::offset_delete_request::OffsetDeleteRequestTopic;
use ottla_wire::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use ottla_wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::authorize::{Operation, Resource};
use super::{Call, Reply, error_code};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: OffsetDeleteRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let response = match delete(&call, &request).await {
            Ok(codes) => OffsetDeleteResponse::default().with_topics(described(&request, &codes)),
            Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
        };
        call.encode::<OffsetDeleteRequest>(&response)
    })))
}

/// The code of each partition, in the order of the request.
async fn delete(call: &Call, request: &OffsetDeleteRequest) -> Result<Vec<i16>, ResponseError> {
    call.check_group(Operation::Delete, &request.group_id)?;
    let (mut codes, mut offsets) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        for partition in &topic.partitions {
            match key(call, topic, partition.partition_index) {
                Ok(key) => {
                    codes.push(0);
                    offsets.push(key);
                }
                Err(error) => codes.push(error.code()),
            }
        }
    }
    let group = GroupId::from(request.group_id.as_str());
    let asked = Request::DeleteOffsets { group: group.clone(), offsets };
    match call.ask_group(&group, asked).await {
        Ok(request::Reply::OffsetsDeleted(results)) => {
            for (code, result) in codes.iter_mut().filter(|code| **code == 0).zip(results) {
                *code = result.err().map_or(0, |error| error_code::of_group_error(&error).code());
            }
            Ok(codes)
        }
        Ok(other) => unreachable!("a deletion of offsets is answered by {other:?}"),
        Err(error) => Err(error_code::of_group_error(&error)),
    }
}

fn key(call: &Call, topic: &OffsetDeleteRequestTopic, partition: i32) -> Result<OffsetKey, ResponseError> {
    if !call.allows(Operation::Read, Resource::Topic, &topic.name) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let unknown = ResponseError::UnknownTopicOrPartition;
    let name = TopicName::parse(&topic.name).map_err(|_| unknown)?;
    if call.node.image().named_partition(&topic.name, partition).is_none() {
        return Err(unknown);
    }
    Ok(OffsetKey { topic: name, partition: PartitionIndex(partition) })
}

fn described(request: &OffsetDeleteRequest, codes: &[i16]) -> Vec<OffsetDeleteResponseTopic> {
    let mut codes = codes.iter().copied();
    let topic = |topic: &OffsetDeleteRequestTopic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(codes.next().unwrap_or(0))
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    };
    request.topics.iter().map(topic).collect()
}
