//! Talking to the other members: what comes in is checked, what goes out is addressed.

use raft::eraftpb::{Message, MessageType};

use super::{Outgoing, Quorum, SIGN_OF_LIFE, STRANGERS_MAX};
use crate::ids::DirectoryId;
use crate::metadata::record::Voters;
use crate::quorum::guard::{self, Refusal};
use crate::quorum::identity::{Peer, RaftId};
use crate::quorum::message::{Body, Envelope, may_travel, payload};
use crate::quorum::transfer::CHUNK_BYTES_MAX;

impl Quorum {
    pub(super) fn ask_to_join(&mut self) {
        let me = self.config.me.directory_id;
        let member =
            self.table.voters.iter().chain(&self.table.learners).any(|known| known.directory_id == me);
        if member || !self.ticks.is_multiple_of(5) {
            return;
        }
        let known: Vec<Peer> = self.table.voters.iter().filter_map(Peer::of).collect();
        let mut addresses = self.config.bootstrap.clone();
        addresses.extend(known.into_iter().map(|peer| peer.address));
        addresses.sort_unstable();
        addresses.dedup();
        for address in addresses.into_iter().filter(|address| *address != self.config.me.address) {
            let bytes = self.envelope(DirectoryId::default(), Body::Join).encode();
            self.outbox.push(Outgoing { node_id: None, address, to: DirectoryId::default(), bytes });
        }
    }

    pub(super) fn take(&mut self, envelope: Envelope) -> Result<(), Refusal> {
        if envelope.cluster_id != self.config.cluster_id {
            return Err(Refusal::OtherCluster);
        }
        let to_anybody = matches!(envelope.body, Body::Join);
        if envelope.to != self.config.me.directory_id && !to_anybody {
            return Err(Refusal::OtherDirectory);
        }
        let from = RaftId::of(envelope.from.directory_id).map_err(|_| Refusal::Impossible("directory"))?;
        if from.0 == self.raw.raft.id {
            return Err(Refusal::FromMyself);
        }
        match envelope.body {
            Body::Raft(message) => self.take_raft(from, envelope.from, *message),
            Body::Join => {
                let now = self.now;
                self.joins.retain(|_, (_, at)| now.since(*at) <= SIGN_OF_LIFE);
                if self.leads() && self.joins.len() < STRANGERS_MAX {
                    self.joins.insert(envelope.from.node_id, (envelope.from, self.now));
                }
                Ok(())
            }
            Body::SnapshotRequest { id, position } => {
                self.contacts.entry(from).or_default().pulled = Some(self.now);
                if let Some(chunk) = self.held.chunk(self.now, id, position, CHUNK_BYTES_MAX) {
                    self.send(&envelope.from, Body::SnapshotChunk(chunk));
                }
                Ok(())
            }
            Body::SnapshotChunk(chunk) => {
                self.take_chunk(&chunk);
                Ok(())
            }
        }
    }

    pub(super) fn take_raft(&mut self, from: RaftId, peer: Peer, message: Message) -> Result<(), Refusal> {
        guard::check(&self.raw.raft, &message)?;
        if self.installing() && message.get_msg_type() == MessageType::MsgTimeoutNow {
            return Ok(());
        }
        if !message.entries.is_empty() {
            if self.is_full() {
                return Ok(());
            }
            self.taken_bytes += message.entries.iter().map(|entry| payload(entry).len()).sum::<usize>();
        }
        self.remember(from, peer.clone());
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.start_pull(message, peer);
            return Ok(());
        }
        self.step_raft(message);
        let caught_up =
            self.raw.raft.prs().get(from.0).is_some_and(|progress| progress.matched >= self.last().0);
        let contact = self.contacts.entry(from).or_default();
        contact.heard = Some(self.now);
        if caught_up {
            contact.caught_up = Some(self.now);
        }
        Ok(())
    }

    pub(super) fn step_raft(&mut self, message: Message) {
        // Errors are answers of peers that are no members any more, and nothing is owed to those.
        let _not_a_member = self.raw.step(message);
    }

    pub(super) fn address(&mut self, message: Message) -> Option<Outgoing> {
        if !may_travel(message.get_msg_type()) {
            return None;
        }
        let to = RaftId(message.to);
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.contacts.entry(to).or_default().pulled = Some(self.now);
        }
        let peer = self.peer(to)?;
        Some(self.outgoing(&peer, Body::Raft(Box::new(message))))
    }

    pub(super) fn send(&mut self, peer: &Peer, body: Body) {
        let outgoing = self.outgoing(peer, body);
        self.outbox.push(outgoing);
    }

    pub(super) fn outgoing(&self, peer: &Peer, body: Body) -> Outgoing {
        let bytes = self.envelope(peer.directory_id, body).encode();
        let (address, to) = (peer.address.clone(), peer.directory_id);
        Outgoing { node_id: Some(peer.node_id), address, to, bytes }
    }

    pub(super) fn envelope(&self, to: DirectoryId, body: Body) -> Envelope {
        Envelope { cluster_id: self.config.cluster_id, from: self.config.me.clone(), to, body }
    }

    pub(super) fn peer(&self, id: RaftId) -> Option<Peer> {
        if id.0 == self.raw.raft.id {
            return Some(self.config.me.clone());
        }
        let members = self.table.voters.iter().chain(&self.table.learners);
        let member =
            || members.clone().filter(|member| RaftId::of(member.directory_id) == Ok(id)).find_map(Peer::of);
        self.heard_from.get(&id).cloned().or_else(member)
    }

    /// The members with the addresses that they give themselves.
    pub(crate) fn members_as_heard(&self) -> Voters {
        let mut table = self.table.clone();
        for member in table.voters.iter_mut().chain(&mut table.learners) {
            let peer = RaftId::of(member.directory_id).ok().and_then(|id| self.peer(id));
            if let (Some(peer), Some(endpoint)) = (peer, member.endpoints.first_mut()) {
                endpoint.host = peer.address.host;
                endpoint.port = peer.address.port;
            }
        }
        table
    }

    pub(super) fn remember(&mut self, id: RaftId, peer: Peer) {
        if self.heard_from.get(&id) == Some(&peer) {
            return;
        }
        let members = || self.table.voters.iter().chain(&self.table.learners);
        let known = members().any(|member| member.directory_id == peer.directory_id);
        let strangers = self.heard_from.len().saturating_sub(members().count());
        if known || strangers < STRANGERS_MAX {
            self.heard_from.insert(id, peer);
        }
    }
}
