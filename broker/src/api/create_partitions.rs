//! CreatePartitions, key 37, versions 0–3.
//!
//! Behaviour: raises the number of partitions of each topic to `count`, each topic alone; `validate_only`
//! runs everything but the commit. A name twice in the request is INVALID_REQUEST, once.
//! Authorization: Alter on each topic; a denied one is TOPIC_AUTHORIZATION_FAILED, whether it exists or not.
//! Version notes: 2 is where the encoding became flexible; nothing else differs.
//! Not done: THROTTLING_QUOTA_EXCEEDED (3), there are no quotas.

use bytes::Bytes;
use ottla_core::controller::operation::{CreatePartitions, MorePartitions};
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::NodeId;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::create_partitions_request::CreatePartitionsTopic;
use ottla_wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use ottla_wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest, Occurrence};
use super::{Call, Reply};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<CreatePartitionsRequest>(call, body)
}

impl AdminRequest for CreatePartitionsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    async fn decide(&self, call: &Call) -> Result<CreatePartitionsResponse, OperationError> {
        let mut asked = Vec::new();
        let mut checked = Vec::new();
        for (topic, occurrence) in topics(self) {
            let allowed = check(call, topic, occurrence);
            checked.push((topic, allowed.map(|()| asked.push(more_partitions(topic)))));
        }
        let results = if asked.is_empty() {
            Vec::new()
        } else {
            let operation = CreatePartitions { topics: asked, validate_only: self.validate_only };
            let reply = forward::ask(call, controller::Operation::CreatePartitions(operation)).await?;
            let controller::Reply::CreatePartitions(results) = reply else {
                unreachable!("CreatePartitions answered by {reply:?}")
            };
            results
        };
        let described = forward::outcomes(checked, results)
            .map(|(topic, outcome)| describe(topic, outcome.as_ref().err()));
        Ok(CreatePartitionsResponse::default().with_results(described.collect()))
    }

    fn refuse(&self, refusal: &Refusal) -> CreatePartitionsResponse {
        let results = topics(self).into_iter().map(|(topic, _)| describe(topic, Some(refusal)));
        CreatePartitionsResponse::default().with_results(results.collect())
    }
}

/// Each topic once.
fn topics(request: &CreatePartitionsRequest) -> Vec<(&CreatePartitionsTopic, Occurrence)> {
    forward::once_each(&request.topics, |topic| topic.name.as_str())
}

fn check(call: &Call, topic: &CreatePartitionsTopic, occurrence: Occurrence) -> Result<(), Refusal> {
    occurrence.only_once()?;
    if !call.allows(Operation::Alter, Resource::Topic, &topic.name) {
        return Err(Refusal::unauthorized(ResponseError::TopicAuthorizationFailed));
    }
    Ok(())
}

fn more_partitions(topic: &CreatePartitionsTopic) -> MorePartitions {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let lists = assignments.iter().map(|one| one.broker_ids.iter().map(|id| NodeId(id.0)).collect());
        lists.collect()
    });
    MorePartitions { name: topic.name.to_string(), count: topic.count, assignments }
}

fn describe(topic: &CreatePartitionsTopic, refusal: Option<&Refusal>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(refusal.map_or(0, |refusal| refusal.code))
        .with_error_message(refusal.and_then(Refusal::text))
}
