//! The network policy: clients and the operator reach the client port, nodes of the cluster each other's, and the operator
//! the HTTP port.
//!
//! The kubelet's probes come from the pod's own node, which a NetworkPolicy never blocks. Policies add up: who wants
//! `/metrics` scraped opens the HTTP port to Prometheus by one of their own.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::metadata;
use crate::{
    cluster::validate::Cluster,
    names::{OPERATOR_APP, PORT_CLIENT, PORT_CONTROLLER, PORT_HTTP, PORT_REPLICATION},
};

/// Builds the policy; `operator_namespace` is where the operator runs.
#[must_use]
pub fn build_network_policy(cluster: &Cluster, operator_namespace: &str) -> NetworkPolicy {
    let labels = |name: &str, value: &str| {
        let match_labels = Some(BTreeMap::from([(name.to_owned(), value.to_owned())]));
        Some(LabelSelector { match_labels, ..LabelSelector::default() })
    };
    let nodes = NetworkPolicyPeer {
        pod_selector: Some(LabelSelector {
            match_labels: Some(cluster.name.selector()),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: labels("kubernetes.io/metadata.name", operator_namespace),
        pod_selector: labels("app.kubernetes.io/name", OPERATOR_APP),
        ..NetworkPolicyPeer::default()
    };
    let ports = |numbers: &[u16]| {
        let port = |number: &u16| NetworkPolicyPort {
            port: Some(IntOrString::Int(i32::from(*number))),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        };
        Some(numbers.iter().map(port).collect())
    };
    NetworkPolicy {
        metadata: metadata(cluster, cluster.name.all_nodes(), None),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(cluster.name.selector()),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { from: None, ports: ports(&[PORT_CLIENT]) },
                NetworkPolicyIngressRule {
                    from: Some(vec![nodes]),
                    ports: ports(&[PORT_CONTROLLER, PORT_REPLICATION]),
                },
                NetworkPolicyIngressRule { from: Some(vec![operator]), ports: ports(&[PORT_HTTP]) },
            ]),
            ..NetworkPolicySpec::default()
        }),
    }
}
