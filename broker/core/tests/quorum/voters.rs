//! Voters that lose their volume, and what a member may not do.

use ottla_core::controller::operation::{RestartSafety, RestartVerdict};
use ottla_core::controller::{NodeEvent, Operation, OperationError, Reply};
use ottla_core::ids::NodeId;
use ottla_core::quorum::machine::QuorumEvent;
use ottla_sim::disk::CrashKind;

use crate::rig::{Cluster, create, directory, registration};

fn follower(cluster: &Cluster) -> NodeId {
    let active = cluster.active().unwrap();
    cluster.ids().into_iter().find(|id| *id != active).unwrap()
}

fn directories(cluster: &Cluster) -> Vec<ottla_core::ids::DirectoryId> {
    let image = cluster.image(cluster.active().unwrap());
    assert!(image.learners.is_empty() || image.voters.len() < 3);
    image.voters.values().map(|voter| voter.directory_id).collect()
}

#[test]
fn a_wiped_controller_replaces_its_old_self() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    cluster.broker_up(active, NodeId(9));
    cluster.call(active, create("a", 1, 3)).unwrap();
    let wiped = follower(&cluster);
    cluster.stop(wiped, CrashKind::Process);
    cluster.pass(3_000);
    cluster.add(wiped, directory(999), None);
    cluster.start(wiped);
    cluster.pass_until("it votes", |cluster| cluster.node(wiped).quorum().votes());
    cluster.pass(1_000);
    assert_eq!(cluster.image(wiped), cluster.image(active));
    assert!(directories(&cluster).contains(&directory(999)));
    assert_eq!(cluster.image(active).voters.len(), 3);
    // It counts: with it and one other the cluster goes on.
    let third = cluster.ids().into_iter().find(|id| *id != active && *id != wiped).unwrap();
    cluster.stop(third, CrashKind::Process);
    cluster.pass(3_000);
    cluster.call(active, create("b", 2, 3)).unwrap();
}

#[test]
fn two_controllers_are_wiped_one_after_the_other() {
    let mut cluster = Cluster::started(3);
    for round in 0..2 {
        let active = cluster.wait_active();
        cluster.call(active, create(&format!("topic-{round}"), round, 1)).unwrap();
        let wiped = follower(&cluster);
        let new = directory(900 + round);
        cluster.stop(wiped, CrashKind::Process);
        cluster.pass(3_000);
        cluster.add(wiped, new, None);
        cluster.start(wiped);
        cluster.pass_until("it votes", |cluster| cluster.node(wiped).quorum().votes());
        cluster.pass(1_000);
        assert!(directories(&cluster).contains(&new));
    }
}

#[test]
fn a_controller_wiped_twice_while_it_learns_still_gets_in() {
    let mut cluster = Cluster::started(3);
    cluster.wait_active();
    let wiped = follower(&cluster);
    for number in [901, 902] {
        cluster.stop(wiped, CrashKind::Process);
        cluster.pass(3_000);
        cluster.add(wiped, directory(number), None);
        cluster.start(wiped);
        cluster.pass(600);
    }
    cluster.pass_until("it votes", |cluster| cluster.node(wiped).quorum().votes());
    cluster.pass(1_000);
    assert!(directories(&cluster).contains(&directory(902)));
    assert_eq!(cluster.image(cluster.active().unwrap()).voters.len(), 3);
}

#[test]
fn a_wiped_controller_casts_no_vote_as_its_old_self() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let wiped = follower(&cluster);
    let third = cluster.ids().into_iter().find(|id| *id != active && *id != wiped).unwrap();
    cluster.stop(active, CrashKind::Process);
    cluster.stop(wiped, CrashKind::Process);
    cluster.add(wiped, directory(999), None);
    cluster.start(wiped);
    cluster.pass(20_000);
    assert_eq!(cluster.active(), None, "one of three voters is there");
    assert!(!cluster.node(third).quorum().leads());
    let refused = |event: &NodeEvent| {
        matches!(
            event,
            NodeEvent::Quorum(QuorumEvent::Refused {
                reason: ottla_core::quorum::Refusal::OtherDirectory,
                ..
            })
        )
    };
    assert!(cluster.members[&wiped].events.iter().any(refused));
    cluster.start(active);
    cluster.wait_active();
    cluster.pass_until("it votes as its new self", |cluster| cluster.node(wiped).quorum().votes());
}

#[test]
fn a_voter_that_lives_is_not_replaced_by_another_with_its_id() {
    let mut cluster = Cluster::started(3);
    cluster.wait_active();
    let before = directories(&cluster);
    // A process that claims the id of a live voter. Its answers go astray, as they would.
    let impostor = NodeId(3);
    cluster.add(impostor, directory(999), None);
    cluster.pretend(impostor, NodeId(1));
    cluster.start(impostor);
    cluster.pass(5_000);
    assert_eq!(directories(&cluster), before);
    assert!(cluster.image(cluster.active().unwrap()).learners.is_empty(), "it is not even a learner");
    assert!(!cluster.node(impostor).quorum().votes());
}

#[test]
fn nobody_restarts_safely_when_a_controller_is_missing() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    cluster.pass(1_000);
    let ask = |nodes: &[NodeId]| Operation::RestartSafety(RestartSafety { nodes: nodes.to_vec() });
    let verdict = |reply| match reply {
        Ok(Reply::RestartSafety(RestartVerdict { reasons })) => {
            reasons.iter().map(|reason| reason.code).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let ids = cluster.ids();
    assert_eq!(verdict(cluster.call(active, ask(&ids[..1]))), Vec::<&str>::new());
    assert_eq!(verdict(cluster.call(active, ask(&ids[..2]))), ["QUORUM"]);
    let gone = follower(&cluster);
    cluster.stop(gone, CrashKind::Process);
    cluster.pass(5_000);
    assert_eq!(verdict(cluster.call(active, ask(&[active]))), ["QUORUM"]);
    assert_eq!(verdict(cluster.call(active, ask(&[gone]))), Vec::<&str>::new());
}

#[test]
fn a_deposed_controller_never_says_that_a_restart_is_safe() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    cluster.pass(1_000);
    cluster.isolate(active);
    let asked = cluster.ask(active, Operation::RestartSafety(RestartSafety { nodes: vec![active] }));
    cluster.pass(5_000);
    assert!(matches!(cluster.reply(active, asked), Some(Err(OperationError::NotController { .. }))));
}

#[test]
fn what_a_cut_off_controller_decided_is_answered_not_controller_and_forgotten() {
    let mut cluster = Cluster::started(3);
    let old = cluster.wait_active();
    cluster.broker_up(old, NodeId(9));
    cluster.isolate(old);
    let asked = cluster.ask(old, create("lost", 1, 1));
    cluster.pass(5_000);
    assert!(matches!(cluster.reply(old, asked), Some(Err(OperationError::NotController { .. }))));
    cluster.cut.clear();
    cluster.pass(3_000);
    let new = cluster.active().unwrap();
    cluster.broker_up(new, NodeId(9));
    cluster.call(new, create("kept", 2, 1)).unwrap();
    cluster.pass(1_000);
    for id in cluster.ids() {
        let names: Vec<String> = cluster.image(id).topic_ids.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["kept"]);
    }
}

#[test]
fn a_vote_leaves_only_once_it_is_on_the_disk() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|id| *id != active).collect();
    cluster.stop(active, CrashKind::Process);
    cluster.members.get_mut(&others[1]).unwrap().hold_disk = true;
    cluster.pass(10_000);
    assert_eq!(cluster.active(), None, "the vote of {} is not durable", others[1]);
    cluster.release_disk(others[1]);
    cluster.wait_active();
}

#[test]
fn a_disk_that_fails_ends_the_node() {
    let mut cluster = Cluster::started(1);
    cluster.members[&NodeId(0)].disk.set_sync_error_permille(1_000);
    cluster.ask(NodeId(0), Operation::RegisterBroker(registration(NodeId(9), 1)));
    let member = &cluster.members[&NodeId(0)];
    assert!(member.running.is_none());
    assert!(member.fatal.as_ref().unwrap().contains("could not be written"));
}

#[test]
fn messages_of_another_cluster_and_rubbish_change_nothing() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let before = cluster.node(active).quorum().term();
    let now = cluster.now;
    let node = &mut cluster.members.get_mut(&active).unwrap().running.as_mut().unwrap().0;
    for length in 0..200u8 {
        node.message(now, &vec![length; usize::from(length)]);
    }
    let effects = node.ready();
    assert!(effects.events.iter().all(|event| matches!(event, NodeEvent::BadMessage { .. })));
    assert_eq!(cluster.node(active).quorum().term(), before);
}

#[test]
fn a_controller_that_moved_is_answered_at_its_new_address() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let moved = follower(&cluster);
    cluster.stop(moved, CrashKind::Process);
    cluster.pass(500);
    cluster.move_to(moved, "controller-moved");
    cluster.start(moved);
    cluster.call(active, create("a", 1, 0)).unwrap();
    cluster.pass_until("the table says so", |cluster| {
        cluster.image(moved).voters[&moved].endpoints[0].host == "controller-moved"
    });
    let offset = cluster.image(active).offset;
    cluster.pass(1_000);
    assert_eq!(cluster.image(active).offset, offset, "it is written once");
}
