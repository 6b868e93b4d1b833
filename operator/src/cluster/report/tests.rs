use super::*;
use crate::{cluster::validate, names::NodeId, settings::BrokerImage};

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
            recovering: false,
            running: None,
            version: None,
        })
        .collect()
}

fn seen(nodes: &[NodeFacts]) -> Seen<'_> {
    Seen { nodes, problems: &[], quorum_lost: None }
}

fn report(
    before: Option<&KafkaClusterStatus>,
    replicas: i32,
    ready: &[bool],
    step: Step,
) -> KafkaClusterStatus {
    report_of(before, replicas, &nodes(ready), step, None, None)
}

fn report_of(
    before: Option<&KafkaClusterStatus>,
    replicas: i32,
    nodes: &[NodeFacts],
    step: Step,
    held_back: Option<&HeldBack>,
    trouble: Option<String>,
) -> KafkaClusterStatus {
    let rollout = Rollout { updated: 0, total: 3, reason: None, step };
    let ready = |status: &KafkaClusterStatus| words(status).contains(&"Ready: AllNodesReady".to_owned());
    // As the pass does: taken down once, never forgotten.
    let came_up = before
        .is_some_and(|before| ready(before) || !before.conditions.iter().any(|one| one.reason == "Creating"));
    let carried_out = Carried {
        cluster: &cluster(replicas),
        cluster_id: "id",
        came_up,
        held_back,
        trouble,
        seen: &seen(nodes),
        rollout: &rollout,
        blocked_by: None,
    };
    carried(before, &carried_out, Some(1), Timestamp::from_second(1).unwrap())
}

fn words(status: &KafkaClusterStatus) -> Vec<String> {
    let holds = |condition: &&Condition| condition.status == crate::crd::ConditionStatus::True;
    let word = |condition: &Condition| format!("{}: {}", condition.kind, condition.reason);
    let own = |one: &&Condition| one.kind != "Valid" && one.kind != "Reconciling";
    status.conditions.iter().filter(holds).filter(own).map(word).collect()
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

fn reason(status: &KafkaClusterStatus, kind: Kind) -> Option<(bool, &str)> {
    let condition = status::find(&status.conditions, kind)?;
    Some((condition.status == crate::crd::ConditionStatus::True, &condition.reason))
}

fn invalid() -> HeldBack {
    HeldBack { why: Why::InvalidSpec, message: "no".into() }
}

fn stands(
    before: Option<&KafkaClusterStatus>,
    ready: &[bool],
    sizes: Vec<(Pool, i32)>,
    held_back: Option<&HeldBack>,
) -> KafkaClusterStatus {
    let nodes = nodes(ready);
    let scene = Standing { seen: &seen(&nodes), sizes, came_up: true, held_back };
    standing(before, &scene, Some(2), Timestamp::from_second(2).unwrap())
}

#[test]
fn a_refused_spec_is_told_by_valid_and_the_nodes_speak_for_themselves() {
    let ready = report(Some(&report(None, 3, &[], Step::Done)), 3, &[true, true, true], Step::Done);
    let refused = invalid();
    let told =
        |ready_now: &[bool]| report_of(Some(&ready), 3, &nodes(ready_now), Step::Done, Some(&refused), None);
    let after = told(&[true, true, true]);
    assert_eq!(reason(&after, Kind::Ready), Some((true, "AllNodesReady")));
    assert_eq!(reason(&after, Kind::Valid), Some((false, "InvalidSpec")));
    assert_eq!(reason(&after, Kind::Stalled), Some((true, "InvalidSpec")));
    let lost = told(&[true, false, true]);
    assert_eq!(reason(&lost, Kind::Degraded), Some((true, "NodesNotReady")));
    assert_eq!(lost.brokers.map(|brokers| brokers.ready), Some(2));
    let stands = stands(Some(&ready), &[true, true, false], vec![(Pool::Nodes, 3)], Some(&refused));
    assert_eq!(reason(&stands, Kind::Ready), Some((false, "NodesNotReady")));
    assert_eq!(reason(&stands, Kind::Degraded), Some((true, "NodesNotReady")));
    assert_eq!(reason(&stands, Kind::Valid), Some((false, "InvalidSpec")));
}

#[test]
fn a_new_cluster_whose_first_spec_was_refused_is_creating_once_it_is_carried_out() {
    let refused = invalid();
    let first = stands(None, &[], Vec::new(), Some(&refused));
    assert_eq!(reason(&first, Kind::Ready), Some((false, "InvalidSpec")));
    let rollout = Rollout { updated: 0, total: 0, reason: None, step: Step::Done };
    let one = nodes(&[true]);
    let carried_out = Carried {
        cluster: &cluster(3),
        cluster_id: "id",
        came_up: false,
        held_back: None,
        trouble: None,
        seen: &seen(&one),
        rollout: &rollout,
        blocked_by: None,
    };
    let fixed = carried(Some(&first), &carried_out, Some(2), Timestamp::from_second(3).unwrap());
    assert_eq!(words(&fixed), ["Progressing: Creating"]);
}

#[test]
fn a_cluster_made_again_waits_for_its_predecessor_and_is_not_at_fault() {
    let leaving = HeldBack { why: Why::WaitingForRemoval, message: "still going".into() };
    let told = stands(None, &[true, true, true], Vec::new(), Some(&leaving));
    assert_eq!(reason(&told, Kind::Ready), Some((false, "WaitingForRemoval")));
    assert_eq!(reason(&told, Kind::Progressing), Some((true, "WaitingForRemoval")));
    assert_eq!(reason(&told, Kind::Reconciling), Some((true, "WaitingForRemoval")));
    for kind in [Kind::Degraded, Kind::Valid, Kind::Stalled] {
        assert_eq!(reason(&told, kind), None);
    }
    assert_eq!((&told.brokers, &told.cluster_id), (&None, &None));
}

#[test]
fn a_lost_quorum_is_told_whatever_the_nodes_say_and_by_every_path() {
    let ready = report(Some(&report(None, 3, &[], Step::Done)), 3, &[true, true, true], Step::Done);
    let nodes = nodes(&[true, false, false]);
    let lost = Seen { quorum_lost: Some("2 of 3"), ..seen(&nodes) };
    let rollout = Rollout { updated: 3, total: 3, reason: None, step: Step::Done };
    let carried_out = Carried {
        cluster: &cluster(3),
        cluster_id: "id",
        came_up: true,
        held_back: None,
        trouble: None,
        seen: &lost,
        rollout: &rollout,
        blocked_by: None,
    };
    let after = carried(Some(&ready), &carried_out, Some(1), Timestamp::from_second(2).unwrap());
    let sizes = vec![(Pool::Nodes, 3)];
    let scene = Standing { seen: &lost, sizes, came_up: true, held_back: None };
    let paused = standing(Some(&ready), &scene, Some(1), Timestamp::from_second(2).unwrap());
    for status in [&after, &paused] {
        assert_eq!(reason(status, Kind::Ready), Some((false, "QuorumLost")));
        assert_eq!(reason(status, Kind::Degraded), Some((true, "QuorumLost")));
        assert_eq!(reason(status, Kind::Stalled), Some((true, "QuorumLost")));
        assert_eq!(reason(status, Kind::Progressing), Some((false, "Stable")));
        assert_eq!(status::find(&status.conditions, Kind::Degraded).unwrap().message, "2 of 3");
    }
    assert_eq!(reason(&after, Kind::Valid), Some((true, "Accepted")), "the spec is not to blame");
}

#[test]
fn what_the_api_server_refuses_is_told() {
    let after = report_of(None, 3, &[], Step::Done, None, Some("quota".into()));
    assert_eq!(reason(&after, Kind::Progressing), Some((false, "RefusedByKubernetes")));
    let ready = report(Some(&report(None, 3, &[], Step::Done)), 3, &[true, true, true], Step::Done);
    let failed = failing(Some(&ready), "forbidden", Some(1), Timestamp::from_second(4).unwrap());
    assert_eq!(reason(&failed, Kind::Progressing), Some((false, "RefusedByKubernetes")));
    assert_eq!(reason(&failed, Kind::Ready), Some((true, "AllNodesReady")));
    assert_eq!(failing(Some(&failed), "forbidden", Some(1), Timestamp::from_second(5).unwrap()), failed);
}

#[test]
fn a_pause_changes_nothing_but_the_status_goes_on() {
    let ready = report(Some(&report(None, 3, &[], Step::Done)), 3, &[true, true, true], Step::Done);
    let paused = stands(Some(&ready), &[true, true, false], vec![(Pool::Nodes, 3)], None);
    assert_eq!(words(&paused), ["Degraded: NodesNotReady", "Paused: PausedBySpec"]);
    assert_eq!(reason(&paused, Kind::Valid), Some((true, "Accepted")));
}

#[test]
fn while_something_is_under_way_kstatus_is_told_so() {
    let first = report(None, 3, &[], Step::Done);
    assert_eq!(reason(&first, Kind::Reconciling), Some((true, "Creating")));
    let ready = report(Some(&first), 3, &[true, true, true], Step::Done);
    assert_eq!(reason(&ready, Kind::Reconciling), None);
    let rolling = report(Some(&ready), 3, &[true, true, true], Step::Wait { why: "x".into() });
    assert_eq!(reason(&rolling, Kind::Ready), Some((true, "AllNodesReady")));
    assert_eq!(reason(&rolling, Kind::Reconciling), Some((true, "RollingOut")));
}

#[test]
fn the_version_is_the_one_that_brokers_run_until_all_have_another() {
    let run = |versions: [Option<&str>; 3]| {
        let mut nodes = nodes(&[true, true, true]);
        for (node, version) in nodes.iter_mut().zip(versions) {
            node.version = version.map(str::to_owned);
        }
        nodes
    };
    let report = |before: Option<&KafkaClusterStatus>, versions| {
        report_of(before, 3, &run(versions), Step::Done, None, None)
    };
    let first = report(None, [None; 3]);
    assert_eq!(first.version.as_deref(), Some("0.1.0"), "what is wanted, before anybody runs");
    let half = report(Some(&first), [Some("0.1.0"), Some("0.2.0"), Some("0.2.0")]);
    assert_eq!(half.version.as_deref(), Some("0.1.0"));
    let all = report(Some(&half), [Some("0.2.0"); 3]);
    assert_eq!(all.version.as_deref(), Some("0.2.0"));
}
