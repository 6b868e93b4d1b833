//! One group of the classic protocol: members join, one of them leads and assigns, all sync.
//!
//! Owns its members, its generation and the state that both are in; reads neither what members say of themselves nor
//! what they are assigned, but for the topics that consumers subscribe to. What must outlive the coordinator (members,
//! generation, assignments) is written when a leader has assigned, when the last member is gone, and when a static
//! member comes back; a rebalance that is under way is not, as in Kafka: after a failover its members join again.
//! So the group counts as stable only from when that record is committed ([`Then::Assigned`]).
//!
//! `join.rs` takes members in, `rebalance.rs` ends one generation and begins the next, `sync.rs` hands assignments out,
//! `leave.rs` lets members go, `commit.rs` says who may commit.
//!
//! [`Then::Assigned`]: super::then::Then

mod commit;
mod describe;
mod join;
mod leave;
mod member;
mod rebalance;
mod restore;
mod subscription;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::effects::{Answer, Effects, Timer};
use super::ids::{GroupId, InstanceId, MemberId};
use super::offsets::Retained;
use super::request::{GroupError, GroupState, Speaker};
use super::settings::GroupSettings;
use crate::ids::TopicName;
use crate::time::{Monotonic, Wall};
use member::Member;
use rebalance::InitialDelay;

/// A member that was just given its id, or is new, has so long to come into its first generation: it cannot send
/// heartbeats before. Kafka's constant.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_mins(5);

/// What a step of a group works with.
pub(super) struct Step<'a, T> {
    pub(super) now: Monotonic,
    pub(super) wall: Wall,
    pub(super) settings: &'a GroupSettings,
    pub(super) effects: &'a mut Effects<T>,
}

impl<T> Step<'_, T> {
    pub(super) fn answer(&mut self, to: T, answer: Answer) {
        self.effects.answer(to, answer);
    }
}

/// See the module's text. `T` is whom an answer goes to.
#[derive(Debug)]
pub(super) struct ClassicGroup<T> {
    id: GroupId,
    state: GroupState,
    state_since: Option<Wall>,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member<T>>,
    /// The members that are static.
    instances: BTreeMap<InstanceId, MemberId>,
    /// Who was given an id and is to come back with it.
    pending: BTreeSet<MemberId>,
    /// Who is to sync yet.
    pending_sync: BTreeSet<MemberId>,
    /// The generation whose assignments are on their way into the log.
    assigning: Option<i32>,
    /// While a group that was empty waits for more members.
    initial: Option<InitialDelay>,
    /// What the consumers in it are subscribed to; none if that is not known.
    subscribed: Option<BTreeSet<TopicName>>,
}

impl<T> ClassicGroup<T> {
    /// A group without members.
    pub(super) fn new(id: GroupId) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            state_since: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            assigning: None,
            initial: None,
            subscribed: None,
        }
    }

    pub(super) fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    /// Whether it is nobody's: no member, none on its way, and never one that the log would remember.
    pub(super) fn is_blank(&self) -> bool {
        self.state == GroupState::Empty && self.generation == 0 && self.pending.is_empty()
    }

    /// Whether nobody is in it or on the way in.
    pub(super) fn is_deserted(&self) -> bool {
        self.state == GroupState::Empty && self.pending.is_empty()
    }

    /// It is being deleted, or was not after all.
    pub(super) fn set_dead(&mut self, dead: bool) {
        debug_assert!(self.members.is_empty(), "only an empty group is deleted");
        self.state = if dead { GroupState::Dead } else { GroupState::Empty };
    }

    fn transition(&mut self, state: GroupState, wall: Wall) {
        self.state = state;
        self.state_since = Some(wall);
    }

    fn is_leader(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// How long its members take to join again, at most.
    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Who it is that speaks.
    ///
    /// # Errors
    /// If it is no member, or not any more.
    fn check_member(&self, speaker: &Speaker) -> Result<MemberId, GroupError> {
        let named = speaker.member.as_ref().ok_or(GroupError::UnknownMemberId);
        if let Some(instance) = &speaker.instance {
            let holder = self.instances.get(instance).ok_or(GroupError::UnknownMemberId)?;
            if speaker.member.as_ref() != Some(holder) {
                return Err(GroupError::FencedInstanceId);
            }
        }
        let named = named?;
        if self.members.contains_key(named) { Ok(named.clone()) } else { Err(GroupError::UnknownMemberId) }
    }

    fn check_alive(&self) -> Result<(), GroupError> {
        if self.state == GroupState::Dead { Err(GroupError::CoordinatorNotAvailable) } else { Ok(()) }
    }

    fn check_generation(&self, generation: i32) -> Result<(), GroupError> {
        if generation == self.generation {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration(self.generation))
        }
    }

    /// Its session begins anew.
    fn keep_alive(&self, member: &MemberId, step: &mut Step<'_, T>) {
        if let Some(session) = self.members.get(member).map(|member| member.session_timeout) {
            let timer = Timer::Member(self.id.clone(), member.clone());
            step.effects.timers.set(timer, step.now.plus(session));
        }
    }

    /// A member that nothing is heard of any more is gone, if it should have been heard of.
    pub(super) fn session_over(&mut self, member: &MemberId, step: &mut Step<'_, T>) {
        if self.pending.remove(member) {
            self.complete_join_if_all_are_there(step);
            return;
        }
        let Some(found) = self.members.get(member) else { return };
        // One that waits for the others has nothing to say; a new one may be gone since long.
        if found.is_new || !found.is_waiting() {
            self.remove(member, step);
            self.rebalance_without(step);
        }
    }

    /// A sign of life.
    pub(super) fn heartbeat(
        &mut self,
        speaker: &Speaker,
        generation: i32,
        step: &mut Step<'_, T>,
    ) -> Result<(), GroupError> {
        self.check_alive()?;
        let member = self.check_member(speaker)?;
        self.check_generation(generation)?;
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
            GroupState::PreparingRebalance => {
                self.keep_alive(&member, step);
                Err(GroupError::RebalanceInProgress)
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.keep_alive(&member, step);
                Ok(())
            }
        }
    }

    /// From when on the retention of its offsets counts.
    pub(super) fn retained(&self) -> Retained<'_> {
        match self.state {
            GroupState::Dead => Retained::Always,
            _ if self.protocol_type.is_none() => Retained::SinceCommit { unless: None },
            GroupState::Empty => Retained::SinceEmpty(self.state_since),
            GroupState::Stable if self.subscribed.is_some() => {
                Retained::SinceCommit { unless: self.subscribed.as_ref() }
            }
            GroupState::Stable | GroupState::PreparingRebalance | GroupState::CompletingRebalance => {
                Retained::Always
            }
        }
    }

    /// Everybody who waits for something is told this, and nothing is due any more.
    pub(super) fn refuse_all(&mut self, error: &GroupError, effects: &mut Effects<T>) {
        effects.timers.cancel(&Timer::Join(self.id.clone()));
        effects.timers.cancel(&Timer::Sync(self.id.clone()));
        for (id, member) in &mut self.members {
            effects.timers.cancel(&Timer::Member(self.id.clone(), id.clone()));
            for waiting in member.take_waiting() {
                effects.answer(waiting, Err(error.clone()));
            }
        }
        for id in &self.pending {
            effects.timers.cancel(&Timer::Member(self.id.clone(), id.clone()));
        }
    }

    fn assignment_of(&self, member: &MemberId) -> Bytes {
        self.members.get(member).map(|member| member.assignment.clone()).unwrap_or_default()
    }
}
