//! Group commit over several logs of one disk.

use std::io;
use std::time::Duration;

use ottla_core::ids::Offset;
use ottla_core::log::commit::{GroupCommit, ROUND_LOGS_MAX, RoundEnd, STALL_MAX};
use ottla_core::log::{Log, LogConfig, SyncJob};
use ottla_core::time::Monotonic;
use ottla_sim::disk::SimDisk;

use crate::rig::{Batch, append, disk, topic_id};

const NOW: Monotonic = Monotonic(1000);

struct Shard {
    logs: Vec<Log<SimDisk>>,
    commit: GroupCommit<usize>,
}

impl Shard {
    fn new(logs: usize) -> Self {
        let disk = disk(1);
        let create = |number: usize| {
            let name = format!("a-{number}");
            Log::create(disk.clone(), &name, topic_id(), &LogConfig::default(), Offset(0)).unwrap()
        };
        Self { logs: (0..logs).map(create).collect(), commit: GroupCommit::new() }
    }

    fn produce(&mut self, log: usize) {
        let base = self.logs[log].log_end().0;
        append(&mut self.logs[log], Batch::at(base));
        self.commit.want_sync(log);
    }

    fn begin(&mut self) -> Vec<(usize, SyncJob<SimDisk>)> {
        let logs = &mut self.logs;
        self.commit.begin(NOW, |log| logs[log].take_sync())
    }

    fn run(&mut self, (log, job): &(usize, SyncJob<SimDisk>)) {
        self.commit.finished(*log, job.number(), job.run());
    }

    /// The logs of a round that has ended well.
    fn durable(&mut self) -> Vec<usize> {
        match self.commit.take_end() {
            Some(RoundEnd::Durable { logs }) => {
                for (log, number) in &logs {
                    self.logs[*log].sync_finished(*number, Ok(())).unwrap();
                }
                logs.into_iter().map(|(log, _)| log).collect()
            }
            Some(RoundEnd::Failed { error, .. }) => panic!("failed: {error}"),
            None => Vec::new(),
        }
    }

    /// The log over which the directory has failed.
    fn failed(&mut self) -> Option<usize> {
        match self.commit.take_end() {
            Some(RoundEnd::Failed { log, .. }) => log,
            other => panic!("not failed: {other:?}"),
        }
    }

    fn flushed_ends(&self) -> Vec<i64> {
        self.logs.iter().map(|log| log.flushed_end().0).collect()
    }
}

#[test]
fn nothing_is_durable_before_the_last_job_of_the_round_is_done() {
    let mut shard = Shard::new(2);
    shard.produce(0);
    shard.produce(1);
    shard.produce(0);
    let jobs = shard.begin();
    assert_eq!(jobs.len(), 2, "one job for each log, whatever was appended to it");
    assert!(shard.durable().is_empty());
    shard.run(&jobs[1]);
    assert!(shard.durable().is_empty());
    shard.run(&jobs[0]);
    assert_eq!(shard.durable(), [1, 0]);
    assert_eq!(shard.flushed_ends(), [2, 1]);
}

#[test]
fn what_is_appended_while_a_round_runs_belongs_to_the_next() {
    let mut shard = Shard::new(2);
    shard.produce(0);
    let jobs = shard.begin();
    shard.produce(0);
    shard.produce(1);
    assert!(shard.begin().is_empty(), "one round at a time");
    shard.run(&jobs[0]);
    assert_eq!(shard.durable(), [0]);
    assert_eq!(shard.flushed_ends(), [1, 0]);
    let jobs = shard.begin();
    jobs.iter().for_each(|job| shard.run(job));
    assert_eq!(shard.durable(), [0, 1]);
    assert!(shard.begin().is_empty(), "nothing is left to sync");
}

#[test]
fn a_round_takes_so_many_logs_and_nobody_waits_for_ever() {
    let mut shard = Shard::new(2 * ROUND_LOGS_MAX);
    (0..2 * ROUND_LOGS_MAX).for_each(|log| shard.produce(log));
    let first: Vec<usize> = (0..ROUND_LOGS_MAX).collect();
    let rest: Vec<usize> = (ROUND_LOGS_MAX..2 * ROUND_LOGS_MAX).collect();
    for expected in [&first, &rest, &first] {
        let jobs = shard.begin();
        assert_eq!(&jobs.iter().map(|(log, _)| *log).collect::<Vec<_>>(), expected);
        // The first ones never rest.
        first.iter().for_each(|log| shard.produce(*log));
        jobs.iter().for_each(|job| shard.run(job));
        assert_eq!(&shard.durable(), expected);
    }
}

#[test]
fn a_round_in_which_nothing_is_left_to_sync_ends_at_once() {
    let mut shard = Shard::new(2);
    shard.produce(0);
    let job = shard.logs[0].take_sync().unwrap();
    let result = job.run();
    shard.logs[0].sync_finished(job.number(), result).unwrap();
    assert!(shard.begin().is_empty());
    assert!(shard.durable().is_empty() && !shard.commit.is_running());
    shard.produce(1);
    assert_eq!(shard.begin().len(), 1);
}

#[test]
fn one_failed_sync_ends_the_directory() {
    let mut shard = Shard::new(2);
    shard.produce(0);
    shard.produce(1);
    let jobs = shard.begin();
    shard.produce(1);
    shard.commit.finished(1, jobs[1].1.number(), Err(io::Error::other("EIO")));
    assert_eq!(shard.failed(), Some(1));
    shard.run(&jobs[0]);
    assert!(shard.durable().is_empty(), "the good half of the round does not count");
    shard.commit.want_sync(0);
    assert!(shard.begin().is_empty());
    assert!(shard.commit.has_failed());
}

#[test]
fn a_disk_that_holds_a_sync_back_fails() {
    let mut shard = Shard::new(1);
    shard.produce(0);
    let jobs = shard.begin();
    for second in 1..=STALL_MAX.as_secs() {
        shard.commit.tick(NOW.plus(Duration::from_secs(second)));
        assert!(!shard.commit.has_failed());
    }
    shard.commit.tick(NOW.plus(STALL_MAX + Duration::from_millis(1)));
    assert_eq!(shard.failed(), None);
    shard.run(&jobs[0]);
    assert!(shard.commit.take_end().is_none(), "too late is too late");
}

#[test]
fn a_long_round_is_no_reason_to_fail_while_its_syncs_end() {
    let mut shard = Shard::new(8);
    (0..8).for_each(|log| shard.produce(log));
    let jobs = shard.begin();
    for (number, job) in jobs.iter().enumerate() {
        for second in [3, 5, 7, 9] {
            shard.commit.tick(NOW.plus(Duration::from_secs(number as u64 * 9 + second)));
        }
        shard.run(job);
    }
    assert_eq!(shard.durable().len(), 8, "72 s after it began");
}

#[test]
fn a_job_that_waits_for_a_descriptor_hides_none_that_hangs() {
    let fails = |waiting: &[usize]| {
        let mut shard = Shard::new(3);
        (0..3).for_each(|log| shard.produce(log));
        let jobs = shard.begin();
        // Later the first has its descriptor, and the disk holds it back.
        shard.commit.postponed(jobs[0].0, jobs[0].1.number());
        for second in 1..=STALL_MAX.as_secs() + 3 {
            for (log, job) in waiting.iter().map(|log| &jobs[*log]) {
                shard.commit.postponed(*log, job.number());
            }
            shard.commit.tick(NOW.plus(Duration::from_secs(second)));
        }
        shard.commit.has_failed()
    };
    assert!(fails(&[]));
    assert!(fails(&[1, 2]), "one of them hangs");
    assert!(!fails(&[0, 1, 2]), "nothing is asked of the disk");
}

#[test]
fn a_job_of_no_round_hides_none_that_hangs() {
    let mut shard = Shard::new(2);
    shard.produce(1);
    let before = shard.begin();
    shard.run(&before[0]);
    assert_eq!(shard.durable(), [1]);
    shard.produce(0);
    shard.begin();
    for second in 1..=STALL_MAX.as_secs() + 1 {
        shard.commit.postponed(1, before[0].1.number());
        shard.commit.tick(NOW.plus(Duration::from_secs(second)));
    }
    assert!(shard.commit.has_failed());
}

#[test]
fn a_process_that_was_paused_does_not_blame_its_disk() {
    let mut shard = Shard::new(1);
    shard.produce(0);
    let jobs = shard.begin();
    shard.commit.tick(NOW.plus(10 * STALL_MAX));
    shard.run(&jobs[0]);
    assert_eq!(shard.durable(), [0]);
}

#[test]
fn a_failure_between_rounds_does_not_take_back_what_was_durable() {
    let mut shard = Shard::new(1);
    shard.produce(0);
    let jobs = shard.begin();
    shard.produce(0);
    shard.run(&jobs[0]);
    shard.commit.fail(None, io::Error::other("a write failed"));
    assert_eq!(shard.durable(), [0]);
    assert_eq!(shard.failed(), None);
}
