//! The tail of the metadata log in memory: what raft reads when it sends entries.
//!
//! Holds every entry since some way before the last snapshot. The disk has the same entries (`store.rs`) but
//! is read only when the node starts.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::snapshot::SnapshotId;
use crate::ids::{MetadataOffset, Term};

/// Raft's view of the log.
#[derive(Debug)]
pub(crate) struct MemoryLog {
    hard_state: HardState,
    /// The last snapshot and the members as of it.
    snapshot: SnapshotId,
    conf_state: ConfState,
    /// The entry before the first one held.
    start: SnapshotId,
    entries: VecDeque<Entry>,
}

impl MemoryLog {
    pub(crate) fn new(hard_state: HardState, snapshot: SnapshotId, conf_state: ConfState) -> Self {
        Self { hard_state, snapshot, conf_state, start: snapshot, entries: VecDeque::new() }
    }

    pub(crate) fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(crate) fn last(&self) -> u64 {
        self.start.offset.0 + self.entries.len() as u64
    }

    /// The offset of the first entry held.
    pub(crate) fn first(&self) -> u64 {
        self.start.offset.0 + 1
    }

    /// Whether the last snapshot names this member.
    pub(crate) fn snapshot_names(&self, id: u64) -> bool {
        self.conf_state.voters.contains(&id) || self.conf_state.learners.contains(&id)
    }

    /// Appends entries; the first replaces what is at its index, and all after it go.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.start.offset.0 && first.index <= self.last() + 1,
            "entry {} leaves no gap after {} and replaces nothing up to {}",
            first.index,
            self.last(),
            self.start.offset
        );
        self.entries.truncate(self.position(first.index));
        self.entries.extend(entries.iter().cloned());
    }

    /// The last snapshot.
    pub(crate) fn snapshot_id(&self) -> SnapshotId {
        self.snapshot
    }

    /// Starts anew from a snapshot that came from the leader.
    pub(crate) fn install(&mut self, snapshot: SnapshotId, conf_state: ConfState) {
        self.snapshot = snapshot;
        self.conf_state = conf_state;
        self.start = snapshot;
        self.entries.clear();
    }

    /// Lets go of the entries up to a snapshot taken here, but for the last `kept_bytes`.
    pub(crate) fn compact(&mut self, snapshot: SnapshotId, conf_state: ConfState, kept_bytes: usize) {
        self.snapshot = snapshot;
        self.conf_state = conf_state;
        let covered = self.position(snapshot.offset.0 + 1).min(self.entries.len());
        let mut kept = 0;
        let mut drop = covered;
        while drop > 0 && kept < kept_bytes {
            let entry = &self.entries[drop - 1];
            kept += entry.data.len() + entry.context.len() + size_of::<Entry>();
            drop -= 1;
        }
        if let Some(last) = drop.checked_sub(1) {
            let last = &self.entries[last];
            self.start = SnapshotId { offset: MetadataOffset(last.index), term: Term(last.term) };
            self.entries.drain(..drop);
        }
    }

    /// The entries from `low` to `high_exclusive`, as many as fit `bytes_max`, at least one if there is one.
    pub(crate) fn read(&self, low: u64, high_exclusive: u64, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let (from, to) = (self.position(low), self.position(high_exclusive).min(self.entries.len()));
        let mut read = Vec::new();
        for entry in self.entries.range(from.min(to)..to) {
            bytes += entry.data.len() + entry.context.len();
            if !read.is_empty() && bytes > bytes_max {
                break;
            }
            read.push(entry.clone());
        }
        read
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first())).unwrap_or(usize::MAX)
    }
}

impl Storage for MemoryLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        let bytes_max = max_size.into().map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        Ok(self.read(low, high, bytes_max))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.start.offset.0 {
            return Ok(self.start.term.0);
        }
        if index < self.start.offset.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.entries
            .get(self.position(index))
            .map(|entry| entry.term)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        // Raft throws away a snapshot that does not name the node it comes to.
        let useless = !self.snapshot_names(to);
        if self.snapshot.offset.0 < request_index || self.snapshot.offset.0 == 0 || useless {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = self.snapshot.offset.0;
        snapshot.mut_metadata().term = self.snapshot.term.0;
        snapshot.mut_metadata().set_conf_state(self.conf_state.clone());
        Ok(snapshot)
    }
}
