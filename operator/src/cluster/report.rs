//! What the status says about a cluster. Pure.
//!
//! `Ready` and `Degraded` are what the nodes say, whatever becomes of the spec; what is refused of that is told by
//! `Valid`. In the words of kstatus, `Reconciling` repeats `Progressing`; `Stalled` repeats `Valid` where the spec is
//! refused, and otherwise `Degraded` where the quorum is lost.

use k8s_openapi::jiff::Timestamp;

use super::{
    rollout::{NodeFacts, Rollout, Step},
    validate::Cluster,
};
use crate::{
    crd::{BrokersStatus, Condition, ControllersStatus, KafkaClusterStatus, RolloutStatus},
    names::{LABEL_CLUSTER, LABEL_POOL, PORT_CLIENT, Pool},
    status::{self, Kind, Now, Why},
};

/// A part of the spec, or all of it, that is not carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeldBack {
    /// Why.
    pub why: Why,
    /// Why, in a sentence.
    pub message: String,
}

impl HeldBack {
    /// This, and another thing beside it.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { why: self.why, message: format!("{}; {}", self.message, other.message) }
    }
}

/// What is there of the nodes.
pub struct Seen<'a> {
    /// The nodes.
    pub nodes: &'a [NodeFacts],
    /// What keeps pods from becoming ready.
    pub problems: &'a [String],
    /// What to tell of a quorum that lost the volumes of a majority.
    pub quorum_lost: Option<&'a str>,
}

/// What came of a spec that is carried out, in part at least.
pub struct Carried<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its id.
    pub cluster_id: &'a str,
    /// Whether all of its nodes have been ready at once.
    pub came_up: bool,
    /// What is not carried out.
    pub held_back: Option<&'a HeldBack>,
    /// What the API server said against a change.
    pub trouble: Option<String>,
    /// Its nodes.
    pub seen: &'a Seen<'a>,
    /// The restarts under way.
    pub rollout: &'a Rollout,
    /// What the next restart waits for.
    pub blocked_by: Option<String>,
}

/// How many nodes are ready, and how many should be.
struct Numbers<'a> {
    brokers: BrokersStatus,
    missing: i32,
    text: String,
    details: String,
    quorum_lost: Option<&'a str>,
}

impl<'a> Numbers<'a> {
    fn of(seen: &Seen<'a>, sizes: &[(Pool, i32)]) -> Self {
        let Seen { nodes, problems, quorum_lost } = *seen;
        let ready_of =
            |pool| count(nodes.iter().filter(|node| node.pool == pool && node.ready && !node.deleting));
        let size_of = |pool| sizes.iter().find(|(other, _)| *other == pool).map_or(0, |(_, size)| *size);
        let brokers = BrokersStatus { desired: size_of(Pool::Nodes), ready: ready_of(Pool::Nodes) };
        let missing = sizes.iter().map(|(pool, size)| size - ready_of(*pool).min(*size)).sum();
        let mut text = format!("{} of {} brokers are ready", brokers.ready, brokers.desired);
        if size_of(Pool::Controllers) > 0 {
            let (ready, size) = (ready_of(Pool::Controllers), size_of(Pool::Controllers));
            text = format!("{text}, {ready} of {size} controllers");
        }
        let details =
            if problems.is_empty() { text.clone() } else { format!("{text}; {}", problems.join("; ")) };
        Self { brokers, missing, text, details, quorum_lost }
    }

    fn ready(&self, why_not: Why) -> Now {
        match (self.quorum_lost, self.missing) {
            (Some(lost), _) => Now::new(Kind::Ready, false, Why::QuorumLost, lost),
            (None, 0) => Now::new(Kind::Ready, true, Why::AllNodesReady, self.text.clone()),
            (None, _) => Now::new(Kind::Ready, false, why_not, self.details.clone()),
        }
    }

    fn degraded(&self, degraded: bool) -> Now {
        if let Some(lost) = self.quorum_lost {
            Now::new(Kind::Degraded, true, Why::QuorumLost, lost)
        } else if degraded {
            Now::new(Kind::Degraded, true, Why::NodesNotReady, self.details.clone())
        } else {
            Now::new(Kind::Degraded, false, Why::Stable, "no node is missing that should serve")
        }
    }
}

/// The status of a cluster whose spec is carried out, or the one before it.
#[must_use]
pub fn carried(
    before: Option<&KafkaClusterStatus>,
    carried: &Carried<'_>,
    generation: Option<i64>,
    at: Timestamp,
) -> KafkaClusterStatus {
    let cluster = carried.cluster;
    let sizes: Vec<_> = cluster.pools().into_iter().map(|pool| (pool, cluster.size(pool))).collect();
    let numbers = Numbers::of(carried.seen, &sizes);
    let conditions_before: &[Condition] = before.map_or(&[], |status| &status.conditions);
    let now = conditions(before, carried, &numbers);
    KafkaClusterStatus {
        conditions: status::conditions(conditions_before, now, generation, at),
        observed_generation: generation,
        cluster_id: Some(carried.cluster_id.to_owned()),
        version: Some(version(before, carried)),
        brokers: Some(numbers.brokers),
        controllers: Some(ControllersStatus { replicas: cluster.controllers }),
        bootstrap: Some(format!("{}.{}.svc:{PORT_CLIENT}", cluster.name.bootstrap(), cluster.namespace)),
        label_selector: Some(format!("{LABEL_CLUSTER}={},{LABEL_POOL}={}", cluster.name, Pool::Nodes.name())),
        rollout: (carried.rollout.step != Step::Done).then(|| RolloutStatus {
            updated: carried.rollout.updated,
            total: carried.rollout.total,
            reason: carried.rollout.reason.map(|reason| reason.to_string()).unwrap_or_default(),
            blocked_by: carried.blocked_by.clone(),
        }),
    }
}

fn conditions(before: Option<&KafkaClusterStatus>, carried: &Carried<'_>, numbers: &Numbers<'_>) -> Vec<Now> {
    let progress_was = |why: Why| {
        let conditions = before.map_or(&[][..], |status| &status.conditions);
        status::find(conditions, Kind::Progressing).is_some_and(|one| one.reason == why.word())
    };
    let brokers_before = before.and_then(|status| status.brokers.clone()).unwrap_or_default();
    let (came_up, missing) = (carried.came_up, numbers.missing > 0);
    let grows = numbers.brokers.desired > brokers_before.desired;
    let scaling = came_up && missing && (grows || progress_was(Why::Scaling));
    // A roll is over when the last node it restarted is back.
    let rolling = carried.rollout.step != Step::Done || missing && progress_was(Why::RollingOut);
    let why_not = match (came_up, scaling, rolling) {
        (false, _, _) => Why::Creating,
        (true, true, _) => Why::Scaling,
        (true, false, true) => Why::RollingOut,
        (true, false, false) => Why::NodesNotReady,
    };
    let progressing = match (&carried.trouble, rolling, missing, why_not) {
        (Some(trouble), ..) => Now::new(Kind::Progressing, false, Why::RefusedByKubernetes, trouble),
        (None, ..) if numbers.quorum_lost.is_some() => stable(),
        (None, true, _, _) => Now::new(Kind::Progressing, true, Why::RollingOut, rollout_text(carried)),
        (None, false, true, Why::Creating | Why::Scaling) => {
            Now::new(Kind::Progressing, true, why_not, numbers.text.clone())
        }
        (None, false, _, _) => stable(),
    };
    let degraded =
        came_up && missing && !rolling && !(scaling && numbers.brokers.ready >= brokers_before.ready);
    let reconciling = progressing.holds.then(|| Now { kind: Kind::Reconciling, ..progressing.clone() });
    let valid = match carried.held_back {
        Some(HeldBack { why, message }) => Now::new(Kind::Valid, false, *why, message),
        None => Now::new(Kind::Valid, true, Why::Accepted, "the spec is carried out"),
    };
    let mut now = vec![numbers.ready(why_not), progressing, numbers.degraded(degraded), valid];
    now.extend(reconciling);
    now.extend(stalled(&now));
    now
}

fn stable() -> Now {
    Now::new(Kind::Progressing, false, Why::Stable, "nothing is being changed")
}

/// What goes no further until somebody sees to it, in the word of kstatus.
fn stalled(now: &[Now]) -> Option<Now> {
    let refused = |one: &&Now| one.kind == Kind::Valid && !one.holds;
    let lost = |one: &&Now| one.kind == Kind::Degraded && one.why == Why::QuorumLost;
    let why = now.iter().find(refused).or_else(|| now.iter().find(lost))?;
    Some(Now { kind: Kind::Stalled, holds: true, ..why.clone() })
}

/// The release that the brokers run, as they say themselves. During a change it stays the one before until all have it.
fn version(before: Option<&KafkaClusterStatus>, carried: &Carried<'_>) -> String {
    let mut said: Vec<&String> = carried.seen.nodes.iter().filter_map(|node| node.version.as_ref()).collect();
    said.sort();
    let before = before.and_then(|status| status.version.as_ref());
    let kept = before.filter(|before| said.is_empty() || said.contains(before));
    kept.or_else(|| said.first().copied()).unwrap_or(&carried.cluster.version).clone()
}

fn rollout_text(carried: &Carried<'_>) -> String {
    let Rollout { updated, total, reason, .. } = carried.rollout;
    if carried.rollout.step == Step::Done {
        return format!(
            "{updated} of {total} nodes run what is wanted; waiting for the last of them to become ready"
        );
    }
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let waits = carried.blocked_by.as_deref().map(|what| format!("; waiting for {what}")).unwrap_or_default();
    format!("{updated} of {total} nodes run what is wanted{reason}{waits}")
}

/// What is there of a cluster that is left as it is: by the wish of `spec.paused`, or because nothing can be done.
pub struct Standing<'a> {
    /// Its nodes.
    pub seen: &'a Seen<'a>,
    /// How many nodes the pools that are there have; nothing where there is no pool yet.
    pub sizes: Vec<(Pool, i32)>,
    /// Whether all of its nodes have been ready at once.
    pub came_up: bool,
    /// Why nothing can be done; none where the cluster is paused.
    pub held_back: Option<&'a HeldBack>,
}

/// The status of a cluster that is left as it is.
#[must_use]
pub fn standing(
    before: Option<&KafkaClusterStatus>,
    standing: &Standing<'_>,
    generation: Option<i64>,
    at: Timestamp,
) -> KafkaClusterStatus {
    let mut after = before.cloned().unwrap_or_default();
    let numbers = Numbers::of(standing.seen, &standing.sizes);
    let valid_before = status::find(&after.conditions, Kind::Valid).cloned();
    let (why, message) = match standing.held_back {
        Some(HeldBack { why, message }) => (*why, message.as_str()),
        None => (Why::PausedBySpec, "spec.paused is true: nothing is changed until it is false"),
    };
    let mut now = Vec::new();
    if standing.sizes.is_empty() {
        now.push(Now::new(Kind::Ready, false, why, message));
    } else {
        now.push(numbers.ready(if standing.came_up { Why::NodesNotReady } else { Why::Creating }));
        now.push(numbers.degraded(standing.came_up && numbers.missing > 0));
        after.brokers = Some(numbers.brokers);
    }
    if why == Why::PausedBySpec {
        now.extend([stable(), Now::new(Kind::Paused, true, why, message)]);
    } else if why == Why::WaitingForRemoval {
        now.extend([Kind::Progressing, Kind::Reconciling].map(|kind| Now::new(kind, true, why, message)));
    } else {
        now.extend([stable(), Now::new(Kind::Valid, false, why, message)]);
    }
    now.extend(stalled(&now));
    let mut conditions = status::conditions(&after.conditions, now, generation, at);
    // What the spec was found to be stays true while it is not looked at.
    if status::find(&conditions, Kind::Valid).is_none() {
        conditions.extend(valid_before);
    }
    after.conditions = conditions;
    after.observed_generation = generation;
    after.rollout = None;
    after
}

/// The status of a cluster that could not be looked at, because the API server refuses: what was known, and that.
#[must_use]
pub fn failing(
    before: Option<&KafkaClusterStatus>,
    message: &str,
    generation: Option<i64>,
    at: Timestamp,
) -> KafkaClusterStatus {
    let mut after = before.cloned().unwrap_or_default();
    let mut now = vec![Now::new(Kind::Progressing, false, Why::RefusedByKubernetes, message)];
    if status::find(&after.conditions, Kind::Ready).is_none() {
        now.push(Now::new(Kind::Ready, false, Why::RefusedByKubernetes, message));
    }
    let replaced = |condition: &Condition| {
        condition.kind == Kind::Reconciling.word() || now.iter().any(|now| condition.kind == now.kind.word())
    };
    let (_, kept): (Vec<_>, Vec<_>) = after.conditions.iter().cloned().partition(replaced);
    let told = status::conditions(&after.conditions, now, generation, at);
    after.conditions = told.into_iter().chain(kept).collect();
    after
}

fn count<'a>(nodes: impl Iterator<Item = &'a NodeFacts>) -> i32 {
    i32::try_from(nodes.count()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
