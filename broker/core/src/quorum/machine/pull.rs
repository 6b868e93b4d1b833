//! Getting a snapshot from the leader, and noticing as the leader that a follower does not.

use raft::eraftpb::Message;
use raft::{ProgressState, SnapshotStatus};

use super::{Quorum, QuorumEvent, TRANSFER_STALL};
use crate::ids::{MetadataOffset, Term};
use crate::metadata::image::Image;
use crate::quorum::identity::{Peer, RaftId, check_voters};
use crate::quorum::members::{conf_state, raft_members_equal, voters_of};
use crate::quorum::message::{Body, Chunk};
use crate::quorum::snapshot::{self, SnapshotId};
use crate::quorum::transfer::{Incoming, Taken};

impl Quorum {
    pub(super) fn start_pull(&mut self, message: Message, from: Peer) {
        let metadata = message.get_snapshot().get_metadata();
        let id = SnapshotId { offset: MetadataOffset(metadata.index), term: Term(metadata.term) };
        if message.term < self.raw.raft.term || self.installing() {
            return;
        }
        if id.offset <= self.committed() {
            // Raft answers that it is further already.
            self.step_raft(message);
            return;
        }
        if self.incoming.as_ref().is_some_and(|incoming| incoming.id == id && incoming.from == from) {
            return;
        }
        self.incoming = Some(Incoming::new(message, from, id, self.now));
        self.pull();
    }

    fn pull(&mut self) {
        let Some(incoming) = &mut self.incoming else { return };
        incoming.asked_at = self.now;
        let (peer, body) =
            (incoming.from.clone(), Body::SnapshotRequest { id: incoming.id, position: incoming.position() });
        self.send(&peer, body);
    }

    pub(super) fn pull_again(&mut self) {
        let Some(incoming) = &self.incoming else { return };
        if incoming.message.term < self.raw.raft.term {
            self.incoming = None;
        } else if self.now.since(incoming.asked_at) >= TRANSFER_STALL / 2 {
            self.pull();
        }
    }

    pub(super) fn take_chunk(&mut self, from: &Peer, chunk: &Chunk) {
        let Some(incoming) = &mut self.incoming else { return };
        match incoming.take(from, chunk) {
            Taken::Ignored => return,
            Taken::Part => return self.pull(),
            Taken::All => {}
            Taken::Bad(reason) => {
                let (id, reason) = (incoming.id, reason.to_owned());
                self.incoming = None;
                return self.events.push(QuorumEvent::BadSnapshot { id, reason });
            }
        }
        let Some(incoming) = self.incoming.take() else { return };
        let id = incoming.id;
        let (message, bytes) = incoming.into_bytes();
        match self.check_snapshot(id, &message, &bytes) {
            Ok(image) => {
                self.arrived = Some((id, image, bytes));
                self.step_raft(message);
                if self.raw.snap().is_none() {
                    self.arrived = None;
                    if self.committed() < id.offset {
                        let reason = "raft does not take it".to_owned();
                        self.events.push(QuorumEvent::BadSnapshot { id, reason });
                    }
                }
            }
            Err(reason) => self.events.push(QuorumEvent::BadSnapshot { id, reason }),
        }
    }

    fn check_snapshot(&self, id: SnapshotId, message: &Message, bytes: &[u8]) -> Result<Image, String> {
        let image = snapshot::decode(bytes).map_err(|error| error.in_full())?;
        let table = voters_of(&image);
        check_voters(&table).map_err(|error| error.to_string())?;
        let members = message.get_snapshot().get_metadata().get_conf_state();
        if SnapshotId::of(&image) != id || image.cluster_id != self.config.cluster_id {
            return Err("it is another snapshot than was asked for".to_owned());
        }
        if !raft_members_equal(members, &conf_state(&table)) {
            return Err("its voters are not those that the leader named".to_owned());
        }
        Ok(image)
    }

    /// A follower that stopped pulling is sent the snapshot's name again: the first may have been lost.
    pub(super) fn report_stalled_snapshots(&mut self) {
        if !self.leads() {
            return;
        }
        let now = self.now;
        let pulling =
            self.raw.raft.prs().iter().filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let pulling: Vec<u64> = pulling.map(|(id, _)| *id).collect();
        for id in pulling {
            let contact = self.contacts.entry(RaftId(id)).or_default();
            let since = *contact.pulled.get_or_insert(now);
            if now.since(since) >= TRANSFER_STALL {
                contact.pulled = None;
                self.raw.report_snapshot(id, SnapshotStatus::Failure);
            }
        }
    }
}
