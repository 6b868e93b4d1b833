//! One generation ends and the next begins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::group::effects::Timer;
use crate::group::ids::MemberId;
use crate::group::request::{GroupError, GroupState, Reply};
use crate::group::then::Then;

use super::{ClassicGroup, Step, subscription};

/// A group that was empty waits for more members (KIP-134), and longer while they keep coming.
#[derive(Debug)]
pub(super) struct InitialDelay {
    /// For how long it waits now.
    delay: Duration,
    /// For how long it may wait yet.
    remaining: Duration,
    /// Whether a member came since it waits.
    pub(super) somebody_came: bool,
}

impl<T> ClassicGroup<T> {
    fn join_timer(&self) -> Timer {
        Timer::Join(self.id.clone())
    }

    fn sync_timer(&self) -> Timer {
        Timer::Sync(self.id.clone())
    }

    /// Has everybody join again, or goes on with it.
    pub(super) fn rebalance(&mut self, step: &mut Step<'_, T>) {
        match self.state {
            GroupState::Empty => {
                let delay = step.settings.initial_rebalance_delay;
                let remaining = self.rebalance_timeout().saturating_sub(delay);
                self.initial = Some(InitialDelay { delay, remaining, somebody_came: false });
                self.transition(GroupState::PreparingRebalance, step.wall);
                step.effects.timers.set(self.join_timer(), step.now.plus(delay));
            }
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.refuse_syncs(&GroupError::RebalanceInProgress, step);
                step.effects.timers.cancel(&self.sync_timer());
                self.transition(GroupState::PreparingRebalance, step.wall);
                self.complete_join_if_all_are_there(step);
            }
            GroupState::PreparingRebalance => self.complete_join_if_all_are_there(step),
            GroupState::Dead => {}
        }
    }

    /// Goes on without one who is gone.
    pub(super) fn rebalance_without(&mut self, step: &mut Step<'_, T>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.rebalance(step),
            GroupState::PreparingRebalance => self.complete_join_if_all_are_there(step),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Who waits for an assignment is told that there is none, and its session begins anew.
    pub(super) fn refuse_syncs(&mut self, error: &GroupError, step: &mut Step<'_, T>) {
        let mut told = Vec::new();
        for (id, member) in &mut self.members {
            if self.state == GroupState::CompletingRebalance {
                member.assignment.clear();
            }
            if let Some(to) = member.syncing.take() {
                step.effects.answer(to, Err(error.clone()));
                told.push(id.clone());
            }
        }
        told.iter().for_each(|id| self.keep_alive(id, step));
    }

    /// Begins the next generation if nobody is missing; else those missing have their time.
    pub(super) fn complete_join_if_all_are_there(&mut self, step: &mut Step<'_, T>) {
        if self.state != GroupState::PreparingRebalance || self.initial.is_some() {
            return;
        }
        if self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some()) {
            self.complete_join(step);
        } else {
            let at = step.now.plus(self.rebalance_timeout());
            step.effects.timers.set_if_absent(self.join_timer(), at);
        }
    }

    /// The members had their time to join.
    pub(in crate::group) fn join_time_over(&mut self, step: &mut Step<'_, T>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        if let Some(initial) = &mut self.initial
            && initial.somebody_came
            && !initial.remaining.is_zero()
        {
            let delay = step.settings.initial_rebalance_delay.min(initial.remaining);
            let remaining = initial.remaining.saturating_sub(initial.delay);
            *initial = InitialDelay { delay, remaining, somebody_came: false };
            step.effects.timers.set(self.join_timer(), step.now.plus(delay));
            return;
        }
        self.complete_join(step);
    }

    fn complete_join(&mut self, step: &mut Step<'_, T>) {
        self.initial = None;
        step.effects.timers.cancel(&self.join_timer());
        let is_missing = |id: &MemberId| {
            self.members.get(id).is_some_and(|member| member.joining.is_none() && member.instance.is_none())
        };
        let missing: Vec<MemberId> = self.members.keys().filter(|id| is_missing(id)).cloned().collect();
        missing.iter().for_each(|id| self.remove(id, step));
        if !self.elect_one_who_joined() && !self.members.is_empty() {
            // Only static members are left, and none has come back: they have their sessions for that.
            let at = step.now.plus(self.rebalance_timeout());
            step.effects.timers.set(self.join_timer(), at);
            return;
        }
        self.begin_generation(step);
    }

    /// Whether the leader is one who has joined, or is now.
    fn elect_one_who_joined(&mut self) -> bool {
        let has_joined = |id: &MemberId| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.keys().find(|id| has_joined(id)).cloned();
        let found = joined.is_some();
        if found {
            self.leader = joined;
        }
        found
    }

    fn begin_generation(&mut self, step: &mut Step<'_, T>) {
        // Kafka's generations are Java's numbers: they wrap.
        self.generation = self.generation.wrapping_add(1).max(0);
        self.pending_sync.clear();
        self.protocol = self.choose_protocol();
        self.subscribed = self.subscribed_topics();
        if self.members.is_empty() {
            self.transition(GroupState::Empty, step.wall);
            // The next coordinator begins without it if it is not written.
            let _too_large = step.effects.write(vec![self.record(None)], Then::Emptied);
            return;
        }
        self.transition(GroupState::CompletingRebalance, step.wall);
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            self.keep_alive(&id, step);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
                if let Some(to) = member.joining.take() {
                    step.effects.answer(to, Ok(Reply::Joined(joined)));
                }
            }
            self.pending_sync.insert(id);
        }
        step.effects.timers.set(self.sync_timer(), step.now.plus(self.rebalance_timeout()));
    }

    /// The members had their time to sync: those that did not are gone.
    pub(in crate::group) fn sync_time_over(&mut self, step: &mut Step<'_, T>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                let missing = std::mem::take(&mut self.pending_sync);
                if !missing.is_empty() {
                    missing.iter().for_each(|id| self.remove(id, step));
                    self.rebalance(step);
                }
            }
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Of the protocols that all have, the one that most have first.
    pub(super) fn choose_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let shared: BTreeSet<&String> = first
            .protocols
            .iter()
            .map(|(name, _)| name)
            .filter(|name| self.members.values().all(|member| member.supports(name)))
            .collect();
        let mut votes: BTreeMap<&String, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().map(|(name, _)| name).find(|name| shared.contains(name));
            if let Some(vote) = vote {
                *votes.entry(vote).or_default() += 1;
            }
        }
        // Where as many have one first as another, the name decides.
        let most = votes.into_iter().rev().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| name.clone())
    }

    /// What the consumers in it are subscribed to; none if it is no group of consumers, or one says it in a way of its own.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<crate::ids::TopicName>> {
        if self.protocol_type.as_deref() != Some(subscription::CONSUMER) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(&member.metadata(self.protocol.as_deref()))?);
        }
        Some(topics)
    }
}
