//! Names that a cluster needs and that objects of others have.
//!
//! Those objects are left alone: applying would rewrite them, and our owner reference would take them along when the
//! cluster is deleted. A cluster that runs is kept up in everything else; a new one is not begun with a part missing.
//! What a deleted cluster of the name left goes by itself, and nothing is done before: neither its nodes nor its
//! identity are this cluster's.

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
    names::ClusterName,
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

impl Taken {
    fn leaves(&self) -> bool {
        self.why == Why::WaitingForRemoval
    }
}

/// Whether the name of an object is among these.
pub(super) fn is_taken<K: Owned>(taken: &[Taken], object: &K) -> bool {
    let (kind, name) = (K::kind(&()), object.name_any());
    taken.iter().any(|one| one.kind == kind && one.name == name)
}

/// What to tell of them: first what goes by itself, because that is what happens now.
pub(super) fn told(taken: &[Taken]) -> Option<HeldBack> {
    let one = |taken: &Taken| HeldBack { why: taken.why, message: taken.message.clone() };
    let leaving = taken.iter().filter(|taken| taken.leaves());
    let others = taken.iter().filter(|taken| !taken.leaves());
    leaving.chain(others).map(one).reduce(|told, other| told.and(&other))
}

/// Why nothing can be done, if so: something of a predecessor is there still, or a cluster that does not run yet lacks
/// a name.
fn in_the_way(taken: &[Taken], runs: bool) -> Option<HeldBack> {
    let leaves = taken.iter().any(Taken::leaves);
    told(taken).filter(|_| leaves || !runs)
}

impl Observed {
    /// Whether the identity on record is that of this owner. A cluster that has none of its own does not run yet.
    fn has_own_identity(&self, owner: &OwnerReference, name: &ClusterName) -> bool {
        named(&self.config_maps, &name.identity()).is_some_and(|map| whose_of(owner, map) == Whose::Ours)
    }

    /// Forgets the objects that carry the labels of a cluster and belong to somebody else: what runs is not judged by
    /// them.
    #[must_use]
    pub(super) fn without_foreign(self, owner: &OwnerReference) -> Self {
        self.only(owner, |whose| !matches!(whose, Whose::Foreign(_)))
    }

    /// Forgets those of a predecessor too: its nodes, which may still be ready, say nothing of this cluster.
    #[must_use]
    pub(super) fn without_others(self, owner: &OwnerReference) -> Self {
        self.only(owner, |whose| *whose == Whose::Ours)
    }

    fn only(mut self, owner: &OwnerReference, kept: fn(&Whose) -> bool) -> Self {
        fn keep<K: Owned>(owner: &OwnerReference, kept: fn(&Whose) -> bool, objects: &mut Vec<K>) {
            objects.retain(|object| kept(&whose_of(owner, object)));
        }
        keep(owner, kept, &mut self.stateful_sets);
        keep(owner, kept, &mut self.config_maps);
        keep(owner, kept, &mut self.services);
        keep(owner, kept, &mut self.service_accounts);
        keep(owner, kept, &mut self.budgets);
        keep(owner, kept, &mut self.network_policies);
        self
    }
}

impl Pass<'_> {
    /// Looks for names of the cluster that are taken. Gives why nothing can be done, where that keeps the cluster
    /// waiting.
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
        let runs = observed.has_own_identity(&scene.cluster.owner, &self.name);
        Ok(in_the_way(&scene.taken, runs))
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
    use k8s_openapi::api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{ConfigMap, Service},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::names::Pool;

    fn taken(name: &str) -> Taken {
        Taken { kind: "Service".into(), name: name.into(), why: Why::NameTaken, message: name.into() }
    }

    fn leaving(name: &str) -> Taken {
        Taken { why: Why::WaitingForRemoval, ..taken(name) }
    }

    fn owner(uid: &str) -> Value {
        json!([{"apiVersion": "v1", "kind": "KafkaCluster", "name": "my", "uid": uid, "controller": true}])
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
    fn a_name_of_somebody_else_keeps_only_a_new_cluster_waiting() {
        let one = [taken("my-nodes")];
        assert_eq!(in_the_way(&one, true), None);
        assert_eq!(in_the_way(&one, false).unwrap().why, Why::NameTaken);
        assert_eq!(in_the_way(&[], false), None);
    }

    #[test]
    fn what_a_predecessor_left_is_waited_for_whatever_else_is_taken() {
        for runs in [false, true] {
            let told = in_the_way(&[taken("my-nodes"), leaving("my-bootstrap")], runs).unwrap();
            let wanted = (Why::WaitingForRemoval, "my-bootstrap; my-nodes");
            assert_eq!((told.why, told.message.as_str()), wanted);
        }
    }

    #[test]
    fn the_identity_of_a_predecessor_makes_no_cluster_one_that_runs() {
        let now: Vec<OwnerReference> = serde_json::from_value(owner("2")).unwrap();
        let runs = |uid: &str| {
            let config_maps = vec![labelled("my-identity", &owner(uid))];
            let observed = Observed { config_maps, ..Observed::default() };
            observed.without_foreign(&now[0]).has_own_identity(&now[0], &ClusterName::new("my"))
        };
        assert!(runs("2"));
        assert!(!runs("1"));
    }

    #[test]
    fn the_nodes_of_a_predecessor_are_not_those_of_a_cluster_that_stands() {
        let now: Vec<OwnerReference> = serde_json::from_value(owner("2")).unwrap();
        let sizes = |uid: &str| {
            let mut set: StatefulSet = labelled("my-nodes", &owner(uid));
            set.spec = Some(StatefulSetSpec { replicas: Some(3), ..StatefulSetSpec::default() });
            let observed = Observed { stateful_sets: vec![set], ..Observed::default() };
            observed.without_others(&now[0]).sizes(&ClusterName::new("my"))
        };
        assert_eq!(sizes("2"), [(Pool::Nodes, 3)]);
        assert_eq!(sizes("1"), []);
    }

    #[test]
    fn a_label_does_not_make_an_object_ours() {
        let owner = owner("1");
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
