//! What consumers may read, and from which replica (KIP-392).
//!
//! A leader sends a consumer to a follower that has what it asks for; a follower gives it what is committed as far as it
//! knows. What lies beyond that, a follower does not judge: its log may lack what was committed since, or hold what will
//! be cut yet. So it says nothing of where logs part above its high watermark, and never that an offset lies beyond the
//! end of a log: that is OFFSET_NOT_AVAILABLE, upon which consumers ask the leader.

use std::collections::BTreeSet;

use super::leading::is_eligible;
use super::{Partition, PartitionError, Peers, Positions};
use crate::ids::{LeaderEpoch, NodeId, Offset};

/// From which replicas a consumer may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// From the leader only: it does not know that there is another way (Fetch 10 and below).
    Leader,
    /// From any.
    AnyReplica,
}

/// Which replica of a partition answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that decides what is committed.
    Leader,
    /// One of those that hear of it later.
    Follower,
}

/// What a consumer may read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readable {
    /// The first offset there is.
    pub log_start: Offset,
    /// Reads stop here.
    pub end_exclusive: Offset,
    /// The high watermark to report.
    pub high_watermark: Offset,
    /// Who says so.
    pub role: Role,
}

impl Readable {
    /// The same from a broker that may have been put out of service without having heard of it, where there is nothing
    /// to read: a leader's consumers wait, a follower's would wait for ever if nothing reaches it any more.
    ///
    /// # Errors
    /// [`PartitionError::OffsetNotAvailable`] at a follower.
    pub fn of_doubtful_replica(self) -> Result<Self, PartitionError> {
        match self.role {
            Role::Leader => Ok(self),
            Role::Follower => Err(PartitionError::OffsetNotAvailable),
        }
    }
}

impl<T> Partition<T> {
    /// May a consumer read at `offset`, and how far (rules 46, 47, 50)?
    pub fn check_fetch(
        &self,
        offset: Offset,
        epoch: Option<LeaderEpoch>,
        from: ReadFrom,
    ) -> Result<Readable, PartitionError> {
        self.check_reader(epoch, from)?;
        if !self.is_leader() && !self.follower_answers_at(offset) {
            return Err(PartitionError::OffsetNotAvailable);
        }
        self.check_in_log(offset)?;
        Ok(self.readable())
    }

    /// Does this replica serve such a consumer, with the epoch that it believes in?
    pub fn check_reader(&self, epoch: Option<LeaderEpoch>, from: ReadFrom) -> Result<(), PartitionError> {
        match from {
            ReadFrom::Leader => self.check_leader(epoch),
            ReadFrom::AnyReplica => self.check_epoch(epoch),
        }
    }

    /// Up to where the epochs of this log say something about what a consumer has (rule 51).
    pub fn knows_epochs_at(&self, offset: Offset) -> bool {
        self.is_leader() || offset <= self.high_watermark
    }

    /// Whether a follower answers a consumer that is there. In sync it has all that is committed, or soon will, and who has
    /// read all of it waits; one that is not may fall behind for ever, and keeps nobody who has read what it has.
    fn follower_answers_at(&self, offset: Offset) -> bool {
        match self.registration.isr.contains(&self.me) {
            true => offset <= self.positions.log_end,
            false => offset < self.high_watermark,
        }
    }

    pub(super) fn check_in_log(&self, offset: Offset) -> Result<(), PartitionError> {
        let Positions { log_start, log_end, .. } = self.positions;
        if offset < log_start || offset > log_end {
            return Err(PartitionError::OffsetOutOfRange { asked: offset, log_start, log_end });
        }
        Ok(())
    }

    /// How far a consumer may read.
    pub fn readable(&self) -> Readable {
        Readable {
            log_start: self.positions.log_start,
            end_exclusive: self.high_watermark,
            high_watermark: self.high_watermark,
            role: if self.is_leader() { Role::Leader } else { Role::Follower },
        }
    }

    /// The replica that a consumer at `offset` should read from rather than from this leader: of those `near` the
    /// consumer, in sync, in service and with this offset in its log the one that has come furthest, as Kafka's
    /// RackAwareReplicaSelector has it. None if this leader is as near.
    pub fn preferred_read_replica(
        &self,
        offset: Offset,
        near: &BTreeSet<NodeId>,
        peers: &Peers,
    ) -> Option<NodeId> {
        let leading = self.leading.as_ref().filter(|_| !near.contains(&self.me))?;
        let in_sync = self.registration.isr.iter().filter(|id| near.contains(id));
        let holding = in_sync.filter_map(|id| {
            let follower = leading.follower(*id).filter(|follower| is_eligible(*id, follower, peers))?;
            Some((follower.holds(offset)?, *id))
        });
        holding.max().map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests;
