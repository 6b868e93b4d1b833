//! What a log may hold after a crash, by what was done to it before.

use bytes::Bytes;
use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::{Offset, PartitionIndex, TopicName};
use ottla_core::log::checkpoints::{Checkpoint, Offsets};
use ottla_core::log::{Log, LogConfig, OpenError, RecoveryReport, RecoveryStart, SyncJob};
use ottla_core::time::Wall;
use ottla_sim::disk::SimDisk;
use ottla_sim::rng::Rng;

use crate::rig::{Batch, DIRECTORY, check_producers, contents, epoch, split, topic_id};

/// Small segments and dense indexes, so that short scripts roll and index much.
pub(crate) fn config() -> LogConfig {
    LogConfig { segment_bytes: 900, index_interval_bytes: 150, ..LogConfig::default() }
}

/// One state of the log in memory since the last sync.
#[derive(Clone, Default)]
struct Timeline {
    batches: Vec<(i64, Bytes)>,
}

impl std::fmt::Debug for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.batches.iter().map(|(end, batch)| (end, batch_epoch(batch)))).finish()
    }
}

fn batch_epoch(batch: &[u8]) -> i32 {
    i32::from_be_bytes(batch[12..16].try_into().unwrap())
}

impl Timeline {
    fn end(&self) -> Option<i64> {
        self.batches.last().map(|(end, _)| *end)
    }
}

/// A log, what was done to it, and what it has promised.
pub(crate) struct Model {
    pub(crate) disk: SimDisk,
    /// It keeps its own recovery point, and no checkpoint names it.
    is_future: bool,
    pub(crate) log: Option<Log<SimDisk>>,
    /// Every state that a crash may bring back, the current one last.
    timelines: Vec<Timeline>,
    /// Records below it were flushed and not cut since.
    promised: i64,
    log_start: i64,
    epoch: i32,
    /// Everything was dropped and the next sync has not finished: nothing need be left.
    restarting: bool,
    next_timestamp: i64,
}

/// The node has crashed within an operation.
#[derive(Debug)]
pub(crate) struct Crashed;

/// One step of a script.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Append(usize),
    Sync,
    /// Takes the job, appends, then runs the job.
    SyncBehindAppend,
    /// Takes the job, cuts, then runs the job.
    SyncBehindTruncate,
    /// Takes the job, begins anew elsewhere, then runs the job.
    SyncBehindRestart,
    Checkpoint,
    NewEpoch,
    /// Cuts so many batches, and begins a new epoch.
    Truncate(usize),
    AdvanceStart,
    Restart,
    /// A proper shutdown and start.
    Reopen,
}

pub(crate) fn draw_step(rng: &mut Rng) -> Step {
    match rng.below(100) {
        0..40 => Step::Append(1 + rng.index(4)),
        40..55 => Step::Sync,
        55..63 => Step::SyncBehindAppend,
        63..67 => Step::SyncBehindTruncate,
        67..76 => Step::Checkpoint,
        76..80 => Step::NewEpoch,
        80..90 => Step::Truncate(1 + rng.index(20)),
        90..95 => Step::AdvanceStart,
        95 => Step::Restart,
        96 => Step::SyncBehindRestart,
        _ => Step::Reopen,
    }
}

fn key() -> (TopicName, PartitionIndex) {
    (TopicName::parse("topic").unwrap(), PartitionIndex(0))
}

fn ok<T, E: std::fmt::Debug>(disk: &SimDisk, result: Result<T, E>) -> Result<T, Crashed> {
    match result {
        Ok(value) => Ok(value),
        Err(_) if disk.is_stopped() => Err(Crashed),
        Err(error) => panic!("failed without a crash: {error:?}"),
    }
}

impl Model {
    pub(crate) fn new(disk: SimDisk, is_future: bool) -> Self {
        Self {
            disk,
            is_future,
            log: None,
            timelines: vec![Timeline::default()],
            promised: 0,
            log_start: 0,
            epoch: 0,
            restarting: true,
            next_timestamp: 1,
        }
    }

    pub(crate) fn create(&mut self) -> Result<(), Crashed> {
        let disk = self.disk.clone();
        let created = if self.is_future {
            Log::create_future(disk, DIRECTORY, topic_id(), &config())
        } else {
            Log::create(disk, DIRECTORY, topic_id(), &config(), Offset(0))
        };
        self.log = Some(ok(&self.disk, created)?);
        Ok(())
    }

    fn log(&mut self) -> &mut Log<SimDisk> {
        self.log.as_mut().unwrap()
    }

    fn current(&mut self) -> &mut Timeline {
        self.timelines.last_mut().unwrap()
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), Crashed> {
        match step {
            Step::Append(count) => self.append(count),
            Step::Sync => match self.log().take_sync() {
                Some(job) => self.run(&job),
                None => Ok(()),
            },
            Step::SyncBehindAppend => {
                self.log().owe_recovery_point();
                let job = self.log().take_sync();
                let end = self.log().log_end().0;
                self.append(2)?;
                job.map_or(Ok(()), |job| self.run_to(&job, end))
            }
            Step::SyncBehindTruncate => {
                self.log().owe_recovery_point();
                let job = self.log().take_sync();
                self.truncate(3)?;
                self.append(2)?;
                let end = self.log().flushed_end().0;
                job.map_or(Ok(()), |job| self.run_to(&job, end))
            }
            Step::SyncBehindRestart => {
                self.log().owe_recovery_point();
                let job = self.log().take_sync();
                self.restart()?;
                self.append(1)?;
                let end = self.log().flushed_end().0;
                job.map_or(Ok(()), |job| self.run_to(&job, end))
            }
            Step::Checkpoint => self.checkpoint(),
            Step::NewEpoch => {
                self.epoch += 1;
                let next = epoch(self.epoch);
                self.log().assign_epoch(next);
                Ok(())
            }
            Step::Truncate(batches) => self.truncate(batches),
            Step::AdvanceStart => self.advance_start(),
            Step::Restart => self.restart(),
            Step::Reopen => self.reopen(),
        }
    }

    fn append(&mut self, count: usize) -> Result<(), Crashed> {
        for i in 0..count {
            let base = self.log().log_end().0;
            let batch = Batch {
                count: 1 + i32::try_from(i % 3).unwrap(),
                epoch: self.epoch,
                timestamp: self.next_timestamp,
                // Now and then larger than a sector, or than a segment.
                value_bytes: [10, 40, 700, 90, 1200][(base.unsigned_abs() as usize + i) % 5],
                ..Batch::at(base)
            };
            self.next_timestamp += 3;
            let bytes = batch.bytes();
            self.current().batches.push((base + i64::from(batch.count), bytes.clone()));
            let appended = self.log().append(&[bytes], Wall(0));
            ok(&self.disk, appended)?;
        }
        Ok(())
    }

    fn run(&mut self, job: &SyncJob<SimDisk>) -> Result<(), Crashed> {
        let end = self.log().log_end().0;
        self.run_to(job, end)
    }

    /// Runs a job that makes durable what lay below `end`.
    fn run_to(&mut self, job: &SyncJob<SimDisk>, end: i64) -> Result<(), Crashed> {
        let result = job.run();
        let finished = self.log().sync_finished(job.number(), result);
        let flushed = ok(&self.disk, finished)?.0;
        assert!(flushed >= end, "flushed to {flushed} and not to {end}");
        self.promised = flushed;
        // Only states that hold all of it can come back now.
        let current = self.timelines.pop().unwrap();
        let held = current.batches.clone();
        let holds = |timeline: &Timeline| {
            let below = |batches: &[(i64, Bytes)]| {
                batches.iter().filter(|(end, _)| *end <= flushed).cloned().collect::<Vec<_>>()
            };
            timeline.end().unwrap_or(0) >= flushed && below(&timeline.batches) == below(&held)
        };
        self.timelines.retain(holds);
        self.timelines.push(current);
        self.restarting = false;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Crashed> {
        if self.is_future {
            self.log().owe_recovery_point();
            return self.step(Step::Sync);
        }
        if !self.log().is_established() {
            return Ok(());
        }
        let recovery_point = self.log().take_recovery_point();
        let log_start = self.log().log_start();
        let disk = self.disk.clone();
        ok(&disk, Checkpoint::LogStart.write(&disk, &Offsets::from([(key(), log_start)])))?;
        ok(&disk, Checkpoint::RecoveryPoint.write(&disk, &Offsets::from([(key(), recovery_point)])))?;
        ok(&disk, self.log().recovery_point_written(recovery_point))
    }

    fn truncate(&mut self, batches: usize) -> Result<(), Crashed> {
        let kept = self.current().batches.len().saturating_sub(batches);
        let Some((cut_end, _)) = self.current().batches.get(kept).cloned() else { return Ok(()) };
        let first_base = self.log().segments().next().unwrap().base.0;
        let end = self.current().batches[..kept].last().map_or(first_base, |(end, _)| *end);
        // The model remembers batches below the log start; the log is not cut there.
        if end < self.log_start || cut_end <= self.log_start {
            return Ok(());
        }
        self.promised = self.promised.min(end);
        let batches = self.current().batches[..kept].to_vec();
        self.timelines.push(Timeline { batches });
        // The middle of a batch is cut at its beginning.
        let result = self.log().truncate_to(Offset(cut_end - 1));
        let log_end = ok(&self.disk, result)?;
        assert_eq!(log_end.0, end);
        assert!(self.log().flushed_end() <= log_end);
        check_producers(self.log());
        // A leader's records after a cut have a later epoch: a follower cuts when that begins.
        self.epoch += 1;
        Ok(())
    }

    fn advance_start(&mut self) -> Result<(), Crashed> {
        let flushed = self.log().flushed_end().0;
        self.log_start = self.log_start.max((self.log_start + flushed) / 2);
        let start = Offset(self.log_start);
        self.log().advance_log_start(start);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Crashed> {
        let start = self.log().log_end().0 + 7;
        self.restarting = true;
        self.promised = 0;
        self.timelines.push(Timeline::default());
        self.log_start = start;
        let restarted = self.log().restart_at(Offset(start));
        self.epoch += 1;
        ok(&self.disk, restarted)
    }

    fn reopen(&mut self) -> Result<(), Crashed> {
        self.log().prepare_close();
        self.log().owe_recovery_point();
        if let Some(job) = self.log().take_sync() {
            self.run(&job)?;
        }
        self.checkpoint()?;
        let before = contents(self.log());
        let (start, end) = (self.log().log_start(), self.log().log_end());
        self.log = None;
        let start =
            RecoveryStart { clean_shutdown: true, established: true, recovery_point: end, log_start: start };
        let opened = self.open(start);
        let (log, report) = ok(&self.disk, opened)?;
        assert_eq!((report.cut_bytes, report.removed_segments), (0, 0));
        assert_eq!((report.checked_batches, report.recovered_bytes), (0, 0));
        assert_eq!(contents(&log), before, "a proper restart changed the log");
        check_producers(&log);
        self.log = Some(log);
        Ok(())
    }

    fn open(&self, start: RecoveryStart) -> Result<(Log<SimDisk>, RecoveryReport), OpenError> {
        let disk = self.disk.clone();
        if !self.is_future {
            return Log::open(disk, DIRECTORY, &config(), start);
        }
        let believed = own_point(&disk);
        let opened = Log::open_future(disk, DIRECTORY, &config())?;
        let end = opened.0.log_end().0;
        assert!(end >= believed, "its recovery point {believed} was above what was durable: {end}");
        Ok(opened)
    }

    /// Opens the log on what a crash has left, and checks it.
    pub(crate) fn recover(&mut self, disk: SimDisk) -> Result<(), Crashed> {
        self.disk = disk;
        self.log = None;
        let read = |checkpoint: Checkpoint| {
            let offsets = ok(&self.disk, checkpoint.read(&self.disk))?;
            Ok(offsets.get(&key()).copied())
        };
        let recovery_point = read(Checkpoint::RecoveryPoint)?;
        let start = RecoveryStart {
            clean_shutdown: false,
            established: recovery_point.is_some(),
            recovery_point: recovery_point.unwrap_or_default(),
            log_start: read(Checkpoint::LogStart)?.unwrap_or_default(),
        };
        let nothing_promised = self.promised == 0;
        if !self.disk.list("").unwrap().contains(&DIRECTORY.to_owned()) {
            assert!(nothing_promised, "the directory is lost");
            *self = Self::new(self.disk.clone(), self.is_future);
            return self.create();
        }
        match self.open(start) {
            Ok((log, _)) => self.log = Some(log),
            Err(_) if self.disk.is_stopped() => return Err(Crashed),
            Err(OpenError::Unfinished { .. }) if nothing_promised => {
                *self = Self::new(self.disk.clone(), self.is_future);
                return self.create();
            }
            Err(error) => panic!("cannot open: {error}, promised {}", self.promised),
        }
        self.check();
        Ok(())
    }

    fn check(&mut self) {
        let log = self.log.as_ref().unwrap();
        let (start, end) = (log.log_start().0, log.log_end().0);
        assert_eq!(log.flushed_end().0, end, "what recovery keeps is durable");
        assert!(self.restarting || start <= self.log_start, "log start {start}");
        assert!(end >= self.promised, "the log ends at {end}, below what was promised: {}", self.promised);
        check_producers(log);
        let bytes = contents(log);
        let found: Vec<(i64, Bytes)> =
            split(&bytes).into_iter().map(|(end, batch)| (end, Bytes::copy_from_slice(batch))).collect();
        for (end, batch) in &found {
            let expected = Some(epoch(batch_epoch(batch)));
            assert_eq!(log.epoch_at(Offset(end - 1)), expected, "epoch of the batch up to {end}");
        }
        let matching = self.timelines.iter().rev().find(|timeline| is_run(&found, &timeline.batches));
        let Some(matching) = matching else {
            let found = Timeline { batches: found };
            panic!(
                "the log {start}..{end} {found:?} is no part of any state it was in: {:?}",
                self.timelines
            );
        };
        let promised =
            matching.batches.iter().filter(|(end, _)| *end <= self.promised && *end > self.log_start);
        assert!(promised.into_iter().all(|batch| found.contains(batch)), "a promised batch is lost");
        self.timelines = vec![Timeline { batches: found }];
        self.promised = end;
        self.log_start = start;
        self.epoch += 1;
        self.restarting = false;
    }
}

/// The recovery point in the log's own directory that a start believes.
pub(crate) fn own_point(disk: &SimDisk) -> i64 {
    let offset = |name: &str| -> Option<i64> {
        let file = disk.open(&format!("{DIRECTORY}/{name}"), OpenMode::Existing).ok()?;
        let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
        file.read_at(&mut bytes, 0).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        // A torn one takes everything back.
        Some(text.strip_prefix("0\n").and_then(|rest| rest.strip_suffix('\n')?.parse().ok()).unwrap_or(0))
    };
    offset("recovery-point").unwrap_or(0).min(offset("truncation-checkpoint").unwrap_or(i64::MAX))
}

/// Whether `found` is a run of neighbours in `of`.
fn is_run(found: &[(i64, Bytes)], of: &[(i64, Bytes)]) -> bool {
    let Some(first) = found.first() else { return true };
    let Some(at) = of.iter().position(|batch| batch == first) else { return false };
    of[at..].starts_with(found)
}
