//! A shard whose effects a test performs by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::config::{Layers, Settings, TopicConfig};
use ottla_core::ids::{
    BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, TopicId,
    TopicName, TopicPartition,
};
use ottla_core::log::{SyncJob, SyncNumber};
use ottla_core::metadata::image::{LeaderRecoveryState, Partition};
use ottla_core::partition::{AckLevel, FollowerFetch, IsrProposal, PartitionError, ReadFrom};
use ottla_core::replication::recovery::Behind;
use ottla_core::shard::{
    Assignment, Batch, Damage, Effect, FetchPosition, FollowFrom, Located, Produced, Shard,
};
use ottla_core::time::{Monotonic, Wall};
use ottla_sim::disk::{SimDisk, SimFile};
use ottla_sim::rng::Rng;
use ottla_wire::batch::BatchBuilder;
use uuid::Uuid;

pub(crate) const ME: NodeId = NodeId(1);
pub(crate) const OTHER: NodeId = NodeId(2);
pub(crate) const OTHER_EPOCH: BrokerEpoch = BrokerEpoch(20);
pub(crate) const TOPIC: TopicPartition =
    TopicPartition { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionIndex(0) };

/// What a test sees of the effects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Answer(u32, Result<i64, PartitionError>),
    Wake(u32),
    Failed,
    Removed,
    SetAside,
    Proposed(Vec<i32>),
}

pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) shard: Shard<SimDisk, u32, u32>,
    pub(crate) jobs: Vec<(TopicPartition, SyncJob<SimDisk>)>,
    pub(crate) now: Monotonic,
    /// What was proposed to the controller.
    pub(crate) proposals: Vec<IsrProposal>,
    /// From where each replica said last that it follows.
    pub(crate) follows: BTreeMap<TopicPartition, Option<FollowFrom>>,
    /// What became of damaged logs.
    pub(crate) damage: Vec<(TopicPartition, Damage)>,
}

pub(crate) fn registration(leader: Option<NodeId>, epoch: i32) -> Arc<Partition> {
    Arc::new(Partition {
        replicas: vec![ME],
        directories: vec![DirectoryId::default()],
        isr: vec![ME],
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader,
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: PartitionEpoch(epoch),
        recovery: LeaderRecoveryState::Recovered,
    })
}

pub(crate) fn assignment(topic: TopicPartition, leader: Option<NodeId>, epoch: i32) -> Assignment {
    Assignment {
        partition: topic,
        topic: TopicName::parse("orders").unwrap(),
        registration: registration(leader, epoch),
        config: TopicConfig::resolve(&Settings::default(), &Layers::default()),
    }
}

/// A replica of this broker's beside one of broker `OTHER`; the ISR is as given.
pub(crate) fn replicated(topic: TopicPartition, leader: NodeId, isr: &[NodeId], epoch: i32) -> Assignment {
    let mut assignment = assignment(topic, Some(leader), epoch);
    let registration = Partition {
        replicas: vec![ME, OTHER],
        directories: vec![DirectoryId::default(); 2],
        isr: isr.to_vec(),
        ..(*assignment.registration).clone()
    };
    assignment.registration = Arc::new(registration);
    assignment
}

pub(crate) fn batch(values: &[&str]) -> Batch {
    let records = values.iter().fold(BatchBuilder::new(), |b, v| b.record(1000, None, Some(v.as_bytes())));
    let (bytes, header) = records.build().unwrap();
    Batch { bytes, record_count: header.record_count.unsigned_abs(), log_append_time: None, only_in: None }
}

/// How far the other broker says that it has come.
pub(crate) fn fetch_of_other(fetched_end: i64, flushed_end: i64) -> FollowerFetch {
    FollowerFetch {
        node_id: OTHER,
        broker_epoch: OTHER_EPOCH,
        fetched_end: Offset(fetched_end),
        flushed_end: Offset(flushed_end),
        log_start: Offset(0),
        lacks_room: false,
        high_watermark: None,
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::open(SimDisk::new(Rng::new(1)))
    }

    pub(crate) fn open(disk: SimDisk) -> Self {
        let now = Monotonic(0);
        let shard = Shard::open(ME, disk.clone(), now).unwrap().shard;
        let (jobs, proposals, damage) = (Vec::new(), Vec::new(), Vec::new());
        Self { disk, shard, jobs, now, proposals, follows: BTreeMap::new(), damage }
    }

    pub(crate) fn leading() -> Self {
        let mut rig = Self::new();
        rig.shard.assign(assignment(TOPIC, Some(ME), 0));
        rig.sync();
        rig
    }

    pub(crate) fn produce(&mut self, values: &[&str], acks: AckLevel, token: u32) -> Vec<Seen> {
        self.shard.produce(TOPIC, batch(values), acks, token, Wall(1000));
        self.effects()
    }

    /// What the shard wants done, but for its sync jobs, which are kept.
    pub(crate) fn effects(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for effect in self.shard.take_effects() {
            match effect {
                Effect::Answer { waiting, result } => {
                    seen.push(Seen::Answer(
                        waiting,
                        result.map(|Produced { base_offset, .. }| base_offset.0),
                    ));
                }
                Effect::Wake(token) => seen.push(Seen::Wake(token)),
                Effect::Sync(jobs) => self.jobs.extend(jobs),
                Effect::Checkpoint(job) => {
                    let result = job.run();
                    self.shard.checkpoint_finished(job.logs(), result);
                }
                Effect::Remove(job) => {
                    if self.disk.is_stopped() {
                        continue;
                    }
                    job.sync().unwrap();
                    for (_, result) in job.remove() {
                        result.unwrap();
                        seen.push(Seen::Removed);
                    }
                }
                Effect::SetAside { .. } => seen.push(Seen::SetAside),
                Effect::Damage { partition, what } => self.damage.push((partition, what)),
                Effect::Failed { .. } => seen.push(Seen::Failed),
                Effect::AlterIsr { proposal, .. } => {
                    seen.push(Seen::Proposed(proposal.isr.iter().map(|(id, _)| id.0).collect()));
                    self.proposals.push(proposal);
                }
                Effect::Follow { partition, from } => {
                    self.follows.insert(partition, from);
                }
            }
        }
        seen
    }

    /// Begins a round and gives its jobs.
    pub(crate) fn begin(&mut self) -> Vec<Seen> {
        self.shard.begin_round(self.now);
        self.effects()
    }

    /// Runs the jobs that were given.
    pub(crate) fn finish(&mut self) -> Vec<Seen> {
        for (id, job) in std::mem::take(&mut self.jobs) {
            let result = job.run();
            self.finish_one(id, job.number(), result);
        }
        self.effects()
    }

    pub(crate) fn finish_one(&mut self, id: TopicPartition, number: SyncNumber, result: std::io::Result<()>) {
        self.shard.sync_finished(id, number, result);
    }

    /// Both brokers are in service.
    pub(crate) fn both_serve(&mut self) {
        let eligible = [(ME, BrokerEpoch(10)), (OTHER, OTHER_EPOCH)].into();
        self.shard.set_peers(Arc::new(eligible), Duration::from_secs(30));
    }

    /// The other broker, which has so much durably, fetches in this leadership.
    pub(crate) fn other_fetches(&mut self, end: i64, leader_epoch: i32) -> Located<SimFile> {
        let from = FetchPosition { epoch: Some(LeaderEpoch(leader_epoch)), ..FetchPosition::at(Offset(end)) };
        let fetch = fetch_of_other(end, end);
        self.shard.locate_for_follower(TOPIC, fetch, from, 1 << 20, true, Behind::Served).unwrap()
    }

    /// A whole round.
    pub(crate) fn sync(&mut self) -> Vec<Seen> {
        let mut seen = self.begin();
        seen.extend(self.finish());
        seen
    }

    /// The values of all records that a consumer can read from `offset` on.
    pub(crate) fn read(&mut self, offset: i64) -> Result<Vec<String>, PartitionError> {
        self.read_from(ReadFrom::Leader, offset)
    }

    /// The same from such a replica.
    pub(crate) fn read_from(
        &mut self,
        replicas: ReadFrom,
        offset: i64,
    ) -> Result<Vec<String>, PartitionError> {
        let located = self.shard.locate(TOPIC, FetchPosition::at(Offset(offset)), replicas, 1 << 20, true)?;
        let bytes = located.plan.run().unwrap();
        let mut rest = &bytes[..];
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (batch, after) = ottla_wire::batch::Batch::split(rest).unwrap();
            let payload = ottla_wire::batch::records(&batch, 1 << 20).unwrap();
            for record in ottla_wire::batch::Records::new(&payload, batch.header.record_count) {
                let value = record.unwrap().value.unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
            rest = after;
        }
        Ok(values)
    }
}
