//! BrokerRegistration, key 62, versions 0–4, and BrokerHeartbeat, key 63, versions 0–1.
//!
//! Behaviour: rules 61 and 62. The epoch in a registration's answer is the offset of its record.
//! Version notes (registration): 2 brings log directories, 3 the epoch before a clean shutdown, 4 features
//! whose lowest level is 0. Our brokers always send 4.
//! Version notes (heartbeat): 1 brings the log directories that have failed (KIP-858): all of them, each time. A tagged
//! field of ours brings the replicas whose logs are damaged (`ottla_wire::broker_heartbeat`).
//! Not done: migration from ZooKeeper (the flag is ignored).

use bytes::Bytes;
use ottla_core::controller::operation::{Heartbeat, RegisterBroker};
use ottla_core::controller::{self, Operation, OperationError};
use ottla_core::ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, MetadataOffset, NodeId, PartitionIndex, TopicId,
    TopicPartition,
};
use ottla_core::metadata::image::{Endpoint, FeatureRange};
use ottla_wire::broker_heartbeat::damaged_logs;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse,
};
use uuid::Uuid;

use super::serve;
use crate::api::{Call, Reply, forward};

/// "No epoch" in a registration's answer.
const NO_EPOCH: i64 = -1;

pub(crate) fn register_broker(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, registration_refused, |call, request: BrokerRegistrationRequest| async move {
        match register(&call, &request).await {
            Ok(epoch) => BrokerRegistrationResponse::default().with_broker_epoch(epoch.0),
            Err(error) => registration_refused(error.code()),
        }
    })
}

fn registration_refused(code: i16) -> BrokerRegistrationResponse {
    BrokerRegistrationResponse::default().with_error_code(code).with_broker_epoch(NO_EPOCH)
}

async fn register(call: &Call, request: &BrokerRegistrationRequest) -> Result<BrokerEpoch, OperationError> {
    let operation = Operation::RegisterBroker(registration(request)?);
    let reply = forward::ask(call, operation).await?;
    let controller::Reply::RegisterBroker(registered) = reply else {
        unreachable!("RegisterBroker answered by {reply:?}")
    };
    Ok(registered.epoch)
}

fn registration(request: &BrokerRegistrationRequest) -> Result<RegisterBroker, OperationError> {
    // A text that is no id is the id of no cluster.
    let cluster_id: ClusterId =
        request.cluster_id.parse().map_err(|_| OperationError::InconsistentClusterId)?;
    let endpoints = request.listeners.iter().map(|listener| Endpoint {
        listener: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    });
    let features = request.features.iter().map(|feature| FeatureRange {
        name: feature.name.to_string(),
        level_min: feature.min_supported_version,
        level_max: feature.max_supported_version,
    });
    Ok(RegisterBroker {
        node_id: NodeId(request.broker_id.0),
        cluster_id,
        incarnation_id: IncarnationId(request.incarnation_id),
        endpoints: endpoints.collect(),
        rack: request.rack.as_ref().map(ToString::to_string),
        directories: request.log_dirs.iter().copied().map(DirectoryId).collect(),
        features: features.collect(),
        previous_epoch: (request.previous_broker_epoch >= 0)
            .then_some(BrokerEpoch(request.previous_broker_epoch)),
    })
}

pub(crate) fn heartbeat(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, heartbeat_refused, |call, request: BrokerHeartbeatRequest| async move {
        let operation = Operation::Heartbeat(Heartbeat {
            node_id: NodeId(request.broker_id.0),
            epoch: BrokerEpoch(request.broker_epoch),
            // A broker that has applied nothing says -1.
            metadata_offset: MetadataOffset(u64::try_from(request.current_metadata_offset).unwrap_or(0)),
            want_fence: request.want_fence,
            want_shutdown: request.want_shut_down,
            offline_directories: request.offline_log_dirs.iter().copied().map(DirectoryId).collect(),
            damaged_logs: damaged_logs(&request).map(partition).take(Heartbeat::DAMAGED_MAX).collect(),
        });
        match forward::ask(&call, operation).await {
            Ok(controller::Reply::Heartbeat(reply)) => BrokerHeartbeatResponse::default()
                .with_is_caught_up(reply.caught_up)
                .with_is_fenced(reply.fenced)
                .with_should_shut_down(reply.should_shut_down),
            Ok(other) => unreachable!("Heartbeat answered by {other:?}"),
            Err(error) => heartbeat_refused(error.code()),
        }
    })
}

fn partition((topic_id, partition): (Uuid, i32)) -> TopicPartition {
    TopicPartition { topic_id: TopicId(topic_id), partition: PartitionIndex(partition) }
}

fn heartbeat_refused(code: i16) -> BrokerHeartbeatResponse {
    BrokerHeartbeatResponse::default().with_error_code(code)
}

#[cfg(test)]
mod tests {
    use ottla_wire::messages::BrokerId;
    use ottla_wire::messages::broker_registration_request::{Feature, Listener};
    use ottla_wire::protocol::StrBytes;

    use super::*;

    fn request(cluster_id: &'static str) -> BrokerRegistrationRequest {
        let listener = Listener::default()
            .with_name(StrBytes::from_static_str("PLAIN"))
            .with_host(StrBytes::from_static_str("b3"))
            .with_port(9092);
        let feature = Feature::default()
            .with_name(StrBytes::from_static_str("ottla.version"))
            .with_min_supported_version(1)
            .with_max_supported_version(2);
        BrokerRegistrationRequest::default()
            .with_broker_id(BrokerId(3))
            .with_cluster_id(StrBytes::from_static_str(cluster_id))
            .with_incarnation_id(Uuid::from_u128(9))
            .with_listeners(vec![listener])
            .with_features(vec![feature])
            .with_rack(Some(StrBytes::from_static_str("r1")))
            .with_log_dirs(vec![Uuid::from_u128(5)])
            .with_previous_broker_epoch(8)
    }

    #[test]
    fn a_registration_reaches_the_controller_whole() {
        let asked = registration(&request("AAAAAAAAAAAAAAAAAAAAAQ")).expect("a cluster id");
        let expected = RegisterBroker {
            node_id: NodeId(3),
            cluster_id: ClusterId(Uuid::from_u128(1)),
            incarnation_id: IncarnationId(Uuid::from_u128(9)),
            endpoints: vec![Endpoint {
                listener: "PLAIN".to_owned(),
                host: "b3".to_owned(),
                port: 9092,
                security_protocol: 0,
            }],
            rack: Some("r1".to_owned()),
            directories: vec![DirectoryId(Uuid::from_u128(5))],
            features: vec![FeatureRange { name: "ottla.version".to_owned(), level_min: 1, level_max: 2 }],
            previous_epoch: Some(BrokerEpoch(8)),
        };
        assert_eq!(asked, expected);
    }

    #[test]
    fn a_cluster_id_that_is_none_belongs_to_another_cluster() {
        assert_eq!(registration(&request("no id")), Err(OperationError::InconsistentClusterId));
    }
}
