//! What a member's disk is told to write.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

use crate::ids::{MetadataOffset, Term};
use crate::quorum::identity::RaftId;
use crate::quorum::message::payload;
use crate::quorum::snapshot::SnapshotId;

/// What raft must not forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The term this node is in.
    pub term: Term,
    /// For whom it voted in that term.
    pub vote: Option<RaftId>,
    /// What it knows to be committed.
    pub commit: MetadataOffset,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it is.
    pub offset: MetadataOffset,
    /// The term it was written in.
    pub term: Term,
    /// Whether it changes who votes.
    pub changes_voters: bool,
    /// Its record batch.
    pub payload: Bytes,
}

/// Work for the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Persist {
    /// What to report when it is done.
    pub number: u64,
    /// What to do, in order.
    pub actions: Vec<PersistAction>,
}

/// One step of a [`Persist`].
#[derive(Debug, Clone, PartialEq)]
pub enum PersistAction {
    /// Append to the log.
    Append {
        /// The hard state from now on.
        hard_state: HardState,
        /// The entries.
        entries: Vec<LogEntry>,
    },
    /// Replace everything by a snapshot that came from the leader.
    Install {
        /// Which.
        id: SnapshotId,
        /// All of it.
        bytes: Bytes,
    },
    /// Let go of the log before a snapshot that [`SnapshotWriter`] made durable, and of older snapshots.
    Compact {
        /// Which.
        id: SnapshotId,
    },
}

impl PersistAction {
    /// Adds this to what is to be done before it. Of two appends one is made, so that they share a sync; entries
    /// that the second replaces are never written.
    pub(crate) fn join(self, earlier: &mut Vec<Self>) {
        match (earlier.last_mut(), self) {
            (
                Some(Self::Append { hard_state, entries }),
                Self::Append { hard_state: newer, entries: more },
            ) => {
                if let Some(first) = more.first() {
                    entries.retain(|entry| entry.offset < first.offset);
                }
                entries.extend(more);
                *hard_state = newer;
            }
            (_, action) => earlier.push(action),
        }
    }

    /// The size of the entries in it.
    pub(crate) fn entry_bytes(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(|entry| entry.payload.len()).sum(),
            Self::Install { .. } | Self::Compact { .. } => 0,
        }
    }
}

impl LogEntry {
    pub(crate) fn from_raft(entry: &Entry) -> Self {
        Self {
            offset: MetadataOffset(entry.index),
            term: Term(entry.term),
            changes_voters: entry.get_entry_type() != EntryType::EntryNormal,
            payload: payload(entry),
        }
    }

    pub(crate) fn to_raft(&self) -> Entry {
        let mut entry = Entry { index: self.offset.0, term: self.term.0, ..Entry::default() };
        if self.changes_voters {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            entry.context = self.payload.clone();
        } else {
            entry.data = self.payload.clone();
        }
        entry
    }
}

impl HardState {
    pub(crate) fn from_raft(state: &raft::eraftpb::HardState) -> Self {
        Self {
            term: Term(state.term),
            vote: Some(RaftId(state.vote)).filter(|vote| vote.0 != 0),
            commit: MetadataOffset(state.commit),
        }
    }

    pub(crate) fn to_raft(self) -> raft::eraftpb::HardState {
        raft::eraftpb::HardState {
            term: self.term.0,
            vote: self.vote.map_or(0, |vote| vote.0),
            commit: self.commit.0,
            ..raft::eraftpb::HardState::default()
        }
    }
}
