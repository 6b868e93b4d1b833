use std::time::Duration;

use super::rig::{Rig, SESSION, at, by, commit, heartbeat, join, nobody, rejoin};
use crate::group::coordinator::Written;
use crate::group::ids::{GroupId, MemberId};
use crate::group::request::{FetchOffsets, GroupError, Reply, Request};

#[test]
fn offsets_are_kept_once_they_are_committed() {
    let mut rig = Rig::new();
    rig.commits = false;
    let first = rig.ask(commit(nobody(), -1, &[("t", 0, 5), ("t", 1, 6)]));
    assert!(!rig.is_answered(first));
    assert_eq!(rig.offset("g", "t", 0), None, "a failover could take it back");
    rig.finish(Written::Committed);
    assert_eq!(rig.answer(first), Some(Ok(Reply::Committed(vec![Ok(()), Ok(())]))));
    assert_eq!((rig.offset("g", "t", 0), rig.offset("g", "t", 1)), (Some(5), Some(6)));
    let second = rig.ask(commit(nobody(), -1, &[("t", 0, 9)]));
    rig.finish(Written::Refused);
    assert_eq!(rig.error(second), GroupError::CoordinatorNotAvailable);
    assert_eq!(rig.offset("g", "t", 0), Some(5));
}

#[test]
fn who_fetches_offsets_of_nothing_gets_none() {
    let mut rig = Rig::new();
    assert_eq!(rig.offset("nobody's", "t", 0), None, "rule 67");
    let wanted = FetchOffsets { group: GroupId::from("nobody's"), offsets: None };
    let asked = rig.ask(Request::FetchOffsets(wanted));
    assert_eq!(rig.answer(asked), Some(Ok(Reply::Offsets(Vec::new()))));
    rig.commit(commit(nobody(), -1, &[("t", 3, 5)])).unwrap();
    let wanted = FetchOffsets { group: GroupId::from("g"), offsets: None };
    let asked = rig.ask(Request::FetchOffsets(wanted));
    let Some(Ok(Reply::Offsets(all))) = rig.answer(asked) else { panic!() };
    assert_eq!(all.iter().map(|(at, _)| at.clone()).collect::<Vec<_>>(), [at("t", 3)]);
}

#[test]
fn a_commit_of_a_generation_needs_the_group() {
    let mut rig = Rig::new();
    let stranger = MemberId::from("m");
    let refused = rig.commit(commit(by(&stranger), 3, &[("t", 0, 1)])).unwrap_err();
    assert_eq!(refused, GroupError::GroupIdNotFound(GroupId::from("g")));
    assert_eq!(rig.state("g"), "none");
}

#[test]
fn members_commit_in_their_generation_and_nobody_else_does() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let refused = |rig: &mut Rig, request| rig.commit(request).unwrap_err();
    assert_eq!(rig.commit(commit(by(&members[0]), 1, &[("t", 0, 1)])), Ok(vec![Ok(())]));
    let offsets = &[("t", 0, 2)];
    assert_eq!(refused(&mut rig, commit(by(&members[0]), 2, offsets)), GroupError::IllegalGeneration(1));
    assert_eq!(refused(&mut rig, commit(by(&members[0]), -1, offsets)), GroupError::IllegalGeneration(1));
    assert_eq!(refused(&mut rig, commit(nobody(), -1, offsets)), GroupError::UnknownMemberId);
    assert_eq!(refused(&mut rig, commit(by(&MemberId::from("m")), 1, offsets)), GroupError::UnknownMemberId);
    assert_eq!(rig.offset("g", "t", 0), Some(1));
}

#[test]
fn members_commit_while_they_join_again_and_not_while_they_are_assigned() {
    let mut rig = Rig::new();
    let members = rig.stable(1);
    let (newcomer, joining) = rig.join_new(join("c9"));
    assert_eq!(rig.commit(commit(by(&members[0]), 1, &[("t", 0, 4)])), Ok(vec![Ok(())]));
    let asked = rig.ask(rejoin(&members[0], join("c0")));
    assert_eq!(rig.joined(asked).generation, 2);
    let _joined = rig.joined(joining);
    let refused = rig.commit(commit(by(&newcomer), 2, &[("t", 0, 5)])).unwrap_err();
    assert_eq!(refused, GroupError::RebalanceInProgress);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut rig = Rig::new();
    let members = rig.stable(1);
    for _ in 0..3 {
        rig.pass(SESSION * 3 / 4);
        assert_eq!(rig.commit(commit(by(&members[0]), 1, &[("t", 0, 1)])), Ok(vec![Ok(())]));
    }
    let asked = rig.ask(heartbeat(&members[0], 1));
    assert_eq!(rig.answer(asked), Some(Ok(Reply::Alive)));
}

#[test]
fn what_is_too_long_is_refused_by_itself() {
    let mut rig = Rig::new();
    let Request::Commit(mut request) = commit(nobody(), -1, &[("t", 0, 1), ("t", 1, 2)]) else { panic!() };
    request.offsets[0].metadata = "x".repeat(4_097);
    let results = rig.commit(Request::Commit(request)).unwrap();
    assert_eq!(results, [Err(GroupError::OffsetMetadataTooLarge), Ok(())]);
    // Kafka counts what Java calls characters.
    let Request::Commit(mut request) = commit(nobody(), -1, &[("t", 0, 1), ("t", 1, 2)]) else { panic!() };
    request.offsets[0].metadata = "ü".repeat(4_096);
    request.offsets[1].metadata = "𝄞".repeat(2_049);
    let results = rig.commit(Request::Commit(request)).unwrap();
    assert_eq!(results, [Ok(()), Err(GroupError::OffsetMetadataTooLarge)]);
    assert_eq!((rig.offset("g", "t", 0), rig.offset("g", "t", 1)), (Some(1), Some(2)));
}

#[test]
fn more_than_a_batch_holds_is_refused_whole() {
    let mut rig = Rig::new();
    let many: Vec<(&str, i32, i64)> = (0..1_000).map(|partition| ("t", partition, 1)).collect();
    let refused = rig.commit(commit(nobody(), -1, &many)).unwrap_err();
    assert_eq!(refused, GroupError::InvalidCommitOffsetSize);
    assert_eq!(rig.state("g"), "none");
}

#[test]
fn commits_share_a_batch() {
    let mut rig = Rig::new();
    for partition in 0..10 {
        let request = commit(nobody(), -1, &[("t", partition, 1)]);
        let wall = rig.wall();
        rig.coordinator.ask(request, 1_000 + partition.unsigned_abs() as usize, rig.now, wall);
    }
    let write = rig.coordinator.take_write().expect("there is something to write");
    assert_eq!((write.records.len(), rig.coordinator.take_write()), (10, None));
    let wall = rig.wall();
    rig.coordinator.written(Written::Committed, rig.now, wall);
    assert_eq!(rig.coordinator.take_answers().len(), 10);
    rig.pass(Duration::ZERO);
}
