//! Members sync: the leader's assignments are written, then handed out (rule 65).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::group::effects::Timer;
use crate::group::ids::MemberId;
use crate::group::request::{GroupError, GroupState, Reply, Sync, Synced};
use crate::group::then::Then;

use super::{ClassicGroup, Step};

impl<T> ClassicGroup<T> {
    /// A member wants its assignment. The answer waits for the leader's, and for the log.
    pub(in crate::group) fn sync(&mut self, sync: Sync, to: T, step: &mut Step<'_, T>) {
        let member = match self.check_sync(&sync) {
            Ok(member) => member,
            Err(error) => return step.answer(to, Err(error)),
        };
        self.pending_sync.remove(&member);
        if self.pending_sync.is_empty() {
            step.effects.timers.cancel(&Timer::Sync(self.id.clone()));
        }
        match self.state {
            GroupState::Stable => step.answer(to, Ok(self.synced(&member))),
            GroupState::CompletingRebalance => {
                if let Some(found) = self.members.get_mut(&member)
                    && let Some(given_up) = found.syncing.replace(to)
                {
                    // Its client has asked again: nobody listens there.
                    step.effects.answer(given_up, Err(GroupError::RebalanceInProgress));
                }
                // A leader that asks again waits for what it said first: that is what the next coordinator reads.
                if self.is_leader(&member) && self.assigning != Some(self.generation) {
                    self.write_assignments(sync.assignments, step);
                }
            }
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {
                unreachable!("check_sync has refused it")
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<MemberId, GroupError> {
        self.check_alive()?;
        let member = self.check_member(&sync.speaker)?;
        self.check_generation(sync.generation)?;
        let differs = |told: &Option<String>, is: &Option<String>| told.is_some() && told != is;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(member),
        }
    }

    fn write_assignments(&mut self, assignments: Vec<(MemberId, Bytes)>, step: &mut Step<'_, T>) {
        let mut assignments: BTreeMap<MemberId, Bytes> = assignments.into_iter().collect();
        assignments.retain(|id, _| self.members.contains_key(id));
        self.assigning = Some(self.generation);
        let records = vec![self.record(Some(&assignments))];
        let then = Then::Assigned { group: self.id.clone(), generation: self.generation, assignments };
        if let Err(refused) = step.effects.write(records, then)
            && let Then::Assigned { generation, assignments, .. } = *refused
        {
            self.assigned(generation, assignments, Err(GroupError::GroupTooLarge), step);
        }
    }

    /// The leader's assignments are written down, or are not.
    pub(in crate::group) fn assigned(
        &mut self,
        generation: i32,
        mut assignments: BTreeMap<MemberId, Bytes>,
        written: Result<(), GroupError>,
        step: &mut Step<'_, T>,
    ) {
        if self.assigning == Some(generation) {
            self.assigning = None;
        }
        // Of a generation that is over.
        if generation != self.generation || self.state != GroupState::CompletingRebalance {
            return;
        }
        if let Err(error) = written {
            self.refuse_syncs(&error, step);
            return self.rebalance(step);
        }
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.transition(GroupState::Stable, step.wall);
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let synced = self.synced(&id);
            if let Some(to) = self.members.get_mut(&id).and_then(|member| member.syncing.take()) {
                step.answer(to, Ok(synced));
                self.keep_alive(&id, step);
            }
        }
    }

    fn synced(&self, member: &MemberId) -> Reply {
        Reply::Synced(Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.assignment_of(member),
        })
    }
}
