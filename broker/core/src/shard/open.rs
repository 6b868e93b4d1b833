//! Opening a directory: every log in it, recovered where the last stop was a crash.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Shard;
use super::damaged::{Damaged, Kept};
use super::future::Future;
use super::producers::ProducerCount;
use super::replica::Replica;
use crate::disk::{Disk, NoDescriptor, is_no_descriptor};
use crate::ids::{BrokerEpoch, NodeId, PartitionIndex, TopicName, TopicPartition};
use crate::log::checkpoints::{Checkpoint, Offsets, take_clean_shutdown};
use crate::log::commit::GroupCommit;
use crate::log::{
    DiskError, Log, LogConfig, OpenError, RecoveryReport, RecoveryStart, parse_damaged_name,
    parse_directory_name, parse_future_name,
};
use crate::partition::Peers;
use crate::time::Monotonic;

/// One log that was found.
#[derive(Debug)]
pub struct OpenedLog {
    /// Its directory.
    pub directory: String,
    /// Which partition it is, and what recovery did; or why it cannot serve.
    pub result: Result<(TopicPartition, RecoveryReport), OpenError>,
}

/// A directory that was opened.
pub struct Opened<D: Disk, T, W> {
    /// The shard that owns it.
    pub shard: Shard<D, T, W>,
    /// Every log that was found, in order of name.
    pub logs: Vec<OpenedLog>,
    /// The same of those that are to take the place of logs in other directories; those that are not whole are gone.
    pub futures: Vec<OpenedLog>,
    /// The epoch of the broker that last stopped in order; none after a crash.
    pub clean: Option<BrokerEpoch>,
}

/// What the directory's checkpoints say.
struct Written {
    recovery_points: Offsets,
    log_starts: Offsets,
    high_watermarks: Offsets,
}

impl Written {
    fn read<D: Disk>(disk: &D) -> std::io::Result<Self> {
        Ok(Self {
            recovery_points: Checkpoint::RecoveryPoint.read(disk)?,
            log_starts: Checkpoint::LogStart.read(disk)?,
            high_watermarks: Checkpoint::HighWatermark.read(disk)?,
        })
    }

    fn start(&self, name: &(TopicName, PartitionIndex), clean_shutdown: bool) -> RecoveryStart {
        let recovery_point = self.recovery_points.get(name).copied();
        RecoveryStart {
            clean_shutdown,
            established: recovery_point.is_some(),
            recovery_point: recovery_point.unwrap_or_default(),
            log_start: self.log_starts.get(name).copied().unwrap_or_default(),
        }
    }
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// Opens every log of a directory; blocks on the disk. A log that is corrupt below its recovery point is
    /// reported and left alone on the disk; the others are opened. Directories of removed logs are finished
    /// off; anything that is not named like a log is left alone.
    ///
    /// # Errors
    /// If the disk gives an error: the directory has failed; or [`NoDescriptor`]: the same may be tried again, as
    /// after a crash.
    pub fn open(me: NodeId, disk: D, now: Monotonic) -> std::io::Result<Opened<D, T, W>> {
        let clean = take_clean_shutdown(&disk)?;
        let written = Written::read(&disk)?;
        let mut replicas = BTreeMap::new();
        let (futures, opened_futures) = open_futures(&disk)?;
        let mut logs = Vec::new();
        let (mut damaged, mut kept) = (Vec::new(), Vec::new());
        let mut producers = ProducerCount::new(now);
        for directory in disk.list("")? {
            if directory.ends_with("-delete") {
                disk.remove(&directory)?;
                continue;
            }
            if let Some((id, reaches)) = parse_damaged_name(&directory) {
                kept.push(Kept { id, directory, reaches, since: now });
                continue;
            }
            let Some(name) = parse_directory_name(&directory) else { continue };
            let start = written.start(&name, clean.is_some());
            // The topic's own settings come with the metadata; recovery needs none of them.
            let opened = Log::open(disk.clone(), &directory, &LogConfig::default(), start);
            let opened = match opened {
                // The disk's errors are not one log's.
                Err(OpenError::Disk(error)) => return Err(named(&directory, &error)),
                Err(error @ (OpenError::Corrupt { .. } | OpenError::Unfinished { .. })) => Err(error),
                Ok(opened) => Ok(opened),
            };
            if let Err(OpenError::Corrupt { topic_id, .. }) = &opened {
                let (directory, topic_id, name) = (directory.clone(), *topic_id, name.clone());
                let RecoveryStart { recovery_point, log_start, .. } = start;
                // Nothing was fetched for it under this registration.
                let known_in = None;
                damaged.push(Damaged { directory, name, topic_id, recovery_point, log_start, known_in });
            }
            let result = opened.map(|(mut log, report)| {
                log.count_producers_from(now);
                producers.opened(&log);
                let partition = TopicPartition { topic_id: log.topic_id(), partition: name.1 };
                let high_watermark = written.high_watermarks.get(&name).copied().unwrap_or_default();
                let high_watermark =
                    log.taken_back_from().map_or(high_watermark, |from| high_watermark.min(from));
                replicas.insert(partition, Replica::new(log, high_watermark));
                (partition, report)
            });
            producers.bound(&mut replicas);
            logs.push(OpenedLog { directory, result });
        }
        let shard = Self {
            me,
            disk,
            peers: Peers { now, ..Peers::default() },
            replicas,
            futures,
            commit: GroupCommit::new(),
            removing: Vec::new(),
            moved: false,
            unwanted: Vec::new(),
            removals: 0,
            postponed: BTreeMap::new(),
            effects: Vec::new(),
            checkpointed_at: now,
            ticked_at: now,
            checkpoint_running: false,
            written: written.recovery_points,
            writing: Offsets::new(),
            unflushed_bytes: 0,
            room: u64::MAX,
            producers,
            damaged,
            suspects: BTreeMap::new(),
            kept,
        };
        Ok(Opened { shard, logs, futures: opened_futures, clean })
    }
}

type Futures<D> = BTreeMap<TopicPartition, Future<D>>;

/// Opens the logs that are to take the place of logs in other directories. One that is not whole is removed: it is a copy.
fn open_futures<D: Disk>(disk: &D) -> std::io::Result<(Futures<D>, Vec<OpenedLog>)> {
    let (mut futures, mut found) = (Futures::new(), Vec::new());
    for directory in disk.list("")? {
        let Some(partition) = parse_future_name(&directory) else { continue };
        let result = match Log::open_future(disk.clone(), &directory, &LogConfig::default()) {
            Ok((log, report)) => {
                let id = TopicPartition { topic_id: log.topic_id(), partition };
                match futures.entry(id) {
                    Entry::Vacant(free) => drop(free.insert(Future::new(log))),
                    // An earlier one, of which the removal was not durable. If the original is gone the longer one is all
                    // there is.
                    Entry::Occupied(mut other) => {
                        let shorter = if other.get().log.log_end() < log.log_end() {
                            other.insert(Future::new(log)).log
                        } else {
                            log
                        };
                        disk.remove(shorter.directory())?;
                    }
                }
                Ok((id, report))
            }
            Err(OpenError::Disk(error)) => return Err(named(&directory, &error)),
            Err(error @ (OpenError::Corrupt { .. } | OpenError::Unfinished { .. })) => {
                disk.remove(&directory)?;
                Err(error)
            }
        };
        found.push(OpenedLog { directory, result });
    }
    Ok((futures, found))
}

/// The disk's error, with what was attempted.
fn named(directory: &str, error: &DiskError) -> std::io::Error {
    if is_no_descriptor(error) {
        return NoDescriptor.into();
    }
    std::io::Error::new(error.source.kind(), format!("log \"{directory}\": {error}: {}", error.source))
}
