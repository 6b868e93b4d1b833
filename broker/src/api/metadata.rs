//! Metadata, key 3, versions 0–13.
//!
//! Behaviour: brokers that are not fenced, the cluster id, a controller (any broker: admin calls are forwarded,
//! rule 10), and topics by name, by id (12+) or all of them. Endpoints are those of the listener the
//! request came in on (rule 11); a leader without one is LISTENER_NOT_FOUND (6+) or LEADER_NOT_AVAILABLE.
//! Authorization: Describe on each topic; a named one that is denied is TOPIC_AUTHORIZATION_FAILED without
//! its id, one of "all topics" is left out (rule 13).
//! Version notes: 0 means all topics by an empty list, 1+ by null; 8–10 carry the cluster's authorized
//! operations; 10+ topic ids; 12+ a null name with an id; 13 a top-level error, never set here.
//! A named topic that is not there is made where `auto.create.topics.enable` and the request (4+; before, always) allow
//! it (rule 12): until it is there it is UNKNOWN_TOPIC_OR_PARTITION, upon which clients ask again. That needs Create on
//! the cluster or on the topic, else TOPIC_AUTHORIZATION_FAILED.
//! Not done: nothing.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::ids::{NodeId, TopicId, TopicName};
use ottla_core::metadata::image::{Image, Partition, Topic};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::metadata_request::MetadataRequestTopic;
use ottla_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_wire::messages::{BrokerId, MetadataRequest, MetadataResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{OPERATIONS_NOT_ASKED, Operation, Resource};
use super::{Call, Reply, forward};

/// What a topic, a partition or a broker takes at most in a response and its frame together, names of usual
/// length and a few replicas provided.
pub(super) const BYTES_EACH: usize = 512;

/// From here on a request says whether topics may be made for it.
const AUTO_CREATION_FROM: i16 = 4;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: MetadataRequest = ottla_wire::request::decode_body(call.version, body)?;
    let image = call.node.image();
    let parts = image.brokers.len() + parts(&call, &image, &request);
    let bytes = parts * BYTES_EACH;
    Ok(call.answer_within::<MetadataRequest>(bytes, move |call| respond(call, &image, &request)))
}

/// How many topics and partitions an answer may have.
fn parts(call: &Call, image: &Image, request: &MetadataRequest) -> usize {
    let of = |topic: &Arc<Topic>| 1 + topic.partitions.len();
    let Some(named) = named(call, request) else { return image.topics.values().map(of).sum() };
    let found = |wanted: &MetadataRequestTopic| match &wanted.name {
        Some(name) => image.topic(&TopicName::parse(name).ok()?),
        None => image.topics.get(&TopicId(wanted.topic_id)),
    };
    once_each(named).into_iter().map(|wanted| found(wanted).map_or(1, of)).sum()
}

/// A set, as in Kafka: a name of few bytes repeated must not become an answer of many each time.
fn once_each(named: &[MetadataRequestTopic]) -> Vec<&MetadataRequestTopic> {
    let key = |one: &MetadataRequestTopic| match &one.name {
        Some(name) => (Some(name.clone()), uuid::Uuid::nil()),
        None => (None, one.topic_id),
    };
    forward::once_each(named, key).into_iter().map(|(wanted, _)| wanted).collect()
}

/// The topics that a request names; `None` if it means all.
fn named<'a>(call: &Call, request: &'a MetadataRequest) -> Option<&'a [MetadataRequestTopic]> {
    request.topics.as_deref().filter(|topics| call.version > 0 || !topics.is_empty())
}

fn respond(call: &Call, image: &Image, request: &MetadataRequest) -> MetadataResponse {
    let listener = call.context.listener.name.as_str();
    let brokers: Vec<MetadataResponseBroker> =
        image.reachable_brokers().filter_map(|broker| described(broker, listener)).collect();
    let cluster_operations =
        call.authorized_operations(request.include_cluster_authorized_operations, Resource::Cluster, "");
    MetadataResponse::default()
        .with_controller_id(BrokerId(call.node.any_live_broker(image).map_or(-1, |id| id.0)))
        .with_cluster_id(Some(StrBytes::from_string(call.node.cluster_id.to_string())))
        .with_brokers(brokers)
        .with_topics(topics(call, image, request))
        .with_cluster_authorized_operations(cluster_operations)
}

fn described(broker: &ottla_core::metadata::image::Broker, listener: &str) -> Option<MetadataResponseBroker> {
    let endpoint = broker.endpoint(listener)?;
    Some(
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.node_id.0))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.clone().map(StrBytes::from_string)),
    )
}

fn topics(call: &Call, image: &Image, request: &MetadataRequest) -> Vec<MetadataResponseTopic> {
    match named(call, request) {
        None => {
            let all = image.topics.values().filter(|topic| may_describe(call, topic.name.as_str()));
            all.map(|topic| found(call, image, request, topic)).collect()
        }
        Some(named) => once_each(named).into_iter().map(|wanted| one(call, image, request, wanted)).collect(),
    }
}

pub(super) fn may_describe(call: &Call, topic: &str) -> bool {
    call.allows(Operation::Describe, Resource::Topic, topic)
}

fn one(
    call: &Call,
    image: &Image,
    request: &MetadataRequest,
    wanted: &MetadataRequestTopic,
) -> MetadataResponseTopic {
    let Some(name) = &wanted.name else {
        let topic = image.topics.get(&TopicId(wanted.topic_id));
        // The id of a topic that may not be described is as unknown as one that does not exist.
        return match topic.filter(|topic| may_describe(call, topic.name.as_str())) {
            Some(topic) => found(call, image, request, topic),
            None => failed(ResponseError::UnknownTopicId).with_topic_id(wanted.topic_id),
        };
    };
    if !may_describe(call, name) {
        return failed(ResponseError::TopicAuthorizationFailed).with_name(Some(name.clone()));
    }
    let error = match TopicName::parse(name) {
        Err(_) => ResponseError::InvalidTopicException,
        Ok(parsed) => match image.topic(&parsed) {
            Some(topic) => return found(call, image, request, topic),
            None => absent(call, request, &parsed),
        },
    };
    failed(error).with_name(Some(name.clone()))
}

/// What a topic is that is not there; it may be on its way then.
fn absent(call: &Call, request: &MetadataRequest, topic: &TopicName) -> ResponseError {
    let is_wanted = request.allow_auto_topic_creation || call.version < AUTO_CREATION_FROM;
    if !is_wanted || !call.node.config.topics.auto_create {
        return ResponseError::UnknownTopicOrPartition;
    }
    let name = topic.as_str();
    if !call.allows(Operation::Create, Resource::Cluster, "")
        && !call.allows(Operation::Create, Resource::Topic, name)
    {
        return ResponseError::TopicAuthorizationFailed;
    }
    call.node.auto_topics.ask_for(name, call.asker());
    ResponseError::UnknownTopicOrPartition
}

fn failed(error: ResponseError) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn found(call: &Call, image: &Image, request: &MetadataRequest, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let asked = request.include_topic_authorized_operations;
    let operations = call.authorized_operations(asked, Resource::Topic, topic.name.as_str());
    let partitions = topic
        .partitions
        .iter()
        .map(|(index, partition)| described_partition(call, image, partition).with_partition_index(index.0));
    MetadataResponseTopic::default()
        .with_name(Some(StrBytes::from_string(topic.name.to_string()).into()))
        .with_topic_id(topic.id.0)
        .with_is_internal(ottla_core::metadata::is_internal(&topic.name))
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(operations)
}

fn described_partition(call: &Call, image: &Image, partition: &Partition) -> MetadataResponsePartition {
    let live = |node: &NodeId| call.node.live_endpoint(image, *node, &call.context.listener.name);
    let (error, leader) = match partition.leader {
        None => (ResponseError::LeaderNotAvailable.code(), -1),
        Some(leader) if live(&leader).is_none() => {
            let has_listener = call.version >= 6;
            let error = if has_listener {
                ResponseError::ListenerNotFound
            } else {
                ResponseError::LeaderNotAvailable
            };
            (error.code(), -1)
        }
        Some(leader) => (0, leader.0),
    };
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(partition.leader_epoch.0)
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&partition.isr))
        .with_offline_replicas(offline(call, image, partition))
}

/// Nodes as messages name them.
pub(super) fn ids(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|node| BrokerId(node.0)).collect()
}

/// The replicas that the caller cannot reach on its listener.
pub(super) fn offline(call: &Call, image: &Image, partition: &Partition) -> Vec<BrokerId> {
    let reached =
        |node: &NodeId| call.node.live_endpoint(image, *node, &call.context.listener.name).is_some();
    let offline: Vec<NodeId> = partition.replicas.iter().copied().filter(|node| !reached(node)).collect();
    ids(&offline)
}
