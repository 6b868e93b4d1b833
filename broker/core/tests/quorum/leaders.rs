//! Who leads a partition of three replicas when brokers come and go (rules 57 to 59 of the protocol, KIP-966).

use ottla_core::controller::operation::{
    AlterIsr, CreatePartitions, CreateTopics, ElectLeaders, ElectionType, MorePartitions, NewTopic,
};
use ottla_core::controller::state::ControllerEvent;
use ottla_core::controller::{NodeEvent, Operation, OperationError, Reply};
use ottla_core::ids::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicPartition};
use ottla_core::metadata::image::{ConfigResource, LeaderRecoveryState};
use uuid::Uuid;

use crate::partitions::{PARTITION, Stop, Story, nodes};
use crate::rig::directory;

const CONTROLLER: NodeId = NodeId(0);
const TWO: &[(&str, &str)] = &[("min.insync.replicas", "2")];
const TWO_CACHED: &[(&str, &str)] = &[("min.insync.replicas", "2"), ("flush.messages", "1000")];

/// A partition of which replica 3 alone is in sync, and leads, with the others in service.
fn only_three_in_sync() -> Story {
    let mut story = Story::with(&[]);
    story.fence(1);
    story.fence(2);
    story.restart(1, Stop::InOrder);
    story.restart(2, Stop::InOrder);
    assert_eq!(story.state(), (Some(3), vec![3], vec![], vec![]));
    story
}

#[test]
fn the_next_leader_comes_from_the_isr_in_order_of_assignment() {
    let mut story = Story::of(&[3, 1, 2], &[]);
    story.isr(&[2, 3]);
    story.isr(&[2, 3, 1]);
    story.fence(3);
    assert_eq!(story.state(), (Some(1), vec![2, 1], vec![], vec![]));
    assert_eq!(story.epochs_of_partition().0, LeaderEpoch(1));
    story.restart(3, Stop::InOrder);
    assert_eq!(story.state().0, Some(1), "who leads stays");
}

#[test]
fn a_broker_outside_the_isr_never_leads_and_its_going_changes_nothing() {
    let mut story = Story::with(&[]);
    story.isr(&[1]);
    let before = story.partition();
    story.fence(2);
    story.restart(2, Stop::InOrder);
    assert_eq!(story.partition(), before);
    story.fence(1);
    assert_eq!(story.state(), (None, vec![], vec![1], vec![1]), "with a minimum of 1, only 1 has everything");
}

#[test]
fn brokers_that_go_one_after_the_other_lead_again_when_an_eligible_one_is_back() {
    for back in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        let mut story = Story::with(TWO);
        story.fence(1);
        assert_eq!(story.state(), (Some(2), vec![2, 3], vec![], vec![]));
        story.fence(2);
        assert_eq!(story.state(), (Some(3), vec![3], vec![2], vec![]));
        story.fence(3);
        assert_eq!(story.state(), (None, vec![], vec![2, 3], vec![3]));
        for id in back {
            story.restart(id, Stop::InOrder);
        }
        let first = back.into_iter().find(|id| *id != 1).unwrap();
        let other = 5 - first;
        assert_eq!(story.state(), (Some(first), vec![first], vec![other], vec![]), "{back:?}");
        story.isr(&[first, 1]);
        assert_eq!(story.state(), (Some(first), vec![first, 1], vec![], vec![]));
    }
}

#[test]
fn a_replica_that_may_have_lost_records_is_neither_in_sync_nor_eligible() {
    let mut story = Story::with(TWO_CACHED);
    story.fence(1);
    story.fence(2);
    story.fence(3);
    story.restart(2, Stop::Crash);
    assert_eq!(story.state(), (None, vec![], vec![3], vec![3]));
    story.restart(3, Stop::InOrder);
    assert_eq!(story.state(), (Some(3), vec![3], vec![], vec![]));
    story.isr(&[3, 2]);
    story.restart(2, Stop::Crash);
    assert_eq!(story.state(), (Some(3), vec![3], vec![], vec![]), "without having been fenced before");
    assert_eq!(story.partition().recovery, LeaderRecoveryState::Recovered);
}

#[test]
fn a_crash_takes_nothing_from_a_synced_topic() {
    let mut story = Story::with(TWO);
    story.isr(&[1, 2]);
    story.restart(2, Stop::Crash);
    assert_eq!(story.state(), (Some(1), vec![1], vec![2], vec![]));
}

#[test]
fn when_all_may_have_lost_records_the_last_leader_leads_and_recovers() {
    let mut story = Story::with(TWO_CACHED);
    for id in [1, 2, 3] {
        story.fence(id);
    }
    for id in [1, 2] {
        story.restart(id, Stop::Crash);
    }
    story.register(3, Stop::Crash);
    assert_eq!(story.state(), (None, vec![], vec![], vec![3]));
    story.beat(3, |_| {});
    assert_eq!(story.state(), (Some(3), vec![3], vec![], vec![]));
    assert_eq!(story.partition().recovery, LeaderRecoveryState::Recovering);
    let early = story.wish(&[3, 1]);
    let early = AlterIsr { recovery: LeaderRecoveryState::Recovering, ..early };
    assert_eq!(story.alter(3, early).map_err(|error| error.code()), Err(42));
    story.isr(&[3]);
    assert_eq!(story.partition().recovery, LeaderRecoveryState::Recovered);
}

#[test]
fn a_last_leader_that_lost_its_volume_does_not_lead_before_those_that_have_something() {
    let mut story = Story::with(TWO);
    for id in [1, 2, 3] {
        story.fence(id);
    }
    story.cluster.pass(9_500);
    story.directories.insert(NodeId(3), 903);
    story.restart(3, Stop::InOrder);
    assert_eq!(story.state(), (None, vec![], vec![2], vec![]));
    assert_eq!(story.partition().directory_of(NodeId(3)), directory(903));
    story.restart(1, Stop::InOrder);
    assert_eq!(story.state().0, None);
    story.restart(2, Stop::InOrder);
    assert_eq!(story.state(), (Some(2), vec![2], vec![], vec![]));
}

#[test]
fn a_broker_that_comes_back_without_its_volume_leaves_the_isr() {
    let mut story = Story::with(TWO);
    story.directories.insert(NodeId(1), 901);
    // The one before must be silent first, or this could be another node with its id.
    story.fence(1);
    assert_eq!(story.state(), (Some(2), vec![2, 3], vec![], vec![]));
    story.cluster.pass(9_500);
    assert_eq!(story.state(), (None, vec![], vec![2, 3], vec![2]), "nobody was heard");
    story.restart(1, Stop::InOrder);
    assert_eq!(story.state(), (None, vec![], vec![2, 3], vec![2]), "it has nothing");
    story.restart(3, Stop::InOrder);
    assert_eq!(story.state(), (Some(3), vec![3], vec![2], vec![]));
}

#[test]
fn an_only_replica_begins_anew_on_a_new_volume() {
    let mut story = Story::of(&[1], &[]);
    story.fence(1);
    assert_eq!(story.state(), (None, vec![], vec![1], vec![1]));
    story.cluster.pass(9_500);
    story.directories.insert(NodeId(1), 901);
    story.restart(1, Stop::InOrder);
    assert_eq!(story.state(), (Some(1), vec![1], vec![], vec![]));
    assert_eq!(story.partition().recovery, LeaderRecoveryState::Recovered);
}

#[test]
fn a_failed_directory_moves_its_leader_and_the_replica_is_eligible_until_it_is_known_to_have_lost() {
    let mut story = Story::with(TWO);
    story.isr(&[1, 2]);
    let failed = directory(story.directories[&NodeId(1)]);
    story.beat(1, |beat| beat.offline_directories = vec![failed]);
    assert_eq!(story.state(), (Some(2), vec![2], vec![1], vec![]));
    story.fence(2);
    assert_eq!(story.state(), (None, vec![], vec![1, 2], vec![2]), "a failed directory leads nothing");
    story.restart(1, Stop::InOrder);
    assert_eq!(
        story.state(),
        (Some(1), vec![1], vec![2], vec![]),
        "the next process has the directory again"
    );
}

#[test]
fn a_broker_that_stops_in_order_hands_over_and_leaves() {
    let mut story = Story::with(TWO);
    story.beat(1, |beat| beat.want_shutdown = true);
    assert_eq!(story.state(), (Some(2), vec![2, 3], vec![], vec![]));
    story.beat(2, |beat| beat.want_shutdown = true);
    assert_eq!(story.state(), (Some(3), vec![3], vec![2], vec![]));
}

#[test]
fn a_replica_that_lacks_records_leads_where_the_topic_allows_it() {
    let mut story = Story::with(&[("unclean.leader.election.enable", "true")]);
    story.isr(&[1]);
    story.fence(1);
    assert_eq!(story.state(), (Some(2), vec![2], vec![], vec![]));
    let unclean = ControllerEvent::UncleanElection { partition: PARTITION, leader: NodeId(2) };
    let events = &story.cluster.members[&CONTROLLER].events;
    let told = events.iter().filter(|event| **event == NodeEvent::Controller(unclean)).count();
    assert_eq!(told, 1, "it is told once: {events:?}");
    let partition = story.partition();
    assert_eq!(
        (partition.recovery, partition.leader_epoch),
        (LeaderRecoveryState::Recovering, LeaderEpoch(1))
    );
}

#[test]
fn brokers_that_fall_silent_together_get_nothing_to_lead() {
    let mut story = Story::with(&[("unclean.leader.election.enable", "true")]);
    story.isr(&[1]);
    story.cluster.pass(9_500);
    assert_eq!(story.state(), (None, vec![], vec![1], vec![1]), "the one with all records is still eligible");
    let mut story = Story::with(TWO);
    for _ in 0..10 {
        story.cluster.pass(1_000);
        story.beat(3, |_| {});
    }
    assert_eq!(story.state(), (Some(3), vec![3], vec![2], vec![]));
    assert_eq!(story.epochs_of_partition().0, LeaderEpoch(1), "there was one election");
}

#[test]
fn allowing_unclean_elections_elects_at_once_where_nobody_leads() {
    let key = "unclean.leader.election.enable";
    for resource in [None, Some(ConfigResource::BrokerDefault)] {
        let mut story = only_three_in_sync();
        story.fence(3);
        assert_eq!(story.state().0, None);
        match resource {
            None => story.set(key, "true"),
            Some(resource) => story.set_on(resource, key, "true").unwrap(),
        }
        assert_eq!(story.state(), (Some(1), vec![1], vec![], vec![]));
    }
}

#[test]
fn another_minimum_ends_eligibility_where_somebody_leads() {
    let key = "min.insync.replicas";
    for resource in [None, Some(ConfigResource::BrokerDefault)] {
        let mut story = Story::with(&[]);
        story.set_on(ConfigResource::BrokerDefault, key, "2").unwrap();
        story.isr(&[1]);
        assert_eq!(story.state(), (Some(1), vec![1], vec![2, 3], vec![]));
        match resource {
            None => story.set(key, "1"),
            Some(resource) => story.set_on(resource, key, "1").unwrap(),
        }
        assert_eq!(story.state(), (Some(1), vec![1], vec![], vec![]));
    }
    let mut story = Story::with(TWO);
    story.isr(&[1]);
    story.set_on(ConfigResource::BrokerDefault, key, "3").unwrap();
    assert_eq!(story.state().2, [2, 3], "the topic has its own");
    story.fence(1);
    story.set(key, "1");
    assert_eq!(story.state(), (Some(2), vec![2], vec![], vec![]), "where nobody led, nothing was committed");
}

#[test]
fn the_minimum_is_not_set_on_one_broker() {
    let mut story = Story::with(&[]);
    let refused = story.set_on(ConfigResource::Broker(NodeId(1)), "min.insync.replicas", "2").unwrap_err();
    assert_eq!(refused.code(), 40);
    assert!(refused.to_string().contains("set it on all brokers or on a topic"), "{refused}");
}

#[test]
fn an_unclean_leader_is_elected_when_it_is_asked_for() {
    let mut story = only_three_in_sync();
    assert_eq!(story.elect(ElectionType::Unclean).map_err(|error| error.code()), Err(84));
    story.fence(3);
    for id in [1, 2] {
        story.fence(id);
    }
    assert_eq!(story.elect(ElectionType::Unclean).map_err(|error| error.code()), Err(83));
    story.restart(2, Stop::InOrder);
    assert_eq!(story.elect(ElectionType::Unclean), Ok(()));
    assert_eq!(story.state(), (Some(2), vec![2], vec![], vec![]));
}

#[test]
fn the_preferred_leader_is_elected_when_it_is_asked_for_and_in_sync() {
    let mut story = Story::with(&[]);
    assert_eq!(story.elect(ElectionType::Preferred).map_err(|error| error.code()), Err(84));
    story.fence(1);
    story.restart(1, Stop::InOrder);
    assert_eq!(story.elect(ElectionType::Preferred).map_err(|error| error.code()), Err(80));
    story.isr(&[2, 3, 1]);
    let all = ElectLeaders { election: ElectionType::Preferred, partitions: None };
    let reply = story.call(Operation::ElectLeaders(all.clone()));
    assert_eq!(reply, Ok(Reply::ElectLeaders(vec![(PARTITION, Ok(()))])));
    assert_eq!(story.state(), (Some(1), vec![2, 3, 1], vec![], vec![]));
    let reply = story.call(Operation::ElectLeaders(all));
    assert_eq!(reply, Ok(Reply::ElectLeaders(vec![])), "of all, those are left out that need none");
    let nowhere = TopicPartition { partition: PartitionIndex(9), ..PARTITION };
    let asked = ElectLeaders { election: ElectionType::Preferred, partitions: Some(vec![nowhere]) };
    let Ok(Reply::ElectLeaders(results)) = story.call(Operation::ElectLeaders(asked)) else { panic!() };
    assert_eq!(results[0].1.as_ref().map_err(OperationError::code), Err(3));
}

#[test]
fn leadership_goes_back_to_the_preferred_replica_by_itself() {
    let mut story = Story::with(&[]);
    story.cluster.start_broker(NodeId(5), 1);
    for id in 1..=3 {
        story.cluster.start_broker(NodeId(id), 7);
    }
    story.cluster.pass(1_000);
    let leader = story.partition().leader.unwrap();
    story.epochs = story.cluster.image(CONTROLLER).brokers.iter().map(|(id, b)| (*id, b.epoch)).collect();
    assert_ne!(leader, NodeId(1));
    story.isr(&[leader.0, 1]);
    story.cluster.pass(290_000);
    assert_eq!(story.partition().leader, Some(leader));
    story.cluster.pass(11_000);
    assert_eq!(story.partition().leader, Some(NodeId(1)));
}

#[test]
fn a_topic_is_made_while_a_broker_is_out_of_service_and_with_no_more_replicas_than_brokers() {
    let mut story = Story::with(&[]);
    story.cluster.pass(9_500);
    for id in [1, 2] {
        story.restart(id, Stop::InOrder);
    }
    let topic = |factor, assignments| NewTopic {
        name: "b".to_owned(),
        id: TopicId(Uuid::from_u128(2_000)),
        partitions: if factor == -1 { -1 } else { 2 },
        replication_factor: factor,
        assignments,
        configs: Vec::new(),
    };
    let mut make = |topic| {
        let request = CreateTopics { topics: vec![topic], validate_only: false };
        match story.call(Operation::CreateTopics(request)) {
            Ok(Reply::CreateTopics(mut results)) => results.remove(0).map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let refused = make(topic(5, Vec::new())).unwrap_err();
    assert_eq!(refused, "replication factor 5 is larger than the number of registered brokers, 4");
    let of = |lists: &[&[i32]]| {
        (0..).map(PartitionIndex).zip(lists.iter().map(|list| nodes(list))).collect::<Vec<_>>()
    };
    let refused = make(topic(-1, of(&[&[1, 2], &[1]]))).unwrap_err();
    assert!(refused.contains("same number"), "{refused}");
    let refused = make(topic(-1, of(&[&[3, 4]]))).unwrap_err();
    assert!(refused.contains("fenced"), "{refused}");
    make(topic(-1, of(&[&[3, 2, 1]]))).unwrap();
    let more = |assignments| {
        let topics = vec![MorePartitions { name: "b".to_owned(), count: 2, assignments }];
        Operation::CreatePartitions(CreatePartitions { topics, validate_only: false })
    };
    let Ok(Reply::CreatePartitions(results)) = story.call(more(Some(vec![nodes(&[1, 2])]))) else { panic!() };
    assert_eq!(results[0].as_ref().map_err(OperationError::code), Err(39));
    assert_eq!(story.call(more(None)), Ok(Reply::CreatePartitions(vec![Ok(())])));
    let image = story.cluster.image(CONTROLLER);
    let topic = &image.topics[&TopicId(Uuid::from_u128(2_000))];
    let first = &topic.partitions[&PartitionIndex(0)];
    assert_eq!((first.leader, &first.isr), (Some(NodeId(2)), &nodes(&[2, 1])), "fenced ones are not in sync");
    let second = &topic.partitions[&PartitionIndex(1)];
    assert_eq!((second.replicas.len(), &second.isr), (3, &nodes(&[1, 2])));
    story.fence(1);
    story.fence(2);
    let refused = story.call(Operation::CreateTopics(CreateTopics {
        topics: vec![NewTopic {
            name: "c".to_owned(),
            id: TopicId(Uuid::from_u128(2_001)),
            partitions: 1,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }],
        validate_only: false,
    }));
    let Ok(Reply::CreateTopics(results)) = refused else { panic!("{refused:?}") };
    let refused = results[0].as_ref().unwrap_err().to_string();
    assert_eq!(refused, "all brokers are currently fenced or shutting down");
}

#[test]
fn an_unregistered_broker_leads_nothing_and_is_in_sync_with_nothing() {
    let mut story = Story::with(TWO);
    assert_eq!(story.state(), (Some(1), vec![1, 2, 3], vec![], vec![]));
    assert_eq!(story.call(Operation::UnregisterBroker(NodeId(1))), Ok(Reply::UnregisterBroker));
    assert_eq!(story.state(), (Some(2), vec![2, 3], vec![], vec![]));
    assert!(!story.cluster.image(CONTROLLER).brokers.contains_key(&NodeId(1)));
    assert_eq!(story.partition().replicas, nodes(&[1, 2, 3]), "that is for a reassignment");
    let again = story.call(Operation::UnregisterBroker(NodeId(1)));
    assert_eq!(again, Err(OperationError::BrokerIdNotRegistered(NodeId(1))));
    let unknown = story.call(Operation::UnregisterBroker(NodeId(77)));
    assert_eq!(unknown, Err(OperationError::BrokerIdNotRegistered(NodeId(77))));
    story.restart(1, Stop::InOrder);
    assert_eq!(story.state().1, [2, 3], "it catches up first");
    story.isr(&[2, 3, 1]);
}

#[test]
fn an_unregistered_broker_that_comes_back_is_believed_what_is_durable_and_no_more() {
    for (settings, eligible) in [(TWO, vec![3]), (TWO_CACHED, vec![])] {
        let mut story = Story::with(settings);
        story.fence(2);
        story.fence(3);
        assert_eq!(story.state(), (Some(1), vec![1], vec![3], vec![]));
        story.call(Operation::UnregisterBroker(NodeId(3))).unwrap();
        assert_eq!(story.state().2, [3], "it still has everything");
        story.register(3, Stop::InOrder);
        assert_eq!(story.state().2, eligible, "nobody knows any more how it stopped");
    }
}
