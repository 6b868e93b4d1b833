//! Checkpoints of the directory: how much a recovery need not look at (every 64 MiB or 5 s), and, before a
//! proper stop, the mark that nothing need be looked at.

use std::io;
use std::time::Duration;

use super::Shard;
use super::effect::{CheckpointJob, Effect};
use crate::config::{Durability, Limit};
use crate::disk::Disk;
use crate::ids::{BrokerEpoch, Offset, PartitionIndex, TopicName, TopicPartition};
use crate::log::checkpoints::{self, Offsets};
use crate::log::parse_directory_name;
use crate::partition::Partition;
use crate::time::Monotonic;

/// The recovery point advances at least so often, if anything was written.
const INTERVAL: Duration = Duration::from_secs(5);

/// And whenever so much was written since.
const BYTES: u64 = 64 << 20;

impl<D: Disk, T, W> Shard<D, T, W> {
    /// Time goes on: call it about once a second.
    pub fn tick(&mut self, now: Monotonic) {
        self.check_round(now);
        if self.has_failed() {
            return;
        }
        self.remove_idle();
        self.look_at_suspects();
        self.producers.tick(&mut self.replicas, now);
        self.notice_room();
        self.check_lag(now);
        let due = now.since(self.checkpointed_at) >= INTERVAL;
        let all = due || self.unflushed_bytes >= BYTES;
        self.flush_page_cache(now, all);
        if due && !self.checkpoint_running {
            self.checkpointed_at = now;
            self.owe_recovery_points();
            self.begin_checkpoint();
        }
        self.begin_round(now);
    }

    /// Topics that leave their records in the page cache are synced in the background, so that the recovery
    /// point advances for them too; sooner, where the topic says so. What the next tick would find too late is
    /// synced now; so a record waits for `flush.ms`, or for one tick if that is less.
    fn flush_page_cache(&mut self, now: Monotonic, all: bool) {
        let before = std::mem::replace(&mut self.ticked_at, now);
        if all {
            self.unflushed_bytes = 0;
        }
        for (id, replica) in &mut self.replicas {
            let Some(Durability::PageCache { flush_wait, .. }) =
                replica.partition.as_ref().map(Partition::durability)
            else {
                continue;
            };
            if !replica.log.needs_sync() {
                replica.unflushed_since = None;
                continue;
            }
            let since = *replica.unflushed_since.get_or_insert(before);
            let late = |wait: Duration| now.since(since) + now.since(before) > wait;
            if all || matches!(flush_wait, Limit::AtMost(wait) if late(wait)) {
                replica.unflushed_since = None;
                self.commit.want_sync(*id);
            }
        }
    }

    fn begin_checkpoint(&mut self) {
        let mut job = CheckpointJob {
            disk: self.disk.clone(),
            recovery_points: Offsets::new(),
            high_watermarks: Offsets::new(),
            log_starts: Offsets::new(),
            logs: Vec::new(),
        };
        // A start must know that these were whole up to there.
        for damaged in &self.damaged {
            job.recovery_points.insert(damaged.name.clone(), damaged.recovery_point);
            if damaged.log_start > Offset(0) {
                job.log_starts.insert(damaged.name.clone(), damaged.log_start);
            }
        }
        let mut changed = false;
        for (id, replica) in &mut self.replicas {
            // One that is named here needs its first sync no second time after a crash.
            if !replica.log.is_established() {
                continue;
            }
            let Some(name) = parse_directory_name(replica.log.directory()) else { continue };
            // What a truncation took back is given again with the next writing.
            changed |= replica.log.takes_back();
            let recovery_point = replica.log.take_recovery_point();
            // One that nobody has assigned yet knows no more than what was written down before.
            let before = replica.high_watermark_on_disk;
            let high_watermark = replica.partition.as_ref().map_or(before, Partition::high_watermark);
            if replica.log.log_start() > Offset(0) {
                job.log_starts.insert(name.clone(), replica.log.log_start());
            }
            job.high_watermarks.insert(name.clone(), high_watermark);
            job.recovery_points.insert(name, recovery_point);
            job.logs.push((*id, recovery_point));
        }
        // An idle directory writes nothing.
        if changed || job.recovery_points != self.written {
            self.checkpoint_running = true;
            self.writing.clone_from(&job.recovery_points);
            self.effects.push(Effect::Checkpoint(job));
        }
    }

    /// The greatest recovery point that a start could find for a log of this name.
    pub(super) fn recovery_point_on_disk(&self, name: &(TopicName, PartitionIndex)) -> Offset {
        let points = [&self.written, &self.writing].map(|points| points.get(name).copied());
        points.into_iter().flatten().max().unwrap_or_default()
    }

    /// Takes the result of a [`CheckpointJob`].
    pub fn checkpoint_finished(&mut self, logs: Vec<(TopicPartition, Offset)>, result: io::Result<()>) {
        self.checkpoint_running = false;
        if let Err(error) = result {
            return self.fail(&error);
        }
        self.written = std::mem::take(&mut self.writing);
        for (id, recovery_point) in logs {
            let Some(replica) = self.replicas.get_mut(&id) else { continue };
            if let Err(error) = replica.log.recovery_point_written(recovery_point) {
                return self.fail(&error);
            }
        }
    }

    /// Whether no job is under way whose result [`Shard::close`] would have to wait for.
    pub fn is_idle(&self) -> bool {
        !self.commit.is_running() && !self.checkpoint_running
    }

    /// A proper stop: syncs and checkpoints everything and leaves the mark. Blocks on the disk; the caller
    /// has seen to it that the shard is idle and that nothing more is appended. A directory that has
    /// failed is left as it is: its next start must look at everything.
    ///
    /// # Errors
    /// If the disk fails, or if a job is under way: what that one syncs cannot be said to be durable.
    pub fn close(&mut self, epoch: Option<BrokerEpoch>) -> io::Result<()> {
        if self.has_failed() {
            return Ok(());
        }
        if !self.is_idle() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "a sync is under way"));
        }
        self.owe_recovery_points();
        let futures = self.futures.values_mut().map(|future| &mut future.log);
        for log in self.replicas.values_mut().map(|replica| &mut replica.log).chain(futures) {
            log.prepare_close();
            while let Some(job) = log.take_sync() {
                let outcome = job.run();
                log.sync_finished(job.number(), outcome).map_err(io::Error::other)?;
            }
        }
        let taken_back = self.replicas.values().map(|replica| &replica.log).filter(|log| log.takes_back());
        // Of a copy, what took back its recovery point may be gone since the last time that was written, and not durably.
        let taken_back = taken_back.chain(self.futures.values().map(|future| &future.log));
        let taken_back: Vec<String> = taken_back.map(|log| log.directory().to_owned()).collect();
        self.begin_checkpoint();
        for effect in self.take_effects() {
            if let Effect::Checkpoint(job) = effect {
                job.run()?;
                self.checkpoint_finished(job.logs(), Ok(()));
            }
        }
        // A start that found what these took back would not believe the high watermarks that were just written, nor the
        // recovery points of future logs.
        taken_back.iter().try_for_each(|directory| self.disk.sync_directory(directory))?;
        checkpoints::write_clean_shutdown(&self.disk, epoch.unwrap_or(BrokerEpoch(-1)))
    }
}
