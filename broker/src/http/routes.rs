//! What each path answers.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use ottla_core::metadata::image::Voter;
use serde_json::json;

use crate::drive::controller::ControllerHandle;
use crate::node::{Node, NodeState};

/// An answer before it is HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    Answer { status, content_type: TEXT, body: body.into() + "\n" }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    Answer { status, content_type: JSON, body: format!("{body}\n") }
}

/// Routes a request.
pub(super) async fn answer(node: &Node, method: &Method, path: &str, query: Option<&str>) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "this endpoint only answers GET");
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok"),
        "/startupz" => startup(node),
        "/readyz" => ready(node),
        "/v1/node" => describe(node),
        "/v1/restart-safety" => restart_safety(node, query.unwrap_or_default()).await,
        "/metrics" => {
            Answer { status: StatusCode::OK, content_type: OPEN_METRICS, body: node.metrics.render() }
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "paths: /livez /startupz /readyz /v1/node /v1/restart-safety?brokers=ID,... /metrics",
        ),
    }
}

fn startup(node: &Node) -> Answer {
    match node.status.borrow().state {
        NodeState::Recovering => text(StatusCode::SERVICE_UNAVAILABLE, "logs are being recovered"),
        NodeState::Starting | NodeState::Fenced | NodeState::Running | NodeState::Stopping => {
            text(StatusCode::OK, "ok")
        }
    }
}

fn ready(node: &Node) -> Answer {
    if let Some(controller) = node.controller.as_ref().filter(|_| !node.config.roles.is_broker()) {
        return if controller.is_caught_up() {
            text(StatusCode::OK, "ok")
        } else {
            let why_not = "this controller knows no leader, or has applied nothing that it committed";
            text(StatusCode::SERVICE_UNAVAILABLE, why_not)
        };
    }
    let why_not = match node.status.borrow().state {
        NodeState::Running => return text(StatusCode::OK, "ok"),
        NodeState::Recovering => "logs are being recovered",
        NodeState::Starting => "the broker has not registered with the active controller, or not caught up",
        NodeState::Fenced => "the broker is fenced by the active controller",
        NodeState::Stopping => "the broker is stopping",
    };
    text(StatusCode::SERVICE_UNAVAILABLE, why_not)
}

fn describe(node: &Node) -> Answer {
    let status = *node.status.borrow();
    let state = match status.state {
        NodeState::Recovering => "recovering",
        NodeState::Starting => "starting",
        NodeState::Fenced => "fenced",
        NodeState::Running => "running",
        NodeState::Stopping => "stopping",
    };
    let mut roles = Vec::new();
    if node.config.roles.is_broker() {
        roles.push("broker");
    }
    if node.config.roles.is_controller() {
        roles.push("controller");
    }
    let directories: Vec<String> = node.directory_ids.iter().map(ToString::to_string).collect();
    let body = json!({
        "nodeId": node.id.0,
        "clusterId": node.cluster_id.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "directoryIds": directories,
        "roles": roles,
        "brokerEpoch": status.broker_epoch,
        "state": state,
        "configHash": node.config.config_hash,
        "metadataOffset": node.image().offset.0,
        "quorum": node.controller.as_ref().map(quorum),
    });
    json(StatusCode::OK, &body)
}

/// What this node's controller knows of the quorum. A voter is a node *and* a directory, so that whoever compares these
/// with the directories that nodes serve can tell whether a majority is left.
fn quorum(controller: &ControllerHandle) -> serde_json::Value {
    let image = Arc::clone(&controller.images().borrow());
    let voter = |voter: &Arc<Voter>| (voter.node_id.0.to_string(), voter.directory_id.to_string().into());
    let voters: serde_json::Map<String, serde_json::Value> = image.voters.values().map(voter).collect();
    json!({"caughtUp": controller.is_caught_up(), "voters": voters})
}

/// The brokers that a question is about. A proxy, such as the one of `kubectl get --raw`, may have encoded the commas;
/// nothing else of a list of ids can be.
fn brokers_of(query: &str) -> Option<Vec<i32>> {
    let ids = query.split('&').find_map(|pair| pair.strip_prefix("brokers="))?;
    ids.replace("%2C", ",").replace("%2c", ",").split(',').map(|id| id.parse().ok()).collect()
}

async fn restart_safety(node: &Node, query: &str) -> Answer {
    let Some(brokers) = brokers_of(query) else {
        return text(StatusCode::BAD_REQUEST, "say which: /v1/restart-safety?brokers=1,4");
    };
    match node.controllers.restart_safety(&brokers).await {
        Ok(reasons) => {
            let listed: Vec<_> = reasons
                .iter()
                .map(|reason| json!({"code": reason.code, "message": reason.message}))
                .collect();
            json(StatusCode::OK, &json!({"safe": reasons.is_empty(), "reasons": listed}))
        }
        Err(error) => {
            let reason = json!({"code": "NO_ANSWER", "message": error.to_string()});
            json(StatusCode::SERVICE_UNAVAILABLE, &json!({"safe": false, "reasons": [reason]}))
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_core::ids::{DirectoryId, NodeId};
    use ottla_core::metadata::image::Image;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_list_of_brokers_may_have_gone_through_a_proxy() {
        for query in ["brokers=1,40", "a=b&brokers=1%2C40&c", "brokers=1%2c40"] {
            assert_eq!(brokers_of(query), Some(vec![1, 40]), "{query}");
        }
        for query in ["", "brokers=", "brokers=1,", "brokers=1%202", "brokers=a", "broker=1"] {
            assert_eq!(brokers_of(query), None, "{query}");
        }
    }

    #[test]
    fn a_controller_tells_the_voters_that_it_knows_by_their_directories() {
        let directory_id = DirectoryId(Uuid::from_u128(7));
        let mut image = Image::default();
        let voter = Voter { node_id: NodeId(2), directory_id, endpoints: Vec::new() };
        image.voters.insert(NodeId(2), Arc::new(voter));
        let told = quorum(&ControllerHandle::gone(image));
        assert_eq!(told, json!({"caughtUp": false, "voters": {"2": directory_id.to_string()}}));
        assert_eq!(quorum(&ControllerHandle::gone(Image::default()))["voters"], json!({}));
    }
}
