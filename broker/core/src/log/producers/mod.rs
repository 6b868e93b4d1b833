//! What a log remembers of its idempotent producers (KIP-98, KIP-360; rules 33 to 35 of the protocol).
//!
//! For each producer: its epoch and its last batches. A leader asks before it appends ([`Producers::check`]); every
//! batch that enters the log, on whichever replica, is noted ([`Producers::note`]), so that a follower knows what its
//! leader knew. A log that is cut takes back what was noted ([`Producers::truncate`]). What is here follows from the
//! batches of the log alone; `snapshot.rs` writes it down, so that a start need not read them all.
//!
//! A producer of whom nothing is known may begin with any sequence number: there is no telling it from one that was
//! forgotten because it was idle for too long.
//!
//! For how long one is idle is counted by the broker's monotonic clock. Kafka compares the greatest timestamp of its last
//! batch, which a client's clock gave, with the broker's wall clock: there a producer of old events, or a clock that jumps,
//! has what was written a moment ago forgotten, and written again. What was found when the log was opened counts from then.

mod disk;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ottla_wire::batch::BatchHeader;

use crate::ids::{Offset, ProducerEpoch, ProducerId};
use crate::planted::{self, Bug};
use crate::time::Monotonic;

pub(super) use disk::Tracked;

/// How many batches of a producer are recognised when they come again: as many as a client may have in flight.
const BATCHES_MAX: usize = 5;

/// A log remembers so many producers and no more; whoever wrote longest ago is forgotten first. Kafka has no such
/// bound. With some 250 bytes for each it keeps one log below 2.5 MB, whatever ids clients make up.
const PRODUCERS_MAX: usize = 10_000;

/// The greatest sequence number; 0 follows.
const SEQUENCE_MAX: i32 = i32::MAX;

/// Whose batch it is, and its place among that producer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequenced {
    /// The producer.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The number of the first record.
    pub first: i32,
    /// The number of the last record.
    pub last: i32,
}

impl Sequenced {
    /// What a batch's header says; `None` for one that bears no numbers.
    pub(super) fn of(header: &BatchHeader) -> Option<Self> {
        (header.has_producer_id() && header.base_sequence >= 0).then(|| Self {
            id: ProducerId(header.producer_id),
            epoch: ProducerEpoch(header.producer_epoch),
            first: header.base_sequence,
            last: header.last_sequence(),
        })
    }
}

/// A batch that is in the log already, where its first record went and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last.
    pub end_exclusive: Offset,
    /// Its greatest timestamp.
    pub timestamp: i64,
}

/// Why a producer's batch must not be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A batch before it is missing, or it is an old one.
    #[error("producer {id} sent sequence number {found} where {expected} comes next")]
    OutOfOrder {
        /// The producer.
        id: ProducerId,
        /// What would have followed.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// The producer has begun a later epoch since.
    #[error("producer {id} sent a batch of epoch {found} and has begun epoch {current}")]
    StaleEpoch {
        /// The producer.
        id: ProducerId,
        /// The one it is in.
        current: ProducerEpoch,
        /// The one in the batch.
        found: ProducerEpoch,
    },
}

/// One batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Noted {
    first: i32,
    last: i32,
    base_offset: Offset,
    last_offset: Offset,
    timestamp: i64,
}

/// One producer. It has at least one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    /// Of this epoch, the youngest last.
    batches: VecDeque<Noted>,
    /// Before this offset nothing is known of it, and nothing was to be known.
    since: Offset,
    /// When it last wrote, by this broker's clock; none if it has not since the log was opened.
    active_at: Option<Monotonic>,
}

impl Producer {
    fn youngest(&self) -> &Noted {
        self.batches.back().expect("a producer that is known has a batch")
    }

    fn last_write(&self) -> LastWrite {
        self.active_at.map_or_else(|| LastWrite::Before(self.youngest().timestamp), LastWrite::At)
    }
}

/// When a producer last wrote; the longest ago first. It orders the producers of several logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LastWrite {
    /// Before its log was opened. All that is left of when is the greatest timestamp of its last batch, by its own clock.
    Before(i64),
    /// Since.
    At(Monotonic),
}

/// One producer, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerInfo {
    /// The producer.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence number of its last record.
    pub last_sequence: i32,
    /// The greatest timestamp of its last batch.
    pub last_timestamp: i64,
}

/// Whether what is known after a cut is what the batches say that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterCut {
    Known,
    /// Of some producer all batches that were remembered are gone, and there were others before: read the log.
    Unknown,
}

/// The producers of one log. See the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Producers {
    producers: BTreeMap<ProducerId, Producer>,
    /// The same, by the offset of the last record.
    by_age: BTreeSet<(Offset, ProducerId)>,
    /// From when on the idleness is counted of those that have not written since the log was opened: a time before
    /// that says only what clients' clocks say.
    counted_from: Monotonic,
}

impl Producers {
    pub(super) fn count(&self) -> usize {
        self.producers.len()
    }

    pub(super) fn infos(&self) -> impl Iterator<Item = ProducerInfo> + '_ {
        self.producers.iter().map(|(id, producer)| ProducerInfo {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.youngest().last,
            last_timestamp: producer.youngest().timestamp,
        })
    }

    /// May the batch be appended, as a leader asks it? If it is in the log already: where.
    pub(super) fn check(&self, batch: &Sequenced) -> Result<Option<Duplicate>, SequenceError> {
        if planted::is(Bug::NoSequenceCheck) {
            return Ok(None);
        }
        let Some(producer) = self.producers.get(&batch.id) else { return Ok(None) };
        let (id, current) = (batch.id, producer.epoch);
        if batch.epoch < current {
            return Err(SequenceError::StaleEpoch { id, current, found: batch.epoch });
        }
        let is_it = |noted: &&Noted| (noted.first, noted.last) == (batch.first, batch.last);
        if batch.epoch == current
            && let Some(noted) = producer.batches.iter().find(is_it)
        {
            return Ok(Some(Duplicate {
                base_offset: noted.base_offset,
                end_exclusive: noted.last_offset.plus(1),
                timestamp: noted.timestamp,
            }));
        }
        let expected = if batch.epoch > current { 0 } else { after(producer.youngest().last) };
        if batch.first != expected {
            return Err(SequenceError::OutOfOrder { id, expected, found: batch.first });
        }
        Ok(None)
    }

    /// Takes note of a batch that is in the log now, at its end. It is not judged: its leader did that.
    pub(super) fn note(
        &mut self,
        batch: &Sequenced,
        (base_offset, last_offset): (Offset, Offset),
        timestamp: i64,
        now: Option<Monotonic>,
    ) {
        let noted = Noted { first: batch.first, last: batch.last, base_offset, last_offset, timestamp };
        let producer = self.producers.entry(batch.id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            batches: VecDeque::new(),
            since: base_offset,
            active_at: None,
        });
        if let Some(before) = producer.batches.back() {
            self.by_age.remove(&(before.last_offset, batch.id));
        }
        if producer.epoch != batch.epoch {
            producer.epoch = batch.epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(noted);
        producer.active_at = now.or(producer.active_at);
        self.by_age.insert((last_offset, batch.id));
    }

    /// Forgets who wrote longest ago, until there are so many.
    pub(super) fn shrink(&mut self, producers_max: usize) {
        while self.producers.len() > producers_max && self.forget_oldest() {}
    }

    /// When the one that wrote longest ago did so.
    pub(super) fn oldest(&self) -> Option<LastWrite> {
        let (_, id) = self.by_age.first()?;
        self.producers.get(id).map(Producer::last_write)
    }

    /// Forgets the one that wrote longest ago; false if there is none.
    pub(super) fn forget_oldest(&mut self) -> bool {
        let Some((_, id)) = self.by_age.pop_first() else { return false };
        self.producers.remove(&id);
        true
    }

    /// Forgets those that have been idle for so long (`producer.id.expiration.ms`), at most `forgotten_max`; returns how
    /// many. Looks at one more than it forgets. After a cut the oldest may have written later than the next: then that
    /// one is forgotten a little later.
    pub(super) fn expire(&mut self, now: Monotonic, idle_max: Duration, forgotten_max: usize) -> usize {
        let mut forgotten = 0;
        while forgotten < forgotten_max
            && let Some(oldest) = self.oldest()
        {
            let since = match oldest {
                LastWrite::Before(_) => self.counted_from,
                LastWrite::At(at) => at,
            };
            if now.since(since) < idle_max {
                break;
            }
            self.forget_oldest();
            forgotten += 1;
        }
        forgotten
    }

    /// What was learnt anew from the log takes over when its producers wrote. Who was forgotten meanwhile, to make room,
    /// may have written a moment ago: it counts from `now` on.
    pub(super) fn resume(&mut self, before: &Self, now: Monotonic) {
        self.counted_from = before.counted_from;
        for (id, producer) in &mut self.producers {
            producer.active_at = before.producers.get(id).map_or(Some(now), |before| before.active_at);
        }
    }

    /// Takes back what was noted of batches that reach to `end` or beyond.
    pub(super) fn truncate(&mut self, end: Offset) -> AfterCut {
        let mut known = AfterCut::Known;
        for (_, id) in self.by_age.split_off(&(end, ProducerId(i64::MIN))) {
            let Some(producer) = self.producers.get_mut(&id) else { continue };
            producer.batches.retain(|noted| noted.last_offset < end);
            match producer.batches.back() {
                Some(youngest) => {
                    self.by_age.insert((youngest.last_offset, id));
                }
                None => {
                    if producer.since < end {
                        known = AfterCut::Unknown;
                    }
                    self.producers.remove(&id);
                }
            }
        }
        known
    }
}

fn after(sequence: i32) -> i32 {
    if sequence == SEQUENCE_MAX { 0 } else { sequence + 1 }
}

#[cfg(test)]
mod tests;
