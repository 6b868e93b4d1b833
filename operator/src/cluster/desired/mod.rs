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
use crate::{
    digest::digest_of_bytes,
    names::{LABEL_POOL, Pool},
};

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
    /// The digest of the user's part of them.
    pub inputs: InputsHash,
}

/// The digest of everything that a user says about pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InputsHash(pub String);

/// What the nodes of a pool run by the StatefulSet that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// The configuration.
    pub properties: Properties,
    /// The pods.
    pub template: PodTemplateSpec,
    /// The digest of the pods.
    pub hash: PodHash,
    /// The digest of the user's part of them.
    pub inputs: InputsHash,
}

impl Wanted {
    /// What a pool of a cluster should run.
    #[must_use]
    pub fn of(cluster: &Cluster, pool: Pool) -> Self {
        let properties = properties::render(cluster, pool);
        let (template, hash) = build_pod_template(cluster, pool, &properties);
        Self { pool, properties, template, hash, inputs: inputs_of(cluster) }
    }

    /// What runs, where the user still says the same: an operator that builds pods otherwise than the one before it
    /// restarts nothing. What it does better comes with the next change of the spec.
    #[must_use]
    pub fn or_running(self, running: Option<Running>) -> Self {
        match running {
            Some(Running { properties, template, hash, inputs })
                if inputs == self.inputs && hash != self.hash =>
            {
                Self { properties, template, hash, ..self }
            }
            Some(_) | None => self,
        }
    }
}

fn inputs_of(cluster: &Cluster) -> InputsHash {
    let Cluster {
        // These are told by the object they make, or cannot change.
        name: _,
        namespace: _,
        owner: _,
        brokers: _,
        storage_size: _,
        storage_class: _,
        delete_claim: _,
        accepted: _,
        cluster_id: _,
        version,
        image,
        controllers,
        placement,
        resources,
        config,
        pod,
    } = cluster;
    let inputs = serde_json::json!({
        "version": version, "image": image, "controllers": controllers, "placement": placement,
        "resources": resources, "config": config,
        "labels": pod.labels, "annotations": pod.annotations, "nodeSelector": pod.node_selector,
        "tolerations": pod.tolerations, "affinity": pod.affinity, "imagePullSecrets": pod.image_pull_secrets,
    });
    InputsHash(digest_of_bytes(inputs.to_string().as_bytes()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::validate::{Pinned, Verdict, validate},
        settings::BrokerImage,
    };

    fn wanted(config: serde_json::Value) -> Wanted {
        let object = serde_json::from_value(serde_json::json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaCluster",
            "metadata": {"name": "my", "namespace": "ns", "uid": "u"},
            "spec": {"storage": {"size": "1Gi"}, "config": config},
        }));
        let image = BrokerImage::parse("localhost/ottla/broker:0.1.0").unwrap();
        match validate(&object.unwrap(), &Pinned::default(), &image) {
            Verdict::Accepted(cluster) => Wanted::of(&cluster, Pool::Nodes),
            other @ (Verdict::ScaleDownRefused(..) | Verdict::Refused(_)) => panic!("{other:?}"),
        }
    }

    /// What an operator of another release made of the same spec.
    fn made_otherwise(by: &Wanted) -> Running {
        Running {
            properties: by.properties.clone(),
            template: PodTemplateSpec::default(),
            hash: PodHash("of another release".into()),
            inputs: by.inputs.clone(),
        }
    }

    #[test]
    fn a_newer_operator_restarts_nothing() {
        let now = wanted(serde_json::json!({}));
        let held = now.clone().or_running(Some(made_otherwise(&now)));
        assert_eq!(held.hash, PodHash("of another release".into()));
    }

    #[test]
    fn a_change_of_the_spec_brings_everything() {
        let before = made_otherwise(&wanted(serde_json::json!({})));
        let now = wanted(serde_json::json!({"num.partitions": 3}));
        assert_eq!(now.clone().or_running(Some(before)), now);
    }
}
