//! Group commit: in which order the logs of one directory are appended, synced and acknowledged.
//!
//! Appends of all logs gather until no round is running. Then one round takes a [`SyncJob`] of each of the
//! [`ROUND_LOGS_MAX`] logs that have waited longest; its jobs run in parallel, on whatever threads the driver
//! has. What is appended meanwhile belongs to a later round. When the last job of a round is done and all
//! succeeded, the round ends and its acknowledgements may go out, never earlier. If one job fails, or no job
//! ends for [`STALL_MAX`], the directory has failed for ever: nothing is retried and no other round begins.
//! A disk that holds acks back for ten seconds is as good as dead, and the other replicas must be able to go
//! on without it.
//!
//! The driver of the binary and the simulator both run this code; so the order is the same in both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use super::sync::{SyncJob, SyncNumber};
use crate::disk::Disk;
use crate::planted::{self, Bug};
use crate::time::{Monotonic, Stall};

/// A round of which no job ends for so long fails its directory.
pub const STALL_MAX: Duration = Duration::from_secs(10);

/// How many logs one round syncs at most. A whole directory of new logs, seven syncs each, would hold every
/// producer back for as long as it takes; a round of so many takes 0.2 s on four threads at 2 ms a sync, and
/// gains all there is to gain from running them in parallel.
pub const ROUND_LOGS_MAX: usize = 64;

/// The rounds of one directory. `K` names a log.
#[derive(Debug)]
pub struct GroupCommit<K> {
    /// Which logs wait, and in which order.
    waiting: BTreeSet<K>,
    line: VecDeque<K>,
    round: Option<Round<K>>,
    /// Ends that nobody has asked for yet: a good one, then perhaps a failure.
    ended: VecDeque<RoundEnd<K>>,
    /// Jobs of a round that has ended without them (planted bug only), whose results nobody wants.
    stray: BTreeSet<(K, SyncNumber)>,
    failed: bool,
    /// Rises with each round.
    rounds: u64,
    /// Rises with each other job of the round that could not go on for want of a descriptor.
    postponed: u64,
    stall: Stall<(u64, usize, u64)>,
}

#[derive(Debug)]
struct Round<K> {
    running: BTreeMap<K, SyncNumber>,
    /// Those of them that were postponed, since all of them were.
    postponed: BTreeSet<K>,
    synced: Vec<(K, SyncNumber)>,
}

/// How a round ended.
#[derive(Debug)]
pub enum RoundEnd<K> {
    /// All is durable: tell the logs ([`super::Log::sync_finished`]), then release what waits for them.
    Durable {
        /// The logs that were synced, and their jobs.
        logs: Vec<(K, SyncNumber)>,
    },
    /// The directory has failed: refuse all that waits, close its logs, tell the controller.
    Failed {
        /// The log whose sync failed; `None` if they take too long.
        log: Option<K>,
        /// Why.
        error: io::Error,
    },
}

impl<K: Ord + Copy> Default for GroupCommit<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Copy> GroupCommit<K> {
    /// No log, no round.
    pub fn new() -> Self {
        Self {
            waiting: BTreeSet::new(),
            line: VecDeque::new(),
            round: None,
            ended: VecDeque::new(),
            stray: BTreeSet::new(),
            failed: false,
            rounds: 0,
            postponed: 0,
            stall: Stall::default(),
        }
    }

    /// This log shall be synced, with the next round if there is room in it. What is appended until its job is
    /// taken is covered, too.
    pub fn want_sync(&mut self, log: K) {
        if !self.failed && self.waiting.insert(log) {
            self.line.push_back(log);
        }
    }

    /// Whether the directory has failed.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether jobs are under way.
    pub fn is_running(&self) -> bool {
        self.round.is_some()
    }

    /// Whether [`GroupCommit::begin`] would begin a round.
    pub fn is_ready(&self) -> bool {
        !self.failed && self.round.is_none() && self.ended.is_empty() && !self.waiting.is_empty()
    }

    /// Begins the next round, if none runs and any log waits: takes the logs' jobs by `take` and returns
    /// them, to be run in parallel. Each job's result is to come back through [`GroupCommit::finished`].
    /// Then ask [`GroupCommit::take_end`]: a round with nothing to sync ends at once.
    pub fn begin<D: Disk>(
        &mut self,
        now: Monotonic,
        mut take: impl FnMut(K) -> Option<SyncJob<D>>,
    ) -> Vec<(K, SyncJob<D>)> {
        if !self.is_ready() {
            return Vec::new();
        }
        self.rounds += 1;
        // Its jobs begin now, and not when they are first looked at.
        self.stall.tick(now, Some((self.rounds, 0, self.postponed)));
        let mut jobs = Vec::new();
        while jobs.len() < ROUND_LOGS_MAX {
            let Some(log) = self.line.pop_front() else { break };
            self.waiting.remove(&log);
            // Nothing is left to sync in a log that is gone, or that was synced for another reason.
            jobs.extend(take(log).map(|job| (log, job)));
        }
        let running = jobs.iter().map(|(log, job)| (*log, job.number())).collect();
        self.round = Some(Round { running, postponed: BTreeSet::new(), synced: Vec::new() });
        if planted::is(Bug::AckBeforeSync)
            && let Some(round) = &mut self.round
        {
            let running = std::mem::take(&mut round.running);
            self.stray.extend(running.iter().map(|(log, number)| (*log, *number)));
            round.synced.extend(running);
        }
        self.end_if_done();
        jobs
    }

    /// Takes the result of a job.
    pub fn finished(&mut self, log: K, number: SyncNumber, result: io::Result<()>) {
        if self.stray.remove(&(log, number)) {
            return;
        }
        // A failed round is over, whatever its other jobs still say.
        let Some(round) = &mut self.round else { return };
        if round.running.get(&log) != Some(&number) {
            return;
        }
        round.running.remove(&log);
        round.postponed.remove(&log);
        match result {
            Ok(()) => round.synced.push((log, number)),
            Err(error) => return self.fail(Some(log), error),
        }
        self.end_if_done();
    }

    /// Fails the directory if its syncs take too long. Call it about once a second.
    pub fn tick(&mut self, now: Monotonic) {
        let round = self.round.as_ref().map(|round| (self.rounds, round.synced.len(), self.postponed));
        if self.stall.tick(now, round) > STALL_MAX {
            let text = format!("a sync takes more than {} s", STALL_MAX.as_secs());
            self.fail(None, io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }

    /// A job found no descriptor, and is to be done again from its beginning, after those that wait for a thread:
    /// that it takes long is not the disk's fault. It does not speak for the others: once each of them has either
    /// said so too or ended, it may say so again; so one that hangs is found among those that wait.
    pub fn postponed(&mut self, log: K, number: SyncNumber) {
        let Some(round) = self.round.as_mut().filter(|round| round.running.get(&log) == Some(&number)) else {
            return;
        };
        if round.postponed.insert(log) {
            self.postponed += 1;
        }
        if round.postponed.len() == round.running.len() {
            round.postponed.clear();
        }
    }

    /// Fails the directory for another reason: a write or a read that failed.
    pub fn fail(&mut self, log: Option<K>, error: io::Error) {
        if self.failed {
            return;
        }
        self.failed = true;
        self.waiting.clear();
        self.line.clear();
        self.round = None;
        self.ended.push_back(RoundEnd::Failed { log, error });
    }

    /// How a round has ended, once; ask until there is nothing more.
    pub fn take_end(&mut self) -> Option<RoundEnd<K>> {
        self.ended.pop_front()
    }

    fn end_if_done(&mut self) {
        if let Some(round) = self.round.take_if(|round| round.running.is_empty()) {
            self.ended.push_back(RoundEnd::Durable { logs: round.synced });
        }
    }
}
