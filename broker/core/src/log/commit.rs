//! Group commit: in which order the logs of one directory are appended, synced and acknowledged.
//!
//! Appends of all logs gather until no round is running. Then one round takes a [`SyncJob`] of every log
//! that has something to sync; its jobs run in parallel, on whatever threads the driver has. What is
//! appended meanwhile belongs to the next round. When the last job of a round is done and all succeeded,
//! the round ends and its acknowledgements may go out, never earlier. If one job fails, or a round takes
//! longer than [`ROUND_MAX`], the directory has failed for ever: every acknowledgement that waits, of this
//! round or the next, is refused, nothing is retried and no other round begins. A disk that holds acks
//! back for ten seconds is as good as dead, and the other replicas must be able to go on without it.
//!
//! The driver of the binary and the simulator both run this code; so the order is the same in both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use super::sync::{SyncJob, SyncNumber};
use crate::disk::Disk;
use crate::planted::{self, Bug};
use crate::time::{Monotonic, Stall};

/// A round that takes longer fails its directory.
pub const ROUND_MAX: Duration = Duration::from_secs(10);

/// The rounds of one directory. `K` names a log, `A` is what to release when its bytes are durable.
#[derive(Debug)]
pub struct GroupCommit<K, A> {
    waiting: BTreeSet<K>,
    parked: Vec<A>,
    round: Option<Round<K, A>>,
    /// Ends that nobody has asked for yet: a good one, then perhaps a failure.
    ended: VecDeque<RoundEnd<K, A>>,
    /// Jobs of a round that has ended without them (planted bug only), whose results nobody wants.
    stray: BTreeSet<(K, SyncNumber)>,
    failed: bool,
    /// Rises with each round.
    rounds: u64,
    stall: Stall<u64>,
}

#[derive(Debug)]
struct Round<K, A> {
    running: BTreeMap<K, SyncNumber>,
    synced: Vec<(K, SyncNumber)>,
    acks: Vec<A>,
}

/// How a round ended.
#[derive(Debug)]
pub enum RoundEnd<K, A> {
    /// All is durable: first tell the logs ([`super::Log::sync_finished`]), then release the acknowledgements.
    Durable {
        /// The logs that were synced, and their jobs.
        logs: Vec<(K, SyncNumber)>,
        /// What waited for it, in the order it was parked.
        acks: Vec<A>,
    },
    /// The directory has failed: refuse these, close its logs, tell the controller.
    Failed {
        /// The log whose sync failed; `None` if the round took too long.
        log: Option<K>,
        /// Why.
        error: io::Error,
        /// All that waited, in this round and for the next.
        acks: Vec<A>,
    },
}

impl<K: Ord + Copy, A> Default for GroupCommit<K, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Copy, A> GroupCommit<K, A> {
    /// No log, no round.
    pub fn new() -> Self {
        Self {
            waiting: BTreeSet::new(),
            parked: Vec::new(),
            round: None,
            ended: VecDeque::new(),
            stray: BTreeSet::new(),
            failed: false,
            rounds: 0,
            stall: Stall::default(),
        }
    }

    /// This log shall be synced with the next round.
    pub fn want_sync(&mut self, log: K) {
        self.waiting.insert(log);
    }

    /// This log has been appended to, and `ack` waits for the next round. On a failed directory it is given
    /// back, to be refused.
    pub fn park(&mut self, log: K, ack: A) -> Result<(), A> {
        if self.failed {
            return Err(ack);
        }
        self.waiting.insert(log);
        self.parked.push(ack);
        Ok(())
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

    /// Begins the next round, if none runs and any log waits: takes each log's job by `take` and returns
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
        // The round begins now, and not when it is first looked at.
        self.stall.tick(now, Some(self.rounds));
        let waiting = std::mem::take(&mut self.waiting);
        let jobs: Vec<_> = waiting.into_iter().filter_map(|log| Some((log, take(log)?))).collect();
        let running = jobs.iter().map(|(log, job)| (*log, job.number())).collect();
        self.round = Some(Round { running, synced: Vec::new(), acks: std::mem::take(&mut self.parked) });
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
        match result {
            Ok(()) => round.synced.push((log, number)),
            Err(error) => return self.fail(Some(log), error),
        }
        self.end_if_done();
    }

    /// Fails the directory if its round takes too long. Call it about once a second.
    pub fn tick(&mut self, now: Monotonic) {
        let round = self.round.is_some().then_some(self.rounds);
        if self.stall.tick(now, round) > ROUND_MAX {
            let text = format!("a sync takes more than {} s", ROUND_MAX.as_secs());
            self.fail(None, io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }

    /// Fails the directory for another reason: a write or a read that failed.
    pub fn fail(&mut self, log: Option<K>, error: io::Error) {
        if self.failed {
            return;
        }
        self.failed = true;
        self.waiting.clear();
        let mut acks = self.round.take().map_or_else(Vec::new, |round| round.acks);
        acks.append(&mut self.parked);
        self.ended.push_back(RoundEnd::Failed { log, error, acks });
    }

    /// How a round has ended, once; ask until there is nothing more.
    pub fn take_end(&mut self) -> Option<RoundEnd<K, A>> {
        self.ended.pop_front()
    }

    fn end_if_done(&mut self) {
        if let Some(round) = self.round.take_if(|round| round.running.is_empty()) {
            self.ended.push_back(RoundEnd::Durable { logs: round.synced, acks: round.acks });
        }
    }
}
