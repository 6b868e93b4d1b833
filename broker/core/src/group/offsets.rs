//! The offsets that one group has committed.
//!
//! An offset is kept from when its record is committed: nobody is told of one that a failover could take back. What is
//! on its way to the log is counted, so that whoever deletes offsets deletes those, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::{CommittedOffset, OffsetKey};
use crate::ids::TopicName;
use crate::time::Wall;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    kept: BTreeMap<OffsetKey, CommittedOffset>,
    /// How many writes of each are on their way.
    in_flight: BTreeMap<OffsetKey, usize>,
}

/// From when on an offset's retention counts (rule 68).
#[derive(Debug)]
pub(super) enum Retained<'a> {
    /// From when the group lost its last member; from the commit if that is not known.
    SinceEmpty(Option<Wall>),
    /// From the commit, where the topic is none of these.
    SinceCommit { unless: Option<&'a BTreeSet<TopicName>> },
    /// For ever.
    Always,
}

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.in_flight.is_empty()
    }

    pub(super) fn find(&self, at: &OffsetKey) -> Option<&CommittedOffset> {
        self.kept.get(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OffsetKey, &CommittedOffset)> {
        self.kept.iter()
    }

    /// Those there are, and those on their way.
    pub(super) fn keys(&self) -> BTreeSet<OffsetKey> {
        self.kept.keys().chain(self.in_flight.keys()).cloned().collect()
    }

    /// Whether it is there, or on its way.
    pub(super) fn holds(&self, at: &OffsetKey) -> bool {
        self.kept.contains_key(at) || self.in_flight.contains_key(at)
    }

    /// A write goes out.
    pub(super) fn sent(&mut self, at: &OffsetKey) {
        *self.in_flight.entry(at.clone()).or_default() += 1;
    }

    /// What was sent came to an end.
    pub(super) fn arrived(&mut self, at: &OffsetKey) {
        if let Some(count) = self.in_flight.get_mut(at) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(at);
            }
        }
    }

    /// A record holds.
    pub(super) fn replay(&mut self, at: OffsetKey, value: Option<CommittedOffset>) {
        match value {
            Some(value) => self.kept.insert(at, value),
            None => self.kept.remove(&at),
        };
    }

    /// Those whose time is over, but for those on their way.
    pub(super) fn expired(&self, now: Wall, retention: Duration, retained: &Retained<'_>) -> Vec<OffsetKey> {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let is_over = |since: Wall| now.0.saturating_sub(since.0) >= retention;
        let is_expired = |at: &OffsetKey, value: &CommittedOffset| {
            let since = match retained {
                Retained::Always => return false,
                Retained::SinceEmpty(since) => since.unwrap_or(value.committed),
                Retained::SinceCommit { unless: Some(topics) } if topics.contains(&at.topic) => return false,
                Retained::SinceCommit { .. } => value.committed,
            };
            value.expires.map_or_else(|| is_over(since), |expires| now >= expires)
        };
        let due = self.kept.iter().filter(|(at, value)| is_expired(at, value));
        due.map(|(at, _)| at).filter(|at| !self.in_flight.contains_key(at)).cloned().collect()
    }

    /// Those of topics that are gone.
    pub(super) fn of_topics(&self, topics: &BTreeSet<TopicName>) -> Vec<OffsetKey> {
        self.keys().into_iter().filter(|at| topics.contains(&at.topic)).collect()
    }
}
