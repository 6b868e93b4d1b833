use std::time::Duration;

use bytes::Bytes;

use super::rig::{
    REBALANCE, Rig, SESSION, assignment, by, heartbeat, join, leave, nobody, rejoin, subscription, sync,
};
use crate::group::coordinator::Written;
use crate::group::ids::{GroupId, MemberId};
use crate::group::request::{GroupError, Join, Reply, Request, Sync};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_member_without_an_id_is_given_one_and_comes_back_with_it() {
    let mut rig = Rig::new();
    let asked = rig.ask(Request::Join(join("c")));
    let required = rig.error(asked);
    let expected = MemberId::from("c-00000000-0000-0000-0000-000000000007");
    assert_eq!(required, GroupError::MemberIdRequired(expected));
    let old = Join { needs_known_id: false, ..join("old") };
    let asked = rig.ask(Request::Join(old));
    rig.pass_until_answered(asked);
    assert_eq!(rig.joined(asked).members.len(), 1, "one of before JoinGroup 4 is in at once");
}

#[test]
fn an_id_that_nobody_came_back_with_is_forgotten_and_the_group_with_it() {
    let mut rig = Rig::new();
    let asked = rig.ask(Request::Join(join("c")));
    let GroupError::MemberIdRequired(member) = rig.error(asked) else { panic!() };
    assert_eq!(rig.state("g"), "Empty");
    rig.pass(SESSION);
    assert_eq!(rig.state("g"), "none");
    assert_eq!(rig.now_error(rejoin(&member, join("c"))), GroupError::UnknownMemberId);
}

#[test]
fn the_first_rebalance_waits_for_more_members_and_longer_while_they_come() {
    let mut rig = Rig::new();
    let (first, a) = rig.join_new(join("a"));
    rig.pass(2 * SECOND);
    let (_, b) = rig.join_new(join("b"));
    rig.pass(2 * SECOND);
    assert!(!rig.is_answered(a), "b came while the group waited: three more seconds");
    rig.pass(2 * SECOND);
    let (a, b) = (rig.joined(a), rig.joined(b));
    assert_eq!((a.generation, b.generation), (1, 1));
    assert_eq!((&a.leader, a.members.len()), (&first, 2), "the leader learns who there is");
    assert_eq!((&b.leader, b.members.len()), (&first, 0), "the others do not");
    assert_eq!(a.protocol.as_deref(), Some("range"));
    assert_eq!(a.members[0].metadata, subscription());
}

#[test]
fn the_first_rebalance_waits_no_longer_than_a_rebalance_may_take() {
    let mut rig = Rig::new();
    let short = |client: &str| Join { rebalance_timeout_ms: 7_000, ..join(client) };
    let (_, first) = rig.join_new(short("c0"));
    for i in 1..5 {
        rig.pass(2 * SECOND);
        rig.join_new(short(&format!("c{i}")));
    }
    assert!(rig.is_answered(first), "3 + 3 + 1 seconds are over");
}

#[test]
fn a_stable_group_has_its_assignments_and_keeps_them_for_who_asks_again() {
    let mut rig = Rig::new();
    let members = rig.stable(3);
    let description = rig.describe("g").unwrap();
    assert_eq!((description.state.name(), description.protocol.as_str()), ("Stable", "range"));
    for member in &description.members {
        assert_eq!(member.assignment, assignment(&member.id));
        assert_eq!(member.metadata, subscription());
    }
    let again = rig.ask(sync(&members[2], 1, Vec::new()));
    assert_eq!(rig.synced(again).assignment, assignment(&members[2]));
}

#[test]
fn an_assignment_is_told_once_it_is_committed() {
    let mut rig = Rig::new();
    let (member, joined) = rig.join_new(join("c"));
    rig.pass(3 * SECOND);
    let generation = rig.joined(joined).generation;
    rig.commits = false;
    let asked = rig.ask(sync(&member, generation, vec![(member.clone(), assignment(&member))]));
    assert!(!rig.is_answered(asked));
    assert_eq!(rig.state("g"), "CompletingRebalance");
    assert_eq!(rig.heartbeat(&member, generation), Ok(()), "rule 65");
    rig.finish(Written::Committed);
    assert_eq!(rig.synced(asked).assignment, assignment(&member));
    assert_eq!(rig.state("g"), "Stable");
}

#[test]
fn an_assignment_that_cannot_be_written_is_made_anew() {
    let mut rig = Rig::new();
    let (member, joined) = rig.join_new(join("c"));
    rig.pass(3 * SECOND);
    let generation = rig.joined(joined).generation;
    rig.commits = false;
    let asked = rig.ask(sync(&member, generation, vec![(member.clone(), assignment(&member))]));
    rig.finish(Written::Refused);
    assert_eq!(rig.error(asked), GroupError::CoordinatorNotAvailable);
    assert_eq!(rig.state("g"), "PreparingRebalance");
    let asked = rig.ask(rejoin(&member, join("c")));
    assert_eq!(rig.joined(asked).generation, 2);
}

#[test]
fn a_leader_that_syncs_again_gets_what_it_said_first() {
    let mut rig = Rig::new();
    let (member, joined) = rig.join_new(join("c"));
    rig.pass(3 * SECOND);
    let generation = rig.joined(joined).generation;
    rig.commits = false;
    let first = rig.ask(sync(&member, generation, vec![(member.clone(), Bytes::from_static(b"first"))]));
    let again = rig.ask(sync(&member, generation, vec![(member.clone(), Bytes::from_static(b"again"))]));
    assert_eq!(rig.error(first), GroupError::RebalanceInProgress, "nobody listens there");
    assert_eq!(rig.in_flight.len(), 1, "the next coordinator is to read what this one tells");
    rig.finish(Written::Committed);
    assert_eq!(rig.synced(again).assignment, Bytes::from_static(b"first"));
}

#[test]
fn a_member_names_a_hundred_protocols_at_most() {
    let mut rig = Rig::new();
    let named = |count: usize| Join {
        protocols: (0..count).map(|number| (format!("p{number}"), Bytes::new())).collect(),
        ..join("c")
    };
    assert_eq!(rig.now_error(Request::Join(named(101))), GroupError::TooManyProtocols);
    assert_eq!(rig.state("g"), "none", "nothing is kept of it");
    rig.join_new(named(100));
}

#[test]
fn what_does_not_fit_a_record_is_refused() {
    let mut rig = Rig::new();
    let (member, joined) = rig.join_new(join("c"));
    rig.pass(3 * SECOND);
    let generation = rig.joined(joined).generation;
    let huge = Bytes::from(vec![0; 30_000]);
    assert_eq!(
        rig.now_error(sync(&member, generation, vec![(member.clone(), huge)])),
        GroupError::GroupTooLarge
    );
}

#[test]
fn a_new_member_has_everybody_join_again() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let (third, asked) = rig.join_new(join("c9"));
    assert_eq!(rig.heartbeat(&members[0], 1), Err(GroupError::RebalanceInProgress));
    let a = rig.ask(rejoin(&members[0], join("c0")));
    assert!(!rig.is_answered(a), "one is missing");
    let b = rig.ask(rejoin(&members[1], join("c1")));
    assert_eq!(rig.joined(a).members.len(), 3);
    assert_eq!(rig.joined(b).generation, 2);
    assert_eq!(rig.joined(asked).member, third);
    assert_eq!(rig.heartbeat(&members[0], 1), Err(GroupError::IllegalGeneration(2)));
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let (_, asked) = rig.join_new(join("c9"));
    let a = rig.ask(rejoin(&members[0], join("c0")));
    // The other one is alive, and busy.
    for _ in 0..6 {
        rig.pass(REBALANCE / 6);
        let beat = rig.ask(heartbeat(&members[1], 1));
        let _any = rig.answer(beat);
    }
    assert_eq!(rig.joined(a).members.len(), 2);
    assert!(rig.is_answered(asked));
    assert_eq!(rig.heartbeat(&members[1], 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn who_is_not_heard_of_is_out_and_the_others_rebalance() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    rig.pass(SESSION - SECOND);
    assert_eq!(rig.heartbeat(&members[0], 1), Ok(()));
    rig.pass(SECOND);
    assert_eq!(rig.heartbeat(&members[0], 1), Err(GroupError::RebalanceInProgress));
    let asked = rig.ask(rejoin(&members[0], join("c0")));
    assert_eq!(rig.joined(asked).members.len(), 1, "nobody is left to wait for");
}

#[test]
fn a_group_that_everybody_left_is_empty_and_written_down_as_such() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let speakers: Vec<_> = members.iter().map(by).collect();
    let asked = rig.ask(leave(&[&speakers[..], &[nobody()]].concat()));
    let expected = vec![Ok(()), Ok(()), Err(GroupError::UnknownMemberId)];
    assert_eq!(rig.answer(asked), Some(Ok(Reply::Left(expected))));
    assert_eq!(rig.state("g"), "Empty");
    let mut next = rig.next();
    let description = next.describe("g").unwrap();
    assert_eq!((description.state.name(), description.protocol_type.as_str()), ("Empty", "consumer"));
}

#[test]
fn who_has_joined_and_does_not_sync_is_out() {
    let mut rig = Rig::new();
    let (a, asked_a) = rig.join_new(join("a"));
    let (b, asked_b) = rig.join_new(join("b"));
    rig.pass(6 * SECOND);
    let (_, _) = (rig.joined(asked_a), rig.joined(asked_b));
    let synced = rig.ask(sync(&a, 1, vec![(a.clone(), assignment(&a))]));
    assert!(rig.is_answered(synced));
    for _ in 0..6 {
        rig.pass(REBALANCE / 6);
        for member in [&a, &b] {
            let beat = rig.ask(heartbeat(member, 1));
            let _any = rig.answer(beat);
        }
    }
    assert_eq!(rig.heartbeat(&b, 1), Err(GroupError::UnknownMemberId), "rule 65");
    assert_eq!(rig.heartbeat(&a, 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_leader_that_joins_again_wants_to_assign_anew_and_another_member_does_not() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let asked = rig.ask(rejoin(&members[1], join("c1")));
    let joined = rig.joined(asked);
    assert_eq!((joined.generation, joined.members.len()), (1, 0), "it has not heard of its generation");
    let asked = rig.ask(rejoin(&members[0], join("c0")));
    assert!(!rig.is_answered(asked));
    assert_eq!(rig.state("g"), "PreparingRebalance");
}

#[test]
fn a_member_that_has_something_else_to_say_has_everybody_join_again() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let other = Join { protocols: vec![("range".to_owned(), Bytes::from_static(b"other"))], ..join("c1") };
    let asked = rig.ask(rejoin(&members[1], other));
    assert!(!rig.is_answered(asked));
    assert_eq!(rig.state("g"), "PreparingRebalance");
}

#[test]
fn a_request_that_is_sent_again_takes_the_place_of_the_first() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let (_, newcomer) = rig.join_new(join("c9"));
    let first = rig.ask(rejoin(&members[0], join("c0")));
    let second = rig.ask(rejoin(&members[0], join("c0")));
    assert_eq!(rig.error(first), GroupError::RebalanceInProgress);
    let b = rig.ask(rejoin(&members[1], join("c1")));
    assert!([second, b, newcomer].iter().all(|asked| rig.is_answered(*asked)));
}

#[test]
fn the_protocol_that_most_have_first_is_chosen_of_those_that_all_have() {
    let mut rig = Rig::new();
    let with = |client: &str, names: &[&str]| Join {
        protocols: names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect(),
        ..join(client)
    };
    let (_, a) = rig.join_new(with("a", &["x", "roundrobin", "range"]));
    rig.join_new(with("b", &["range", "roundrobin"]));
    rig.join_new(with("c", &["range", "roundrobin"]));
    rig.pass_until_answered(a);
    assert_eq!(rig.joined(a).protocol.as_deref(), Some("range"));
    assert_eq!(
        rig.now_error(Request::Join(with("d", &["x"]))),
        GroupError::InconsistentGroupProtocol,
        "not all have it"
    );
    let connect = Join { protocol_type: "connect".to_owned(), ..with("e", &["range"]) };
    assert_eq!(rig.now_error(Request::Join(connect)), GroupError::InconsistentGroupProtocol);
}

#[test]
fn opaque_protocols_are_never_looked_into() {
    let mut rig = Rig::new();
    let connect = |client: &str| Join {
        protocol_type: "connect".to_owned(),
        protocols: vec![("sessioned".to_owned(), Bytes::from_static(&[255, 255, 1]))],
        ..join(client)
    };
    let (worker, asked) = rig.join_new(connect("w"));
    rig.pass(3 * SECOND);
    let joined = rig.joined(asked);
    assert_eq!(joined.members[0].metadata, Bytes::from_static(&[255, 255, 1]));
    let sync = Sync {
        group: GroupId::from("g"),
        speaker: by(&worker),
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: vec![(worker.clone(), Bytes::from_static(b"tasks"))],
    };
    let asked = rig.ask(Request::Sync(sync));
    assert_eq!(rig.synced(asked).assignment, Bytes::from_static(b"tasks"));
}

#[test]
fn joins_that_cannot_be_are_refused() {
    let mut rig = Rig::new();
    let nameless = Join { group: GroupId::from(""), ..join("c") };
    assert_eq!(rig.now_error(Request::Join(nameless)), GroupError::InvalidGroupId);
    for session in [-1, 0, 5_999, 1_800_001] {
        let join = Join { session_timeout_ms: session, ..join("c") };
        assert_eq!(rig.now_error(Request::Join(join)), GroupError::InvalidSessionTimeout, "{session}");
    }
    let mute = Join { protocols: Vec::new(), ..join("c") };
    assert_eq!(rig.now_error(Request::Join(mute)), GroupError::InconsistentGroupProtocol);
    let stranger = MemberId::from("stranger");
    assert_eq!(rig.now_error(rejoin(&stranger, join("c"))), GroupError::UnknownMemberId);
    assert_eq!(rig.state("g"), "none", "nothing is kept of them");
}

#[test]
fn a_group_has_as_many_members_as_it_may() {
    let mut rig = Rig::new();
    let members = rig.stable(5);
    assert_eq!(rig.now_error(Request::Join(join("c5"))), GroupError::GroupMaxSizeReached);
    let asked = rig.ask(rejoin(&members[4], join("c4")));
    assert_eq!(rig.joined(asked).generation, 1, "who is in stays in");
}

#[test]
fn syncs_of_another_group_than_there_is_are_refused() {
    let mut rig = Rig::new();
    assert_eq!(rig.now_error(sync(&MemberId::from("m"), 1, Vec::new())), GroupError::UnknownMemberId);
    let members = rig.stable(1);
    let (id, speaker) = (GroupId::from("g"), by(&members[0]));
    let with = |protocol_type: &str, protocol: &str| {
        Request::Sync(Sync {
            group: id.clone(),
            speaker: speaker.clone(),
            generation: 1,
            protocol_type: Some(protocol_type.to_owned()),
            protocol: Some(protocol.to_owned()),
            assignments: Vec::new(),
        })
    };
    assert_eq!(rig.now_error(with("connect", "range")), GroupError::InconsistentGroupProtocol);
    assert_eq!(rig.now_error(with("consumer", "sticky")), GroupError::InconsistentGroupProtocol);
    assert_eq!(rig.now_error(sync(&members[0], 2, Vec::new())), GroupError::IllegalGeneration(1));
    let asked = rig.ask(with("consumer", "range"));
    assert!(matches!(rig.answer(asked), Some(Ok(Reply::Synced(_)))));
}

#[test]
fn the_longest_names_there_are_make_an_id_that_can_be_written() {
    let mut rig = Rig::new();
    let longest = "ä".repeat(16_383);
    let asked = rig.ask(Request::Join(join(&longest)));
    let GroupError::MemberIdRequired(member) = rig.error(asked) else { panic!() };
    assert_eq!(member.as_str().len(), 32_000 + 37);
}
