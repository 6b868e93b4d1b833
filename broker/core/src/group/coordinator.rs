//! The groups of one partition of `__consumer_offsets`.
//!
//! Its life: made when the broker begins to lead the partition, fed every record of it ([`Coordinator::replay`]), then
//! [`Coordinator::loaded`]; from then on it is asked, ticked, and told what came of its writes. When the broker leads
//! no longer, or a write may or may not have come into the log, everybody is refused ([`Coordinator::refuse_all`]) and
//! the next one begins from the log.
//!
//! After each call: [`Coordinator::take_writes`] gives what is to be appended, in order, and
//! [`Coordinator::take_answers`] what is to be answered now.

use std::collections::BTreeMap;

use super::classic::{ClassicGroup, Step};
use super::effects::{Answer, Effects, Timer, Write};
use super::ids::GroupId;
use super::offsets::Offsets;
use super::record::{GroupRecord, OffsetKey};
use super::request::{Commit, Description, FetchOffsets, GroupError, Join, Overview, Reply, Request};
use super::settings::GroupSettings;
use super::then::Then;
use crate::time::{Monotonic, Wall};

mod deletion;

/// A member may name so many protocols: all of a group's members are looked at for each of them. Kafka has no such limit, and
/// no client has more than its few assignors.
const PROTOCOLS_MAX: usize = 100;

/// The most bytes that a text of a record has.
const TEXT_BYTES_MAX: usize = 32_767;

/// Whether metadata is longer than may be, as Kafka counts: in units of UTF-16, whatever the key's name says.
fn is_too_large(metadata: &str, max: usize) -> bool {
    metadata.len() > TEXT_BYTES_MAX || metadata.len() > max && metadata.encode_utf16().count() > max
}

/// A group, and the offsets kept under its name.
#[derive(Debug)]
struct Group<T> {
    members: ClassicGroup<T>,
    offsets: Offsets,
}

impl<T> Group<T> {
    fn new(id: &GroupId) -> Self {
        Self { members: ClassicGroup::new(id.clone()), offsets: Offsets::default() }
    }
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It is committed.
    Committed,
    /// Nothing was written: too few replicas are in sync, or there is no room.
    Refused,
}

/// See the module's text. `T` is whom an answer goes to.
#[derive(Debug)]
pub(super) struct Coordinator<T> {
    settings: GroupSettings,
    groups: BTreeMap<GroupId, Group<T>>,
    effects: Effects<T>,
    now: Monotonic,
    wall: Wall,
}

impl<T> Coordinator<T> {
    /// One that knows nothing yet.
    pub(super) fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            groups: BTreeMap::new(),
            effects: Effects::new(),
            now: Monotonic::default(),
            wall: Wall::default(),
        }
    }

    /// No batch that is begun from now on is larger.
    pub(super) fn limit_batches(&mut self, bytes: usize) {
        self.effects.batch_bytes_max = bytes;
    }

    /// Takes in a record of the log, in order.
    pub(super) fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::OffsetCommit { group, at, value } => {
                let is_known = self.groups.contains_key(&group);
                if value.is_none() && !is_known {
                    return;
                }
                let found = self.groups.entry(group.clone()).or_insert_with(|| Group::new(&group));
                found.offsets.replay(at, value);
                self.forget_if_blank(&group);
            }
            GroupRecord::ClassicGroup { group, value: Some(value) } => {
                let members = ClassicGroup::restore(group.clone(), value);
                self.groups.entry(group.clone()).or_insert_with(|| Group::new(&group)).members = members;
            }
            GroupRecord::ClassicGroup { group, value: None } => {
                if let Some(found) = self.groups.get_mut(&group) {
                    found.members = ClassicGroup::new(group.clone());
                }
                self.forget_if_blank(&group);
            }
        }
    }

    /// The whole log has been replayed.
    pub(super) fn loaded(&mut self, now: Monotonic, wall: Wall) {
        (self.now, self.wall) = (now, wall);
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in ids {
            self.step(&id, |group, step| group.members.loaded(step));
        }
        self.effects.timers.set(Timer::Expiry, now.plus(self.settings.offsets_retention_check_interval));
    }

    /// Somebody asks.
    pub(super) fn ask(&mut self, request: Request, to: T, now: Monotonic, wall: Wall) {
        (self.now, self.wall) = (now, wall);
        match request {
            Request::Join(join) => self.join(join, to),
            Request::Sync(sync) => self.of_members(&sync.group.clone(), to, |group, to, step| {
                group.sync(sync, to, step);
            }),
            Request::Heartbeat(heartbeat) => {
                self.of_members(&heartbeat.group, to, |group, to, step| {
                    let alive = group.heartbeat(&heartbeat.speaker, heartbeat.generation, step);
                    step.answer(to, alive.map(|()| Reply::Alive));
                });
            }
            Request::Leave(leave) => self.of_members(&leave.group, to, |group, to, step| {
                let left = group.leave(&leave.members, step);
                step.answer(to, left);
            }),
            Request::Commit(commit) => self.commit(commit, to),
            Request::FetchOffsets(wanted) => {
                let offsets = self.fetch_offsets(wanted);
                self.effects.answer(to, Ok(Reply::Offsets(offsets)));
            }
            Request::DeleteOffsets { group, offsets } => self.delete_offsets(&group, offsets, to),
            Request::Delete(group) => self.delete(&group, to),
            Request::Describe(group) => {
                let described = self.describe(&group).map(Reply::Described);
                self.effects.answer(to, described);
            }
            Request::List => {
                let listed = self.list();
                self.effects.answer(to, Ok(Reply::Listed(listed)));
            }
        }
    }

    /// Time goes on.
    pub(super) fn tick(&mut self, now: Monotonic, wall: Wall) {
        (self.now, self.wall) = (now, wall);
        while let Some(timer) = self.effects.timers.take_due(now) {
            match timer {
                Timer::Join(id) => {
                    self.step(&id, |group, step| group.members.join_time_over(step));
                }
                Timer::Sync(id) => {
                    self.step(&id, |group, step| group.members.sync_time_over(step));
                }
                Timer::Member(id, member) => {
                    self.step(&id, |group, step| group.members.session_over(&member, step));
                    self.forget_if_blank(&id);
                }
                Timer::Expiry => {
                    self.expire_offsets();
                    let next = now.plus(self.settings.offsets_retention_check_interval);
                    self.effects.timers.set(Timer::Expiry, next);
                }
            }
        }
    }

    /// When it is to be ticked next, at the latest.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.effects.timers.next()
    }

    /// What is to be appended, a batch at a time; what came of each is to be told in the same order.
    pub(super) fn take_write(&mut self) -> Option<Write> {
        self.effects.take_write()
    }

    /// What came of the first write on its way.
    pub(super) fn written(&mut self, written: Written, now: Monotonic, wall: Wall) {
        (self.now, self.wall) = (now, wall);
        let result = match written {
            Written::Committed => Ok(()),
            Written::Refused => Err(GroupError::CoordinatorNotAvailable),
        };
        for then in self.effects.written() {
            self.finish(then, result.clone());
        }
    }

    /// What is to be answered now.
    pub(super) fn take_answers(&mut self) -> Vec<(T, Answer)> {
        std::mem::take(&mut self.effects.answers)
    }

    /// Ends: everybody who waits for something is refused.
    pub(super) fn refuse_all(&mut self, error: &GroupError) {
        for then in self.effects.drain() {
            let waiting = match then {
                Then::Offsets { answer, .. } => answer.map(|(to, _)| to),
                Then::Deleted { answer, .. } => answer,
                Then::Assigned { .. } | Then::Returned { .. } | Then::Emptied => None,
            };
            if let Some(to) = waiting {
                self.effects.answer(to, Err(error.clone()));
            }
        }
        for group in self.groups.values_mut() {
            group.members.refuse_all(error, &mut self.effects);
        }
    }

    /// Does something with one group, if there is such.
    fn step<R>(&mut self, id: &GroupId, act: impl FnOnce(&mut Group<T>, &mut Step<'_, T>) -> R) -> Option<R> {
        let group = self.groups.get_mut(id)?;
        let (now, wall, settings) = (self.now, self.wall, &self.settings);
        Some(act(group, &mut Step { now, wall, settings, effects: &mut self.effects }))
    }

    /// Does something with the members of a group; who asks of one that is not there is no member.
    fn of_members(
        &mut self,
        id: &GroupId,
        to: T,
        act: impl FnOnce(&mut ClassicGroup<T>, T, &mut Step<'_, T>),
    ) {
        if self.groups.contains_key(id) {
            self.step(id, |group, step| act(&mut group.members, to, step));
            self.forget_if_blank(id);
        } else {
            self.effects.answer(to, Err(GroupError::UnknownMemberId));
        }
    }

    /// Nothing is kept of a group that nobody is in, was in, or keeps offsets under.
    fn forget_if_blank(&mut self, id: &GroupId) {
        if self.groups.get(id).is_some_and(|group| group.members.is_blank() && group.offsets.is_empty()) {
            self.groups.remove(id);
        }
    }

    fn join(&mut self, join: Join, to: T) {
        let (min, max) = (self.settings.session_timeout_min, self.settings.session_timeout_max);
        let session = u64::try_from(join.session_timeout_ms).ok().map(std::time::Duration::from_millis);
        if join.group.as_str().is_empty() {
            return self.effects.answer(to, Err(GroupError::InvalidGroupId));
        }
        if !session.is_some_and(|session| (min..=max).contains(&session)) {
            return self.effects.answer(to, Err(GroupError::InvalidSessionTimeout));
        }
        if join.protocols.len() > PROTOCOLS_MAX {
            return self.effects.answer(to, Err(GroupError::TooManyProtocols));
        }
        let id = join.group.clone();
        if join.speaker.member.is_none() {
            self.groups.entry(id.clone()).or_insert_with(|| Group::new(&id));
        }
        self.of_members(&id, to, |group, to, step| group.join(join, to, step));
    }

    fn commit(&mut self, commit: Commit, to: T) {
        let id = commit.group;
        if !self.groups.contains_key(&id) {
            if commit.generation >= 0 {
                let error = match commit.knows_group_id_not_found {
                    true => GroupError::GroupIdNotFound(id),
                    false => GroupError::IllegalGeneration(-1),
                };
                return self.effects.answer(to, Err(error));
            }
            self.groups.insert(id.clone(), Group::new(&id));
        }
        let allowed = self
            .step(&id, |group, step| group.members.check_commit(&commit.speaker, commit.generation, step));
        if let Some(Err(error)) = allowed {
            self.effects.answer(to, Err(error));
            return self.forget_if_blank(&id);
        }
        let (mut kept, mut results) = (Vec::new(), Vec::with_capacity(commit.offsets.len()));
        for item in commit.offsets {
            if is_too_large(&item.metadata, self.settings.offset_metadata_bytes_max) {
                results.push(Err(GroupError::OffsetMetadataTooLarge));
                continue;
            }
            results.push(Ok(()));
            kept.push((item.at.clone(), Some(item.into_kept(self.wall))));
        }
        self.write_offsets(&id, kept, Some((to, Reply::Committed(results))));
        self.forget_if_blank(&id);
    }

    fn fetch_offsets(
        &self,
        wanted: FetchOffsets,
    ) -> Vec<(OffsetKey, Option<super::record::CommittedOffset>)> {
        let group = self.groups.get(&wanted.group);
        match wanted.offsets {
            Some(keys) => {
                let find = |at: &OffsetKey| group.and_then(|group| group.offsets.find(at)).cloned();
                keys.into_iter().map(|at| (at.clone(), find(&at))).collect()
            }
            None => {
                let all = group.into_iter().flat_map(|group| group.offsets.iter());
                all.map(|(at, value)| (at.clone(), Some(value.clone()))).collect()
            }
        }
    }

    fn describe(&self, id: &GroupId) -> Result<Description, GroupError> {
        let group = self.groups.get(id).ok_or_else(|| GroupError::GroupIdNotFound(id.clone()))?;
        Ok(group.members.describe())
    }

    fn list(&self) -> Vec<Overview> {
        self.groups.values().map(|group| group.members.overview()).collect()
    }

    /// What waited for a write is done.
    fn finish(&mut self, then: Then<T>, result: Result<(), GroupError>) {
        match then {
            Then::Emptied => {}
            Then::Offsets { group, offsets, answer } => {
                self.step(&group, |found, _| {
                    for (at, value) in offsets {
                        found.offsets.arrived(&at);
                        if result.is_ok() {
                            found.offsets.replay(at, value);
                        }
                    }
                });
                if let Some((to, reply)) = answer {
                    self.effects.answer(to, result.map(|()| reply));
                }
                self.forget_if_blank(&group);
            }
            Then::Assigned { group, generation, assignments } => {
                self.step(&group, |found, step| {
                    found.members.assigned(generation, assignments, result, step);
                });
            }
            Then::Returned { group, returned } => {
                self.step(&group, |found, step| found.members.returned(returned, result, step));
            }
            Then::Deleted { group, answer } => self.deleted(&group, answer, result),
        }
    }
}

#[cfg(test)]
mod tests;
