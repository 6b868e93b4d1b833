//! ISRs as leaders ask for them (AlterPartition): what is refused with which error, and what is written.

use ottla_core::controller::operation::{AlterIsr, AlteredPartition};
use ottla_core::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicPartition,
};
use ottla_core::metadata::image::{Fencing, LeaderRecoveryState};

use crate::partitions::{PARTITION, Story, nodes};

const CONTROLLER: NodeId = NodeId(0);

#[test]
fn a_leader_makes_the_isr_smaller_and_larger_and_stays_in_its_epoch() {
    let mut story = Story::with(&[]);
    let asked = story.wish(&[1, 3]);
    let altered = AlteredPartition {
        partition: PARTITION,
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(1),
        isr: nodes(&[1, 3]),
        recovery: LeaderRecoveryState::Recovered,
    };
    assert_eq!(story.alter(1, asked), Ok(altered));
    story.isr(&[1, 3, 2]);
    assert_eq!(story.state(), (Some(1), vec![1, 3, 2], vec![], vec![]));
    assert_eq!(story.epochs_of_partition(), (LeaderEpoch(0), PartitionEpoch(2)));
}

#[test]
fn the_isr_that_there_is_succeeds_and_writes_nothing() {
    let mut story = Story::with(&[]);
    let before = story.cluster.image(CONTROLLER).offset;
    let asked = story.wish(&[3, 1, 2]);
    let altered = story.alter(1, asked).unwrap();
    assert_eq!((altered.isr, altered.partition_epoch), (nodes(&[1, 2, 3]), PartitionEpoch(0)));
    assert_eq!(story.cluster.image(CONTROLLER).offset, before);
}

#[test]
fn what_is_wrong_is_told_with_kafkas_code_and_in_kafkas_order() {
    let mut story = Story::with(&[]);
    story.isr(&[1, 2]);
    // Leader epoch 1, partition epoch 2 under broker 2; 1 is fenced, 3 and 4 are in service.
    story.fence(1);
    assert_eq!(story.state(), (Some(2), vec![2], vec![], vec![]));
    let right = story.wish(&[2, 3]);
    let epochs = |leader, partition| AlterIsr {
        leader_epoch: LeaderEpoch(leader),
        partition_epoch: PartitionEpoch(partition),
        ..right.clone()
    };
    let at = |topic_id, index| AlterIsr {
        partition: TopicPartition { topic_id, partition: PartitionIndex(index) },
        ..right.clone()
    };
    let members = |ids: &[i32]| story.wish(ids);
    let recovering = |asked: AlterIsr| AlterIsr { recovery: LeaderRecoveryState::Recovering, ..asked };
    let mut earlier = right.clone();
    earlier.isr[1].1 = Some(BrokerEpoch(1));
    let mut later = right.clone();
    later.isr[1].1 = Some(BrokerEpoch(1_000_000));
    let table: Vec<(&str, i32, AlterIsr, i16)> = vec![
        ("unknown topic", 2, at(TopicId::default(), 0), 100),
        ("unknown partition", 2, at(PARTITION.topic_id, 1), 3),
        ("leader epoch from the future", 2, epochs(2, 2), 41),
        ("partition epoch from the future", 2, epochs(1, 3), 41),
        ("the future counts more than the past", 2, epochs(0, 3), 41),
        ("older leader epoch", 2, epochs(0, 2), 74),
        ("older leader epoch from who led in it", 1, epochs(0, 1), 74),
        ("not the leader", 3, epochs(1, 2), 42),
        ("not the leader, which counts more than the past", 3, epochs(1, 1), 42),
        ("older partition epoch", 2, epochs(1, 1), 95),
        ("no replica", 2, members(&[2, 4]), 42),
        ("no broker", 2, members(&[2, 9]), 42),
        ("twice", 2, members(&[2, 3, 3]), 42),
        ("nobody", 2, members(&[]), 42),
        ("without the leader, by one who is no member", 2, members(&[1]), 42),
        ("recovering with others", 2, recovering(members(&[2, 3])), 42),
        ("recovering again", 2, recovering(members(&[2])), 42),
        ("fenced", 2, members(&[2, 1]), 107),
        ("seen before it registered anew", 2, earlier, 107),
        ("seen in a registration that never was", 2, later, 107),
    ];
    let before = story.partition();
    for (what, sender, asked, code) in table {
        let refused = story.alter(sender, asked).map_err(|error| error.code());
        assert_eq!(refused, Err(code), "{what}");
    }
    assert_eq!(story.partition(), before, "a refusal writes nothing");
    let mut right = right;
    right.isr[1].1 = None;
    assert!(story.alter(2, right).is_ok(), "an unknown broker epoch is compared with nothing");
}

#[test]
fn a_leader_with_an_old_registration_is_refused_as_a_whole() {
    let mut story = Story::with(&[]);
    let asked = story.wish(&[1, 2]);
    story.epochs.insert(NodeId(1), BrokerEpoch(0));
    assert_eq!(story.ask(1, vec![asked.clone()]).map_err(|error| error.code()), Err(77));
    story.epochs.insert(NodeId(9), BrokerEpoch(0));
    assert_eq!(story.ask(9, vec![asked]).map_err(|error| error.code()), Err(77));
}

#[test]
fn a_replica_that_stops_or_whose_directory_failed_is_not_eligible() {
    let mut story = Story::with(&[]);
    story.cluster.start_broker(NodeId(5), 1); // Never lets anybody stop: it has yet to hear of it.
    let failed = crate::rig::directory(story.directories[&NodeId(3)]);
    story.beat(3, |beat| beat.offline_directories = vec![failed]);
    assert_eq!(story.state().1, [1, 2]);
    let asked = story.wish(&[1, 2, 3]);
    assert_eq!(story.alter(1, asked).map_err(|error| error.code()), Err(107));
    story.beat(2, |beat| beat.want_shutdown = true);
    let stopping = story.cluster.image(CONTROLLER).brokers[&NodeId(2)].fencing;
    assert_eq!((stopping, story.state().1), (Fencing::InControlledShutdown, vec![1]));
    let asked = story.wish(&[1, 2]);
    assert_eq!(story.alter(1, asked).map_err(|error| error.code()), Err(107));
}

#[test]
fn a_partition_that_is_named_twice_is_refused_and_the_others_are_altered() {
    let mut story = Story::with(&[]);
    let asked = story.wish(&[1, 2]);
    let other =
        AlterIsr { partition: TopicPartition { partition: PartitionIndex(1), ..PARTITION }, ..asked.clone() };
    let results = story.ask(1, vec![asked.clone(), other, asked]).unwrap();
    let codes: Vec<i16> =
        results.into_iter().map(|result| result.map_or_else(|error| error.code(), |_| 0)).collect();
    assert_eq!(codes, [42, 3, 42]);
    assert_eq!(story.state().1, [1, 2, 3]);
}

#[test]
fn a_repeated_request_is_told_that_its_partition_changed() {
    let mut story = Story::with(&[]);
    let asked = story.wish(&[1, 2]);
    assert!(story.alter(1, asked.clone()).is_ok());
    assert_eq!(story.alter(1, asked).map_err(|error| error.code()), Err(95));
}

#[test]
fn a_leader_that_asks_for_an_isr_without_itself_makes_way() {
    let mut story = Story::with(&[]);
    let asked = story.wish(&[2, 3]);
    assert_eq!(story.alter(1, asked).map_err(|error| error.code()), Err(108));
    let partition = story.partition();
    assert_eq!((partition.leader, partition.leader_epoch), (Some(NodeId(2)), LeaderEpoch(1)));
    assert_eq!((&partition.isr[..], &partition.elr[..]), (&[NodeId(2), NodeId(3)][..], &[][..]));
    // Who follows now asks for nothing, and the one that it made way for can have it back.
    let asked = story.wish(&[1]);
    assert_eq!(story.alter(1, asked).map_err(|error| error.code()), Err(42));
    story.isr(&[1, 2, 3]);
    assert_eq!(story.state().1, [1, 2, 3]);
}

#[test]
fn a_leader_stays_where_the_others_could_not_lead() {
    let mut story = Story::with(&[]);
    story.beat(2, |beat| beat.damaged_logs = vec![PARTITION]);
    story.isr(&[1, 2]);
    let before = story.partition();
    let asked = story.wish(&[2]);
    assert_eq!(story.alter(1, asked).map_err(|error| error.code()), Err(107));
    assert_eq!(story.partition(), before);
}

#[test]
fn a_leader_makes_way_for_members_alone() {
    let mut story = Story::with(&[]);
    story.isr(&[1, 2]);
    let before = story.partition();
    let asked = story.wish(&[2, 3]);
    assert_eq!(story.alter(1, asked).map_err(|error| error.code()), Err(42));
    assert_eq!(story.partition(), before);
}
