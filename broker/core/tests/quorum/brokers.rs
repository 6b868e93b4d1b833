//! Brokers toward the active controller.

use ottla_core::controller::operation::{HeartbeatReply, RegisterBroker, RegisteredBroker};
use ottla_core::controller::{Operation, OperationError, Reply};
use ottla_core::ids::{
    BrokerEpoch, IncarnationId, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch, PartitionIndex,
};
use ottla_core::lifecycle::{BrokerState, CallError, CallNumber, Lifecycle, LifecycleConfig};
use ottla_core::metadata::image::{Fencing, Partition};
use ottla_core::time::Monotonic;
use ottla_sim::disk::CrashKind;
use uuid::Uuid;

use crate::rig::{Cluster, address, create, directory, heartbeat, heartbeat_with, registration};

fn partition(cluster: &Cluster, active: NodeId) -> Partition {
    let topic = cluster.image(active).topics.values().next().unwrap();
    Partition::clone(&topic.partitions[&PartitionIndex(0)])
}

fn fencing(cluster: &Cluster, active: NodeId, broker: i32) -> Fencing {
    cluster.image(active).brokers[&NodeId(broker)].fencing
}

#[test]
fn a_broker_finds_the_controller_registers_and_comes_into_service() {
    let mut cluster = Cluster::started(3);
    cluster.wait_active();
    for id in 0..3 {
        cluster.start_broker(NodeId(id), 1);
    }
    let before = cluster.now;
    cluster.pass_until("all are in service", |cluster| {
        cluster.brokers.values().all(|broker| broker.state() == BrokerState::Running)
    });
    assert!(cluster.now.since(before).as_millis() <= 300, "no time-out is waited for");
    let active = cluster.active().unwrap();
    cluster.pass(100);
    for broker in cluster.brokers.values() {
        assert_eq!(broker.image(), cluster.image(active));
    }
}

#[test]
fn a_broker_with_busy_shards_stays_in_service_and_comes_into_it_when_they_have_caught_up() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let broker = NodeId(7);
    cluster.busy.insert(broker);
    cluster.start_broker(broker, 1);
    cluster.pass(9_000);
    assert_eq!(fencing(&cluster, active, 7), Fencing::Fenced, "it answers by no metadata yet");
    cluster.busy.clear();
    let offset = cluster.brokers[&broker].image().offset;
    cluster.brokers.get_mut(&broker).unwrap().published(offset);
    cluster.pass(100);
    assert_eq!(fencing(&cluster, active, 7), Fencing::Unfenced, "no interval is waited for");
    cluster.busy.insert(broker);
    cluster.call(active, create("a", 100, 1)).unwrap();
    cluster.pass(9_000);
    assert_eq!(fencing(&cluster, active, 7), Fencing::Unfenced, "making logs ends no session");
}

#[test]
fn a_broker_that_follows_is_shown_with_its_directory() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let broker = NodeId(7);
    cluster.start_broker(broker, 1);
    cluster.pass_until("it is in service", |cluster| {
        cluster.brokers.values().all(|broker| broker.state() == BrokerState::Running)
    });
    let Ok(Reply::DescribeQuorum(quorum)) = cluster.call(active, Operation::DescribeQuorum) else {
        panic!("no description")
    };
    let observers: Vec<_> = quorum.observers.iter().map(|seen| (seen.node_id, seen.directory_id)).collect();
    assert_eq!(observers, [(broker, registration(broker, 1).directories[0])]);
}

#[test]
fn brokers_follow_the_next_controller_and_stay_in_service() {
    let mut cluster = Cluster::started(3);
    let first = cluster.wait_active();
    for id in 0..3 {
        cluster.start_broker(NodeId(id), 1);
    }
    cluster.pass(1_000);
    cluster.stop(first, CrashKind::Process);
    let second = cluster.wait_active();
    cluster.call(second, create("a", 1, 3)).unwrap();
    cluster.pass(12_000);
    for broker in cluster.brokers.values() {
        assert_eq!(broker.state(), BrokerState::Running);
        assert_eq!(broker.image().topics.len(), 1);
    }
}

#[test]
fn a_silent_broker_is_fenced_and_its_partitions_have_no_leader_until_it_is_back() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().unwrap();
    cluster.start_broker(NodeId(5), 1);
    cluster.pass(500);
    cluster.call(active, create("a", 1, 1)).unwrap();
    let before = partition(&cluster, active);
    assert_eq!((before.leader, before.leader_epoch), (Some(NodeId(5)), LeaderEpoch(0)));
    cluster.brokers.remove(&NodeId(5));
    cluster.pass(3_500);
    assert_eq!(fencing(&cluster, active, 5), Fencing::Unfenced, "its session is not over yet");
    cluster.pass(1_000);
    assert_eq!(fencing(&cluster, active, 5), Fencing::Fenced);
    let fenced = partition(&cluster, active);
    assert_eq!((fenced.leader, fenced.leader_epoch), (None, LeaderEpoch(1)));
    assert_eq!((fenced.isr, fenced.elr), (vec![], vec![NodeId(5)]), "it still has everything");
    cluster.start_broker(NodeId(5), 2);
    cluster.pass(500);
    let back = partition(&cluster, active);
    assert_eq!((back.leader, back.leader_epoch), (Some(NodeId(5)), LeaderEpoch(2)));
    assert_eq!(back.partition_epoch, PartitionEpoch(2));
    assert_eq!((back.isr, back.elr), (vec![NodeId(5)], vec![]));
}

#[test]
fn a_restarted_process_with_the_same_directories_takes_over_at_once() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().unwrap();
    cluster.start_broker(NodeId(5), 1);
    cluster.pass(500);
    let before = cluster.brokers[&NodeId(5)].epoch().unwrap();
    cluster.start_broker(NodeId(5), 2);
    cluster.pass(300);
    let broker = &cluster.brokers[&NodeId(5)];
    assert_eq!(broker.state(), BrokerState::Running);
    assert!(broker.epoch().unwrap() > before);
    let stale = cluster.call(active, heartbeat(NodeId(5), before));
    assert_eq!(stale, Err(OperationError::StaleBrokerEpoch { node_id: NodeId(5) }));
}

#[test]
fn another_process_with_other_directories_waits_for_the_end_of_the_session() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().unwrap();
    cluster.broker_up(active, NodeId(5));
    let other = RegisterBroker {
        incarnation_id: IncarnationId(Uuid::from_u128(2)),
        directories: vec![directory(900)],
        ..registration(NodeId(5), 2)
    };
    let result = cluster.call(active, Operation::RegisterBroker(other.clone()));
    assert_eq!(result, Err(OperationError::DuplicateBrokerRegistration(NodeId(5))));
    cluster.pass(9_500);
    assert!(cluster.call(active, Operation::RegisterBroker(other)).is_ok());
}

#[test]
fn a_broker_is_unfenced_only_after_it_applied_its_own_registration() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().unwrap();
    let request = Operation::RegisterBroker(registration(NodeId(5), 1));
    let Ok(Reply::RegisterBroker(registered)) = cluster.call(active, request) else { panic!("refused") };
    let epoch = registered.epoch;
    let mut beat = |offset: i64| {
        let heartbeat = heartbeat_with(NodeId(5), epoch, |beat| {
            beat.metadata_offset = MetadataOffset(u64::try_from(offset).unwrap());
        });
        match cluster.call(active, heartbeat) {
            Ok(Reply::Heartbeat(reply)) => (reply.caught_up, reply.fenced),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(beat(epoch.0 - 1), (false, true));
    assert_eq!(beat(epoch.0), (true, false));
}

#[test]
fn a_broker_that_stops_in_order_leads_nothing_when_it_is_let_go() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().unwrap();
    cluster.start_broker(NodeId(5), 1);
    cluster.start_broker(NodeId(6), 1);
    cluster.pass(500);
    cluster.call(active, create("a", 1, 2)).unwrap();
    let now = cluster.now;
    cluster.brokers.get_mut(&NodeId(5)).unwrap().shut_down(now);
    cluster.pass_until("it may stop", |cluster| cluster.brokers[&NodeId(5)].state() == BrokerState::Stopped);
    let leads = |cluster: &Cluster, broker| {
        let topic = cluster.image(active).topics.values().next().unwrap().clone();
        topic.partitions.values().filter(|partition| partition.leader == Some(NodeId(broker))).count()
    };
    assert_eq!((leads(&cluster, 5), leads(&cluster, 6)), (0, 1));
    assert_eq!(fencing(&cluster, active, 5), Fencing::Fenced);
}

/// A client of an old protocol looks for the new leader when its connection ends, and else a quarter of a second later.
#[test]
fn a_broker_that_stops_need_not_wait_for_the_next_heartbeats_of_others() {
    let mut cluster = Cluster::started(1);
    for id in 5..8 {
        cluster.start_broker(NodeId(id), 1);
    }
    cluster.pass(500);
    let began = cluster.now;
    cluster.brokers.get_mut(&NodeId(5)).unwrap().shut_down(began);
    cluster.pass_until("it may stop", |cluster| cluster.brokers[&NodeId(5)].state() == BrokerState::Stopped);
    assert!(cluster.now.since(began).as_millis() <= 150, "{:?}", cluster.now.since(began));
}

#[test]
fn a_broker_that_no_controller_can_let_go_stops_alone_after_a_while() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().unwrap();
    cluster.start_broker(NodeId(5), 1);
    cluster.pass(500);
    cluster.stop(active, CrashKind::Process);
    let now = cluster.now;
    cluster.brokers.get_mut(&NodeId(5)).unwrap().shut_down(now);
    cluster.pass(3_900);
    assert_eq!(cluster.brokers[&NodeId(5)].state(), BrokerState::Stopping);
    cluster.pass(200);
    assert_eq!(cluster.brokers[&NodeId(5)].state(), BrokerState::Stopped);
}

#[test]
fn sessions_begin_anew_with_a_new_controller() {
    let mut cluster = Cluster::started(3);
    let first = cluster.wait_active();
    cluster.broker_up(first, NodeId(5));
    cluster.pass(3_500);
    cluster.stop(first, CrashKind::Process);
    let second = cluster.wait_active();
    cluster.pass(3_500);
    assert_eq!(fencing(&cluster, second, 5), Fencing::Unfenced, "the new one has not waited a session yet");
    cluster.pass(1_000);
    assert_eq!(fencing(&cluster, second, 5), Fencing::Fenced);
}

/// Three nodes that are broker and controller each, in service, and the active one.
fn combined() -> (Cluster, NodeId) {
    let mut cluster = Cluster::started(3);
    cluster.wait_active();
    for id in 0..3 {
        cluster.start_broker(NodeId(id), 1);
    }
    cluster.pass_until("all are in service", |cluster| {
        cluster.brokers.values().all(|broker| broker.state() == BrokerState::Running)
    });
    cluster.pass(1_000);
    let active = cluster.active().unwrap();
    (cluster, active)
}

/// Lets time pass until another controller is active.
fn next_active(cluster: &mut Cluster, first: NodeId) -> NodeId {
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|id| *id != first).collect();
    let active = |cluster: &Cluster| others.iter().copied().find(|id| cluster.node(*id).is_active());
    cluster.pass_until("another one is active", |cluster| active(cluster).is_some());
    active(cluster).unwrap()
}

#[test]
fn a_silent_node_that_was_active_is_not_waited_for_twice() {
    let (mut cluster, first) = combined();
    let silent_since = cluster.now;
    cluster.isolate(first);
    let second = next_active(&mut cluster, first);
    cluster.pass_until("its broker is out of service", |cluster| {
        fencing(cluster, second, first.0) == Fencing::Fenced
    });
    let waited = cluster.now.since(silent_since).as_millis();
    assert!((3_900..=4_300).contains(&waited), "a session, and not an election before: {waited} ms");
}

#[test]
fn the_broker_of_a_node_that_was_active_and_lives_stays_in_service() {
    let (mut cluster, first) = combined();
    // Only the controller part: its broker has to find the next one.
    cluster.stop(first, CrashKind::Process);
    let second = next_active(&mut cluster, first);
    for _ in 0..200 {
        cluster.pass(50);
        assert_eq!(fencing(&cluster, second, first.0), Fencing::Unfenced);
    }
}

/// A broker whose first registration was answered like that, and its fatal reason if it has one.
fn answered(registration_reply: Result<Reply, CallError>) -> (Lifecycle, Option<String>) {
    let config = LifecycleConfig::new(registration(NodeId(5), 1), vec![address(NodeId(0))]);
    let mut broker = Lifecycle::new(config, Monotonic(0));
    broker.recovered();
    let calls = broker.ready().calls;
    let asked = calls.iter().find(|call| matches!(call.operation, Operation::RegisterBroker(_))).unwrap();
    broker.replied(Monotonic(1), asked.number, registration_reply);
    let fatal = broker.ready().fatal;
    (broker, fatal)
}

#[test]
fn a_refusal_that_no_repetition_can_heal_ends_a_broker_only_as_it_registers() {
    let (_, fatal) = answered(Err(CallError::Refused(OperationError::InconsistentClusterId)));
    assert!(fatal.is_some());
    let registered = Reply::RegisterBroker(RegisteredBroker { epoch: BrokerEpoch(7) });
    for refusal in [
        CallError::Refused(OperationError::InvalidRegistration("no".to_owned())),
        CallError::Refused(OperationError::UnsupportedVersion("no".to_owned())),
        CallError::RefusedWithCode(31),
    ] {
        let (mut broker, fatal) = answered(Ok(registered.clone()));
        assert_eq!(fatal, None);
        // One fetch and one heartbeat are on their way.
        for number in (1..=3).map(CallNumber) {
            broker.replied(Monotonic(2), number, Err(refusal.clone()));
        }
        assert_eq!(broker.ready().fatal, None, "{refusal}");
        broker.tick(Monotonic(1_000));
        assert_eq!(broker.ready().calls.len(), 2, "both are asked again");
    }
}

#[test]
fn a_registration_refused_for_an_unknown_reason_is_tried_again() {
    let (mut broker, fatal) = answered(Err(CallError::RefusedWithCode(-1)));
    assert_eq!(fatal, None);
    broker.tick(Monotonic(1_000));
    let calls = broker.ready().calls;
    assert!(calls.iter().any(|call| matches!(call.operation, Operation::RegisterBroker(_))), "{calls:?}");
}

/// The calls of one kind that are sent now: number and host of each.
fn sent(broker: &mut Lifecycle, is_it: impl Fn(&Operation) -> bool) -> Vec<(CallNumber, String)> {
    let calls = broker.ready().calls.into_iter();
    calls.filter(|call| is_it(&call.operation)).map(|call| (call.number, call.to.host)).collect()
}

#[test]
fn what_hangs_at_another_controller_is_asked_again_at_the_one_that_takes_heartbeats() {
    let (first, second) = (address(NodeId(0)), address(NodeId(1)));
    let config = LifecycleConfig::new(registration(NodeId(5), 1), vec![first.clone(), second.clone()]);
    let mut broker = Lifecycle::new(config, Monotonic(0));
    broker.recovered();
    let calls = broker.ready().calls;
    let register = calls.iter().find(|call| matches!(call.operation, Operation::RegisterBroker(_))).unwrap();
    let fetch = calls.iter().find(|call| matches!(call.operation, Operation::FetchMetadata(_))).unwrap();
    let registered = Reply::RegisterBroker(RegisteredBroker { epoch: BrokerEpoch(7) });
    broker.replied(Monotonic(1), register.number, Ok(registered));
    // The fetch stays where it is: that one is active.
    let beats = |operation: &Operation| matches!(operation, Operation::Heartbeat(_));
    let fetches = |operation: &Operation| matches!(operation, Operation::FetchMetadata(_));
    let beat = sent(&mut broker, |operation| beats(operation) || fetches(operation));
    assert_eq!(beat.iter().map(|(_, host)| host).collect::<Vec<_>>(), [&first.host]);
    // Now it is cut off: the heartbeat fails, the fetch hangs.
    broker.replied(Monotonic(2), beat[0].0, Err(CallError::Unreachable));
    broker.tick(Monotonic(600));
    let beat = sent(&mut broker, beats);
    assert_eq!(beat[0].1, second.host);
    let accepted = HeartbeatReply { caught_up: false, fenced: true, should_shut_down: false };
    broker.replied(Monotonic(601), beat[0].0, Ok(Reply::Heartbeat(accepted)));
    let again = sent(&mut broker, fetches);
    assert_eq!(again.iter().map(|(_, host)| host).collect::<Vec<_>>(), [&second.host], "at once");
    // What comes of the first one after all says nothing, and harms nobody.
    broker.replied(Monotonic(602), fetch.number, Err(CallError::Unreachable));
    broker.tick(Monotonic(700));
    assert_eq!(sent(&mut broker, fetches), []);
    assert_eq!(*broker.controller(), second);
}
