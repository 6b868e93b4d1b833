//! What only the active controller has: an image that runs ahead of what is committed, the sessions of brokers,
//! and replies that wait for their records.
//!
//! A request is decided against the speculative image, its records are proposed and replayed there at once, and
//! the reply is parked until the entry is committed. When leadership is lost all of this is dropped and every
//! parked request is answered NOT_CONTROLLER: whether its records are committed is then for the next active
//! controller to say. On becoming active every broker's session starts anew with its full length, since nobody
//! could have renewed it meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::damaged::DamagedLogs;
use super::error::OperationError;
use super::failures::{FailureDetector, Probe, ProbeOutcome};
use super::features::first_features;
use super::operation::{Operation, Reply, Ticket};
use super::schedule::ElectionSchedule;
use super::sessions::{Session, new_sessions};
use crate::config::{Layers, Settings};
use crate::ids::{BrokerEpoch, MetadataOffset, NodeId, Term, TopicPartition};
use crate::metadata::image::{Fencing, Image, LeaderRecoveryState};
use crate::metadata::record::{LeaderChange, Record};
use crate::quorum::machine::{ENTRY_BYTES_MAX, NotLeader};
use crate::release;
use crate::time::Monotonic;

/// What the active controller needs to know of its own configuration.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// This node.
    pub node_id: NodeId,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `auto.leader.rebalance.enable`
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`
    pub leader_imbalance_check_interval: Duration,
    /// `delete.topic.enable`
    pub delete_topics: bool,
    /// `broker.session.timeout.ms`
    pub session_timeout: Duration,
    /// `inter.broker.listener.name`: where a broker is probed.
    pub inter_broker_listener: String,
    /// What the properties file sets, for the defaults of topics.
    pub fixed: Settings,
}

impl ControllerConfig {
    /// The defaults of the configuration's table.
    pub fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            num_partitions: 1,
            default_replication_factor: 1,
            auto_leader_rebalance: true,
            leader_imbalance_check_interval: Duration::from_secs(300),
            delete_topics: true,
            session_timeout: Duration::from_secs(4),
            inter_broker_listener: "PLAINTEXT".to_owned(),
            fixed: Settings::new(),
        }
    }

    /// What lies below a topic's own configuration.
    pub(super) fn layers(&self, image: &Image) -> Layers {
        image.layers(self.node_id, &self.fixed)
    }
}

/// What a decision leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// To be written as one entry; nothing if nothing changes.
    pub records: Vec<Record>,
    /// To be sent when they are committed.
    pub reply: Reply,
}

/// What decisions are made from.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) image: Image,
    pub(super) sessions: BTreeMap<NodeId, Session>,
    /// Where in the log each broker that is stopping said so.
    pub(super) shutdowns: BTreeMap<NodeId, MetadataOffset>,
    pub(super) failures: FailureDetector,
    pub(super) damaged: DamagedLogs,
    pub(super) seen: Monotonic,
    schedule: ElectionSchedule,
}

/// Something that the active controller did by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControllerEvent {
    /// It takes requests from now on.
    Active {
        /// In which term.
        term: Term,
    },
    /// It does not any more.
    Inactive,
    /// Nobody listens any more where a broker was, and it is the only one: its session ends here.
    ConnectionRefused {
        /// Which.
        node_id: NodeId,
    },
    /// A broker was not heard for the length of its session.
    SessionOver {
        /// Which.
        node_id: NodeId,
    },
    /// A partition is about to be led by a replica that may lack records: the last leader, or whoever was there.
    UncleanElection {
        /// Which partition.
        partition: TopicPartition,
        /// Who leads it now.
        leader: NodeId,
    },
}

/// The active controller, or one that could become it.
#[derive(Debug)]
pub struct Controller {
    config: ControllerConfig,
    /// [`ENTRY_BYTES_MAX`], but in tests.
    entry_bytes_max: usize,
    state: Option<State>,
    events: Vec<ControllerEvent>,
    probes: Vec<Probe>,
    parked: VecDeque<(MetadataOffset, Ticket, Result<Reply, OperationError>)>,
}

/// Puts an entry into the log.
pub(super) type Propose<'a> = dyn FnMut(Bytes) -> Result<MetadataOffset, NotLeader> + 'a;

impl State {
    /// A state with every session just begun.
    pub(super) fn new(image: Image, config: &ControllerConfig, now: Monotonic) -> Self {
        let sessions = new_sessions(&image, now.plus(config.session_timeout));
        let stopping =
            image.brokers.values().filter(|broker| broker.fencing == Fencing::InControlledShutdown);
        let shutdowns = stopping.map(|broker| (broker.node_id, image.offset)).collect();
        Self {
            image,
            sessions,
            shutdowns,
            failures: FailureDetector::default(),
            damaged: DamagedLogs::default(),
            seen: now,
            schedule: ElectionSchedule::new(config, now),
        }
    }

    /// What a request leads to. Nothing changes by asking.
    pub fn decide(
        &self,
        config: &ControllerConfig,
        now: Monotonic,
        operation: &Operation,
    ) -> Result<Outcome, OperationError> {
        match operation {
            Operation::RegisterBroker(request) => self.register_broker(config, now, request),
            Operation::Heartbeat(request) => self.heartbeat(config, request),
            Operation::CreateTopics(request) => Ok(self.create_topics(config, request)),
            Operation::DeleteTopics(request) => Ok(self.delete_topics(config, request)),
            Operation::CreatePartitions(request) => Ok(self.create_partitions(request)),
            Operation::IncrementalAlterConfigs(request) => {
                Ok(self.incremental_alter_configs(config, request))
            }
            Operation::AlterPartition(request) => self.alter_partition(config, request),
            Operation::AssignReplicasToDirs(request) => self.assign_replicas_to_dirs(config, request),
            Operation::ElectLeaders(request) => Ok(self.elect_leaders(config, request)),
            Operation::AlterPartitionReassignments(request) => {
                Ok(self.alter_partition_reassignments(config, request))
            }
            Operation::ListPartitionReassignments(request) => Ok(self.list_partition_reassignments(request)),
            Operation::UnregisterBroker(id) => self.unregister_broker(config, *id),
            Operation::UpdateFeatures(request) => self.update_features(request),
            Operation::AllocateProducerIds(request) => self.allocate_producer_ids(request),
            Operation::DescribeQuorum
            | Operation::ChangeVoters(_)
            | Operation::FetchMetadata(_)
            | Operation::FetchMetadataSnapshot(_)
            | Operation::RestartSafety(_) => {
                Err(OperationError::InvalidRequest("it is for the quorum to answer".to_owned()))
            }
        }
    }
}

impl Controller {
    /// An inactive controller.
    pub fn new(config: ControllerConfig) -> Self {
        Self {
            config,
            entry_bytes_max: ENTRY_BYTES_MAX,
            state: None,
            events: Vec::new(),
            probes: Vec::new(),
            parked: VecDeque::new(),
        }
    }

    /// Whether it takes requests.
    pub fn is_active(&self) -> bool {
        self.state.is_some()
    }

    /// The speculative image, while active.
    pub fn image(&self) -> Option<&Image> {
        self.state.as_ref().map(|state| &state.image)
    }

    /// Starts to take requests: `image` holds everything that earlier terms committed. The first active
    /// controller of a cluster writes what a new cluster starts with. `before` is who was active, and when this node
    /// heard it last, where it followed it.
    pub(super) fn activate(
        &mut self,
        now: Monotonic,
        image: Image,
        before: Option<(NodeId, Monotonic)>,
        propose: &mut Propose<'_>,
    ) {
        let mut state = State::new(image, &self.config, now);
        if let Some((id, heard)) = before {
            state.take_over_silence(now, self.config.session_timeout, id, heard);
        }
        self.state = Some(state);
        let first = self.image().map(first_features).unwrap_or_default();
        self.write(&first, propose);
    }

    /// Drops everything that is not committed. Returns what to answer.
    pub(super) fn deactivate(
        &mut self,
        leader: Option<NodeId>,
    ) -> Vec<(Ticket, Result<Reply, OperationError>)> {
        self.state = None;
        self.probes.clear();
        let refuse = |(_, ticket, _)| (ticket, Err(OperationError::NotController { leader }));
        self.parked.drain(..).map(refuse).collect()
    }

    /// Takes a request. Its reply comes from [`Controller::committed`].
    pub(super) fn operate(
        &mut self,
        now: Monotonic,
        ticket: Ticket,
        operation: &Operation,
        propose: &mut Propose<'_>,
    ) -> Result<(), OperationError> {
        let state = self.state.as_ref().ok_or(OperationError::NotController { leader: None })?;
        let outcome = state.decide(&self.config, now, operation);
        let reply = outcome.and_then(|outcome| self.carry_out(now, operation, outcome, propose));
        // Also a refusal, and a reply without records, may rest on what is not yet committed.
        let behind = self.state.as_ref().map(|state| state.image.offset).unwrap_or_default();
        self.parked.push_back((behind, ticket, reply));
        Ok(())
    }

    /// What it did by itself since the last time this was asked.
    pub(super) fn events(&mut self) -> Vec<ControllerEvent> {
        std::mem::take(&mut self.events)
    }

    /// Fences brokers whose session is over, and elects leaders whose time it is.
    pub(super) fn tick(&mut self, now: Monotonic, propose: &mut Propose<'_>) {
        let Some(state) = &mut self.state else { return };
        state.forgive_own_pause(now, self.config.session_timeout);
        self.probes.extend(state.failures.probes(now, &state.image, &self.config.inter_broker_listener));
        self.events.extend(state.end_session_of_dead(now));
        // One broker an entry: each decision sees the one before.
        while let Some((node_id, records)) =
            self.state.as_ref().and_then(|state| state.fence_silent_broker(&self.config, now))
        {
            if !self.write(&records, propose) {
                break;
            }
            self.events.push(ControllerEvent::SessionOver { node_id });
        }
        self.elect_in_turn(now, propose);
    }

    /// The brokers that are to be probed since the last time this was asked.
    pub(super) fn probes(&mut self) -> Vec<Probe> {
        std::mem::take(&mut self.probes)
    }

    /// Takes what came of a probe.
    pub(super) fn probed(&mut self, now: Monotonic, number: u64, outcome: ProbeOutcome) {
        if let Some(state) = &mut self.state {
            state.failures.probed(now, number, outcome);
        }
    }

    /// A broker pulled metadata.
    pub(super) fn fetched(&mut self, now: Monotonic, id: NodeId) {
        if let Some(state) = &mut self.state {
            state.failures.heard(now, id);
        }
    }

    /// Hands out the replies up to an offset that is committed and applied.
    pub(super) fn committed(
        &mut self,
        offset: MetadataOffset,
    ) -> Vec<(Ticket, Result<Reply, OperationError>)> {
        let mut replies = Vec::new();
        while self.parked.front().is_some_and(|(behind, _, _)| *behind <= offset) {
            replies.extend(self.parked.pop_front().map(|(_, ticket, reply)| (ticket, reply)));
        }
        replies
    }

    /// Notes an entry that was proposed by somebody else than this: a change of voters.
    pub(super) fn note(&mut self, offset: MetadataOffset, records: &[Record]) {
        if let Some(state) = &mut self.state {
            let term = state.image.term;
            state.image.replay_entry(offset, term, records).expect("a change of voters contradicts nothing");
        }
    }

    /// Elects leaders that no request asks for. What cannot be written now is tried again with the next tick.
    fn elect_in_turn(&mut self, now: Monotonic, propose: &mut Propose<'_>) {
        let Some(state) = &self.state else { return };
        let (records, schedule) = state.schedule.elect(&state.image, &self.config, &state.damaged, now);
        if self.write(&records, propose)
            && let Some(state) = &mut self.state
        {
            state.schedule = schedule;
        }
    }

    fn carry_out(
        &mut self,
        now: Monotonic,
        operation: &Operation,
        outcome: Outcome,
        propose: &mut Propose<'_>,
    ) -> Result<Reply, OperationError> {
        let mut reply = outcome.reply;
        if !outcome.records.is_empty() {
            let whole = !may_be_divided(operation);
            let level = self.image().map_or(release::LEVEL_FIRST, release::level_of);
            if whole && Record::encode_batch_at(level, &outcome.records).len() > self.entry_bytes_max {
                return Err(OperationError::PolicyViolation(
                    "the request changes too much at once".to_owned(),
                ));
            }
            if !self.write(&outcome.records, propose) {
                return Err(OperationError::NotController { leader: None });
            }
        }
        let Some(state) = &mut self.state else { return Ok(reply) };
        let ends = now.plus(self.config.session_timeout);
        match (operation, &mut reply) {
            (Operation::RegisterBroker(request), Reply::RegisterBroker(registered)) => {
                registered.epoch = BrokerEpoch(i64::try_from(state.image.offset.0).unwrap_or(i64::MAX));
                state.registered(now, ends, request.node_id);
            }
            (Operation::Heartbeat(request), _) => state.heard(now, ends, request),
            (Operation::UnregisterBroker(id), _) => {
                state.sessions.remove(id);
                state.damaged.forget(*id);
                state.shutdowns.remove(id);
            }
            _ => {}
        }
        Ok(reply)
    }

    /// Writes records as one entry, or as several in this order where one would be too large: a broker can have more
    /// partitions than fit one.
    fn write(&mut self, records: &[Record], propose: &mut Propose<'_>) -> bool {
        let Some(state) = &mut self.state else { return false };
        if records.is_empty() {
            return true;
        }
        let entry = Record::encode_batch_at(release::level_of(&state.image), records);
        if entry.len() > self.entry_bytes_max && records.len() > 1 {
            let (first, second) = records.split_at(records.len() / 2);
            return self.write(first, propose) && self.write(second, propose);
        }
        let Ok(offset) = propose(entry) else { return false };
        let term = state.image.term;
        self.events.extend(records.iter().filter_map(|record| unclean_election(&state.image, record)));
        state.image.replay_entry(offset, term, records).expect("records decided on this image fit it");
        true
    }
}

/// Whether a record makes a replica lead that was neither in sync nor eligible. One that comes into sync with the end of
/// a move may lead in the same record.
fn unclean_election(image: &Image, record: &Record) -> Option<ControllerEvent> {
    let Record::PartitionChange(change) = record else { return None };
    let LeaderChange::Leader(leader) = change.leader else { return None };
    let before = image.partition(change.topic_id, change.index)?;
    let recovery = change.recovery.unwrap_or(before.recovery);
    let clean = before.isr.contains(&leader)
        || before.elr.contains(&leader)
        || recovery == LeaderRecoveryState::Recovered;
    let partition = TopicPartition { topic_id: change.topic_id, partition: change.index };
    (!clean).then_some(ControllerEvent::UncleanElection { partition, leader })
}

/// Whether the records of an operation may become several entries, of which the last may never be written. What
/// clients ask for happens wholly or not at all; what becomes of each partition when a broker comes or goes is
/// independent of the others, and made up for (see `State::change`).
fn may_be_divided(operation: &Operation) -> bool {
    match operation {
        Operation::RegisterBroker(_)
        | Operation::Heartbeat(_)
        | Operation::AlterPartition(_)
        | Operation::AssignReplicasToDirs(_)
        | Operation::ElectLeaders(_)
        | Operation::UnregisterBroker(_) => true,
        Operation::CreateTopics(_)
        | Operation::DeleteTopics(_)
        | Operation::CreatePartitions(_)
        | Operation::IncrementalAlterConfigs(_)
        | Operation::AlterPartitionReassignments(_)
        | Operation::ListPartitionReassignments(_)
        | Operation::UpdateFeatures(_)
        | Operation::AllocateProducerIds(_)
        | Operation::DescribeQuorum
        | Operation::ChangeVoters(_)
        | Operation::FetchMetadata(_)
        | Operation::FetchMetadataSnapshot(_)
        | Operation::RestartSafety(_) => false,
    }
}

#[cfg(test)]
mod tests;
