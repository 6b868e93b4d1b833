//! Who leads, and what that is worth.

use ottla_core::controller::Reply;
use ottla_core::ids::NodeId;
use ottla_sim::disk::CrashKind;

use crate::rig::{Cluster, create};

#[test]
fn a_quorum_of_one_leads_at_once_and_serves() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().expect("it leads without waiting for a time-out");
    cluster.broker_up(active, NodeId(0));
    let Ok(Reply::CreateTopics(results)) = cluster.call(active, create("a", 1, 3)) else { panic!("refused") };
    assert_eq!(results[0].as_ref().unwrap().partitions, 3);
    assert_eq!(cluster.image(active).topics.len(), 1);
    assert_eq!(cluster.image(active).features.get("ottla.version"), Some(&1));
}

#[test]
fn three_elect_one_and_agree_on_what_it_decides() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    cluster.broker_up(active, NodeId(0));
    cluster.call(active, create("a", 1, 3)).unwrap();
    cluster.pass(500);
    for id in cluster.ids() {
        assert_eq!(cluster.image(id), cluster.image(active));
    }
}

#[test]
fn what_was_committed_outlives_a_power_cut_of_all() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    cluster.broker_up(active, NodeId(0));
    cluster.call(active, create("a", 1, 3)).unwrap();
    for id in cluster.ids() {
        cluster.stop(id, CrashKind::PowerAllLost);
    }
    for id in cluster.ids() {
        cluster.start(id);
    }
    let active = cluster.wait_active();
    assert_eq!(cluster.image(active).topics.len(), 1);
}

#[test]
fn what_comes_during_a_write_is_written_and_synced_together() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().unwrap();
    cluster.broker_up(active, NodeId(0));
    let before = (cluster.members[&active].writes, cluster.members[&active].disk.counts().syncs);
    cluster.members.get_mut(&active).unwrap().hold_disk = true;
    let tickets: Vec<_> =
        (0..50).map(|number| cluster.ask(active, create(&format!("topic-{number}"), number, 1))).collect();
    for ticket in &tickets {
        assert_eq!(cluster.reply(active, *ticket), None, "nothing is answered before the sync");
    }
    cluster.release_disk(active);
    for ticket in &tickets {
        assert!(cluster.reply(active, *ticket).unwrap().is_ok());
    }
    let member = &cluster.members[&active];
    // The first went to the disk alone, the others waited for it.
    assert_eq!((member.writes - before.0, member.disk.counts().syncs - before.1), (2, 2));
}

#[test]
fn another_one_leads_within_two_seconds_of_a_crash() {
    let mut cluster = Cluster::started(3);
    let first = cluster.wait_active();
    cluster.stop(first, CrashKind::Process);
    let before = cluster.now;
    let second = cluster.wait_active();
    assert_ne!(first, second);
    assert!(cluster.now.since(before).as_millis() <= 2_000);
}

#[test]
fn whatever_ids_voters_have_they_do_not_split_the_vote_again_and_again() {
    for ids in [[10, 20, 30], [100, 200, 300], [0, 5, 10]] {
        let mut cluster = Cluster::of(&ids.map(NodeId));
        for id in cluster.ids() {
            cluster.start(id);
        }
        for _ in 0..5 {
            let first = cluster.wait_active();
            cluster.stop(first, CrashKind::Process);
            // Here the clocks of the survivors tick at the same moment, and no message is there before both did.
            let before = cluster.now;
            cluster.wait_active();
            let took = cluster.now.since(before);
            assert!(took.as_millis() <= 2_000, "{ids:?} took {took:?}");
            cluster.start(first);
            cluster.pass(500);
        }
    }
}
