//! DescribeProducers, key 61, version 0: who wrote to partitions lately (KIP-664).
//!
//! Behaviour: the idempotent producers that the leader of each partition remembers (rules 33 to 35). One that is not led
//! here is NOT_LEADER_OR_FOLLOWER. A partition that is in the request twice is answered once.
//! Authorization: Read on each topic.
//! Not done: transactions: no producer has a coordinator epoch or an open transaction (both are -1).

use bytes::Bytes;
use ottla_core::log::ProducerInfo;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::describe_producers_request::TopicRequest;
use ottla_wire::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use ottla_wire::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::{Call, Reply, error_code, forward};

/// "None", as a coordinator's epoch and as a transaction's first offset.
const NONE: i32 = -1;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DescribeProducersRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let asked = request.topics.iter();
        let asked: Vec<(&TopicRequest, i32)> = asked
            .flat_map(|topic| topic.partition_indexes.iter().map(move |index| (topic, *index)))
            .collect();
        let mut topics: Vec<TopicResponse> = Vec::with_capacity(request.topics.len());
        for ((topic, index), _) in forward::once_each(&asked, |(topic, index)| (&topic.name, *index)) {
            let partition = describe(&call, topic, *index).await;
            match topics.last_mut() {
                Some(last) if last.name == topic.name => last.partitions.push(partition),
                _ => topics.push(
                    TopicResponse::default().with_name(topic.name.clone()).with_partitions(vec![partition]),
                ),
            }
        }
        call.encode::<DescribeProducersRequest>(&DescribeProducersResponse::default().with_topics(topics))
    })))
}

async fn describe(call: &Call, topic: &TopicRequest, index: i32) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(index);
    match producers(call, topic, index).await {
        Ok(producers) => response.with_active_producers(producers.into_iter().map(state).collect()),
        Err((error, text)) => {
            response.with_error_code(error.code()).with_error_message(Some(StrBytes::from_string(text)))
        }
    }
}

async fn producers(
    call: &Call,
    topic: &TopicRequest,
    index: i32,
) -> Result<Vec<ProducerInfo>, (ResponseError, String)> {
    if !call.allows(Operation::Read, Resource::Topic, &topic.name) {
        return Err((ResponseError::TopicAuthorizationFailed, "not authorized".to_owned()));
    }
    let Some(partition) = call.node.image().named_partition(&topic.name, index) else {
        return Err((ResponseError::UnknownTopicOrPartition, "there is no such partition".to_owned()));
    };
    let producers = call.node.shards.producers(partition).await;
    producers.map_err(|error| (error_code::of_partition_error(&error), error.to_string()))
}

fn state(producer: ProducerInfo) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.id.0))
        .with_producer_epoch(i32::from(producer.epoch.0))
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp)
        .with_coordinator_epoch(NONE)
        .with_current_txn_start_offset(i64::from(NONE))
}
