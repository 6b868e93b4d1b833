//! What a member of the quorum wants done, and what it tells.

use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

use super::guard::Refusal;
use super::identity::{Address, BadVoters, Peer};
use super::message::payload;
use super::snapshot::SnapshotId;
use super::store::Persist;
use crate::ids::{DirectoryId, MetadataOffset, NodeId, Term};
use crate::metadata::image::{Image, Voter};
use crate::time::Monotonic;

/// A node that cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The voters cannot work together.
    #[error("the voter table is unusable")]
    Voters(#[from] BadVoters),
    /// The raft crate refuses what was found on disk.
    #[error("raft refuses to start: {0}")]
    Raft(String),
}

/// Not the leader, or a leader that cannot take proposals now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this controller is not the leader of the metadata quorum")]
pub struct NotLeader;

/// Bytes for another controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The node, if it is known.
    pub node_id: Option<NodeId>,
    /// Where it is reached.
    pub address: Address,
    /// The directory it is for, which the envelope names, too; nil for whoever answers there.
    pub to: DirectoryId,
    /// The message.
    pub bytes: Bytes,
}

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuorumEvent {
    /// This node leads from now on.
    BecameLeader {
        /// Since which term.
        term: Term,
    },
    /// Another node leads, or nobody does.
    Following {
        /// In which term.
        term: Term,
        /// Whom.
        leader: Option<NodeId>,
    },
    /// Nobody listens any more where the leader was: this node stands without waiting.
    LeaderDead {
        /// The leader.
        leader: NodeId,
    },
    /// A message was refused.
    Refused {
        /// The node that it says it comes from.
        from: NodeId,
        /// Why.
        reason: Refusal,
    },
    /// A snapshot from the leader was no good.
    BadSnapshot {
        /// Which.
        id: SnapshotId,
        /// Why.
        reason: String,
    },
    /// The members of the quorum changed.
    VotersChanged {
        /// Those who vote now.
        voters: Vec<NodeId>,
        /// Those who follow.
        learners: Vec<NodeId>,
    },
}

/// An entry that a quorum has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where in the log it is.
    pub offset: MetadataOffset,
    /// The term it was written in.
    pub term: Term,
    /// Its record batch.
    pub payload: Bytes,
    /// Whether it changes who votes.
    pub(crate) changes_voters: bool,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct QuorumEffects {
    /// To be sent at once.
    pub send: Vec<Outgoing>,
    /// To be made durable; then [`Quorum::persisted`].
    pub persist: Option<Persist>,
    /// An image that came from the leader and replaces what was applied before. Comes before `committed`.
    pub installed: Option<Image>,
    /// To be applied in order.
    pub committed: Vec<Committed>,
    /// Reads that may be answered once the given offset is applied: the caller's number, and that offset.
    pub reads: Vec<(u64, MetadataOffset)>,
    /// The leader, if a connection to it is to be tried; report the number to [`Quorum::leader_probed`].
    pub probe: Option<(u64, Peer)>,
    /// To be logged.
    pub events: Vec<QuorumEvent>,
}

/// What the leader knows of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberProgress {
    /// The member.
    pub voter: Arc<Voter>,
    /// Whether it votes.
    pub votes: bool,
    /// The last entry it is known to have.
    pub log_end: MetadataOffset,
    /// When it was last heard.
    pub last_contact: Option<Monotonic>,
    /// When it last had everything.
    pub last_caught_up: Option<Monotonic>,
}

impl Committed {
    pub(super) fn from_raft(entry: &Entry) -> Self {
        Self {
            offset: MetadataOffset(entry.index),
            term: Term(entry.term),
            payload: payload(entry),
            changes_voters: entry.get_entry_type() != EntryType::EntryNormal,
        }
    }
}
