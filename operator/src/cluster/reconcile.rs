//! One pass over a cluster: look, judge, build, apply, restart at most one node, report.
//!
//! Level-triggered: a pass knows nothing of the one before it, so an operator that was killed between any two writes
//! goes on where it stopped.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::ConfigMap},
    jiff::Timestamp,
};
use kube::{Client, ResourceExt as _, runtime::controller::Action};
use tracing::{debug, info};
use uuid::Uuid;

use super::{
    desired::{
        InputsHash, Objects, Wanted,
        config_map::{build_identity, config_map_name},
        pod::pod_hash_of,
        stateful_set::Given,
    },
    identity::{Bootstrap, Identity, IdentityError, NewIdentity},
    observe::{ObserveError, Observed, named, observe},
    report,
    rollout::{self, Candidate, Decision, NodeFacts, Rollout, Step, WantedPool},
    validate::{Cluster, Refusal, Verdict, validate},
};
use crate::{
    apply::{Applied, ApplyError, Owned, annotate_claim, apply, delete},
    crd::{KafkaCluster, KafkaClusterStatus},
    events::{Events, QUORUM_FORMED},
    kafka::Kafka,
    names::{ANNOTATION_BOOTSTRAPPED, ANNOTATION_INPUTS, ClusterName, NodeId},
    settings::Settings,
    status::{self, Why},
};

/// Nothing tells us when the quorum has formed or when a restart became safe; we ask again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Claims on their way out.
const WAIT_FOR_CLAIMS: Duration = Duration::from_secs(2);
/// Drift is reported by watches; this is for watches that lied. It reads only.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// What a pass works with.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's own settings.
    pub settings: Settings,
    /// Events.
    pub events: Events,
}

/// Why a pass did not get through.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// It could not look.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// It could not write.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// One pass.
///
/// # Errors
/// When the API server does not do its part; the pass is repeated.
pub async fn reconcile(object: Arc<KafkaCluster>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    // What belongs to a cluster that is being deleted goes with it.
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let pass = Pass { object: &object, context: &context, name: ClusterName::new(object.name_any()) };
    if object.spec.paused {
        let status = report::paused(object.status.as_ref(), object.metadata.generation, Timestamp::now());
        pass.report(status).await?;
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    let observed = observe(&context.client, &object.namespace().unwrap_or_default(), &pass.name).await?;
    let pinned = observed.pinned(&object, &pass.name);
    match validate(&object, &pinned, &context.settings.broker_image) {
        Verdict::Refused(refusals) => {
            let message = refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            pass.refuse(Why::InvalidSpec, &message).await?;
            Ok(Action::requeue(LOOK_AGAIN))
        }
        Verdict::ScaleDownRefused(cluster, refusal) => {
            pass.carry_out(&cluster, Some(&refusal), &observed).await
        }
        Verdict::Accepted(cluster) => pass.carry_out(&cluster, None, &observed).await,
    }
}

struct Pass<'a> {
    object: &'a KafkaCluster,
    context: &'a Context,
    name: ClusterName,
}

impl Pass<'_> {
    async fn carry_out(
        &self,
        cluster: &Cluster,
        held_back: Option<&Refusal>,
        observed: &Observed,
    ) -> Result<Action, ReconcileError> {
        let identity = match self.identity(cluster, observed) {
            Ok(identity) => identity,
            Err(IdentityError::ClaimLeaving { claim }) => {
                debug!(cluster = %self.name, claim, "waiting for a claim of a deleted cluster to go");
                return Ok(Action::requeue(WAIT_FOR_CLAIMS));
            }
            Err(error) => {
                self.refuse(Why::VolumesConflict, &error.to_string()).await?;
                return Ok(Action::requeue(LOOK_AGAIN));
            }
        };
        let wanted: Vec<Wanted> = cluster
            .pools()
            .into_iter()
            .map(|pool| Wanted::of(cluster, pool).or_running(observed.running(&self.name, pool)))
            .collect();
        let nodes = observed.node_facts();
        let rollout = self.plan(cluster, &wanted, &nodes).await;
        let (restart, blocked_by) = self.decide(&rollout, observed).await;

        self.apply_all(cluster, &identity, &wanted, &rollout, restart.as_ref(), observed).await?;
        if let Some(candidate) = &restart {
            self.restart(candidate, observed).await?;
        }
        let formed = self.record_bootstrap(cluster, &identity, &nodes, observed).await?;
        self.prune(cluster, &wanted, &nodes, observed).await?;

        let carried = report::Carried {
            cluster,
            cluster_id: identity.cluster_id.as_str(),
            held_back,
            nodes: &nodes,
            problems: &observed.problems(),
            rollout: &rollout,
            blocked_by,
        };
        let before = self.object.status.as_ref();
        self.report(report::carried(before, &carried, self.object.metadata.generation, Timestamp::now()))
            .await?;
        let settled = formed && rollout.step == Step::Done;
        Ok(Action::requeue(if settled { LOOK_AGAIN } else { ASK_AGAIN }))
    }

    fn identity(&self, cluster: &Cluster, observed: &Observed) -> Result<Identity, IdentityError> {
        let recorded = observed.recorded_identity(&self.name)?;
        let voters = cluster.controller_addresses();
        let new = NewIdentity { controllers: cluster.controllers, voters: &voters };
        Identity::resolve(recorded, &observed.claim_facts(), &new, || *Uuid::new_v4().as_bytes())
    }

    async fn plan(&self, cluster: &Cluster, wanted: &[Wanted], nodes: &[NodeFacts]) -> Rollout {
        let pools: Vec<WantedPool> = wanted
            .iter()
            .map(|wanted| WantedPool {
                pool: wanted.pool,
                size: cluster.size(wanted.pool),
                pod_hash: wanted.hash.clone(),
                config_hash: wanted.properties.hash.clone(),
            })
            .collect();
        let rollout = rollout::plan(&pools, nodes, None);
        match rollout.step {
            Step::Done | Step::Wait { .. } => rollout,
            // Only a roll needs to know who leads the quorum.
            Step::Ask(_) => rollout::plan(&pools, nodes, self.active_controller(cluster).await),
        }
    }

    async fn active_controller(&self, cluster: &Cluster) -> Option<NodeId> {
        let kafka = Kafka::connect(&cluster.name.bootstrap(), &cluster.namespace).await.ok()?;
        kafka.quorum().await.ok()?.leader
    }

    /// The node to restart now, and otherwise what the roll waits for.
    async fn decide(&self, rollout: &Rollout, observed: &Observed) -> (Option<Candidate>, Option<String>) {
        match &rollout.step {
            Step::Done => (None, None),
            Step::Wait { why } => (None, Some(why.clone())),
            Step::Ask(candidate) => {
                match rollout::decide(candidate, observed.restart_safety(candidate).await) {
                    Decision::Restart => (Some(candidate.clone()), None),
                    Decision::Blocked(why) => (None, Some(why)),
                }
            }
        }
    }

    async fn apply_all(
        &self,
        cluster: &Cluster,
        identity: &Identity,
        wanted: &[Wanted],
        rollout: &Rollout,
        restart: Option<&Candidate>,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        let client = &self.context.client;
        let namespace = &self.context.settings.namespace;
        let objects = Objects::build(cluster, identity, wanted, rollout.budget, namespace, |wanted| {
            given(identity, wanted, restart, observed.stateful_set(&cluster.name, wanted.pool), observed)
        });
        apply_found(client, &objects.service_account, &observed.service_accounts).await?;
        for config_map in &objects.config_maps {
            apply_found(client, config_map, &observed.config_maps).await?;
        }
        for service in &objects.services {
            apply_found(client, service, &observed.services).await?;
        }
        apply_found(client, &objects.network_policy, &observed.network_policies).await?;
        apply_found(client, &objects.budget, &observed.budgets).await?;
        for stateful_set in &objects.stateful_sets {
            apply_found(client, stateful_set, &observed.stateful_sets).await?;
        }
        Ok(())
    }

    async fn restart(&self, candidate: &Candidate, observed: &Observed) -> Result<(), ApplyError> {
        let Some(pod) = named(&observed.pods, &candidate.pod) else { return Ok(()) };
        info!(cluster = %self.name, pod = candidate.pod, reason = %candidate.reason, "restarting a node");
        delete(&self.context.client, pod).await?;
        let note = format!("restarting {}", candidate.pod);
        self.context.events.tell_of(self.object, pod, &candidate.reason.to_string(), note).await;
        Ok(())
    }

    /// Records that the first quorum has formed, once it has. Gives whether that is on record.
    async fn record_bootstrap(
        &self,
        cluster: &Cluster,
        identity: &Identity,
        nodes: &[NodeFacts],
        observed: &Observed,
    ) -> Result<bool, ApplyError> {
        let Bootstrap::Forming(first) = &identity.bootstrap else { return Ok(true) };
        let up = |voter: &NodeId| nodes.iter().any(|node| node.node_id == *voter && node.ready);
        if !first.iter().all(|voter| up(&voter.node_id)) {
            return Ok(false);
        }
        let quorum = match Kafka::connect(&cluster.name.bootstrap(), &cluster.namespace).await {
            Ok(kafka) => kafka.quorum().await,
            Err(error) => Err(error),
        };
        match quorum {
            Ok(facts) if facts.has_formed(first) => {}
            Ok(facts) => {
                debug!(cluster = %self.name, ?facts, "the first quorum has not formed yet");
                return Ok(false);
            }
            Err(error) => {
                debug!(cluster = %self.name, error = &error as &dyn std::error::Error, "cannot ask for the quorum");
                return Ok(false);
            }
        }
        // The claims first: they outlive the record, and a claim that says "not yet" for ever would let a lost
        // volume vote again.
        for claim in &observed.claims {
            annotate_claim(&self.context.client, claim, ANNOTATION_BOOTSTRAPPED, "true").await?;
        }
        let done = Identity { bootstrap: Bootstrap::Done, ..identity.clone() };
        let found = named(&observed.config_maps, &cluster.name.identity());
        apply(&self.context.client, &build_identity(cluster, &done), found).await?;
        info!(cluster = %self.name, cluster_id = %identity.cluster_id, "the first quorum has formed");
        let note =
            format!("{} controllers have formed the quorum of cluster {}", first.len(), identity.cluster_id);
        self.context.events.tell(self.object, QUORUM_FORMED, note).await;
        Ok(true)
    }

    /// Removes configurations that neither a node nor a template uses any more.
    async fn prune(
        &self,
        cluster: &Cluster,
        wanted: &[Wanted],
        nodes: &[NodeFacts],
        observed: &Observed,
    ) -> Result<(), ApplyError> {
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

    async fn refuse(&self, why: Why, message: &str) -> Result<(), ApplyError> {
        let before = self.object.status.as_ref();
        self.report(report::refused(before, why, message, self.object.metadata.generation, Timestamp::now()))
            .await
    }

    async fn report(&self, after: KafkaClusterStatus) -> Result<(), ApplyError> {
        let before = self.object.status.as_ref();
        if status::write(&self.context.client, self.object, before, &after).await? {
            let conditions = before.map_or(&[][..], |status| &status.conditions);
            let changed = status::transitions(conditions, &after.conditions);
            self.context.events.tell_transitions(self.object, &changed).await;
        }
        Ok(())
    }
}

async fn apply_found<K: Owned>(client: &Client, wanted: &K, found: &[K]) -> Result<Applied, ApplyError> {
    apply(client, wanted, named(found, &wanted.name_any())).await
}

/// What of a StatefulSet depends on what is there. The template changes only when a roll starts, that is with the
/// first restart in this pool: a pod that is evicted before that comes back as it was.
fn given(
    identity: &Identity,
    wanted: &Wanted,
    restart: Option<&Candidate>,
    found: Option<&StatefulSet>,
    observed: &Observed,
) -> Given {
    let Some(spec) = found.and_then(|set| set.spec.as_ref()) else {
        return Given {
            template: wanted.template.clone(),
            inputs: Some(wanted.inputs.clone()),
            claim_annotations: identity.claim_annotations(),
        };
    };
    let there =
        pod_hash_of(spec.template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref()));
    let in_this_pool = |candidate: &Candidate| {
        observed.node_facts().iter().any(|node| node.pod == candidate.pod && node.pool == wanted.pool)
    };
    let starts = restart.is_some_and(in_this_pool);
    let no_pods = !observed.node_facts().iter().any(|node| node.pool == wanted.pool);
    let current = there.as_ref() == Some(&wanted.hash);
    let claims = spec.volume_claim_templates.iter().flatten().next();
    let claim_annotations = claims.and_then(|claim| claim.metadata.annotations.clone()).unwrap_or_default();
    if starts || no_pods || current {
        let inputs = Some(wanted.inputs.clone());
        return Given { template: wanted.template.clone(), inputs, claim_annotations };
    }
    let inputs = found.and_then(|set| set.annotations().get(ANNOTATION_INPUTS).cloned()).map(InputsHash);
    Given { template: spec.template.clone(), inputs, claim_annotations }
}
