//! What a shard asks its driver to do.

use std::io;

use super::follow::FollowFrom;
use crate::disk::Disk;
use crate::ids::{Offset, TopicPartition};
use crate::log::checkpoints::{Checkpoint, Offsets};
use crate::log::{RottenBatch, SyncJob};
use crate::partition::{IsrProposal, PartitionError};

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last.
    pub end_exclusive: Offset,
    /// The time the broker gave it, on topics with LogAppendTime.
    pub log_append_time: Option<i64>,
    /// The log's first offset.
    pub log_start: Offset,
}

/// One thing to do. Jobs run on any thread; their results come back through the shard's methods.
pub enum Effect<D: Disk, T, W> {
    /// Answer a producer.
    Answer {
        /// What it parked.
        waiting: T,
        /// The answer.
        result: Result<Produced, PartitionError>,
    },
    /// Ask the controller for another ISR; what came of it goes to [`super::Shard::proposal_answered`].
    AlterIsr {
        /// Of this partition.
        partition: TopicPartition,
        /// What to ask for.
        proposal: IsrProposal,
    },
    /// Fetch this replica's records from its leader, from here on and in place of what was said of it before; with
    /// `None` no more.
    Follow {
        /// The replica.
        partition: TopicPartition,
        /// From where.
        from: Option<FollowFrom>,
    },
    /// Wake a reader: there may be more to read, or the partition may have moved.
    Wake(W),
    /// Run these jobs in parallel; each result goes to [`super::Shard::sync_finished`].
    Sync(Vec<(TopicPartition, SyncJob<D>)>),
    /// Write the checkpoints; then call [`super::Shard::checkpoint_finished`].
    Checkpoint(CheckpointJob<D>),
    /// Finish off what was moved out of the way, in its own time, on no thread that others wait for.
    Remove(RemovalJob<D>),
    /// Say that a log that belongs to no replica here was moved aside, records and all.
    SetAside {
        /// The directory it had.
        from: String,
        /// The one it has, durably with the next [`RemovalJob`], and which nothing touches from then on.
        to: String,
    },
    /// Something has become of a damaged log: tell the controller what [`super::Shard::damaged`] gives now, and people
    /// what happened.
    Damage {
        /// Whose log it is.
        partition: TopicPartition,
        /// What has happened.
        what: Damage,
    },
    /// The directory has failed: report it, and expect nothing more of it.
    Failed {
        /// Why, with the name of the log where there is one.
        error: io::Error,
    },
}

/// What becomes of a log that was found damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// It said not whose it is, and has the place of this partition's.
    Found,
    /// It was copied from another log directory, and what it was copied from is gone: it may lack the last records.
    Orphan,
    /// A read found it, and its replica leads no more.
    Read {
        /// The batch that is not what was appended.
        at: RottenBatch,
    },
    /// A consumer's read at a follower found it: its leader serves consumers now.
    AtFollower {
        /// The batch that is not what was appended.
        at: RottenBatch,
    },
    /// A read found it, but no other replica is in sync: this one goes on with what is whole.
    Alone {
        /// The batch that is not what was appended.
        at: RottenBatch,
    },
    /// An empty log follows the leader in its place.
    Replaced {
        /// The name of its directory from now on.
        kept_as: String,
    },
    /// It makes way, since nobody wants its partition here any more.
    Gone,
    /// The log in its place is in sync and ends before it: the leader had less. It is kept aside for people.
    Longer {
        /// The name of its directory from now on.
        kept_as: String,
    },
    /// The log in its place is in sync and has all that was durable in it, and what was kept of it is removed.
    Repaired {
        /// The name that its directory had.
        kept_as: String,
    },
}

/// Makes durable that logs were moved out of the way, and removes those that nobody wants.
#[derive(Clone)]
pub struct RemovalJob<D: Disk> {
    pub(super) disk: D,
    pub(super) directories: Vec<String>,
}

impl<D: Disk> RemovalJob<D> {
    /// First this: a log of which some files are gone must not come back under its old name after a crash. An
    /// error is one of the disk, and fails the directory.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync_directory("")
    }

    /// Then this, which may take long. What cannot be removed the next start tries again.
    pub fn remove(&self) -> impl Iterator<Item = (&str, io::Result<()>)> {
        self.directories.iter().map(|directory| (directory.as_str(), self.disk.remove(directory)))
    }
}

/// Writes a directory's checkpoints. Blocks on the disk.
#[derive(Clone)]
pub struct CheckpointJob<D: Disk> {
    pub(super) disk: D,
    pub(super) recovery_points: Offsets,
    pub(super) high_watermarks: Offsets,
    pub(super) log_starts: Offsets,
    pub(super) logs: Vec<(TopicPartition, Offset)>,
}

impl<D: Disk> CheckpointJob<D> {
    /// Does the job.
    pub fn run(&self) -> io::Result<()> {
        Checkpoint::RecoveryPoint.write(&self.disk, &self.recovery_points)?;
        Checkpoint::HighWatermark.write(&self.disk, &self.high_watermarks)?;
        Checkpoint::LogStart.write(&self.disk, &self.log_starts)
    }

    /// The recovery points it writes, for [`super::Shard::checkpoint_finished`].
    pub fn logs(&self) -> Vec<(TopicPartition, Offset)> {
        self.logs.clone()
    }
}
