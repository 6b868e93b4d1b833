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

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::validate::Cluster;
use crate::names::{LABEL_POOL, Pool};

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
