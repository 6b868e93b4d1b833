//! One replica of one partition: who may write, what is committed, what a reader may see.
//!
//! Owns the role that the controller's metadata gives this replica, its positions, the high watermark
//! and the acknowledgements that wait for it. Never touches a file: the shard that owns a [`Partition`]
//! and its log tells it where the log ends and how far it is durable, and does what it returns.
//!
//! Not done: followers. A replica is either the only one or not the leader; replication adds the
//! followers' positions to [`Partition::committable`] and nothing else to the rules here.

mod ack;

use std::sync::Arc;

pub use ack::{AckLevel, Released};

use crate::config::Durability;
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::metadata::image;
use ack::ParkedAcks;

/// Where a replica's log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The offset after the last record.
    pub log_end: Offset,
    /// The offset after the last durable record; never above `log_end`.
    pub flushed_end: Offset,
}

/// Why a replica cannot serve a request; each maps to one Kafka error code at the edge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// NOT_LEADER_OR_FOLLOWER.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// FENCED_LEADER_EPOCH (rule 50).
    #[error("leader epoch {asked} is older than the current one, {current}")]
    FencedLeaderEpoch {
        /// The epoch in the request.
        asked: LeaderEpoch,
        /// The epoch here.
        current: LeaderEpoch,
    },
    /// UNKNOWN_LEADER_EPOCH (rule 50).
    #[error("leader epoch {asked} is newer than the one known here, {current}")]
    UnknownLeaderEpoch {
        /// The epoch in the request.
        asked: LeaderEpoch,
        /// The epoch here.
        current: LeaderEpoch,
    },
    /// OFFSET_OUT_OF_RANGE (rule 47).
    #[error("offset {asked} is outside {log_start}..={log_end}")]
    OffsetOutOfRange {
        /// The offset in the request.
        asked: Offset,
        /// Where the log starts.
        log_start: Offset,
        /// Where it ends.
        log_end: Offset,
    },
    /// OFFSET_NOT_AVAILABLE (rule 53): what the answer is was committed by earlier leaders, and this one does not
    /// know yet.
    #[error("the high watermark has not reached the beginning of the current leader epoch yet")]
    OffsetNotAvailable,
    /// NOT_ENOUGH_REPLICAS (rule 28): nothing was written.
    #[error("the partition has {isr} in-sync replicas and needs {min}")]
    NotEnoughReplicas {
        /// In-sync replicas now.
        isr: usize,
        /// `min.insync.replicas`, or the number of replicas where that is less.
        min: usize,
    },
    /// NOT_ENOUGH_REPLICAS_AFTER_APPEND (rule 28): the records stay in the log.
    #[error("the partition fell to {isr} in-sync replicas, below {min}, after the records were written")]
    NotEnoughReplicasAfterAppend {
        /// In-sync replicas now.
        isr: usize,
        /// `min.insync.replicas`, or the number of replicas where that is less.
        min: usize,
    },
    /// KAFKA_STORAGE_ERROR: there is too little room in the log directory; nothing was written.
    #[error("the log directory of the partition is full: records are refused until there is room again")]
    DirectoryFull,
    /// KAFKA_STORAGE_ERROR: the log directory failed; nothing is known of what it held unsynced.
    #[error("the log directory of the partition has failed")]
    Storage,
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
}

/// See the module's text. `T` is what the owner parks with an acknowledgement.
#[derive(Debug)]
pub struct Partition<T> {
    me: NodeId,
    registration: Arc<image::Partition>,
    positions: Positions,
    durability: Durability,
    min_insync_replicas: usize,
    high_watermark: Offset,
    parked: ParkedAcks<T>,
    failed: bool,
}

impl<T> Partition<T> {
    /// A replica whose log was just opened or made. What the log holds after recovery was synced by it, so
    /// a replica that is its own whole ISR starts with everything committed, unless the ISR is below its minimum.
    pub fn new(
        me: NodeId,
        registration: Arc<image::Partition>,
        positions: Positions,
        durability: Durability,
        min_insync_replicas: usize,
    ) -> Self {
        let mut partition = Self {
            me,
            registration,
            positions,
            durability,
            min_insync_replicas,
            high_watermark: positions.log_start,
            parked: ParkedAcks::default(),
            failed: false,
        };
        partition.advance_high_watermark();
        partition
    }

    /// Takes over the topic's settings that decide about acknowledgements. Relaxing them may release some.
    pub fn configure(&mut self, durability: Durability, min_insync_replicas: usize) -> Vec<Released<T>> {
        self.durability = durability;
        self.min_insync_replicas = min_insync_replicas;
        self.release()
    }

    /// Takes over what the controller registered. Acknowledgements that a lost leadership can no longer
    /// give are refused: the records stay, and whether they survive is the next leader's to say.
    pub fn register(&mut self, registration: Arc<image::Partition>) -> Vec<Released<T>> {
        let epoch_before = self.registration.leader_epoch;
        self.registration = registration;
        if !self.is_leader() || self.registration.leader_epoch != epoch_before && !self.is_sole_isr() {
            return self.parked.refuse_all(&PartitionError::NotLeader);
        }
        self.release()
    }

    /// The directory under this replica failed: it serves nothing more.
    pub fn fail(&mut self) -> Vec<Released<T>> {
        self.failed = true;
        self.parked.refuse_all(&PartitionError::Storage)
    }

    /// Whether this broker leads the partition.
    pub fn is_leader(&self) -> bool {
        self.registration.leader == Some(self.me)
    }

    /// What the controller registered last.
    pub fn registration(&self) -> &Arc<image::Partition> {
        &self.registration
    }

    /// The high watermark: the offset after the last committed record.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Where the log begins and ends.
    pub fn positions(&self) -> Positions {
        self.positions
    }

    /// What an acknowledgement promises here.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// May a producer append now? The batches then get this leader epoch and offsets from `log_end`.
    pub fn check_produce(&self, acks: AckLevel) -> Result<(LeaderEpoch, Offset), PartitionError> {
        self.check_leader(None)?;
        let (isr, min) = (self.registration.isr.len(), self.isr_min());
        if acks == AckLevel::All && isr < min {
            return Err(PartitionError::NotEnoughReplicas { isr, min });
        }
        Ok((self.registration.leader_epoch, self.positions.log_end))
    }

    /// The log took records up to `log_end`. With [`AckLevel::None`] nothing is parked.
    pub fn appended(&mut self, log_end: Offset, acks: AckLevel, waiting: T) -> Vec<Released<T>> {
        self.parked.park(log_end, acks, waiting);
        self.advanced(log_end)
    }

    /// The log took records that nobody waits for.
    pub fn advanced(&mut self, log_end: Offset) -> Vec<Released<T>> {
        debug_assert!(log_end >= self.positions.log_end, "a log only grows by appending");
        self.positions.log_end = log_end;
        self.release()
    }

    /// The log is durable up to `flushed_end`.
    pub fn flushed(&mut self, flushed_end: Offset) -> Vec<Released<T>> {
        debug_assert!(flushed_end <= self.positions.log_end, "only what was written can be durable");
        self.positions.flushed_end = self.positions.flushed_end.max(flushed_end);
        self.release()
    }

    /// May a consumer read at `offset`, and how far (rules 46, 47, 50)?
    pub fn check_fetch(
        &self,
        offset: Offset,
        epoch: Option<LeaderEpoch>,
    ) -> Result<Readable, PartitionError> {
        self.check_leader(epoch)?;
        let Positions { log_start, log_end, .. } = self.positions;
        if offset < log_start || offset > log_end {
            return Err(PartitionError::OffsetOutOfRange { asked: offset, log_start, log_end });
        }
        Ok(self.readable())
    }

    /// How far a consumer may read.
    pub fn readable(&self) -> Readable {
        let log_start = self.positions.log_start;
        Readable { log_start, end_exclusive: self.high_watermark, high_watermark: self.high_watermark }
    }

    /// Leads it, with the epoch that the client believes in (`None` skips the check, as Kafka's −1 does)?
    pub fn check_leader(&self, asked: Option<LeaderEpoch>) -> Result<(), PartitionError> {
        if self.failed {
            return Err(PartitionError::Storage);
        }
        let current = self.registration.leader_epoch;
        if let Some(asked) = asked {
            if asked < current {
                return Err(PartitionError::FencedLeaderEpoch { asked, current });
            }
            if asked > current {
                return Err(PartitionError::UnknownLeaderEpoch { asked, current });
            }
        }
        if self.is_leader() { Ok(()) } else { Err(PartitionError::NotLeader) }
    }

    fn is_sole_isr(&self) -> bool {
        self.registration.isr == [self.me]
    }

    /// How many replicas must be in sync. A partition with fewer replicas than `min.insync.replicas` needs all
    /// of them and no more, as in Kafka: one value for brokers must not make every small topic unwritable.
    fn isr_min(&self) -> usize {
        self.min_insync_replicas.min(self.registration.replicas.len())
    }

    /// This replica's own position that counts toward commitment.
    fn own_position(&self) -> Offset {
        match self.durability {
            Durability::Synced => self.positions.flushed_end,
            Durability::PageCache { .. } => self.positions.log_end,
        }
    }

    /// The least position over the ISR, or `None` while no position may be committed: when not leading,
    /// when the ISR is below its minimum (rule 29), or when another replica would have a say.
    fn committable(&self) -> Option<Offset> {
        let strict = self.registration.isr.len() >= self.isr_min();
        (self.is_leader() && strict && self.is_sole_isr()).then(|| self.own_position())
    }

    /// The high watermark never falls (rule 54).
    fn advance_high_watermark(&mut self) {
        if let Some(position) = self.committable() {
            self.high_watermark = self.high_watermark.max(position);
        }
    }

    fn release(&mut self) -> Vec<Released<T>> {
        self.advance_high_watermark();
        let (isr, min) = (self.registration.isr.len(), self.isr_min());
        let verdict =
            if isr < min { Err(PartitionError::NotEnoughReplicasAfterAppend { isr, min }) } else { Ok(()) };
        self.parked.release(self.own_position(), self.high_watermark, &verdict)
    }
}

#[cfg(test)]
mod tests;
