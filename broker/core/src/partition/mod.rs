//! One replica of one partition: who may write, what is committed, what a reader may see.
//!
//! Owns the role that the controller's metadata gives this replica, its positions, the high watermark
//! and the acknowledgements that wait for it. Never touches a file: the shard that owns a [`Partition`]
//! and its log tells it where the log ends and how far it is durable, and does what it returns.
//!
//! What makes a leader is in `leading.rs`: followers, commitment, the ISR. A follower does what its leader's
//! replies say ([`Partition::replicated`], [`Partition::truncated`]). What consumers read of either, and where, is in
//! `consumers.rs`.

mod ack;
mod consumers;
mod error;
mod followers;
mod leading;

use std::sync::Arc;

pub use ack::{AckLevel, Released};
pub use consumers::{ReadFrom, Readable, Role};
pub use error::PartitionError;
pub use followers::{FollowerFetch, Peers};
pub use leading::{IsrProposal, ProposalOutcome};

use crate::config::Durability;
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::metadata::image;
use ack::ParkedAcks;
use leading::Leading;

/// Where a replica's log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The offset after the last record.
    pub log_end: Offset,
    /// The offset after the last durable record; never above `log_end`.
    pub flushed_end: Offset,
    /// Whether a start would find the log. One that was just made is gone with its process until its first sync, and
    /// nothing in it counts before, whatever the topic's acknowledgements promise.
    pub established: bool,
}

/// The settings of a topic that say what an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckSettings {
    /// `flush.messages` and `flush.ms`
    pub durability: Durability,
    /// `min.insync.replicas`
    pub min_insync_replicas: usize,
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
    /// While it leads.
    leading: Option<Leading>,
    parked: ParkedAcks<T>,
    failed: bool,
}

impl<T> Partition<T> {
    /// A replica whose log was just opened or made, with the high watermark that was written down when it was last
    /// in use. What the log holds after recovery was synced by it, so a replica that is its own whole ISR starts with
    /// everything committed, unless the ISR is below its minimum.
    pub fn new(
        me: NodeId,
        registration: Arc<image::Partition>,
        positions: Positions,
        high_watermark: Offset,
        settings: AckSettings,
        peers: &Peers,
    ) -> Self {
        let mut partition = Self {
            me,
            leading: None,
            registration: Arc::clone(&registration),
            positions,
            durability: settings.durability,
            min_insync_replicas: settings.min_insync_replicas,
            high_watermark: high_watermark.clamp(positions.log_start, positions.log_end),
            parked: ParkedAcks::default(),
            failed: false,
        };
        let _nothing_is_parked_yet = partition.register(registration, settings, peers);
        partition
    }

    /// Takes over what the controller registered, and with it the topic's settings that decide about
    /// acknowledgements: relaxing them may release some. Acknowledgements that a lost leadership can no longer give are
    /// refused: the records stay, and whether they survive is the next leader's to say.
    pub fn register(
        &mut self,
        registration: Arc<image::Partition>,
        settings: AckSettings,
        peers: &Peers,
    ) -> Vec<Released<T>> {
        self.durability = settings.durability;
        self.min_insync_replicas = settings.min_insync_replicas;
        let before = std::mem::replace(&mut self.registration, registration);
        if !self.is_leader() {
            self.leading = None;
            return self.parked.refuse_all(&PartitionError::NotLeader);
        }
        let (me, registration) = (self.me, &self.registration);
        match &mut self.leading {
            Some(leading) if before.leader_epoch == registration.leader_epoch => {
                leading.follow(me, registration, &before.isr, peers);
            }
            // Also one that leads again, in another epoch: what followers had before may be cut by now.
            Some(_) | None => {
                self.leading = Some(Leading::new(me, registration, self.positions.log_end, peers));
            }
        }
        self.tick(peers);
        self.release(peers)
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

    /// May a producer append now, to the leader of that epoch if it names one? The batches then get this leader epoch and
    /// offsets from `log_end`.
    ///
    /// # Errors
    /// Why not.
    pub fn check_produce(
        &self,
        acks: AckLevel,
        only_in: Option<LeaderEpoch>,
    ) -> Result<(LeaderEpoch, Offset), PartitionError> {
        self.check_leader(only_in)?;
        let (isr, min) = (self.registration.isr.len(), self.isr_min());
        if acks == AckLevel::All && isr < min {
            return Err(PartitionError::NotEnoughReplicas { isr, min });
        }
        if self.is_making_way() {
            // Those that may lead next have all that there is, and would not have this.
            return Err(PartitionError::DirectoryFull);
        }
        Ok((self.registration.leader_epoch, self.positions.log_end))
    }

    /// The log took records up to `log_end`. With [`AckLevel::None`] nothing is parked.
    pub fn appended(
        &mut self,
        log_end: Offset,
        acks: AckLevel,
        waiting: T,
        peers: &Peers,
    ) -> Vec<Released<T>> {
        self.parked.park(log_end, acks, waiting);
        self.advanced(log_end, peers)
    }

    /// A batch came again that ends at `end`: whoever sent it waits as for the first time.
    pub fn repeated(&mut self, end: Offset, acks: AckLevel, waiting: T, peers: &Peers) -> Vec<Released<T>> {
        debug_assert!(end <= self.positions.log_end, "it is in the log");
        self.parked.park(end, acks, waiting);
        self.release(peers)
    }

    /// The log took records that nobody waits for.
    pub fn advanced(&mut self, log_end: Offset, peers: &Peers) -> Vec<Released<T>> {
        debug_assert!(log_end >= self.positions.log_end, "a log only grows by appending");
        self.positions.log_end = log_end;
        self.release(peers)
    }

    /// A follower took what its leader gave, and has its log there now; the leader's high watermark was this (rule 54).
    pub fn replicated(&mut self, positions: Positions, leader_high_watermark: Offset) {
        debug_assert!(!self.is_leader(), "a leader's log grows by what producers send");
        self.positions = positions;
        let committed = leader_high_watermark.min(positions.log_end);
        self.high_watermark = self.high_watermark.max(committed).max(positions.log_start);
    }

    /// A follower's log was cut, or begun anew, to agree with its leader's. What is cut was never committed, unless
    /// the leader was chosen from outside the ISR.
    pub fn truncated(&mut self, positions: Positions) {
        self.positions = positions;
        self.high_watermark = self.high_watermark.clamp(positions.log_start, positions.log_end);
    }

    /// The log is durable up to `flushed_end`.
    pub fn flushed(&mut self, flushed_end: Offset, peers: &Peers) -> Vec<Released<T>> {
        debug_assert!(flushed_end <= self.positions.log_end, "only what was written can be durable");
        self.positions.flushed_end = self.positions.flushed_end.max(flushed_end);
        self.positions.established = true;
        self.release(peers)
    }

    /// Leads it, with the epoch that the client believes in (`None` skips the check, as Kafka's −1 does)?
    pub fn check_leader(&self, asked: Option<LeaderEpoch>) -> Result<(), PartitionError> {
        self.check_epoch(asked)?;
        if self.is_leader() { Ok(()) } else { Err(PartitionError::NotLeader) }
    }

    /// Serves, and knows of no other epoch than the client (rule 50)?
    fn check_epoch(&self, asked: Option<LeaderEpoch>) -> Result<(), PartitionError> {
        if self.failed {
            return Err(PartitionError::Storage);
        }
        let current = self.registration.leader_epoch;
        match asked {
            Some(asked) if asked < current => Err(PartitionError::FencedLeaderEpoch { asked, current }),
            Some(asked) if asked > current => Err(PartitionError::UnknownLeaderEpoch { asked, current }),
            Some(_) | None => Ok(()),
        }
    }

    /// How many replicas must be in sync.
    fn isr_min(&self) -> usize {
        self.registration.isr_min(self.min_insync_replicas)
    }

    /// This replica's own position that counts toward commitment.
    fn own_position(&self) -> Offset {
        match self.durability {
            Durability::PageCache { .. } if self.positions.established => self.positions.log_end,
            Durability::Synced | Durability::PageCache { .. } => self.positions.flushed_end,
        }
    }

    /// The high watermark never falls (rule 54).
    fn advance_high_watermark(&mut self, peers: &Peers) {
        if let Some(position) = self.committable(peers) {
            self.high_watermark = self.high_watermark.max(position);
        }
    }

    fn release(&mut self, peers: &Peers) -> Vec<Released<T>> {
        self.advance_high_watermark(peers);
        let (isr, min) = (self.registration.isr.len(), self.isr_min());
        let verdict =
            if isr < min { Err(PartitionError::NotEnoughReplicasAfterAppend { isr, min }) } else { Ok(()) };
        self.parked.release(self.own_position(), self.high_watermark, &verdict)
    }
}

#[cfg(test)]
mod tests;
