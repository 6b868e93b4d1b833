//! Whose an object is that has the name of one we want to make. Pure.
//!
//! A name derived from a cluster's may be taken: by a user's own Service, by another tool's StatefulSet. Applying would
//! rewrite it, and our owner reference would take it along when the cluster is deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;

use super::Owned;
use crate::names::ANNOTATION_APPLIED;

/// Whose an object is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Whose {
    /// That of the cluster it was wanted for.
    Ours,
    /// That of a cluster of the same name that was deleted: it is about to go.
    Predecessors,
    /// Somebody else's: this text says whose.
    Foreign(String),
}

/// Whose the object is that is there under the name of the wanted one.
#[must_use]
pub fn whose<K: Owned>(wanted: &K, found: &K) -> Whose {
    match wanted.owner_references().iter().find(|owner| owner.controller == Some(true)) {
        Some(owner) => whose_of(owner, found),
        None => Whose::Ours,
    }
}

/// Whose an object is, seen from this owner.
#[must_use]
pub fn whose_of<K: Owned>(owner: &OwnerReference, found: &K) -> Whose {
    if found.owner_references().iter().any(|one| one.uid == owner.uid) {
        return Whose::Ours;
    }
    match found.owner_references().iter().find(|one| one.controller == Some(true)) {
        Some(other) if (&other.kind, &other.name) == (&owner.kind, &owner.name) => Whose::Predecessors,
        Some(other) => Whose::Foreign(format!("it belongs to {} \"{}\"", other.kind, other.name)),
        // Ours, of which somebody removed the owner.
        None if found.annotations().contains_key(ANNOTATION_APPLIED) => Whose::Ours,
        None => Whose::Foreign("it was not made by this operator".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::{Value, json};

    use super::*;

    fn service(metadata: Value) -> Service {
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn owner(kind: &str, name: &str, uid: &str) -> Value {
        json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
    }

    #[test]
    fn an_object_of_another_is_never_ours_for_its_name() {
        let wanted =
            service(json!({"name": "my-nodes", "ownerReferences": owner("KafkaCluster", "my", "1")}));
        let whose = |metadata| whose(&wanted, &service(metadata));
        assert_eq!(whose(json!({"ownerReferences": owner("KafkaCluster", "my", "1")})), Whose::Ours);
        assert_eq!(whose(json!({"annotations": {"ottla.dev/applied-hash": "x"}})), Whose::Ours);
        assert_eq!(whose(json!({"ownerReferences": owner("KafkaCluster", "my", "0")})), Whose::Predecessors);
        assert!(matches!(whose(json!({})), Whose::Foreign(_)));
        let labelled = json!({"labels": {"ottla.dev/cluster": "my"}});
        assert!(matches!(whose(labelled), Whose::Foreign(_)), "a label can be anybody's");
        let of_kafka = whose(json!({"ownerReferences": owner("Kafka", "my", "7")}));
        assert_eq!(of_kafka, Whose::Foreign("it belongs to Kafka \"my\"".into()));
    }
}
