use std::time::Duration;

use bytes::Bytes;

use super::rig::{REBALANCE, Rig, SESSION, assignment, join, join_static, leave, rejoin, subscription, sync};
use crate::group::coordinator::Written;
use crate::group::ids::{InstanceId, MemberId};
use crate::group::request::{GroupError, Heartbeat, Join, Reply, Request, Speaker};

/// A stable group of two static members, `i0` that leads and `i1`.
fn stable(rig: &mut Rig) -> Vec<MemberId> {
    let asked: Vec<_> = (0..2).map(|i| rig.ask(Request::Join(join_static(&format!("i{i}"), i)))).collect();
    rig.pass(Duration::from_secs(6));
    let joined: Vec<_> = asked.into_iter().map(|asked| rig.joined(asked)).collect();
    let ids: Vec<MemberId> = joined.iter().map(|joined| joined.member.clone()).collect();
    assert_eq!(joined[1].leader, ids[0]);
    let assignments = ids.iter().map(|id| (id.clone(), assignment(id))).collect();
    let syncs = [rig.ask(sync(&ids[0], 1, assignments)), rig.ask(sync(&ids[1], 1, Vec::new()))];
    syncs.into_iter().for_each(|asked| drop(rig.synced(asked)));
    ids
}

fn named(instance: &str, member: Option<&MemberId>) -> Speaker {
    Speaker { member: member.cloned(), instance: Some(InstanceId::from(instance)) }
}

#[test]
fn a_static_member_needs_no_id_first() {
    let mut rig = Rig::new();
    let ids = stable(&mut rig);
    assert_eq!(ids[0], MemberId::from("i0-00000000-0000-0000-0000-000000000000"));
}

#[test]
fn one_that_comes_back_takes_its_place_without_a_rebalance() {
    let mut rig = Rig::new();
    let ids = stable(&mut rig);
    let asked = rig.ask(Request::Join(join_static("i1", 77)));
    let joined = rig.joined(asked);
    assert_eq!((joined.generation, &joined.leader, joined.skip_assignment), (1, &ids[0], false));
    assert_ne!(joined.member, ids[1]);
    assert_eq!(rig.state("g"), "Stable");
    let asked = rig.ask(sync(&joined.member, 1, Vec::new()));
    assert_eq!(rig.synced(asked).assignment, assignment(&ids[1]), "the assignment stays the instance's");
    let beat = |id: &MemberId| {
        Request::Heartbeat(Heartbeat { group: "g".into(), speaker: named("i1", Some(id)), generation: 1 })
    };
    assert_eq!(rig.now_error(beat(&ids[1])), GroupError::FencedInstanceId);
    let asked = rig.ask(beat(&joined.member));
    assert_eq!(rig.answer(asked), Some(Ok(Reply::Alive)));
    let mut next = rig.next();
    assert!(next.describe("g").unwrap().members.iter().any(|member| member.id == joined.member));
}

#[test]
fn a_leader_that_comes_back_assigns_nothing() {
    let mut rig = Rig::new();
    let ids = stable(&mut rig);
    let asked = rig.ask(Request::Join(join_static("i0", 77)));
    let joined = rig.joined(asked);
    assert!(joined.skip_assignment, "JoinGroup 9");
    assert_eq!((&joined.leader, joined.members.len()), (&joined.member, 2));
    let old = Join { may_skip_assignment: false, ..join_static("i0", 78) };
    let asked = rig.ask(Request::Join(old));
    let again = rig.joined(asked);
    assert_eq!(
        (&again.leader, again.members.len()),
        (&joined.member, 0),
        "an old one believes another leads"
    );
    assert_ne!(ids[0], again.member);
}

#[test]
fn one_that_comes_back_while_its_record_cannot_be_written_is_refused_and_nobody_else_notices() {
    let mut rig = Rig::new();
    let ids = stable(&mut rig);
    let before = rig.describe("g");
    rig.commits = false;
    let more = vec![("range".to_owned(), subscription()), ("sticky".to_owned(), Bytes::new())];
    let back = Join { session_timeout_ms: 20_000, protocols: more, ..join_static("i0", 77) };
    let asked = rig.ask(Request::Join(back));
    assert!(!rig.is_answered(asked));
    rig.finish(Written::Refused);
    assert_eq!(rig.error(asked), GroupError::CoordinatorNotAvailable);
    assert_eq!(rig.describe("g"), before, "the log knows the one that was there");
    let beat = |rig: &mut Rig, instance, id| {
        let beat = Heartbeat { group: "g".into(), speaker: named(instance, Some(id)), generation: 1 };
        let asked = rig.ask(Request::Heartbeat(beat));
        assert_eq!(rig.answer(asked), Some(Ok(Reply::Alive)));
    };
    beat(&mut rig, "i0", &ids[0]);
    rig.pass(SESSION - Duration::from_secs(1));
    beat(&mut rig, "i1", &ids[1]);
    assert_eq!(rig.state("g"), "Stable");
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.describe("g").unwrap().members.len(), 1, "its session is the one it had");
}

#[test]
fn the_session_of_one_that_comes_back_begins_when_it_is_told() {
    let mut rig = Rig::new();
    let ids = stable(&mut rig);
    rig.commits = false;
    let asked = rig.ask(Request::Join(join_static("i1", 77)));
    let beat = || {
        Request::Heartbeat(Heartbeat {
            group: "g".into(),
            speaker: named("i0", Some(&ids[0])),
            generation: 1,
        })
    };
    for _ in 0..2 {
        rig.pass(SESSION - Duration::from_secs(1));
        rig.ask(beat());
    }
    rig.finish(Written::Committed);
    rig.joined(asked);
    rig.pass(SESSION - Duration::from_secs(1));
    assert_eq!(rig.describe("g").unwrap().members.len(), 2, "it has heard a moment ago");
    rig.ask(beat());
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.describe("g").unwrap().members.len(), 1, "and nothing of it since");
}

#[test]
fn an_id_that_somebody_was_given_takes_no_static_member_s_place() {
    let mut rig = Rig::new();
    let ids = stable(&mut rig);
    let asked = rig.ask(Request::Join(join("c")));
    let GroupError::MemberIdRequired(given) = rig.error(asked) else { panic!("an id is required") };
    assert_eq!(rig.now_error(rejoin(&given, join_static("i1", 0))), GroupError::FencedInstanceId);
    assert_eq!(rig.now_error(rejoin(&given, join_static("i7", 0))), GroupError::UnknownMemberId);
    let asked = rig.ask(sync(&ids[1], 1, Vec::new()));
    assert_eq!(rig.synced(asked).assignment, assignment(&ids[1]));
}

#[test]
fn one_that_comes_back_with_another_protocol_has_everybody_join_again() {
    let mut rig = Rig::new();
    stable(&mut rig);
    let both = vec![("sticky".to_owned(), Bytes::new()), ("range".to_owned(), Bytes::new())];
    let asked = rig.ask(Request::Join(Join { protocols: both, ..join_static("i1", 77) }));
    assert!(rig.is_answered(asked), "range is still what they agree on");
    let other = vec![("sticky".to_owned(), Bytes::new())];
    let asked = rig.ask(Request::Join(Join { protocols: other, ..join_static("i1", 78) }));
    assert_eq!(rig.error(asked), GroupError::InconsistentGroupProtocol);
}

#[test]
fn a_second_process_under_the_name_fences_the_first_wherever_it_waits() {
    let mut rig = Rig::new();
    let first = rig.ask(Request::Join(join_static("i", 1)));
    let second = rig.ask(Request::Join(join_static("i", 2)));
    assert_eq!(rig.error(first), GroupError::FencedInstanceId);
    rig.pass(Duration::from_secs(6));
    assert_eq!(rig.joined(second).members.len(), 1);
}

#[test]
fn a_static_member_stays_through_a_rebalance_that_it_misses() {
    let mut rig = Rig::new();
    let ids = stable(&mut rig);
    let (newcomer, asked) = rig.join_new(join("c9"));
    let first = rig.ask(rejoin(&ids[0], join_static("i0", 0)));
    let mut passed = Duration::ZERO;
    while passed < REBALANCE {
        rig.pass(SESSION / 2);
        passed += SESSION / 2;
        let beat = Heartbeat { group: "g".into(), speaker: named("i1", Some(&ids[1])), generation: 1 };
        let asked = rig.ask(Request::Heartbeat(beat));
        let _any = rig.answer(asked);
    }
    let joined = rig.joined(first);
    let members: Vec<_> = joined.members.iter().map(|member| member.id.clone()).collect();
    assert!(members.contains(&ids[1]) && members.contains(&newcomer), "{members:?}");
    assert!(rig.is_answered(asked));
}

#[test]
fn an_administrator_removes_a_static_member_by_its_name() {
    let mut rig = Rig::new();
    let ids = stable(&mut rig);
    let asked = rig.ask(leave(&[named("i1", None), named("i7", None), named("i0", Some(&ids[1]))]));
    let expected = vec![Ok(()), Err(GroupError::UnknownMemberId), Err(GroupError::FencedInstanceId)];
    assert_eq!(rig.answer(asked), Some(Ok(Reply::Left(expected))));
    assert_eq!(rig.describe("g").unwrap().members.len(), 1);
}
