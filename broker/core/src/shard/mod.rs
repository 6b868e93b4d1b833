//! The owner of a log directory's partitions and logs: one thread's worth of state.
//!
//! Owns: the replicas of one log directory, each a [`Partition`] (decides) beside its [`Log`] (holds bytes),
//! and the order between the two: an acknowledgement leaves only after the sync round that covers it, the
//! high watermark moves only with it, and a failed disk fails the whole directory (decision 6). The binary
//! runs a shard on a thread of its own, the simulator from its event queue; both do what [`Effect`]s say.
//!
//! Does not validate batches (the connection's task did), does not know topics beyond their settings, and
//! reads no clock.
//!
//! `T` is what a producer parks with a batch, `W` what a reader leaves behind to be woken.

mod assign;
mod checkpoint;
mod damaged;
mod effect;
mod fetch;
mod follow;
mod future;
mod lead;
mod open;
mod produce;
mod producers;
mod replica;
mod sync;

use std::collections::BTreeMap;

use crate::disk::Disk;
use crate::ids::{NodeId, Offset, TopicPartition};
use crate::log::RottenBatch;
use crate::log::checkpoints::Offsets;
use crate::log::commit::GroupCommit;
use crate::partition::{Partition, PartitionError, Peers};
use crate::time::Monotonic;

pub use assign::Assignment;
use damaged::{Damaged, Kept};
pub use effect::{CheckpointJob, Damage, Effect, Produced, RemovalJob};
pub use fetch::{FetchPosition, Located, OffsetFound, OffsetTarget};
pub use follow::{FollowFrom, FollowProblem, Replicated, ReplicatedPart};
use future::Future;
pub use future::{Copied, CopyFrom, CopyPart, Handed};
pub use open::{Opened, OpenedLog};
pub use produce::Batch;
use producers::ProducerCount;
pub use replica::ReadsTo;
use replica::Replica;

/// See the module's text.
pub struct Shard<D: Disk, T, W> {
    me: NodeId,
    disk: D,
    peers: Peers,
    replicas: BTreeMap<TopicPartition, Replica<D, T, W>>,
    /// Logs that are to take the place of their replicas' logs in other directories.
    futures: BTreeMap<TopicPartition, Future<D>>,
    commit: GroupCommit<TopicPartition>,
    /// Logs that were found and cannot serve.
    damaged: Vec<Damaged>,
    /// Batches that a lookup could not read. It may have been told not to wait for the disk: the next tick looks again.
    suspects: BTreeMap<TopicPartition, RottenBatch>,
    /// Those of them that are out of the way, and that others follow in the place of.
    kept: Vec<Kept>,
    /// Logs whose removal waits for their sync to end.
    removing: Vec<Leaving<D, T, W>>,
    /// What was moved out of the way since the last [`RemovalJob`], and what of it is to be removed.
    moved: bool,
    unwanted: Vec<String>,
    /// How many logs were moved out of the way.
    removals: u64,
    /// Replicas whose directory still belongs to a log that waits for its removal or to a damaged one whose turn has not
    /// come, or whose log could not be made for want of a descriptor: what is wanted of each now, and only while it is
    /// not there.
    postponed: BTreeMap<TopicPartition, Assignment>,
    effects: Vec<Effect<D, T, W>>,
    checkpointed_at: Monotonic,
    ticked_at: Monotonic,
    checkpoint_running: bool,
    /// The recovery points that are on the disk.
    written: Offsets,
    /// Those that are being written.
    writing: Offsets,
    unflushed_bytes: u64,
    /// How many bytes of batches may still be written.
    room: u64,
    producers: ProducerCount,
}

/// A log in the directory, for those who look on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFound {
    /// Whose it is.
    pub partition: TopicPartition,
    /// The length of its batches.
    pub bytes: u64,
    /// Where it ends.
    pub end: Offset,
    /// Up to where the replica knows that records are committed.
    pub high_watermark: Offset,
    /// Whether it is to take the place of the replica's log in another directory (KIP-113).
    pub is_future: bool,
}

/// A replica on its way out.
struct Leaving<D: Disk, T, W> {
    id: TopicPartition,
    replica: Replica<D, T, W>,
    fate: Fate,
}

/// What becomes of a log that is no longer in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Removed,
    /// Nobody has said that its topic is gone: its records stay on the disk, under another name.
    KeptAside,
    /// It is damaged, and stays where it is: see [`damaged`].
    LeftInPlace,
}

impl Fate {
    fn of_unwanted(stray: bool) -> Self {
        if stray { Self::KeptAside } else { Self::Removed }
    }
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// What is to be done now, in order.
    pub fn take_effects(&mut self) -> Vec<Effect<D, T, W>> {
        // One sync for all of a deleted topic's partitions.
        if std::mem::take(&mut self.moved) && !self.has_failed() {
            let (disk, directories) = (self.disk.clone(), std::mem::take(&mut self.unwanted));
            self.effects.push(Effect::Remove(RemovalJob { disk, directories }));
        }
        std::mem::take(&mut self.effects)
    }

    /// How many bytes of batches may be written from now on: what is free, but for a reserve that keeps a
    /// full disk from failing. Without room producers are refused and everything else goes on. Say so about
    /// once a second; what is written in between is counted here.
    pub fn set_room(&mut self, bytes: u64) {
        self.room = bytes;
    }

    /// Whether the directory has failed for ever.
    pub fn has_failed(&self) -> bool {
        self.commit.has_failed()
    }

    /// The partitions it holds, with or without a registration, and able to serve or not.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        let kept = self.kept.iter().map(|kept| kept.id);
        let nothing_else = |id: &TopicPartition| {
            !self.replicas.contains_key(id) && self.damaged().all(|damaged| damaged != *id)
        };
        self.replicas.keys().copied().chain(self.damaged()).chain(kept.filter(nothing_else))
    }

    /// The logs that serve.
    pub fn logs(&self) -> impl Iterator<Item = LogFound> + '_ {
        self.replicas.iter().map(|(id, replica)| LogFound {
            partition: *id,
            bytes: replica.log.size_bytes(),
            end: replica.log.log_end(),
            high_watermark: replica
                .partition
                .as_ref()
                .map_or(replica.high_watermark_on_disk, Partition::high_watermark),
            is_future: false,
        })
    }

    /// The logs that are to take the place of logs in other directories.
    pub fn future_logs(&self) -> impl Iterator<Item = LogFound> + '_ {
        self.futures.iter().map(|(id, future)| LogFound {
            partition: *id,
            bytes: future.log.size_bytes(),
            end: future.log.log_end(),
            high_watermark: Offset(0),
            is_future: true,
        })
    }

    /// How many partitions this broker leads here.
    pub fn led(&self) -> usize {
        let leads =
            |replica: &&Replica<D, T, W>| replica.partition.as_ref().is_some_and(Partition::is_leader);
        self.replicas.values().filter(leads).count()
    }

    /// A replica, for those who would read or write.
    fn replica(&self, id: TopicPartition) -> Result<&Replica<D, T, W>, PartitionError> {
        self.replicas.get(&id).ok_or_else(|| self.absent(id))
    }

    /// A replica's machine, for those who look on: checkers and metrics.
    pub fn partition(&self, partition: TopicPartition) -> Option<&Partition<replica::Parked<T>>> {
        self.replicas.get(&partition)?.partition.as_ref()
    }
}
