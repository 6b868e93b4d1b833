//! What a pass changes: the objects of the cluster, one restart at most, and what is put on record. The only steps of a
//! cluster's pass that write, all of them through `crate::apply`.

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::ConfigMap};
use kube::ResourceExt as _;
use tracing::{debug, info};

use super::{
    desired::{
        InputsHash, Objects, Wanted,
        config_map::{build_identity, config_map_name},
        pod::{PodHash, pod_hash_of},
        stateful_set::Given,
    },
    identity::{Bootstrap, Identity},
    observe::{Observed, named},
    reconcile::Pass,
    report::HeldBack,
    rollout::{self, Candidate, Decision, NodeFacts, WantedPool},
    taken::{Taken, is_taken},
    validate::Cluster,
};
use crate::{
    apply::{ApplyError, Owned, annotate_claim, apply, delete, rehearse},
    events::QUORUM_FORMED,
    kafka::Kafka,
    names::{ANNOTATION_BOOTSTRAPPED, ANNOTATION_FORMATTED, ANNOTATION_INPUTS, NodeId},
};

/// Everything that a change is made from. Nothing of it is written yet.
pub(super) struct Scene {
    /// The cluster.
    pub(super) cluster: Cluster,
    /// Who it is.
    pub(super) identity: Identity,
    /// Claims from which a first voter serves, and that do not say so yet.
    pub(super) started_on: Vec<String>,
    /// First voters whose volumes are gone.
    pub(super) lost: Vec<NodeId>,
    /// What speaks against that among the volumes.
    pub(super) conflict: Option<HeldBack>,
    /// What to tell of a quorum that lost the volumes of a majority.
    pub(super) quorum_lost: Option<String>,
    /// Names of its objects that somebody else's have.
    pub(super) taken: Vec<Taken>,
    /// What the pools should run.
    pub(super) wanted: Vec<Wanted>,
    /// What is there of the nodes.
    pub(super) nodes: Vec<NodeFacts>,
}

impl Scene {
    pub(super) fn pools(&self, observed: &Observed) -> Vec<WantedPool> {
        let pool = |wanted: &Wanted| {
            let found = observed.stateful_set(&self.cluster.name, wanted.pool);
            WantedPool {
                pool: wanted.pool,
                size: self.cluster.size(wanted.pool),
                pod_hash: wanted.hash.clone(),
                config_hash: wanted.properties.hash.clone(),
                in_place: found.is_none_or(|set| hash_in_place(set).as_ref() == Some(&wanted.hash)),
            }
        };
        self.wanted.iter().map(pool).collect()
    }

    pub(super) fn objects(
        &self,
        operator_namespace: &str,
        restart: Option<&Candidate>,
        observed: &Observed,
    ) -> Objects {
        let starting = restart.and_then(|candidate| {
            self.nodes.iter().find(|node| node.pod == candidate.pod).map(|node| node.pool)
        });
        let budget = rollout::budget(&self.pools(observed), &self.nodes, starting);
        Objects::build(&self.cluster, &self.identity, &self.wanted, budget, operator_namespace, |wanted| {
            let found = observed.stateful_set(&self.cluster.name, wanted.pool);
            // Only a cluster that never came up has no pods because it never had any.
            let fresh = !self.identity.came_up && self.nodes.iter().all(|node| node.pool != wanted.pool);
            given(&self.identity, wanted, fresh || starting == Some(wanted.pool), found)
        })
    }

    fn all_ready(&self) -> bool {
        self.cluster.pools().into_iter().all(|pool| {
            let ready = self.nodes.iter().filter(|node| node.pool == pool && node.ready && !node.deleting);
            ready.count() >= usize::try_from(self.cluster.size(pool)).unwrap_or_default()
        })
    }
}

/// What came of a change.
pub(super) struct Changed {
    /// Why a restart that was safe a moment ago was not done.
    pub(super) blocked_by: Option<String>,
    /// Whether everything that comes once in a cluster's life has come.
    pub(super) settled: bool,
}

impl Pass<'_> {
    /// Asks the API server whether it would take the pods, before anything is changed for them: labels, tolerations,
    /// quantities and the like are judged there.
    pub(super) async fn rehearse(&self, scene: &Scene, observed: &Observed) -> Result<(), ApplyError> {
        for wanted in &scene.wanted {
            let found = observed.stateful_set(&scene.cluster.name, wanted.pool);
            if found.is_some_and(|set| hash_in_place(set).as_ref() == Some(&wanted.hash)) {
                continue;
            }
            let given = given(&scene.identity, wanted, true, found);
            let set = super::desired::stateful_set::build_stateful_set(&scene.cluster, wanted.pool, given);
            if is_taken(&scene.taken, &set) {
                continue;
            }
            rehearse(&self.context.client, &set, found).await?;
        }
        Ok(())
    }

    /// Changes what differs.
    pub(super) async fn change(
        &self,
        scene: &Scene,
        restart: Option<&Candidate>,
        observed: &Observed,
    ) -> Result<Changed, ApplyError> {
        let refused = self.apply_all(scene, restart, observed).await?;
        for claim in observed.claims.iter().filter(|claim| scene.started_on.contains(&claim.name_any())) {
            annotate_claim(&self.context.client, claim, ANNOTATION_FORMATTED, "true").await?;
        }
        let blocked_by = match restart.filter(|_| refused.is_none()) {
            Some(candidate) => self.restart(candidate, observed).await?,
            None => None,
        };
        let settled = self.record(scene, observed).await?;
        self.prune(scene, observed).await?;
        match refused {
            Some(refused) => Err(refused),
            None => Ok(Changed { blocked_by, settled }),
        }
    }

    /// Writes what differs. Gives what was refused: that keeps nothing else from being brought back, but no roll starts
    /// then, because the budget may be what was refused.
    async fn apply_all(
        &self,
        scene: &Scene,
        restart: Option<&Candidate>,
        observed: &Observed,
    ) -> Result<Option<ApplyError>, ApplyError> {
        let namespace = &self.context.settings.namespace;
        let mut writer = Writer { client: &self.context.client, taken: &scene.taken, refused: None };
        let objects = scene.objects(namespace, None, observed);
        for config_map in &objects.config_maps {
            writer.apply(config_map, &observed.config_maps).await?;
        }
        // Without its identity on record a cluster must not get volumes: the next pass would draw another one.
        let configured =
            writer.refused.is_none() && !objects.config_maps.iter().any(|map| is_taken(&scene.taken, map));
        writer.apply(&objects.service_account, &observed.service_accounts).await?;
        for service in &objects.services {
            writer.apply(service, &observed.services).await?;
        }
        writer.apply(&objects.network_policy, &observed.network_policies).await?;
        let restart = restart.filter(|_| writer.refused.is_none());
        writer.apply(&scene.objects(namespace, restart, observed).budget, &observed.budgets).await?;
        let restart = restart.filter(|_| writer.refused.is_none());
        let stateful_sets = scene.objects(namespace, restart, observed).stateful_sets;
        for stateful_set in stateful_sets.iter().filter(|_| configured) {
            writer.apply(stateful_set, &observed.stateful_sets).await?;
        }
        Ok(writer.refused)
    }

    /// Restarts a node, unless the cluster has changed its mind while objects were written. Gives what for.
    async fn restart(
        &self,
        candidate: &Candidate,
        observed: &Observed,
    ) -> Result<Option<String>, ApplyError> {
        let Some(pod) = named(&observed.pods, &candidate.pod) else { return Ok(None) };
        if let Decision::Blocked(why) = rollout::decide(candidate, observed.restart_safety(candidate).await) {
            return Ok(Some(why));
        }
        info!(cluster = %self.name, pod = candidate.pod, reason = %candidate.reason, "restarting a node");
        delete(&self.context.client, pod).await?;
        let note = format!("restarting {}", candidate.pod);
        self.context.events.tell_of(self.object, pod, &candidate.reason.to_string(), note).await;
        Ok(None)
    }

    /// Puts on record what comes once in a cluster's life: that the first quorum has formed, and that all nodes were
    /// ready. Gives whether both are.
    async fn record(&self, scene: &Scene, observed: &Observed) -> Result<bool, ApplyError> {
        let identity = &scene.identity;
        let forms = matches!(identity.bootstrap, Bootstrap::Forming(_));
        if forms && !self.has_formed(scene).await {
            return Ok(false);
        }
        let came_up = identity.came_up || scene.all_ready();
        if !forms && came_up == identity.came_up {
            return Ok(came_up);
        }
        if forms {
            // The claims first: they outlive the record, and a claim that says "not yet" for ever would let a lost
            // volume vote again.
            for claim in &observed.claims {
                annotate_claim(&self.context.client, claim, ANNOTATION_BOOTSTRAPPED, "true").await?;
            }
        }
        let now = Identity { came_up, ..if forms { identity.bootstrapped() } else { identity.clone() } };
        let found = named(&observed.config_maps, &scene.cluster.name.identity());
        apply(&self.context.client, &build_identity(&scene.cluster, &now), found).await?;
        if forms {
            let (controllers, id) = (identity.controllers, &identity.cluster_id);
            info!(cluster = %self.name, cluster_id = %id, "the first quorum has formed");
            let note = format!("{controllers} controllers have formed the quorum of cluster {id}");
            self.context.events.tell(self.object, QUORUM_FORMED, note).await;
        }
        Ok(came_up)
    }

    async fn has_formed(&self, scene: &Scene) -> bool {
        let Bootstrap::Forming(first) = &scene.identity.bootstrap else { return true };
        let up = |voter: &NodeId| scene.nodes.iter().any(|node| node.node_id == *voter && node.ready);
        if !first.iter().all(|voter| up(&voter.node_id)) {
            return false;
        }
        let cluster = &scene.cluster;
        let quorum = match Kafka::connect(&cluster.name.bootstrap(), &cluster.namespace).await {
            Ok(kafka) => kafka.quorum().await,
            Err(error) => Err(error),
        };
        match quorum {
            Ok(facts) => {
                let formed = facts.has_formed(first, &scene.lost);
                debug!(cluster = %self.name, ?facts, formed, "asked for the first quorum");
                formed
            }
            Err(error) => {
                debug!(cluster = %self.name, error = &error as &dyn std::error::Error, "cannot ask for the quorum");
                false
            }
        }
    }

    /// Removes configurations that neither a node nor a template uses any more.
    async fn prune(&self, scene: &Scene, observed: &Observed) -> Result<(), ApplyError> {
        let Scene { cluster, wanted, nodes, .. } = scene;
        let size: i32 = cluster.pools().into_iter().map(|pool| cluster.size(pool)).sum();
        let settled = nodes.len() == usize::try_from(size).unwrap_or_default();
        let current =
            nodes.iter().all(|node| wanted.iter().any(|one| node.pod_hash.as_ref() == Some(&one.hash)));
        if !settled || !current {
            return Ok(());
        }
        let kept: Vec<String> = wanted
            .iter()
            .map(|wanted| config_map_name(cluster, wanted.pool, &wanted.properties.hash))
            .chain([cluster.name.identity()])
            .collect();
        let unused = |map: &&ConfigMap| !kept.contains(&map.name_any()) && map.immutable == Some(true);
        for map in observed.config_maps.iter().filter(unused) {
            delete(&self.context.client, map).await?;
        }
        Ok(())
    }
}

/// Writes objects, and goes on where one is refused.
struct Writer<'a> {
    client: &'a kube::Client,
    /// Names that are not ours to write to.
    taken: &'a [Taken],
    /// What was refused first.
    refused: Option<ApplyError>,
}

impl Writer<'_> {
    async fn apply<K: Owned>(&mut self, wanted: &K, found: &[K]) -> Result<(), ApplyError> {
        if is_taken(self.taken, wanted) {
            return Ok(());
        }
        match apply(self.client, wanted, named(found, &wanted.name_any())).await {
            // The next would fare no better in a namespace that goes.
            Err(error) if error.is_refusal() && !error.namespace_is_leaving() => {
                self.refused.get_or_insert(error);
                Ok(())
            }
            other => other,
        }
    }
}

fn hash_in_place(set: &StatefulSet) -> Option<PodHash> {
    pod_hash_of(set.spec.as_ref()?.template.metadata.as_ref()?.annotations.as_ref())
}

/// What of a StatefulSet depends on what is there. The template changes only when a roll starts, that is with the
/// first restart in this pool (`starts`): a pod that is evicted before that, or killed, comes back as it was.
fn given(identity: &Identity, wanted: &Wanted, starts: bool, found: Option<&StatefulSet>) -> Given {
    let Some(spec) = found.and_then(|set| set.spec.as_ref()) else {
        return Given {
            template: wanted.template.clone(),
            inputs: Some(wanted.inputs.clone()),
            claim_annotations: identity.claim_annotations(),
        };
    };
    let current = found.and_then(hash_in_place).as_ref() == Some(&wanted.hash);
    let claims = spec.volume_claim_templates.iter().flatten().next();
    let claim_annotations = claims.and_then(|claim| claim.metadata.annotations.clone()).unwrap_or_default();
    if starts || current {
        let inputs = Some(wanted.inputs.clone());
        return Given { template: wanted.template.clone(), inputs, claim_annotations };
    }
    let inputs = found.and_then(|set| set.annotations().get(ANNOTATION_INPUTS).cloned()).map(InputsHash);
    Given { template: spec.template.clone(), inputs, claim_annotations }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cluster::{
            desired::stateful_set::build_stateful_set,
            identity::NewIdentity,
            rollout::{Rollout, Step},
            validate::{Pinned, Verdict, validate},
        },
        names::Pool,
        settings::BrokerImage,
    };

    fn cluster(config: serde_json::Value) -> Cluster {
        let object = serde_json::from_value(json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaCluster",
            "metadata": {"name": "my", "namespace": "ns", "uid": "u"},
            "spec": {"storage": {"size": "1Gi"}, "config": config},
        }));
        let image = BrokerImage::parse("localhost/ottla/broker:0.1.0").unwrap();
        match validate(&object.unwrap(), &Pinned::default(), &image) {
            Verdict::Accepted(cluster) => cluster,
            other @ (Verdict::ScaleDownRefused(..) | Verdict::Refused(_)) => panic!("{other:?}"),
        }
    }

    fn scene(config: serde_json::Value, came_up: bool, nodes: Vec<NodeFacts>) -> Scene {
        let cluster = cluster(config);
        let voters = cluster.controller_addresses();
        let new = NewIdentity { controllers: 3, cluster_id: None, voters: &voters };
        let drawn = Identity::resolve(None, &[], &new, || [7; 16]).unwrap();
        let wanted = vec![Wanted::of(&cluster, Pool::Nodes)];
        let identity = Identity { came_up, ..drawn };
        let (started_on, lost, taken) = (Vec::new(), Vec::new(), Vec::new());
        let (conflict, quorum_lost) = (None, None);
        Scene { cluster, identity, started_on, lost, conflict, quorum_lost, taken, wanted, nodes }
    }

    /// What is there of a cluster: its StatefulSet.
    fn there(scene: &Scene) -> Observed {
        let wanted = &scene.wanted[0];
        let set = build_stateful_set(&scene.cluster, Pool::Nodes, given(&scene.identity, wanted, true, None));
        Observed { stateful_sets: vec![set], ..Observed::default() }
    }

    fn template_changes(scene: &Scene, restart: Option<&Candidate>, observed: &Observed) -> bool {
        let objects = scene.objects("ottla-system", restart, observed);
        hash_in_place(&objects.stateful_sets[0]) != hash_in_place(&observed.stateful_sets[0])
    }

    #[test]
    fn a_template_waits_for_its_roll_although_no_pod_is_there() {
        let observed = there(&scene(json!({}), true, Vec::new()));
        let changed = json!({"num.partitions": 3});
        assert!(!template_changes(&scene(changed.clone(), true, Vec::new()), None, &observed));
        assert!(template_changes(&scene(changed, false, Vec::new()), None, &observed), "it never came up");
    }

    #[test]
    fn a_template_and_the_budget_change_with_the_first_restart() {
        let node = |pod_hash| NodeFacts {
            pool: Pool::Nodes,
            node_id: NodeId(0),
            pod: "my-nodes-0".into(),
            pod_hash,
            ready: true,
            deleting: false,
            recovering: false,
            running: None,
            version: None,
        };
        let before = scene(json!({}), true, Vec::new());
        let observed = there(&before);
        let nodes = vec![node(Some(before.wanted[0].hash.clone()))];
        let now = scene(json!({"num.partitions": 3}), true, nodes);
        let Rollout { step: Step::Ask(candidate), .. } =
            rollout::plan(&[WantedPool { size: 1, ..now.pools(&observed)[0].clone() }], &now.nodes, None)
        else {
            panic!("no roll")
        };
        let budget = |restart| {
            let objects = now.objects("ottla-system", restart, &observed);
            serde_json::to_value(&objects.budget).unwrap()["spec"]["maxUnavailable"].clone()
        };
        assert_eq!((template_changes(&now, None, &observed), budget(None)), (false, json!(1)));
        let restart = Some(&candidate);
        assert_eq!((template_changes(&now, restart, &observed), budget(restart)), (true, json!(0)));
    }
}
