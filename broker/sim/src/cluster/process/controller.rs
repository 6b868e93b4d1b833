//! The controller's half of a process.

use std::collections::BTreeMap;

use ottla_core::controller::state::ControllerEvent;
use ottla_core::controller::{
    ControllerNode, NodeConfig, NodeEvent, Operation, OperationError, PersistOutcome, ProbeId, ProbeOutcome,
    Reply, Ticket,
};
use ottla_core::ids::{DirectoryId, NodeId, Term};
use ottla_core::metadata::image::Image;
use ottla_core::quorum::machine::{Outgoing, QuorumEvent};
use ottla_core::quorum::message::{Body, Envelope};
use ottla_core::quorum::store::{Persist, PersistAction, SnapshotWriter, StoreError};
use ottla_core::quorum::{Peer, QuorumConfig, RaftStore};
use raft::eraftpb::MessageType;

use super::{Died, DiskWork, Now, Observation, Output, StartError};
use crate::cluster::node::{CONTROLLER_PORT, Identity, METADATA_DIRECTORY, controller_address, node_of_host};
use crate::coverage::Happening;
use crate::disk::SimDisk;

/// A snapshot after so few bytes, so that short runs see many.
const SNAPSHOT_AFTER_BYTES: u64 = 6_000;

/// Work for the thread that syncs the metadata log.
#[derive(Debug)]
pub(crate) struct PersistWork(Persist);

/// Work for the thread that writes snapshots.
#[derive(Debug)]
pub(crate) struct SnapshotWork(Image);

/// That it was done.
#[derive(Debug)]
pub(crate) struct PersistDone {
    pub(crate) number: u64,
    pub(crate) outcome: PersistOutcome,
}

/// Who asked the controller something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) node: NodeId,
    pub(crate) life: u64,
    pub(crate) number: u64,
}

/// An answer of the controller, and whose it is.
type Answer = (Asker, Result<Reply, OperationError>);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Controller {
    node: ControllerNode,
    store: RaftStore<SimDisk>,
    snapshots: SnapshotWriter<SimDisk>,
    askers: BTreeMap<Ticket, Asker>,
    next_ticket: u64,
}

impl Controller {
    pub(crate) fn start(identity: &Identity, disk: SimDisk, now: Now, seed: u64) -> Result<Self, StartError> {
        let opened = RaftStore::open(disk, METADATA_DIRECTORY, identity.directory_id);
        let (store, recovered) = opened.map_err(|error| match error {
            StoreError::Io(error) => StartError::Disk(error.to_string()),
            StoreError::Damaged { .. } => StartError::Refused(error.to_string()),
            StoreError::Snapshot { ref source, .. } => {
                StartError::Refused(format!("{error}: {}", source.in_full()))
            }
        })?;
        let me = Peer {
            node_id: identity.node_id,
            directory_id: identity.directory_id,
            address: controller_address(identity.node_id),
        };
        let mut quorum = QuorumConfig::new(identity.cluster_id, me, seed);
        quorum.bootstrap = identity.controllers.iter().map(|node| controller_address(*node)).collect();
        let mut config = NodeConfig { snapshot_after_bytes: SNAPSHOT_AFTER_BYTES, ..NodeConfig::new(quorum) };
        config.controller.fixed = identity.settings.clone();
        let node = ControllerNode::open(recovered, config, now.monotonic)
            .map_err(|error| StartError::Refused(error.to_string()))?;
        Ok(Self { node, snapshots: store.snapshot_writer(), store, askers: BTreeMap::new(), next_ticket: 0 })
    }

    pub(crate) fn image(&self) -> &Image {
        self.node.image()
    }

    pub(crate) fn has_voters(&self, voters: &BTreeMap<NodeId, DirectoryId>) -> bool {
        let shown = self.image().voters.values().map(|voter| (&voter.node_id, &voter.directory_id));
        !self.node.awaits_disk() && shown.eq(voters)
    }

    pub(crate) fn active_voters(&self) -> Option<BTreeMap<NodeId, DirectoryId>> {
        let voters = self.image().voters.values();
        let voters = voters.map(|voter| (voter.node_id, voter.directory_id));
        self.node.is_active().then(|| voters.collect())
    }

    pub(crate) fn is_settled(&self) -> bool {
        !self.node.changes_voters() && self.node.quorum().last() == self.image().offset
    }

    pub(crate) fn resign(&mut self) {
        self.node.resign();
    }

    pub(crate) fn tick(&mut self, now: Now) {
        self.node.tick(now.monotonic);
    }

    pub(crate) fn step(&mut self, now: Now, bytes: &[u8]) {
        self.node.message(now.monotonic, bytes);
    }

    pub(crate) fn ask(&mut self, now: Now, asker: Asker, operation: Operation) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.askers.insert(ticket, asker);
        self.node.request(now.monotonic, ticket, operation);
    }

    pub(crate) fn run(&mut self, work: &PersistWork) -> PersistDone {
        PersistDone { number: work.0.number, outcome: self.store.persist(&work.0).into() }
    }

    pub(crate) fn write_snapshot(&self, work: &SnapshotWork) -> PersistOutcome {
        self.snapshots.write(&work.0).into()
    }

    pub(crate) fn persisted(&mut self, now: Now, done: PersistDone) {
        self.node.persisted(now.monotonic, done.number, done.outcome);
    }

    pub(crate) fn probed(&mut self, now: Now, id: ProbeId, outcome: ProbeOutcome) {
        self.node.probed(now.monotonic, id, outcome);
    }

    pub(crate) fn snapshot_written(&mut self, now: Now, outcome: PersistOutcome) {
        self.node.snapshot_written(now.monotonic, outcome);
    }

    /// Does what the controller wants done; returns the answers it gives.
    pub(crate) fn settle(
        &mut self,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) -> Result<Vec<Answer>, Died> {
        let effects = self.node.ready();
        if let Some(reason) = effects.fatal {
            return Err(Died(reason));
        }
        for outgoing in effects.send {
            send(outgoing, outputs, observations);
        }
        outputs.extend(effects.probes.into_iter().map(Output::Probe));
        if let Some(image) = effects.image {
            observations.push(Observation::Shows(image));
        }
        if self.node.quorum().leads() {
            observations.push(Observation::Leads { term: self.node.quorum().term() });
        }
        observations.extend(effects.events.iter().map(|event| Observation::Event(format!("{event:?}"))));
        observations.extend(effects.events.iter().filter_map(counted).map(Observation::Happened));
        let installs = |persist: &Persist| {
            persist.actions.iter().any(|action| matches!(action, PersistAction::Install { .. }))
        };
        if effects.persist.as_ref().is_some_and(installs) {
            observations.push(Observation::Happened(Happening::SnapshotInstalled));
        }
        let persist = effects.persist.map(|persist| DiskWork::Persist(PersistWork(persist)));
        let snapshot = effects.snapshot.map(|image| DiskWork::Snapshot(SnapshotWork(image)));
        outputs.extend(persist.into_iter().chain(snapshot).map(Output::Disk));
        let replies = effects.replies.into_iter();
        Ok(replies.filter_map(|(ticket, reply)| Some((self.askers.remove(&ticket)?, reply))).collect())
    }
}

fn counted(event: &NodeEvent) -> Option<Happening> {
    match event {
        NodeEvent::SnapshotTaken(_) => Some(Happening::SnapshotTaken),
        NodeEvent::Quorum(QuorumEvent::VotersChanged { .. }) => Some(Happening::VotersChanged),
        NodeEvent::Controller(ControllerEvent::ConnectionRefused { .. })
        | NodeEvent::Quorum(QuorumEvent::LeaderDead { .. }) => Some(Happening::FoundDead),
        NodeEvent::Quorum(_) | NodeEvent::Controller(_) | NodeEvent::BadMessage { .. } => None,
    }
}

/// Hands a message to the network, and notes the vote in it.
fn send(outgoing: Outgoing, outputs: &mut Vec<Output>, observations: &mut Vec<Observation>) {
    let to = node_of_host(&outgoing.address.host).expect("addresses are those of nodes");
    debug_assert_eq!(outgoing.address.port, CONTROLLER_PORT);
    let envelope = Envelope::decode(&outgoing.bytes).expect("what a node sends can be read");
    if let Some((term, candidate)) = vote_in(&envelope) {
        // Who votes is what the message says, not what the node should be.
        let voter = envelope.from.directory_id;
        observations.push(Observation::Voted { term, voter, candidate });
    }
    outputs.push(Output::Raft { to, bytes: outgoing.bytes });
}

/// The vote that a message makes public: one that grants it, or the plea of a candidate, who has voted for
/// itself.
fn vote_in(envelope: &Envelope) -> Option<(Term, DirectoryId)> {
    let Body::Raft(message) = &envelope.body else { return None };
    let term = Term(message.term);
    if message.get_msg_type() == MessageType::MsgRequestVote {
        Some((term, envelope.from.directory_id))
    } else if message.get_msg_type() == MessageType::MsgRequestVoteResponse && !message.reject {
        Some((term, envelope.to))
    } else {
        None
    }
}
