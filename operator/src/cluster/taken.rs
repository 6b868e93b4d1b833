//! Names that a cluster needs and that objects of others have.
//!
//! Those objects are left alone: applying would rewrite them, and our owner reference would take them along when the
//! cluster is deleted. A cluster that runs is kept up in everything else; a new one is not begun with a part missing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;

use super::{
    change::Scene,
    observe::{Observed, named},
    reconcile::Pass,
    report::HeldBack,
};
use crate::{
    apply::{ApplyError, Owned, Whose, claim_name, whose_of},
    status::Why,
};

/// A name that an object of somebody else has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Taken {
    /// The kind of the object.
    pub(super) kind: String,
    /// The name.
    pub(super) name: String,
    why: Why,
    message: String,
}

/// Whether the name of an object is among these.
pub(super) fn is_taken<K: Owned>(taken: &[Taken], object: &K) -> bool {
    let (kind, name) = (K::kind(&()), object.name_any());
    taken.iter().any(|one| one.kind == kind && one.name == name)
}

/// What to tell of them.
pub(super) fn told(taken: &[Taken]) -> Option<HeldBack> {
    let one = |taken: &Taken| HeldBack { why: taken.why, message: taken.message.clone() };
    taken.iter().map(one).reduce(|told, other| told.and(&other))
}

impl Observed {
    /// Forgets the objects that carry the labels of a cluster and belong to somebody else: what runs is not judged by
    /// them.
    #[must_use]
    pub(super) fn without_foreign(mut self, owner: &OwnerReference) -> Self {
        fn keep<K: Owned>(owner: &OwnerReference, objects: &mut Vec<K>) {
            objects.retain(|object| !matches!(whose_of(owner, object), Whose::Foreign(_)));
        }
        keep(owner, &mut self.stateful_sets);
        keep(owner, &mut self.config_maps);
        keep(owner, &mut self.services);
        keep(owner, &mut self.service_accounts);
        keep(owner, &mut self.budgets);
        keep(owner, &mut self.network_policies);
        self
    }
}

impl Pass<'_> {
    /// Looks for names of the cluster that are taken. Gives why nothing can be done, where the cluster does not run yet.
    pub(super) async fn claim_names(
        &self,
        scene: &mut Scene,
        observed: &Observed,
    ) -> Result<Option<HeldBack>, ApplyError> {
        let objects = scene.objects(&self.context.settings.namespace, None, observed);
        let taken = &mut scene.taken;
        taken.extend(self.claim(&objects.service_account, &observed.service_accounts).await?);
        for config_map in &objects.config_maps {
            taken.extend(self.claim(config_map, &observed.config_maps).await?);
        }
        for service in &objects.services {
            taken.extend(self.claim(service, &observed.services).await?);
        }
        taken.extend(self.claim(&objects.network_policy, &observed.network_policies).await?);
        taken.extend(self.claim(&objects.budget, &observed.budgets).await?);
        for stateful_set in &objects.stateful_sets {
            taken.extend(self.claim(stateful_set, &observed.stateful_sets).await?);
        }
        let runs = named(&observed.config_maps, &self.name.identity()).is_some();
        Ok(told(&scene.taken).filter(|_| !runs))
    }

    async fn claim<K: Owned>(&self, wanted: &K, found: &[K]) -> Result<Option<Taken>, ApplyError> {
        let Err(error) = claim_name(&self.context.client, wanted, named(found, &wanted.name_any())).await
        else {
            return Ok(None);
        };
        let message = error.to_string();
        match error {
            ApplyError::Foreign { kind, name, .. } => {
                Ok(Some(Taken { kind, name, why: Why::NameTaken, message }))
            }
            ApplyError::Leaving { kind, name } => {
                Ok(Some(Taken { kind, name, why: Why::WaitingForRemoval, message }))
            }
            other @ (ApplyError::Render { .. } | ApplyError::Refused { .. }) => Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Service};
    use serde_json::{Value, json};

    use super::*;

    fn taken(name: &str) -> Taken {
        Taken { kind: "Service".into(), name: name.into(), why: Why::NameTaken, message: name.into() }
    }

    fn labelled<K: Owned>(name: &str, owner: &Value) -> K {
        let labels = json!({"ottla.dev/cluster": "my"});
        let metadata = json!({"name": name, "labels": labels, "ownerReferences": owner});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn a_taken_name_is_one_of_its_kind_and_all_are_told() {
        let both = [taken("my-bootstrap"), taken("my-nodes")];
        assert!(is_taken(&both, &labelled::<Service>("my-nodes", &json!([]))));
        assert!(!is_taken(&both, &labelled::<ConfigMap>("my-nodes", &json!([]))));
        let told = told(&both).unwrap();
        assert_eq!((told.why, told.message.as_str()), (Why::NameTaken, "my-bootstrap; my-nodes"));
        assert_eq!(super::told(&[]), None);
    }

    #[test]
    fn a_label_does_not_make_an_object_ours() {
        let owner = json!([{"apiVersion": "v1", "kind": "KafkaCluster", "name": "my", "uid": "1", "controller": true}]);
        let observed = Observed {
            services: vec![labelled("my-nodes", &owner), labelled("my-bootstrap", &json!([]))],
            config_maps: vec![labelled("my-identity", &json!([]))],
            ..Observed::default()
        };
        let owner: Vec<OwnerReference> = serde_json::from_value(owner).unwrap();
        let ours = observed.without_foreign(&owner[0]);
        assert_eq!(ours.services.iter().map(|one| one.name_any()).collect::<Vec<_>>(), ["my-nodes"]);
        assert!(ours.config_maps.is_empty());
    }
}
