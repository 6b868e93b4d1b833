//! A whole cluster in one thread: nodes, network, disks, clients and what goes wrong.
//!
//! Owns: the event loop, the lives of nodes, and the phases of a run: while faults strike clients work;
//! then everything is mended, and within [`LIVENESS_MS`] the cluster must serve everything again. A node is a
//! [`process::Process`], which holds nothing but the cores and does what they say; every check is made on
//! what can be seen from outside of it.

mod checks;
mod client;
mod client_messages;
mod directory_changes;
mod faults;
mod membership;
mod nearest;
mod node;
mod perform;
mod process;
mod producer;
mod reassignments;
mod replication;
mod rot;
mod upgrade;
mod volume;
mod watch;

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::controller::{Operation, ProbeId, ProbeOutcome};
use ottla_core::ids::{NodeId, TopicName};
use ottla_core::lifecycle::CallError;
use ottla_core::replication::{FetchNumber, ReplicaFetch, ReplicaReply};

use crate::checkers::{Rule, Violation};
use crate::clock::SimTime;
use crate::coverage::Happening;
use crate::events::EventQueue;
use crate::nemesis::Nemesis;
use crate::network::{Network, Peer};
use crate::options::Options;
use crate::rng::Rng;
use crate::runner::Outcome;
use crate::trace::Trace;
use checks::Checks;
use client::Client;
use client_messages::{ClientReply, ClientRequest};
use directory_changes::DirectoryChanges;
use node::Node;
use process::{CallResult, Died, DiskDone, DiskWork, Now, Output, Process};
use reassignments::Reassignments;
use replication::Watch;
use rot::{Rot, RunningRot, VISITOR};
use upgrade::Upgrade;

/// How long the cluster may take to serve everything again once nothing goes wrong any more: what is left of a pause, a
/// broker's session (4 s), an election, the replacement of a lost voter, recovery (several followers share their leader's
/// budget), and slow disks throughout.
const LIVENESS_MS: u64 = 90_000;

/// How long a client waits for a reply.
const REQUEST_TIMEOUT_MS: u64 = 2_000;

/// How often a node looks at its clock.
const TICK_MICROS: u64 = 20_000;

/// More events than any run needs: a cluster that does nothing but talk to itself is as dead as a silent
/// one.
const EVENTS_MAX: u64 = 5_000_000;

/// What happens.
enum Event {
    /// A node looks at its clock.
    Tick { node: NodeId, life: u64 },
    /// A message of the quorum arrives.
    Raft { from: NodeId, to: NodeId, bytes: Bytes },
    /// A request from node to node arrives.
    Rpc { from: NodeId, life: u64, to: NodeId, number: u64, rpc: Operation },
    /// Its reply arrives, or `None` because none came in time.
    RpcReply { to: NodeId, life: u64, number: u64, reply: Option<CallResult> },
    /// A controller's connection arrives.
    Probe { from: NodeId, life: u64, to: NodeId, id: ProbeId },
    /// It was refused, or nothing came back in time.
    Probed { to: NodeId, life: u64, id: ProbeId, outcome: ProbeOutcome },
    /// A follower's request arrives.
    ReplicaFetch { from: NodeId, life: u64, to: NodeId, fetch: ReplicaFetch },
    /// Its reply arrives, or `None` because none came in time.
    ReplicaReply { to: NodeId, life: u64, number: FetchNumber, reply: Option<Vec<ReplicaReply>> },
    /// A node's disk begins a piece of work.
    DiskBegins { node: NodeId, life: u64, work: DiskWork },
    /// Its end is told to the node.
    DiskEnds { node: NodeId, life: u64, work: DiskDone },
    /// A client may do the next thing.
    ClientStep { client: u32 },
    /// A client's request arrives.
    ClientRequest { client: u32, to: NodeId, number: u64, request: ClientRequest },
    /// A reply to a client arrives, or `None` because none came in time.
    ClientReply { client: u32, number: u64, reply: Option<ClientReply> },
    /// The next fault strikes.
    Strike,
    /// A replica and its leader do not reach each other for a while, and everybody else does.
    Separate { one: NodeId, other: NodeId, ms: u64 },
    /// Every machine loses power just after a vote was cast; its candidate's stays away longest.
    PowerLossAtVote { candidate: NodeId },
    /// Somebody moves replicas.
    Reassign,
    /// Somebody moves a replica within its node.
    ChangeDirectory,
    /// Something rots under its leader, or somebody reads what has.
    RunningRot,
    /// A node gets another release, or what is new in it is put to use.
    Upgrade,
    /// A node that was to stop while writing did not write: it stops now.
    CrashNow { node: NodeId, life: u64 },
    /// A node starts.
    Start { node: NodeId, life: u64 },
    /// The cuts of the network are mended.
    Heal { cut: u64 },
    /// A disk behaves again.
    DiskMended { node: NodeId, fault: u64 },
    /// Faults end.
    Calm,
    /// The time for everything to work again is over.
    Deadline,
}

struct Simulation {
    options: Options,
    rng: Rng,
    events: EventQueue<Event>,
    trace: Trace,
    network: Network,
    nemesis: Nemesis,
    /// Who moves replicas, if somebody does.
    reassignments: Option<Reassignments>,
    /// Who moves them within their nodes, if somebody does.
    directory_changes: Option<DirectoryChanges>,
    /// Who brings the cluster to a later release, if somebody does.
    upgrade: Option<Upgrade>,
    nodes: BTreeMap<NodeId, Node>,
    clients: BTreeMap<u32, Client>,
    checks: Checks,
    /// What is checked after every event.
    watch: Watch,
    /// What has rotted, if something has.
    rot: Option<Rot>,
    /// What lets logs rot under their leaders, if something does, and reads them.
    running_rot: Option<RunningRot>,
    /// Numbers the cuts, so that only the last one's end mends the network.
    cuts: u64,
    calm: bool,
    done: bool,
}

/// Runs a seed to its end.
pub(crate) fn run(seed: u64, text: bool, only: Option<Rule>) -> Outcome {
    run_with(Options::of(seed), text, only)
}

/// Runs a cluster to its end.
pub(crate) fn run_with(options: Options, text: bool, only: Option<Rule>) -> Outcome {
    let seed = options.seed;
    let mut simulation = Simulation::new(options, text, only);
    let violation = simulation.run().err();
    if let Some(violation) = &violation {
        simulation.trace.line(simulation.events.now(), format_args!("VIOLATION {violation}"));
    }
    Outcome {
        seed,
        violation,
        events: simulation.events.done(),
        simulated: simulation.events.now(),
        coverage: simulation.coverage(),
        trace_hash: simulation.trace.hash(),
        trace: crate::trace::take_lines(),
    }
}

impl Simulation {
    fn new(options: Options, text: bool, only: Option<Rule>) -> Self {
        let rng = Rng::new(options.seed);
        let mut events = EventQueue::default();
        let nodes = node::form(&options, &rng);
        for id in nodes.keys() {
            events.after_micros(
                rng.fork(&format!("start {id}")).below(50_000),
                Event::Start { node: *id, life: 0 },
            );
        }
        let topics: Vec<(TopicName, i32)> = (0..options.topic_count)
            .map(|i| {
                let name = TopicName::parse(&format!("topic-{i}")).expect("a legal name");
                (name, i32::try_from(i).expect("few topics") + 1)
            })
            .collect();
        let mut clients = BTreeMap::new();
        for id in 0..options.client_count {
            clients.insert(id, Client::new(id, rng.fork(&format!("client {id}")), topics.clone(), &options));
            events.after_micros(u64::from(id) + 1, Event::ClientStep { client: id });
        }
        let mut network = Network::new(rng.fork("network"));
        network.set_conditions(options.conditions);
        let mut nemesis = Nemesis::new(rng.fork("nemesis"), &options);
        events.at(SimTime::default().plus_millis(nemesis.wait_ms()), Event::Strike);
        let mut reassignments = Reassignments::new(rng.fork("reassignments"), &options);
        if let Some(reassignments) = &mut reassignments {
            events.at(SimTime::default().plus_millis(reassignments.wait_ms()), Event::Reassign);
        }
        let mut directory_changes =
            DirectoryChanges::new(Rng::new(options.seed).fork("changing directories"), &options);
        if let Some(changes) = &mut directory_changes {
            events.at(SimTime::default().plus_millis(changes.wait_ms()), Event::ChangeDirectory);
        }
        let mut upgrade = Upgrade::new(rng.fork("upgrade"), &options);
        if let Some(upgrade) = &mut upgrade {
            events.at(SimTime::default().plus_millis(upgrade.wait_ms()), Event::Upgrade);
        }
        let mut running_rot = RunningRot::new(&options);
        if let Some(running) = &mut running_rot {
            events.at(SimTime::default().plus_millis(running.wait_ms()), Event::RunningRot);
        }
        events.at(SimTime::default().plus_millis(options.chaos_ms), Event::Calm);
        Self {
            rng: rng.fork("cluster"),
            events,
            trace: Trace::new(text),
            network,
            nemesis,
            reassignments,
            directory_changes,
            upgrade,
            nodes,
            clients,
            checks: Checks::default(),
            watch: Watch::new(only),
            rot: None,
            running_rot,
            cuts: 0,
            calm: false,
            done: false,
            options,
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.trace.line(SimTime::default(), format_args!("{:?}", self.options));
        while !self.done {
            let event = self.events.next_event().expect("a deadline always lies ahead");
            if self.events.done() > EVENTS_MAX {
                return Err(Violation::new(Rule::Liveness, "too many events"));
            }
            self.handle(event)?;
            self.check_replication()?;
        }
        self.checks.judge_history()
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of event")]
    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        let event = match self.delay_if_paused(event) {
            Some(event) => event,
            None => return Ok(()),
        };
        match event {
            Event::Tick { node, life } => {
                if self.lives(node, life) {
                    self.events.after_micros(TICK_MICROS, Event::Tick { node, life });
                    self.step(node, |process, now| process.tick(now))?;
                }
                Ok(())
            }
            Event::Raft { from, to, bytes } => {
                self.trace.line(self.events.now(), format_args!("{to} <- {from} raft {} bytes", bytes.len()));
                self.step(to, |process, now| process.raft(now, &bytes))
            }
            Event::Rpc { from, life, to, number, rpc } => {
                self.trace.line(self.events.now(), format_args!("{to} <- {from} #{number} {rpc:?}"));
                if self.nodes[&to].process.is_none() {
                    // The connection is refused.
                    let reply = Err(CallError::Unreachable);
                    self.perform(to, vec![Output::RpcReply { to: from, life, number, reply }]);
                    return Ok(());
                }
                self.step(to, |process, now| process.rpc(now, from, life, number, rpc))
            }
            Event::RpcReply { to, life, number, reply } => {
                if !self.lives(to, life) {
                    return Ok(());
                }
                self.step(to, |process, now| process.rpc_reply(now, number, reply))
            }
            Event::Probe { from, life, to, id } => {
                self.probe_arrives(from, life, to, id);
                Ok(())
            }
            Event::Probed { to, life, id, outcome } => {
                if !self.lives(to, life) {
                    return Ok(());
                }
                self.step(to, |process, now| process.probed(now, id, outcome))
            }
            Event::ReplicaFetch { from, life, to, fetch } => {
                self.trace.line(self.events.now(), format_args!("{to} <- follower {from} {fetch:?}"));
                self.step(to, |process, now| process.replica_fetch(now, from, life, fetch))
            }
            Event::ReplicaReply { to, life, number, reply } => {
                if !self.lives(to, life) {
                    return Ok(());
                }
                self.step(to, |process, now| process.replica_reply(now, number, reply))
            }
            Event::DiskBegins { node, life, work } => self.disk_begins(node, life, work),
            Event::DiskEnds { node, life, work } => {
                if !self.lives(node, life) {
                    return Ok(());
                }
                self.step(node, |process, now| process.disk_done(now, work))
            }
            Event::ClientStep { client } => {
                self.client_step(client);
                Ok(())
            }
            Event::ClientRequest { client, to, number, request } => {
                self.trace.line(self.events.now(), format_args!("{to} <- client {client} #{number}"));
                self.step(to, |process, now| process.client(now, client, number, request))
            }
            Event::ClientReply { client: VISITOR, number, reply } => self.visitor_is_told(number, reply),
            Event::ClientReply { client, number, reply } => self.client_reply(client, number, reply),
            Event::Strike => self.strike(),
            Event::Separate { one, other, ms } => {
                self.separate(one, other, ms);
                Ok(())
            }
            Event::Reassign => self.reassign(),
            Event::ChangeDirectory => self.change_directory(),
            Event::RunningRot => {
                self.running_rot();
                Ok(())
            }
            Event::Upgrade => self.upgrade(),
            Event::PowerLossAtVote { candidate } => {
                self.power_loss_at_vote(candidate);
                Ok(())
            }
            Event::CrashNow { node, life } => {
                if self.lives(node, life) {
                    self.crash_as_planned(node);
                }
                Ok(())
            }
            Event::Start { node, life } => self.start(node, life),
            Event::Heal { cut } => {
                if cut == self.cuts {
                    self.trace.line(self.events.now(), format_args!("the network is whole"));
                    self.network.heal();
                }
                Ok(())
            }
            Event::DiskMended { node, fault } => {
                self.mend_disk(node, fault);
                Ok(())
            }
            Event::Calm => {
                self.calm_down();
                Ok(())
            }
            Event::Deadline => {
                let why = self.why_not_done().unwrap_or_else(|| "nobody looked".to_owned());
                Err(Violation::new(Rule::Liveness, why))
            }
        }
    }

    /// Events of a node that stands still wait until it goes on.
    fn delay_if_paused(&mut self, event: Event) -> Option<Event> {
        let node = match &event {
            Event::Tick { node, .. } | Event::DiskEnds { node, .. } | Event::DiskBegins { node, .. } => *node,
            Event::Raft { to, .. }
            | Event::Rpc { to, .. }
            | Event::RpcReply { to, .. }
            | Event::Probe { to, .. }
            | Event::Probed { to, .. }
            | Event::ReplicaFetch { to, .. }
            | Event::ReplicaReply { to, .. }
            | Event::ClientRequest { to, .. } => *to,
            Event::ClientStep { .. }
            | Event::ClientReply { .. }
            | Event::Strike
            | Event::Separate { .. }
            | Event::Reassign
            | Event::ChangeDirectory
            | Event::RunningRot
            | Event::Upgrade
            | Event::PowerLossAtVote { .. }
            | Event::CrashNow { .. }
            | Event::Start { .. }
            | Event::Heal { .. }
            | Event::DiskMended { .. }
            | Event::Calm
            | Event::Deadline => return Some(event),
        };
        let until = self.nodes[&node].paused_until;
        if until <= self.events.now() {
            return Some(event);
        }
        self.events.at(until, event);
        None
    }

    /// The nodes that are brokers.
    fn brokers(&self) -> Vec<NodeId> {
        let brokers = self.nodes.values().filter(|node| node.identity.is_broker);
        brokers.map(|node| node.identity.node_id).collect()
    }

    fn lives(&self, node: NodeId, life: u64) -> bool {
        let node = &self.nodes[&node];
        node.life == life && node.process.is_some()
    }

    fn client_step(&mut self, id: u32) {
        let nodes = self.brokers();
        let time_ms = self.events.now().0 / 1000;
        let client = self.clients.get_mut(&id).expect("clients do not go");
        let excused = self.checks.excused().clone();
        let excused = |partition| excused.contains(&partition);
        let Some((node, number, request)) = client.next_request(&nodes, time_ms, &mut self.checks, &excused)
        else {
            return;
        };
        let timeout = self.events.now().plus_millis(REQUEST_TIMEOUT_MS);
        self.events.at(timeout, Event::ClientReply { client: id, number, reply: None });
        let mut delays = self.network.send(Peer::Client(id), Peer::Node(node));
        // A connection delivers once or not at all. Only an idempotent producer may ask over several.
        delays.truncate(if request.may_be_repeated() { delays.len() } else { 1 });
        for delay in delays {
            let request = request.clone();
            self.events.after_micros(delay, Event::ClientRequest { client: id, to: node, number, request });
        }
    }

    fn client_reply(&mut self, id: u32, number: u64, reply: Option<ClientReply>) -> Result<(), Violation> {
        let time_ms = self.events.now().0 / 1000;
        let client = self.clients.get_mut(&id).expect("clients do not go");
        let awaited = match reply {
            Some(reply) => {
                self.trace.line(self.events.now(), format_args!("client {id} #{number} {}", reply.name()));
                client.reply(number, reply, time_ms, &mut self.checks)?
            }
            None => client.timed_out(number, time_ms, &mut self.checks),
        };
        if awaited {
            let think = self.rng.range(100..30_000);
            self.events.after_micros(think, Event::ClientStep { client: id });
            self.finish_if_done()?;
        }
        Ok(())
    }

    /// Lets a node's process do something, checks what can be seen of that, and sends what it sends. A
    /// message to a dead node is lost.
    fn step(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut Process, Now) -> Result<(), Died>,
    ) -> Result<(), Violation> {
        let now = self.events.now();
        self.watch.touch(id);
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        let clocks = node.now(now);
        let Some(process) = &mut node.process else { return Ok(()) };
        node.runs.run();
        let lacked = process.lacks_directory();
        let result = act(process, clocks);
        let fails = !lacked && process.lacks_directory();
        let outputs = process.take_outputs();
        let observations = process.take_observations();
        if self.crash_if_disk_stopped(id) {
            // The node stopped in the middle of this step: nothing of it left the node.
            return Ok(());
        }
        self.observe(id, observations)?;
        match result {
            Ok(()) => {
                if fails {
                    self.checks.coverage.note(Happening::DirectoryFailed);
                    self.trace.line(now, format_args!("{id} goes on without a log directory"));
                }
                self.perform(id, outputs);
                if self.nodes[&id].process.as_ref().is_some_and(Process::has_stopped) {
                    self.stopped(id);
                }
                let node = &self.nodes[&id];
                let lacks =
                    node.runs != node.release || node.process.as_ref().is_some_and(Process::lacks_directory);
                // Where a machine that lost power has not registered again, the others hold what it lost.
                let may_go = self.calm && !self.watch.anybody_in_doubt();
                if may_go && lacks && node.process.is_some() {
                    self.start_again(id);
                }
                Ok(())
            }
            Err(Died(reason)) => self.ended_itself(id, &reason),
        }
    }
}
