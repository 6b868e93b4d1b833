//! What waits for the thread of the metadata log.
//!
//! One write is under way at a time. What comes meanwhile waits here and goes to the disk together, with one sync
//! (group commit): the slower the disk, the more each sync carries. How much may wait is for those who give it to
//! bound: `quorum::machine::UNPERSISTED_BYTES_MAX`.

use std::collections::VecDeque;

use crate::metadata::image::Image;
use crate::quorum::store::{Persist, PersistAction};

/// Once one write carries so many bytes of entries, what follows waits for the next: a slow disk takes a tenth of a
/// second for them, and messages wait for that.
const WRITE_BYTES_MAX: usize = 4 << 20;

/// Something that must become durable.
#[derive(Debug)]
struct Job {
    actions: Vec<PersistAction>,
    /// What the quorum is told when it is.
    raft: Option<u64>,
    /// The snapshot that takes the place of the log before it, then.
    compacts: Option<Image>,
}

/// What became durable.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The last number that the quorum gave.
    pub(super) raft: Option<u64>,
    /// The snapshot that has taken the place of the log before it.
    pub(super) compacts: Option<Image>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    waiting: VecDeque<Job>,
    under_way: Option<(u64, Written)>,
    numbers: u64,
}

impl Jobs {
    /// Adds work, to be done after all that came before.
    pub(super) fn push(&mut self, actions: Vec<PersistAction>, raft: Option<u64>) {
        if !actions.is_empty() {
            self.waiting.push_back(Job { actions, raft, compacts: None });
        }
    }

    /// Adds the end of a snapshot's way: it is durable, and the log before it may go.
    pub(super) fn push_compaction(&mut self, action: PersistAction, image: Image) {
        self.waiting.push_back(Job { actions: vec![action], raft: None, compacts: Some(image) });
    }

    /// What the disk is to do now, if it does nothing.
    pub(super) fn next(&mut self) -> Option<Persist> {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        let (mut actions, mut written) = (Vec::new(), Written::default());
        let mut bytes = 0;
        while let Some(job) = self.waiting.pop_front() {
            bytes += job.actions.iter().map(PersistAction::entry_bytes).sum::<usize>();
            job.actions.into_iter().for_each(|action| action.join(&mut actions));
            written.raft = job.raft.or(written.raft);
            written.compacts = job.compacts.or(written.compacts);
            if bytes >= WRITE_BYTES_MAX {
                break;
            }
        }
        self.numbers += 1;
        self.under_way = Some((self.numbers, written));
        Some(Persist { number: self.numbers, actions })
    }

    /// Takes the end of a write; none if it is not the one under way.
    pub(super) fn done(&mut self, number: u64) -> Option<Written> {
        self.under_way.take_if(|(under_way, _)| *under_way == number).map(|(_, written)| written)
    }

    /// Whether everything is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{MetadataOffset, Term};
    use crate::quorum::SnapshotId;
    use crate::quorum::store::{HardState, LogEntry};

    fn append(term: u64, offsets: std::ops::Range<u64>, bytes: usize) -> PersistAction {
        let entry = |offset| LogEntry {
            offset: MetadataOffset(offset),
            term: Term(term),
            changes_voters: false,
            payload: Bytes::from(vec![0; bytes]),
        };
        let hard_state = HardState { term: Term(term), ..HardState::default() };
        PersistAction::Append { hard_state, entries: offsets.map(entry).collect() }
    }

    fn install() -> PersistAction {
        PersistAction::Install { id: SnapshotId::default(), bytes: Bytes::new() }
    }

    #[test]
    fn what_comes_during_a_write_goes_with_the_next_in_one() {
        let mut jobs = Jobs::default();
        jobs.push(vec![append(1, 1..2, 1)], Some(1));
        let first = jobs.next().unwrap();
        for number in 2..5 {
            jobs.push(vec![append(1, number..number + 1, 1)], Some(number));
            assert_eq!(jobs.next(), None, "one at a time");
        }
        assert_eq!(jobs.done(first.number).unwrap().raft, Some(1));
        let second = jobs.next().unwrap();
        assert_eq!(second.actions, [append(1, 2..5, 1)]);
        assert!(jobs.done(first.number).is_none() && !jobs.is_empty());
        assert_eq!(jobs.done(second.number).unwrap().raft, Some(4));
        assert!(jobs.is_empty() && jobs.next().is_none());
    }

    #[test]
    fn entries_that_are_replaced_before_they_are_written_never_are() {
        let mut jobs = Jobs::default();
        jobs.push(vec![append(1, 1..6, 1)], Some(1));
        jobs.push(vec![append(2, 6..6, 1)], Some(2));
        jobs.push(vec![append(2, 4..5, 1)], Some(3));
        let [PersistAction::Append { hard_state, entries }] = &jobs.next().unwrap().actions[..] else {
            panic!("one append");
        };
        assert_eq!(hard_state.term, Term(2));
        let terms: Vec<(u64, u64)> = entries.iter().map(|entry| (entry.offset.0, entry.term.0)).collect();
        assert_eq!(terms, [(1, 1), (2, 1), (3, 1), (4, 2)]);
    }

    #[test]
    fn what_comes_from_the_leader_stays_between_what_comes_before_and_after() {
        let mut jobs = Jobs::default();
        jobs.push(vec![append(1, 1..2, 1)], Some(1));
        jobs.push(vec![install(), append(1, 9..10, 1)], Some(2));
        jobs.push(vec![append(1, 10..11, 1)], Some(3));
        assert_eq!(jobs.next().unwrap().actions, [append(1, 1..2, 1), install(), append(1, 9..11, 1)]);
    }

    #[test]
    fn one_write_carries_no_more_than_its_limit_and_one_piece_of_work() {
        let mut jobs = Jobs::default();
        for number in 1..=6 {
            jobs.push(vec![append(1, number..number + 1, WRITE_BYTES_MAX / 2)], Some(number));
        }
        let mut written = Vec::new();
        while let Some(work) = jobs.next() {
            written.extend(jobs.done(work.number).unwrap().raft);
        }
        assert_eq!(written, [2, 4, 6]);
    }

    #[test]
    fn a_compaction_takes_its_place_in_the_order() {
        let mut jobs = Jobs::default();
        let compact = PersistAction::Compact { id: SnapshotId::default() };
        jobs.push(vec![append(1, 1..2, 1)], Some(1));
        jobs.push_compaction(compact.clone(), Image::default());
        jobs.push(vec![append(1, 2..3, 1)], Some(2));
        let work = jobs.next().unwrap();
        assert_eq!(work.actions, [append(1, 1..2, 1), compact, append(1, 2..3, 1)]);
        let written = jobs.done(work.number).unwrap();
        assert_eq!((written.raft, written.compacts), (Some(2), Some(Image::default())));
    }
}
