//! A client: makes topics, produces unique values with acks=all, reads, and writes down what it saw.
//!
//! It does one thing at a time, so that it is one process of the history. It finds leaders as real clients
//! do: it asks any broker for metadata and goes where that points. Every other client is an idempotent producer, which
//! sends again what was not answered.

use std::collections::BTreeMap;

use ottla_core::ids::{LeaderEpoch, NodeId, Offset, TopicName, TopicPartition};
use ottla_core::metadata::image::Image;

use crate::checkers::history::{Entry, Operation, Stage};
use crate::checkers::{Rule, Violation};
use crate::cluster::checks::Checks;
use crate::cluster::client_messages::{ClientReply, ClientRequest};
use crate::cluster::nearest::Nearest;
use crate::cluster::producer::{Producer, Unknown, short};
use crate::cluster::reassignments::partitions;
use crate::coverage::Happening;
use crate::options::Options;
use crate::records;
use crate::rng::Rng;

/// The time of every record.
const TIMESTAMP: i64 = 1_700_000_000_000;

/// How often in a thousand an idempotent producer gives up a batch rather than send it again.
const GIVES_UP_PERMILLE: u32 = 60;

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
    Produce {
        partition: TopicPartition,
        values: Vec<String>,
    },
    /// The same once more, by an idempotent producer that does not know what came of it.
    ProduceAgain {
        partition: TopicPartition,
        values: Vec<String>,
    },
    Fetch {
        partition: TopicPartition,
        offset: Offset,
    },
    ListOffsets {
        partition: TopicPartition,
    },
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
    /// If it is an idempotent producer, as every other client is.
    producer: Option<Producer>,
    nearest: Nearest,
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
            producer: id.is_multiple_of(2).then(|| Producer::new(i64::from(id))),
            nearest: Nearest::new(options.racks),
            positions: BTreeMap::new(),
            produced: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// From now on: one produce to each partition, and a read of everything from the start.
    pub(crate) fn finish(&mut self) {
        self.mode = Mode::Finish;
        // Only a leader says where a partition ends.
        self.nearest = Nearest::new(false);
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
            && partitions(image).all(|(partition, _)| {
                excused(partition) || self.produced.contains(&partition) && self.finished.contains(&partition)
            })
    }

    /// What still keeps it from being finished.
    pub(crate) fn unfinished(&self, excused: &dyn Fn(TopicPartition) -> bool) -> String {
        let Some(image) = &self.image else { return format!("client {} has no metadata", self.id) };
        let left: Vec<String> = partitions(image)
            .filter(|(partition, _)| !excused(*partition))
            .filter(|(p, _)| !self.produced.contains(p) || !self.finished.contains(p))
            .map(|(partition, registered)| {
                let (leader, produced) = (registered.leader, self.produced.contains(&partition));
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
        self.give_up_in_the_end(time_ms, checks, excused);
        let (node, doing, request) = self.choose(nodes, excused);
        if let ClientRequest::DeleteTopic { id } = &request {
            // From here on nothing is owed, whether or not the request ever arrives.
            let image = self.image.as_ref();
            let gone = image.into_iter().flat_map(partitions).map(|(partition, _)| partition);
            gone.filter(|partition| partition.topic_id == *id).for_each(|partition| checks.excuse(partition));
        }
        self.correlation += 1;
        if matches!(doing, Doing::ProduceAgain { .. }) {
            checks.coverage.note(Happening::BatchSentAgain);
        } else {
            self.write_down(&doing, Stage::Invoke, time_ms, checks);
        }
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
            // A full index begins a segment: four entries, or as many as a topic has by default.
            let segment_index_bytes = *self.rng.pick(&[48, 10 << 20]);
            let request = ClientRequest::Configure { name, index_interval_bytes, segment_index_bytes };
            return (anyone, Doing::Admin, request);
        }
        let mut led: Vec<_> = partitions(&image).map(|(at, registered)| (at, registered.leader)).collect();
        let newest = |partition: &TopicPartition| self.epochs.get(partition).copied();
        led.retain(|(partition, leader)| {
            let registered = image.partition(partition.topic_id, partition.partition);
            let epoch = registered.map(|registered| registered.leader_epoch);
            leader.is_some() && epoch >= newest(partition) && !excused(*partition)
        });
        if self.mode == Mode::Finish {
            led.retain(|(p, _)| !self.produced.contains(p) || !self.finished.contains(p));
        }
        if let Some(unknown) = self.producer.as_ref().and_then(Producer::unknown) {
            return unknown.again(&led).unwrap_or(metadata);
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
            let (doing, request) = self.produce(partition);
            return (leader, doing, request);
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
        let (to, rack) = self.nearest.place((partition, leader), self.id, nodes);
        (to, Doing::Fetch { partition, offset }, ClientRequest::Fetch { partition, offset, epoch, rack })
    }

    fn create(&self, name: TopicName, partitions: i32) -> ClientRequest {
        ClientRequest::CreateTopic { name, partitions, replication_factor: self.replication_factor }
    }

    fn produce(&mut self, partition: TopicPartition) -> (Doing, ClientRequest) {
        let values = self.values();
        let idempotent = self.producer.is_some();
        let batch = match &mut self.producer {
            Some(producer) => producer.batch(partition, &values, TIMESTAMP),
            None => records::encode(&values, TIMESTAMP),
        };
        (Doing::Produce { partition, values }, ClientRequest::Produce { partition, batch, idempotent })
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
            (
                doing @ (Doing::Produce { .. } | Doing::ProduceAgain { .. }),
                ClientReply::Produced { base_offset },
            ) => {
                checks.coverage.note(Happening::BatchAcknowledged);
                let (partition, values) = self.acknowledged(doing, checks);
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
            (
                Doing::Fetch { partition, offset },
                ClientReply::Fetched { records, high_watermark, preferred },
            ) => {
                self.nearest.told(partition, preferred);
                self.fetched(partition, offset, &records, high_watermark, time_ms, checks)?;
            }
            // As Kafka's does, a leader that may have been replaced still tells the end that it knows: that claims nothing.
            (doing @ Doing::ListOffsets { .. }, ClientReply::End { in_doubt: true, .. }) => {
                self.write_down(&doing, Stage::Info, time_ms, checks);
            }
            (Doing::ListOffsets { partition }, ClientReply::End { offset, in_doubt: false, .. }) => {
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
                if matches!(doing, Doing::Produce { .. } | Doing::ProduceAgain { .. }) {
                    checks.coverage.note(Happening::BatchRefused);
                }
                self.failed(&doing, stage, time_ms, checks);
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
                if matches!(doing, Doing::Produce { .. } | Doing::ProduceAgain { .. }) {
                    checks.coverage.note(Happening::BatchUnanswered);
                }
                self.failed(&doing, Stage::Info, time_ms, checks);
                true
            }
            other => {
                self.doing = other;
                false
            }
        }
    }

    /// A batch was acknowledged: where it went, and what is in it.
    fn acknowledged(&mut self, doing: Doing, checks: &mut Checks) -> (TopicPartition, Vec<String>) {
        if let Some(producer) = &mut self.producer {
            producer.acknowledged();
        }
        match doing {
            Doing::ProduceAgain { partition, values } => {
                checks.coverage.note(Happening::BatchAcknowledgedLate);
                (partition, values)
            }
            Doing::Produce { partition, values } => (partition, values),
            Doing::Metadata | Doing::Admin | Doing::Fetch { .. } | Doing::ListOffsets { .. } => {
                unreachable!("only what was produced is acknowledged")
            }
        }
    }

    /// It was refused, or not answered. What an idempotent producer sends again is not over yet: nothing is certain
    /// of a batch of which several copies are on their way.
    fn failed(&mut self, doing: &Doing, stage: Stage, time_ms: u64, checks: &mut Checks) {
        let goes_on =
            self.producer.is_some() && matches!(doing, Doing::Produce { .. } | Doing::ProduceAgain { .. });
        if !goes_on {
            self.write_down(doing, stage, time_ms, checks);
        }
        if let Doing::Fetch { partition, .. } = doing {
            self.nearest.forget(*partition);
        }
        self.image = None;
    }

    /// Some batches are not sent again, among them those to partitions that nothing is owed of.
    fn give_up_in_the_end(
        &mut self,
        time_ms: u64,
        checks: &mut Checks,
        excused: &dyn Fn(TopicPartition) -> bool,
    ) {
        let Some(producer) = &mut self.producer else { return };
        let Some(unknown) = producer.unknown() else { return };
        let gives_up = self.mode == Mode::Work && self.rng.permille(GIVES_UP_PERMILLE);
        if !gives_up && !excused(unknown.partition) {
            return;
        }
        let Some(Unknown { partition, values, .. }) = producer.give_up() else { return };
        checks.coverage.note(Happening::BatchGivenUp);
        self.write_down(&Doing::Produce { partition, values }, Stage::Info, time_ms, checks);
    }

    fn write_down(&self, doing: &Doing, stage: Stage, time_ms: u64, checks: &mut Checks) {
        match doing {
            Doing::Metadata | Doing::Admin => {}
            Doing::Produce { partition, values } | Doing::ProduceAgain { partition, values } => {
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

impl Unknown {
    /// Sends it to its leader once more, if one is known.
    fn again(&self, led: &[(TopicPartition, Option<NodeId>)]) -> Option<(NodeId, Doing, ClientRequest)> {
        let Self { partition, values, batch } = self.clone();
        let leader = led.iter().find(|(led, _)| *led == partition)?.1?;
        let request = ClientRequest::Produce { partition, batch, idempotent: true };
        Some((leader, Doing::ProduceAgain { partition, values }, request))
    }
}
