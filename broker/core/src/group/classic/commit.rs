//! Who may commit offsets, and who may have them deleted (rule 66).

use crate::group::ids::MemberId;
use crate::group::request::{GroupError, GroupState, Speaker};
use crate::ids::TopicName;

use super::{ClassicGroup, Step};

impl<T> ClassicGroup<T> {
    /// May this one commit? It is a sign of life, too.
    pub(in crate::group) fn check_commit(
        &mut self,
        speaker: &Speaker,
        generation: i32,
        step: &mut Step<'_, T>,
    ) -> Result<(), GroupError> {
        self.check_alive()?;
        // An administrator, or a consumer that assigns itself.
        if generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if generation < 0 && speaker.member.is_none() && speaker.instance.is_none() {
            return Err(GroupError::UnknownMemberId);
        }
        let member: MemberId = self.check_member(speaker)?;
        self.check_generation(generation)?;
        match self.state {
            // It has joined, and has not heard yet what it is assigned.
            GroupState::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::Stable | GroupState::PreparingRebalance => {
                self.keep_alive(&member, step);
                Ok(())
            }
            GroupState::Empty | GroupState::Dead => Ok(()),
        }
    }

    /// May offsets be deleted at all?
    pub(in crate::group) fn check_delete_offsets(&self) -> Result<(), GroupError> {
        match self.state {
            GroupState::Dead => Err(GroupError::GroupIdNotFound(self.id.clone())),
            GroupState::Empty => Ok(()),
            GroupState::Stable | GroupState::PreparingRebalance | GroupState::CompletingRebalance => {
                let are_consumers = self.protocol_type() == super::subscription::CONSUMER;
                if are_consumers { Ok(()) } else { Err(GroupError::NonEmptyGroup(self.id.clone())) }
            }
        }
    }

    /// May this topic's?
    pub(in crate::group) fn check_delete_offset(&self, topic: &TopicName) -> Result<(), GroupError> {
        // Whoever cannot say what it is subscribed to may be subscribed to anything.
        let is_subscribed = self.subscribed.as_ref().is_none_or(|topics| topics.contains(topic));
        if self.state != GroupState::Empty && is_subscribed {
            return Err(GroupError::GroupSubscribedToTopic { group: self.id.clone(), topic: topic.clone() });
        }
        Ok(())
    }

    /// May the group be deleted?
    pub(in crate::group) fn check_delete(&self) -> Result<(), GroupError> {
        match self.state {
            GroupState::Dead => Err(GroupError::GroupIdNotFound(self.id.clone())),
            GroupState::Empty => Ok(()),
            GroupState::Stable | GroupState::PreparingRebalance | GroupState::CompletingRebalance => {
                Err(GroupError::NonEmptyGroup(self.id.clone()))
            }
        }
    }
}
