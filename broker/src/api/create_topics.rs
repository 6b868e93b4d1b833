//! CreateTopics, key 19, versions 2–7.
//!
//! Behaviour (rules 14–16): each topic succeeds or fails alone; `validate_only` runs everything but the
//! commit. A name twice in the request is INVALID_REQUEST, once. The new topics' ids are drawn here, since
//! the controller's machine has no randomness.
//! Authorization: Create on the cluster, or on each topic; a denied one is TOPIC_AUTHORIZATION_FAILED.
//! `__cluster_metadata` may be created by nobody, with the same code as in Kafka.
//! Version notes: 5 brings the number of partitions, the replication factor and the effective configuration,
//! which need DescribeConfigs on the topic (`topic_config_error_code` without it); 7 the topic's id.
//! Not done: THROTTLING_QUOTA_EXCEEDED (6+), there are no quotas. Effective configurations are those of the
//! controller that answers, as in Kafka; a broker with another properties file may differ.

use bytes::Bytes;
use ottla_core::config::{Described, Settings, topic_key};
use ottla_core::controller::operation::{CreateTopics, CreatedTopic, NewTopic};
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::{NodeId, PartitionIndex, TopicId};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::create_topics_request::CreatableTopic;
use ottla_wire::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use ottla_wire::messages::{CreateTopicsRequest, CreateTopicsResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest, Occurrence};
use super::{Call, Reply};

/// Name of the log that is the cluster's metadata; no topic may be called so.
const CLUSTER_METADATA: &str = "__cluster_metadata";

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<CreateTopicsRequest>(call, body)
}

impl AdminRequest for CreateTopicsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    async fn decide(&self, call: &Call) -> Result<CreateTopicsResponse, OperationError> {
        let cluster = call.allows(Operation::Create, Resource::Cluster, "");
        let mut checked = Vec::new();
        let mut asked = Vec::new();
        for (topic, occurrence) in topics(self) {
            let asked_for = check(call, topic, occurrence, cluster).and_then(|()| new_topic(topic));
            checked.push((topic, asked_for.map(|new| asked.push(new))));
        }
        let results = if asked.is_empty() {
            Vec::new()
        } else {
            let operation = CreateTopics { topics: asked, validate_only: self.validate_only };
            let reply = forward::ask(call, controller::Operation::CreateTopics(operation)).await?;
            let controller::Reply::CreateTopics(results) = reply else {
                unreachable!("CreateTopics answered by {reply:?}")
            };
            results
        };
        let described =
            forward::outcomes(checked, results).map(|(topic, outcome)| describe(call, topic, outcome));
        Ok(CreateTopicsResponse::default().with_topics(described.collect()))
    }

    fn refuse(&self, refusal: &Refusal) -> CreateTopicsResponse {
        let refused = topics(self).into_iter().map(|(topic, _)| refused(topic, refusal));
        CreateTopicsResponse::default().with_topics(refused.collect())
    }
}

/// Each topic once.
fn topics(request: &CreateTopicsRequest) -> Vec<(&CreatableTopic, Occurrence)> {
    forward::once_each(&request.topics, |topic| topic.name.as_str())
}

fn check(call: &Call, topic: &CreatableTopic, occurrence: Occurrence, cluster: bool) -> Result<(), Refusal> {
    occurrence.only_once()?;
    let allowed = cluster || call.allows(Operation::Create, Resource::Topic, &topic.name);
    if !allowed || topic.name.as_str() == CLUSTER_METADATA {
        return Err(Refusal::unauthorized(ResponseError::TopicAuthorizationFailed));
    }
    Ok(())
}

fn new_topic(topic: &CreatableTopic) -> Result<NewTopic, Refusal> {
    let id = crate::random::random_uuid().map_err(|error| {
        let text = format!("no id can be drawn for the topic: {error}");
        Refusal::new(ResponseError::UnknownServerError, text)
    })?;
    let assignments = topic.assignments.iter().map(|assignment| {
        let replicas = assignment.broker_ids.iter().map(|id| NodeId(id.0)).collect();
        (PartitionIndex(assignment.partition_index), replicas)
    });
    let configs = topic
        .configs
        .iter()
        .map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string)));
    Ok(NewTopic {
        name: topic.name.to_string(),
        id: TopicId(id),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    })
}

fn refused(topic: &CreatableTopic, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(refusal.code)
        .with_error_message(refusal.text())
        .with_configs(None)
}

fn describe(
    call: &Call,
    topic: &CreatableTopic,
    outcome: Result<CreatedTopic, Refusal>,
) -> CreatableTopicResult {
    let created = match outcome {
        Ok(created) => created,
        Err(refusal) => return refused(topic, &refusal),
    };
    let result = CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(created.id.0)
        .with_error_message(None);
    if !call.allows(Operation::DescribeConfigs, Resource::Topic, &topic.name) {
        return result
            .with_topic_config_error_code(ResponseError::TopicAuthorizationFailed.code())
            .with_configs(None);
    }
    result
        .with_num_partitions(created.partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(effective_configs(call, topic)))
}

fn effective_configs(call: &Call, topic: &CreatableTopic) -> Vec<CreatableTopicConfigs> {
    let own = topic.configs.iter();
    let own: Settings =
        own.filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string()))).collect();
    let layers = call.node.layers(&call.node.controller_image());
    layers.describe_topic(&own).into_iter().map(effective_config).collect()
}

fn effective_config(config: Described) -> CreatableTopicConfigs {
    let is_sensitive = topic_key(config.name).is_some_and(|key| key.is_secret());
    CreatableTopicConfigs::default()
        .with_name(StrBytes::from_static_str(config.name))
        .with_value(config.value.map(StrBytes::from_string))
        .with_config_source(config.source.code())
        .with_is_sensitive(is_sensitive)
}

#[cfg(test)]
mod tests {
    use ottla_wire::messages::ApiKey;
    use ottla_wire::messages::create_topics_request::CreatableTopicConfig;

    use super::*;
    use crate::api::Scope;
    use crate::api::authorize::Authorizer;
    use crate::api::tests::rig::{MISSING, call, node, read};

    const CREATED: CreatedTopic =
        CreatedTopic { id: TopicId(MISSING.id), partitions: 3, replication_factor: 1 };

    fn answered(authorizer: Authorizer, version: i16) -> CreatableTopicResult {
        let config = CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str("retention.ms"))
            .with_value(Some(StrBytes::from_static_str("60000")));
        let topic = CreatableTopic::default().with_name(MISSING.topic()).with_configs(vec![config]);
        let call = call(&node(authorizer), Scope::Controller, ApiKey::CreateTopics as i16, version);
        let response =
            CreateTopicsResponse::default().with_topics(vec![describe(&call, &topic, Ok(CREATED))]);
        let body =
            ottla_wire::response::encode_body::<CreateTopicsRequest>(version, &response).expect("ours");
        read::<CreateTopicsRequest>(version, body).topics.remove(0)
    }

    #[test]
    fn a_new_topic_is_described_as_far_as_the_version_goes() {
        for version in 2..=7 {
            let topic = answered(Authorizer::AllowAll, version);
            assert_eq!((topic.error_code, topic.error_message), (0, None), "v{version}");
            let expected = if version < 5 { (-1, -1) } else { (3, 1) };
            assert_eq!((topic.num_partitions, topic.replication_factor), expected, "v{version}");
            assert_eq!(topic.topic_id == MISSING.id, version >= 7);
            let configs = topic.configs.unwrap_or_default();
            let retention = configs.iter().find(|config| config.name.as_str() == "retention.ms");
            let retention = retention.map(|config| (config.value.as_deref(), config.config_source));
            assert_eq!(retention, (version >= 5).then_some((Some("60000"), 1)), "v{version}");
        }
    }

    #[test]
    fn who_may_not_describe_configurations_is_not_shown_them() {
        let topic = answered(Authorizer::DenyAll, 7);
        assert_eq!((topic.error_code, topic.topic_config_error_code), (0, 29));
        assert_eq!((topic.configs, topic.num_partitions, topic.replication_factor), (None, -1, -1));
    }
}
