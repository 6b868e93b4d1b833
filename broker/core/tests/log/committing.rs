//! Group commit over several logs of one disk.

use std::io;
use std::time::Duration;

use ottla_core::ids::Offset;
use ottla_core::log::commit::{GroupCommit, ROUND_MAX, RoundEnd};
use ottla_core::log::{Log, LogConfig, SyncJob};
use ottla_core::time::Monotonic;
use ottla_sim::disk::SimDisk;

use crate::rig::{Batch, append, disk, topic_id};

const NOW: Monotonic = Monotonic(1000);

/// Two logs; acknowledgements are numbers.
struct Shard {
    logs: Vec<Log<SimDisk>>,
    commit: GroupCommit<usize, u32>,
}

impl Shard {
    fn new() -> Self {
        let disk = disk(1);
        let create = |name: &str| {
            Log::create(disk.clone(), name, topic_id(), &LogConfig::default(), Offset(0)).unwrap()
        };
        Self { logs: vec![create("a-0"), create("a-1")], commit: GroupCommit::new() }
    }

    fn produce(&mut self, log: usize, ack: u32) {
        let base = self.logs[log].log_end().0;
        append(&mut self.logs[log], Batch::at(base));
        self.commit.park(log, ack).unwrap();
    }

    fn begin(&mut self) -> Vec<(usize, SyncJob<SimDisk>)> {
        let logs = &mut self.logs;
        self.commit.begin(NOW, |log| logs[log].take_sync())
    }

    fn run(&mut self, (log, job): &(usize, SyncJob<SimDisk>)) {
        self.commit.finished(*log, job.number(), job.run());
    }

    /// What a round that has ended well releases.
    fn released(&mut self) -> Vec<u32> {
        match self.commit.take_end() {
            Some(RoundEnd::Durable { logs, acks }) => {
                for (log, number) in logs {
                    self.logs[log].sync_finished(number, Ok(())).unwrap();
                }
                acks
            }
            Some(RoundEnd::Failed { error, .. }) => panic!("failed: {error}"),
            None => Vec::new(),
        }
    }

    fn refused(&mut self) -> (Option<usize>, Vec<u32>) {
        match self.commit.take_end() {
            Some(RoundEnd::Failed { log, acks, .. }) => (log, acks),
            other => panic!("not failed: {other:?}"),
        }
    }
}

#[test]
fn nothing_is_released_before_the_last_job_of_the_round_is_done() {
    let mut shard = Shard::new();
    shard.produce(0, 1);
    shard.produce(1, 2);
    shard.produce(0, 3);
    let jobs = shard.begin();
    assert_eq!(jobs.len(), 2, "one job for each log, whatever was appended to it");
    assert!(shard.released().is_empty());
    shard.run(&jobs[1]);
    assert!(shard.released().is_empty());
    shard.run(&jobs[0]);
    assert_eq!(shard.released(), [1, 2, 3]);
    assert_eq!([0, 1].map(|log| shard.logs[log].flushed_end()), [Offset(2), Offset(1)]);
}

#[test]
fn what_is_appended_while_a_round_runs_belongs_to_the_next() {
    let mut shard = Shard::new();
    shard.produce(0, 1);
    let jobs = shard.begin();
    shard.produce(0, 2);
    shard.produce(1, 3);
    assert!(shard.begin().is_empty(), "one round at a time");
    shard.run(&jobs[0]);
    assert_eq!(shard.released(), [1]);
    assert_eq!(shard.logs[0].flushed_end(), Offset(1));
    let jobs = shard.begin();
    jobs.iter().for_each(|job| shard.run(job));
    assert_eq!(shard.released(), [2, 3]);
    assert!(shard.begin().is_empty(), "nothing is left to sync");
}

#[test]
fn a_round_in_which_nothing_is_left_to_sync_still_releases() {
    let mut shard = Shard::new();
    shard.produce(0, 1);
    let job = shard.logs[0].take_sync().unwrap();
    let result = job.run();
    shard.logs[0].sync_finished(job.number(), result).unwrap();
    assert!(shard.begin().is_empty());
    assert_eq!(shard.released(), [1]);
}

#[test]
fn one_failed_sync_refuses_everything_and_ends_the_directory() {
    let mut shard = Shard::new();
    shard.produce(0, 1);
    shard.produce(1, 2);
    let jobs = shard.begin();
    shard.produce(1, 3);
    shard.commit.finished(1, jobs[1].1.number(), Err(io::Error::other("EIO")));
    assert_eq!(shard.refused(), (Some(1), vec![1, 2, 3]));
    shard.run(&jobs[0]);
    assert!(shard.released().is_empty(), "the good half of the round does not count");
    assert_eq!(shard.commit.park(0, 4), Err(4));
    shard.commit.want_sync(0);
    assert!(shard.begin().is_empty());
    assert!(shard.commit.has_failed());
}

#[test]
fn a_disk_that_holds_a_round_back_fails() {
    let mut shard = Shard::new();
    shard.produce(0, 1);
    let jobs = shard.begin();
    for second in 1..=ROUND_MAX.as_secs() {
        shard.commit.tick(NOW.plus(Duration::from_secs(second)));
        assert!(shard.released().is_empty());
    }
    shard.commit.tick(NOW.plus(ROUND_MAX + Duration::from_millis(1)));
    assert_eq!(shard.refused(), (None, vec![1]));
    shard.run(&jobs[0]);
    assert!(shard.commit.take_end().is_none(), "too late is too late");
}

#[test]
fn a_process_that_was_paused_does_not_blame_its_disk() {
    let mut shard = Shard::new();
    shard.produce(0, 1);
    let jobs = shard.begin();
    shard.commit.tick(NOW.plus(10 * ROUND_MAX));
    shard.run(&jobs[0]);
    assert_eq!(shard.released(), [1]);
}

#[test]
fn a_failure_between_rounds_refuses_what_waits_but_not_what_was_durable() {
    let mut shard = Shard::new();
    shard.produce(0, 1);
    let jobs = shard.begin();
    shard.produce(0, 2);
    shard.run(&jobs[0]);
    shard.commit.fail(None, io::Error::other("a write failed"));
    assert_eq!(shard.released(), [1]);
    assert_eq!(shard.refused(), (None, vec![2]));
}
