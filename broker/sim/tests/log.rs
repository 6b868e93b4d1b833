//! One log on one disk, taken through crashes at any operation.
//!
//! What a sync has reported durable is there after every crash; what follows it is a prefix of what was
//! appended, and nothing else; a log always opens on its own volume.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may give up")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use ottla_core::log::checkpoints::{Checkpoint, Offsets};
use ottla_core::log::{CreateError, Log, LogConfig, OpenError, RecoveryStart, SyncJob};
use ottla_core::time::Wall;
use ottla_sim::disk::{CrashKind, SimDisk};
use ottla_sim::records;
use ottla_sim::rng::Rng;

const DIRECTORY: &str = "t-0";

/// Small segments and dense indexes, so that short runs roll and index.
const CONFIG: LogConfig = LogConfig {
    segment_bytes: 6_000,
    segment_ms: i64::MAX,
    segment_index_bytes: 64,
    index_interval_bytes: 700,
    producer_idle_max: Duration::MAX,
};

struct Run {
    seed: u64,
    rng: Rng,
    disk: SimDisk,
    log: Option<Log<SimDisk>>,
    job: Option<SyncJob<SimDisk>>,
    /// Everything appended, in order; index is offset.
    appended: Vec<String>,
    /// How much of it is durable for certain.
    durable: usize,
    epoch: i32,
    values: u64,
    crashes: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let rng = Rng::new(seed);
        let disk = SimDisk::new(rng.fork("disk"));
        let mut run = Self {
            seed,
            rng: rng.fork("run"),
            disk,
            log: None,
            job: None,
            appended: Vec::new(),
            durable: 0,
            epoch: 0,
            values: 0,
            crashes: 0,
        };
        run.reopen();
        run
    }

    fn start(&self) -> Option<RecoveryStart> {
        let offsets = Checkpoint::RecoveryPoint.read(&self.disk).ok()?;
        let recovery_point = offsets.get(&key()).copied();
        Some(RecoveryStart {
            clean_shutdown: false,
            established: recovery_point.is_some(),
            recovery_point: recovery_point.unwrap_or_default(),
            log_start: Offset(0),
        })
    }

    /// Opens or makes the log, through as many crashes as it takes.
    fn reopen(&mut self) {
        loop {
            if let Some(log) = self.open_once() {
                self.check(&log);
                self.log = Some(log);
                return;
            }
            self.crash_disk();
        }
    }

    fn open_once(&mut self) -> Option<Log<SimDisk>> {
        if self.rng.permille(200) {
            self.disk.crash_after(self.rng.below(20));
        }
        let start = self.start()?;
        let found = ottla_core::disk::Disk::list(&self.disk, "").ok()?;
        if found.iter().any(|name| name == DIRECTORY) {
            match Log::open(self.disk.clone(), DIRECTORY, &CONFIG, start) {
                Ok((log, _)) => return Some(log),
                Err(OpenError::Unfinished { .. }) => {
                    assert_eq!(self.durable, 0, "seed {}: a durable log is unfinished", self.seed);
                }
                Err(OpenError::Disk(error)) => {
                    assert!(self.disk.is_stopped(), "seed {}: {error:?} on a good disk", self.seed);
                    return None;
                }
                Err(error @ OpenError::Corrupt { .. }) => panic!("seed {}: {error}", self.seed),
            }
        }
        assert_eq!(self.durable, 0, "seed {}: a durable log has vanished", self.seed);
        match Log::create(self.disk.clone(), DIRECTORY, TopicId::default(), &CONFIG, Offset(0)) {
            Ok(log) => Some(log),
            Err(CreateError::Disk(_)) if self.disk.is_stopped() => None,
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn check(&mut self, log: &Log<SimDisk>) {
        let end = usize::try_from(log.log_end().0).unwrap();
        let seed = self.seed;
        assert!(end >= self.durable, "seed {seed}: {} were durable, {end} are left", self.durable);
        assert!(end <= self.appended.len(), "seed {seed}: more than was ever appended");
        let mut read = Vec::new();
        while read.len() < end {
            let from = Offset(i64::try_from(read.len()).unwrap());
            let plan = log.read(from, 2_000, log.log_end(), true).unwrap();
            let bytes: Bytes = plan.run().unwrap();
            let records = records::decode(&bytes).unwrap();
            assert!(!records.is_empty(), "seed {seed}: nothing at {from} below the end {end}");
            for (offset, value) in records.into_iter().filter(|(offset, _)| *offset >= from) {
                assert_eq!(offset.0, i64::try_from(read.len()).unwrap(), "seed {seed}: a gap");
                read.push(value);
            }
        }
        assert_eq!(read, self.appended[..end], "seed {seed}");
        self.appended.truncate(end);
        // An open log is durable as it stands, says its contract; a created one is empty.
        self.durable = end;
    }

    fn crash_disk(&mut self) {
        self.crashes += 1;
        let kinds = [CrashKind::Process, CrashKind::PowerAllLost, CrashKind::PowerSomeLost];
        let kind = *self.rng.pick(&kinds);
        self.disk = self.disk.crash(kind);
        self.log = None;
        self.job = None;
    }

    fn step(&mut self) {
        if self.rng.permille(30) {
            self.disk.crash_after(self.rng.below(40));
        }
        let Some(mut log) = self.log.take() else { return self.reopen() };
        let fine = match self.rng.below(10) {
            0..4 => self.append(&mut log),
            4..6 => {
                if self.job.is_none() {
                    self.job = log.take_sync();
                }
                true
            }
            6..9 => self.finish_sync(&mut log),
            _ if self.rng.permille(300) => self.checkpoint(&mut log),
            _ if self.rng.permille(200) => self.truncate(&mut log),
            _ => {
                self.epoch += 1;
                log.assign_epoch(LeaderEpoch(self.epoch));
                true
            }
        };
        if self.disk.is_stopped() || self.rng.permille(10) {
            self.crash_disk();
            return self.reopen();
        }
        assert!(fine, "seed {}: a good disk failed", self.seed);
        self.log = Some(log);
    }

    fn append(&mut self, log: &mut Log<SimDisk>) -> bool {
        let values: Vec<String> = (0..self.rng.range(1..4))
            .map(|_| {
                self.values += 1;
                format!("v{}{}", self.values, "x".repeat(self.rng.index(900)))
            })
            .collect();
        let mut batch = BytesMut::from(&records::encode(&values, 1)[..]);
        batch[..8].copy_from_slice(&log.log_end().0.to_be_bytes());
        batch[12..16].copy_from_slice(&self.epoch.to_be_bytes());
        // Even an append that fails may have reached the disk, whole or in part.
        self.appended.extend(values);
        log.append(&[batch.freeze()], Wall(1)).is_ok()
    }

    fn finish_sync(&mut self, log: &mut Log<SimDisk>) -> bool {
        let Some(job) = self.job.take() else { return true };
        let result = job.run();
        match log.sync_finished(job.number(), result) {
            Ok(flushed) => {
                self.durable = self.durable.max(usize::try_from(flushed.0).unwrap());
                true
            }
            Err(_) => false,
        }
    }

    fn checkpoint(&mut self, log: &mut Log<SimDisk>) -> bool {
        if !log.is_established() {
            return true;
        }
        let recovery_point = log.take_recovery_point();
        let offsets = Offsets::from([(key(), recovery_point)]);
        Checkpoint::RecoveryPoint.write(&self.disk, &offsets).is_ok()
            && log.recovery_point_written(recovery_point).is_ok()
    }

    /// Cuts the log as a follower would, and makes that durable, or crashes on the way.
    fn truncate(&mut self, log: &mut Log<SimDisk>) -> bool {
        if !self.finish_sync(log) {
            return false;
        }
        let at = self.rng.below(u64::try_from(self.appended.len()).unwrap() + 1);
        self.durable = self.durable.min(usize::try_from(at).unwrap());
        let cut = log.truncate_to(Offset(i64::try_from(at).unwrap()));
        if let Ok(end) = &cut {
            // It cuts whole batches, so it may cut more than was asked.
            self.durable = self.durable.min(usize::try_from(end.0).unwrap());
        } else {
            self.durable = 0;
        }
        self.job = log.take_sync();
        if cut.is_err() || !self.finish_sync(log) {
            return false;
        }
        self.appended.truncate(usize::try_from(log.log_end().0).unwrap());
        true
    }
}

fn key() -> (TopicName, PartitionIndex) {
    (TopicName::parse("t").unwrap(), PartitionIndex(0))
}

#[test]
fn a_log_keeps_what_it_synced_through_any_crash() {
    let mut crashes = 0;
    let mut longest = 0;
    for seed in 0..120 {
        let mut run = Run::new(seed);
        for _ in 0..400 {
            run.step();
            longest = longest.max(run.appended.len());
        }
        crashes += run.crashes;
    }
    assert!(crashes > 500, "only {crashes} crashes");
    assert!(longest > 50, "no log grew beyond {longest} records");
}
