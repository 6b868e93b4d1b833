//! The Kubernetes objects of a cluster, one file per kind. Pure: the same cluster gives the same objects.
//!
//! Must not: read the raw spec (that is `validate`'s), call Kubernetes, or know what is there already; the two
//! things that depend on it are arguments: which pod template a StatefulSet keeps, and whether the disruption
//! budget is closed. Where to go next: `pod.rs` for what a node is.

pub mod config_map;
pub mod network_policy;
pub mod pod;
pub mod pod_disruption_budget;
pub mod service;
pub mod service_account;
pub mod stateful_set;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, PodTemplateSpec, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use self::{
    config_map::{build_config_map, build_identity},
    network_policy::build_network_policy,
    pod::{PodHash, build_pod_template},
    pod_disruption_budget::{Budget, build_pod_disruption_budget},
    service::{build_bootstrap_service, build_headless_service},
    service_account::build_service_account,
    stateful_set::{Given, build_stateful_set},
};
use super::{
    identity::Identity,
    properties::{self, Properties},
    validate::Cluster,
};
use crate::names::{LABEL_POOL, Pool};

/// What the nodes of a pool should run.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The pool.
    pub pool: Pool,
    /// The configuration.
    pub properties: Properties,
    /// The pods.
    pub template: PodTemplateSpec,
    /// The digest of the pods.
    pub hash: PodHash,
}

impl Wanted {
    /// What a pool of a cluster should run.
    #[must_use]
    pub fn of(cluster: &Cluster, pool: Pool) -> Self {
        let properties = properties::render(cluster, pool);
        let (template, hash) = build_pod_template(cluster, pool, &properties);
        Self { pool, properties, template, hash }
    }
}

/// All objects of a cluster, in the order in which they are applied: what pods need comes before the pods, and the
/// budget closes before a template changes that has not proved itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The account of the nodes.
    pub service_account: ServiceAccount,
    /// The identity, then a configuration for each pool.
    pub config_maps: Vec<ConfigMap>,
    /// The one that clients start from, then a headless one for each pool.
    pub services: Vec<Service>,
    /// Who reaches which port.
    pub network_policy: NetworkPolicy,
    /// How many nodes may be evicted at once.
    pub budget: PodDisruptionBudget,
    /// One for each pool.
    pub stateful_sets: Vec<StatefulSet>,
}

impl Objects {
    /// Builds them. `given` tells what of a pool's StatefulSet depends on what is there.
    pub fn build(
        cluster: &Cluster,
        identity: &Identity,
        wanted: &[Wanted],
        budget: Budget,
        operator_namespace: &str,
        given: impl Fn(&Wanted) -> Given,
    ) -> Self {
        let config_of = |wanted: &Wanted| build_config_map(cluster, wanted.pool, &wanted.properties);
        let service_of = |wanted: &Wanted| build_headless_service(cluster, wanted.pool);
        Self {
            service_account: build_service_account(cluster),
            config_maps: [build_identity(cluster, identity)]
                .into_iter()
                .chain(wanted.iter().map(config_of))
                .collect(),
            services: [build_bootstrap_service(cluster)]
                .into_iter()
                .chain(wanted.iter().map(service_of))
                .collect(),
            network_policy: build_network_policy(cluster, operator_namespace),
            budget: build_pod_disruption_budget(cluster, budget),
            stateful_sets: wanted
                .iter()
                .map(|one| build_stateful_set(cluster, one.pool, given(one)))
                .collect(),
        }
    }
}

/// The head of an object: named, labelled, and gone with its cluster.
fn metadata(cluster: &Cluster, name: String, pool: Option<Pool>) -> ObjectMeta {
    let mut labels = cluster.name.labels();
    if let Some(pool) = pool {
        labels.insert(LABEL_POOL.to_owned(), pool.name().to_owned());
    }
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// A map, or nothing where it is empty: what is applied must not claim empty fields.
fn filled<V>(map: BTreeMap<String, V>) -> Option<BTreeMap<String, V>> {
    (!map.is_empty()).then_some(map)
}
