//! Services: one that clients start from, and a headless one per pool that gives each pod its name.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::metadata;
use crate::{
    cluster::validate::Cluster,
    crd::PlacementOfControllers,
    names::{PORT_CLIENT, PORT_CONTROLLER, PORT_REPLICATION, Pool},
};

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(number))),
        ..ServicePort::default()
    }
}

/// Builds the Service that clients start from: any ready broker.
#[must_use]
pub fn build_bootstrap_service(cluster: &Cluster) -> Service {
    Service {
        metadata: metadata(cluster, cluster.name.bootstrap(), None),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            selector: Some(cluster.name.pool_selector(Pool::Nodes)),
            ports: Some(vec![port("plain", PORT_CLIENT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Builds the headless Service of a pool. It names pods that are not ready too: nodes must find each other to
/// become ready.
#[must_use]
pub fn build_headless_service(cluster: &Cluster, pool: Pool) -> Service {
    let mut ports = Vec::new();
    if pool == Pool::Controllers || cluster.placement == PlacementOfControllers::Combined {
        ports.push(port("controller", PORT_CONTROLLER));
    }
    if pool == Pool::Nodes {
        ports.push(port("replication", PORT_REPLICATION));
        ports.push(port("plain", PORT_CLIENT));
    }
    Service {
        metadata: metadata(cluster, cluster.name.pool(pool), Some(pool)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(cluster.name.pool_selector(pool)),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
