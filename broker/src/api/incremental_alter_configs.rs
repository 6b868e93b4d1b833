//! IncrementalAlterConfigs, key 44, versions 0–1.
//!
//! Behaviour (rule 17): each resource, a topic, a broker, or every broker (type broker, name empty), changes
//! wholly or not at all. SET, DELETE, APPEND and SUBTRACT; the last two on lists only. The controller records
//! the changes, whichever broker was asked; brokers take them from the metadata. A resource twice in the
//! request, a key twice in a resource, an unknown operation, and a missing value are INVALID_REQUEST.
//! Authorization: AlterConfigs on the topic (TOPIC_AUTHORIZATION_FAILED), or on the cluster for brokers
//! (CLUSTER_AUTHORIZATION_FAILED), asked before anything else about the resource is looked at.
//! Version notes: 1 is where the encoding became flexible; nothing else differs.
//! Not done: log levels of a broker (type 8: Ottla has no per-class loggers), client metrics (16) and groups
//! (32) are INVALID_REQUEST until the parts they configure exist.

use bytes::Bytes;
use ottla_core::config::{AlterOp, Alteration};
use ottla_core::controller::operation::IncrementalAlterConfigs;
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::{NodeId, TopicName};
use ottla_core::metadata::image::ConfigResource;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla_wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use ottla_wire::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::authorize::{Operation, Resource};
use super::describe_configs::{BROKER, TOPIC, unsupported};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest, Occurrence};
use super::{Call, Reply};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<IncrementalAlterConfigsRequest>(call, body)
}

impl AdminRequest for IncrementalAlterConfigsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    async fn decide(&self, call: &Call) -> Result<IncrementalAlterConfigsResponse, OperationError> {
        let mut asked = Vec::new();
        let mut checked = Vec::new();
        for (resource, occurrence) in resources(self) {
            let alterations = check(call, resource, occurrence);
            checked.push((resource, alterations.map(|alterations| asked.push(alterations))));
        }
        let results = if asked.is_empty() {
            Vec::new()
        } else {
            let operation = IncrementalAlterConfigs { resources: asked, validate_only: self.validate_only };
            let reply = forward::ask(call, controller::Operation::IncrementalAlterConfigs(operation)).await?;
            let controller::Reply::IncrementalAlterConfigs(results) = reply else {
                unreachable!("IncrementalAlterConfigs answered by {reply:?}")
            };
            results
        };
        let described = forward::outcomes(checked, results)
            .map(|(resource, outcome)| describe(resource, outcome.as_ref().err()));
        Ok(IncrementalAlterConfigsResponse::default().with_responses(described.collect()))
    }

    fn refuse(&self, refusal: &Refusal) -> IncrementalAlterConfigsResponse {
        let responses = resources(self).into_iter().map(|(resource, _)| describe(resource, Some(refusal)));
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }
}

/// Each resource once.
fn resources(request: &IncrementalAlterConfigsRequest) -> Vec<(&AlterConfigsResource, Occurrence)> {
    forward::once_each(&request.resources, |one| (one.resource_type, one.resource_name.as_str()))
}

fn check(
    call: &Call,
    asked: &AlterConfigsResource,
    occurrence: Occurrence,
) -> Result<(ConfigResource, Vec<Alteration>), Refusal> {
    occurrence.only_once()?;
    let resource = resource(call, asked)?;
    let keys = forward::once_each(&asked.configs, |config| config.name.as_str());
    let alterations = keys.into_iter().map(|(config, occurrence)| {
        occurrence.only_once()?;
        alteration(config)
    });
    Ok((resource, alterations.collect::<Result<_, _>>()?))
}

fn resource(call: &Call, asked: &AlterConfigsResource) -> Result<ConfigResource, Refusal> {
    let name = asked.resource_name.as_str();
    match asked.resource_type {
        TOPIC => {
            if !call.allows(Operation::AlterConfigs, Resource::Topic, name) {
                return Err(Refusal::unauthorized(ResponseError::TopicAuthorizationFailed));
            }
            let topic =
                TopicName::parse(name).map_err(|error| OperationError::InvalidTopic(error.to_string()))?;
            Ok(ConfigResource::Topic(topic))
        }
        BROKER => {
            if !call.allows(Operation::AlterConfigs, Resource::Cluster, "") {
                return Err(Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed));
            }
            if name.is_empty() {
                return Ok(ConfigResource::BrokerDefault);
            }
            let id: i32 = name.parse().map_err(|_| {
                Refusal::new(ResponseError::InvalidRequest, format!("\"{name}\" is not the id of a broker"))
            })?;
            Ok(ConfigResource::Broker(NodeId(id)))
        }
        other => Err(unsupported(other)),
    }
}

fn alteration(config: &AlterableConfig) -> Result<Alteration, Refusal> {
    let key = config.name.to_string();
    let refuse = |text: String| Err(Refusal::new(ResponseError::InvalidRequest, text));
    let Some(op) = AlterOp::from_code(config.config_operation) else {
        return refuse(format!("unknown operation {} on config \"{key}\"", config.config_operation));
    };
    if config.value.is_none() && op != AlterOp::Delete {
        return refuse(format!("config \"{key}\" has no value in the request"));
    }
    Ok(Alteration { key, op, value: config.value.as_ref().map(ToString::to_string) })
}

fn describe(resource: &AlterConfigsResource, refusal: Option<&Refusal>) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
        .with_error_code(refusal.map_or(0, |refusal| refusal.code))
        .with_error_message(refusal.and_then(Refusal::text))
}
