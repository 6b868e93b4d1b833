//! A client: makes topics, produces unique values with acks=all, reads, and writes down what it saw.
//!
//! It does one thing at a time, so that it is one process of the history. It finds leaders as real clients
//! do: it asks any broker for metadata and goes where that points.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::ids::{LeaderEpoch, NodeId, Offset, TopicId, TopicName, TopicPartition};
use ottla_core::metadata::image::Image;

use crate::checkers::history::{Entry, Operation, Stage};
use crate::checkers::{Rule, Violation};
use crate::cluster::checks::Checks;
use crate::coverage::Happening;
use crate::options::Options;
use crate::records;
use crate::rng::Rng;

/// What a client asks a broker.
#[derive(Debug, Clone)]
pub(crate) enum ClientRequest {
    /// Where is everything?
    Metadata,
    /// Make a topic.
    CreateTopic { name: TopicName, partitions: i32, replication_factor: i16 },
    /// Delete a topic.
    DeleteTopic { id: TopicId },
    /// Change how densely a topic's logs are indexed.
    Configure { name: TopicName, index_interval_bytes: u32 },
    /// Append a batch, acks=all.
    Produce { partition: TopicPartition, batch: Bytes },
    /// Read committed records.
    Fetch { partition: TopicPartition, offset: Offset, epoch: LeaderEpoch },
    /// Where does the partition end?
    ListOffsets { partition: TopicPartition, epoch: LeaderEpoch },
}

/// What a broker answers.
#[derive(Debug, Clone)]
pub(crate) enum ClientReply {
    Metadata(Box<Image>),
    /// A topic was made, deleted or configured.
    Done(Happening),
    Produced {
        base_offset: Offset,
    },
    Fetched {
        records: Bytes,
        /// `None` from a leader that does not know yet how much the one before it has committed.
        high_watermark: Option<Offset>,
    },
    End {
        offset: Offset,
    },
    /// It did not work. `certain`: and it will not have happened later either.
    Refused {
        certain: bool,
        reason: String,
    },
}

/// What a client is to do in this phase of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything, at random.
    Work,
    /// One produce to each partition must succeed, then every partition is read to its end.
    Finish,
}

#[derive(Debug, Clone)]
enum Doing {
    Metadata,
    Admin,
    Produce { partition: TopicPartition, values: Vec<String> },
    Fetch { partition: TopicPartition, offset: Offset },
    ListOffsets { partition: TopicPartition },
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Client {
    id: u32,
    rng: Rng,
    topics: Vec<(TopicName, i32)>,
    replication_factor: i16,
    deletes_topics: bool,
    /// A topic that was just deleted, to be made again at once.
    remake: Option<usize>,
    mode: Mode,
    image: Option<Image>,
    /// The greatest leader epoch it has heard of: it goes by no older metadata, and to no older leader (KIP-320).
    epochs: BTreeMap<TopicPartition, LeaderEpoch>,
    doing: Option<(u64, Doing)>,
    correlation: u64,
    values: u64,
    positions: BTreeMap<TopicPartition, Offset>,
    /// In [`Mode::Finish`]: the partitions that took a produce, and those that were read to their end.
    produced: Vec<TopicPartition>,
    finished: Vec<TopicPartition>,
}

impl Client {
    pub(crate) fn new(id: u32, rng: Rng, topics: Vec<(TopicName, i32)>, options: &Options) -> Self {
        Self {
            id,
            rng,
            topics,
            replication_factor: options.replication_factor,
            deletes_topics: options.deletes_topics,
            remake: None,
            mode: Mode::Work,
            image: None,
            epochs: BTreeMap::new(),
            doing: None,
            correlation: 0,
            values: 0,
            positions: BTreeMap::new(),
            produced: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// From now on: one produce to each partition, and a read of everything from the start.
    pub(crate) fn finish(&mut self) {
        self.mode = Mode::Finish;
        self.positions.clear();
        self.produced.clear();
        self.image = None;
    }

    /// Whether everything was produced and read.
    pub(crate) fn is_finished(&self, excused: &dyn Fn(TopicPartition) -> bool) -> bool {
        let Some(image) = &self.image else { return false };
        self.mode == Mode::Finish
            && self.topics.iter().all(|(name, partitions)| {
                let found = image.topic(name).map_or(0, |topic| topic.partitions.len());
                found == usize::try_from(*partitions).unwrap_or(usize::MAX)
            })
            && partitions(image).iter().all(|(partition, _)| {
                excused(*partition) || self.produced.contains(partition) && self.finished.contains(partition)
            })
    }

    /// What still keeps it from being finished.
    pub(crate) fn unfinished(&self, excused: &dyn Fn(TopicPartition) -> bool) -> String {
        let Some(image) = &self.image else { return format!("client {} has no metadata", self.id) };
        let left: Vec<String> = partitions(image)
            .iter()
            .filter(|(partition, _)| !excused(*partition))
            .filter(|(p, _)| !self.produced.contains(p) || !self.finished.contains(p))
            .map(|(partition, leader)| {
                let produced = self.produced.contains(partition);
                format!("{} led by {leader:?} (produced: {produced})", partition.partition)
            })
            .collect();
        format!("client {} sees {} topics and waits for partitions {left:?}", self.id, image.topics.len())
    }

    /// What to ask next, and whom. `None` if it is still waiting.
    pub(crate) fn next_request(
        &mut self,
        nodes: &[NodeId],
        time_ms: u64,
        checks: &mut Checks,
        excused: &dyn Fn(TopicPartition) -> bool,
    ) -> Option<(NodeId, u64, ClientRequest)> {
        if self.doing.is_some() {
            return None;
        }
        let (node, doing, request) = self.choose(nodes, excused);
        if let ClientRequest::DeleteTopic { id } = &request {
            // From here on nothing is owed, whether or not the request ever arrives.
            let image = self.image.as_ref();
            let gone = image.into_iter().flat_map(partitions).map(|(partition, _)| partition);
            gone.filter(|partition| partition.topic_id == *id).for_each(|partition| checks.excuse(partition));
        }
        self.correlation += 1;
        self.write_down(&doing, Stage::Invoke, time_ms, checks);
        self.doing = Some((self.correlation, doing));
        Some((node, self.correlation, request))
    }

    fn choose(
        &mut self,
        nodes: &[NodeId],
        excused: &dyn Fn(TopicPartition) -> bool,
    ) -> (NodeId, Doing, ClientRequest) {
        let anyone = *self.rng.pick(nodes);
        let metadata = (anyone, Doing::Metadata, ClientRequest::Metadata);
        if let Some(topic) = self.remake.take() {
            let (name, partitions) = self.topics[topic].clone();
            return (anyone, Doing::Admin, self.create(name, partitions));
        }
        let Some(image) = self.image.clone() else { return metadata };
        let missing = self.topics.iter().find(|(name, _)| image.topic(name).is_none());
        if let Some((name, partitions)) = missing
            && self.rng.permille(500)
        {
            return (anyone, Doing::Admin, self.create(name.clone(), *partitions));
        }
        if self.deletes_topics && self.mode == Mode::Work && self.rng.permille(10) {
            let at = self.rng.index(self.topics.len());
            if let Some(topic) = image.topic(&self.topics[at].0) {
                self.remake = Some(at);
                return (anyone, Doing::Admin, ClientRequest::DeleteTopic { id: topic.id });
            }
        }
        if self.mode == Mode::Work && self.rng.permille(10) {
            let (name, _) = self.rng.pick(&self.topics).clone();
            let index_interval_bytes = *self.rng.pick(&[0, 300, 5_000]);
            return (anyone, Doing::Admin, ClientRequest::Configure { name, index_interval_bytes });
        }
        let mut led = partitions(&image);
        let newest = |partition: &TopicPartition| self.epochs.get(partition).copied();
        led.retain(|(partition, leader)| {
            let registered = image.partition(partition.topic_id, partition.partition);
            let epoch = registered.map(|registered| registered.leader_epoch);
            leader.is_some() && epoch >= newest(partition) && !excused(*partition)
        });
        if self.mode == Mode::Finish {
            led.retain(|(p, _)| !self.produced.contains(p) || !self.finished.contains(p));
        }
        if led.is_empty() || self.rng.permille(50) {
            return metadata;
        }
        let (partition, leader) = *self.rng.pick(&led);
        let leader = leader.expect("partitions without a leader were left out");
        let produce = match self.mode {
            Mode::Work => self.rng.permille(600),
            Mode::Finish => !self.produced.contains(&partition),
        };
        if produce {
            let values = self.values();
            let batch = records::encode(&values, 1_700_000_000_000);
            let request = ClientRequest::Produce { partition, batch };
            return (leader, Doing::Produce { partition, values }, request);
        }
        let epoch = self.epochs.get(&partition).copied().unwrap_or_default();
        if self.mode == Mode::Work && self.rng.permille(150) {
            return (
                leader,
                Doing::ListOffsets { partition },
                ClientRequest::ListOffsets { partition, epoch },
            );
        }
        let offset = self.positions.get(&partition).copied().unwrap_or(Offset(0));
        (leader, Doing::Fetch { partition, offset }, ClientRequest::Fetch { partition, offset, epoch })
    }

    fn create(&self, name: TopicName, partitions: i32) -> ClientRequest {
        ClientRequest::CreateTopic { name, partitions, replication_factor: self.replication_factor }
    }

    fn values(&mut self) -> Vec<String> {
        let count = self.rng.range(1..5);
        (0..count)
            .map(|_| {
                self.values += 1;
                // Some values span sectors, so that a torn write can cut them.
                let padding = if self.rng.permille(200) { self.rng.index(3000) } else { 0 };
                format!("c{}v{}{}", self.id, self.values, "x".repeat(padding))
            })
            .collect()
    }

    /// A reply came. False if nobody waits for it any longer.
    pub(crate) fn reply(
        &mut self,
        correlation: u64,
        reply: ClientReply,
        time_ms: u64,
        checks: &mut Checks,
    ) -> Result<bool, Violation> {
        let Some((waiting, _)) = &self.doing else { return Ok(false) };
        if *waiting != correlation {
            return Ok(false);
        }
        let Some((_, doing)) = self.doing.take() else { return Ok(false) };
        match (doing, reply) {
            (Doing::Metadata, ClientReply::Metadata(image)) => self.learn(*image),
            (Doing::Produce { partition, values }, ClientReply::Produced { base_offset }) => {
                checks.coverage.note(Happening::BatchAcknowledged);
                if self.mode == Mode::Finish {
                    self.produced.push(partition);
                }
                for (offset, value) in (base_offset.0..).map(Offset).zip(&values) {
                    checks.acknowledged(partition, offset, value)?;
                    let operation =
                        Operation::Send { value: short(value), offset: Some(offset.0), idempotent: true };
                    self.history(partition, Stage::Ok, operation, time_ms, checks);
                }
            }
            (Doing::Fetch { partition, offset }, ClientReply::Fetched { records, high_watermark }) => {
                self.fetched(partition, offset, &records, high_watermark, time_ms, checks)?;
            }
            (Doing::ListOffsets { partition }, ClientReply::End { offset }) => {
                let operation = Operation::ListOffsets { end_exclusive: Some(offset.0) };
                self.history(partition, Stage::Ok, operation, time_ms, checks);
            }
            (Doing::Admin, reply) => {
                if let ClientReply::Done(what) = reply {
                    checks.coverage.note(what);
                }
                self.image = None;
            }
            (doing, ClientReply::Refused { certain, .. }) => {
                let stage = if certain { Stage::Fail } else { Stage::Info };
                if matches!(doing, Doing::Produce { .. }) {
                    checks.coverage.note(Happening::BatchRefused);
                }
                self.write_down(&doing, stage, time_ms, checks);
                self.image = None;
            }
            (doing, reply) => {
                let text = format!("a broker answered {doing:?} with {reply:?}");
                return Err(Violation::new(Rule::History, text));
            }
        }
        Ok(true)
    }

    fn learn(&mut self, image: Image) {
        for topic in image.topics.values() {
            for (index, registered) in &topic.partitions {
                let partition = TopicPartition { topic_id: topic.id, partition: *index };
                let epoch = self.epochs.entry(partition).or_default();
                *epoch = registered.leader_epoch.max(*epoch);
            }
        }
        self.image = Some(image);
    }

    fn fetched(
        &mut self,
        partition: TopicPartition,
        from: Offset,
        bytes: &[u8],
        high_watermark: Option<Offset>,
        time_ms: u64,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let mut records = records::decode(bytes).map_err(|bad| checks.unreadable(partition, &bad))?;
        // A batch may begin before the offset asked for; a consumer skips what it has.
        records.retain(|(offset, _)| *offset >= from);
        checks.read(partition, from, &records)?;
        checks.coverage.add(Happening::Read, u64::from(!records.is_empty()));
        let position = records.last().map_or(from, |(last, _)| last.plus(1));
        self.positions.insert(partition, position);
        let at_end = high_watermark.is_some_and(|high_watermark| position >= high_watermark);
        let is_final = self.mode == Mode::Finish && at_end;
        // Only once our own last record lies behind us is the read worth calling final.
        if is_final && self.produced.contains(&partition) {
            self.finished.push(partition);
        }
        let operation = Operation::Poll {
            records: records.iter().map(|(offset, value)| (offset.0, short(value))).collect(),
            high_watermark: high_watermark.map(|high_watermark| high_watermark.0),
            is_final,
        };
        self.history(partition, Stage::Ok, operation, time_ms, checks);
        Ok(())
    }

    /// The reply did not come in time. False if it had come.
    pub(crate) fn timed_out(&mut self, correlation: u64, time_ms: u64, checks: &mut Checks) -> bool {
        match self.doing.take() {
            Some((waiting, doing)) if waiting == correlation => {
                if matches!(doing, Doing::Produce { .. }) {
                    checks.coverage.note(Happening::BatchUnanswered);
                }
                self.write_down(&doing, Stage::Info, time_ms, checks);
                self.image = None;
                true
            }
            other => {
                self.doing = other;
                false
            }
        }
    }

    fn write_down(&self, doing: &Doing, stage: Stage, time_ms: u64, checks: &mut Checks) {
        match doing {
            Doing::Metadata | Doing::Admin => {}
            Doing::Produce { partition, values } => {
                for value in values {
                    let operation = Operation::Send { value: short(value), offset: None, idempotent: true };
                    self.history(*partition, stage, operation, time_ms, checks);
                }
            }
            Doing::Fetch { partition, offset } => {
                if stage == Stage::Invoke && *offset == Offset(0) {
                    self.history(*partition, Stage::Ok, Operation::Assign, time_ms, checks);
                }
                let operation =
                    Operation::Poll { records: Vec::new(), high_watermark: None, is_final: false };
                self.history(*partition, stage, operation, time_ms, checks);
            }
            Doing::ListOffsets { partition } => {
                let operation = Operation::ListOffsets { end_exclusive: None };
                self.history(*partition, stage, operation, time_ms, checks);
            }
        }
    }

    fn history(
        &self,
        partition: TopicPartition,
        stage: Stage,
        operation: Operation,
        time_ms: u64,
        checks: &mut Checks,
    ) {
        // The topic's id, not its name: a topic made again is another one.
        let topic = partition.topic_id.to_string();
        let partition = partition.partition.0;
        checks.history(Entry { time_ms, process: self.id, stage, topic, partition, operation });
    }
}

/// The padding of a value says nothing; the history goes without.
fn short(value: &str) -> String {
    value.trim_end_matches('x').to_owned()
}

fn partitions(image: &Image) -> Vec<(TopicPartition, Option<NodeId>)> {
    let mut all = Vec::new();
    for topic in image.topics.values() {
        for (index, partition) in &topic.partitions {
            let partition_id = TopicPartition { topic_id: topic.id, partition: *index };
            all.push((partition_id, partition.leader));
        }
    }
    all
}

impl ClientReply {
    /// What kind of reply it is, for the trace.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Metadata(image) => format!("metadata at {}", image.offset),
            Self::Done(what) => what.name().to_owned(),
            Self::Produced { base_offset } => format!("produced at {base_offset}"),
            Self::Fetched { records, high_watermark } => {
                format!("fetched {} bytes of {high_watermark:?}", records.len())
            }
            Self::End { offset } => format!("end {offset}"),
            Self::Refused { certain, reason } => format!("refused ({certain}): {reason}"),
        }
    }
}
