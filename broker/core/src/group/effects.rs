//! What a coordinator wants done: answers, timers, and records to be written, with what is to be done then.
//!
//! Records of one step stay together in one batch, and steps share a batch as far as it holds them. Batches are written
//! in order; what waits for one is done when it is committed or refused.

use std::collections::VecDeque;

use super::deadlines::Deadlines;
use super::ids::{GroupId, MemberId};
use super::record::EncodedRecord;
use super::request::{GroupError, Reply};
use super::then::Then;

/// What somebody who asked gets.
pub type Answer = Result<Reply, GroupError>;

/// What is due at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Members had their time to join.
    Join(GroupId),
    /// Members had their time to sync.
    Sync(GroupId),
    /// A member has shown no sign of life, or has not come back with the id it was given.
    Member(GroupId, MemberId),
    /// Expired offsets are to be looked for.
    Expiry,
}

/// A batch of records to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// In this order.
    pub records: Vec<EncodedRecord>,
}

#[derive(Debug)]
struct Batch<T> {
    records: Vec<EncodedRecord>,
    bytes: usize,
    then: Vec<Then<T>>,
}

/// See the module's text. `T` is whom an answer goes to.
#[derive(Debug)]
pub(super) struct Effects<T> {
    pub(super) answers: Vec<(T, Answer)>,
    pub(super) timers: Deadlines<Timer>,
    pub(super) batch_bytes_max: usize,
    to_write: VecDeque<Batch<T>>,
    in_flight: VecDeque<Vec<Then<T>>>,
}

impl<T> Effects<T> {
    pub(super) fn new() -> Self {
        Self {
            answers: Vec::new(),
            timers: Deadlines::default(),
            batch_bytes_max: usize::MAX,
            to_write: VecDeque::new(),
            in_flight: VecDeque::new(),
        }
    }

    pub(super) fn answer(&mut self, to: T, answer: Answer) {
        self.answers.push((to, answer));
    }

    /// Has records written together, and `then` done.
    ///
    /// # Errors
    /// `then`, if no batch holds them.
    pub(super) fn write(&mut self, records: Vec<EncodedRecord>, then: Then<T>) -> Result<(), Box<Then<T>>> {
        let bytes: usize = records.iter().map(EncodedRecord::bytes).sum();
        if bytes > self.batch_bytes_max {
            return Err(Box::new(then));
        }
        match self.to_write.back_mut() {
            Some(last) if last.bytes + bytes <= self.batch_bytes_max => {
                last.records.extend(records);
                last.bytes += bytes;
                last.then.push(then);
            }
            Some(_) | None => self.to_write.push_back(Batch { records, bytes, then: vec![then] }),
        }
        Ok(())
    }

    /// The next batch to be appended; what came of it is to be told by [`Effects::written`], in the same order.
    pub(super) fn take_write(&mut self) -> Option<Write> {
        let batch = self.to_write.pop_front()?;
        self.in_flight.push_back(batch.then);
        Some(Write { records: batch.records })
    }

    /// What waited for the first batch that is on its way.
    pub(super) fn written(&mut self) -> Vec<Then<T>> {
        self.in_flight.pop_front().expect("a batch is on its way")
    }

    /// What waits for a batch, written or not.
    pub(super) fn drain(&mut self) -> Vec<Then<T>> {
        let unwritten = self.to_write.drain(..).flat_map(|batch| batch.then);
        self.in_flight.drain(..).flatten().chain(unwritten).collect()
    }
}
