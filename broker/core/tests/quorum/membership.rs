//! Voters that somebody adds, removes and moves (KIP-853), and controllers that only follow.

use std::time::Duration;

use ottla_core::controller::operation::{QuorumDescription, VoterChange, VoterKey};
use ottla_core::controller::{Operation, OperationError, Reply};
use ottla_core::ids::{DirectoryId, NodeId};
use ottla_sim::disk::CrashKind;

use crate::rig::{Cluster, create, directory, voter};

fn directory_of(id: i32) -> DirectoryId {
    directory(100 + u128::try_from(id).unwrap())
}

fn add(id: i32) -> VoterChange {
    VoterChange::Add { voter: voter(NodeId(id), directory_of(id)), wait_max: Duration::from_secs(5) }
}

fn remove(id: i32) -> VoterChange {
    VoterChange::Remove(VoterKey { node_id: NodeId(id), directory_id: directory_of(id) })
}

/// Asks whoever is active, as brokers that forward do.
fn change(cluster: &mut Cluster, change: &VoterChange) -> Result<(), OperationError> {
    for _ in 0..20 {
        let active = cluster.wait_active();
        match cluster.call(active, Operation::ChangeVoters(change.clone())) {
            Ok(Reply::ChangeVoters) => return Ok(()),
            Err(OperationError::NotController { .. }) => cluster.pass(500),
            Err(error) => return Err(error),
            Ok(other) => panic!("{other:?}"),
        }
    }
    panic!("no controller stays active");
}

fn newcomer(cluster: &mut Cluster, id: i32) {
    cluster.add(NodeId(id), directory_of(id), None);
    cluster.start(NodeId(id));
}

fn voters(cluster: &mut Cluster) -> Vec<i32> {
    let active = cluster.wait_active();
    cluster.image(active).voters.keys().map(|id| id.0).collect()
}

fn describe(cluster: &mut Cluster) -> QuorumDescription {
    let active = cluster.wait_active();
    match cluster.call(active, Operation::DescribeQuorum) {
        Ok(Reply::DescribeQuorum(quorum)) => quorum,
        other => panic!("{other:?}"),
    }
}

fn observers(cluster: &mut Cluster) -> Vec<i32> {
    describe(cluster).observers.iter().map(|replica| replica.node_id.0).collect()
}

fn text(result: Result<(), OperationError>) -> (i16, String) {
    let error = result.unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_controller_that_nobody_added_follows_and_is_shown_as_an_observer() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    cluster.broker_up(active, NodeId(9));
    newcomer(&mut cluster, 4);
    cluster.call(active, create("a", 1, 3)).unwrap();
    cluster.pass_until("it has the topic", |cluster| cluster.image(NodeId(4)).topics.len() == 1);
    cluster.pass(5_000);
    assert_eq!(voters(&mut cluster), [0, 1, 2]);
    assert_eq!(observers(&mut cluster), [4]);
    assert!(!cluster.node(NodeId(4)).quorum().votes());
    // It stays one over a change of leader.
    cluster.stop(active, CrashKind::Process);
    cluster.pass(10_000);
    assert_eq!((voters(&mut cluster), observers(&mut cluster)), (vec![0, 1, 2], vec![4]));
}

#[test]
fn a_quorum_grows_from_one_to_five_and_shrinks_to_three_under_load() {
    let mut cluster = Cluster::started(1);
    let active = cluster.wait_active();
    cluster.broker_up(active, NodeId(9));
    let mut topics = 0;
    let mut load = |cluster: &mut Cluster| {
        let active = cluster.wait_active();
        // Its session may be over by now.
        cluster.broker_up(active, NodeId(9));
        topics += 1;
        cluster.call(active, create(&format!("topic-{topics}"), topics, 1)).unwrap();
    };
    for id in 1..5 {
        newcomer(&mut cluster, id);
        load(&mut cluster);
        change(&mut cluster, &add(id)).unwrap();
        load(&mut cluster);
    }
    assert_eq!(voters(&mut cluster), [0, 1, 2, 3, 4]);
    // Two of five may die.
    for id in [1, 2] {
        cluster.stop(NodeId(id), CrashKind::PowerAllLost);
    }
    cluster.pass(3_000);
    load(&mut cluster);
    for id in [1, 2] {
        cluster.start(NodeId(id));
    }
    cluster.pass(3_000);
    for id in [0, 1] {
        change(&mut cluster, &remove(id)).unwrap();
        load(&mut cluster);
    }
    assert_eq!(voters(&mut cluster), [2, 3, 4]);
    cluster.pass(3_000);
    assert_eq!(observers(&mut cluster), [0, 1], "they follow and do not vote");
    for id in 0..5 {
        assert_eq!(cluster.image(NodeId(id)).topics.len(), 11, "{id}");
        assert_eq!(cluster.node(NodeId(id)).quorum().votes(), id >= 2);
    }
}

#[test]
fn the_leader_that_is_removed_hands_over_first_and_follows_then() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.wait_active();
    change(&mut cluster, &remove(leader.0)).unwrap();
    let next = cluster.wait_active();
    assert_ne!(next, leader);
    assert!(!cluster.image(next).voters.contains_key(&leader));
    cluster.pass(2_000);
    assert_eq!(observers(&mut cluster), [leader.0]);
    assert_eq!(cluster.image(leader), cluster.image(next));
    change(&mut cluster, &add(leader.0)).unwrap();
    assert_eq!(voters(&mut cluster), [0, 1, 2]);
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let mut cluster = Cluster::started(3);
    cluster.wait_active();
    cluster.pass(1_000);
    let (code, said) = text(change(&mut cluster, &add(1)));
    assert_eq!(code, 126);
    assert!(said.starts_with("controller 1 is a voter already; the voters are 0 ("), "{said}");
    let (code, said) = text(change(&mut cluster, &add(7)));
    assert_eq!(code, 7);
    assert!(said.contains("no controller 7 with directory") && said.contains("start it"), "{said}");
    let (code, said) = text(change(&mut cluster, &remove(7)));
    assert_eq!(code, 127);
    assert!(said.contains("is no voter; the voters are"), "{said}");
    let other = VoterKey { node_id: NodeId(1), directory_id: directory(999) };
    assert_eq!(text(change(&mut cluster, &VoterChange::Remove(other))).0, 127, "another directory");

    let active = cluster.wait_active();
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|id| *id != active).collect();
    cluster.stop(others[0], CrashKind::Process);
    cluster.pass(4_000);
    let (code, said) = text(change(&mut cluster, &remove(others[1].0)));
    assert_eq!(code, 42);
    let silent = format!("these do not answer: {};", others[0]);
    assert!(said.contains("the quorum would be lost") && said.contains(&silent), "{said}");
    change(&mut cluster, &remove(others[0].0)).unwrap();
    let mut left = vec![active.0, others[1].0];
    left.sort_unstable();
    assert_eq!(voters(&mut cluster), left);
    assert_eq!(observers(&mut cluster), Vec::<i32>::new(), "who does not hear of it is not waited for");
}

#[test]
fn the_only_voter_is_not_removed() {
    let mut cluster = Cluster::started(1);
    cluster.wait_active();
    let (code, said) = text(change(&mut cluster, &remove(0)));
    assert_eq!(code, 42);
    assert!(said.contains("the only voter"), "{said}");
}

#[test]
fn one_change_is_made_at_a_time() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let waits = cluster.ask(active, Operation::ChangeVoters(add(3)));
    let refused = cluster.call(active, Operation::ChangeVoters(remove(1)));
    assert!(matches!(refused, Err(OperationError::RequestTimedOut(_))), "{refused:?}");
    newcomer(&mut cluster, 3);
    cluster.pass_until("the first is made", |cluster| cluster.reply(active, waits).is_some());
    assert_eq!(cluster.reply(active, waits), Some(&Ok(Reply::ChangeVoters)));
    assert_eq!(voters(&mut cluster), [0, 1, 2, 3]);
}

#[test]
fn a_change_whose_controller_is_cut_off_is_answered_and_decided_by_the_next() {
    let mut cluster = Cluster::started(3);
    newcomer(&mut cluster, 3);
    cluster.wait_active();
    cluster.pass(3_000);
    let old = cluster.wait_active();
    cluster.isolate(old);
    let asked = cluster.ask(old, Operation::ChangeVoters(add(3)));
    cluster.pass(8_000);
    assert!(matches!(cluster.reply(old, asked), Some(Err(OperationError::NotController { .. }))));
    cluster.cut.clear();
    cluster.pass(3_000);
    assert_eq!(voters(&mut cluster), [0, 1, 2]);
    change(&mut cluster, &add(3)).unwrap();
    assert_eq!(voters(&mut cluster), [0, 1, 2, 3]);
}

#[test]
fn a_voter_that_was_removed_while_it_was_away_comes_back_as_an_observer() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let away = cluster.ids().into_iter().find(|id| *id != active).unwrap();
    cluster.stop(away, CrashKind::Process);
    cluster.pass(4_000);
    change(&mut cluster, &remove(away.0)).unwrap();
    let term = cluster.node(cluster.active().unwrap()).quorum().term();
    cluster.start(away);
    cluster.pass_until("it knows", |cluster| !cluster.image(away).voters.contains_key(&away));
    cluster.pass(5_000);
    assert_eq!(observers(&mut cluster), [away.0]);
    let active = cluster.wait_active();
    assert_eq!(cluster.node(active).quorum().term(), term, "it disturbed nobody");
    assert_eq!(cluster.image(away), cluster.image(active));
}

#[test]
fn an_observer_that_is_gone_for_long_is_forgotten() {
    let mut cluster = Cluster::started(3);
    newcomer(&mut cluster, 3);
    cluster.pass_until("it follows", |cluster| {
        cluster.active().is_some_and(|active| cluster.image(active).learners.len() == 1)
    });
    cluster.pass(2_000);
    cluster.stop(NodeId(3), CrashKind::Process);
    cluster.pass(200_000);
    assert_eq!(observers(&mut cluster), [3]);
    cluster.pass(110_000);
    assert_eq!(observers(&mut cluster), Vec::<i32>::new());
    let image = cluster.image(cluster.active().unwrap());
    assert!(image.learners.is_empty() && image.observers.is_empty());
}

#[test]
fn an_observer_is_not_forgotten_by_a_controller_that_leads_again_after_long() {
    let mut cluster = Cluster::started(2);
    newcomer(&mut cluster, 3);
    cluster.pass(3_000);
    assert_eq!(observers(&mut cluster), [3]);
    let first = cluster.wait_active();
    cluster.resign(first);
    cluster.pass_until("the other leads", |cluster| cluster.active().is_some_and(|other| other != first));
    let second = cluster.wait_active();
    cluster.pass(310_000);
    // It cannot be heard for a moment, as that goes when leaders change.
    cluster.isolate(NodeId(3));
    cluster.resign(second);
    cluster.pass_until("it leads again", |cluster| cluster.active() == Some(first));
    cluster.pass(5_000);
    assert!(cluster.image(first).observers.contains(&NodeId(3)), "it followed all the time");
}

#[test]
fn an_observer_that_lost_its_volume_follows_again_and_can_be_added() {
    let mut cluster = Cluster::started(3);
    newcomer(&mut cluster, 3);
    cluster.pass(3_000);
    assert_eq!(observers(&mut cluster), [3]);
    cluster.stop(NodeId(3), CrashKind::Process);
    cluster.pass(4_000);
    cluster.add(NodeId(3), directory(999), None);
    cluster.start(NodeId(3));
    cluster.pass(5_000);
    let description = describe(&mut cluster);
    let seen: Vec<_> = description.observers.iter().map(|seen| (seen.node_id, seen.directory_id)).collect();
    assert_eq!(seen, [(NodeId(3), directory(999))]);
    let new = VoterChange::Add { voter: voter(NodeId(3), directory(999)), wait_max: Duration::from_secs(5) };
    change(&mut cluster, &new).unwrap();
    assert_eq!(voters(&mut cluster), [0, 1, 2, 3]);
}

#[test]
fn a_voters_endpoints_are_those_it_was_given_last() {
    let mut cluster = Cluster::started(3);
    cluster.wait_active();
    let mut moved = voter(NodeId(1), directory_of(1));
    let mut second = moved.endpoints[0].clone();
    second.listener = "CONTROLLER_TLS".to_owned();
    moved.endpoints.push(second);
    change(&mut cluster, &VoterChange::Update(moved.clone())).unwrap();
    change(&mut cluster, &VoterChange::Update(moved.clone())).unwrap();
    let image = cluster.image(cluster.active().unwrap());
    assert_eq!(image.voters[&NodeId(1)].endpoints, moved.endpoints);
    moved.directory_id = directory(999);
    assert_eq!(text(change(&mut cluster, &VoterChange::Update(moved))).0, 127);
}

#[test]
fn an_observer_that_was_away_while_it_got_a_vote_and_lost_it_follows_again() {
    let mut cluster = Cluster::started(3);
    newcomer(&mut cluster, 3);
    cluster.pass(3_000);
    assert_eq!(observers(&mut cluster), [3]);
    cluster.isolate(NodeId(3));
    change(&mut cluster, &add(3)).unwrap();
    cluster.pass(4_000);
    change(&mut cluster, &remove(3)).unwrap();
    assert_eq!((voters(&mut cluster), observers(&mut cluster)), (vec![0, 1, 2], vec![]));
    cluster.pass(2_000);
    cluster.cut.clear();
    cluster.pass(5_000);
    assert_eq!((voters(&mut cluster), observers(&mut cluster)), (vec![0, 1, 2], vec![3]));
    let active = cluster.wait_active();
    assert_eq!(cluster.image(NodeId(3)), cluster.image(active));
}

#[test]
fn a_newcomer_whose_snapshot_was_let_go_is_told_of_a_newer_one() {
    for delay in (0..400).step_by(50) {
        let mut cluster = Cluster::started(1);
        cluster.wait_active();
        newcomer(&mut cluster, 3);
        let joined = |cluster: &Cluster| !cluster.image(NodeId(0)).learners.is_empty();
        cluster.pass_until("it may follow", joined);
        cluster.pass(delay);
        cluster.cut.extend([(NodeId(0), NodeId(3)), (NodeId(3), NodeId(0))]);
        for id in 4..8 {
            newcomer(&mut cluster, id);
            cluster.pass(1_000);
        }
        cluster.cut.clear();
        cluster.pass(10_000);
        assert_eq!(cluster.image(NodeId(3)), cluster.image(NodeId(0)), "{delay} ms");
    }
}

#[test]
fn what_a_voter_said_before_it_died_is_no_answer() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    cluster.pass(1_000);
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|id| *id != active).collect();
    cluster.late.insert(others[0]);
    cluster.pass(500);
    cluster.stop(others[0], CrashKind::Process);

    let ticket = cluster.ask(active, Operation::ChangeVoters(remove(others[1].0)));
    cluster.late.clear();
    cluster.pass_until("a reply", |cluster| cluster.reply(active, ticket).is_some());
    let reply = cluster.reply(active, ticket).unwrap().clone();
    let (code, said) = text(reply.map(|_| ()));
    assert_eq!(code, 42, "{said}");
    assert!(said.contains("the quorum would be lost"), "{said}");
    assert_eq!(voters(&mut cluster), [0, 1, 2]);
}
