//! DeleteTopics, key 20, versions 1–6.
//!
//! Behaviour: each topic, named by name or by id, is removed or refused alone. One that is in the request
//! twice is INVALID_REQUEST, and so is one with both a name and an id, or with neither.
//! Authorization: Delete on each topic. Without it a name is TOPIC_AUTHORIZATION_FAILED, whether it exists or
//! not; an id is UNKNOWN_TOPIC_ID, as if it did not exist, unless the topic may be described. Kafka answers
//! TOPIC_AUTHORIZATION_FAILED for the id of a topic that may not be seen, which tells that it exists.
//! Version notes: 1–5 name topics in `topic_names`, 6 in `topics`, where an id may stand instead of a name;
//! 5 brings error messages. `delete.topic.enable=false` is TOPIC_DELETION_DISABLED, before 3 INVALID_REQUEST.
//! Not done: THROTTLING_QUOTA_EXCEEDED (5+), there are no quotas.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::controller::operation::{DeleteTopics, DeletedTopic, TopicReference};
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::TopicId;
use ottla_core::metadata::image::Image;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::delete_topics_request::DeleteTopicState;
use ottla_wire::messages::delete_topics_response::DeletableTopicResult;
use ottla_wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use ottla_wire::protocol::StrBytes;
use uuid::Uuid;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest, Occurrence};
use super::{Call, Reply};

/// Below this version the code TOPIC_DELETION_DISABLED is unknown.
const DELETION_DISABLED_FROM: i16 = 3;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<DeleteTopicsRequest>(call, body)
}

/// A topic as the request names it, and what is known of it besides and may be told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    name: Option<StrBytes>,
    id: Uuid,
}

impl AdminRequest for DeleteTopicsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    async fn decide(&self, call: &Call) -> Result<DeleteTopicsResponse, OperationError> {
        let all = named(self);
        let image = image_with(call, &all).await?;
        let mut asked = Vec::new();
        let mut checked = Vec::with_capacity(all.len());
        for (one, occurrence) in forward::once_each(&all, |one| one) {
            let reference = check(call, &image, one, occurrence);
            checked.push((one, reference.map(|reference| asked.push(reference))));
        }
        let mut results = if asked.is_empty() {
            Vec::new()
        } else {
            let operation = controller::Operation::DeleteTopics(DeleteTopics { topics: asked });
            let reply = forward::ask(call, operation).await?;
            let controller::Reply::DeleteTopics(results) = reply else {
                unreachable!("DeleteTopics answered by {reply:?}")
            };
            results
        }
        .into_iter();
        let responses = checked.into_iter().map(|(one, checked)| match checked {
            Err((known, refusal)) => refused(&known, &refusal),
            Ok(()) => {
                let result = results.next().expect("one result for each topic that was asked for");
                describe(call, one, result)
            }
        });
        Ok(DeleteTopicsResponse::default().with_responses(responses.collect()))
    }

    fn refuse(&self, refusal: &Refusal) -> DeleteTopicsResponse {
        let all = named(self);
        let once = forward::once_each(&all, |one| one).into_iter();
        let responses = once.map(|(one, _)| refused(one, refusal));
        DeleteTopicsResponse::default().with_responses(responses.collect())
    }
}

/// An image in which a topic id that is not there is none. Where one is not seen, the active controller is asked
/// for nothing first: another than this one says that it is not the active one, and when this one answers, it has
/// committed all that it had decided before. One that was deposed and has not noticed yet answers too, from what it
/// knows, as Kafka's does. So it is for ids that the caller may not see, lest that tells of them.
async fn image_with(call: &Call, all: &[Named]) -> Result<Arc<Image>, OperationError> {
    let image = call.node.controller_image();
    let unseen = |one: &Named| {
        let topic = image.topics.get(&TopicId(one.id));
        let seen = topic.is_some_and(|topic| {
            let name = topic.name.as_str();
            let allows = |operation| call.allows(operation, Resource::Topic, name);
            allows(Operation::Delete) || allows(Operation::Describe)
        });
        !one.id.is_nil() && !seen
    };
    if !all.iter().any(unseen) {
        return Ok(image);
    }
    let nothing = controller::Operation::DeleteTopics(DeleteTopics { topics: Vec::new() });
    forward::ask(call, nothing).await?;
    Ok(call.node.controller_image())
}

/// Either field of the request; only one of them is on the wire.
fn named(request: &DeleteTopicsRequest) -> Vec<Named> {
    let old = request.topic_names.iter().map(|name| Named { name: Some(name.0.clone()), id: Uuid::nil() });
    let new =
        |topic: &DeleteTopicState| Named { name: topic.name.clone().map(StrBytes::from), id: topic.topic_id };
    old.chain(request.topics.iter().map(new)).collect()
}

/// What to ask the controller for, or what the response may say and why not.
fn check(
    call: &Call,
    image: &Image,
    one: &Named,
    occurrence: Occurrence,
) -> Result<TopicReference, (Named, Refusal)> {
    let refuse = |known: Named, error, text: &str| Err((known, Refusal::new(error, text)));
    let allows = |operation, name: &str| call.allows(operation, Resource::Topic, name);
    occurrence.only_once().map_err(|refusal| (one.clone(), refusal))?;
    match (&one.name, one.id.is_nil()) {
        (Some(_), false) => refuse(
            one.clone(),
            ResponseError::InvalidRequest,
            "a topic is named by its name or its id, not both",
        ),
        (None, true) => {
            refuse(one.clone(), ResponseError::InvalidRequest, "neither a name nor an id is given")
        }
        (Some(name), true) if allows(Operation::Delete, name) => Ok(TopicReference::Name(name.to_string())),
        (Some(_), true) => Err((one.clone(), Refusal::unauthorized(ResponseError::TopicAuthorizationFailed))),
        (None, false) => {
            let id = TopicId(one.id);
            let Some(topic) = image.topics.get(&id) else {
                return Err(unknown_id(one));
            };
            let name = topic.name.as_str();
            if allows(Operation::Delete, name) {
                return Ok(TopicReference::Id(id));
            }
            if !allows(Operation::Describe, name) {
                return Err(unknown_id(one));
            }
            let seen = Named { name: Some(StrBytes::from_string(name.to_owned())), id: one.id };
            Err((seen, Refusal::unauthorized(ResponseError::TopicAuthorizationFailed)))
        }
    }
}

fn unknown_id(one: &Named) -> (Named, Refusal) {
    (one.clone(), Refusal::from(OperationError::UnknownTopicId(TopicId(one.id).to_string())))
}

fn refused(known: &Named, refusal: &Refusal) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(known.name.clone().map(TopicName))
        .with_topic_id(known.id)
        .with_error_code(refusal.code)
        .with_error_message(refusal.text())
}

fn describe(call: &Call, one: &Named, result: Result<DeletedTopic, OperationError>) -> DeletableTopicResult {
    match result {
        Ok(deleted) => DeletableTopicResult::default()
            .with_name(Some(StrBytes::from_string(deleted.name.to_string()).into()))
            .with_topic_id(deleted.id.0)
            .with_error_message(None),
        Err(error @ OperationError::TopicDeletionDisabled) if call.version < DELETION_DISABLED_FROM => {
            refused(one, &Refusal::new(ResponseError::InvalidRequest, error.to_string()))
        }
        Err(error) => refused(one, &Refusal::from(error)),
    }
}
