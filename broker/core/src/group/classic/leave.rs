//! Members leave, or are removed by an administrator.

use crate::group::effects::Timer;
use crate::group::ids::MemberId;
use crate::group::request::{GroupError, Reply, Speaker};

use super::{ClassicGroup, Step};

impl<T> ClassicGroup<T> {
    /// Members leave; what came of each.
    ///
    /// # Errors
    /// If the group is being deleted.
    pub(in crate::group) fn leave(
        &mut self,
        leaving: &[Speaker],
        step: &mut Step<'_, T>,
    ) -> Result<Reply, GroupError> {
        self.check_alive()?;
        let left: Vec<_> = leaving.iter().map(|speaker| self.leave_one(speaker, step)).collect();
        if left.iter().any(Result::is_ok) {
            self.rebalance_without(step);
        }
        Ok(Reply::Left(left))
    }

    fn leave_one(&mut self, speaker: &Speaker, step: &mut Step<'_, T>) -> Result<(), GroupError> {
        let member = match (&speaker.member, &speaker.instance) {
            // An administrator knows a static member by what it calls itself.
            (None, Some(instance)) => {
                self.instances.get(instance).cloned().ok_or(GroupError::UnknownMemberId)?
            }
            (Some(member), _) if self.pending.remove(member) => {
                step.effects.timers.cancel(&Timer::Member(self.id.clone(), member.clone()));
                return Ok(());
            }
            (None, None) | (Some(_), _) => self.check_member(speaker)?,
        };
        self.remove(&member, step);
        Ok(())
    }

    /// Takes a member out. Should it wait for something, it is to join again.
    pub(super) fn remove(&mut self, id: &MemberId, step: &mut Step<'_, T>) {
        step.effects.timers.cancel(&Timer::Member(self.id.clone(), id.clone()));
        let Some(mut member) = self.members.remove(id) else { return };
        for waiting in member.take_waiting() {
            step.effects.answer(waiting, Err(GroupError::UnknownMemberId));
        }
        self.pending_sync.remove(id);
        if let Some(instance) = &member.instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}
