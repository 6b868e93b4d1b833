//! How many idempotent producers the logs of a directory may remember together.

use crate::disk::Disk;
use crate::log::{Log, PRODUCERS_MAX};

/// All logs of a directory together remember so many, some 50 MB; above that no log remembers more than it does, and
/// forgets one for each that comes.
const TOGETHER_MAX: usize = 200_000;

/// So many any log may remember.
const EACH_MIN: usize = 10;

/// The count. Between two ticks it only rises.
#[derive(Debug, Default)]
pub(super) struct ProducerCount {
    together: usize,
}

impl ProducerCount {
    /// Counts them all anew.
    pub(super) fn recount<'a, D: Disk>(&mut self, logs: impl Iterator<Item = &'a Log<D>>) {
        self.together = logs.map(Log::producer_count).sum();
    }

    /// Says how many a log may remember that is about to take batches; returns how many it does.
    pub(super) fn bound<D: Disk>(&self, log: &mut Log<D>) -> usize {
        let count = log.producer_count();
        log.set_producers_max(if self.together < TOGETHER_MAX { PRODUCERS_MAX } else { count.max(EACH_MIN) });
        count
    }

    /// A log that remembered so many took batches.
    pub(super) fn added<D: Disk>(&mut self, before: usize, log: &Log<D>) {
        self.together += log.producer_count().saturating_sub(before);
    }
}
