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
    let progress_was = |why: Why| {
        status::find(conditions_before, Kind::Progressing).is_some_and(|one| one.reason == why.word())
    };
    let scaling =
        been_ready && missing > 0 && (brokers.desired > brokers_before.desired || progress_was(Why::Scaling));
    // A roll is over when the last node it restarted is back.
    let rolling = carried.rollout.step != Step::Done || missing > 0 && progress_was(Why::RollingOut);

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
        rollout: (carried.rollout.step != Step::Done).then(|| RolloutStatus {
            updated: carried.rollout.updated,
            total: carried.rollout.total,
            reason: carried.rollout.reason.map(|reason| reason.to_string()).unwrap_or_default(),
            blocked_by: carried.blocked_by.clone(),
        }),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{desired::pod_disruption_budget::Budget, validate},
        names::NodeId,
        settings::BrokerImage,
    };

    fn cluster(replicas: i32) -> Cluster {
        let object = serde_json::from_value(serde_json::json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaCluster",
            "metadata": {"name": "my", "namespace": "ns", "uid": "u"},
            "spec": {"replicas": replicas, "storage": {"size": "1Gi"}},
        }));
        let image = BrokerImage::parse("localhost/ottla/broker:0.1.0").unwrap();
        match validate::validate(&object.unwrap(), &validate::Pinned::default(), &image) {
            validate::Verdict::Accepted(cluster) => cluster,
            other @ (validate::Verdict::ScaleDownRefused(..) | validate::Verdict::Refused(_)) => {
                panic!("{other:?}")
            }
        }
    }

    fn nodes(ready: &[bool]) -> Vec<NodeFacts> {
        (0..)
            .zip(ready)
            .map(|(id, ready)| NodeFacts {
                pool: Pool::Nodes,
                node_id: NodeId(id),
                pod: format!("my-nodes-{id}"),
                pod_hash: None,
                ready: *ready,
                deleting: false,
                running: None,
            })
            .collect()
    }

    fn report(
        before: Option<&KafkaClusterStatus>,
        replicas: i32,
        ready: &[bool],
        step: Step,
    ) -> KafkaClusterStatus {
        let rollout = Rollout { updated: 0, total: 3, reason: None, step, budget: Budget::Open };
        let carried_out = Carried {
            cluster: &cluster(replicas),
            cluster_id: "id",
            held_back: None,
            nodes: &nodes(ready),
            problems: &[],
            rollout: &rollout,
            blocked_by: None,
        };
        carried(before, &carried_out, Some(1), Timestamp::from_second(1).unwrap())
    }

    fn words(status: &KafkaClusterStatus) -> Vec<String> {
        let holds = |condition: &&Condition| condition.status == crate::crd::ConditionStatus::True;
        let word = |condition: &Condition| format!("{}: {}", condition.kind, condition.reason);
        status.conditions.iter().filter(holds).filter(|one| one.kind != "Valid").map(word).collect()
    }

    #[test]
    fn a_new_cluster_is_creating_until_all_nodes_are_ready_once() {
        let first = report(None, 3, &[], Step::Done);
        assert_eq!(words(&first), ["Progressing: Creating"]);
        let second = report(Some(&first), 3, &[true, true, false], Step::Done);
        assert_eq!(words(&second), ["Progressing: Creating"]);
        let third = report(Some(&second), 3, &[true, true, true], Step::Done);
        assert_eq!(words(&third), ["Ready: AllNodesReady"]);
        let lost = report(Some(&third), 3, &[true, true, false], Step::Done);
        assert_eq!(words(&lost), ["Degraded: NodesNotReady"]);
    }

    #[test]
    fn a_node_that_is_added_degrades_nothing_and_one_that_is_lost_meanwhile_does() {
        let ready = report(Some(&report(None, 3, &[], Step::Done)), 3, &[true, true, true], Step::Done);
        let scaling = report(Some(&ready), 4, &[true, true, true], Step::Done);
        assert_eq!(words(&scaling), ["Progressing: Scaling"]);
        let still = report(Some(&scaling), 4, &[true, true, true, false], Step::Done);
        assert_eq!(words(&still), ["Progressing: Scaling"]);
        let lost = report(Some(&still), 4, &[true, true, false, false], Step::Done);
        assert_eq!(words(&lost), ["Progressing: Scaling", "Degraded: NodesNotReady"]);
    }

    #[test]
    fn a_roll_lasts_until_the_last_restarted_node_is_back() {
        let ready = report(Some(&report(None, 3, &[], Step::Done)), 3, &[true, true, true], Step::Done);
        let rolling = report(Some(&ready), 3, &[true, true], Step::Wait { why: "x".into() });
        assert_eq!(words(&rolling), ["Progressing: RollingOut"]);
        let last = report(Some(&rolling), 3, &[true, true, false], Step::Done);
        assert_eq!(words(&last), ["Progressing: RollingOut"]);
        assert_eq!(words(&report(Some(&last), 3, &[true, true, true], Step::Done)), ["Ready: AllNodesReady"]);
    }

    #[test]
    fn the_same_state_reported_twice_is_the_same_status() {
        let first = report(None, 3, &[true, false, true], Step::Done);
        assert_eq!(report(Some(&first), 3, &[true, false, true], Step::Done), first);
    }

    #[test]
    fn a_refused_spec_leaves_what_was_known() {
        let ready = report(None, 3, &[true, true, true], Step::Done);
        let after =
            refused(Some(&ready), Why::InvalidSpec, "no", Some(2), Timestamp::from_second(2).unwrap());
        assert_eq!((after.brokers.clone(), after.cluster_id.clone()), (ready.brokers, ready.cluster_id));
        assert!(words(&after).is_empty());
    }
}
