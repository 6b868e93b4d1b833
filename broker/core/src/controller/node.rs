//! One controller, whole: the quorum, the active controller, the committed image, and the rules that order them.
//!
//! The binary's driver and the simulator run exactly this. How to drive it:
//! 1. Give inputs: [`ControllerNode::tick`] (at least every [`NodeConfig::tick`]), [`ControllerNode::message`],
//!    [`ControllerNode::request`], [`ControllerNode::persisted`].
//! 2. After one or several of them take [`ControllerNode::ready`] and carry it out: send what is to be sent, give
//!    the [`Persist`] to the log's thread (`RaftStore::persist`) and the snapshot to another (`SnapshotWriter::write`),
//!    answer the tickets, publish the image.
//! 3. Report the end of a [`Persist`] with [`ControllerNode::persisted`], that of a snapshot with
//!    [`ControllerNode::snapshot_written`]; before, there is no other of its kind. A failed one ends the node:
//!    [`Effects::fatal`] says so, and the process must exit.
//!
//! Nothing here waits: messages that promise something leave with a later `ready`, once the disk has it.

mod jobs;
mod voters;
mod waits;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use self::jobs::Jobs;
use self::voters::PendingChange;
use self::waits::{ParkedFetch, ParkedRead};
use super::error::OperationError;
use super::failures::{Probe, ProbeId, ProbeOutcome};
use super::operation::{Operation, Reply, Ticket};
use super::quorum::{Observer, next_voters};
use super::state::{Controller, ControllerConfig, ControllerEvent};
use crate::ids::{MetadataOffset, NodeId, Term};
use crate::metadata::image::Image;
use crate::metadata::record::{Record, Voters};
use crate::quorum::machine::{NotLeader, OpenError, Outgoing, QuorumEvent};
use crate::quorum::message::Envelope;
use crate::quorum::store::{Persist, PersistAction};
use crate::quorum::{Peer, Quorum, QuorumConfig, Recovered, SnapshotId};
use crate::time::Monotonic;

/// How a controller behaves.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The metadata quorum.
    pub quorum: QuorumConfig,
    /// The active controller.
    pub controller: ControllerConfig,
    /// A snapshot is taken after so many bytes of records (`metadata.log.max.record.bytes.between.snapshots`).
    pub snapshot_after_bytes: u64,
}

impl NodeConfig {
    /// Kafka's defaults.
    pub fn new(quorum: QuorumConfig) -> Self {
        let controller = ControllerConfig::new(quorum.me.node_id);
        Self { quorum, controller, snapshot_after_bytes: 20 << 20 }
    }

    /// How often [`ControllerNode::tick`] must be called.
    pub fn tick(&self) -> Duration {
        self.quorum.tick
    }
}

/// How a [`Persist`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersistOutcome {
    /// It is durable.
    Durable,
    /// It is not, or nobody knows. The text is for the log.
    Failed(String),
}

impl From<io::Result<()>> for PersistOutcome {
    fn from(result: io::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Durable,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described at its type")]
pub enum NodeEvent {
    Quorum(QuorumEvent),
    Controller(ControllerEvent),
    /// A message could not be read.
    BadMessage {
        /// Why.
        reason: String,
    },
    /// A snapshot was taken, and the log before it let go.
    SnapshotTaken(SnapshotId),
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be sent at once. May be lost, repeated and reordered.
    pub send: Vec<Outgoing>,
    /// To be made durable.
    pub persist: Option<Persist>,
    /// To be written as a snapshot, while the log goes on.
    pub snapshot: Option<Image>,
    /// Nodes to be connected to.
    pub probes: Vec<Probe>,
    /// To be answered.
    pub replies: Vec<(Ticket, Result<Reply, OperationError>)>,
    /// The committed image, if it is another than before.
    pub image: Option<Image>,
    /// To be logged.
    pub events: Vec<NodeEvent>,
    /// Why this process must exit now.
    pub fatal: Option<String>,
}

/// A controller.
#[derive(Debug)]
pub struct ControllerNode {
    config: NodeConfig,
    quorum: Quorum,
    controller: Controller,
    image: Image,
    effects: Effects,
    jobs: Jobs,
    bytes_since_snapshot: u64,
    /// The snapshot on its way: it is being written, or the log before it is let go.
    snapshotting: Option<Image>,
    fetches: Vec<ParkedFetch>,
    reads: BTreeMap<u64, ParkedRead>,
    next_read: u64,
    observers: BTreeMap<NodeId, Observer>,
    /// The last change of voters that this node proposed as the active controller.
    voters_proposed: MetadataOffset,
    /// The one that somebody asked for and waits for.
    voter_change: Option<PendingChange>,
    /// Since when this is the active controller, while it is.
    active_since: Monotonic,
    now: Monotonic,
}

impl ControllerNode {
    /// Starts a controller from what its disk held.
    pub fn open(recovered: Recovered, config: NodeConfig, now: Monotonic) -> Result<Self, OpenError> {
        let image = recovered.image.clone();
        let quorum = Quorum::open(recovered, config.quorum.clone(), now)?;
        let controller = Controller::new(config.controller.clone());
        let effects = Effects { image: Some(image.clone()), ..Effects::default() };
        Ok(Self {
            config,
            quorum,
            controller,
            image,
            effects,
            jobs: Jobs::default(),
            bytes_since_snapshot: 0,
            snapshotting: None,
            fetches: Vec::new(),
            reads: BTreeMap::new(),
            next_read: 1,
            observers: BTreeMap::new(),
            voters_proposed: MetadataOffset(0),
            voter_change: None,
            active_since: now,
            now,
        })
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
        self.quorum.tick(now);
        if self.controller.is_active() {
            let quorum = &mut self.quorum;
            self.controller.tick(self.now, &mut |payload| quorum.propose(payload));
            self.ask_voters();
            self.go_on_with_voters();
            self.mend_voters();
        }
        self.end_waits();
        self.forget_observers();
    }

    /// Takes bytes from another controller.
    pub fn message(&mut self, now: Monotonic, bytes: &[u8]) {
        self.now = self.now.max(now);
        match Envelope::decode(bytes) {
            Ok(envelope) => self.quorum.step(now, envelope),
            Err(error) => self.effects.events.push(NodeEvent::BadMessage { reason: error.to_string() }),
        }
    }

    /// Takes a request. It is answered under its ticket, in this `ready` or a later one.
    pub fn request(&mut self, now: Monotonic, ticket: Ticket, operation: Operation) {
        self.now = self.now.max(now);
        let result = match operation {
            Operation::FetchMetadata(fetch) => self.fetch(ticket, fetch),
            Operation::FetchMetadataSnapshot(fetch) => {
                self.fetch_snapshot(fetch).map(|part| self.reply(ticket, Reply::FetchMetadataSnapshot(part)))
            }
            Operation::DescribeQuorum => self.describe(ticket),
            Operation::RestartSafety(request) => self.read(ticket, request),
            Operation::ChangeVoters(change) => self.change_voters(ticket, change),
            operation @ (Operation::RegisterBroker(_)
            | Operation::Heartbeat(_)
            | Operation::CreateTopics(_)
            | Operation::DeleteTopics(_)
            | Operation::CreatePartitions(_)
            | Operation::IncrementalAlterConfigs(_)
            | Operation::AlterPartition(_)
            | Operation::AssignReplicasToDirs(_)
            | Operation::ElectLeaders(_)
            | Operation::AlterPartitionReassignments(_)
            | Operation::ListPartitionReassignments(_)
            | Operation::UnregisterBroker(_)
            | Operation::UpdateFeatures(_)
            | Operation::AllocateProducerIds(_)) => {
                let quorum = &mut self.quorum;
                self.controller.operate(self.now, ticket, &operation, &mut |payload| quorum.propose(payload))
            }
        };
        if let Err(error) = result {
            self.refuse(ticket, error);
        }
    }

    /// Takes the end of a [`Persist`].
    pub fn persisted(&mut self, now: Monotonic, number: u64, outcome: PersistOutcome) {
        if !self.is_durable(now, outcome) {
            return;
        }
        let Some(written) = self.jobs.done(number) else { return };
        if let Some(raft) = written.raft {
            self.quorum.persisted(raft);
        }
        if let Some(image) = written.compacts {
            self.effects.events.push(NodeEvent::SnapshotTaken(SnapshotId::of(&image)));
            self.snapshotting = None;
            self.quorum.compact(image);
        }
    }

    /// Takes the end of a snapshot's writing. The log before it goes in its turn.
    pub fn snapshot_written(&mut self, now: Monotonic, outcome: PersistOutcome) {
        if !self.is_durable(now, outcome) {
            return;
        }
        if let Some(image) = self.snapshotting.clone() {
            self.jobs.push_compaction(PersistAction::Compact { id: SnapshotId::of(&image) }, image);
        }
    }

    /// Takes what came of a [`Probe`].
    pub fn probed(&mut self, now: Monotonic, id: ProbeId, outcome: ProbeOutcome) {
        self.now = self.now.max(now);
        match id {
            ProbeId::Broker(number) => {
                self.controller.probed(self.now, number, outcome);
                let quorum = &mut self.quorum;
                self.controller.tick(self.now, &mut |payload| quorum.propose(payload));
            }
            ProbeId::Leader(number) => self.quorum.leader_probed(number, outcome == ProbeOutcome::Refused),
        }
    }

    fn is_durable(&mut self, now: Monotonic, outcome: PersistOutcome) -> bool {
        self.now = self.now.max(now);
        match outcome {
            PersistOutcome::Durable => true,
            PersistOutcome::Failed(error) => {
                self.effects.fatal = Some(format!("the metadata log could not be written: {error}"));
                false
            }
        }
    }

    /// Hands leadership to another voter, if this node leads and there is one; before a planned stop.
    pub fn resign(&mut self) {
        self.quorum.resign();
    }

    /// What is to be done now.
    pub fn ready(&mut self) -> Effects {
        let before = self.image.offset;
        let mut actions = Vec::new();
        let mut raft = None;
        let mut members_changed = false;
        loop {
            let ready = self.quorum.ready();
            self.effects.send.extend(ready.send);
            self.effects.events.extend(ready.events.into_iter().map(NodeEvent::Quorum));
            self.effects.probes.extend(ready.probe.map(|(number, leader)| Probe {
                id: ProbeId::Leader(number),
                node_id: leader.node_id,
                address: leader.address,
            }));
            if let Some(persist) = ready.persist {
                actions.extend(persist.actions);
                raft = Some(persist.number);
            }
            for (number, index) in ready.reads {
                if let Some(read) = self.reads.get_mut(&number) {
                    read.index = Some(index);
                }
            }
            let idle = ready.committed.is_empty() && ready.installed.is_none();
            if let Some(image) = ready.installed {
                self.image = image;
                self.bytes_since_snapshot = 0;
            }
            for entry in ready.committed {
                self.bytes_since_snapshot += entry.payload.len() as u64;
                if let Err(reason) = self.apply(entry.offset, entry.term, &entry.payload) {
                    self.effects.fatal = Some(reason);
                    return std::mem::take(&mut self.effects);
                }
                self.quorum.applied(&entry, &self.image);
                members_changed |= entry.changes_voters;
            }
            self.follow_leadership();
            if idle && !self.quorum.has_ready() {
                break;
            }
        }
        if members_changed {
            // Raft learns of new members by applying them, and after a restart applies only what it knows to
            // be committed. That must be durable: a node that fell back to the members before would wait for
            // one that may be gone for good. Everything else it hears from the next leader.
            actions.push(self.quorum.note_commit());
        }
        self.jobs.push(actions, raft);
        self.effects.events.extend(self.controller.events().into_iter().map(NodeEvent::Controller));
        self.effects.probes.extend(self.controller.probes());
        self.effects.persist = self.jobs.next();
        self.start_snapshot();
        let replies = self.controller.committed(self.image.offset);
        self.effects.replies.extend(replies);
        self.answer_waits();
        if members_changed {
            self.go_on_with_voters();
        }
        if self.image.offset != before {
            self.effects.image = Some(self.image.clone());
        }
        std::mem::take(&mut self.effects)
    }
}

/// What can be asked at any time.
impl ControllerNode {
    /// The committed image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Whether this is the active controller.
    pub fn is_active(&self) -> bool {
        self.controller.is_active()
    }

    /// The active controller, as far as known.
    pub fn leader(&self) -> Option<Peer> {
        self.quorum.leader()
    }

    /// Whether an entry of this term is applied. Each leader begins with one, so everything committed before
    /// that leader is applied then, too.
    pub fn has_applied_of_term(&self) -> bool {
        self.image.term == self.quorum.term()
    }

    /// Whether something waits for the disk.
    pub fn awaits_disk(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// The quorum, for checkers and metrics.
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }
}

impl ControllerNode {
    fn apply(&mut self, offset: MetadataOffset, term: Term, payload: &[u8]) -> Result<(), String> {
        let records = Record::decode_batch(payload)
            .map_err(|error| format!("metadata entry {offset} cannot be read: {error}"))?;
        self.image.replay_entry(offset, term, &records).map_err(|error| error.to_string())
    }

    fn start_snapshot(&mut self) {
        if self.snapshot_due() {
            self.bytes_since_snapshot = 0;
            self.snapshotting = Some(self.image.clone());
            self.effects.snapshot = Some(self.image.clone());
        }
    }

    fn snapshot_due(&self) -> bool {
        self.snapshotting.is_none()
            && !self.quorum.installing()
            && (self.bytes_since_snapshot >= self.config.snapshot_after_bytes
                || self.quorum.snapshot_lacks_member())
    }

    /// Becomes active once everything of earlier terms is applied, which the first entry of the own term shows.
    fn follow_leadership(&mut self) {
        let leads = self.quorum.leads();
        if self.controller.is_active() && (!leads || self.controller_term() != self.quorum.term()) {
            let leader = self.leader_id();
            let replies = self.controller.deactivate(leader);
            self.effects.replies.extend(replies);
            self.effects.events.push(NodeEvent::Controller(ControllerEvent::Inactive));
            self.refuse_waits(leader);
            self.refuse_voter_change();
            self.observers.clear();
            self.voters_proposed = MetadataOffset(0);
        }
        if !self.controller.is_active() && leads && self.has_applied_of_term() {
            self.active_since = self.now;
            let (image, before) = (self.image.clone(), self.quorum.followed());
            let quorum = &mut self.quorum;
            self.controller.activate(self.now, image, before, &mut |payload| quorum.propose(payload));
            let term = self.quorum.term();
            self.effects.events.push(NodeEvent::Controller(ControllerEvent::Active { term }));
        }
    }

    fn controller_term(&self) -> Term {
        self.controller.image().map_or(Term(0), |image| image.term)
    }

    fn leader_id(&self) -> Option<NodeId> {
        self.quorum.leader().map(|leader| leader.node_id)
    }

    fn mend_voters(&mut self) {
        let Some(table) = next_voters(&self.quorum, self.now, self.active_since) else { return };
        // What cannot be proposed now is found again with the next tick.
        let _later = self.propose_voters(table);
    }

    /// One change at a time, and the next one starts from what the last one left.
    fn propose_voters(&mut self, table: Voters) -> Result<MetadataOffset, NotLeader> {
        if self.image.offset < self.voters_proposed || !self.quorum.can_change_voters() {
            return Err(NotLeader);
        }
        let record = Record::Voters(table.clone());
        let offset = self.quorum.propose_voters(table)?;
        self.controller.note(offset, &[record]);
        self.voters_proposed = offset;
        Ok(offset)
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.effects.replies.push((ticket, Ok(reply)));
    }

    fn refuse(&mut self, ticket: Ticket, error: OperationError) {
        let deposed = matches!(error, OperationError::NotController { .. });
        let error = if deposed { self.not_controller() } else { error };
        self.effects.replies.push((ticket, Err(error)));
    }

    fn not_controller(&self) -> OperationError {
        OperationError::NotController { leader: self.leader_id() }
    }
}
