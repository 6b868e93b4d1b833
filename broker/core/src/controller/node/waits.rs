//! Requests that only read: they wait for news, or for the quorum to confirm that this node still leads.

use std::time::Duration;

use super::ControllerNode;
use crate::controller::error::OperationError;
use crate::controller::operation::{
    FetchMetadata, FetchMetadataSnapshot, FetchedMetadata, Reply, RestartSafety, SnapshotPart, Ticket,
};
use crate::controller::quorum::{Observer, describe_quorum};
use crate::controller::safety::restart_safety;
use crate::ids::{MetadataOffset, NodeId};
use crate::metadata::feed::encode_feed;
use crate::time::Monotonic;

/// Brokers that are remembered for having fetched, and fetches that wait for something new, of which a broker has one:
/// ten times the brokers that a cluster is designed for. Strangers make way for registered brokers.
const OBSERVERS_MAX: usize = 1_000;

/// A broker that did not fetch for so long is no observer any more, as in Kafka.
const OBSERVER_SILENCE_MAX: Duration = Duration::from_secs(300);

/// Reads that wait for the quorum. Each ends within [`READ_WAIT_MAX`], and an operator asks one at a time.
const READS_PARKED_MAX: usize = 1_000;

/// A read that the quorum did not confirm in this time is answered NOT_CONTROLLER.
const READ_WAIT_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct ParkedFetch {
    pub(super) ticket: Ticket,
    pub(super) ends: Monotonic,
    pub(super) fetch: FetchMetadata,
}

#[derive(Debug)]
pub(super) struct ParkedRead {
    pub(super) ticket: Ticket,
    pub(super) ends: Monotonic,
    pub(super) request: RestartSafety,
    /// What must be applied before the answer, once the quorum has confirmed that this node leads.
    pub(super) index: Option<MetadataOffset>,
}

impl ControllerNode {
    pub(super) fn describe(&mut self, ticket: Ticket) -> Result<(), OperationError> {
        if !self.controller.is_active() {
            return Err(self.not_controller());
        }
        let me = self.config.quorum.me.node_id;
        let description = describe_quorum(me, &self.quorum, &self.image, self.observers.iter());
        self.reply(ticket, Reply::DescribeQuorum(description));
        Ok(())
    }

    pub(super) fn fetch(&mut self, ticket: Ticket, fetch: FetchMetadata) -> Result<(), OperationError> {
        if !self.controller.is_active() {
            return Err(self.not_controller());
        }
        let caught_up = fetch.after >= self.image.offset;
        self.observe(&fetch, caught_up);
        self.controller.fetched(self.now, fetch.node_id);
        // A broker has one fetch open; a second one means that it gave up the first.
        let given_up: Vec<ParkedFetch> =
            self.fetches.extract_if(.., |parked| parked.fetch.node_id == fetch.node_id).collect();
        for parked in given_up {
            self.answer_fetch(&parked);
        }
        let ends = self.now.plus(fetch.wait_max.min(FetchMetadata::WAIT_MAX));
        let parked = ParkedFetch { ticket, ends, fetch };
        if caught_up && parked.ends > self.now && self.makes_room(parked.fetch.node_id) {
            self.fetches.push(parked);
        } else {
            self.answer_fetch(&parked);
        }
        Ok(())
    }

    /// Whether one more fetch may wait, for a registered broker in the place of a stranger's. One that may not is
    /// answered at once, with nothing new: a refusal would send brokers to look for another controller.
    fn makes_room(&mut self, node_id: NodeId) -> bool {
        if self.fetches.len() < OBSERVERS_MAX {
            return true;
        }
        if !self.is_registered(node_id) {
            return false;
        }
        let stranger = self.fetches.iter().position(|parked| !self.is_registered(parked.fetch.node_id));
        let Some(stranger) = stranger else { return false };
        let parked = self.fetches.swap_remove(stranger);
        self.answer_fetch(&parked);
        true
    }

    fn is_registered(&self, node_id: NodeId) -> bool {
        self.image.brokers.contains_key(&node_id)
    }

    fn observe(&mut self, fetch: &FetchMetadata, caught_up: bool) {
        if self.observers.len() >= OBSERVERS_MAX && !self.observers.contains_key(&fetch.node_id) {
            let stranger = self.observers.keys().copied().find(|id| !self.is_registered(*id));
            let Some(stranger) = stranger.filter(|_| self.is_registered(fetch.node_id)) else { return };
            self.observers.remove(&stranger);
        }
        let observer = self.observers.entry(fetch.node_id).or_insert(Observer {
            log_end: fetch.after,
            last_contact: self.now,
            last_caught_up: None,
        });
        observer.log_end = fetch.after;
        observer.last_contact = self.now;
        if caught_up {
            observer.last_caught_up = Some(self.now);
        }
    }

    /// Forgets brokers that are long gone.
    pub(super) fn forget_observers(&mut self) {
        let now = self.now;
        self.observers.retain(|_, observer| now.since(observer.last_contact) < OBSERVER_SILENCE_MAX);
    }

    pub(super) fn answer_fetch(&mut self, parked: &ParkedFetch) {
        let bytes_max = parked.fetch.bytes_max.min(FetchMetadata::BYTES_MAX);
        let entries = self.quorum.read(parked.fetch.after, bytes_max);
        let answer = match (entries, self.quorum.latest_snapshot()) {
            (Some(entries), _) => FetchedMetadata::Entries {
                bytes: encode_feed(entries.iter().map(|entry| (entry.offset, entry.term, &entry.payload))),
                committed: self.image.offset,
            },
            (None, Some(snapshot)) => FetchedMetadata::UseSnapshot(snapshot),
            (None, None) => return self.refuse(parked.ticket, OperationError::SnapshotNotFound),
        };
        self.reply(parked.ticket, Reply::FetchMetadata(answer));
    }

    pub(super) fn fetch_snapshot(
        &mut self,
        fetch: FetchMetadataSnapshot,
    ) -> Result<SnapshotPart, OperationError> {
        let chunk = self.quorum.snapshot_chunk(fetch.id, fetch.position, fetch.bytes_max);
        let chunk = chunk.ok_or(OperationError::SnapshotNotFound)?;
        Ok(SnapshotPart { id: chunk.id, size: chunk.size, position: chunk.position, bytes: chunk.bytes })
    }

    pub(super) fn read(&mut self, ticket: Ticket, request: RestartSafety) -> Result<(), OperationError> {
        if !self.controller.is_active() || self.reads.len() >= READS_PARKED_MAX {
            return Err(self.not_controller());
        }
        let number = self.next_read;
        self.next_read += 1;
        self.quorum.read_index(number).map_err(|_| self.not_controller())?;
        let ends = self.now.plus(READ_WAIT_MAX);
        self.reads.insert(number, ParkedRead { ticket, ends, request, index: None });
        Ok(())
    }

    /// Answers what waited for something to be applied.
    pub(super) fn answer_waits(&mut self) {
        let applied = self.image.offset;
        let news: Vec<ParkedFetch> =
            self.fetches.extract_if(.., |parked| parked.fetch.after < applied).collect();
        for parked in news {
            self.answer_fetch(&parked);
        }
        let confirmed = |read: &ParkedRead| read.index.is_some_and(|index| index <= applied);
        let reads: Vec<ParkedRead> =
            self.reads.extract_if(.., |_, read| confirmed(read)).map(|(_, r)| r).collect();
        for read in reads {
            let (members, config) = (self.quorum.progress(), &self.config.controller);
            let verdict = restart_safety(self.now, &self.image, config, &members, &read.request);
            self.reply(read.ticket, Reply::RestartSafety(verdict));
        }
    }

    /// Answers what waited long enough.
    pub(super) fn end_waits(&mut self) {
        let now = self.now;
        let over: Vec<ParkedFetch> = self.fetches.extract_if(.., |parked| parked.ends <= now).collect();
        for parked in over {
            self.answer_fetch(&parked);
        }
        let reads: Vec<ParkedRead> =
            self.reads.extract_if(.., |_, read| read.ends <= now).map(|(_, r)| r).collect();
        for read in reads {
            self.refuse(read.ticket, OperationError::NotController { leader: None });
        }
    }

    pub(super) fn refuse_waits(&mut self, leader: Option<NodeId>) {
        let fetches = self.fetches.drain(..).map(|parked| parked.ticket);
        let reads = std::mem::take(&mut self.reads).into_values().map(|read| read.ticket);
        let tickets: Vec<Ticket> = fetches.chain(reads).collect();
        let refusals =
            tickets.into_iter().map(|ticket| (ticket, Err(OperationError::NotController { leader })));
        self.effects.replies.extend(refusals);
    }
}
