//! Offsets and groups that are no longer to be kept (rule 68).
//!
//! A group goes with its last offset. While the record that says so is on its way it is dead: nobody joins it, and
//! nobody commits under its name, until it is known whether it is gone.

use std::collections::BTreeSet;

use super::{Coordinator, Group};
use crate::group::ids::GroupId;
use crate::group::record::{CommittedOffset, GroupRecord, OffsetKey};
use crate::group::request::{GroupError, Reply};
use crate::group::then::Then;
use crate::ids::TopicName;

impl<T> Coordinator<T> {
    /// Writes offsets, or takes them away: as one batch, and nothing of it if it is too large for one.
    pub(super) fn write_offsets(
        &mut self,
        id: &GroupId,
        offsets: Vec<(OffsetKey, Option<CommittedOffset>)>,
        answer: Option<(T, Reply)>,
    ) {
        if offsets.is_empty() {
            if let Some((to, reply)) = answer {
                self.effects.answer(to, Ok(reply));
            }
            return;
        }
        let record = |(at, value): &(OffsetKey, Option<CommittedOffset>)| {
            GroupRecord::OffsetCommit { group: id.clone(), at: at.clone(), value: value.clone() }.encode()
        };
        let records = offsets.iter().map(record).collect();
        let keys: Vec<OffsetKey> = offsets.iter().map(|(at, _)| at.clone()).collect();
        let then = Then::Offsets { group: id.clone(), offsets, answer };
        match self.effects.write(records, then).map_err(|refused| *refused) {
            Ok(()) => {
                self.step(id, |group, _| keys.iter().for_each(|at| group.offsets.sent(at)));
            }
            Err(Then::Offsets { answer: Some((to, _)), .. }) => {
                self.effects.answer(to, Err(GroupError::InvalidCommitOffsetSize));
            }
            // One whose name alone is larger than a batch: what it committed stays.
            Err(_) => {}
        }
    }

    /// Takes offsets away, however many.
    fn delete_in_parts(&mut self, id: &GroupId, offsets: Vec<OffsetKey>) {
        // A tombstone is at most this large: the group's name, the topic's, and what each record takes besides.
        let each = id.as_str().len() + TopicName::LENGTH_MAX + 64;
        let part = (self.effects.batch_bytes_max / each).max(1);
        for part in offsets.chunks(part) {
            let tombstones = part.iter().map(|at| (at.clone(), None)).collect();
            self.write_offsets(id, tombstones, None);
        }
    }

    /// OffsetDelete.
    pub(super) fn delete_offsets(&mut self, id: &GroupId, offsets: Vec<OffsetKey>, to: T) {
        let Some(group) = self.groups.get(id) else {
            return self.effects.answer(to, Err(GroupError::GroupIdNotFound(id.clone())));
        };
        if let Err(error) = group.members.check_delete_offsets() {
            return self.effects.answer(to, Err(error));
        }
        let results: Vec<_> = offsets.iter().map(|at| group.members.check_delete_offset(&at.topic)).collect();
        let allowed = offsets.into_iter().zip(&results).filter(|(_, result)| result.is_ok());
        let there = allowed.map(|(at, _)| at).filter(|at| group.offsets.holds(at));
        let tombstones: BTreeSet<OffsetKey> = there.collect();
        let tombstones = tombstones.into_iter().map(|at| (at, None)).collect();
        self.write_offsets(id, tombstones, Some((to, Reply::OffsetsDeleted(results))));
    }

    /// DeleteGroups.
    pub(super) fn delete(&mut self, id: &GroupId, to: T) {
        let allowed = match self.groups.get(id) {
            None => Err(GroupError::GroupIdNotFound(id.clone())),
            Some(group) => group.members.check_delete(),
        };
        match allowed {
            Err(error) => self.effects.answer(to, Err(error)),
            Ok(()) => self.bury(id, Some(to)),
        }
    }

    /// Takes a group away, with all its offsets.
    fn bury(&mut self, id: &GroupId, answer: Option<T>) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.members.set_dead(true);
        let offsets = group.offsets.keys().into_iter().collect();
        self.delete_in_parts(id, offsets);
        let tombstone = GroupRecord::ClassicGroup { group: id.clone(), value: None }.encode();
        let then = Then::Deleted { group: id.clone(), answer };
        if let Err(refused) = self.effects.write(vec![tombstone], then)
            && let Then::Deleted { answer, .. } = *refused
        {
            self.deleted(id, answer, Err(GroupError::GroupTooLarge));
        }
    }

    /// It is gone, or is not.
    pub(super) fn deleted(&mut self, id: &GroupId, answer: Option<T>, written: Result<(), GroupError>) {
        let is_empty = self.groups.get(id).is_none_or(|group| group.offsets.is_empty());
        let result = match written {
            // Some of its offsets could not be taken away.
            Ok(()) if !is_empty => Err(GroupError::CoordinatorNotAvailable),
            written => written,
        };
        if result.is_ok() {
            self.groups.remove(id);
        } else if let Some(group) = self.groups.get_mut(id) {
            group.members.set_dead(false);
        }
        if let Some(to) = answer {
            self.effects.answer(to, result.map(|()| Reply::Deleted));
        }
    }

    /// Takes away what has expired, and the groups that have nothing left.
    pub(super) fn expire_offsets(&mut self) {
        let (wall, retention) = (self.wall, self.settings.offsets_retention);
        let expired_of = |group: &Group<T>| group.offsets.expired(wall, retention, &group.members.retained());
        let expired: Vec<_> = self.groups.iter().map(|(id, group)| (id.clone(), expired_of(group))).collect();
        for (id, offsets) in expired {
            self.delete_expired(&id, offsets);
        }
    }

    fn delete_expired(&mut self, id: &GroupId, offsets: Vec<OffsetKey>) {
        let Some(group) = self.groups.get(id) else { return };
        let was_all = group.offsets.keys().len() == offsets.len();
        if was_all && group.members.is_deserted() {
            self.bury(id, None);
        } else {
            self.delete_in_parts(id, offsets);
        }
    }

    /// Topics are gone, and with them what was committed of them.
    pub(in crate::group) fn topics_deleted(&mut self, topics: &BTreeSet<TopicName>) {
        let of_group = |group: &Group<T>| group.offsets.of_topics(topics);
        let gone: Vec<_> = self.groups.iter().map(|(id, group)| (id.clone(), of_group(group))).collect();
        for (id, offsets) in gone {
            self.delete_in_parts(&id, offsets);
        }
    }
}
