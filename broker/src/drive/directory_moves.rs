//! Moves replicas between the log directories of this broker (KIP-113).
//!
//! A task does what a [`Copier`] says, one for each replica on its way; the driver of the broker answers what the replica's
//! metadata decides. What clients ask of a replica that is frozen waits in the other directory's thread; they see a pause
//! of some milliseconds and no error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ottla_core::config::Settings;
use ottla_core::ids::{NodeId, TopicPartition};
use ottla_core::metadata::image::Image;
use ottla_core::replicas::Move;
pub(crate) use ottla_core::replicas::MoveRefusal;
use ottla_core::replicas::copier::{Copier, CopyNext, CopyOutcome, CopyStep, Heard, LongWait};
use ottla_core::replication::quota::{ReplicationQuota, THROTTLED_BACKOFF, between_directories};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::shard::{CopyEnd, DirectoryFailed, HandedOver, NotAdopted, Shards};
use crate::clock;

/// How much is brought at once: what a copy holds in memory.
const CHUNK_BYTES: u32 = 1 << 20;

/// Asks the broker's driver to move replicas between its log directories.
#[derive(Debug, Clone)]
pub(crate) struct DirectoryMoves {
    asked: mpsc::UnboundedSender<MoveRequest>,
}

/// What is asked: replicas, and the directories that they are to be in, by their places in `log.dirs`.
#[derive(Debug)]
pub(crate) struct MoveRequest {
    pub(crate) wanted: Vec<(TopicPartition, usize)>,
    /// One answer for each, in order, as soon as they are taken on.
    pub(crate) answer: oneshot::Sender<Vec<Result<(), MoveRefusal>>>,
}

impl DirectoryMoves {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<MoveRequest>) {
        let (asked, requests) = mpsc::unbounded_channel();
        (Self { asked }, requests)
    }

    /// Asks; without a driver nobody has any replica.
    pub(crate) async fn ask(&self, wanted: Vec<(TopicPartition, usize)>) -> Vec<Result<(), MoveRefusal>> {
        let refused = vec![Err(MoveRefusal::NotHere); wanted.len()];
        let (answer, answered) = oneshot::channel();
        match self.asked.send(MoveRequest { wanted, answer }) {
            Ok(()) => answered.await.unwrap_or(refused),
            Err(_) => refused,
        }
    }
}

/// What a task says to the driver.
#[derive(Debug)]
pub(super) enum MoveEvent {
    /// The copy has everything.
    CaughtUp { partition: TopicPartition, to: usize, copier: CopierNumber, answer: oneshot::Sender<CopyNext> },
    /// There is no future log for it: there was no descriptor, or its place was not free.
    Missing { made: Move, copier: CopierNumber, answer: oneshot::Sender<()> },
    /// It cannot be made.
    GivenUp { partition: TopicPartition, to: usize, copier: CopierNumber },
    /// The replica cannot go over, and is where it was.
    Back {
        partition: TopicPartition,
        from: usize,
        to: usize,
        copier: CopierNumber,
        /// Whether the controller has to know of it before it serves: nobody knows how long that takes.
        is_long: bool,
        answer: oneshot::Sender<()>,
    },
    /// It was switched to, and has ended.
    SwitchEnded { partition: TopicPartition },
    /// Its replica is gone: the copy there is an orphan.
    Orphan { partition: TopicPartition, shard: usize },
    /// Whether the controller knows that it is there again. No answer if it is not.
    IsKnown { partition: TopicPartition, at: usize, answer: oneshot::Sender<bool> },
}

/// Tells one task from another for the same replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CopierNumber(u64);

/// The tasks.
pub(super) struct Copiers {
    shards: Shards,
    events: mpsc::UnboundedSender<MoveEvent>,
    /// One for each that may copy at once.
    turns: Arc<Semaphore>,
    pace: Arc<Pace>,
    tasks: JoinSet<()>,
    /// The newest of each replica.
    running: BTreeMap<TopicPartition, (CopierNumber, AbortHandle)>,
    next: CopierNumber,
}

impl Copiers {
    pub(super) fn new(
        shards: Shards,
        at_once: usize,
        pace: Pace,
    ) -> (Self, mpsc::UnboundedReceiver<MoveEvent>) {
        let (events, heard) = mpsc::unbounded_channel();
        let (turns, pace) = (Arc::new(Semaphore::new(at_once)), Arc::new(pace));
        let (tasks, running, next) = (JoinSet::new(), BTreeMap::new(), CopierNumber(0));
        (Self { shards, events, turns, pace, tasks, running, next }, heard)
    }

    pub(super) fn start(&mut self, made: Move) {
        let (topic, partition) = (made.topic.to_string(), made.partition.partition.0);
        info!(%topic, partition, "replica is copied to another log directory");
        while self.tasks.try_join_next().is_some() {}
        self.running.retain(|_, (_, task)| !task.is_finished());
        let number = self.next;
        self.next = CopierNumber(number.0 + 1);
        self.shards.begin_copy(&made);
        let id = made.partition;
        let copier = CopyTask {
            number,
            shards: self.shards.clone(),
            events: self.events.clone(),
            pace: Arc::clone(&self.pace),
            made,
        };
        let task = self.tasks.spawn(copier.run(Arc::clone(&self.turns)));
        self.running.insert(id, (number, task));
    }

    /// Whether a task was not ended. What one said before it was may come after.
    pub(super) fn runs(&self, partition: TopicPartition, copier: CopierNumber) -> bool {
        self.running.get(&partition).is_some_and(|(number, _)| *number == copier)
    }

    /// This one goes over: nobody can end it from now on.
    pub(super) fn goes_over(&mut self, partition: TopicPartition) {
        self.running.remove(&partition);
    }

    /// Makes the future log that a task misses, unless the task was ended.
    pub(super) fn begin_again(&self, made: &Move, copier: CopierNumber) {
        if self.runs(made.partition, copier) {
            self.shards.begin_copy(made);
        }
    }

    /// Nobody wants a copy any more that has not been switched to.
    pub(super) fn stop(&mut self, partition: TopicPartition) {
        if let Some((_, task)) = self.running.remove(&partition) {
            task.abort();
        }
    }

    /// Nor one that was begun since this task had its replica handed over.
    pub(super) fn stop_later(&mut self, partition: TopicPartition, than: CopierNumber) {
        if self.running.get(&partition).is_some_and(|(number, _)| *number != than) {
            self.stop(partition);
        }
    }

    /// Ends all of them: the shards close next.
    pub(super) async fn end(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// How fast all copies together may be (`replica.alter.log.dirs.io.max.bytes.per.second`).
pub(super) struct Pace {
    me: NodeId,
    fixed: Settings,
    images: watch::Receiver<Arc<Image>>,
    /// Never locked across an await.
    quota: Mutex<ReplicationQuota>,
}

impl Pace {
    pub(super) fn new(me: NodeId, fixed: Settings, images: watch::Receiver<Arc<Image>>) -> Self {
        Self { me, fixed, images, quota: Mutex::default() }
    }

    /// Returns when so many more bytes may be brought.
    async fn keep(&self, bytes: usize) {
        while !self.takes(bytes) {
            tokio::time::sleep(THROTTLED_BACKOFF).await;
        }
    }

    fn takes(&self, bytes: usize) -> bool {
        let rate = between_directories(&self.images.borrow(), self.me, &self.fixed);
        let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic();
        quota.set_rate(now, rate);
        let takes = !quota.is_limited() || !quota.is_exceeded(now);
        if takes {
            quota.record(now, u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        takes
    }
}

/// One copy: what its [`Copier`] says is done here.
struct CopyTask {
    number: CopierNumber,
    shards: Shards,
    events: mpsc::UnboundedSender<MoveEvent>,
    pace: Arc<Pace>,
    made: Move,
}

impl CopyTask {
    async fn run(self, turns: Arc<Semaphore>) {
        let (mut copier, mut step) = Copier::begin();
        let (mut turn, mut handed_over_at) = (None, None);
        let outcome = loop {
            turn = match (copier.needs_turn(), turn) {
                (false, _) => None,
                (true, Some(held)) => Some(held),
                // It is never closed.
                (true, None) => turns.acquire().await.ok(),
            };
            if matches!(step, CopyStep::HandOver) {
                handed_over_at = Some(Instant::now());
            }
            match self.take(step).await {
                Ok(heard) => step = copier.next(heard),
                Err(outcome) => break outcome,
            }
        };
        self.ended(outcome, handed_over_at);
    }

    /// Does a step.
    ///
    /// # Errors
    /// How it ended, if it has.
    async fn take(&self, step: CopyStep<HandedOver>) -> Result<Heard<HandedOver>, CopyOutcome<HandedOver>> {
        let Move { partition, from, to, .. } = self.made;
        let copier = self.number;
        Ok(match step {
            CopyStep::Give(given) => match self.shards.copied(to, partition, given).await {
                Ok(goes_on) => Heard::GoesOn(goes_on),
                Err(DirectoryFailed) => Heard::Failed("its other log directory has failed".to_owned()),
            },
            CopyStep::MakeFuture => {
                let made = self.made.clone();
                let answered = self.ask(|answer| MoveEvent::Missing { made, copier, answer }).await;
                answered.map_or(Heard::Unwanted, |()| Heard::Done)
            }
            CopyStep::Read(goes_on) => {
                let read = self.shards.read_copy(from, partition, goes_on, CHUNK_BYTES);
                match self.shards.unless_stuck(from, read).await {
                    None => Heard::Failed("its log directory has failed".to_owned()),
                    Some(Ok(part)) => Heard::Part(part),
                    Some(Err(CopyEnd::Gone(error))) => Heard::Cut(error.to_string()),
                    Some(Err(CopyEnd::Refused(error))) => Heard::Failed(error.to_string()),
                }
            }
            CopyStep::Pace(bytes) => {
                self.pace.keep(bytes).await;
                Heard::Done
            }
            CopyStep::Wait(time, told) => {
                self.tell(told);
                tokio::time::sleep(time).await;
                Heard::Done
            }
            CopyStep::Decide => {
                let answered = self.ask(|answer| MoveEvent::CaughtUp { partition, to, copier, answer }).await;
                answered.map_or(Heard::Unwanted, Heard::Next)
            }
            CopyStep::HandOver => Heard::HandedOver(self.shards.hand_over(from, partition).await),
            CopyStep::Adopt(handed) => match self.shards.adopt(to, partition, handed).await {
                Ok(()) => Heard::Done,
                Err(NotAdopted { handed, may_retry, may_be_in_place }) => {
                    Heard::NotAdopted { handed, may_retry, may_be_in_place }
                }
            },
            CopyStep::Back { is_long } => {
                let back = |answer| MoveEvent::Back { partition, from, to, copier, is_long, answer };
                self.ask(back).await.map_or(Heard::Unwanted, |()| Heard::Done)
            }
            CopyStep::AskWhetherKnown => {
                let answered = self.ask(|answer| MoveEvent::IsKnown { partition, at: from, answer }).await;
                answered.map_or(Heard::Unwanted, Heard::IsKnown)
            }
            CopyStep::TakeBack(handed) => match self.shards.take_back(from, partition, handed).await {
                Ok(()) => Heard::Done,
                Err(handed) => Heard::NotTakenBack(handed),
            },
            CopyStep::End(outcome) => return Err(outcome),
        })
    }

    /// Asks the driver; it does not answer whom nobody wants any more.
    async fn ask<A>(&self, event: impl FnOnce(oneshot::Sender<A>) -> MoveEvent) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        self.tell_driver(event(answer));
        answered.await.ok()
    }

    fn tell(&self, told: Option<LongWait>) {
        let (topic, partition) = (&self.made.topic, self.made.partition.partition.0);
        match told {
            None => {}
            Some(LongWait::Copy(problem)) => {
                warn!(%topic, partition, %problem, "the copy of a replica waits")
            }
            Some(LongWait::Controller) => {
                warn!(%topic, partition, "the controller has not taken the log directory of a replica yet");
            }
        }
    }

    fn ended(&self, outcome: CopyOutcome<HandedOver>, handed_over_at: Option<Instant>) {
        let Move { partition: id, from, to, topic, .. } = &self.made;
        let (id, from, to, partition) = (*id, *from, *to, id.partition.0);
        match outcome {
            CopyOutcome::Unwanted => return,
            CopyOutcome::Stays(why) => {
                warn!(%topic, partition, %why, "replica stays in its log directory");
                return self.tell_driver(MoveEvent::GivenUp { partition: id, to, copier: self.number });
            }
            CopyOutcome::WentOver => {
                self.shards.remove_frozen(from, id);
                let paused = handed_over_at.map(|since| since.elapsed()).unwrap_or_default();
                info!(%topic, partition, ?paused, "replica is in its other log directory");
            }
            CopyOutcome::Back => {
                warn!(%topic, partition, "replica could not go to its other log directory, and is where it was");
                // What waits there is refused, and asked again.
                self.shards.forget(to, id);
            }
            CopyOutcome::Gone(handed) => {
                let what = if handed.is_some() { "go back to" } else { "change" };
                warn!(%topic, partition, "replica was gone before it could {what} its log directory");
                self.lost(handed);
            }
            CopyOutcome::Lost(handed) => {
                error!(%topic, partition, "replica is lost on its way to another log directory");
                self.lost(handed);
            }
        }
        self.tell_driver(MoveEvent::SwitchEnded { partition: id });
    }

    fn lost(&self, handed: Option<Box<HandedOver>>) {
        let Move { partition, from, to, .. } = self.made;
        if let Some(handed) = handed {
            self.shards.give_up(from, partition, handed);
        }
        self.tell_driver(MoveEvent::Orphan { partition, shard: to });
    }

    fn tell_driver(&self, event: MoveEvent) {
        // It is gone only when the process ends.
        let _gone = self.events.send(event);
    }
}
