//! One replica: its log, its machine, its settings, and who watches it.

use super::effect::Produced;
use crate::config::{ByteCount, TopicConfig};
use crate::disk::Disk;
use crate::ids::Offset;
use crate::log::{Log, LogConfig};
use crate::partition::{AckSettings, Partition, PartitionError, Positions, ReadFrom};
use crate::time::Monotonic;

/// A producer's token and where its batch went.
#[derive(Debug)]
pub struct Parked<T> {
    pub(super) waiting: T,
    pub(super) produced: Produced,
}

/// What a reader may read up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsTo {
    /// A consumer: to the high watermark of such a replica.
    HighWatermark(ReadFrom),
    /// A follower: to the end of the log.
    LogEnd {
        /// It wants to know, too, when the high watermark passes this one.
        told: Option<Offset>,
    },
}

/// A reader that wants to know when more than `beyond` can be read.
#[derive(Debug)]
pub(super) struct Watcher<W> {
    pub(super) reads_to: ReadsTo,
    pub(super) beyond: Offset,
    pub(super) token: W,
}

pub(super) struct Replica<D: Disk, T, W> {
    pub(super) log: Log<D>,
    /// `None` until the metadata says what this replica is: a log found at the start.
    pub(super) partition: Option<Partition<Parked<T>>>,
    pub(super) watchers: Vec<Watcher<W>>,
    /// Its machine was handed over: it goes on in another directory.
    pub(super) is_frozen: bool,
    /// The high watermark that was written down when this log was last in use.
    pub(super) high_watermark_on_disk: Offset,
    /// Whether it was said that it follows somebody.
    pub(super) follows: bool,
    /// Whether it is to be said from where it follows, once all it holds is durable.
    pub(super) follows_after_sync: bool,
    /// How many bytes its leader gave, or a producer, that there was no room for. The next tick that finds room for as
    /// much forgets it; that there is room for less says nothing.
    pub(super) refused_bytes: Option<u64>,
    /// Where what it gives to consumers begins as a follower, if that is not the log's start: what is before it holds rot.
    pub(super) serves_from: Option<Offset>,
    /// Whether people were told that a batch of its log is rotten.
    pub(super) rot_is_told: bool,
    /// Since when, at the most, its log has bytes that are not synced, as the last tick found it.
    pub(super) unflushed_since: Option<Monotonic>,
}

impl<D: Disk, T, W> Replica<D, T, W> {
    pub(super) fn new(log: Log<D>, high_watermark_on_disk: Offset) -> Self {
        Self {
            log,
            partition: None,
            watchers: Vec::new(),
            is_frozen: false,
            high_watermark_on_disk,
            follows: false,
            follows_after_sync: false,
            refused_bytes: None,
            serves_from: None,
            rot_is_told: false,
            unflushed_since: None,
        }
    }

    /// Where the log begins and ends, for the machine.
    pub(super) fn positions(&self) -> Positions {
        Positions {
            log_start: self.log.log_start(),
            log_end: self.log.log_end(),
            flushed_end: self.log.flushed_end(),
            established: self.log.is_established(),
        }
    }

    /// Its machine, once the metadata has said what it is.
    pub(super) fn machine(&self) -> Result<&Partition<Parked<T>>, PartitionError> {
        self.partition.as_ref().ok_or(PartitionError::NotLeader)
    }

    /// Whether it had no room for something that it was given, and has none for as much now.
    pub(super) fn lacks_room(&self, room: u64) -> bool {
        self.refused_bytes.is_some_and(|bytes| bytes > room)
    }

    /// There was no room for so many bytes.
    pub(super) fn refused(&mut self, bytes: u64) {
        self.refused_bytes = self.refused_bytes.max(Some(bytes));
    }

    /// Whether it follows somebody who is to hear that it no longer does.
    pub(super) fn take_follows(&mut self) -> bool {
        self.follows_after_sync = false;
        std::mem::take(&mut self.follows)
    }

    /// Takes the watchers that there is something to read for.
    pub(super) fn take_woken(&mut self) -> Vec<W> {
        let Some(partition) = &self.partition else { return Vec::new() };
        let (committed, log_end) = (partition.high_watermark(), partition.positions().log_end);
        let has_news = |watcher: &Watcher<W>| match watcher.reads_to {
            ReadsTo::HighWatermark(_) => committed > watcher.beyond,
            ReadsTo::LogEnd { told } => log_end > watcher.beyond || told.is_some_and(|told| committed > told),
        };
        self.watchers.extract_if(.., |watcher| has_news(watcher)).map(|watcher| watcher.token).collect()
    }
}

/// The part of a topic's settings that its logs obey themselves.
pub(super) fn log_config(config: &TopicConfig) -> LogConfig {
    let narrow = |bytes: ByteCount| u32::try_from(bytes.0).unwrap_or(u32::MAX);
    LogConfig {
        segment_bytes: narrow(config.segment_size_max),
        segment_ms: i64::try_from(config.segment_age_max.as_millis()).unwrap_or(i64::MAX),
        segment_index_bytes: narrow(config.segment_index_size_max),
        index_interval_bytes: narrow(config.index_interval),
        producer_idle_max: config.producer_idle_max,
    }
}

/// The part that says what an acknowledgement promises.
pub(super) fn ack_settings(config: &TopicConfig) -> AckSettings {
    AckSettings {
        durability: config.durability,
        min_insync_replicas: usize::try_from(config.min_insync_replicas).unwrap_or(usize::MAX),
    }
}
