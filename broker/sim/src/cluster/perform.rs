//! Does what processes want done: messages go to the network, work to the disk.

use ottla_core::controller::{Operation, Probe, ProbeId, ProbeOutcome};
use ottla_core::ids::NodeId;
use ottla_core::metadata::image::{Fencing, Image};

use super::client_messages::ClientReply;
use super::process::{DiskWork, Output, Process};
use super::{Event, Simulation, upgrade};
use crate::checkers::Violation;
use crate::coverage::Happening;
use crate::network::Peer;

/// How long until a controller gives a probe up.
const PROBE_TIMEOUT_MS: u64 = 500;

/// How long until a follower gives a request up.
const REPLICA_FETCH_TIMEOUT_MS: u64 = 2_000;

impl Simulation {
    /// Sends what a process wants sent, and gives its disk what it wants done.
    pub(super) fn perform(&mut self, node: NodeId, outputs: Vec<Output>) {
        let life = self.nodes[&node].life;
        for output in outputs {
            match output {
                Output::Raft { to, bytes } => {
                    for delay in self.network.send(Peer::Node(node), Peer::Node(to)) {
                        let event = Event::Raft { from: node, to, bytes: bytes.clone() };
                        self.events.after_micros(delay, event);
                    }
                }
                Output::Rpc { to, number, rpc, timeout_ms } => {
                    if let Operation::AlterPartition(asked) = &rpc {
                        self.aim_at_isr_change(node);
                        if let Some(delay) = self.aim_late_request(node, asked) {
                            let rpc = rpc.clone();
                            self.events.after_micros(delay, Event::Rpc { from: node, life, to, number, rpc });
                        }
                    }
                    let timeout = self.events.now().plus_millis(timeout_ms);
                    self.events.at(timeout, Event::RpcReply { to: node, life, number, reply: None });
                    if let Some(delay) = self.network.send(Peer::Node(node), Peer::Node(to)).first() {
                        let event = Event::Rpc { from: node, life, to, number, rpc };
                        self.events.after_micros(*delay, event);
                    }
                }
                Output::RpcReply { life: upgrade::NOBODY, number, reply, .. } => {
                    self.level_answered(number, &reply)
                }
                Output::RpcReply { to, life, number, reply } => {
                    if let Some(delay) = self.network.send(Peer::Node(node), Peer::Node(to)).first() {
                        let event = Event::RpcReply { to, life, number, reply: Some(reply) };
                        self.events.after_micros(*delay, event);
                    }
                }
                Output::ReplicaFetch { to, fetch } => {
                    let timeout = self.events.now().plus_millis(REPLICA_FETCH_TIMEOUT_MS);
                    let number = fetch.number;
                    self.events.at(timeout, Event::ReplicaReply { to: node, life, number, reply: None });
                    if let Some(delay) = self.network.send(Peer::Node(node), Peer::Node(to)).first() {
                        let event = Event::ReplicaFetch { from: node, life, to, fetch };
                        self.events.after_micros(*delay, event);
                    }
                }
                Output::ReplicaReply { to, life, number, reply } => {
                    if let Some(delay) = self.network.send(Peer::Node(node), Peer::Node(to)).first() {
                        let event = Event::ReplicaReply { to, life, number, reply: Some(reply) };
                        self.events.after_micros(*delay, event);
                    }
                }
                Output::Client { client, number, reply } => {
                    let reply = self.refused_if_rotten(node, reply);
                    let reply = self.in_doubt_if_replaced(node, reply);
                    if let Some(delay) = self.network.send(Peer::Node(node), Peer::Client(client)).first() {
                        let event = Event::ClientReply { client, number, reply: Some(reply) };
                        self.events.after_micros(*delay, event);
                    }
                }
                Output::Probe(probe) => self.probe(node, life, &probe),
                Output::Disk(work) => {
                    let most = self.work_micros_max(node);
                    let wait = self.rng.below(most);
                    self.events.after_micros(wait, Event::DiskBegins { node, life, work });
                }
            }
        }
    }

    /// A leader in service that was replaced does not know it before it has the metadata, as in Kafka, whose protocol
    /// does not wait for it. That it was in service all the time is what its session promises: who was not has no excuse,
    /// nor has who knows already.
    fn in_doubt_if_replaced(&self, node: NodeId, reply: ClientReply) -> ClientReply {
        let ClientReply::End { partition, offset, in_doubt: false } = reply else { return reply };
        let leads = |image: &Image| {
            let registered = image.partition(partition.topic_id, partition.partition);
            registered.is_some_and(|registered| registered.leader == Some(node))
        };
        let in_service = |image: &Image| {
            let broker = image.brokers.get(&node);
            broker.filter(|broker| broker.fencing == Fencing::Unfenced).map(|broker| broker.epoch)
        };
        let committed = &self.checks.committed;
        let applied = self.nodes[&node].process.as_ref().map(Process::applied).unwrap_or_default();
        let known = committed.shown_since(applied).next();
        let epoch = known.and_then(in_service);
        let in_doubt = epoch.is_some()
            && known.is_some_and(leads)
            && committed.newest().is_some_and(|newest| !leads(newest))
            && committed.shown_since(applied).all(|image| in_service(image) == epoch);
        ClientReply::End { partition, offset, in_doubt }
    }

    /// What a probe of a node finds is decided when it arrives there.
    fn probe(&mut self, from: NodeId, life: u64, probe: &Probe) {
        let id = probe.id;
        let unknown = Event::Probed { to: from, life, id, outcome: ProbeOutcome::Unknown };
        self.events.after_micros(PROBE_TIMEOUT_MS * 1_000, unknown);
        if let Some(delay) = self.network.send(Peer::Node(from), Peer::Node(probe.node_id)).first() {
            self.events.after_micros(*delay, Event::Probe { from, life, to: probe.node_id, id });
        }
    }

    pub(super) fn probe_arrives(&mut self, from: NodeId, life: u64, to: NodeId, id: ProbeId) {
        // A machine that stands still answers nothing, and neither does it for a process that lives.
        let refuses = self.nodes[&to].process.is_none() && !self.options.sidecars;
        if let Some(delay) = self.network.send(Peer::Node(to), Peer::Node(from)).first().filter(|_| refuses) {
            let event = Event::Probed { to: from, life, id, outcome: ProbeOutcome::Refused };
            self.events.after_micros(*delay, event);
        }
    }

    /// The most that a piece of work takes at this node's disk.
    fn work_micros_max(&mut self, id: NodeId) -> u64 {
        let slow = self.nodes[&id].slow_micros;
        self.checks.coverage.add(Happening::DiskSlow, u64::from(slow.is_some()));
        slow.unwrap_or(self.options.sync_micros_max)
    }

    pub(super) fn disk_begins(&mut self, id: NodeId, life: u64, work: DiskWork) -> Result<(), Violation> {
        self.aim_at_work(id, life);
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        let Some(process) = node.process.as_mut().filter(|_| node.life == life) else { return Ok(()) };
        node.runs.run();
        let done = process.run(work);
        self.trace.line(self.events.now(), format_args!("{id} disk {}", done.name()));
        if self.crash_if_disk_stopped(id) {
            return Ok(());
        }
        // What is on the disk is there; that it is, the node learns a little later, if it lives.
        let most = self.work_micros_max(id) / 4 + 1;
        let wait = self.rng.below(most);
        self.events.after_micros(wait, Event::DiskEnds { node: id, life, work: done });
        Ok(())
    }
}
