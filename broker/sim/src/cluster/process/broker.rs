//! The broker's half of a process: its life toward the controller, and its log directories.

mod directories;
mod effects;
mod moves;
mod reading;
mod replication;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ottla_core::config::{AlterOp, Alteration};
use ottla_core::controller::operation::{
    CreateTopics, DeleteTopics, IncrementalAlterConfigs, NewTopic, RegisterBroker, TopicReference,
};
use ottla_core::controller::{Operation, OperationError, Reply, supported_features};
use ottla_core::ids::{DirectoryId, IncarnationId, NodeId, TopicId, TopicPartition};
use ottla_core::lifecycle::{BrokerState, CallError, CallNumber, Lifecycle, LifecycleConfig, LifecycleEvent};
use ottla_core::metadata::image::{ConfigResource, Endpoint, Image};
use ottla_core::partition::{AckLevel, PartitionError};
use ottla_core::replicas::Replicas;
use ottla_core::replication::recovery::RecoveryBudget;
use ottla_core::replication::{FetchLimits, Fetchers};
use ottla_core::shard::{Batch, FetchPosition, OffsetTarget, Shard};
use ottla_core::time::Monotonic;

pub(crate) use self::effects::{ShardDone, ShardWork};
use self::moves::{Copying, Kept};
use self::replication::{Parked, recovery_budget};
use super::{Died, Now, Observation, Output, ReplicaView, StartError};
use crate::cluster::client_messages::{ClientReply, ClientRequest};
use crate::cluster::nearest::rack_of;
use crate::cluster::node::{APPEND_TIME, Identity, TIMESTAMP_TYPE, controller_address, host, node_of_host};
use crate::coverage::Happening;
use crate::disk::SimDisk;
use crate::records;
use crate::rng::Rng;

/// How often the shard is told the time.
const SHARD_TICK_MS: u64 = 1_000;

/// `replica.lag.time.max.ms`: short, so that runs see it.
const LAG_TIME_MAX: Duration = Duration::from_secs(6);

/// How long a forwarded request may take.
const FORWARD_TIMEOUT_MS: u64 = 1_500;

/// How long until a call to a controller is known to be lost. The lifecycle has time-outs of its own; this
/// one only ends what it has given up.
const CALL_TIMEOUT_MS: u64 = 20_000;

/// Of clients and brokers.
const LISTENER: &str = "PLAIN";

/// A producer that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Producer {
    client: u32,
    number: u64,
}

type SimShard = Shard<SimDisk, Producer, u64>;

/// What a request to a controller is for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Lifecycle(CallNumber),
    Admin { client: u32, number: u64 },
}

/// See the module's text.
pub(crate) struct Broker {
    me: NodeId,
    rng: Rng,
    lifecycle: Lifecycle,
    disk: SimDisk,
    /// One to each log directory; none to one that could not be opened.
    shards: Vec<Option<SimShard>>,
    replicas: Replicas,
    directory_ids: Vec<DirectoryId>,
    /// Replicas on their way to another directory, in the order in which that began.
    copies: BTreeMap<u64, Copying>,
    next_copy: u64,
    /// Those of them that a directory waits for, and what it is to be told then.
    expected: BTreeMap<(usize, TopicPartition), Vec<Kept>>,
    /// Whether one of the directories has failed.
    lacks_directory: bool,
    fetchers: Fetchers,
    /// What followers that are behind may be served.
    recovery: RecoveryBudget,
    /// How much clients have written here, in bytes.
    written_bytes: u64,
    /// Followers' requests that wait for something new, by the token that they left with the shard.
    parked: BTreeMap<u64, Parked>,
    next_token: u64,
    calls: BTreeMap<u64, Purpose>,
    next_call: u64,
    shard_tick_at: Monotonic,
    /// Whether it stamps records with its wall clock.
    stamps: bool,
    state: BrokerState,
    /// Whether consumers are sent to replicas in their rack.
    selects_by_rack: bool,
    closed: bool,
}

impl Broker {
    pub(crate) fn start(
        identity: &Identity,
        disk: &SimDisk,
        lacks_second: bool,
        now: Now,
        mut rng: Rng,
        observations: &mut Vec<Observation>,
    ) -> Result<Self, StartError> {
        let opened = directories::open(identity, disk, lacks_second, now, observations)?;
        let selects_by_rack = identity.settings.contains_key("replica.selector.class");
        let registration = RegisterBroker {
            node_id: identity.node_id,
            cluster_id: identity.cluster_id,
            incarnation_id: IncarnationId(rng.uuid()),
            endpoints: vec![Endpoint {
                listener: LISTENER.to_owned(),
                host: host(identity.node_id),
                port: 9092,
                security_protocol: 0,
            }],
            rack: selects_by_rack.then(|| rack_of(identity.node_id)),
            directories: identity.log_directories.clone(),
            features: supported_features(),
            previous_epoch: opened.clean,
        };
        let controllers = identity.controllers.iter().map(|node| controller_address(*node)).collect();
        let mut lifecycle = Lifecycle::new(LifecycleConfig::new(registration, controllers), now.monotonic);
        lifecycle.damaged(opened.shards.iter().flatten().flat_map(SimShard::damaged).collect());
        opened.failed.iter().for_each(|directory| lifecycle.directory_failed(*directory));
        lifecycle.recovered();
        Ok(Self {
            me: identity.node_id,
            rng,
            state: lifecycle.state(),
            lifecycle,
            disk: disk.clone(),
            shards: opened.shards,
            replicas: opened.replicas,
            directory_ids: identity.log_directories.clone(),
            copies: BTreeMap::new(),
            next_copy: 0,
            expected: BTreeMap::new(),
            lacks_directory: !opened.failed.is_empty(),
            fetchers: Fetchers::new(identity.node_id, fetch_limits(identity)),
            recovery: recovery_budget(now),
            written_bytes: 0,
            parked: BTreeMap::new(),
            next_token: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            shard_tick_at: now.monotonic,
            stamps: identity.settings.get(TIMESTAMP_TYPE).is_some_and(|value| value == APPEND_TIME),
            selects_by_rack,
            closed: false,
        })
    }

    pub(crate) fn image(&self) -> &Image {
        self.replicas.image()
    }

    /// The partitions whose logs it holds.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.open_shards().flat_map(SimShard::partitions)
    }

    /// Whether one of its log directories has failed: it serves without it, until somebody starts it again.
    pub(crate) fn lacks_directory(&self) -> bool {
        self.lacks_directory
    }

    /// Its replicas that the controller has assigned, as they see themselves.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = ReplicaView> + '_ {
        let working = self.open_shards().filter(|shard| !shard.has_failed());
        working.flat_map(|shard| shard.partitions().filter_map(|partition| view(shard, partition)))
    }

    /// Whether it is in service.
    pub(crate) fn is_running(&self) -> bool {
        self.state == BrokerState::Running
    }

    pub(crate) fn shut_down(&mut self, now: Now) {
        self.lifecycle.shut_down(now.monotonic);
    }

    /// Whether it has stopped in order and closed its logs.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn tick(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.lifecycle.tick(now.monotonic);
        self.end_waits(now, outputs);
        if now.monotonic.since(self.shard_tick_at).as_millis() >= u128::from(SHARD_TICK_MS) {
            self.shard_tick_at = now.monotonic;
            let room = self.disk.room();
            for shard in self.open_shards_mut() {
                shard.set_room(room);
                shard.tick(now.monotonic);
            }
        }
    }

    pub(crate) fn replied(
        &mut self,
        now: Now,
        number: u64,
        reply: Option<Result<Reply, CallError>>,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) {
        // Only the first of reply and time-out counts.
        let Some(purpose) = self.calls.remove(&number) else { return };
        match purpose {
            Purpose::Lifecycle(call) => {
                if let Some(Ok(Reply::FetchMetadataSnapshot(_))) = reply {
                    observations.push(Observation::Happened(Happening::SnapshotPulled));
                }
                if let Some(reply) = reply {
                    self.lifecycle.replied(now.monotonic, call, reply);
                }
            }
            Purpose::Admin { client, number } => {
                let reply = match reply {
                    Some(Ok(Reply::CreateTopics(made))) if made.iter().all(Result::is_ok) => {
                        ClientReply::Done(Happening::TopicMade)
                    }
                    Some(Ok(Reply::DeleteTopics(gone))) if gone.iter().all(Result::is_ok) => {
                        ClientReply::Done(Happening::TopicDeleted)
                    }
                    Some(Ok(Reply::IncrementalAlterConfigs(set))) if set.iter().all(Result::is_ok) => {
                        ClientReply::Done(Happening::TopicConfigured)
                    }
                    other => refused(false, &format!("{other:?}")),
                };
                outputs.push(Output::Client { client, number, reply });
            }
        }
    }

    pub(crate) fn client(
        &mut self,
        now: Now,
        client: u32,
        number: u64,
        request: ClientRequest,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) {
        let reply = match request {
            ClientRequest::Metadata => ClientReply::Metadata(Box::new(self.image().clone())),
            ClientRequest::CreateTopic { name, partitions, replication_factor } => {
                let topic = NewTopic {
                    name: name.to_string(),
                    id: TopicId(self.rng.uuid()),
                    partitions,
                    replication_factor,
                    assignments: Vec::new(),
                    configs: Vec::new(),
                };
                let operation =
                    Operation::CreateTopics(CreateTopics { topics: vec![topic], validate_only: false });
                return self.forward(client, number, operation, outputs);
            }
            ClientRequest::DeleteTopic { id } => {
                let operation =
                    Operation::DeleteTopics(DeleteTopics { topics: vec![TopicReference::Id(id)] });
                return self.forward(client, number, operation, outputs);
            }
            ClientRequest::Configure { name, index_interval_bytes, segment_index_bytes } => {
                let set = |(key, value): (&str, u32)| Alteration {
                    key: key.to_owned(),
                    op: AlterOp::Set,
                    value: Some(value.to_string()),
                };
                let values = [
                    ("index.interval.bytes", index_interval_bytes),
                    ("segment.index.bytes", segment_index_bytes),
                ];
                let operation = Operation::IncrementalAlterConfigs(IncrementalAlterConfigs {
                    resources: vec![(ConfigResource::Topic(name), values.map(set).to_vec())],
                    validate_only: false,
                });
                return self.forward(client, number, operation, outputs);
            }
            ClientRequest::Produce { partition, batch, idempotent: _ } => {
                let refused = self.produce(now, partition, &batch, Producer { client, number });
                self.observe_leadership(partition, observations);
                match refused {
                    Ok(()) => return,
                    Err(error) => self.refused_produce(now, error),
                }
            }
            ClientRequest::Fetch { partition, offset, epoch, rack } => {
                let from = FetchPosition { epoch: Some(epoch), ..FetchPosition::at(offset) };
                self.fetch(now, partition, from, rack.as_deref(), observations)
            }
            ClientRequest::ListOffsets { partition, epoch } => {
                let found = self.shard(partition);
                match found.and_then(|shard| shard.list_offset(partition, Some(epoch), OffsetTarget::Latest))
                {
                    Ok(found) => {
                        let in_doubt = self.is_doubtful(now);
                        let told = if in_doubt { Happening::EndInDoubt } else { Happening::EndTold };
                        observations.push(Observation::Happened(told));
                        let offset = found.offset.unwrap_or_default();
                        ClientReply::End { partition, offset, in_doubt }
                    }
                    Err(error) => refused(true, &error.to_string()),
                }
            }
        };
        outputs.push(Output::Client { client, number, reply });
    }

    fn produce(
        &mut self,
        now: Now,
        partition: TopicPartition,
        batch: &[u8],
        producer: Producer,
    ) -> Result<(), PartitionError> {
        let mut bytes = BytesMut::from(batch);
        let log_append_time = self.stamps.then_some(now.wall.0);
        if let Some(time) = log_append_time {
            records::stamp(&mut bytes, time);
        }
        let batch = Batch { record_count: record_count(batch), bytes, log_append_time, only_in: None };
        let written = u64::try_from(batch.bytes.len()).unwrap_or(0);
        self.shard(partition)?.produce(partition, batch, AckLevel::All, producer, now.wall);
        self.written_bytes += written;
        Ok(())
    }

    /// Sends a client's request on to the active controller.
    fn forward(&mut self, client: u32, number: u64, operation: Operation, outputs: &mut Vec<Output>) {
        let to = self.lifecycle.controller().host.clone();
        self.call(&to, operation, Purpose::Admin { client, number }, FORWARD_TIMEOUT_MS, outputs);
    }

    /// Does all that can be done now.
    pub(crate) fn settle(
        &mut self,
        now: Now,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Died> {
        let effects = self.lifecycle.ready();
        if let Some(reason) = effects.fatal {
            return Err(Died(reason));
        }
        observations.extend(effects.events.iter().map(|event| Observation::Event(format!("{event:?}"))));
        observations.extend(effects.events.iter().filter_map(counted).map(Observation::Happened));
        for call in effects.calls {
            let purpose = Purpose::Lifecycle(call.number);
            self.call(&call.to.host, call.operation, purpose, CALL_TIMEOUT_MS, outputs);
        }
        if let Some(image) = effects.image {
            observations.push(Observation::Shows(image.clone()));
            self.replicas.follow(image);
        }
        effects.answers.into_iter().for_each(|answer| self.proposal_answered(answer));
        if let Some(step) = self.replicas.step(self.lifecycle.epoch()) {
            if let Some(eligible) = step.eligible {
                self.open_shards_mut().for_each(|shard| shard.set_peers(Arc::clone(&eligible), LAG_TIME_MAX));
            }
            step.orders.into_iter().for_each(|order| self.order(order));
            for (partition, directory) in step.misplaced {
                self.lifecycle.assign_directory(partition, directory);
            }
            self.lifecycle.published(step.image.offset);
        }
        for event in &effects.events {
            if let LifecycleEvent::AssignmentAccepted { partition, directory } = event {
                self.assignment_accepted(*partition, *directory);
            }
        }
        if effects.events.contains(&LifecycleEvent::Unfenced) {
            self.replicas.set_aside_stray().into_iter().for_each(|order| self.order(order));
        }
        self.state = self.lifecycle.state();
        // A shard that closes begins nothing more.
        if self.state != BrokerState::Stopped {
            self.open_shards_mut().for_each(|shard| shard.begin_round(now.monotonic));
        }
        self.fetchers.registered(self.lifecycle.epoch());
        if self.state != BrokerState::Stopped {
            self.copy(now, outputs, observations)?;
        }
        self.perform(now, outputs, observations)?;
        while self.fetch_as_follower(now, outputs) {
            self.perform(now, outputs, observations)?;
        }
        let working = |shard: &&mut SimShard| !shard.has_failed();
        if self.state == BrokerState::Stopped && self.is_idle() && !self.closed {
            let epoch = self.lifecycle.epoch();
            for shard in self.open_shards_mut().filter(working) {
                shard.close(epoch).map_err(|error| Died(error.to_string()))?;
            }
            self.closed = true;
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.open_shards().all(|shard| shard.has_failed() || shard.is_idle())
    }

    fn call(
        &mut self,
        to: &str,
        operation: Operation,
        purpose: Purpose,
        timeout_ms: u64,
        outputs: &mut Vec<Output>,
    ) {
        self.next_call += 1;
        let number = self.next_call;
        self.calls.insert(number, purpose);
        let to: NodeId = node_of_host(to).expect("addresses are those of nodes");
        outputs.push(Output::Rpc { to, number, rpc: operation, timeout_ms });
    }
}

fn view(shard: &SimShard, partition: TopicPartition) -> Option<ReplicaView> {
    let machine = shard.partition(partition)?;
    Some(ReplicaView {
        partition,
        leads: machine.is_leader().then(|| machine.registration().leader_epoch),
        high_watermark: machine.high_watermark(),
        log_end: machine.positions().log_end,
    })
}

fn fetch_limits(identity: &Identity) -> FetchLimits {
    let bytes_max = identity.settings.get("replica.fetch.max.bytes").and_then(|value| value.parse().ok());
    FetchLimits {
        partition_bytes_max: bytes_max.expect("every node is given one"),
        // A leader that was away is there again soon.
        backoff: Duration::from_millis(100),
        ..FetchLimits::default()
    }
}

fn counted(event: &LifecycleEvent) -> Option<Happening> {
    match event {
        LifecycleEvent::Registered { .. } => Some(Happening::Registered),
        LifecycleEvent::Unfenced => Some(Happening::Unfenced),
        LifecycleEvent::Fenced => Some(Happening::Fenced),
        LifecycleEvent::StoppedAlone => Some(Happening::StoppedAlone),
        LifecycleEvent::Failed { .. }
        | LifecycleEvent::AssignmentAccepted { .. }
        | LifecycleEvent::AssignmentRefused { .. }
        | LifecycleEvent::Stopped => None,
    }
}

fn refused(certain: bool, reason: &str) -> ClientReply {
    ClientReply::Refused { certain, reason: reason.to_owned() }
}

fn record_count(batch: &[u8]) -> u32 {
    let count: [u8; 4] = std::array::from_fn(|i| batch[57 + i]);
    u32::from_be_bytes(count)
}

/// What a controller answers over the network.
pub(crate) type CallResult = Result<Reply, CallError>;

/// What a controller's answer looks like to its asker.
pub(crate) fn call_result(reply: Result<Reply, OperationError>) -> CallResult {
    reply.map_err(CallError::Refused)
}
