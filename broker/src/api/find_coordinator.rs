//! FindCoordinator, key 10, versions 0–6.
//!
//! Behaviour (rule 69): the broker that leads the partition of `__consumer_offsets` where a group is kept, on the
//! listener the request came in on. The topic is made when it is first asked for, as `offsets.topic.*` of this broker
//! says, also where `auto.create.topics.enable` is off; until it is there, or while that partition has no leader,
//! COORDINATOR_NOT_AVAILABLE, upon which clients ask again.
//! Authorization: Describe on the group (GROUP_AUTHORIZATION_FAILED) or on the transactional id.
//! Version notes: 0 asks for groups only; 1 brings the type of the key; 4 several keys at once, each answered alone;
//! 5 and 6 other types and codes.
//! Not done: coordinators of transactions are UNSUPPORTED_VERSION, which producers take as final. Those of share groups
//! are INVALID_REQUEST, as in Kafka while their feature is off.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::ids::PartitionIndex;
use ottla_core::metadata::image::Image;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::find_coordinator_response::Coordinator;
use ottla_wire::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::{Call, Reply};
use crate::drive::groups::{OFFSETS_TOPIC, offsets_topic};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// From here on a request has several keys.
const KEYS_FROM: i16 = 4;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: FindCoordinatorRequest = ottla_wire::request::decode_body(call.version, body)?;
    let image = call.node.image();
    let find = |key: &StrBytes| find(&call, &image, request.key_type, key);
    let response = if call.version >= KEYS_FROM {
        let coordinators = request.coordinator_keys.iter().map(find).collect();
        FindCoordinatorResponse::default().with_coordinators(coordinators)
    } else {
        let found = find(&request.key);
        FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_error_message(found.error_message)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port)
    };
    Ok(call.answer::<FindCoordinatorRequest>(&response))
}

fn find(call: &Call, image: &Image, key_type: i8, key: &StrBytes) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key.clone());
    match find_one(call, image, key_type, key) {
        Ok((node_id, host, port)) => coordinator
            .with_node_id(node_id)
            .with_host(StrBytes::from_string(host))
            .with_port(port)
            .with_error_message(None),
        Err(refusal) => coordinator
            .with_error_code(refusal.code)
            .with_error_message(refusal.text())
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

fn find_one(call: &Call, image: &Image, key_type: i8, key: &str) -> Result<(BrokerId, String, i32), Refusal> {
    match key_type {
        GROUP => {
            if !call.allows(Operation::Describe, Resource::Group, key) {
                return Err(Refusal::unauthorized(ResponseError::GroupAuthorizationFailed));
            }
        }
        TRANSACTION => {
            if !call.allows(Operation::Describe, Resource::TransactionalId, key) {
                return Err(Refusal::unauthorized(ResponseError::TransactionalIdAuthorizationFailed));
            }
            return Err(Refusal::new(ResponseError::UnsupportedVersion, "there are no transactions yet"));
        }
        _ => {
            let text = "no coordinators of this type: 0 stands for groups";
            return Err(Refusal::new(ResponseError::InvalidRequest, text));
        }
    }
    let unavailable = |text: &str| Refusal::new(ResponseError::CoordinatorNotAvailable, text);
    let Some(topic) = offsets_topic(image) else {
        call.node.auto_topics.ask_for_internal(OFFSETS_TOPIC);
        return Err(unavailable("the topic that keeps groups is being made: ask again"));
    };
    let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    let index = i32::try_from(GroupId::from(key).partition(partitions)).unwrap_or(i32::MAX);
    let partition = topic.partitions.get(&PartitionIndex(index));
    let leader = partition.and_then(|partition| partition.leader);
    let leader = leader.ok_or_else(|| unavailable("the partition that keeps the group has no leader now"))?;
    let endpoint = call.node.live_endpoint(image, leader, &call.context.listener.name);
    let endpoint = endpoint.ok_or_else(|| unavailable("the group's coordinator is not on this listener"))?;
    Ok((BrokerId(leader.0), endpoint.host.clone(), i32::from(endpoint.port)))
}
