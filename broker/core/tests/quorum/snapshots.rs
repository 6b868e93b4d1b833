//! Snapshots: taken, restarted from, and carried to those who are behind.

use ottla_core::controller::{NodeEvent, Operation};
use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::NodeId;
use ottla_core::lifecycle::BrokerState;
use ottla_sim::disk::CrashKind;

use crate::rig::{Cluster, DIRECTORY, create, heartbeat};

fn topics(cluster: &mut Cluster, active: NodeId, numbers: std::ops::Range<u128>) {
    for number in numbers {
        cluster.call(active, create(&format!("topic-{number}"), number, 4)).unwrap();
    }
}

/// Enough topics for several snapshots.
const MANY: u128 = 300;

fn snapshots_taken(cluster: &Cluster, id: NodeId) -> usize {
    let taken = |event: &&NodeEvent| matches!(event, NodeEvent::SnapshotTaken(_));
    cluster.members[&id].events.iter().filter(taken).count()
}

fn three_with_snapshots() -> (Cluster, NodeId) {
    let mut cluster = Cluster::new(3);
    cluster.snapshot_after_bytes = 10_000;
    for id in cluster.ids() {
        cluster.start(id);
    }
    let active = cluster.wait_active();
    cluster.broker_up(active, NodeId(9));
    (cluster, active)
}

#[test]
fn a_controller_restarts_from_its_snapshot_and_the_log_after_it() {
    let mut cluster = Cluster::new(1);
    cluster.snapshot_after_bytes = 5_000;
    cluster.start(NodeId(0));
    cluster.broker_up(NodeId(0), NodeId(9));
    topics(&mut cluster, NodeId(0), 0..300);
    assert!(snapshots_taken(&cluster, NodeId(0)) > 3);
    let before = cluster.image(NodeId(0)).clone();
    cluster.stop(NodeId(0), CrashKind::PowerAllLost);
    cluster.start(NodeId(0));
    let after = cluster.image(NodeId(0));
    assert_eq!(after.topics, before.topics);
    assert_eq!(after.brokers, before.brokers);
}

#[test]
fn the_log_on_disk_does_not_grow_for_ever() {
    let mut cluster = Cluster::new(1);
    cluster.snapshot_after_bytes = 5_000;
    cluster.start(NodeId(0));
    let epoch = cluster.broker_up(NodeId(0), NodeId(9));
    for number in 0..500 {
        cluster.call(NodeId(0), create("again", number, 4)).unwrap();
        cluster.call(NodeId(0), heartbeat(NodeId(9), epoch)).unwrap();
        cluster.call(NodeId(0), delete("again")).unwrap();
    }
    let disk = &cluster.members[&NodeId(0)].disk;
    let length = |name: &String| {
        disk.open(&format!("{DIRECTORY}/{name}"), OpenMode::Existing).unwrap().length().unwrap()
    };
    let used: u64 = disk.list(DIRECTORY).unwrap().iter().map(length).sum();
    assert!(used < 20_000, "{used} bytes for an empty cluster");
}

fn delete(name: &str) -> Operation {
    use ottla_core::controller::operation::{DeleteTopics, TopicReference};
    Operation::DeleteTopics(DeleteTopics { topics: vec![TopicReference::Name(name.to_owned())] })
}

#[test]
fn a_controller_that_was_away_too_long_gets_a_snapshot() {
    let (mut cluster, active) = three_with_snapshots();
    let away = cluster.ids().into_iter().find(|id| *id != active).unwrap();
    cluster.stop(away, CrashKind::Process);
    topics(&mut cluster, active, 0..MANY);
    let log = cluster.node(active).quorum();
    assert!(log.read(cluster.image(active).offset, 1).is_some());
    assert!(log.read(ottla_core::ids::MetadataOffset(20), 1).is_none(), "its log begins later");
    cluster.start(away);
    cluster.pass_until("it has everything", |cluster| {
        cluster.image(away).offset == cluster.image(active).offset
    });
    assert_eq!(cluster.image(away), cluster.image(active));
    // It holds it: a restart needs nobody.
    cluster.isolate(away);
    cluster.stop(away, CrashKind::PowerAllLost);
    cluster.start(away);
    assert!(cluster.image(away).topics.len() > 200);
}

#[test]
fn a_snapshot_that_was_overtaken_on_its_way_to_the_disk_does_not_come_back() {
    let (mut cluster, active) = three_with_snapshots();
    let behind = cluster.ids().into_iter().find(|id| *id != active).unwrap();
    cluster.members.get_mut(&behind).unwrap().hold_snapshots = true;
    let mut topic = 0;
    while cluster.members[&behind].held_snapshot.is_none() {
        topics(&mut cluster, active, topic..topic + 1);
        topic += 1;
    }
    let before = cluster.node(behind).quorum().latest_snapshot();
    // Its own snapshot is at the disk.
    cluster.isolate(behind);
    topics(&mut cluster, active, topic..MANY);
    cluster.cut.clear();
    cluster.pass_until("the leader's snapshot is there", |cluster| {
        cluster.node(behind).quorum().latest_snapshot() != before
    });
    let given = cluster.node(behind).quorum().latest_snapshot().unwrap();
    assert!(before.is_none_or(|before| before.offset < given.offset));
    assert!(cluster.members[&behind].held_snapshot.as_ref().unwrap().offset < given.offset);
    cluster.members.get_mut(&behind).unwrap().hold_snapshots = false;
    cluster.release_disk(behind);
    cluster.pass_until("it has everything", |cluster| cluster.image(behind) == cluster.image(active));
    assert!(cluster.node(behind).quorum().latest_snapshot().is_some_and(|last| last.offset >= given.offset));
    cluster.stop(behind, CrashKind::PowerAllLost);
    cluster.start(behind);
    assert!(cluster.image(behind).offset >= given.offset);
}

#[test]
fn votes_and_entries_do_not_wait_for_a_snapshot() {
    let (mut cluster, active) = three_with_snapshots();
    for member in cluster.members.values_mut() {
        member.hold_snapshots = true;
    }
    // Many times what a snapshot is taken after: each member has one at the disk, and no second one.
    topics(&mut cluster, active, 0..MANY);
    for id in cluster.ids() {
        assert!(cluster.members[&id].held_snapshot.is_some() && snapshots_taken(&cluster, id) == 0);
    }
    cluster.stop(active, CrashKind::Process);
    let next = cluster.wait_active();
    topics(&mut cluster, next, MANY..MANY + 1);
    cluster.members.get_mut(&next).unwrap().hold_snapshots = false;
    cluster.release_disk(next);
    assert!(snapshots_taken(&cluster, next) > 0);
    cluster.stop(next, CrashKind::PowerAllLost);
    cluster.start(next);
    assert!(u128::try_from(cluster.image(next).topics.len()).unwrap() >= MANY);
}

#[test]
fn a_transfer_goes_on_though_messages_are_lost() {
    let (mut cluster, active) = three_with_snapshots();
    let away = cluster.ids().into_iter().find(|id| *id != active).unwrap();
    cluster.stop(away, CrashKind::Process);
    topics(&mut cluster, active, 0..MANY);
    cluster.start(away);
    for round in 0..40 {
        if round % 3 == 0 {
            cluster.cut.insert((active, away));
        } else {
            cluster.cut.clear();
        }
        cluster.pass(250);
    }
    cluster.cut.clear();
    cluster.pass_until("it has everything", |cluster| {
        cluster.active().is_some_and(|active| cluster.image(away) == cluster.image(active))
    });
}

#[test]
fn a_broker_that_starts_late_pulls_the_snapshot_and_then_follows() {
    let (mut cluster, active) = three_with_snapshots();
    topics(&mut cluster, active, 0..MANY);
    cluster.start_broker(NodeId(7), 1);
    cluster.pass_until("it is in service", |cluster| {
        cluster.brokers[&NodeId(7)].state() == BrokerState::Running
    });
    assert_eq!(cluster.brokers[&NodeId(7)].image(), cluster.image(active));
}
