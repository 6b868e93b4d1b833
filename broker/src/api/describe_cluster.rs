//! DescribeCluster, key 60, versions 0–2.
//!
//! Behaviour: on a listener of brokers the cluster id, brokers with the endpoint of the asking listener, and a
//! controller (any broker: admin calls are forwarded, rule 10). On the listener of controllers, for tools with
//! `--bootstrap-controller` (KIP-919), the controllers, voters and observers, with their endpoints of that name, and the
//! active one, or −1. Asked for the other type each says MISMATCHED_ENDPOINT_TYPE.
//! Authorization: none to see the brokers, as in Kafka (Metadata shows them too); Alter on the cluster to see the
//! controllers, as in Kafka. The authorized operations are computed on request.
//! Version notes: 1 brings the endpoint type, before it brokers are meant; 2 lists fenced brokers on request.
//! Not done: nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::ids::NodeId;
use ottla_core::metadata::image::{Endpoint, Fencing, Image};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::describe_cluster_response::DescribeClusterBroker;
use ottla_wire::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::{Call, Reply};

/// Endpoint types (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// On a listener of brokers.
pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DescribeClusterRequest = ottla_wire::request::decode_body(call.version, body)?;
    if let Some(refusal) = mismatch(&request, BROKERS) {
        return Ok(refuse(&call, BROKERS, &refusal));
    }
    let image = call.node.image();
    let brokers = image
        .brokers
        .values()
        .filter(|broker| broker.fencing != Fencing::Fenced || request.include_fenced_brokers)
        .filter_map(|broker| {
            let endpoint = broker.endpoint(&call.context.listener.name)?;
            Some(
                listed(broker.node_id, endpoint)
                    .with_rack(broker.rack.clone().map(StrBytes::from_string))
                    .with_is_fenced(broker.fencing == Fencing::Fenced),
            )
        });
    let response = described(&call, &request, BROKERS)
        .with_controller_id(id(call.node.any_live_broker(&image)))
        .with_brokers(brokers.collect());
    Ok(call.answer::<DescribeClusterRequest>(&response))
}

/// On a listener of controllers.
pub(crate) fn serve_controllers(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DescribeClusterRequest = ottla_wire::request::decode_body(call.version, body)?;
    if !call.allows(Operation::Alter, Resource::Cluster, "") {
        let refusal = Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed);
        return Ok(refuse(&call, CONTROLLERS, &refusal));
    }
    if let Some(refusal) = mismatch(&request, CONTROLLERS) {
        return Ok(refuse(&call, CONTROLLERS, &refusal));
    }
    let image = call.node.controller_image();
    let controllers = controllers(&image, &call.context.listener.name);
    let response = described(&call, &request, CONTROLLERS)
        .with_controller_id(id(active(&call, &image)))
        .with_brokers(controllers.into_iter().map(|(id, endpoint)| listed(id, endpoint)).collect());
    Ok(call.answer::<DescribeClusterRequest>(&response))
}

/// Voters, and those that follow without a vote: of an id that is there twice the one that votes.
fn controllers<'a>(image: &'a Image, listener: &str) -> BTreeMap<NodeId, &'a Endpoint> {
    let members = image.learners.values().chain(image.voters.values());
    let reached = members.filter_map(|member| {
        let endpoint = member.endpoints.iter().find(|endpoint| endpoint.listener == listener)?;
        Some((member.node_id, endpoint))
    });
    reached.collect()
}

/// The active controller, as far as this one knows.
fn active(call: &Call, image: &Image) -> Option<NodeId> {
    let active = call.node.controller.as_ref()?.active();
    let address = active.borrow().as_ref()?.address.clone();
    let leads = |endpoint: &Endpoint| endpoint.host == address.host && endpoint.port == address.port;
    image.voters.values().find(|voter| voter.endpoints.iter().any(leads)).map(|voter| voter.node_id)
}

/// What is wrong with the type of endpoints that a request is about, on a listener of this type.
fn mismatch(request: &DescribeClusterRequest, serves: i8) -> Option<Refusal> {
    let (error, text) = match request.endpoint_type {
        asked if asked == serves => return None,
        BROKERS => {
            let text = "this listener serves controllers (type 2): ask a broker, by --bootstrap-server";
            (ResponseError::MismatchedEndpointType, text.to_owned())
        }
        CONTROLLERS => {
            let text = "this listener serves brokers (type 1): ask a controller, by --bootstrap-controller";
            (ResponseError::MismatchedEndpointType, text.to_owned())
        }
        other => {
            let text = format!("unknown endpoint type {other}: 1 is brokers, 2 is controllers");
            (ResponseError::UnsupportedEndpointType, text)
        }
    };
    Some(Refusal::new(error, text))
}

fn refuse(call: &Call, endpoint_type: i8, refusal: &Refusal) -> Reply {
    let response = DescribeClusterResponse::default()
        .with_error_code(refusal.code)
        .with_error_message(refusal.text())
        // Version 0 has no field for it.
        .with_endpoint_type(if call.version == 0 { BROKERS } else { endpoint_type });
    call.answer::<DescribeClusterRequest>(&response)
}

fn described(call: &Call, request: &DescribeClusterRequest, endpoint_type: i8) -> DescribeClusterResponse {
    let asked = request.include_cluster_authorized_operations;
    DescribeClusterResponse::default()
        .with_endpoint_type(endpoint_type)
        .with_cluster_id(StrBytes::from_string(call.node.cluster_id.to_string()))
        .with_cluster_authorized_operations(call.authorized_operations(asked, Resource::Cluster, ""))
}

fn listed(id: NodeId, endpoint: &Endpoint) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(BrokerId(id.0))
        .with_host(StrBytes::from_string(endpoint.host.clone()))
        .with_port(i32::from(endpoint.port))
}

fn id(node: Option<NodeId>) -> BrokerId {
    BrokerId(node.map_or(-1, |id| id.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ottla_core::ids::DirectoryId;
    use ottla_core::metadata::image::Voter;
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::*;
    use crate::api::Scope;
    use crate::api::authorize::Authorizer;
    use crate::api::tests::rig::{ask, image, node, node_that_knows};
    use crate::drive::controller::ControllerHandle;

    fn voter(id: i32, listener: &str) -> Arc<Voter> {
        let (listener, host) = (listener.to_owned(), format!("c{id}"));
        let endpoint = Endpoint { listener, host, port: 9093, security_protocol: 0 };
        let directory_id = DirectoryId(Uuid::from_u128(90));
        Arc::new(Voter { node_id: NodeId(id), directory_id, endpoints: vec![endpoint] })
    }

    #[tokio::test]
    async fn a_controller_lists_controllers_and_which_one_is_active() {
        // The listener on which the tests' requests come in has this name.
        let (here, elsewhere) = ("PLAIN", "OTHER");
        let known = Image {
            voters: [(NodeId(1), voter(1, here)), (NodeId(2), voter(2, here))].into_iter().collect(),
            learners: [(NodeId(3), voter(3, here)), (NodeId(4), voter(4, elsewhere))].into_iter().collect(),
            ..image()
        };
        let (_, images) = watch::channel(Arc::new(image()));
        let controller = ControllerHandle::following(known, ("c2", 9093));
        let node = node_that_knows(images, Authorizer::AllowAll, Some(controller));
        let request = DescribeClusterRequest::default().with_endpoint_type(CONTROLLERS);
        let answer = ask(&node, Scope::Controller, 1, &request).await;
        let listed: Vec<(i32, &str)> =
            answer.brokers.iter().map(|one| (one.broker_id.0, &*one.host)).collect();
        assert_eq!(listed, [(1, "c1"), (2, "c2"), (3, "c3")]);
        assert_eq!((answer.error_code, answer.controller_id.0, answer.endpoint_type), (0, 2, CONTROLLERS));
    }

    #[tokio::test]
    async fn each_listener_says_that_the_other_type_is_elsewhere() {
        let node = node(Authorizer::AllowAll);
        for (scope, asked, code) in [
            (Scope::Broker, CONTROLLERS, ResponseError::MismatchedEndpointType),
            (Scope::Controller, BROKERS, ResponseError::MismatchedEndpointType),
            (Scope::Broker, 3, ResponseError::UnsupportedEndpointType),
            (Scope::Controller, 0, ResponseError::UnsupportedEndpointType),
        ] {
            let request = DescribeClusterRequest::default().with_endpoint_type(asked);
            let answer = ask(&node, scope, 2, &request).await;
            assert_eq!(answer.error_code, code.code(), "{scope:?} {asked}");
            assert!(answer.brokers.is_empty(), "{scope:?} {asked}");
        }
    }
}
