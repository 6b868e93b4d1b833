//! One pass over a cluster: look, judge, build, change what differs, report.
//!
//! Level-triggered: a pass knows nothing of the one before it, so an operator that was killed between any two writes
//! goes on where it stopped. A spec that is refused freezes nothing: the one that was carried out last is kept up.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Client, Resource as _, ResourceExt as _, runtime::controller::Action};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    change::Scene,
    desired::Wanted,
    identity::{Identity, IdentityError, NewIdentity},
    observe::{ObserveError, Observed, observe},
    quorum,
    report::{self, HeldBack},
    rollout::{self, Candidate, Decision, Rollout, Step},
    taken,
    validate::{Cluster, Pinned, Refusal, Verdict, pool_of_controllers, validate},
};
use crate::{
    apply::ApplyError,
    crd::{KafkaCluster, KafkaClusterStatus},
    events::Events,
    kafka::Kafka,
    names::{ClusterName, NodeId},
    retry::{Failures, jittered},
    settings::Settings,
    status::{self, Kind, Why},
};

/// Nothing tells us when the quorum has formed or when a restart became safe; we ask again, more and more seldom.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The longest time between two questions.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(15);
/// What a deleted cluster left, on its way out.
const WAIT_FOR_REMOVAL: Duration = Duration::from_secs(2);
/// What somebody has to see to, and no watch tells of.
const WAIT_FOR_REMEDY: Duration = Duration::from_secs(30);
/// Drift is reported by watches; this is for watches that lied. It reads only.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// A pass takes a second. One that hangs on a half-open connection must not hold up its cluster for ever.
const PASS_TIME_MAX: Duration = Duration::from_secs(60);

/// What a pass works with.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's own settings.
    pub settings: Settings,
    /// Events.
    pub events: Events,
    /// How often in a row passes over a cluster failed.
    pub failures: Failures,
}

/// Why a pass did not get through.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// It could not look.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// It could not write before it began to change anything.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// It could not write all of what it had to change; the status says so.
    #[error(transparent)]
    Change(ApplyError),
    /// It took too long.
    #[error("the pass took longer than {PASS_TIME_MAX:?}")]
    Time,
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
    let result = timeout(PASS_TIME_MAX, async {
        let result = pass.run().await;
        if let Err(error) = &result {
            pass.report_failure(error).await?;
        }
        result
    });
    let wait = result.await.unwrap_or(Err(ReconcileError::Time))?;
    context.failures.forget(&*object);
    Ok(Action::requeue(jittered(wait)))
}

pub(super) struct Pass<'a> {
    pub(super) object: &'a KafkaCluster,
    pub(super) context: &'a Context,
    pub(super) name: ClusterName,
}

impl Pass<'_> {
    /// Gives when to look again.
    async fn run(&self) -> Result<Duration, ReconcileError> {
        let observed = self.look().await?;
        if self.object.spec.paused {
            return self.stand(None, &observed).await;
        }
        let pinned = observed.pinned(self.object, &self.name);
        let (cluster, mut held_back) = match self.validate(self.object, &pinned) {
            Ok(judged) => judged,
            Err(refused) => match self.accepted(&pinned, &observed) {
                Some(cluster) => (cluster, Some(refused)),
                None => return self.stand(Some(refused), &observed).await,
            },
        };
        let is_new = held_back.as_ref().is_none_or(|held_back| held_back.why != Why::InvalidSpec);
        let mut scene = match self.scene(cluster, &observed) {
            Ok(scene) => scene,
            Err(held_back) => return self.stand(Some(held_back), &observed).await,
        };
        if let Some(held_back) = self.claim_names(&mut scene, &observed).await? {
            return self.stand(Some(held_back), &observed).await;
        }
        if is_new && let Err(error) = self.rehearse(&scene, &observed).await {
            if !error.is_invalid() {
                return Err(error.into());
            }
            let refused = HeldBack { why: Why::RefusedByKubernetes, message: error.told() };
            let before = self.accepted(&pinned, &observed).map(|cluster| self.scene(cluster, &observed));
            let Some(Ok(mut before)) = before else { return self.stand(Some(refused), &observed).await };
            if let Some(taken) = self.claim_names(&mut before, &observed).await? {
                return self.stand(Some(refused.and(&taken)), &observed).await;
            }
            (scene, held_back) = (before, Some(refused));
        }
        self.carry_out(scene, held_back, &observed).await
    }

    /// What is there, without what is somebody else's.
    async fn look(&self) -> Result<Observed, ObserveError> {
        let namespace = self.object.namespace().unwrap_or_default();
        let observed = observe(&self.context.client, &namespace, &self.name).await?;
        Ok(match self.object.controller_owner_ref(&()) {
            Some(owner) => observed.without_foreign(&owner),
            None => observed,
        })
    }

    /// The cluster that the spec describes and what of it is held back, or why nothing of it can be carried out.
    fn validate(
        &self,
        object: &KafkaCluster,
        pinned: &Pinned,
    ) -> Result<(Cluster, Option<HeldBack>), HeldBack> {
        match validate(object, pinned, &self.context.settings.broker_image) {
            Verdict::Accepted(cluster) => Ok((cluster, None)),
            Verdict::ScaleDownRefused(cluster, refusal) => {
                let held_back = HeldBack { why: Why::ScaleDownNotSupported, message: refusal.to_string() };
                Ok((cluster, Some(held_back)))
            }
            Verdict::Refused(refusals) => {
                let told: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
                Err(HeldBack { why: Why::InvalidSpec, message: told.join("; ") })
            }
        }
    }

    /// The cluster that was carried out last.
    fn accepted(&self, pinned: &Pinned, observed: &Observed) -> Option<Cluster> {
        let spec = observed.accepted_spec(&self.name)?;
        let object = KafkaCluster { spec, ..self.object.clone() };
        self.validate(&object, pinned).ok().map(|(cluster, _)| cluster)
    }

    fn scene(&self, cluster: Cluster, observed: &Observed) -> Result<Scene, HeldBack> {
        let claims = observed.claim_facts();
        let refused = |error: IdentityError| HeldBack { why: why_of(&error), message: error.to_string() };
        let recorded = observed.recorded_identity(&self.name).map_err(refused)?;
        let voters = cluster.controller_addresses();
        let cluster_id = cluster.cluster_id.as_ref();
        let new = NewIdentity { controllers: cluster.controllers, cluster_id, voters: &voters };
        let mut identity =
            Identity::resolve(recorded, &claims, &new, || *Uuid::new_v4().as_bytes()).map_err(refused)?;
        let started_on = identity.mark_formatted(&observed.serving(), &claims);
        let wanted: Vec<Wanted> = cluster
            .pools()
            .into_iter()
            .map(|pool| Wanted::of(&cluster, pool).or_running(observed.running(&self.name, pool)))
            .collect();
        let lost = identity.lost(&claims).iter().map(|voter| voter.node_id).collect();
        let conflict = identity.conflict(&claims).map(refused);
        let nodes = observed.node_facts(&self.name);
        let quorum_lost = quorum::lost(observed, &self.name, cluster.pool_of_controllers());
        let taken = Vec::new();
        Ok(Scene { cluster, identity, started_on, lost, conflict, quorum_lost, taken, wanted, nodes })
    }

    async fn carry_out(
        &self,
        scene: Scene,
        held_back: Option<HeldBack>,
        observed: &Observed,
    ) -> Result<Duration, ReconcileError> {
        let rollout = self.plan(&scene, observed).await;
        let (restart, mut blocked_by) = self.decide(&rollout, observed).await;
        let changed = self.change(&scene, restart.as_ref(), observed).await;
        if let Ok(changed) = &changed {
            blocked_by = blocked_by.or_else(|| changed.blocked_by.clone());
        }
        let is_durable = self.keeps_min_insync_replicas(&scene, &rollout.step).await;
        let all = [held_back, taken::told(&scene.taken), scene.conflict.clone()];
        let held_back = all.into_iter().flatten().reduce(|first, other| first.and(&other));
        let (problems, lost) = (observed.problems(), scene.quorum_lost.as_deref());
        let seen = report::Seen { nodes: &scene.nodes, problems: &problems, quorum_lost: lost };
        let carried = report::Carried {
            cluster: &scene.cluster,
            cluster_id: scene.identity.cluster_id.as_str(),
            came_up: scene.identity.came_up,
            held_back: held_back.as_ref(),
            trouble: changed.as_ref().err().filter(|error| error.is_refusal()).map(ApplyError::told),
            seen: &seen,
            rollout: &rollout,
            blocked_by,
        };
        let before = self.object.status.as_ref();
        let now = Timestamp::now();
        let after = report::carried(before, &carried, self.object.metadata.generation, now);
        let (wait, ready) = (ask_again(&after, now), status::holds(&after.conditions, Kind::Ready));
        self.report(after).await?;
        let changed = changed.map_err(ReconcileError::Change)?;
        let refused = held_back.is_some_and(|held_back| held_back.why == Why::RefusedByKubernetes);
        let remedy = refused || !scene.taken.is_empty();
        // What a node says of itself that does not become ready is told by no watch.
        let settled = changed.settled && is_durable;
        Ok(match settled && rollout.step == Step::Done && ready {
            true if remedy => WAIT_FOR_REMEDY,
            true => LOOK_AGAIN,
            false => wait,
        })
    }

    async fn plan(&self, scene: &Scene, observed: &Observed) -> Rollout {
        let pools = scene.pools(observed);
        let rollout = rollout::plan(&pools, &scene.nodes, None);
        if let (Step::Ask(_), Some(taken)) = (&rollout.step, scene.taken.first()) {
            let why = format!("the name of {} \"{}\" to be free", taken.kind, taken.name);
            return Rollout { step: Step::Wait { why }, ..rollout };
        }
        if scene.quorum_lost.is_some() {
            return rollout::without_quorum(rollout, &scene.nodes);
        }
        match rollout.step {
            Step::Done | Step::Wait { .. } => rollout,
            // Only a roll needs to know who leads the quorum.
            Step::Ask(_) => rollout::plan(&pools, &scene.nodes, self.active_controller(&scene.cluster).await),
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

    /// Changes nothing and reports what is there.
    async fn stand(
        &self,
        held_back: Option<HeldBack>,
        observed: &Observed,
    ) -> Result<Duration, ReconcileError> {
        let ours = self.object.controller_owner_ref(&()).map(|owner| observed.clone().without_others(&owner));
        let observed = ours.as_ref().unwrap_or(observed);
        let nodes = observed.node_facts(&self.name);
        let recorded = observed.recorded_identity(&self.name).ok().flatten();
        // It cannot be changed after creation, so that a spec that is refused tells it too.
        let pool = pool_of_controllers(self.object.spec.controllers.placement);
        let (problems, lost) = (observed.problems(), quorum::lost(observed, &self.name, pool));
        let seen = report::Seen { nodes: &nodes, problems: &problems, quorum_lost: lost.as_deref() };
        let standing = report::Standing {
            seen: &seen,
            sizes: observed.sizes(&self.name),
            came_up: recorded.is_some_and(|identity| identity.came_up),
            held_back: held_back.as_ref(),
        };
        let before = self.object.status.as_ref();
        let after = report::standing(before, &standing, self.object.metadata.generation, Timestamp::now());
        self.report(after).await?;
        Ok(match held_back.map(|held_back| held_back.why) {
            Some(Why::WaitingForRemoval) => WAIT_FOR_REMOVAL,
            Some(Why::NameTaken | Why::RefusedByKubernetes | Why::VolumesConflict) => WAIT_FOR_REMEDY,
            Some(_) | None => LOOK_AGAIN,
        })
    }

    /// Says in the status that the API server refuses what the pass needs, where it does and that was not said yet.
    async fn report_failure(&self, error: &ReconcileError) -> Result<(), ApplyError> {
        let told = match error {
            ReconcileError::Observe(error) => error.is_refusal().then(|| error.told()),
            ReconcileError::Apply(error) => {
                (error.is_refusal() && !error.namespace_is_leaving()).then(|| error.told())
            }
            ReconcileError::Change(_) | ReconcileError::Time => None,
        };
        let Some(told) = told else { return Ok(()) };
        let before = self.object.status.as_ref();
        let (generation, now) = (self.object.metadata.generation, Timestamp::now());
        self.report(report::failing(before, &told, generation, now)).await
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

fn why_of(error: &IdentityError) -> Why {
    match error {
        IdentityError::ClaimLeaving { .. } => Why::WaitingForRemoval,
        IdentityError::VolumeLost { .. } => Why::VolumeLost,
        IdentityError::ClaimsDisagree { .. }
        | IdentityError::ClaimOfAnother { .. }
        | IdentityError::Unreadable { .. } => Why::VolumesConflict,
    }
}

/// The longer something has been under way, the less often it is asked about; changes of pods come by a watch anyway.
fn ask_again(status: &KafkaClusterStatus, now: Timestamp) -> Duration {
    let since = status::find(&status.conditions, Kind::Progressing).map(|one| one.last_transition_time);
    let seconds = since.map_or(0, |since| now.as_second().saturating_sub(since.as_second()));
    Duration::from_secs(u64::try_from(seconds / 20).unwrap_or(0)).clamp(ASK_AGAIN, ASK_AGAIN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crd::KafkaClusterStatus, status::Now};

    #[test]
    fn what_lasts_is_asked_about_less_and_less() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let now = vec![Now::new(Kind::Progressing, true, Why::Creating, "0 of 3")];
        let conditions = status::conditions(&[], now, Some(1), at(1000));
        let status = KafkaClusterStatus { conditions, ..KafkaClusterStatus::default() };
        let wait = |second| ask_again(&status, at(second)).as_secs();
        assert_eq!([wait(1000), wait(1019), wait(1100), wait(9000)], [1, 1, 5, 15]);
    }
}
