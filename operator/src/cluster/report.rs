//! What the status says about a cluster. Pure.

use k8s_openapi::jiff::Timestamp;

use super::{
    rollout::{NodeFacts, Rollout, Step},
    validate::{Cluster, Refusal},
};
use crate::{
    crd::{BrokersStatus, Condition, ControllersStatus, KafkaClusterStatus, RolloutStatus},
    names::{LABEL_CLUSTER, LABEL_POOL, PORT_CLIENT, Pool},
    status::{self, Kind, Now, Why},
};

/// What came of a spec that can be carried out.
pub struct Carried<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its id.
    pub cluster_id: &'a str,
    /// The part of the spec that is not carried out.
    pub held_back: Option<&'a Refusal>,
    /// Its nodes.
    pub nodes: &'a [NodeFacts],
    /// What keeps pods from becoming ready.
    pub problems: &'a [String],
    /// The restarts under way.
    pub rollout: &'a Rollout,
    /// What the next restart waits for.
    pub blocked_by: Option<String>,
}

/// The status of a cluster whose spec is carried out.
#[must_use]
pub fn carried(
    before: Option<&KafkaClusterStatus>,
    carried: &Carried<'_>,
    generation: Option<i64>,
    at: Timestamp,
) -> KafkaClusterStatus {
    let cluster = carried.cluster;
    let ready_of =
        |pool| count(carried.nodes.iter().filter(|node| node.pool == pool && node.ready && !node.deleting));
    let brokers = BrokersStatus { desired: cluster.brokers, ready: ready_of(Pool::Nodes) };
    let missing: i32 = cluster
        .pools()
        .into_iter()
        .map(|pool| cluster.size(pool) - ready_of(pool).min(cluster.size(pool)))
        .sum();

    let conditions_before: &[Condition] = before.map_or(&[], |status| &status.conditions);
    let ready_before = status::find(conditions_before, Kind::Ready);
    let been_ready = ready_before.is_some_and(|ready| ready.reason != Why::Creating.word());
    let brokers_before = before.and_then(|status| status.brokers.clone()).unwrap_or_default();
    let was_scaling = status::find(conditions_before, Kind::Progressing)
        .is_some_and(|one| one.reason == Why::Scaling.word());
    let scaling = been_ready && missing > 0 && (brokers.desired > brokers_before.desired || was_scaling);
    let rolling = carried.rollout.step != Step::Done;

    let mut numbers = format!("{} of {} brokers are ready", brokers.ready, brokers.desired);
    if cluster.pools().contains(&Pool::Controllers) {
        let ready = ready_of(Pool::Controllers);
        numbers = format!("{numbers}, {ready} of {} controllers", cluster.controllers);
    }
    let details = if carried.problems.is_empty() {
        numbers.clone()
    } else {
        format!("{numbers}; {}", carried.problems.join("; "))
    };

    let why_not = match (been_ready, scaling, rolling) {
        (false, _, _) => Why::Creating,
        (true, true, _) => Why::Scaling,
        (true, false, true) => Why::RollingOut,
        (true, false, false) => Why::NodesNotReady,
    };
    let mut now = Vec::new();
    now.push(if missing == 0 {
        Now::new(Kind::Ready, true, Why::AllNodesReady, numbers.clone())
    } else {
        Now::new(Kind::Ready, false, why_not, details.clone())
    });
    now.push(match (rolling, missing > 0, why_not) {
        (true, _, _) => Now::new(Kind::Progressing, true, Why::RollingOut, rollout_text(carried)),
        (false, true, Why::Creating | Why::Scaling) => Now::new(Kind::Progressing, true, why_not, numbers),
        (false, _, _) => Now::new(Kind::Progressing, false, Why::Stable, "nothing is being changed"),
    });
    let degraded =
        been_ready && missing > 0 && !rolling && !(scaling && brokers.ready >= brokers_before.ready);
    now.push(if degraded {
        Now::new(Kind::Degraded, true, Why::NodesNotReady, details)
    } else {
        Now::new(Kind::Degraded, false, Why::Stable, "no node is missing that should serve")
    });
    now.push(match carried.held_back {
        Some(refusal) => Now::new(Kind::Valid, false, Why::ScaleDownNotSupported, refusal.to_string()),
        None => Now::new(Kind::Valid, true, Why::Accepted, "the spec is carried out"),
    });

    KafkaClusterStatus {
        conditions: status::conditions(conditions_before, now, generation, at),
        observed_generation: generation,
        cluster_id: Some(carried.cluster_id.to_owned()),
        version: Some(cluster.version.clone()),
        brokers: Some(brokers),
        controllers: Some(ControllersStatus { replicas: cluster.controllers }),
        bootstrap: Some(format!("{}.{}.svc:{PORT_CLIENT}", cluster.name.bootstrap(), cluster.namespace)),
        label_selector: Some(format!("{LABEL_CLUSTER}={},{LABEL_POOL}={}", cluster.name, Pool::Nodes.name())),
        rollout: rolling.then(|| RolloutStatus {
            updated: carried.rollout.updated,
            total: carried.rollout.total,
            reason: carried.rollout.reason.map(|reason| reason.to_string()).unwrap_or_default(),
            blocked_by: carried.blocked_by.clone(),
        }),
    }
}

fn rollout_text(carried: &Carried<'_>) -> String {
    let Rollout { updated, total, reason, .. } = carried.rollout;
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let waits = carried.blocked_by.as_deref().map(|what| format!("; waiting for {what}")).unwrap_or_default();
    format!("{updated} of {total} nodes run what is wanted{reason}{waits}")
}

/// The status of a cluster whose spec is not carried out; what runs is left alone, and so is what was said about it.
#[must_use]
pub fn refused(
    before: Option<&KafkaClusterStatus>,
    why: Why,
    message: &str,
    generation: Option<i64>,
    at: Timestamp,
) -> KafkaClusterStatus {
    let mut after = before.cloned().unwrap_or_default();
    let now = vec![
        Now::new(Kind::Ready, false, why, message),
        Now::new(Kind::Progressing, false, Why::Stable, "nothing is being changed"),
        Now::new(Kind::Valid, why == Why::VolumesConflict, why, message),
    ];
    after.conditions = status::conditions(&after.conditions, now, generation, at);
    after.observed_generation = generation;
    after.rollout = None;
    after
}

/// The status of a cluster that the operator was told to leave alone.
#[must_use]
pub fn paused(
    before: Option<&KafkaClusterStatus>,
    generation: Option<i64>,
    at: Timestamp,
) -> KafkaClusterStatus {
    let mut after = before.cloned().unwrap_or_default();
    let message = "spec.paused is true: nothing is changed until it is false";
    let pause = status::conditions(
        &after.conditions,
        vec![Now::new(Kind::Paused, true, Why::PausedBySpec, message)],
        generation,
        at,
    );
    after.conditions.retain(|condition| condition.kind != Kind::Paused.word());
    after.conditions.extend(pause);
    after.observed_generation = generation;
    after
}

fn count<'a>(nodes: impl Iterator<Item = &'a NodeFacts>) -> i32 {
    i32::try_from(nodes.count()).unwrap_or(i32::MAX)
}
