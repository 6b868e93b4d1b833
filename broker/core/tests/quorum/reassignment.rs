//! Replicas that are moved: what a partition has meanwhile, how a move ends, is replaced and taken back, and what is
//! refused.

use ottla_core::controller::operation::{
    AlterPartitionReassignments, CreatePartitions, ElectionType, ListPartitionReassignments, MorePartitions,
    OngoingReassignment, Reassignment,
};
use ottla_core::controller::{Operation, OperationError, Reply};
use ottla_core::ids::{DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicName};
use ottla_core::metadata::image::LeaderRecoveryState;

use crate::partitions::{PARTITION, Stop, Story, nodes};
use crate::rig::directory;

impl Story {
    fn reassign_as(
        &mut self,
        allow_replication_factor_change: bool,
        topic: &str,
        index: i32,
        target: Option<&[i32]>,
    ) -> Result<(), OperationError> {
        let partition = Reassignment {
            topic: topic.to_owned(),
            partition: PartitionIndex(index),
            target: target.map(nodes),
        };
        let request =
            AlterPartitionReassignments { allow_replication_factor_change, partitions: vec![partition] };
        match self.call(Operation::AlterPartitionReassignments(request)) {
            Ok(Reply::AlterPartitionReassignments(mut results)) => results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn reassign(&mut self, target: &[i32]) {
        self.reassign_as(true, "a", 0, Some(target)).unwrap();
    }

    fn cancel(&mut self) -> Result<(), OperationError> {
        self.reassign_as(true, "a", 0, None)
    }

    fn ongoing(&mut self, partitions: Option<Vec<(String, PartitionIndex)>>) -> Vec<OngoingReassignment> {
        let request = ListPartitionReassignments { partitions };
        match self.call(Operation::ListPartitionReassignments(request)) {
            Ok(Reply::ListPartitionReassignments(ongoing)) => ongoing,
            other => panic!("{other:?}"),
        }
    }

    /// Replicas, those that are added and those that are removed.
    fn replicas(&self) -> (Vec<i32>, Vec<i32>, Vec<i32>) {
        let partition = self.partition();
        let numbers = |ids: &[_]| ids.iter().map(|id: &NodeId| id.0).collect();
        (numbers(&partition.replicas), numbers(&partition.adding), numbers(&partition.removing))
    }

    fn directories(&self) -> Vec<DirectoryId> {
        self.partition().directories
    }
}

fn directories(ids: &[u128]) -> Vec<DirectoryId> {
    ids.iter().map(|id| directory(500 + id)).collect()
}

#[test]
fn a_move_has_all_replicas_and_ends_with_the_record_that_brings_the_last_into_sync() {
    let mut story = Story::with(&[]);
    story.reassign(&[2, 4]);
    assert_eq!(story.replicas(), (vec![2, 4, 1, 3], vec![4], vec![1, 3]));
    assert_eq!(story.state(), (Some(1), vec![1, 2, 3], vec![], vec![]));
    assert_eq!(story.epochs_of_partition(), (LeaderEpoch(0), PartitionEpoch(1)));
    assert_eq!(story.directories(), directories(&[2, 4, 1, 3]));
    // Who asked for it leads no longer, and is told so.
    let asked = story.wish(&[1, 2, 3, 4]);
    assert_eq!(story.alter(1, asked).map_err(|error| error.code()), Err(108));
    assert_eq!(story.replicas(), (vec![2, 4], vec![], vec![]));
    assert_eq!(story.state(), (Some(2), vec![2, 4], vec![], vec![]));
    assert_eq!(story.epochs_of_partition(), (LeaderEpoch(1), PartitionEpoch(2)));
    assert_eq!(story.directories(), directories(&[2, 4]));
    assert_eq!(story.partition().recovery, LeaderRecoveryState::Recovered);
}

#[test]
fn a_leader_that_stays_begins_a_new_epoch_when_replicas_go() {
    let mut story = Story::with(&[]);
    story.reassign(&[1, 2]);
    assert_eq!(story.replicas(), (vec![1, 2], vec![], vec![]), "nothing had to be waited for");
    assert_eq!(story.state(), (Some(1), vec![1, 2], vec![], vec![]));
    assert_eq!(story.epochs_of_partition(), (LeaderEpoch(1), PartitionEpoch(1)));
}

#[test]
fn an_order_is_changed_at_once_and_the_leader_stays() {
    let mut story = Story::with(&[]);
    story.reassign(&[3, 1, 2]);
    assert_eq!(story.replicas(), (vec![3, 1, 2], vec![], vec![]));
    assert_eq!(story.directories(), directories(&[3, 1, 2]));
    assert_eq!(story.epochs_of_partition(), (LeaderEpoch(0), PartitionEpoch(1)));
    assert_eq!(story.elect(ElectionType::Preferred), Ok(()));
    assert_eq!(story.state().0, Some(3));
    let before = story.partition();
    story.reassign(&[3, 1, 2]);
    assert_eq!(story.partition(), before, "what is so already writes nothing");
}

#[test]
fn a_replica_that_is_to_stay_and_lags_is_waited_for() {
    let mut story = Story::with(&[]);
    story.isr(&[1, 3]);
    story.reassign(&[1, 2]);
    assert_eq!(story.replicas(), (vec![1, 2, 3], vec![], vec![3]));
    story.isr(&[1, 3, 2]);
    assert_eq!(story.replicas(), (vec![1, 2], vec![], vec![]));
    assert_eq!(story.state(), (Some(1), vec![1, 2], vec![], vec![]));
}

#[test]
fn more_replicas_take_nothing_from_producers_while_they_catch_up() {
    let mut story = Story::of(&[1], &[("min.insync.replicas", "2")]);
    story.reassign(&[1, 2, 3]);
    assert_eq!(story.replicas(), (vec![1, 2, 3], vec![2, 3], vec![]));
    assert_eq!(story.partition().isr_min(2), 1);
    story.isr(&[1, 2]);
    assert_eq!(story.replicas().1, [2, 3], "one is missing yet");
    story.isr(&[1, 2, 3]);
    assert_eq!(story.replicas(), (vec![1, 2, 3], vec![], vec![]));
    assert_eq!(story.partition().isr_min(2), 2);
    assert_eq!(story.epochs_of_partition().0, LeaderEpoch(0), "nobody went");
}

#[test]
fn a_cancelled_move_leaves_what_there_was_and_another_target_replaces_the_first() {
    let mut story = Story::with(&[]);
    story.reassign(&[4, 1]);
    assert_eq!(story.replicas(), (vec![4, 1, 2, 3], vec![4], vec![2, 3]));
    story.isr(&[1, 2, 3]);
    story.cancel().unwrap();
    assert_eq!(story.replicas(), (vec![1, 2, 3], vec![], vec![]));
    assert_eq!(story.state(), (Some(1), vec![1, 2, 3], vec![], vec![]));
    assert_eq!(story.epochs_of_partition().0, LeaderEpoch(1), "a replica went");

    story.reassign(&[4, 1, 2]);
    story.reassign(&[1, 2]);
    assert_eq!(story.replicas(), (vec![1, 2], vec![], vec![]), "the second is there already");

    let mut story = Story::of(&[1, 2], &[]);
    story.reassign(&[3]);
    story.reassign(&[4, 1]);
    assert_eq!(story.replicas(), (vec![4, 1, 3, 2], vec![3, 4], vec![3, 2]));
    story.cancel().unwrap();
    assert_eq!(story.replicas(), (vec![1, 2], vec![], vec![]), "not what the first was on its way to");
    story.reassign(&[3]);
    story.reassign(&[4, 1]);
    story.isr(&[1, 4]);
    assert_eq!(story.replicas(), (vec![4, 1], vec![], vec![]));
}

#[test]
fn a_leader_that_was_only_being_added_hands_over_when_the_move_is_cancelled() {
    let mut story = Story::with(&[]);
    story.isr(&[1, 2]);
    story.reassign(&[4, 3]);
    story.isr(&[1, 2, 4]);
    story.elect(ElectionType::Preferred).unwrap();
    assert_eq!(story.state().0, Some(4));
    story.cancel().unwrap();
    assert_eq!(story.state(), (Some(1), vec![1, 2], vec![], vec![]));
    assert_eq!(story.replicas(), (vec![3, 1, 2], vec![], vec![]));
}

#[test]
fn a_move_whose_old_replicas_lost_track_is_cancelled_only_where_records_may_be_lost() {
    for (unclean, expected) in [("false", Err(39)), ("true", Ok(()))] {
        let mut story = Story::of(&[1], &[("unclean.leader.election.enable", unclean)]);
        story.reassign(&[4, 3]);
        story.isr(&[1, 4]);
        story.fence(1);
        assert_eq!(story.state(), (Some(4), vec![4], vec![], vec![]));
        story.restart(1, Stop::Crash);
        assert_eq!(story.cancel().map_err(|error| error.code()), expected, "unclean {unclean}");
        if expected.is_ok() {
            assert_eq!(story.state(), (Some(1), vec![1], vec![], vec![]));
            assert_eq!(story.partition().recovery, LeaderRecoveryState::Recovering);
        } else {
            assert_eq!(story.replicas(), (vec![4, 3, 1], vec![3, 4], vec![1]));
        }
    }
}

#[test]
fn an_eligible_replica_takes_a_cancelled_move_back_without_loss() {
    let mut story = Story::of(&[1, 2], &[("min.insync.replicas", "2")]);
    story.reassign(&[4, 3]);
    story.isr(&[1, 2, 4]);
    story.beat(1, |beat| beat.want_fence = true);
    story.beat(2, |beat| beat.want_fence = true);
    assert_eq!(story.state(), (Some(4), vec![4], vec![2], vec![]));
    assert_eq!(story.cancel().map_err(|error| error.code()), Err(39), "nobody would lead");
    story.beat(2, |_| {});
    story.cancel().unwrap();
    assert_eq!(story.state(), (Some(2), vec![2], vec![], vec![]));
    assert_eq!(story.partition().recovery, LeaderRecoveryState::Recovered);
}

#[test]
fn a_replica_that_is_gone_from_the_assignment_is_eligible_no_longer() {
    let mut story = Story::with(&[("min.insync.replicas", "3")]);
    story.fence(3);
    assert_eq!(story.state(), (Some(1), vec![1, 2], vec![3], vec![]));
    story.reassign(&[1, 2]);
    assert_eq!(story.state(), (Some(1), vec![1, 2], vec![], vec![]));
    assert_eq!(story.replicas(), (vec![1, 2], vec![], vec![]));
}

#[test]
fn a_broker_out_of_service_may_be_asked_for_and_is_waited_for() {
    let mut story = Story::with(&[]);
    story.fence(4);
    story.reassign(&[1, 4]);
    assert_eq!(story.replicas(), (vec![1, 4, 2, 3], vec![4], vec![2, 3]));
    story.restart(4, Stop::InOrder);
    story.isr(&[1, 2, 3, 4]);
    assert_eq!(story.replicas(), (vec![1, 4], vec![], vec![]));
}

#[test]
fn what_is_wrong_is_told_with_kafkas_code_and_changes_nothing() {
    let mut story = Story::with(&[]);
    let before = story.partition();
    type Asked = (&'static str, i32, Option<&'static [i32]>);
    let table: [(&str, Asked, bool, i16); 10] = [
        ("unknown topic", ("b", 0, Some(&[1])), true, 3),
        ("no topic's name", ("b/c", 0, Some(&[1])), true, 3),
        ("unknown partition", ("a", 1, Some(&[1])), true, 3),
        ("nobody", ("a", 0, Some(&[])), true, 39),
        ("negative", ("a", 0, Some(&[-1])), true, 39),
        ("unknown broker", ("a", 0, Some(&[1, 9])), true, 39),
        ("twice", ("a", 0, Some(&[1, 2, 1])), true, 39),
        ("fewer", ("a", 0, Some(&[1, 2])), false, 38),
        ("nothing to cancel", ("a", 0, None), true, 85),
        ("nothing to cancel of an unknown topic", ("b", 0, None), true, 3),
    ];
    for (what, (topic, index, target), allowed, code) in table {
        let refused = story.reassign_as(allowed, topic, index, target).map_err(|error| error.code());
        assert_eq!(refused, Err(code), "{what}");
    }
    assert_eq!(story.partition(), before);
    assert!(story.reassign_as(false, "a", 0, Some(&[1, 2, 4])).is_ok());
    // What counts is where the move is on its way to.
    assert_eq!(story.replicas().0.len(), 4);
    assert!(story.reassign_as(false, "a", 0, Some(&[4, 2, 1])).is_ok());
    let more = story.reassign_as(false, "a", 0, Some(&[4, 2, 1, 3]));
    assert_eq!(more.map_err(|error| error.code()), Err(38));
}

#[test]
fn a_partition_that_is_named_twice_is_refused_and_others_are_moved() {
    let mut story = Story::with(&[]);
    let asked = |topic: &str, target: &[i32]| Reassignment {
        topic: topic.to_owned(),
        partition: PartitionIndex(0),
        target: Some(nodes(target)),
    };
    let request = AlterPartitionReassignments {
        allow_replication_factor_change: true,
        partitions: vec![asked("a", &[1]), asked("b", &[1]), asked("a", &[2])],
    };
    let Ok(Reply::AlterPartitionReassignments(results)) =
        story.call(Operation::AlterPartitionReassignments(request))
    else {
        panic!("another reply");
    };
    let codes: Vec<i16> =
        results.into_iter().map(|result| result.map_or_else(|error| error.code(), |()| 0)).collect();
    assert_eq!(codes, [42, 3, 42]);
    assert_eq!(story.replicas().0, [1, 2, 3]);
}

#[test]
fn what_is_moved_is_listed_until_it_is_there() {
    let mut story = Story::with(&[]);
    assert_eq!(story.ongoing(None), []);
    story.reassign(&[2, 4]);
    let expected = OngoingReassignment {
        topic: TopicName::parse("a").unwrap(),
        partition: PARTITION.partition,
        replicas: nodes(&[2, 4, 1, 3]),
        adding: nodes(&[4]),
        removing: nodes(&[1, 3]),
    };
    assert_eq!(story.ongoing(None), std::slice::from_ref(&expected));
    let named = |topic: &str, index| (topic.to_owned(), PartitionIndex(index));
    assert_eq!(
        story.ongoing(Some(vec![named("a", 0), named("a", 1), named("b", 0), named("/", 0)])),
        [expected]
    );
    assert_eq!(story.ongoing(Some(vec![])), []);
    story.isr(&[1, 2, 3]);
    story.reassign(&[2, 3]);
    assert_eq!(story.ongoing(None), []);
}

#[test]
fn new_partitions_have_as_many_replicas_as_the_others_will() {
    let mut story = Story::of(&[1, 2], &[]);
    story.reassign(&[3, 4, 1]);
    assert_eq!(story.replicas().0.len(), 4);
    let topics = vec![MorePartitions { name: "a".to_owned(), count: 2, assignments: None }];
    story.call(Operation::CreatePartitions(CreatePartitions { topics, validate_only: false })).unwrap();
    let image = story.cluster.image(NodeId(0));
    let made = image.partition(PARTITION.topic_id, PartitionIndex(1)).unwrap();
    assert_eq!(made.replicas.len(), 3);
}

#[test]
fn a_leader_in_its_controlled_shutdown_is_replaced_also_during_a_move() {
    let mut story = Story::with(&[]);
    story.reassign(&[4, 2]);
    story.beat(1, |beat| beat.want_shutdown = true);
    assert_eq!(story.state(), (Some(2), vec![2, 3], vec![], vec![]), "4 is not in sync yet");
    assert_eq!(story.replicas(), (vec![4, 2, 1, 3], vec![4], vec![1, 3]));
    story.isr(&[2, 3, 4]);
    assert_eq!(story.replicas(), (vec![4, 2], vec![], vec![]));
    assert_eq!(story.state(), (Some(2), vec![2, 4], vec![], vec![]));
}

#[test]
fn a_broker_that_comes_back_empty_begins_anew_in_the_directory_that_it_has() {
    let mut story = Story::with(&[]);
    story.reassign(&[4, 2]);
    story.directories.insert(NodeId(4), 604);
    story.cluster.pass(10_000);
    story.restart(4, Stop::Crash);
    assert_eq!(story.directories(), [directory(604), directory(502), directory(501), directory(503)]);
    assert_eq!(story.replicas(), (vec![4, 2, 1, 3], vec![4], vec![1, 3]));
}
