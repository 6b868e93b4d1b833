//! The handlers' side of the shards.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ottla_core::config::TopicConfig;
use ottla_core::ids::{BrokerEpoch, LeaderEpoch, NodeId, Offset, TopicPartition};
use ottla_core::lifecycle::ProposalAnswer;
use ottla_core::log::{EpochEnd, ProducerInfo, RottenBatch};
use ottla_core::partition::{AckLevel, FollowerFetch, PartitionError, ReadFrom, Readable};
use ottla_core::replicas::{Order, Routes};
use ottla_core::replication::Delivery;
use ottla_core::replication::recovery::Behind;
use ottla_core::shard::{
    Assignment, Batch, FetchPosition, LogFound, OffsetFound, OffsetTarget, Produced, ReadsTo, ReplicatedPart,
};
use ottla_core::time::Monotonic;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::copying::MoveStep;
use super::pulse::{Pulse, PulseStalls};
use super::reader::Reader;
use super::reading::{Allowance, LocateResult, Tries};
use super::thread::ShardEvent;
use crate::clock;
use crate::disk::Space;

/// How long an image waits for the shards before it is shown to clients: one of them may be at many new logs.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// One partition of a Fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchItem {
    pub(crate) partition: TopicPartition,
    pub(crate) from: FetchPosition,
    pub(crate) max_bytes: u32,
    pub(crate) read_by: ReadBy,
    /// Nothing is to be read of it, though there is something: a throttled follower's quota is exceeded.
    pub(crate) withheld: bool,
    /// What it gets if it is a follower's that is behind.
    pub(crate) behind: Behind,
}

impl FetchItem {
    /// Whether a follower got nothing because it is behind.
    pub(crate) fn is_held(&self, fetched: &Fetched) -> bool {
        fetched.is_behind && self.behind == Behind::Held
    }
}

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReadBy {
    /// A consumer, from such replicas.
    Consumer(ReadFrom),
    /// A follower: who it is and how far it has come.
    Follower(FollowerFetch),
}

impl ReadBy {
    /// To where it reads, and what of that it knows now.
    fn reads_to(self, readable: Readable) -> ReadsTo {
        match self {
            Self::Consumer(replicas) => ReadsTo::HighWatermark(replicas),
            Self::Follower(fetch) => {
                ReadsTo::LogEnd { told: fetch.high_watermark.map(|_| readable.high_watermark) }
            }
        }
    }
}

/// The brokers that a consumer rather reads from than from this one.
pub(crate) type Near = Arc<BTreeSet<NodeId>>;

/// What was read of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) readable: Readable,
    /// Whole batches; empty if there is nothing to read yet.
    pub(crate) records: Bytes,
    /// Whether there are more in a later segment.
    pub(crate) more_follows: bool,
    /// Where the log last agrees with what the consumer has, if that is something else.
    pub(crate) diverging: Option<EpochEnd>,
    /// Whether it is for a follower that is behind.
    pub(crate) is_behind: bool,
    /// The replica that the consumer should read from instead.
    pub(crate) preferred: Option<NodeId>,
}

impl Fetched {
    /// The same from a broker that may have been put out of service without having heard of it.
    pub(super) fn of_doubtful_replica(self) -> FetchResult {
        if self.records.is_empty() {
            self.readable.of_doubtful_replica()?;
        }
        Ok(self)
    }
}

pub(super) type FetchResult = Result<Fetched, PartitionError>;

/// What a log directory holds.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Its file system.
    pub(crate) space: Space,
    /// The logs in it that serve.
    pub(crate) logs: Vec<LogFound>,
}

/// What a shard's thread is asked.
#[derive(Debug)]
pub(super) enum Message {
    Produce {
        partition: TopicPartition,
        batch: Batch,
        acks: AckLevel,
        answer: oneshot::Sender<Result<Produced, PartitionError>>,
    },
    /// Where the records lie.
    Locate {
        items: Vec<FetchItem>,
        near: Option<Near>,
        allowance: Allowance,
        tries: Tries,
        answer: oneshot::Sender<Vec<LocateResult>>,
    },
    /// Records were not where they were said to be.
    ReadFailed {
        item: FetchItem,
        /// Position and length of the plan.
        place: (u64, u32),
        error: io::Error,
        answer: oneshot::Sender<PartitionError>,
    },
    /// Records were not what was appended.
    FoundRot {
        partition: TopicPartition,
        at: RottenBatch,
        answer: oneshot::Sender<Result<(), PartitionError>>,
    },
    Watch {
        partition: TopicPartition,
        reads_to: ReadsTo,
        beyond: Offset,
        reader: Weak<Notify>,
    },
    ListOffset {
        partition: TopicPartition,
        epoch: Option<LeaderEpoch>,
        target: OffsetTarget,
        tries: Tries,
        answer: oneshot::Sender<Result<OffsetFound, PartitionError>>,
    },
    /// What is in the directory.
    Describe(oneshot::Sender<io::Result<Contents>>),
    EndOfEpoch {
        partition: TopicPartition,
        current: Option<LeaderEpoch>,
        asked: LeaderEpoch,
        answer: oneshot::Sender<Result<Option<EpochEnd>, PartitionError>>,
    },
    /// Who wrote lately.
    Producers {
        partition: TopicPartition,
        answer: oneshot::Sender<Result<Vec<ProducerInfo>, PartitionError>>,
    },
    Assign(Box<Assignment>),
    Remove(TopicPartition),
    SetAside(TopicPartition),
    /// A replica changes its directory.
    Move(TopicPartition, MoveStep),
    /// A read of the directory that no request was made for has failed.
    DiskFailed(io::Error),
    /// Which brokers may enter an ISR, and how long one may lag that is in it.
    Peers(Arc<BTreeMap<NodeId, BrokerEpoch>>, Duration),
    /// What a leader gave to a replica here.
    Replicate(TopicPartition, Box<ReplicatedPart>),
    /// What came of a proposal.
    ProposalAnswered(ProposalAnswer),
    /// Answered when everything sent before has been taken in.
    Barrier(oneshot::Sender<()>),
    Tick,
    SyncFinished(super::syncer::Finished),
    /// There was no descriptor for a sync: it is to be done again.
    SyncPostponed(TopicPartition, ottla_core::log::SyncJob<crate::disk::RealDisk>),
    Close {
        epoch: Option<BrokerEpoch>,
        done: oneshot::Sender<()>,
    },
}

impl Message {
    /// Whether somebody waits for an answer.
    pub(super) fn is_asked(&self) -> bool {
        !matches!(
            self,
            Self::Assign(_)
                | Self::Remove(_)
                | Self::SetAside(_)
                | Self::Replicate(..)
                | Self::ProposalAnswered(_)
        )
    }

    /// Whether this asks something of a replica, or tells it something: one that is on its way here gets it when it is
    /// there.
    pub(super) fn concerns(&self, id: TopicPartition) -> bool {
        match self {
            Self::Produce { partition, .. }
            | Self::FoundRot { partition, .. }
            | Self::Watch { partition, .. }
            | Self::ListOffset { partition, .. }
            | Self::EndOfEpoch { partition, .. }
            | Self::Producers { partition, .. }
            | Self::Remove(partition)
            | Self::SetAside(partition)
            | Self::Replicate(partition, _)
            | Self::ProposalAnswered(ProposalAnswer { partition, .. }) => *partition == id,
            Self::Locate { items, .. } => items.iter().any(|item| item.partition == id),
            Self::ReadFailed { item, .. } => item.partition == id,
            Self::Assign(assignment) => assignment.partition == id,
            Self::Move(partition, step) => *partition == id && step.is_of_replica(),
            Self::Describe(_)
            | Self::DiskFailed(_)
            | Self::Peers(..)
            | Self::Barrier(_)
            | Self::Tick
            | Self::SyncFinished(_)
            | Self::SyncPostponed(..)
            | Self::Close { .. } => false,
        }
    }
}

/// For how long each shard has been at one message, as whoever ticks them sees it.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Vec<PulseStalls>);

/// How long a stop waits for the disks: as long as a sync may take before its directory has failed, and then
/// what there is to write at the end.
const CLOSE_MAX: Duration = Duration::from_secs(30);

/// Every shard of this broker.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    queues: Arc<[mpsc::UnboundedSender<Message>]>,
    /// One for each queue.
    pulses: Arc<[Pulse]>,
    /// One for each queue.
    pub(super) readers: Arc<[Reader]>,
    events: mpsc::UnboundedSender<ShardEvent>,
    routes: watch::Receiver<Routes>,
    /// See [`ottla_core::lifecycle::Lifecycle::session_ends`]; milliseconds.
    session_ends: Arc<AtomicU64>,
}

impl Shards {
    pub(super) fn new(
        queues: Vec<mpsc::UnboundedSender<Message>>,
        pulses: Arc<[Pulse]>,
        readers: Vec<Reader>,
        events: mpsc::UnboundedSender<ShardEvent>,
        routes: watch::Receiver<Routes>,
    ) -> Self {
        let (queues, readers) = (queues.into(), readers.into());
        Self { queues, pulses, readers, events, routes, session_ends: Arc::default() }
    }

    /// No shard at all: a node that is no broker.
    pub(crate) fn none() -> Self {
        let (_, routes) = watch::channel(Routes::new());
        let (events, _) = mpsc::unbounded_channel();
        let (queues, pulses, readers) = (Arc::new([]), Arc::new([]), Arc::new([]));
        Self { queues, pulses, readers, events, routes, session_ends: Arc::default() }
    }

    /// Until when this broker may believe that it leads what it led.
    pub(crate) fn session_ends(&self, at: Monotonic) {
        self.session_ends.store(at.0, Ordering::Release);
    }

    /// Whether it may have been replaced as a leader without having heard of it.
    pub(crate) fn is_doubtful(&self) -> bool {
        clock::monotonic().0 >= self.session_ends.load(Ordering::Acquire)
    }

    pub(super) fn route(&self, partition: TopicPartition) -> Option<usize> {
        self.routes.borrow().get(&partition).map(|held| held.shard)
    }

    /// Sends to the shard that has a replica; gives back what nobody is there for. The route does not change before it is
    /// sent: a replica that changes its directory hears of everything, and in order.
    fn send_to(&self, partition: TopicPartition, message: Message) -> Result<(), Box<Message>> {
        let routes = self.routes.borrow();
        match routes.get(&partition) {
            Some(held) => {
                self.send(held.shard, message);
                Ok(())
            }
            None => Err(Box::new(message)),
        }
    }

    /// The settings of a partition's topic, as this broker resolves them; `None` if it has no replica of it.
    pub(crate) fn config(&self, partition: TopicPartition) -> Option<Arc<TopicConfig>> {
        self.routes.borrow().get(&partition)?.config.clone()
    }

    /// Hands a batch to its shard; the order of calls is the order in the log.
    pub(crate) fn produce(
        &self,
        partition: TopicPartition,
        batch: Batch,
        acks: AckLevel,
    ) -> oneshot::Receiver<Result<Produced, PartitionError>> {
        let (answer, answered) = oneshot::channel();
        // A shard that is gone drops `answer`, which the receiver takes for a failed directory.
        if let Err(message) = self.send_to(partition, Message::Produce { partition, batch, acks, answer })
            && let Message::Produce { answer, .. } = *message
        {
            let _nobody_waits_yet = answer.send(Err(PartitionError::NotLeader));
        }
        answered
    }

    /// Has `reader` notified when any of these partitions has more than what was just read.
    pub(crate) fn watch(&self, items: &[FetchItem], results: &[FetchResult], reader: &Arc<Notify>) {
        for (item, result) in items.iter().zip(results) {
            let (Some(shard), Ok(fetched)) = (self.route(item.partition), result) else { continue };
            // What is withheld is there already.
            if item.withheld || item.is_held(fetched) {
                continue;
            }
            let beyond = fetched.readable.end_exclusive;
            let reader = Arc::downgrade(reader);
            let (partition, reads_to) = (item.partition, item.read_by.reads_to(fetched.readable));
            self.send(shard, Message::Watch { partition, reads_to, beyond, reader });
        }
    }

    /// Looks an offset up.
    pub(crate) async fn list_offset(
        &self,
        partition: TopicPartition,
        epoch: Option<LeaderEpoch>,
        target: OffsetTarget,
    ) -> Result<OffsetFound, PartitionError> {
        let (doubtful, route) = (self.is_doubtful(), self.route(partition));
        let (answer, answered) = oneshot::channel();
        let asked = Message::ListOffset { partition, epoch, target, tries: Tries::default(), answer };
        self.send_to(partition, asked).map_err(|_| PartitionError::NotLeader)?;
        let found = match answered.await.unwrap_or(Err(PartitionError::Storage)) {
            // It was on its way to another directory.
            Err(PartitionError::NotLeader) if route.is_some() && self.route(partition) != route => {
                return Box::pin(self.list_offset(partition, epoch, target)).await;
            }
            found => found?,
        };
        if doubtful || self.is_doubtful() { found.of_doubtful_leader(target) } else { Ok(found) }
    }

    /// The paths of the directories, in the order of `log.dirs`.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.pulses.iter().map(|pulse| pulse.directory.as_path())
    }

    /// What each directory holds, with its path, in the order of `log.dirs`; none of one that has failed.
    pub(crate) async fn describe(&self) -> Vec<(PathBuf, Option<Contents>)> {
        let mut described = Vec::with_capacity(self.queues.len());
        for (shard, pulse) in self.pulses.iter().enumerate() {
            let (answer, answered) = oneshot::channel();
            self.send(shard, Message::Describe(answer));
            // A shard that is gone drops `answer`.
            let contents = answered.await.ok().and_then(io::Result::ok);
            described.push((pulse.directory.clone(), contents));
        }
        described
    }

    /// Where a leader epoch ends.
    pub(crate) async fn end_of_epoch(
        &self,
        partition: TopicPartition,
        current: Option<LeaderEpoch>,
        asked: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, PartitionError> {
        let doubtful = self.is_doubtful();
        let (answer, answered) = oneshot::channel();
        let asked = Message::EndOfEpoch { partition, current, asked, answer };
        self.send_to(partition, asked).map_err(|_| PartitionError::NotLeader)?;
        match answered.await.unwrap_or(Err(PartitionError::Storage)) {
            // It may be the epoch of the leader that took its place.
            Ok(None) if doubtful || self.is_doubtful() => Err(PartitionError::NotLeader),
            answer => answer,
        }
    }

    /// The idempotent producers that the leader of a partition remembers.
    pub(crate) async fn producers(
        &self,
        partition: TopicPartition,
    ) -> Result<Vec<ProducerInfo>, PartitionError> {
        let (answer, answered) = oneshot::channel();
        let asked = Message::Producers { partition, answer };
        self.send_to(partition, asked).map_err(|_| PartitionError::NotLeader)?;
        answered.await.unwrap_or(Err(PartitionError::Storage))
    }

    /// Gives a shard a replica or what has changed about it, or takes one from it.
    pub(crate) fn order(&self, order: Order) {
        match order {
            Order::Assign { shard, assignment } => self.send(shard, Message::Assign(assignment)),
            Order::Remove { shard, partition } => self.send(shard, Message::Remove(partition)),
            Order::SetAside { shard, partition } => self.send(shard, Message::SetAside(partition)),
            Order::Orphan { shard, partition, known_in } => {
                self.send(shard, Message::Move(partition, MoveStep::Orphan(known_in)));
            }
            Order::EndCopy { shard, partition } => {
                self.send(shard, Message::Move(partition, MoveStep::EndCopy))
            }
        }
    }

    /// Tells every shard which brokers may enter an ISR, and for how long one may lag (`replica.lag.time.max.ms`).
    pub(crate) fn peers(&self, eligible: &Arc<BTreeMap<NodeId, BrokerEpoch>>, lag_time_max: Duration) {
        for shard in 0..self.queues.len() {
            self.send(shard, Message::Peers(Arc::clone(eligible), lag_time_max));
        }
    }

    /// Hands on what a leader gave.
    pub(crate) fn replicate(&self, delivery: Delivery) {
        let Delivery { shard, partition, part } = delivery;
        self.send(shard, Message::Replicate(partition, Box::new(part)));
    }

    /// Hands on what came of a proposal.
    pub(crate) fn proposal_answered(&self, answer: ProposalAnswer) {
        if let Some(shard) = self.route(answer.partition) {
            self.send(shard, Message::ProposalAnswered(answer));
        }
    }

    /// Returns when every shard has taken in all that was sent before, or has had its time: one whose disk
    /// hangs must not hold up the others, and what is sent to it waits behind what was sent before all the same.
    pub(crate) async fn settle(&self) {
        let until = Instant::now() + SETTLE_MAX;
        for shard in 0..self.queues.len() {
            let (done, settled) = oneshot::channel();
            self.send(shard, Message::Barrier(done));
            // A shard that is gone has nothing left to take in.
            let _gone_or_late = timeout_at(until, settled).await;
        }
    }

    /// Tells every shard that time goes on, and gives up those that cannot hear it.
    pub(crate) fn tick(&self, stalls: &mut Stalls) {
        stalls.0.resize_with(self.pulses.len(), PulseStalls::default);
        for (shard, (pulse, stall)) in self.pulses.iter().zip(&mut stalls.0).enumerate() {
            if pulse.misses(stall, clock::monotonic()) {
                let directory = pulse.directory.display();
                error!(%directory, "log directory has failed: its disk does not answer; repair it, then restart this broker");
                let _gone = self.events.send(ShardEvent::Failed { shard });
            }
        }
        for queue in self.queues.iter() {
            // Also to one that was given up: if its thread lives, it has acknowledgements to refuse.
            let _gone = queue.send(Message::Tick);
        }
    }

    /// Closes every shard properly and waits for it.
    pub(crate) async fn close(&self, epoch: Option<BrokerEpoch>) {
        let mut closing = Vec::new();
        for shard in 0..self.queues.len() {
            let (done, closed) = oneshot::channel();
            self.send(shard, Message::Close { epoch, done });
            closing.push(closed);
        }
        let all = async {
            for closed in closing {
                let _gone = closed.await;
            }
        };
        if tokio::time::timeout(CLOSE_MAX, all).await.is_err() {
            tracing::warn!("a disk holds the closing of its log directory back; the next start recovers it");
        }
    }

    /// Whether a shard's disk hangs for so long that its directory is given up.
    pub(super) fn is_stuck(&self, shard: usize) -> bool {
        self.pulses[shard].is_stuck()
    }

    pub(super) fn send(&self, shard: usize, message: Message) {
        // Nobody would ever take it in; to be dropped is an answer, too.
        if self.pulses[shard].is_stuck() {
            return;
        }
        // A shard ends only when the process does; then nobody waits for the answer.
        let _gone = self.queues[shard].send(message);
    }
}
