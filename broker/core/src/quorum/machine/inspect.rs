//! Looking at a member of the quorum.

use std::sync::Arc;

use super::{MemberProgress, Quorum, SIGN_OF_LIFE};
use crate::ids::{MetadataOffset, NodeId, Term};
use crate::metadata::image::Voter;
use crate::metadata::record::Voters;
use crate::quorum::identity::{Peer, RaftId};
use crate::quorum::members::ids;
use crate::quorum::message::Chunk;
use crate::quorum::snapshot::SnapshotId;
use crate::quorum::store::LogEntry;
use crate::time::Monotonic;
use raft::StateRole;

/// What can be asked of a member.
impl Quorum {
    /// Whether this node leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// The term this node is in.
    pub fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    /// The leader of this term, as far as known.
    pub fn leader(&self) -> Option<Peer> {
        self.peer(RaftId(self.raw.raft.leader_id))
    }

    /// The last entry in this node's log, committed or not.
    pub fn last(&self) -> MetadataOffset {
        MetadataOffset(self.raw.raft.raft_log.last_index())
    }

    /// The last entry known to be committed.
    pub fn committed(&self) -> MetadataOffset {
        MetadataOffset(self.raw.raft.raft_log.committed)
    }

    /// The members, as of the last applied entry.
    pub fn voters(&self) -> &Voters {
        &self.table
    }

    /// Whether this node votes.
    pub fn votes(&self) -> bool {
        self.raw.raft.promotable()
    }

    /// Whether a snapshot from the leader is on its way to the disk.
    pub fn installing(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.installs.is_some())
    }

    /// Committed entries after an offset, as many as fit; none if the log no longer reaches back that far.
    pub fn read(&self, after: MetadataOffset, bytes_max: usize) -> Option<Vec<LogEntry>> {
        let log = self.raw.store();
        let low = after.0.saturating_add(1);
        if low < log.first() {
            return None;
        }
        let high = self.raw.raft.raft_log.applied + 1;
        Some(log.read(low, high.max(low), bytes_max).iter().map(LogEntry::from_raft).collect())
    }

    /// The newest snapshot that can be pulled.
    pub fn latest_snapshot(&self) -> Option<SnapshotId> {
        self.held.latest()
    }

    /// Whether a member came after the newest snapshot: it could not be brought in with that one.
    pub fn snapshot_lacks_member(&self) -> bool {
        let mut members = ids(&self.table.voters).into_iter().chain(ids(&self.table.learners));
        members.any(|id| !self.raw.store().snapshot_names(id))
    }

    /// A part of a snapshot.
    pub fn snapshot_chunk(&mut self, id: SnapshotId, position: u64, bytes_max: usize) -> Option<Chunk> {
        self.held.chunk(self.now, id, position, bytes_max)
    }

    /// What the leader knows of each member; empty if this node does not lead.
    pub fn progress(&self) -> Vec<MemberProgress> {
        if !self.leads() {
            return Vec::new();
        }
        let voters = self.table.voters.iter().map(|voter| (voter, true));
        let learners = self.table.learners.iter().map(|learner| (learner, false));
        voters.chain(learners).filter_map(|(member, votes)| self.progress_of(member, votes)).collect()
    }

    /// Controllers that ask to become members, and were heard lately.
    pub fn joins(&self) -> impl Iterator<Item = &Peer> {
        self.joins.values().filter(|(_, at)| self.now.since(*at) <= SIGN_OF_LIFE).map(|(peer, _)| peer)
    }

    /// The leader that this node followed last, and when it was heard last.
    pub fn followed(&self) -> Option<(NodeId, Monotonic)> {
        let id = self.followed?;
        let heard = self.contacts.get(&id)?.heard?;
        let voter = self.table.voters.iter().find(|voter| RaftId::of(voter.directory_id) == Ok(id))?;
        Some((voter.node_id, heard))
    }

    /// Whether a member answered this read of [`Quorum::read_index`], or a later one: it was alive after that was asked. This
    /// node always was. That it was heard since says less: what it sent before it died may arrive long after.
    pub fn answered(&self, id: RaftId, number: u64) -> bool {
        let answered = || self.contacts.get(&id).and_then(|contact| contact.answered);
        id.0 == self.raw.raft.id || answered().is_some_and(|answered| answered >= number)
    }

    /// Whether a member was heard lately. This node always is.
    pub fn heard_lately(&self, id: RaftId) -> bool {
        let heard = || self.contacts.get(&id).and_then(|contact| contact.heard);
        id.0 == self.raw.raft.id || heard().is_some_and(|heard| self.now.since(heard) <= SIGN_OF_LIFE)
    }
}

impl Quorum {
    fn progress_of(&self, member: &Voter, votes: bool) -> Option<MemberProgress> {
        let id = RaftId::of(member.directory_id).ok()?;
        let myself = id.0 == self.raw.raft.id;
        let progress = self.raw.raft.prs().get(id.0)?;
        let contact = self.contacts.get(&id).copied().unwrap_or_default();
        Some(MemberProgress {
            voter: Arc::new(member.clone()),
            votes,
            log_end: MetadataOffset(if myself { self.last().0 } else { progress.matched }),
            last_contact: if myself { Some(self.now) } else { contact.heard },
            last_caught_up: if myself { Some(self.now) } else { contact.caught_up },
        })
    }
}
