//! The voter table as raft sees it.

use std::sync::Arc;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use super::identity::RaftId;
use crate::ids::NodeId;
use crate::metadata::image::{Image, Voter};
use crate::metadata::record::Voters;

/// The members that an image names.
pub(super) fn voters_of(image: &Image) -> Voters {
    let list =
        |members: &imbl::OrdMap<NodeId, Arc<Voter>>| members.values().map(|m| Voter::clone(m)).collect();
    Voters {
        voters: list(&image.voters),
        learners: list(&image.learners),
        observers: image.observers.iter().copied().collect(),
    }
}

pub(super) fn ids(members: &[Voter]) -> Vec<u64> {
    let id = |member: &Voter| RaftId::of(member.directory_id).map_or(0, |id| id.0);
    members.iter().map(id).filter(|id| *id != 0).collect()
}

pub(super) fn conf_state(table: &Voters) -> ConfState {
    ConfState::from((ids(&table.voters), ids(&table.learners)))
}

pub(super) fn raft_members_equal(one: &ConfState, other: &ConfState) -> bool {
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    sorted(&one.voters) == sorted(&other.voters) && sorted(&one.learners) == sorted(&other.learners)
}

/// What raft must be told to get from one set of members to another.
pub(super) fn conf_change(old: &Voters, new: &Voters) -> ConfChangeV2 {
    let (old_voters, old_learners) = (ids(&old.voters), ids(&old.learners));
    let (new_voters, new_learners) = (ids(&new.voters), ids(&new.learners));
    let mut changes = Vec::new();
    let mut push = |kind: ConfChangeType, id: u64| {
        let mut change = ConfChangeSingle::default();
        change.set_change_type(kind);
        change.node_id = id;
        changes.push(change);
    };
    for id in old_voters.iter().chain(&old_learners) {
        if !new_voters.contains(id) && !new_learners.contains(id) {
            push(ConfChangeType::RemoveNode, *id);
        }
    }
    for id in new_learners.iter().filter(|id| !old_learners.contains(id)) {
        push(ConfChangeType::AddLearnerNode, *id);
    }
    for id in new_voters.iter().filter(|id| !old_voters.contains(id)) {
        push(ConfChangeType::AddNode, *id);
    }
    let mut change = ConfChangeV2::default();
    change.set_changes(changes.into());
    change
}
