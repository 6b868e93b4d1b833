//! The life of one partition's coordinator while a broker leads it in one epoch.
//!
//! It reads the partition once all of it is committed, serves, and begins again from the log where a write may or may not
//! have come into it: then nobody knows what the log says but the log. Whoever asks meanwhile is told to wait.
//!
//! ```text
//! finding ──bounds──▶ waiting ──committed up to the end──▶ reading ──the end──▶ serving
//!    ▲                    └───────────── cannot be read ──────┘                    │
//!    └──────────────────── after a pause ◀──────────── a write is in doubt ────────┘
//! ```
//!
//! Whoever drives it does what [`Host::take_wishes`] says and tells what came of it, with the number of the life that the
//! wish belongs to: what comes later is nobody's. Appends are told in the order of the wishes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::coordinator::{Coordinator, Written};
use super::effects::{Answer, Write};
use super::record::GroupRecord;
use super::request::{GroupError, Request};
use super::settings::GroupSettings;
use crate::ids::{Offset, TopicName};
use crate::time::{Monotonic, Wall};

/// The pause before a partition is read again that could not be read, or not be written.
const PAUSE: Duration = Duration::from_millis(200);

/// The pauses between two looks at how far followers have come.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(200);

/// Something to be done for a [`Host`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To be answered; a later question takes the place of one that is not answered yet.
    Find(Question),
    /// Appended, and told of when it is committed: [`Host::appended`].
    Append(Write),
}

/// What a [`Host`] wants to know of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Where the log begins and where it ends: [`Host::bounds`].
    Bounds,
    /// Up to where records are committed: [`Host::committed`].
    Committed,
    /// Whole batches from here on: [`Host::read`].
    Records(Offset),
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is committed.
    Committed,
    /// Nothing is in the log.
    Refused,
    /// It may be in the log, and may come to be committed.
    Doubtful,
}

/// The partition cannot be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

#[derive(Debug)]
enum Stage<T> {
    /// Where the log begins and ends is asked for.
    Finding,
    /// Not all is committed yet; it is asked again then.
    Waiting {
        start: Offset,
        end: Offset,
        look_at: Monotonic,
        pause: Duration,
    },
    /// What is there is read.
    Reading {
        end: Offset,
        coordinator: Coordinator<T>,
    },
    Serving(Coordinator<T>),
    /// It begins again then.
    Paused {
        until: Monotonic,
    },
}

/// See the module's text. `T` is whom an answer goes to.
#[derive(Debug)]
pub struct Host<T> {
    settings: GroupSettings,
    batch_bytes_max: usize,
    life: u64,
    stage: Stage<T>,
    wishes: Vec<Wish>,
    answers: Vec<(T, Answer)>,
}

impl<T> Host<T> {
    /// One that begins to read.
    pub fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            batch_bytes_max: usize::MAX,
            life: 0,
            stage: Stage::Finding,
            wishes: vec![Wish::Find(Question::Bounds)],
            answers: Vec::new(),
        }
    }

    /// The number that goes with what is told of the wishes taken now.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// Whether it answers.
    pub fn is_serving(&self) -> bool {
        matches!(self.stage, Stage::Serving(_))
    }

    /// Whether it reads, or is about to.
    pub fn is_loading(&self) -> bool {
        matches!(self.stage, Stage::Finding | Stage::Waiting { .. } | Stage::Reading { .. })
    }

    /// Somebody asks.
    pub fn ask(&mut self, request: Request, to: T, now: Monotonic, wall: Wall) {
        match &mut self.stage {
            Stage::Serving(coordinator) => coordinator.ask(request, to, now, wall),
            Stage::Finding | Stage::Waiting { .. } | Stage::Reading { .. } | Stage::Paused { .. } => {
                self.answers.push((to, Err(GroupError::CoordinatorLoadInProgress)));
            }
        }
    }

    /// Topics are gone, and with them what was committed of them. One that reads has not heard of it; as in Kafka those
    /// offsets stay until they expire.
    pub fn topics_deleted(&mut self, topics: &BTreeSet<TopicName>) {
        if let Stage::Serving(coordinator) = &mut self.stage {
            coordinator.topics_deleted(topics);
        }
    }

    /// The largest batch that may be written from now on.
    pub fn limit_batches(&mut self, bytes: usize) {
        self.batch_bytes_max = bytes;
        if let Stage::Serving(coordinator) = &mut self.stage {
            coordinator.limit_batches(bytes);
        }
    }

    /// Where the log begins and ends.
    pub fn bounds(&mut self, life: u64, found: Result<(Offset, Offset), Unreadable>, now: Monotonic) {
        if life != self.life || !matches!(self.stage, Stage::Finding) {
            return;
        }
        match found {
            Ok((start, end)) => {
                self.stage = Stage::Waiting { start, end, look_at: now, pause: LOOK_MIN };
                self.look(now);
            }
            Err(Unreadable) => self.pause(now),
        }
    }

    /// Up to where records are committed; none while that is not known.
    pub fn committed(
        &mut self,
        life: u64,
        found: Result<Option<Offset>, Unreadable>,
        now: Monotonic,
        wall: Wall,
    ) {
        let Stage::Waiting { start, end, .. } = self.stage else { return };
        match found {
            _ if life != self.life => {}
            Err(Unreadable) => self.pause(now),
            Ok(Some(committed)) if committed >= end => {
                let coordinator = Coordinator::new(self.settings.clone());
                self.stage = Stage::Reading { end, coordinator };
                self.read_on(start, now, wall);
            }
            Ok(Some(_) | None) => {}
        }
    }

    /// What was read, in order, and where it goes on; none if nothing is left.
    pub fn read(
        &mut self,
        life: u64,
        read: Result<(Vec<GroupRecord>, Option<Offset>), Unreadable>,
        now: Monotonic,
        wall: Wall,
    ) {
        if life != self.life {
            return;
        }
        let Stage::Reading { end, coordinator } = &mut self.stage else { return };
        match read {
            Err(Unreadable) => self.pause(now),
            Ok((records, next)) => {
                let next = next.unwrap_or(*end);
                records.into_iter().for_each(|record| coordinator.replay(record));
                self.read_on(next, now, wall);
            }
        }
    }

    /// What came of the append that went out first of those that nothing was told of yet.
    pub fn appended(&mut self, life: u64, appended: Appended, now: Monotonic, wall: Wall) {
        if life != self.life {
            return;
        }
        let Stage::Serving(coordinator) = &mut self.stage else { return };
        match appended {
            Appended::Committed => coordinator.written(Written::Committed, now, wall),
            Appended::Refused => coordinator.written(Written::Refused, now, wall),
            Appended::Doubtful => self.pause(now),
        }
    }

    /// Time goes on.
    pub fn tick(&mut self, now: Monotonic, wall: Wall) {
        match &mut self.stage {
            Stage::Serving(coordinator) => coordinator.tick(now, wall),
            Stage::Waiting { look_at, .. } if *look_at <= now => self.look(now),
            Stage::Paused { until } if *until <= now => {
                self.stage = Stage::Finding;
                self.wishes.push(Wish::Find(Question::Bounds));
            }
            Stage::Finding | Stage::Waiting { .. } | Stage::Reading { .. } | Stage::Paused { .. } => {}
        }
    }

    /// When it is to be ticked next, at the latest.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        match &self.stage {
            Stage::Serving(coordinator) => coordinator.next_deadline(),
            Stage::Waiting { look_at, .. } => Some(*look_at),
            Stage::Paused { until } => Some(*until),
            Stage::Finding | Stage::Reading { .. } => None,
        }
    }

    /// The broker leads the partition no longer: everybody who waits is told to look for the next one.
    pub fn end(&mut self) {
        if let Stage::Serving(coordinator) = &mut self.stage {
            coordinator.refuse_all(&GroupError::NotCoordinator);
            self.answers.extend(coordinator.take_answers());
        }
    }

    /// What is to be done, in order.
    pub fn take_wishes(&mut self) -> Vec<Wish> {
        if let Stage::Serving(coordinator) = &mut self.stage {
            while let Some(write) = coordinator.take_write() {
                self.wishes.push(Wish::Append(write));
            }
        }
        std::mem::take(&mut self.wishes)
    }

    /// What is to be answered now.
    pub fn take_answers(&mut self) -> Vec<(T, Answer)> {
        if let Stage::Serving(coordinator) = &mut self.stage {
            self.answers.extend(coordinator.take_answers());
        }
        std::mem::take(&mut self.answers)
    }

    /// Asks how far followers have come, and will again if that is not far enough.
    fn look(&mut self, now: Monotonic) {
        if let Stage::Waiting { look_at, pause, .. } = &mut self.stage {
            *look_at = now.plus(*pause);
            *pause = (*pause * 2).min(LOOK_MAX);
            self.wishes.push(Wish::Find(Question::Committed));
        }
    }

    fn read_on(&mut self, next: Offset, now: Monotonic, wall: Wall) {
        let Stage::Reading { end, .. } = &self.stage else { return };
        if next < *end {
            return self.wishes.push(Wish::Find(Question::Records(next)));
        }
        let read = std::mem::replace(&mut self.stage, Stage::Finding);
        if let Stage::Reading { mut coordinator, .. } = read {
            coordinator.limit_batches(self.batch_bytes_max);
            coordinator.loaded(now, wall);
            self.stage = Stage::Serving(coordinator);
        }
    }

    /// Gives up what it knows, and begins again later.
    fn pause(&mut self, now: Monotonic) {
        self.end();
        self.life += 1;
        self.wishes.clear();
        self.stage = Stage::Paused { until: now.plus(PAUSE) };
    }
}

#[cfg(test)]
mod tests;
