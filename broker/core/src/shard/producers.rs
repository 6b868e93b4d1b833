//! How many idempotent producers the logs of a directory may remember together, and which are forgotten.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;
use std::time::Duration;

use super::Shard;
use super::replica::Replica;
use crate::disk::Disk;
use crate::ids::TopicPartition;
use crate::log::Log;
use crate::time::Monotonic;

/// All logs of a directory together remember so many, some 50 MB. Kafka has no such bound. Above it those are
/// forgotten that wrote longest ago, whichever log is theirs.
const TOGETHER_MAX: usize = 200_000;

/// So many fewer there are then, so that they need not be looked for again for each that comes.
const FORGOTTEN_AT_ONCE: usize = TOGETHER_MAX / 64;

/// No more are forgotten in one tick for having been idle: a few milliseconds' work.
const EXPIRED_PER_TICK_MAX: usize = 10_000;

/// How many there are, and when they were last looked through.
#[derive(Debug)]
pub(super) struct ProducerCount {
    /// Between two ticks it only rises.
    together: usize,
    /// `producer.id.expiration.check.interval.ms`
    check_interval: Duration,
    looked_through_at: Monotonic,
    /// Looking through them goes on after this log, with the next tick.
    looked_through_to: Option<TopicPartition>,
}

impl ProducerCount {
    /// Nobody is counted yet.
    pub(super) fn new(now: Monotonic) -> Self {
        let check_interval = Duration::from_secs(600);
        Self { together: 0, check_interval, looked_through_at: now, looked_through_to: None }
    }

    /// Takes over `producer.id.expiration.check.interval.ms`.
    pub(super) fn check_every(&mut self, interval: Duration) {
        self.check_interval = interval;
    }

    /// A log was opened.
    pub(super) fn opened<D: Disk>(&mut self, log: &Log<D>) {
        self.together += log.producer_count();
    }

    /// A log is about to take batches; returns how many it remembers.
    pub(super) fn before<D: Disk>(log: &mut Log<D>, now: Monotonic) -> usize {
        log.tell_time(now);
        log.producer_count()
    }

    /// A log that remembered so many took batches.
    pub(super) fn added<D: Disk>(&mut self, before: usize, log: &Log<D>) {
        self.together += log.producer_count().saturating_sub(before);
    }

    /// Forgets who wrote longest ago if there are too many.
    pub(super) fn bound<D: Disk, T, W>(&mut self, replicas: &mut BTreeMap<TopicPartition, Replica<D, T, W>>) {
        if self.together > TOGETHER_MAX {
            self.recount(replicas);
        }
        if self.together > TOGETHER_MAX {
            let spare = self.together - TOGETHER_MAX + FORGOTTEN_AT_ONCE;
            self.together -= spare;
            forget_oldest(replicas, spare);
        }
    }

    fn recount<D: Disk, T, W>(&mut self, replicas: &BTreeMap<TopicPartition, Replica<D, T, W>>) {
        self.together = replicas.values().map(|replica| replica.log.producer_count()).sum();
    }

    /// Looks, when it is time to, for those that have been idle for too long, in all logs and in steps.
    pub(super) fn tick<D: Disk, T, W>(
        &mut self,
        replicas: &mut BTreeMap<TopicPartition, Replica<D, T, W>>,
        now: Monotonic,
    ) {
        let from = match self.looked_through_to.take() {
            Some(last) => Bound::Included(last),
            None if now.since(self.looked_through_at) >= self.check_interval => {
                self.looked_through_at = now;
                Bound::Unbounded
            }
            None => return self.recount(replicas),
        };
        let mut left = EXPIRED_PER_TICK_MAX;
        for (id, replica) in replicas.range_mut((from, Bound::Unbounded)) {
            left -= replica.log.expire_producers(now, left);
            if left == 0 {
                self.looked_through_to = Some(*id);
                break;
            }
        }
        self.recount(replicas);
    }
}

/// Forgets so many, those first that wrote longest ago in any log.
fn forget_oldest<D: Disk, T, W>(replicas: &mut BTreeMap<TopicPartition, Replica<D, T, W>>, count: usize) {
    let oldest = |(id, replica): (&TopicPartition, &Replica<D, T, W>)| {
        Some(Reverse((replica.log.oldest_producer()?, *id)))
    };
    let mut logs: BinaryHeap<_> = replicas.iter().filter_map(oldest).collect();
    for _ in 0..count {
        let Some(Reverse((_, id))) = logs.pop() else { return };
        let Some(replica) = replicas.get_mut(&id) else { continue };
        replica.log.forget_oldest_producer();
        logs.extend(replica.log.oldest_producer().map(|oldest| Reverse((oldest, id))));
    }
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// How many idempotent producers its logs remember together.
    pub fn producer_count(&self) -> usize {
        self.replicas.values().map(|replica| replica.log.producer_count()).sum()
    }

    /// Forgets producers if there are too many by now.
    pub(super) fn bound_producers(&mut self) {
        self.producers.bound(&mut self.replicas);
    }
}
