//! A cluster of controllers on simulated disks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ottla_core::config::Address;
use ottla_core::controller::node::NodeConfig;
use ottla_core::controller::operation::{CreateTopics, Heartbeat, NewTopic, RegisterBroker};
use ottla_core::controller::{
    ControllerNode, NodeEvent, Operation, OperationError, Reply, Ticket, supported_features,
};
use ottla_core::ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, MetadataOffset, NodeId, Term, TopicId,
};
use ottla_core::lifecycle::{CallError, CallNumber, Lifecycle, LifecycleConfig};
use ottla_core::metadata::image::{Endpoint, Image, Voter};
use ottla_core::metadata::record::Voters;
use ottla_core::quorum::store::Persist;
use ottla_core::quorum::{Peer, QuorumConfig, RaftStore};
use ottla_core::time::Monotonic;
use ottla_sim::disk::{CrashKind, SimDisk};
use ottla_sim::rng::Rng;
use uuid::Uuid;

pub(crate) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1u128 << 64));
pub(crate) const DIRECTORY: &str = "__cluster_metadata-0";

pub(crate) fn directory(number: u128) -> DirectoryId {
    DirectoryId(Uuid::from_u128(number << 64 | 7))
}

pub(crate) fn address(id: NodeId) -> Address {
    Address { host: format!("controller-{id}"), port: 9090 }
}

pub(crate) fn voter(id: NodeId, directory_id: DirectoryId) -> Voter {
    let endpoint = Endpoint {
        listener: "CONTROLLER".to_owned(),
        host: address(id).host,
        port: 9090,
        security_protocol: 0,
    };
    Voter { node_id: id, directory_id, endpoints: vec![endpoint] }
}

pub(crate) struct Member {
    pub(crate) directory_id: DirectoryId,
    /// Where it is reached.
    host: String,
    /// The node that it says it is.
    says_id: NodeId,
    pub(crate) disk: SimDisk,
    pub(crate) running: Option<(ControllerNode, RaftStore<SimDisk>)>,
    pub(crate) replies: BTreeMap<Ticket, Result<Reply, OperationError>>,
    pub(crate) events: Vec<NodeEvent>,
    /// Work for the log that is held back.
    pub(crate) held: Option<Persist>,
    pub(crate) hold_disk: bool,
    /// A snapshot that is held back.
    pub(crate) held_snapshot: Option<Image>,
    pub(crate) hold_snapshots: bool,
    /// How many times the log was written.
    pub(crate) writes: u64,
    pub(crate) fatal: Option<String>,
}

pub(crate) struct Cluster {
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) now: Monotonic,
    /// Messages between these pairs are lost.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Brokers whose shards are too busy for another image.
    pub(crate) busy: BTreeSet<NodeId>,
    pub(crate) snapshot_after_bytes: u64,
    /// If set, messages are lost, late, out of order and repeated.
    pub(crate) bad_network: Option<Rng>,
    /// Messages of these wait until they are none of these any more.
    pub(crate) late: BTreeSet<NodeId>,
    /// What was committed at each offset, on whichever node and in whichever life.
    committed: BTreeMap<MetadataOffset, Image>,
    network: VecDeque<(NodeId, NodeId, Bytes)>,
    tickets: u64,
    pub(crate) brokers: BTreeMap<NodeId, Lifecycle>,
    calls: BTreeMap<Ticket, (NodeId, NodeId, CallNumber)>,
    rng: Rng,
    leaders: BTreeMap<Term, NodeId>,
}

impl Cluster {
    /// A cluster of so many voters, formatted and not yet started.
    pub(crate) fn new(voters: i32) -> Self {
        Self::of(&(0..voters).map(NodeId).collect::<Vec<_>>())
    }

    /// A cluster of these voters.
    pub(crate) fn of(ids: &[NodeId]) -> Self {
        let mut cluster = Self {
            members: BTreeMap::new(),
            now: Monotonic(1_000),
            cut: BTreeSet::new(),
            busy: BTreeSet::new(),
            snapshot_after_bytes: 20 << 20,
            bad_network: None,
            late: BTreeSet::new(),
            committed: BTreeMap::new(),
            network: VecDeque::new(),
            tickets: 0,
            brokers: BTreeMap::new(),
            calls: BTreeMap::new(),
            rng: Rng::new(7),
            leaders: BTreeMap::new(),
        };
        let directory_of = |id: NodeId| directory(100 + u128::try_from(id.0).unwrap());
        let table = Voters {
            voters: ids.iter().map(|id| voter(*id, directory_of(*id))).collect(),
            ..Voters::default()
        };
        for id in ids {
            cluster.add(*id, directory_of(*id), Some(&table));
        }
        cluster
    }

    /// Adds a formatted disk.
    pub(crate) fn add(&mut self, id: NodeId, directory_id: DirectoryId, voters: Option<&Voters>) {
        let disk = SimDisk::new(self.rng.fork(&format!("disk {id} {directory_id}")));
        RaftStore::format(&disk, DIRECTORY, CLUSTER, voters).unwrap();
        let member = Member {
            directory_id,
            host: address(id).host,
            says_id: id,
            disk,
            running: None,
            replies: BTreeMap::new(),
            events: Vec::new(),
            held: None,
            hold_disk: false,
            held_snapshot: None,
            hold_snapshots: false,
            writes: 0,
            fatal: None,
        };
        self.members.insert(id, member);
    }

    /// Has a member claim another's id.
    pub(crate) fn pretend(&mut self, id: NodeId, other: NodeId) {
        self.members.get_mut(&id).unwrap().says_id = other;
    }

    /// A started cluster.
    pub(crate) fn started(voters: i32) -> Self {
        let mut cluster = Self::new(voters);
        for id in cluster.ids() {
            cluster.start(id);
        }
        cluster
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).unwrap();
        let (store, recovered) =
            RaftStore::open(member.disk.clone(), DIRECTORY, member.directory_id).unwrap();
        let host = member.host.clone();
        let me = Peer {
            node_id: member.says_id,
            directory_id: member.directory_id,
            address: Address { host, ..address(id) },
        };
        let mut quorum = QuorumConfig::new(CLUSTER, me, u64::try_from(id.0).unwrap());
        quorum.kept_bytes = usize::try_from(self.snapshot_after_bytes / 10).unwrap();
        quorum.bootstrap = (0..3).map(|id| address(NodeId(id))).collect();
        let config =
            NodeConfig { snapshot_after_bytes: self.snapshot_after_bytes, ..NodeConfig::new(quorum) };
        let node = ControllerNode::open(recovered, config, self.now).unwrap();
        member.running = Some((node, store));
        (member.held, member.held_snapshot) = (None, None);
        self.drain(id);
    }

    pub(crate) fn move_to(&mut self, id: NodeId, host: &str) {
        self.members.get_mut(&id).unwrap().host = host.to_owned();
    }

    pub(crate) fn stop(&mut self, id: NodeId, kind: CrashKind) {
        let member = self.members.get_mut(&id).unwrap();
        member.running = None;
        (member.held, member.held_snapshot) = (None, None);
        member.disk = member.disk.crash(kind);
    }

    pub(crate) fn node(&self, id: NodeId) -> &ControllerNode {
        &self.members[&id].running.as_ref().unwrap().0
    }

    pub(crate) fn image(&self, id: NodeId) -> &Image {
        self.node(id).image()
    }

    pub(crate) fn active(&self) -> Option<NodeId> {
        let running = |id: &NodeId| self.members[id].running.is_some();
        let ids = self.ids();
        ids.into_iter().filter(running).find(|id| self.node(*id).is_active())
    }

    /// Lets time pass in steps of a tick, everything delivered in between.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.0 + ms;
        while self.now.0 < end {
            self.now = Monotonic((self.now.0 + 50).min(end));
            for id in self.ids() {
                if let Some((node, _)) = &mut self.members.get_mut(&id).unwrap().running {
                    node.tick(self.now);
                }
                self.drain(id);
            }
            self.deliver();
            self.run_brokers();
        }
    }

    /// Starts a broker that behaves as the binary's does.
    pub(crate) fn start_broker(&mut self, id: NodeId, incarnation: u128) {
        let controllers = (0..3).map(|id| address(NodeId(id))).collect();
        let config = LifecycleConfig::new(registration(id, incarnation), controllers);
        let mut broker = Lifecycle::new(config, self.now);
        broker.recovered();
        self.brokers.insert(id, broker);
    }

    pub(crate) fn run_brokers(&mut self) {
        for id in self.brokers.keys().copied().collect::<Vec<_>>() {
            loop {
                let broker = self.brokers.get_mut(&id).unwrap();
                broker.tick(self.now);
                let effects = broker.ready();
                assert_eq!(effects.fatal, None);
                if let Some(image) = effects.image.filter(|_| !self.busy.contains(&id)) {
                    broker.published(image.offset);
                }
                let calls = effects.calls;
                for call in &calls {
                    let to = NodeId(call.to.host.strip_prefix("controller-").unwrap().parse().unwrap());
                    let reachable = self.members.get(&to).is_some_and(|member| member.running.is_some());
                    if reachable && !self.cut.contains(&(id, to)) {
                        let ticket = self.ask(to, call.operation.clone());
                        self.calls.insert(ticket, (id, to, call.number));
                    } else {
                        let broker = self.brokers.get_mut(&id).unwrap();
                        broker.replied(self.now, call.number, Err(CallError::Unreachable));
                    }
                }
                self.deliver();
                let answered = self.hand_out_replies();
                if calls.is_empty() && !answered {
                    break;
                }
            }
        }
    }

    fn hand_out_replies(&mut self) -> bool {
        let waiting: Vec<(Ticket, (NodeId, NodeId, CallNumber))> =
            self.calls.iter().map(|(ticket, call)| (*ticket, *call)).collect();
        let mut answered = false;
        for (ticket, (broker, controller, number)) in waiting {
            let reply = self.members.get_mut(&controller).unwrap().replies.remove(&ticket);
            if let Some(reply) = reply {
                self.calls.remove(&ticket);
                if let Some(broker) = self.brokers.get_mut(&broker) {
                    broker.replied(self.now, number, reply.map_err(CallError::Refused));
                    answered = true;
                }
            }
        }
        answered
    }

    /// Lets time pass until it holds; fails if it does not within a minute.
    pub(crate) fn pass_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..1_200 {
            if holds(self) {
                return;
            }
            self.pass(50);
        }
        panic!("it never came about: {what}");
    }

    pub(crate) fn wait_active(&mut self) -> NodeId {
        self.pass_until("an active controller", |cluster| cluster.active().is_some());
        self.active().unwrap()
    }

    pub(crate) fn deliver(&mut self) {
        let mut late = VecDeque::new();
        while let Some((from, to, bytes)) = self.network.pop_front() {
            if self.cut.contains(&(from, to)) {
                continue;
            }
            if self.late.contains(&from) {
                late.push_back((from, to, bytes));
                continue;
            }
            if let Some(chance) = &mut self.bad_network {
                match chance.below(20) {
                    0 => continue,
                    1 => late.push_back((from, to, bytes.clone())),
                    2 => {
                        late.push_front((from, to, bytes));
                        continue;
                    }
                    _ => {}
                }
            }
            let now = self.now;
            if let Some(member) = self.members.get_mut(&to)
                && let Some((node, _)) = &mut member.running
            {
                node.message(now, &bytes);
                self.drain(to);
            }
        }
        self.network = late;
    }

    /// Lets a node hand leadership on, if it has it.
    pub(crate) fn resign(&mut self, id: NodeId) {
        let (node, _) = self.members.get_mut(&id).unwrap().running.as_mut().unwrap();
        node.resign();
        self.drain(id);
    }

    pub(crate) fn isolate(&mut self, id: NodeId) {
        for other in self.ids() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    /// Sends a request and returns its ticket.
    pub(crate) fn ask(&mut self, id: NodeId, operation: Operation) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let now = self.now;
        let (node, _) = self.members.get_mut(&id).unwrap().running.as_mut().unwrap();
        node.request(now, ticket, operation);
        self.drain(id);
        ticket
    }

    pub(crate) fn reply(&self, id: NodeId, ticket: Ticket) -> Option<&Result<Reply, OperationError>> {
        self.members[&id].replies.get(&ticket)
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn call(&mut self, id: NodeId, operation: Operation) -> Result<Reply, OperationError> {
        let ticket = self.ask(id, operation);
        self.deliver();
        self.pass_until("a reply", |cluster| cluster.reply(id, ticket).is_some());
        self.members.get_mut(&id).unwrap().replies.remove(&ticket).unwrap()
    }

    /// Creates a topic that must be refused; the error's code and text.
    pub(crate) fn refusal(&mut self, id: NodeId, topic: NewTopic) -> (i16, String) {
        let request = Operation::CreateTopics(CreateTopics { topics: vec![topic], validate_only: false });
        match self.call(id, request) {
            Ok(Reply::CreateTopics(results)) => {
                let error = results[0].as_ref().unwrap_err();
                (error.code(), error.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Lets a disk that was held back go on.
    pub(crate) fn release_disk(&mut self, id: NodeId) {
        self.members.get_mut(&id).unwrap().hold_disk = false;
        self.drain(id);
    }

    /// Registers a broker and unfences it.
    pub(crate) fn broker_up(&mut self, active: NodeId, broker: NodeId) -> BrokerEpoch {
        let request = registration(broker, 1);
        let Ok(Reply::RegisterBroker(registered)) = self.call(active, Operation::RegisterBroker(request))
        else {
            panic!("broker {broker} is not registered");
        };
        let Reply::Heartbeat(reply) = self.call(active, heartbeat(broker, registered.epoch)).unwrap() else {
            panic!("another reply");
        };
        assert!(!reply.fenced);
        registered.epoch
    }

    /// Runs everything that a member has to do.
    fn drain(&mut self, id: NodeId) {
        loop {
            let Some(member) = self.members.get_mut(&id) else { return };
            let Some((node, _)) = &mut member.running else { return };
            let effects = node.ready();
            member.replies.extend(effects.replies);
            for event in &effects.events {
                if let NodeEvent::Quorum(ottla_core::quorum::machine::QuorumEvent::BecameLeader { term }) =
                    event
                {
                    let leader = self.leaders.entry(*term).or_insert(id);
                    assert_eq!(*leader, id, "one leader in term {term}");
                }
            }
            member.events.extend(effects.events);
            if let Some(image) = effects.image {
                let known = self.committed.entry(image.offset).or_insert_with(|| image.clone());
                assert_eq!(*known, image, "what was committed at {} differs on {id}", image.offset);
            }
            let mut sent = Vec::new();
            if effects.fatal.is_some() {
                member.fatal = effects.fatal;
                member.running = None;
                return;
            }
            for outgoing in effects.send {
                sent.push((outgoing.address.host, outgoing.bytes));
            }
            assert!(effects.persist.is_none() || member.held.is_none(), "one piece of work at a time");
            member.held = effects.persist.or_else(|| member.held.take());
            member.held_snapshot = effects.snapshot.or_else(|| member.held_snapshot.take());
            let work = member.held.take_if(|_| !member.hold_disk);
            let snapshot = member.held_snapshot.take_if(|_| !member.hold_disk && !member.hold_snapshots);
            for (host, bytes) in sent {
                let to = self.members.iter().find(|(_, member)| member.host == host).map(|(to, _)| *to);
                self.network.extend(to.map(|to| (id, to, bytes)));
            }
            let Some(member) = self.members.get_mut(&id) else { return };
            let Some((node, store)) = &mut member.running else { return };
            if work.is_none() && snapshot.is_none() {
                return;
            }
            if let Some(work) = work {
                member.writes += 1;
                node.persisted(self.now, work.number, store.persist(&work).into());
            }
            if let Some(image) = snapshot {
                node.snapshot_written(self.now, store.snapshot_writer().write(&image).into());
            }
        }
    }
}

pub(crate) fn registration(broker: NodeId, incarnation: u128) -> RegisterBroker {
    RegisterBroker {
        node_id: broker,
        cluster_id: CLUSTER,
        incarnation_id: IncarnationId(Uuid::from_u128(incarnation)),
        endpoints: vec![Endpoint {
            listener: "PLAIN".to_owned(),
            host: format!("broker-{broker}"),
            port: 9092,
            security_protocol: 0,
        }],
        rack: None,
        directories: vec![directory(500 + u128::try_from(broker.0).unwrap())],
        features: supported_features(),
        previous_epoch: None,
    }
}

pub(crate) fn heartbeat(broker: NodeId, epoch: BrokerEpoch) -> Operation {
    heartbeat_with(broker, epoch, |_| ())
}

/// The heartbeat of a broker in service that knows all metadata, but for what `change` says.
pub(crate) fn heartbeat_with(
    broker: NodeId,
    epoch: BrokerEpoch,
    change: impl FnOnce(&mut Heartbeat),
) -> Operation {
    let mut heartbeat = Heartbeat {
        node_id: broker,
        epoch,
        metadata_offset: MetadataOffset(u64::MAX >> 2),
        want_fence: false,
        want_shutdown: false,
        offline_directories: Vec::new(),
        damaged_logs: Vec::new(),
    };
    change(&mut heartbeat);
    Operation::Heartbeat(heartbeat)
}

pub(crate) fn create(name: &str, id: u128, partitions: i32) -> Operation {
    Operation::CreateTopics(CreateTopics {
        topics: vec![NewTopic {
            name: name.to_owned(),
            id: TopicId(Uuid::from_u128(1_000 + id)),
            partitions,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }],
        validate_only: false,
    })
}
