//! One process of a node: the cores, and nothing that decides.
//!
//! Owns: what the binary's drivers do, in their order, without threads: it gives inputs to the cores, hands
//! out what they want sent and written, and reports back what was done. What it holds is lost with it.

mod broker;
mod controller;

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::controller::{Operation, PersistOutcome, Probe, ProbeId, ProbeOutcome};
use ottla_core::ids::{DirectoryId, LeaderEpoch, MetadataOffset, NodeId, Offset, Term, TopicPartition};
use ottla_core::lifecycle::CallError;
use ottla_core::metadata::image::Image;
use ottla_core::replication::{FetchNumber, ReplicaFetch, ReplicaReply};
use ottla_core::shard::Damage;
use ottla_core::time::{Monotonic, Wall};

use super::client_messages::{ClientReply, ClientRequest};
use super::node::Node;
use crate::clock::SimTime;
use crate::coverage::Happening;
use crate::rng::Rng;
use broker::{Broker, ShardDone, ShardWork};
use controller::{Asker, Controller, PersistDone, PersistWork, SnapshotWork};

pub(crate) use broker::CallResult;

/// What a process reads off its clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) monotonic: Monotonic,
    pub(crate) wall: Wall,
}

/// Work for a node's disk, done at another time than it was asked for.
pub(crate) enum DiskWork {
    Persist(PersistWork),
    Snapshot(SnapshotWork),
    /// Of one of the log directories.
    Shard(usize, ShardWork),
}

/// Work that was done, or not.
#[derive(Debug)]
pub(crate) enum DiskDone {
    Persisted(PersistDone),
    SnapshotWritten(PersistOutcome),
    Shard(usize, ShardDone),
}

/// What a process wants done.
pub(crate) enum Output {
    Raft { to: NodeId, bytes: Bytes },
    Rpc { to: NodeId, number: u64, rpc: Operation, timeout_ms: u64 },
    RpcReply { to: NodeId, life: u64, number: u64, reply: CallResult },
    ReplicaFetch { to: NodeId, fetch: ReplicaFetch },
    ReplicaReply { to: NodeId, life: u64, number: FetchNumber, reply: Vec<ReplicaReply> },
    Client { client: u32, number: u64, reply: ClientReply },
    Probe(Probe),
    Disk(DiskWork),
}

/// What can be seen of a process and must be checked.
pub(crate) enum Observation {
    /// It says, as this voter, that it votes for a candidate.
    Voted { term: Term, voter: DirectoryId, candidate: DirectoryId },
    /// It leads the quorum.
    Leads { term: Term },
    /// It serves a partition as its leader.
    LeadsPartition { partition: TopicPartition, epoch: LeaderEpoch },
    /// It has this picture of the cluster.
    Shows(Image),
    /// It opened its logs: directory and partition of each.
    Opened(Vec<(String, TopicPartition)>),
    /// It found this log's directory damaged.
    Damaged(String),
    /// What it has found out about the log of a partition while it runs, or done with it.
    Damage { partition: TopicPartition, what: Damage },
    /// A replica is frozen, and is about to be adopted in this of its directories.
    HandedOver { to: usize },
    /// It wrote a line to its log.
    Event(String),
    /// It gave a consumer records up to here.
    Gave { partition: TopicPartition, end: Offset },
    /// Something to be counted.
    Happened(Happening),
}

/// A replica, as it sees itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplicaView {
    pub(crate) partition: TopicPartition,
    pub(crate) leads: Option<LeaderEpoch>,
    pub(crate) high_watermark: Offset,
    pub(crate) log_end: Offset,
}

/// Why a process ended itself.
#[derive(Debug, Clone)]
pub(crate) struct Died(pub(crate) String);

/// Why a process did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Its disk fails.
    Disk(String),
    /// It does not like what it found.
    Refused(String),
}

/// See the module's text.
pub(crate) struct Process {
    controller: Option<Controller>,
    broker: Option<Broker>,
    /// Whether it was told to stop.
    stops: bool,
    outputs: Vec<Output>,
    observations: Vec<Observation>,
}

/// Starts a process on what a node's disk holds.
pub(crate) fn start(node: &Node, now: Now, rng: Rng) -> Result<Process, StartError> {
    let identity = &node.identity;
    let mut observations = Vec::new();
    let controller = match identity.is_controller {
        true => Some(Controller::start(identity, node.disk.clone(), now, rng.fork("elections").bits())?),
        false => None,
    };
    let broker = match identity.is_broker {
        true => Some(Broker::start(identity, &node.disk, node.lacks_second, now, rng, &mut observations)?),
        false => None,
    };
    Ok(Process { controller, broker, stops: false, outputs: Vec::new(), observations })
}

impl Process {
    /// What is to be done since this was last asked.
    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// What was to be seen since this was last asked.
    pub(crate) fn take_observations(&mut self) -> Vec<Observation> {
        std::mem::take(&mut self.observations)
    }

    /// How much of the metadata log both halves have applied.
    pub(crate) fn applied(&self) -> MetadataOffset {
        let broker = self.broker.as_ref().map(|broker| broker.image().offset);
        let controller = self.controller.as_ref().map(|controller| controller.image().offset);
        broker.into_iter().chain(controller).min().unwrap_or_default()
    }

    /// Whether its controller has applied these voters, and nothing of that still waits for the disk.
    pub(crate) fn has_voters(&self, voters: &BTreeMap<NodeId, DirectoryId>) -> bool {
        self.controller.as_ref().is_some_and(|controller| controller.has_voters(voters))
    }

    /// The voters, if it is the active controller.
    pub(crate) fn active_voters(&self) -> Option<BTreeMap<NodeId, DirectoryId>> {
        self.controller.as_ref()?.active_voters()
    }

    /// Whether its controller has nothing in its log that is not committed, and changes no voters.
    pub(crate) fn is_settled(&self) -> bool {
        self.controller.as_ref().is_some_and(Controller::is_settled)
    }

    /// Whether its broker goes on without one of its log directories.
    pub(crate) fn lacks_directory(&self) -> bool {
        self.broker.as_ref().is_some_and(Broker::lacks_directory)
    }

    /// Whether its broker is in service, if it is one.
    pub(crate) fn is_running(&self) -> bool {
        self.broker.as_ref().is_none_or(Broker::is_running)
    }

    /// The partitions whose logs its broker holds.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.broker.iter().flat_map(Broker::partitions)
    }

    /// Its replicas that are on their way to another directory.
    pub(crate) fn moving(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.broker.iter().flat_map(Broker::moving)
    }

    /// Somebody asks for a replica in another directory.
    pub(crate) fn relocate(&mut self, now: Now, partition: TopicPartition, to: usize) -> Result<(), Died> {
        if let Some(broker) = &mut self.broker {
            broker.relocate(partition, to, &mut self.observations);
        }
        self.settle(now)
    }

    /// Its replicas that the controller has assigned, as they see themselves.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = ReplicaView> + '_ {
        self.broker.iter().flat_map(Broker::replicas)
    }

    /// Stops in order, step by step; see [`Process::has_stopped`].
    pub(crate) fn shut_down(&mut self, now: Now) {
        if let Some(controller) = &mut self.controller {
            controller.resign();
        }
        if let Some(broker) = &mut self.broker {
            broker.shut_down(now);
        }
        self.stops = true;
    }

    /// Whether it has stopped in order, and may end.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stops && self.broker.as_ref().is_none_or(Broker::has_closed)
    }

    /// Time goes on.
    pub(crate) fn tick(&mut self, now: Now) -> Result<(), Died> {
        if let Some(controller) = &mut self.controller {
            controller.tick(now);
        }
        if let Some(broker) = &mut self.broker {
            broker.tick(now, &mut self.outputs);
        }
        self.settle(now)
    }

    /// A message of the quorum has come.
    pub(crate) fn raft(&mut self, now: Now, bytes: &[u8]) -> Result<(), Died> {
        if let Some(controller) = &mut self.controller {
            controller.step(now, bytes);
        }
        self.settle(now)
    }

    /// Another node asks this one's controller.
    pub(crate) fn rpc(
        &mut self,
        now: Now,
        node: NodeId,
        life: u64,
        number: u64,
        operation: Operation,
    ) -> Result<(), Died> {
        match &mut self.controller {
            Some(controller) => controller.ask(now, Asker { node, life, number }, operation),
            None => {
                let reply = Err(CallError::Unreachable);
                self.outputs.push(Output::RpcReply { to: node, life, number, reply });
            }
        }
        self.settle(now)
    }

    /// What came of its controller's probe.
    pub(crate) fn probed(&mut self, now: Now, id: ProbeId, outcome: ProbeOutcome) -> Result<(), Died> {
        if let Some(controller) = &mut self.controller {
            controller.probed(now, id, outcome);
        }
        self.settle(now)
    }

    /// A controller's answer has come, or the time for it is over.
    pub(crate) fn rpc_reply(&mut self, now: Now, number: u64, reply: Option<CallResult>) -> Result<(), Died> {
        if let Some(broker) = &mut self.broker {
            broker.replied(now, number, reply, &mut self.outputs, &mut self.observations);
        }
        self.settle(now)
    }

    /// A follower asks this broker for records.
    pub(crate) fn replica_fetch(
        &mut self,
        now: Now,
        node: NodeId,
        life: u64,
        fetch: ReplicaFetch,
    ) -> Result<(), Died> {
        if let Some(broker) = &mut self.broker {
            broker.replica_fetch(now, (node, life), fetch, &mut self.outputs);
        }
        self.settle(now)
    }

    /// A leader's answer has come, or the time for it is over.
    pub(crate) fn replica_reply(
        &mut self,
        now: Now,
        number: FetchNumber,
        reply: Option<Vec<ReplicaReply>>,
    ) -> Result<(), Died> {
        if let Some(broker) = &mut self.broker {
            broker.replica_reply(now, number, reply);
        }
        self.settle(now)
    }

    /// A client asks for something.
    pub(crate) fn client(
        &mut self,
        now: Now,
        client: u32,
        number: u64,
        request: ClientRequest,
    ) -> Result<(), Died> {
        if let Some(broker) = &mut self.broker {
            broker.client(now, client, number, request, &mut self.outputs, &mut self.observations);
        }
        self.settle(now)
    }

    /// Does work on the disk, as the threads that the binary has for it.
    pub(crate) fn run(&mut self, work: DiskWork) -> DiskDone {
        match work {
            DiskWork::Persist(work) => {
                let controller = self.controller.as_mut().expect("only a controller persists");
                DiskDone::Persisted(controller.run(&work))
            }
            DiskWork::Snapshot(work) => {
                let controller = self.controller.as_ref().expect("only a controller takes snapshots");
                DiskDone::SnapshotWritten(controller.write_snapshot(&work))
            }
            DiskWork::Shard(shard, work) => DiskDone::Shard(shard, Broker::run(&work)),
        }
    }

    /// Work on the disk was done.
    pub(crate) fn disk_done(&mut self, now: Now, done: DiskDone) -> Result<(), Died> {
        match done {
            DiskDone::Persisted(done) => {
                let controller = self.controller.as_mut().expect("only a controller persists");
                controller.persisted(now, done);
            }
            DiskDone::SnapshotWritten(outcome) => {
                let controller = self.controller.as_mut().expect("only a controller takes snapshots");
                controller.snapshot_written(now, outcome);
            }
            DiskDone::Shard(shard, done) => {
                let broker = self.broker.as_mut().expect("only a broker has log directories");
                broker.disk_done(shard, done);
            }
        }
        self.settle(now)
    }

    /// Does all that can be done now.
    pub(crate) fn settle(&mut self, now: Now) -> Result<(), Died> {
        if let Some(controller) = &mut self.controller {
            for (asker, reply) in controller.settle(&mut self.outputs, &mut self.observations)? {
                let Asker { node, life, number } = asker;
                let reply = broker::call_result(reply);
                self.outputs.push(Output::RpcReply { to: node, life, number, reply });
            }
        }
        match &mut self.broker {
            Some(broker) => broker.settle(now, &mut self.outputs, &mut self.observations),
            None => Ok(()),
        }
    }
}

impl DiskDone {
    /// What was done, for the trace.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Persisted(done) => format!("persisted {} {:?}", done.number, done.outcome),
            Self::SnapshotWritten(outcome) => format!("wrote a metadata snapshot {outcome:?}"),
            Self::Shard(_, ShardDone::Synced(partition, number, result)) => {
                format!("synced {} job {} {}", partition.partition, number.0, result.is_ok())
            }
            Self::Shard(_, ShardDone::Checkpointed(logs, result)) => {
                format!("wrote checkpoints of {} logs {}", logs.len(), result.is_ok())
            }
            Self::Shard(_, ShardDone::Removed(result)) => format!("removed logs: {}", result.is_ok()),
        }
    }
}

impl Node {
    /// What its process reads off its clocks.
    pub(crate) fn now(&self, now: SimTime) -> Now {
        Now { monotonic: self.clock.monotonic(now), wall: self.clock.wall(now) }
    }
}
