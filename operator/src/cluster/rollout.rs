//! Which node is restarted next, if any. Pure.
//!
//! Owns decisions 9 and 10: only the roller restarts pods, one at a time, and only when the cluster itself says
//! that it can spare the node. Where nobody can answer, only a pod that is not Ready *and* of an older spec may be
//! replaced; never a Ready one. It waits without a deadline, and says what for.

use std::fmt;

use super::{desired::pod::PodHash, desired::pod_disruption_budget::Budget, properties::ConfigHash};
use crate::names::{NodeId, Pool};

/// What is wanted of a pool's nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WantedPool {
    /// The pool.
    pub pool: Pool,
    /// How many nodes.
    pub size: i32,
    /// The digest of their pods.
    pub pod_hash: PodHash,
    /// The digest of their configuration.
    pub config_hash: ConfigHash,
    /// Whether pods of this pool that come back are made so already: its template has been changed.
    pub in_place: bool,
}

/// What is there of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeFacts {
    /// The pool it belongs to.
    pub pool: Pool,
    /// Its id.
    pub node_id: NodeId,
    /// Its pod's name.
    pub pod: String,
    /// The digest that its pod was made with.
    pub pod_hash: Option<PodHash>,
    /// Whether its pod is Ready.
    pub ready: bool,
    /// Whether its pod is on its way out.
    pub deleting: bool,
    /// Whether it is bringing its logs in order after a crash: killed now, it would start over.
    pub recovering: bool,
    /// The digest of the configuration that the broker says it runs, where it answered.
    pub running: Option<ConfigHash>,
    /// The release that the broker says it is, where it answered.
    pub version: Option<String>,
}

/// Why a node has to be restarted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The broker runs another configuration.
    ConfigChangeRequiresRestart,
    /// The pod is made otherwise: image, resources, template.
    PodHasOldRevision,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigChangeRequiresRestart => "ConfigChangeRequiresRestart",
            Self::PodHasOldRevision => "PodHasOldRevision",
        })
    }
}

/// What the cluster says about a restart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Safety {
    /// It can spare the node.
    Safe,
    /// It cannot, because.
    Unsafe(String),
    /// There is no active controller that could say.
    NobodyAnswers,
}

/// A node to restart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node_id: NodeId,
    /// Its pod.
    pub pod: String,
    /// Whether its pod is Ready.
    pub ready: bool,
    /// Why.
    pub reason: Reason,
}

/// What to do about nodes that do not run what is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing: all of them do.
    Done,
    /// Wait.
    Wait {
        /// For what.
        why: String,
    },
    /// Ask the cluster about this node, then see [`decide`].
    Ask(Candidate),
}

/// The next step, and how far the roll is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rollout {
    /// How many nodes run what is wanted.
    pub updated: i32,
    /// How many nodes there are.
    pub total: i32,
    /// Why nodes are restarted, if any are.
    pub reason: Option<Reason>,
    /// The next step.
    pub step: Step,
}

/// What became of a candidate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Its pod is deleted.
    Restart,
    /// It is left alone, because.
    Blocked(String),
}

/// Plans the next step. `pools` come in the order in which a change goes through them; `active_controller` is
/// restarted last in its pool, so that leadership moves once and not with every pod.
#[must_use]
pub fn plan(pools: &[WantedPool], nodes: &[NodeFacts], active_controller: Option<NodeId>) -> Rollout {
    let total = nodes.len();
    let stale: Vec<(usize, Candidate)> = pools
        .iter()
        .enumerate()
        .flat_map(|(rank, wanted)| {
            let of_pool = nodes.iter().filter(move |node| node.pool == wanted.pool);
            of_pool.filter_map(move |node| Some((rank, candidate(wanted, node)?)))
        })
        .collect();
    let rollout = |step| Rollout {
        updated: count(total - stale.len()),
        total: count(total),
        reason: stale.first().map(|(_, candidate)| candidate.reason),
        step,
    };

    if stale.is_empty() {
        return rollout(Step::Done);
    }
    if let Some(node) = nodes.iter().find(|node| node.deleting) {
        return rollout(Step::Wait { why: format!("{} to stop", node.pod) });
    }
    let is_stale = |node: &&NodeFacts| stale.iter().any(|(_, candidate)| candidate.pod == node.pod);
    if let Some(node) = nodes.iter().filter(is_stale).find(|node| node.recovering) {
        return rollout(Step::Wait { why: format!("{} to recover its logs", node.pod) });
    }
    // A pod that is broken under its old spec goes first: waiting for it to become ready could take for ever.
    let broken = stale.iter().map(|(_, candidate)| candidate).find(|candidate| !candidate.ready);
    if let Some(candidate) = broken {
        return rollout(Step::Ask(candidate.clone()));
    }
    // A new pod that does not come up stops the roll, so that a bad spec hurts one pod.
    if let Some(node) = nodes.iter().find(|node| !node.ready) {
        return rollout(Step::Wait { why: format!("{} to become ready", node.pod) });
    }
    for wanted in pools {
        let there = nodes.iter().filter(|node| node.pool == wanted.pool).count();
        if count(there) < wanted.size {
            return rollout(Step::Wait { why: format!("{} nodes to be there", wanted.size) });
        }
    }
    let last = |candidate: &Candidate| Some(candidate.node_id) == active_controller;
    let next = stale
        .iter()
        .min_by_key(|(rank, candidate)| (*rank, last(candidate), std::cmp::Reverse(candidate.node_id)))
        .map(|(_, candidate)| Step::Ask(candidate.clone()));
    rollout(next.unwrap_or(Step::Done))
}

/// The same, for a cluster that has lost its quorum for good: what still runs there may be all that is left, so only a
/// node that does not even answer is replaced.
#[must_use]
pub fn without_quorum(rollout: Rollout, nodes: &[NodeFacts]) -> Rollout {
    let answers = |pod: &str| nodes.iter().any(|node| node.pod == pod && node.running.is_some());
    match &rollout.step {
        Step::Ask(candidate) if candidate.ready || answers(&candidate.pod) => {
            Rollout { step: Step::Wait { why: "the quorum to be restored".to_owned() }, ..rollout }
        }
        Step::Ask(_) | Step::Wait { .. } | Step::Done => rollout,
    }
}

/// How many pods may be evicted. None while an evicted pod could come back by a template that no ready pod has proved:
/// one that is in place, or goes in now because a restart starts the roll of its pool.
#[must_use]
pub fn budget(pools: &[WantedPool], nodes: &[NodeFacts], starting: Option<Pool>) -> Budget {
    let proved = |wanted: &WantedPool| {
        let of_pool = || nodes.iter().filter(|node| node.pool == wanted.pool);
        let is_new = |node: &NodeFacts| candidate(wanted, node).is_none();
        of_pool().all(is_new) || of_pool().any(|node| is_new(node) && node.ready)
    };
    let at_risk = |wanted: &&WantedPool| wanted.in_place || starting == Some(wanted.pool);
    if pools.iter().filter(at_risk).all(proved) { Budget::Open } else { Budget::Closed }
}

fn candidate(wanted: &WantedPool, node: &NodeFacts) -> Option<Candidate> {
    let reason = match (&node.running, &node.pod_hash) {
        (Some(running), _) if *running != wanted.config_hash => Reason::ConfigChangeRequiresRestart,
        (_, Some(made)) if *made == wanted.pod_hash => return None,
        (_, Some(_) | None) => Reason::PodHasOldRevision,
    };
    Some(Candidate { node_id: node.node_id, pod: node.pod.clone(), ready: node.ready, reason })
}

/// What becomes of a candidate, now that the cluster was asked.
#[must_use]
pub fn decide(candidate: &Candidate, safety: Safety) -> Decision {
    match (safety, candidate.ready) {
        (Safety::Safe, _) | (Safety::NobodyAnswers, false) => Decision::Restart,
        (Safety::Unsafe(why), _) => Decision::Blocked(format!("{}: {why}", candidate.pod)),
        (Safety::NobodyAnswers, true) => Decision::Blocked(format!(
            "{}: no active controller can say whether its restart is safe",
            candidate.pod
        )),
    }
}

fn count(nodes: usize) -> i32 {
    i32::try_from(nodes).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> WantedPool {
        WantedPool {
            pool: Pool::Nodes,
            size: 3,
            pod_hash: PodHash("new".into()),
            config_hash: ConfigHash("c2".into()),
            in_place: true,
        }
    }

    fn node(id: i32, pod_hash: &str, config: &str, ready: bool) -> NodeFacts {
        NodeFacts {
            pool: Pool::Nodes,
            node_id: NodeId(id),
            pod: format!("my-nodes-{id}"),
            pod_hash: Some(PodHash(pod_hash.into())),
            ready,
            deleting: false,
            recovering: false,
            running: Some(ConfigHash(config.into())),
            version: None,
        }
    }

    fn step(nodes: &[NodeFacts], active: Option<i32>) -> Step {
        plan(&[wanted()], nodes, active.map(NodeId)).step
    }

    fn asked(step: &Step) -> i32 {
        match step {
            Step::Ask(candidate) => candidate.node_id.0,
            Step::Done | Step::Wait { .. } => panic!("{step:?}"),
        }
    }

    #[test]
    fn nodes_that_run_what_is_wanted_are_left_alone() {
        let nodes = [node(0, "new", "c2", true), node(1, "new", "c2", false), node(2, "new", "c2", true)];
        assert_eq!(step(&nodes, None), Step::Done);
        assert_eq!(budget(&[wanted()], &nodes, None), Budget::Open);
    }

    #[test]
    fn the_active_controller_is_the_last() {
        let mut nodes = [node(0, "old", "c1", true), node(1, "old", "c1", true), node(2, "old", "c1", true)];
        assert_eq!(asked(&step(&nodes, Some(2))), 1);
        nodes[1] = node(1, "new", "c2", true);
        assert_eq!(asked(&step(&nodes, Some(2))), 0);
        nodes[0] = node(0, "new", "c2", true);
        assert_eq!(asked(&step(&nodes, Some(2))), 2);
    }

    #[test]
    fn one_pod_at_a_time() {
        let mut nodes = [node(0, "old", "c1", true), node(1, "new", "c2", false), node(2, "old", "c1", true)];
        assert_eq!(step(&nodes, None), Step::Wait { why: "my-nodes-1 to become ready".into() });
        nodes[1].deleting = true;
        assert_eq!(step(&nodes, None), Step::Wait { why: "my-nodes-1 to stop".into() });
        assert_eq!(
            step(&[nodes[0].clone(), nodes[2].clone()], None),
            Step::Wait { why: "3 nodes to be there".into() }
        );
    }

    #[test]
    fn a_pod_broken_under_its_old_spec_goes_first() {
        let nodes = [node(0, "old", "c1", false), node(1, "old", "c1", true), node(2, "old", "c1", true)];
        assert_eq!(asked(&step(&nodes, None)), 0);
    }

    #[test]
    fn a_broker_that_reports_another_configuration_is_restarted_although_its_pod_is_current() {
        let nodes = [node(0, "new", "c1", true), node(1, "new", "c2", true), node(2, "new", "c2", true)];
        let rollout = plan(&[wanted()], &nodes, None);
        assert_eq!(rollout.reason, Some(Reason::ConfigChangeRequiresRestart));
        assert_eq!((rollout.updated, rollout.total), (2, 3));
    }

    #[test]
    fn the_budget_is_closed_from_the_first_restart_until_the_first_new_pod_is_ready() {
        let mut nodes = [node(0, "old", "c1", true), node(1, "old", "c1", true), node(2, "old", "c1", true)];
        let waits = WantedPool { in_place: false, ..wanted() };
        assert_eq!(
            budget(std::slice::from_ref(&waits), &nodes, None),
            Budget::Open,
            "evicted pods come back as they were"
        );
        assert_eq!(budget(&[waits], &nodes, Some(Pool::Nodes)), Budget::Closed);
        assert_eq!(budget(&[wanted()], &nodes, None), Budget::Closed);
        nodes[2] = node(2, "new", "c2", false);
        assert_eq!(budget(&[wanted()], &nodes, None), Budget::Closed);
        nodes[2].ready = true;
        assert_eq!(budget(&[wanted()], &nodes, None), Budget::Open);
    }

    #[test]
    fn a_log_recovery_is_waited_for() {
        let mut nodes = [node(0, "old", "c1", false), node(1, "old", "c1", true), node(2, "old", "c1", true)];
        nodes[0].recovering = true;
        assert_eq!(step(&nodes, None), Step::Wait { why: "my-nodes-0 to recover its logs".into() });
    }

    #[test]
    fn without_a_quorum_nothing_that_answers_is_restarted() {
        let mut nodes = [node(0, "old", "c1", false), node(1, "old", "c1", true), node(2, "old", "c1", true)];
        let step = |nodes: &[NodeFacts]| without_quorum(plan(&[wanted()], nodes, None), nodes).step;
        assert_eq!(step(&nodes), Step::Wait { why: "the quorum to be restored".into() });
        nodes[0].running = None;
        assert_eq!(asked(&step(&nodes)), 0);
        nodes[0] = node(0, "new", "c2", true);
        nodes[1].running = None;
        assert!(matches!(step(&nodes), Step::Wait { .. }), "ready, and without an answer");
    }

    #[test]
    fn a_ready_pod_is_never_restarted_without_an_answer() {
        let candidate = |ready| Candidate {
            node_id: NodeId(0),
            pod: "my-nodes-0".into(),
            ready,
            reason: Reason::PodHasOldRevision,
        };
        assert!(matches!(decide(&candidate(true), Safety::NobodyAnswers), Decision::Blocked(_)));
        assert_eq!(decide(&candidate(false), Safety::NobodyAnswers), Decision::Restart);
        assert_eq!(decide(&candidate(true), Safety::Safe), Decision::Restart);
        assert_eq!(
            decide(&candidate(false), Safety::Unsafe("QUORUM".into())),
            Decision::Blocked("my-nodes-0: QUORUM".into())
        );
    }

    /// Every state of three nodes: a roll never takes a second node down, and always ends.
    #[test]
    fn from_every_state_a_safe_roll_ends_with_at_most_one_more_node_down() {
        let states = [("old", "c1"), ("new", "c2"), ("new", "c1")];
        for code in 0..(6 * 6 * 6) {
            let mut rest = code;
            let mut nodes: Vec<NodeFacts> = (0..3)
                .map(|id| {
                    let (hash, config) = states[rest % 3];
                    let ready = (rest / 3) % 2 == 0;
                    rest /= 6;
                    node(id, hash, config, ready)
                })
                .collect();
            for round in 0.. {
                assert!(round < 20, "no end from {code}");
                match step(&nodes, Some(1)) {
                    Step::Done => break,
                    Step::Wait { .. } => nodes.iter_mut().for_each(|node| node.ready = true),
                    Step::Ask(candidate) => {
                        let down =
                            nodes.iter().filter(|node| !node.ready && node.pod != candidate.pod).count();
                        assert!(!candidate.ready || down == 0, "a second node would go down from {code}");
                        let id = candidate.node_id.0;
                        nodes[usize::try_from(id).unwrap()] = node(id, "new", "c2", false);
                    }
                }
            }
        }
    }
}
