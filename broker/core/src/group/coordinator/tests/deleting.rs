use std::collections::BTreeSet;
use std::time::Duration;

use super::rig::{Rig, at, by, commit, heartbeat, join, leave, nobody};
use crate::group::coordinator::Written;
use crate::group::ids::GroupId;
use crate::group::record::GroupRecord;
use crate::group::request::{GroupError, Reply, Request};
use crate::ids::TopicName;
use crate::time::Wall;

const DAY: Duration = Duration::from_hours(24);

fn delete() -> Request {
    Request::Delete(GroupId::from("g"))
}

fn delete_offsets(topic: &str) -> Request {
    Request::DeleteOffsets { group: GroupId::from("g"), offsets: vec![at(topic, 0)] }
}

#[test]
fn a_group_without_members_is_deleted_with_its_offsets() {
    let mut rig = Rig::new();
    rig.commit(commit(nobody(), -1, &[("t", 0, 1), ("t", 1, 1)])).unwrap();
    let asked = rig.ask(delete());
    assert_eq!(rig.answer(asked), Some(Ok(Reply::Deleted)));
    assert_eq!((rig.state("g"), rig.offset("g", "t", 0)), ("none", None));
    let mut next = rig.next();
    assert_eq!((next.state("g"), next.offset("g", "t", 1)), ("none", None));
    assert_eq!(rig.now_error(delete()), GroupError::GroupIdNotFound(GroupId::from("g")));
}

#[test]
fn a_commit_on_its_way_is_deleted_with_the_rest() {
    let mut rig = Rig::new();
    rig.commits = false;
    let committed = rig.ask(commit(nobody(), -1, &[("t", 0, 1)]));
    let deleted = rig.ask(delete());
    assert_eq!(rig.commit(commit(nobody(), -1, &[("t", 1, 1)])), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(rig.now_error(Request::Join(join("c"))), GroupError::CoordinatorNotAvailable);
    while !rig.in_flight.is_empty() {
        rig.finish(Written::Committed);
    }
    assert!(rig.is_answered(committed));
    assert_eq!(rig.answer(deleted), Some(Ok(Reply::Deleted)));
    assert_eq!((rig.state("g"), rig.next().state("g")), ("none", "none"));
}

#[test]
fn a_group_whose_deletion_cannot_be_written_is_there_still() {
    let mut rig = Rig::new();
    rig.commit(commit(nobody(), -1, &[("t", 0, 1)])).unwrap();
    rig.commits = false;
    let asked = rig.ask(delete());
    rig.finish(Written::Refused);
    assert_eq!(rig.error(asked), GroupError::CoordinatorNotAvailable);
    assert_eq!((rig.state("g"), rig.offset("g", "t", 0)), ("Empty", Some(1)));
}

#[test]
fn a_large_group_is_deleted_in_parts_and_stays_if_one_fails() {
    let mut rig = Rig::new();
    for part in 0..10 {
        let many: Vec<(&str, i32, i64)> = (0..100).map(|i| ("t", part * 100 + i, 1)).collect();
        rig.commit(commit(nobody(), -1, &many)).unwrap();
    }
    rig.commits = false;
    let asked = rig.ask(delete());
    rig.finish(Written::Refused);
    while !rig.in_flight.is_empty() {
        rig.finish(Written::Committed);
    }
    assert_eq!(rig.error(asked), GroupError::CoordinatorNotAvailable);
    assert_eq!(rig.offset("g", "t", 0), Some(1));
    rig.commits = true;
    let asked = rig.ask(delete());
    assert_eq!(rig.answer(asked), Some(Ok(Reply::Deleted)));
    assert_eq!(rig.next().state("g"), "none");
}

#[test]
fn a_group_with_members_stays() {
    let mut rig = Rig::new();
    rig.stable(1);
    assert_eq!(rig.now_error(delete()), GroupError::NonEmptyGroup(GroupId::from("g")));
}

#[test]
fn offsets_are_deleted_of_topics_that_nobody_is_subscribed_to() {
    let mut rig = Rig::new();
    assert_eq!(rig.now_error(delete_offsets("t")), GroupError::GroupIdNotFound(GroupId::from("g")));
    let members = rig.stable(1);
    rig.commit(commit(by(&members[0]), 1, &[("t", 0, 1), ("other", 0, 2)])).unwrap();
    let asked = rig.ask(delete_offsets("t"));
    let Some(Ok(Reply::OffsetsDeleted(results))) = rig.answer(asked) else { panic!() };
    assert!(matches!(results[..], [Err(GroupError::GroupSubscribedToTopic { .. })]));
    let asked = rig.ask(delete_offsets("other"));
    assert_eq!(rig.answer(asked), Some(Ok(Reply::OffsetsDeleted(vec![Ok(())]))));
    assert_eq!((rig.offset("g", "t", 0), rig.offset("g", "other", 0)), (Some(1), None));
}

#[test]
fn offsets_of_a_deleted_topic_go_with_it() {
    let mut rig = Rig::new();
    rig.commit(commit(nobody(), -1, &[("t", 0, 1), ("u", 0, 2)])).unwrap();
    rig.coordinator.topics_deleted(&BTreeSet::from([TopicName::parse("t").unwrap()]));
    // Whatever is asked next takes the write along.
    assert_eq!(rig.offset("g", "u", 0), Some(2));
    assert_eq!(rig.offset("g", "t", 0), None);
    assert_eq!(rig.next().offset("g", "t", 0), None);
}

#[test]
fn offsets_of_an_empty_group_expire_a_week_after_its_last_member_left() {
    let mut rig = Rig::new();
    let members = rig.stable(1);
    rig.commit(commit(by(&members[0]), 1, &[("t", 0, 1)])).unwrap();
    for _ in 0..8 * 24 * 60 * 12 {
        rig.pass(Duration::from_secs(5));
        let beat = rig.ask(heartbeat(&members[0], 1));
        assert_eq!(rig.answer(beat), Some(Ok(Reply::Alive)));
    }
    assert_eq!(rig.offset("g", "t", 0), Some(1), "rule 68: it is subscribed to t");
    rig.ask(leave(&[by(&members[0])]));
    rig.pass(7 * DAY - Duration::from_hours(1));
    assert_eq!(rig.offset("g", "t", 0), Some(1));
    rig.pass(Duration::from_hours(2));
    assert_eq!((rig.offset("g", "t", 0), rig.state("g")), (None, "none"), "and the group is gone with them");
    assert_eq!(rig.next().state("g"), "none");
}

#[test]
fn offsets_of_nobodys_group_expire_a_week_after_their_commit() {
    let mut rig = Rig::new();
    rig.commit(commit(nobody(), -1, &[("t", 0, 1)])).unwrap();
    rig.pass(4 * DAY);
    rig.commit(commit(nobody(), -1, &[("t", 1, 1)])).unwrap();
    rig.pass(4 * DAY);
    assert_eq!((rig.offset("g", "t", 0), rig.offset("g", "t", 1)), (None, Some(1)));
    rig.pass(4 * DAY);
    assert_eq!(rig.state("g"), "none");
}

#[test]
fn offsets_expire_when_the_client_said() {
    let mut rig = Rig::new();
    let Request::Commit(mut request) = commit(nobody(), -1, &[("t", 0, 1), ("t", 1, 1)]) else { panic!() };
    let wall = rig.wall();
    request.offsets[0].expires = Some(Wall(wall.0 + 3_600_000));
    request.offsets[1].expires = Some(Wall(wall.0 + 30 * 24 * 3_600_000));
    rig.commit(Request::Commit(request)).unwrap();
    rig.pass(Duration::from_hours(2));
    assert_eq!((rig.offset("g", "t", 0), rig.offset("g", "t", 1)), (None, Some(1)));
    rig.pass(8 * DAY);
    assert_eq!(rig.offset("g", "t", 1), Some(1), "longer than offsets.retention.minutes");
}

#[test]
fn nothing_expires_that_is_being_committed() {
    let mut rig = Rig::new();
    rig.commit(commit(nobody(), -1, &[("t", 0, 1)])).unwrap();
    rig.pass(7 * DAY - Duration::from_mins(1));
    rig.commits = false;
    rig.ask(commit(nobody(), -1, &[("t", 0, 2)]));
    rig.pass(Duration::from_mins(20));
    assert_eq!(rig.in_flight.len(), 1, "no tombstone follows it");
    rig.finish(Written::Committed);
    assert_eq!(rig.offset("g", "t", 0), Some(2));
}

#[test]
fn an_empty_group_without_offsets_is_gone_at_the_next_look() {
    let mut rig = Rig::new();
    let members = rig.stable(1);
    rig.ask(leave(&[by(&members[0])]));
    assert_eq!(rig.state("g"), "Empty");
    rig.pass(Duration::from_mins(20));
    assert_eq!(rig.state("g"), "none");
    let last = rig.log.last().unwrap();
    let expected = GroupRecord::ClassicGroup { group: GroupId::from("g"), value: None };
    assert_eq!(*last, expected.encode());
}
