//! Admin requests on their way to the active controller.
//!
//! Any broker takes an admin request (rule 10). It decodes the body, so that a malformed one closes the
//! connection as everywhere else, decides nothing, and sends the untouched body on with the principal, the
//! listener and the host it came from. The controller authorizes and answers; see `private::forward`.
//!
//! An API of this kind implements [`AdminRequest`] in its own file and has one entry in [`ADMIN`].
//!
//! Time: a positive `timeout_ms` of the request counts, up to `request.timeout.ms`; zero, which some clients
//! send to mean "do not wait for the change to spread", and a request without the field get
//! `request.timeout.ms`. When the time is over every item is REQUEST_TIMED_OUT; what was asked may still
//! happen.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::controller::{self, Operation, OperationError};
use ottla_core::ids::TopicName;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{
    AddRaftVoterRequest, AlterPartitionReassignmentsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest, DescribeQuorumRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest, RemoveRaftVoterRequest, UnregisterBrokerRequest,
    UpdateFeaturesRequest,
};
use ottla_wire::private::{ForwardRequest, ForwardResponse};
use ottla_wire::protocol::Request;
use tracing::{debug, error};

use super::error_code::Refusal;
use super::{Call, Reply};

/// A request that the active controller answers, wherever a client sends it.
pub(super) trait AdminRequest: Request + Send + Sync + 'static {
    /// `timeout_ms` of the request, where it has that field.
    fn timeout_ms(&self) -> Option<i32>;

    /// What this node answers as a controller. An error concerns the whole request: this is not the active
    /// controller, above all.
    fn decide(&self, call: &Call) -> impl Future<Output = Result<Self::Response, OperationError>> + Send;

    /// The response that refuses the whole request, item by item where it has items.
    fn refuse(&self, refusal: &Refusal) -> Self::Response;

    /// The same in a version that lacks some of it.
    fn refuse_in(&self, _version: i16, refusal: &Refusal) -> Self::Response {
        self.refuse(refusal)
    }
}

/// The body of a response, or why there is none.
type Forwarded = Pin<Box<dyn Future<Output = ForwardResponse> + Send>>;

/// What both sides do with one admin API.
pub(super) struct AdminApi {
    key: i16,
    on_broker: fn(Call, Bytes) -> Result<Reply, DecodeError>,
    on_controller: fn(Call, Bytes) -> Result<Forwarded, DecodeError>,
}

impl AdminApi {
    const fn of<R: AdminRequest>() -> Self {
        Self { key: R::KEY, on_broker: to_controller::<R>, on_controller: answer_broker::<R> }
    }
}

/// Every API whose row in the table names [`serve`]; a test compares the two.
static ADMIN: &[AdminApi] = &[
    AdminApi::of::<CreateTopicsRequest>(),
    AdminApi::of::<DeleteTopicsRequest>(),
    AdminApi::of::<CreatePartitionsRequest>(),
    AdminApi::of::<IncrementalAlterConfigsRequest>(),
    AdminApi::of::<AlterPartitionReassignmentsRequest>(),
    AdminApi::of::<ListPartitionReassignmentsRequest>(),
    AdminApi::of::<DescribeQuorumRequest>(),
    AdminApi::of::<ElectLeadersRequest>(),
    AdminApi::of::<UnregisterBrokerRequest>(),
    AdminApi::of::<UpdateFeaturesRequest>(),
    AdminApi::of::<AddRaftVoterRequest>(),
    AdminApi::of::<RemoveRaftVoterRequest>(),
];

fn find(key: i16) -> Option<&'static AdminApi> {
    ADMIN.iter().find(|api| api.key == key)
}

/// A topic's name as it is kept for each of its partitions: no longer than it takes to see that it is none. A request
/// may name one topic and a quarter of a million partitions.
pub(super) fn bounded(name: &str) -> String {
    name.chars().take(TopicName::LENGTH_MAX + 1).collect()
}

#[cfg(test)]
pub(super) fn keys() -> Vec<i16> {
    ADMIN.iter().map(|api| api.key).collect()
}

/// What a broker does with an admin request.
pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    match find(call.key) {
        Some(api) => (api.on_broker)(call, body),
        None => Ok(Reply::Close("the api is not forwarded")),
    }
}

/// What a controller does with an admin request that a broker forwarded. None if nobody forwards this key.
pub(super) fn serve_forwarded(call: Call, body: Bytes) -> Option<Result<Forwarded, DecodeError>> {
    find(call.key).map(|api| (api.on_controller)(call, body))
}

/// What a controller does with an admin request that a client sent to it.
pub(super) fn serve_directly<R: AdminRequest>(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: R = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let response = match decide_in_time(&call, &request).await {
            Ok(response) => response,
            Err(error) => request.refuse_in(call.version, &Refusal::from(error)),
        };
        call.encode::<R>(&response)
    })))
}

/// Asks the controller part of this node.
pub(super) async fn ask(call: &Call, operation: Operation) -> Result<controller::Reply, OperationError> {
    match &call.node.controller {
        Some(controller) => controller.request(operation).await,
        None => Err(OperationError::NotController { leader: None }),
    }
}

fn to_controller<R: AdminRequest>(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: R = ottla_wire::request::decode_body(call.version, body.clone())?;
    Ok(Reply::Later(Box::pin(async move {
        match call.node.controllers.forward(wrap(&call, body), time_limit(&call, &request)).await {
            Ok(body) => call.encode_raw(&body),
            Err(error) => {
                debug!(api_key = call.key, %error, "an admin request was not forwarded");
                let text = "no active controller answered in time";
                let refusal = Refusal::new(ResponseError::RequestTimedOut, text);
                call.encode::<R>(&request.refuse_in(call.version, &refusal))
            }
        }
    })))
}

fn wrap(call: &Call, body: Bytes) -> ForwardRequest {
    ForwardRequest {
        principal_type: call.context.principal.kind.clone(),
        principal_name: call.context.principal.name.clone(),
        client_id: call.context.client_id.to_string(),
        listener: call.context.listener.name.clone(),
        client_host: call.context.peer.ip().to_string(),
        api_key: call.key,
        api_version: call.version,
        body,
    }
}

fn answer_broker<R: AdminRequest>(call: Call, body: Bytes) -> Result<Forwarded, DecodeError> {
    let request: R = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Box::pin(async move {
        let response = match decide_in_time(&call, &request).await {
            Ok(response) => response,
            // The broker looks for the active controller and asks again.
            Err(error @ OperationError::NotController { .. }) => return nothing(error.code()),
            Err(error) => request.refuse_in(call.version, &Refusal::from(error)),
        };
        match ottla_wire::response::encode_body::<R>(call.version, &response) {
            Ok(body) => ForwardResponse { error_code: 0, body },
            Err(error) => {
                error!(api_key = call.key, api_version = call.version, %error, "response cannot be encoded");
                nothing(ResponseError::UnknownServerError.code())
            }
        }
    }))
}

/// How often something stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occurrence {
    Once,
    Repeated,
}

impl Occurrence {
    /// Kafka does nothing for what a request names twice, as the two may contradict each other.
    pub(super) fn only_once(self) -> Result<(), Refusal> {
        match self {
            Self::Once => Ok(()),
            Self::Repeated => {
                Err(Refusal::new(ResponseError::InvalidRequest, "it is in the request more than once"))
            }
        }
    }
}

/// Each item once, by its key, in the order of the request.
pub(super) fn once_each<'a, T, K: Ord>(items: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<(&'a T, Occurrence)> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(key(item)).or_insert(0_usize) += 1;
    }
    let mut once = Vec::with_capacity(counts.len());
    for item in items {
        match counts.remove(&key(item)) {
            Some(1) => once.push((item, Occurrence::Once)),
            Some(_) => once.push((item, Occurrence::Repeated)),
            None => {}
        }
    }
    once
}

/// What came of each item: refused before the controller was asked, or what the controller says of it. The
/// controller's results are those of the items that were not refused, in their order.
pub(super) fn outcomes<I, T>(
    checked: Vec<(I, Result<(), Refusal>)>,
    results: Vec<Result<T, OperationError>>,
) -> impl Iterator<Item = (I, Result<T, Refusal>)> {
    let mut results = results.into_iter();
    checked.into_iter().map(move |(item, checked)| {
        let outcome = checked.and_then(|()| {
            let result = results.next().expect("the controller answers each item it was asked about");
            result.map_err(Refusal::from)
        });
        (item, outcome)
    })
}

/// A forward that comes to nothing.
pub(super) fn nothing(error_code: i16) -> ForwardResponse {
    ForwardResponse { error_code, body: Bytes::new() }
}

async fn decide_in_time<R: AdminRequest>(call: &Call, request: &R) -> Result<R::Response, OperationError> {
    let decided = tokio::time::timeout(time_limit(call, request), request.decide(call)).await;
    decided.unwrap_or_else(|_| {
        let text = "the metadata quorum did not commit in time; the change may still happen";
        Ok(request.refuse_in(call.version, &Refusal::new(ResponseError::RequestTimedOut, text)))
    })
}

fn time_limit<R: AdminRequest>(call: &Call, request: &R) -> Duration {
    let most = call.node.config.timeouts.request;
    match request.timeout_ms().map(u64::try_from) {
        Some(Ok(asked_ms)) if asked_ms > 0 => Duration::from_millis(asked_ms).min(most),
        Some(Ok(_) | Err(_)) | None => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_comes_once_and_in_order() {
        let once = once_each(&["b", "a", "b", "c", "b"], |item| *item);
        let expected = [("b", Occurrence::Repeated), ("a", Occurrence::Once), ("c", Occurrence::Once)];
        assert_eq!(
            once.into_iter().map(|(item, occurrence)| (*item, occurrence)).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn results_go_to_the_items_that_were_asked_about() {
        let refusal = Refusal::unauthorized(ResponseError::TopicAuthorizationFailed);
        let checked = vec![("a", Ok(())), ("b", Err(refusal.clone())), ("c", Ok(()))];
        let unknown = OperationError::UnknownTopic("c".to_owned());
        let merged: Vec<_> = outcomes(checked, vec![Ok(1), Err(unknown.clone())]).collect();
        assert_eq!(merged, [("a", Ok(1)), ("b", Err(refusal)), ("c", Err(Refusal::from(unknown)))]);
    }
}
