use std::time::Duration;

use super::rig::{Rig, SESSION, assignment, by, commit, join, join_static, rejoin, sync};
use crate::group::request::{GroupError, Reply, Request};

#[test]
fn the_next_coordinator_knows_members_assignments_and_offsets() {
    let mut rig = Rig::new();
    let members = rig.stable(3);
    rig.commit(commit(by(&members[1]), 1, &[("t", 0, 42)])).unwrap();
    let mut next = rig.next();
    assert_eq!(next.describe("g"), rig.describe("g"));
    assert_eq!(next.offset("g", "t", 0), Some(42));
    for member in &members {
        assert_eq!(next.heartbeat(member, 1), Ok(()));
    }
    let asked = next.ask(sync(&members[2], 1, Vec::new()));
    assert_eq!(next.synced(asked).assignment, assignment(&members[2]));
}

#[test]
fn the_next_coordinator_gives_every_member_a_whole_session() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let mut next = rig.next();
    assert_eq!(next.heartbeat(&members[0], 1), Ok(()));
    next.pass(SESSION - Duration::from_millis(1));
    assert_eq!(next.heartbeat(&members[0], 1), Ok(()));
    next.pass(Duration::from_millis(1));
    assert_eq!(next.heartbeat(&members[0], 1), Err(GroupError::RebalanceInProgress), "the other is gone");
}

#[test]
fn a_rebalance_that_was_under_way_begins_anew() {
    let mut rig = Rig::new();
    let members = rig.stable(1);
    let (newcomer, _) = rig.join_new(join("c9"));
    let mut next = rig.next();
    assert_eq!(next.heartbeat(&members[0], 1), Ok(()), "the generation that was written is what there is");
    assert_eq!(next.now_error(rejoin(&newcomer, join("c9"))), GroupError::UnknownMemberId);
}

#[test]
fn a_static_member_is_known_to_the_next_coordinator() {
    let mut rig = Rig::new();
    let asked = rig.ask(Request::Join(join_static("i", 1)));
    rig.pass(Duration::from_secs(3));
    let joined = rig.joined(asked);
    let assigned = vec![(joined.member.clone(), assignment(&joined.member))];
    let asked = rig.ask(sync(&joined.member, 1, assigned));
    rig.synced(asked);
    let mut next = rig.next();
    let asked = next.ask(Request::Join(join_static("i", 2)));
    let again = next.joined(asked);
    assert_eq!((again.generation, again.skip_assignment), (1, true));
}

#[test]
fn who_waits_is_told_to_look_for_the_next_coordinator() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let (_, joining) = rig.join_new(join("c9"));
    rig.commits = false;
    let committing = rig.ask(commit(by(&members[0]), 1, &[("t", 0, 1)]));
    rig.coordinator.refuse_all(&GroupError::NotCoordinator);
    let asked = rig.ask(Request::List);
    assert!(matches!(rig.answer(asked), Some(Ok(Reply::Listed(_)))));
    for asked in [joining, committing] {
        assert_eq!(rig.error(asked), GroupError::NotCoordinator);
    }
}
