//! Members join (rules 63 and 64).

use crate::group::effects::Timer;
use crate::group::ids::{InstanceId, MemberId};
use crate::group::request::{GroupError, GroupState, Join, Joined, JoinedMember, Reply};
use crate::group::then::{Before, Returned, Then};

use super::member::Member;
use super::{ClassicGroup, NEW_MEMBER_JOIN_TIMEOUT, Step};

use std::time::Duration;

/// So much of what a member calls itself is in the id it is given: with the rest that is what a text may have.
const MEMBER_ID_PREFIX_BYTES_MAX: usize = 32_000;

/// Of a time-out on the wire; a negative one is none at all.
pub(super) fn milliseconds(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

impl<T> ClassicGroup<T> {
    /// Somebody joins. The answer may take as long as the slowest member does.
    pub(in crate::group) fn join(&mut self, join: Join, to: T, step: &mut Step<'_, T>) {
        if let Err(error) = self.check_join(&join, step.settings.size_max) {
            if error == GroupError::GroupMaxSizeReached
                && let Some(member) = &join.speaker.member
            {
                self.pending.remove(member);
            }
            return step.answer(to, Err(error));
        }
        match join.speaker.member.clone() {
            None => self.join_unknown(join, to, step),
            Some(member) if self.pending.contains(&member) => self.add(member, join, to, step),
            Some(member) => self.join_known(&member, join, to, step),
        }
        self.complete_join_if_all_are_there(step);
    }

    fn check_join(&self, join: &Join, size_max: usize) -> Result<(), GroupError> {
        if !self.has_room(join.speaker.member.as_ref(), size_max) {
            return Err(GroupError::GroupMaxSizeReached);
        }
        self.check_alive()?;
        if !self.agrees_with(join) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        match &join.speaker.member {
            // No static member is given an id to come back with: this one is a live one's, or nobody's.
            Some(member) if !self.pending.contains(member) || join.speaker.instance.is_some() => {
                self.check_member(&join.speaker).map(|_| ())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn has_room(&self, member: Option<&MemberId>, size_max: usize) -> bool {
        let known = member.and_then(|member| self.members.get(member));
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                known.is_some_and(|member| member.joining.is_some()) || self.joining_count() < size_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                known.is_some() || self.members.len() < size_max
            }
        }
    }

    fn joining_count(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    /// Whether it has the group's protocol type, and a protocol that all the others have.
    fn agrees_with(&self, join: &Join) -> bool {
        if self.state == GroupState::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let shared = |name: &String| self.members.values().all(|member: &Member<T>| member.supports(name));
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| shared(name))
    }

    fn join_unknown(&mut self, join: Join, to: T, step: &mut Step<'_, T>) {
        let prefix = join.speaker.instance.as_ref().map_or(join.client_id.as_str(), InstanceId::as_str);
        // The whole is a text of the protocol again.
        let prefix = &prefix[..prefix.floor_char_boundary(MEMBER_ID_PREFIX_BYTES_MAX)];
        let member = MemberId::from(format!("{prefix}-{}", join.fresh.hyphenated()).as_str());
        let before = join.speaker.instance.as_ref().and_then(|instance| self.instances.get(instance));
        if let Some(before) = before.cloned() {
            return self.replace(&before, member, join, to, step);
        }
        if join.speaker.instance.is_none() && join.needs_known_id {
            self.pending.insert(member.clone());
            let timer = Timer::Member(self.id.clone(), member.clone());
            step.effects.timers.set(timer, step.now.plus(milliseconds(join.session_timeout_ms)));
            return step.answer(to, Err(GroupError::MemberIdRequired(member)));
        }
        self.add(member, join, to, step);
    }

    fn join_known(&mut self, id: &MemberId, join: Join, to: T, step: &mut Step<'_, T>) {
        let unchanged = self.members.get(id).is_some_and(|member| member.protocols == join.protocols);
        match self.state {
            GroupState::Empty | GroupState::Dead => step.answer(to, Err(GroupError::UnknownMemberId)),
            // It has not heard that it is in already.
            GroupState::CompletingRebalance if unchanged => {
                step.answer(to, Ok(Reply::Joined(self.joined(id))))
            }
            // A leader that joins again wants to assign anew.
            GroupState::Stable if unchanged && !self.is_leader(id) => {
                step.answer(to, Ok(Reply::Joined(self.joined(id))))
            }
            GroupState::Stable | GroupState::CompletingRebalance | GroupState::PreparingRebalance => {
                self.update(id, join, to, step);
                self.rebalance(step);
            }
        }
    }

    fn add(&mut self, id: MemberId, join: Join, to: T, step: &mut Step<'_, T>) {
        if self.state == GroupState::PreparingRebalance
            && let Some(initial) = &mut self.initial
        {
            initial.somebody_came = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &join.speaker.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.pending.remove(&id);
        // It cannot send heartbeats before it is in, and while it waits nobody hears if it is gone. One that comes again
        // gets another id; those that were left behind are not to gather.
        let timer = Timer::Member(self.id.clone(), id.clone());
        step.effects.timers.set(timer, step.now.plus(NEW_MEMBER_JOIN_TIMEOUT));
        let member = Member {
            instance: join.speaker.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            session_timeout: milliseconds(join.session_timeout_ms),
            rebalance_timeout: milliseconds(join.rebalance_timeout_ms),
            protocols: join.protocols,
            assignment: bytes::Bytes::new(),
            is_new: true,
            joining: Some(to),
            syncing: None,
        };
        self.members.insert(id, member);
        self.rebalance(step);
    }

    /// What a member says of itself is what it says now.
    fn update(&mut self, id: &MemberId, join: Join, to: T, step: &mut Step<'_, T>) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.session_timeout = milliseconds(join.session_timeout_ms);
        member.rebalance_timeout = milliseconds(join.rebalance_timeout_ms);
        member.protocols = join.protocols;
        member.client_id = join.client_id;
        member.client_host = join.client_host;
        if let Some(given_up) = member.joining.replace(to) {
            // Its client has asked again: nobody listens there.
            step.effects.answer(given_up, Err(GroupError::RebalanceInProgress));
        }
    }

    /// A static member has come back, as a new process.
    fn replace(&mut self, before: &MemberId, id: MemberId, join: Join, to: T, step: &mut Step<'_, T>) {
        let leader_before = self.leader.clone();
        let Some(kept) = self.rename(before, &id, step) else { return };
        // A leader that does not understand that it is to assign nothing is told that the one that it was leads.
        let leader_told = if join.may_skip_assignment { None } else { leader_before };
        self.update(&id, join, to, step);
        self.keep_alive(&id, step);
        match self.state {
            GroupState::Stable if self.choose_protocol() == self.protocol => {
                let generation = self.generation;
                let returned = Returned { generation, member: id, leader_told, before: kept };
                let then = Then::Returned { group: self.id.clone(), returned };
                if let Err(refused) = step.effects.write(vec![self.record(None)], then)
                    && let Then::Returned { returned, .. } = *refused
                {
                    self.returned(returned, Err(GroupError::GroupTooLarge), step);
                }
            }
            // Its leader may have been told of the old id already, or what all agree on is another protocol.
            GroupState::Stable | GroupState::CompletingRebalance => self.rebalance(step),
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Gives a static member another id; whoever waited under the one it had is told so. What it said of itself until now.
    fn rename(&mut self, from: &MemberId, to: &MemberId, step: &mut Step<'_, T>) -> Option<Before> {
        let mut member = self.members.remove(from)?;
        step.effects.timers.cancel(&Timer::Member(self.id.clone(), from.clone()));
        for waiting in member.take_waiting() {
            step.effects.answer(waiting, Err(GroupError::FencedInstanceId));
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), to.clone());
        }
        if self.is_leader(from) {
            self.leader = Some(to.clone());
        }
        if self.pending_sync.remove(from) {
            self.pending_sync.insert(to.clone());
        }
        // It has been heard of since.
        member.is_new = false;
        let before = Before {
            id: from.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: member.protocols.clone(),
        };
        self.members.insert(to.clone(), member);
        Some(before)
    }

    /// A static member that could not be written down is who it was, as in the log.
    fn restore_member(&mut self, id: &MemberId, before: Before, step: &mut Step<'_, T>) {
        let _said_since = self.rename(id, &before.id, step);
        let Some(member) = self.members.get_mut(&before.id) else { return };
        member.client_id = before.client_id;
        member.client_host = before.client_host;
        member.session_timeout = before.session_timeout;
        member.rebalance_timeout = before.rebalance_timeout;
        member.protocols = before.protocols;
        self.keep_alive(&before.id, step);
    }

    /// A static member that came back is written down, or is not.
    pub(in crate::group) fn returned(
        &mut self,
        returned: Returned,
        written: Result<(), GroupError>,
        step: &mut Step<'_, T>,
    ) {
        // In a rebalance that has begun meanwhile it is one who joins like the others.
        if returned.generation != self.generation || self.state != GroupState::Stable {
            return;
        }
        let id = &returned.member;
        let Some(to) = self.members.get_mut(id).and_then(|member| member.joining.take()) else { return };
        if let Err(error) = written {
            step.answer(to, Err(error));
            return self.restore_member(&returned.member, returned.before, step);
        }
        // What it says comes after what was written, however long that took.
        self.keep_alive(id, step);
        let mut joined = self.joined(id);
        match &returned.leader_told {
            None => joined.skip_assignment = self.is_leader(id),
            Some(leader) => {
                joined.leader = leader.clone();
                joined.members.clear();
            }
        }
        step.answer(to, Ok(Reply::Joined(joined)));
    }

    /// The members as their leader is to see them.
    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref();
        let each = |(id, member): (&MemberId, &Member<T>)| JoinedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(each).collect()
    }

    /// What a member is told of the generation that it is in.
    pub(super) fn joined(&self, id: &MemberId) -> Joined {
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| MemberId::from("")),
            member: id.clone(),
            skip_assignment: false,
            members: if self.is_leader(id) { self.joined_members() } else { Vec::new() },
        }
    }
}
