//! DescribeCluster, key 60, versions 0–2.
//!
//! Behaviour: the cluster id, brokers with the endpoint of the asking listener, and a controller (any
//! broker: admin calls are forwarded, rule 10).
//! Authorization: none to see the brokers, as in Kafka (Metadata shows them too); the authorized
//! operations are computed on request.
//! Version notes: 1 brings the endpoint type; 2 lists fenced brokers on request.
//! Not done: endpoint type 2 (controllers) is answered on no listener of brokers, as in Kafka
//! (MISMATCHED_ENDPOINT_TYPE); the listener of controllers does not serve this key yet.

use bytes::Bytes;
use ottla_core::metadata::image::Fencing;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::describe_cluster_response::DescribeClusterBroker;
use ottla_wire::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::Resource;
use super::{Call, Reply};

/// Endpoint type of brokers (KIP-919).
const BROKERS: i8 = 1;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DescribeClusterRequest = ottla_wire::request::decode_body(call.version, body)?;
    if call.version >= 1 && request.endpoint_type != BROKERS {
        let error = if request.endpoint_type == 2 {
            ResponseError::MismatchedEndpointType
        } else {
            ResponseError::UnsupportedEndpointType
        };
        let text = "this listener serves brokers: ask for endpoint type 1";
        let response = DescribeClusterResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_static_str(text)))
            .with_endpoint_type(BROKERS);
        return Ok(call.answer::<DescribeClusterRequest>(&response));
    }
    let image = call.node.image();
    let listed = image
        .brokers
        .values()
        .filter(|broker| broker.fencing != Fencing::Fenced || request.include_fenced_brokers)
        .filter_map(|broker| {
            let endpoint = broker.endpoint(&call.context.listener.name)?;
            Some(
                DescribeClusterBroker::default()
                    .with_broker_id(BrokerId(broker.node_id.0))
                    .with_host(StrBytes::from_string(endpoint.host.clone()))
                    .with_port(i32::from(endpoint.port))
                    .with_rack(broker.rack.clone().map(StrBytes::from_string))
                    .with_is_fenced(broker.fencing == Fencing::Fenced),
            )
        });
    let operations =
        call.authorized_operations(request.include_cluster_authorized_operations, Resource::Cluster, "");
    let response = DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(StrBytes::from_string(call.node.cluster_id.to_string()))
        .with_controller_id(BrokerId(call.node.any_live_broker(&image).map_or(-1, |id| id.0)))
        .with_brokers(listed.collect())
        .with_cluster_authorized_operations(operations);
    Ok(call.answer::<DescribeClusterRequest>(&response))
}
