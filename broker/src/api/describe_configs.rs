//! DescribeConfigs, key 32, versions 1–4.
//!
//! Behaviour (rule 18): the configuration of topics, of this broker, and of all brokers (type broker, name
//! empty: only what was set while brokers ran). Each key comes with its value, where it came from, whether it
//! can change, and on request every weaker value behind it and its documentation. Secrets are null. The keys
//! can be limited; null or an empty list is all of them. Another broker's configuration is INVALID_REQUEST:
//! only that broker knows its properties file.
//! Authorization: DescribeConfigs on the topic (TOPIC_AUTHORIZATION_FAILED, whether it exists or not), or on
//! the cluster for brokers (CLUSTER_AUTHORIZATION_FAILED).
//! Version notes: 3 brings types and documentation; 4 is where the encoding became flexible.
//! Not done: log levels of a broker (type 8: Ottla has no per-class loggers), client metrics (16) and groups
//! (32) are INVALID_REQUEST until the parts they configure exist. Keys that this release does not know are not
//! listed, although a properties file may hold them.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_core::config::{
    Described, Key, Layers, Settings, Source, SourcedValue, UpdateMode, broker_key, broker_keys, topic_key,
};
use ottla_core::ids::TopicName;
use ottla_core::metadata::image::{ConfigResource, Image};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::describe_configs_request::DescribeConfigsResource;
use ottla_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use ottla_wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::{Call, Reply, forward};

/// Kafka's ConfigResource types.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// The refusal of a type that is neither topic nor broker.
pub(super) fn unsupported(resource_type: i8) -> Refusal {
    let text = match resource_type {
        BROKER_LOGGER => "log levels of single loggers cannot be described or changed".to_owned(),
        CLIENT_METRICS => "client metrics are not supported yet".to_owned(),
        GROUP => "configurations of groups are not supported yet".to_owned(),
        other => format!("unknown resource type {other}"),
    };
    Refusal::new(ResponseError::InvalidRequest, text)
}

/// What the description of a topic, or of a broker, takes in a response and its frame together, with the texts of
/// all keys and their synonyms.
pub(super) const TOPIC_BYTES: usize = 32 << 10;
pub(super) const BROKER_BYTES: usize = 128 << 10;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DescribeConfigsRequest = ottla_wire::request::decode_body(call.version, body)?;
    let of = |asked: &DescribeConfigsResource| {
        if asked.resource_type == BROKER { BROKER_BYTES } else { TOPIC_BYTES }
    };
    let bytes = once_each(&request).into_iter().map(of).sum();
    Ok(call.answer_within::<DescribeConfigsRequest>(bytes, move |call| respond(call, &request)))
}

fn respond(call: &Call, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let image = call.node.image();
    let results = once_each(request).into_iter().map(|asked| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        match describe(call, &image, request, asked) {
            Ok(configs) => result.with_configs(configs).with_error_message(None),
            Err(refusal) => result.with_error_code(refusal.code).with_error_message(refusal.text()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

/// Once each, as Kafka's admin client asks: a short name repeated must not become a long answer each time.
fn once_each(request: &DescribeConfigsRequest) -> Vec<&DescribeConfigsResource> {
    let once = forward::once_each(&request.resources, |one| (one.resource_type, one.resource_name.as_str()));
    once.into_iter().map(|(asked, _)| asked).collect()
}

fn describe(
    call: &Call,
    image: &Image,
    request: &DescribeConfigsRequest,
    asked: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let (described, row): (Vec<Described>, Row) = match asked.resource_type {
        TOPIC => (topic(call, image, &asked.resource_name)?, Row { find: topic_key, is_topic: true }),
        BROKER => (broker(call, image, &asked.resource_name)?, Row { find: broker_key, is_topic: false }),
        other => return Err(unsupported(other)),
    };
    let limited_to = asked.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
    let limited_to: Option<BTreeSet<&str>> =
        limited_to.map(|keys| keys.iter().map(StrBytes::as_str).collect());
    let wanted = |name: &str| limited_to.as_ref().is_none_or(|keys| keys.contains(name));
    let wanted = described.into_iter().filter(|described| wanted(described.name));
    Ok(wanted
        .filter_map(|described| Some(entry(request, (row.find)(described.name)?, row, described)))
        .collect())
}

fn topic(call: &Call, image: &Image, name: &str) -> Result<Vec<Described>, Refusal> {
    if !call.allows(Operation::DescribeConfigs, Resource::Topic, name) {
        return Err(Refusal::unauthorized(ResponseError::TopicAuthorizationFailed));
    }
    let parsed = TopicName::parse(name)
        .map_err(|error| Refusal::new(ResponseError::InvalidTopicException, error.to_string()))?;
    if image.topic(&parsed).is_none() {
        let text = format!("topic \"{name}\" does not exist");
        return Err(Refusal::new(ResponseError::UnknownTopicOrPartition, text));
    }
    let own = settings(image, &ConfigResource::Topic(parsed));
    Ok(call.node.layers(image).describe_topic(&own))
}

fn broker(call: &Call, image: &Image, name: &str) -> Result<Vec<Described>, Refusal> {
    if !call.allows(Operation::DescribeConfigs, Resource::Cluster, "") {
        return Err(Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed));
    }
    if name.is_empty() {
        return Ok(all_brokers(settings(image, &ConfigResource::BrokerDefault)));
    }
    let refuse = |text: String| Err(Refusal::new(ResponseError::InvalidRequest, text));
    match name.parse::<i32>() {
        // Only one spelling of each id: others could name this broker any number of times in one request.
        Ok(id) if id.to_string() != name => refuse(format!("\"{name}\" is not the id of a broker")),
        Ok(id) if id == call.node.id.0 => Ok(call.node.layers(image).describe_broker()),
        Ok(id) => refuse(format!(
            "this is broker {}: only broker {id} knows its configuration, ask that broker",
            call.node.id
        )),
        Err(_) => refuse(format!("\"{name}\" is not the id of a broker")),
    }
}

/// What was set for all brokers while they ran, and nothing weaker.
fn all_brokers(cluster: Settings) -> Vec<Described> {
    let set: Vec<&Key> = broker_keys().iter().filter(|key| cluster.contains_key(key.name)).collect();
    let layers = Layers { cluster, ..Layers::default() };
    let described = set.into_iter().map(|key| {
        let mut described = layers.describe_broker_key(key);
        described.synonyms.retain(|synonym| synonym.source == Source::Cluster);
        described
    });
    // A value of another release that this one cannot read does not count, and is not shown.
    described.filter(|described| described.source == Source::Cluster).collect()
}

fn settings(image: &Image, resource: &ConfigResource) -> Settings {
    image.configs.get(resource).cloned().unwrap_or_default()
}

/// Where the rows of the described keys are.
#[derive(Clone, Copy)]
struct Row {
    find: fn(&str) -> Option<&'static Key>,
    is_topic: bool,
}

fn entry(
    request: &DescribeConfigsRequest,
    key: &Key,
    row: Row,
    described: Described,
) -> DescribeConfigsResourceResult {
    let synonyms = if request.include_synonyms { described.synonyms } else { Vec::new() };
    let documentation = request.include_documentation.then(|| StrBytes::from_static_str(key.doc));
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(described.name))
        .with_value(described.value.map(StrBytes::from_string))
        .with_read_only(!row.is_topic && key.update == UpdateMode::ReadOnly)
        .with_config_source(described.source.code())
        .with_is_sensitive(key.is_secret())
        .with_synonyms(synonyms.into_iter().map(synonym).collect())
        .with_config_type(key.kind.code())
        .with_documentation(documentation)
}

fn synonym(value: SourcedValue) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(StrBytes::from_static_str(value.name))
        .with_value(value.value.map(StrBytes::from_string))
        .with_source(value.source.code())
}
