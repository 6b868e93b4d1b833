//! Talking to the other members: what comes in is checked, what goes out is addressed.

use raft::eraftpb::{Entry, Message, MessageType};

use super::{APPEND_BYTES_MAX, Contact, Outgoing, Quorum, SIGN_OF_LIFE, STRANGERS_MAX};
use crate::ids::DirectoryId;
use crate::metadata::record::Voters;
use crate::quorum::guard::{self, Refusal};
use crate::quorum::identity::{Peer, RaftId};
use crate::quorum::message::{Body, Envelope, may_travel, payload};
use crate::quorum::patience::ELECTION_TICKS_MIN;
use crate::quorum::transfer::CHUNK_BYTES_MAX;

/// A leader that was silent for so long leads this member no more: no voter waits longer before it stands.
const LEADER_SILENCE_TICKS_MAX: usize = 2 * ELECTION_TICKS_MIN;

impl Quorum {
    pub(super) fn ask_to_join(&mut self) {
        let me = self.config.me.directory_id;
        let member =
            self.table.voters.iter().chain(&self.table.learners).any(|known| known.directory_id == me);
        // A member that no leader speaks to may be one no longer without having heard of it. A learner remembers a
        // leader for ever, and only counts how long it was silent.
        let raft = &self.raw.raft;
        let led = raft.leader_id != raft::INVALID_ID && raft.election_elapsed < LEADER_SILENCE_TICKS_MAX;
        if (member && led) || !self.ticks.is_multiple_of(5) {
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
        let now = self.now;
        match envelope.body {
            Body::Raft(message) => self.take_raft(from, envelope.from, *message),
            Body::Join => {
                self.joins.retain(|_, (_, at)| now.since(*at) <= SIGN_OF_LIFE);
                if self.leads() && self.joins.len() < STRANGERS_MAX {
                    self.joins.insert(envelope.from.node_id, (envelope.from, self.now));
                }
                Ok(())
            }
            Body::SnapshotRequest { id, position } => {
                // Raft names snapshots to members only.
                if !self.is_member(from) {
                    return Ok(());
                }
                // Whoever asks for one that was let go pulls nothing, and is told of a newer one in a while.
                let Some(chunk) = self.held.chunk(now, id, position, CHUNK_BYTES_MAX) else { return Ok(()) };
                if let Some(contact) = self.contact(from) {
                    contact.pulled = Some(now);
                }
                self.send(&envelope.from, Body::SnapshotChunk(chunk));
                Ok(())
            }
            Body::SnapshotChunk(chunk) => {
                self.take_chunk(&envelope.from, &chunk);
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
        let answered = self.read_answered(&message);
        self.step_raft(message);
        let caught_up =
            self.raw.raft.prs().get(from.0).is_some_and(|progress| progress.matched >= self.last().0);
        let now = self.now;
        if let Some(contact) = self.contact(from) {
            contact.heard = Some(now);
            if caught_up {
                contact.caught_up = Some(now);
            }
            contact.answered = contact.answered.max(answered);
        }
        Ok(())
    }

    /// The read that this message answers. In another term it may have been one of another process.
    fn read_answered(&self, message: &Message) -> Option<u64> {
        let answers = message.get_msg_type() == MessageType::MsgHeartbeatResponse;
        let number = <[u8; 8]>::try_from(message.context.as_ref()).ok()?;
        (answers && message.term == self.raw.raft.term).then(|| u64::from_be_bytes(number))
    }

    /// What is remembered of a member. Of others, who may be any number, nothing is.
    fn contact(&mut self, id: RaftId) -> Option<&mut Contact> {
        self.is_member(id).then(|| self.contacts.entry(id).or_default())
    }

    pub(super) fn is_member(&self, id: RaftId) -> bool {
        let mut members = self.table.voters.iter().chain(&self.table.learners);
        members.any(|member| RaftId::of(member.directory_id) == Ok(id))
    }

    pub(super) fn step_raft(&mut self, message: Message) {
        // Errors are answers of peers that are no members any more, and nothing is owed to those.
        let _not_a_member = self.raw.step(message);
    }

    pub(super) fn address(&mut self, message: Message) -> Vec<Outgoing> {
        let to = RaftId(message.to);
        let Some(peer) = self.peer(to).filter(|_| may_travel(message.get_msg_type())) else {
            return Vec::new();
        };
        let now = self.now;
        if message.get_msg_type() == MessageType::MsgSnapshot
            && let Some(contact) = self.contact(to)
        {
            contact.pulled = Some(now);
        }
        let parts = in_parts(message).into_iter();
        parts.map(|part| self.outgoing(&peer, Body::Raft(Box::new(part)))).collect()
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

/// Raft joins the appends of one turn to one message, without a limit. They leave in parts that a receiver takes:
/// each is the append that raft would have sent, had there been no more.
fn in_parts(mut message: Message) -> Vec<Message> {
    let mut parts = Vec::new();
    let mut rest: Vec<Entry> = message.take_entries().into();
    loop {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += payload(entry).len() as u64;
            bytes <= APPEND_BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let later = rest.split_off(count);
        let mut part = message.clone();
        let last = rest.last().map(|entry| (entry.index, entry.term));
        part.set_entries(rest.into());
        parts.push(part);
        match (later.is_empty(), last) {
            (false, Some((index, term))) => (message.index, message.log_term) = (index, term),
            _ => return parts,
        }
        rest = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_that_raft_joined_leave_in_parts_that_follow_each_other() {
        let entry = |index: u64, bytes: usize| Entry {
            index,
            term: 3,
            data: bytes::Bytes::from(vec![0; bytes]),
            ..Entry::default()
        };
        let limit = usize::try_from(APPEND_BYTES_MAX).unwrap();
        let sizes = [10, limit - 10, 1, 3 * limit, 0, limit / 2, limit / 2, 1];
        let entries: Vec<Entry> = sizes.iter().zip(8..).map(|(bytes, index)| entry(index, *bytes)).collect();
        let mut message = Message { index: 7, log_term: 2, commit: 5, ..Message::default() };
        message.set_entries(entries.clone().into());
        let parts = in_parts(message);
        let counts: Vec<usize> = parts.iter().map(|part| part.entries.len()).collect();
        assert_eq!(counts, [2, 1, 1, 3, 1]);
        let mut before = (7, 2);
        for part in &parts {
            assert_eq!((part.index, part.log_term, part.commit), (before.0, before.1, 5));
            before = part.entries.last().map(|last| (last.index, last.term)).unwrap();
        }
        let sent: Vec<Entry> = parts.iter().flat_map(|part| part.entries.iter().cloned()).collect();
        assert_eq!(sent, entries);
    }

    #[test]
    fn what_has_no_entries_is_one_part() {
        let heartbeat = Message { commit: 5, ..Message::default() };
        assert_eq!(in_parts(heartbeat.clone()), [heartbeat]);
    }
}
