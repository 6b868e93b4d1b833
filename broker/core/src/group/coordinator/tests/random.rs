//! Members that do anything at any time, while coordinators come and go.

use std::time::Duration;

use proptest::prelude::*;

use super::rig::{
    Rig, assignment, at, by, commit, heartbeat, join, join_static, leave, nobody, rejoin, sync,
};
use crate::group::coordinator::Written;
use crate::group::ids::{GroupId, MemberId};
use crate::group::request::{FetchOffsets, GroupError, Join, Reply, Request};

#[derive(Debug, Clone)]
enum Act {
    Join { instance: Option<u8> },
    Rejoin { who: usize },
    Sync { who: usize },
    Heartbeat { who: usize },
    Leave { who: usize },
    Commit { who: usize, offset: i64 },
    Delete,
    DeleteOffset,
    Fetch,
    Pass { seconds: u64 },
    Finish { refused: bool },
    FailOver,
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0usize..4;
    prop_oneof![
        3 => prop::option::of(0u8..3).prop_map(|instance| Act::Join { instance }),
        3 => who.clone().prop_map(|who| Act::Rejoin { who }),
        3 => who.clone().prop_map(|who| Act::Sync { who }),
        2 => who.clone().prop_map(|who| Act::Heartbeat { who }),
        1 => who.clone().prop_map(|who| Act::Leave { who }),
        3 => (who, 0i64..100).prop_map(|(who, offset)| Act::Commit { who, offset }),
        1 => Just(Act::Delete),
        1 => Just(Act::DeleteOffset),
        2 => Just(Act::Fetch),
        2 => (0u64..40).prop_map(|seconds| Act::Pass { seconds }),
        4 => prop::bool::weighted(0.1).prop_map(|refused| Act::Finish { refused }),
        1 => Just(Act::FailOver),
    ]
}

/// What is known of those that have joined at some time: their names, and the generation they heard of last.
#[derive(Default)]
struct Known {
    members: Vec<(MemberId, i32)>,
    open: Vec<usize>,
}

impl Known {
    fn hear(&mut self, rig: &mut Rig) {
        for asked in std::mem::take(&mut self.open) {
            match rig.answer(asked) {
                None => self.open.push(asked),
                Some(Ok(Reply::Joined(joined))) => {
                    self.members.retain(|(id, _)| *id != joined.member);
                    self.members.insert(0, (joined.member, joined.generation));
                }
                Some(Err(GroupError::MemberIdRequired(id))) => {
                    self.members.insert(0, (id, -1));
                }
                Some(_) => {}
            }
        }
        self.members.truncate(4);
    }

    fn who(&self, who: usize) -> (MemberId, i32) {
        self.members.get(who).cloned().unwrap_or_else(|| (MemberId::from("stranger"), 0))
    }
}

fn request(act: &Act, known: &Known, fresh: u128) -> Option<Request> {
    let fresh = uuid::Uuid::from_u128(fresh);
    Some(match act {
        Act::Join { instance: Some(instance) } => {
            Request::Join(Join { fresh, ..join_static(&format!("i{instance}"), 0) })
        }
        Act::Join { instance: None } => Request::Join(Join { fresh, ..join("c") }),
        Act::Rejoin { who } => rejoin(&known.who(*who).0, join("c")),
        Act::Sync { who } => {
            let (id, generation) = known.who(*who);
            let assignments = known.members.iter().map(|(id, _)| (id.clone(), assignment(id))).collect();
            sync(&id, generation, assignments)
        }
        Act::Heartbeat { who } => {
            let (id, generation) = known.who(*who);
            heartbeat(&id, generation)
        }
        Act::Leave { who } => leave(&[by(&known.who(*who).0)]),
        Act::Commit { who: 0, offset } => commit(nobody(), -1, &[("t", 0, *offset)]),
        Act::Commit { who, offset } => {
            let (id, generation) = known.who(*who);
            commit(by(&id), generation, &[("t", 0, *offset)])
        }
        Act::Delete => Request::Delete(GroupId::from("g")),
        Act::DeleteOffset => Request::DeleteOffsets { group: GroupId::from("g"), offsets: vec![at("t", 0)] },
        Act::Fetch => Request::FetchOffsets(FetchOffsets { group: GroupId::from("g"), offsets: None }),
        Act::Pass { .. } | Act::Finish { .. } | Act::FailOver => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Everybody is answered, once; what one coordinator keeps is what the next one reads; and a group that is let be
    /// comes to rest.
    #[test]
    fn whatever_happens_everybody_is_answered_and_nothing_is_lost(
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut rig = Rig::new();
        rig.commits = false;
        let mut known = Known::default();
        for (act, fresh) in acts.iter().zip(1..) {
            match act {
                Act::Pass { seconds } => rig.pass(Duration::from_secs(*seconds)),
                Act::Finish { refused } => {
                    if !rig.in_flight.is_empty() {
                        rig.finish(if *refused { Written::Refused } else { Written::Committed });
                    }
                }
                Act::FailOver => {
                    rig.coordinator.refuse_all(&GroupError::NotCoordinator);
                    rig.pass(Duration::ZERO);
                    let fetched = rig.ask(Request::List);
                    prop_assert!(rig.is_answered(fetched));
                    known.hear(&mut rig);
                    prop_assert_eq!(&known.open, &Vec::<usize>::new(), "nobody is left waiting");
                    rig = rig.next();
                    rig.commits = false;
                }
                Act::Join { .. }
                | Act::Rejoin { .. }
                | Act::Sync { .. }
                | Act::Heartbeat { .. }
                | Act::Leave { .. }
                | Act::Commit { .. }
                | Act::Delete
                | Act::DeleteOffset
                | Act::Fetch => {
                    if let Some(request) = request(act, &known, fresh) {
                        let asked = rig.ask(request);
                        known.open.push(asked);
                    }
                }
            }
            known.hear(&mut rig);
        }
        rig.commits = true;
        while !rig.in_flight.is_empty() {
            rig.finish(Written::Committed);
        }
        rig.pass(Duration::from_mins(20));
        known.hear(&mut rig);
        prop_assert_eq!(&known.open, &Vec::<usize>::new(), "nobody is left waiting");
        let state = rig.state("g");
        prop_assert!(["none", "Empty"].contains(&state), "nobody is there any more, and it is {state}");
        // The next one may know members that are gone: that a group is empty is written once, and that may be refused.
        let mut next = rig.next();
        next.pass(Duration::from_mins(20));
        rig.pass(Duration::from_mins(20));
        prop_assert_eq!(rig.offset("g", "t", 0), next.offset("g", "t", 0));
        prop_assert_eq!(rig.state("g"), next.state("g"));
    }
}
