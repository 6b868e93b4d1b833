//! Replicas whose logs are damaged, as their brokers say: who leads instead, and what is kept for the last one
//! (decision 0044).

use ottla_core::controller::operation::ElectionType;
use ottla_core::ids::{NodeId, PartitionIndex, TopicId, TopicPartition};
use uuid::Uuid;

use crate::partitions::{PARTITION, Stop, Story};

const TWO: &[(&str, &str)] = &[("min.insync.replicas", "2")];

/// A process begins on a damaged log, and wants to come into service.
fn restart_damaged(story: &mut Story, id: i32) {
    story.register(id, Stop::Crash);
    damaged(story, id);
}

fn damaged(story: &mut Story, id: i32) {
    story.beat(id, |beat| beat.damaged_logs = vec![PARTITION]);
}

#[test]
fn an_eligible_replica_with_a_damaged_log_is_none_where_another_is() {
    for first in [2, 3] {
        let mut story = Story::with(TWO);
        for id in [1, 2, 3] {
            story.fence(id);
        }
        assert_eq!(story.state(), (None, vec![], vec![2, 3], vec![3]));
        restart_damaged(&mut story, first);
        let other = 5 - first;
        let last_known = if first == 3 { vec![] } else { vec![3] };
        assert_eq!(
            story.state(),
            (None, vec![], vec![other], last_known),
            "it comes into service and leads nothing"
        );
        story.restart(other, Stop::Crash);
        assert_eq!(story.state(), (Some(other), vec![other], vec![], vec![]));
        story.beat(first, |_| {});
        story.isr(&[other, first]);
        assert_eq!(
            story.state(),
            (Some(other), vec![other, first], vec![], vec![]),
            "copied anew it is in sync"
        );
    }
}

#[test]
fn the_last_replica_with_the_records_stays_eligible_and_leads_when_its_log_is_whole_again() {
    let mut story = Story::with(&[]);
    story.isr(&[1]);
    restart_damaged(&mut story, 1);
    assert_eq!(story.state(), (None, vec![], vec![1], vec![1]));
    let before = story.partition();
    damaged(&mut story, 1);
    story.restart(2, Stop::Crash);
    story.cluster.pass(301_000);
    damaged(&mut story, 1);
    assert!(story.elect(ElectionType::Preferred).is_err());
    assert_eq!(story.partition(), before, "nothing elects it, and saying it again changes nothing");
    story.restart(1, Stop::Crash);
    assert_eq!(story.state(), (Some(1), vec![1], vec![], vec![]), "somebody has restored it");
}

#[test]
fn the_only_replica_leads_nothing_while_its_log_is_damaged() {
    let mut story = Story::of(&[2], &[]);
    restart_damaged(&mut story, 2);
    assert_eq!(story.state(), (None, vec![], vec![2], vec![2]));
    story.restart(2, Stop::InOrder);
    assert_eq!(story.state().0, Some(2));
}

#[test]
fn a_leader_whose_log_is_damaged_is_replaced_and_a_member_of_the_isr_leaves_it() {
    let mut story = Story::with(&[]);
    damaged(&mut story, 1);
    assert_eq!(story.state(), (Some(2), vec![2, 3], vec![], vec![]));
    damaged(&mut story, 3);
    assert_eq!(story.state(), (Some(2), vec![2], vec![], vec![]));
}

#[test]
fn a_log_that_is_damaged_no_more_may_lead_where_nobody_does() {
    let mut story = Story::of(&[2], &[]);
    damaged(&mut story, 2);
    assert_eq!(story.state().0, None);
    story.beat(2, |_| {});
    assert_eq!(story.state().0, Some(2));
}

#[test]
fn whoever_lacks_records_leads_in_its_place_only_where_that_is_allowed() {
    let mut story = Story::with(&[]);
    story.isr(&[1]);
    damaged(&mut story, 1);
    assert_eq!(story.state(), (None, vec![], vec![1], vec![1]));
    story.elect(ElectionType::Unclean).unwrap();
    assert_eq!(story.state(), (Some(2), vec![2], vec![], vec![]));
}

#[test]
fn what_is_said_of_others_replicas_and_of_no_partition_changes_nothing() {
    let mut story = Story::with(&[]);
    let before = story.partition();
    let unknown = TopicPartition { topic_id: TopicId(Uuid::from_u128(9)), partition: PartitionIndex(-1) };
    story.beat(4, |beat| beat.damaged_logs = vec![PARTITION, unknown]);
    assert_eq!(story.partition(), before);
    assert!(!before.replicas.contains(&NodeId(4)));
}

#[test]
fn a_leader_begins_another_epoch_when_the_controller_hears_that_a_follower_lost_what_it_had() {
    let mut story = Story::with(&[]);
    let epoch = |story: &Story| story.partition().leader_epoch.0;
    let before = epoch(&story);
    damaged(&mut story, 3);
    assert_eq!(story.state(), (Some(1), vec![1, 2], vec![], vec![]));
    assert_eq!(epoch(&story), before + 1);
    damaged(&mut story, 3);
    assert_eq!(epoch(&story), before + 1, "it knows");
    // It was copied anew, and lost again before it was in sync.
    story.beat(3, |_| {});
    damaged(&mut story, 3);
    assert_eq!(story.state(), (Some(1), vec![1, 2], vec![], vec![]));
    assert_eq!(epoch(&story), before + 2);
}
