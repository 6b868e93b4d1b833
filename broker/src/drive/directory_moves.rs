//! Moves replicas between the log directories of this broker (KIP-113).
//!
//! A task brings batches of the replica's log to its future log. When that has everything the driver is asked what is
//! next; when the controller knows of the new directory the routes change, and the task has the replica frozen, brings
//! what is left, has the other directory adopt it, and has its first log removed. What clients ask of it meanwhile waits
//! in the other directory's thread; they see a pause of some milliseconds and no error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ottla_core::config::Settings;
use ottla_core::ids::{NodeId, TopicPartition};
use ottla_core::metadata::image::Image;
use ottla_core::replicas::Move;
pub(crate) use ottla_core::replicas::MoveRefusal;
use ottla_core::replication::quota::{ReplicationQuota, THROTTLED_BACKOFF, between_directories};
use ottla_core::shard::{Copied, FollowProblem};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::shard::{CopyEnd, HandedOver, NotAdopted, Shards};
use crate::clock;

/// How much is brought at once: what a copy holds in memory.
const CHUNK_BYTES: u32 = 1 << 20;

/// How often a copy that has everything looks whether there is more, and whether the controller knows.
const IDLE: Duration = Duration::from_millis(50);

/// How often a copy that cannot go on tries again.
const PATIENCE: Duration = Duration::from_secs(1);

/// So often a controller is waited for in silence.
const WAITS_TOLD: u32 = 200;

/// Why a copy ends whose directory is given up.
const OTHER_FAILED: &str = "its other log directory has failed";

/// A file that is gone once is looked for so often: it may have been cut in between.
const TRIES_MAX: u32 = 5;

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
    CaughtUp { partition: TopicPartition, to: usize, copier: CopierNumber, answer: oneshot::Sender<Next> },
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
        waits: bool,
        answer: oneshot::Sender<()>,
    },
    /// Whether the controller knows that it is there again. No answer if it is not.
    IsKnown { partition: TopicPartition, at: usize, answer: oneshot::Sender<bool> },
}

/// Tells one task from another for the same replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CopierNumber(u64);

/// What a task is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// To go on copying.
    GoOn,
    /// To have the replica handed over: the routes say that it is there.
    Switch,
    /// To end.
    End,
}

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
        let copier = Copier {
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

/// The turn of a copy: it has one until it has everything for the first time. What is appended from then on is little,
/// and must not wait for the copies of others; nor must others wait for one that cannot go on.
struct Turn<'a> {
    turns: &'a Semaphore,
    held: Option<SemaphorePermit<'a>>,
    is_over: bool,
}

impl<'a> Turn<'a> {
    fn new(turns: &'a Semaphore) -> Self {
        Self { turns, held: None, is_over: false }
    }

    /// Waits for it.
    async fn take(&mut self) -> Result<(), Failed> {
        if !self.is_over && self.held.is_none() {
            self.held = Some(self.turns.acquire().await.map_err(|_| Failed::Ended)?);
        }
        Ok(())
    }

    /// Waits without it.
    async fn pause(&mut self) {
        self.held = None;
        tokio::time::sleep(PATIENCE).await;
    }

    fn end(&mut self) {
        self.held = None;
        self.is_over = true;
    }
}

/// One copy.
struct Copier {
    number: CopierNumber,
    shards: Shards,
    events: mpsc::UnboundedSender<MoveEvent>,
    pace: Arc<Pace>,
    made: Move,
}

/// Why a copy ends before it has everything.
#[derive(Debug)]
enum Failed {
    /// Nobody wants it any more.
    Ended,
    /// The log cannot be read, or what it gives cannot be taken.
    Unusable(String),
}

impl Copier {
    async fn run(self, turns: Arc<Semaphore>) {
        let Move { partition, to, .. } = self.made;
        match self.copy_and_switch(&turns).await {
            Ok(()) | Err(Failed::Ended) => {}
            Err(Failed::Unusable(why)) => {
                let topic = &self.made.topic;
                warn!(%topic, partition = partition.partition.0, %why, "replica stays in its log directory");
                // The driver is gone only when the process ends.
                let copier = self.number;
                let _gone = self.events.send(MoveEvent::GivenUp { partition, to, copier });
            }
        }
    }

    async fn copy_and_switch(&self, turns: &Semaphore) -> Result<(), Failed> {
        let mut turn = Turn::new(turns);
        let mut waits = 0;
        loop {
            self.catch_up(&mut turn, false).await?;
            turn.end();
            match self.next().await? {
                Next::End => return Err(Failed::Ended),
                Next::Switch => {
                    self.switch(&mut turn).await;
                    return Ok(());
                }
                Next::GoOn => self.wait_for_controller(&mut waits).await,
            }
        }
    }

    async fn wait_for_controller(&self, waits: &mut u32) {
        *waits += 1;
        if *waits == WAITS_TOLD {
            let (topic, partition) = (&self.made.topic, self.made.partition.partition.0);
            warn!(%topic, partition, "the controller has not taken the log directory of a replica yet");
        }
        tokio::time::sleep(IDLE).await;
    }

    /// Asks the driver; no answer if the task is over.
    async fn ask<A>(&self, event: impl FnOnce(oneshot::Sender<A>) -> MoveEvent) -> Result<A, Failed> {
        let (answer, answered) = oneshot::channel();
        let _gone = self.events.send(event(answer));
        answered.await.map_err(|_| Failed::Ended)
    }

    /// Asks the driver what is next.
    async fn next(&self) -> Result<Next, Failed> {
        let Move { partition, to, .. } = self.made;
        let copier = self.number;
        self.ask(|answer| MoveEvent::CaughtUp { partition, to, copier, answer }).await
    }

    /// Copies until the copy has everything, at the set pace and until it may be adopted, unless its replica is `frozen`.
    async fn catch_up(&self, turn: &mut Turn<'_>, frozen: bool) -> Result<(), Failed> {
        let Move { partition, from, to, topic, .. } = &self.made;
        let (partition, from, to) = (*partition, *from, *to);
        let (mut given, mut tries) = (None, 0);
        loop {
            turn.take().await?;
            let copied = self.shards.copied(to, partition, given.take()).await;
            let copied = copied.map_err(|_| Failed::Unusable(OTHER_FAILED.to_owned()))?;
            let Some(goes_on) = copied else {
                if frozen {
                    return Err(Failed::Unusable("its copy is gone".to_owned()));
                }
                turn.pause().await;
                let (made, copier) = (self.made.clone(), self.number);
                self.ask(|answer| MoveEvent::Missing { made, copier, answer }).await?;
                continue;
            };
            match goes_on.problem {
                None => {}
                Some(problem @ (FollowProblem::Full | FollowProblem::NoDescriptor))
                    if !frozen || tries < TRIES_MAX =>
                {
                    tries += 1;
                    if tries == TRIES_MAX {
                        warn!(%topic, partition = partition.partition.0, %problem, "the copy of a replica waits");
                    }
                    turn.pause().await;
                    turn.take().await?;
                }
                Some(problem) => return Err(Failed::Unusable(problem.to_string())),
            }
            let read = self.shards.read_copy(from, partition, goes_on, CHUNK_BYTES);
            let part = match self.shards.unless_stuck(from, read).await {
                None => return Err(Failed::Unusable("its log directory has failed".to_owned())),
                Some(Ok(part)) => part,
                Some(Err(CopyEnd::Gone(_))) if tries < TRIES_MAX => {
                    tries += 1;
                    continue;
                }
                Some(Err(CopyEnd::Gone(error))) => return Err(Failed::Unusable(error.to_string())),
                Some(Err(CopyEnd::Refused(error))) => return Err(Failed::Unusable(error.to_string())),
            };
            if goes_on.problem.is_none() {
                tries = 0;
            }
            if has_all(&part) && goes_on.problem.is_none() {
                if frozen {
                    // It says where the log begins.
                    let heard = self.shards.copied(to, partition, Some((goes_on.offset, part))).await;
                    return heard.map(drop).map_err(|_| Failed::Unusable(OTHER_FAILED.to_owned()));
                }
                if goes_on.is_ready {
                    return Ok(());
                }
                turn.end();
                tokio::time::sleep(IDLE).await;
            }
            if let Copied::Records { bytes, .. } = &part
                && !frozen
            {
                self.pace.keep(bytes.len()).await;
            }
            given = Some((goes_on.offset, part));
        }
    }

    /// Has the replica go over. Nobody can end that: what was asked of it waits there.
    async fn switch(&self, turn: &mut Turn<'_>) {
        let Move { partition, from, to, topic, .. } = &self.made;
        let (id, from, to) = (*partition, *from, *to);
        let partition = id.partition.0;
        let started = Instant::now();
        let Some(handed) = self.shards.hand_over(from, id).await else {
            warn!(%topic, partition, "replica was gone before it could change its log directory");
            return self.shards.orphan(to, id, None);
        };
        let not_adopted = match self.catch_up(turn, true).await {
            Ok(()) => match self.shards.adopt(to, id, handed).await {
                Ok(()) => {
                    // Whatever that directory has by now is durable under its name.
                    self.shards.remove_frozen(from, id);
                    let paused = started.elapsed();
                    info!(%topic, partition, ?paused, "replica is in its other log directory");
                    return;
                }
                Err(None) => {
                    error!(%topic, partition, "replica is lost on its way to another log directory");
                    return self.shards.orphan(to, id, None);
                }
                Err(Some(NotAdopted { handed, may_be_in_place, .. })) => (handed, may_be_in_place),
            },
            Err(_) => (handed, false),
        };
        let (handed, may_be_in_place) = not_adopted;
        self.go_back(handed, may_be_in_place).await;
    }

    /// Nothing was appended since the replica was handed over: it goes on where it was. If the copy may have got its name, a
    /// start would take that for the replica while the controller believes in its directory: so that is told first.
    async fn go_back(&self, handed: Box<HandedOver>, may_be_in_place: bool) {
        let Move { partition, from, to, topic, .. } = &self.made;
        let (id, from, to, copier) = (*partition, *from, *to, self.number);
        let partition = id.partition.0;
        let waits = may_be_in_place;
        let back =
            self.ask(|answer| MoveEvent::Back { partition: id, from, to, copier, waits, answer }).await;
        let may_serve = back.is_ok() && (!waits || self.until_known(id, from).await);
        if !may_serve {
            warn!(%topic, partition, "replica was gone before it could go back to its log directory");
            self.shards.orphan(from, id, Some(handed));
            return self.shards.orphan(to, id, None);
        }
        if self.shards.take_back(from, id, handed).await {
            warn!(%topic, partition, "replica could not go to its other log directory, and is where it was");
            // What waits there is refused, and asked again.
            self.shards.forget(to, id);
        } else {
            error!(%topic, partition, "replica is lost on its way to another log directory");
            self.shards.orphan(to, id, None);
        }
    }

    /// Waits until the controller knows that the replica is there; false if it is not any more.
    async fn until_known(&self, partition: TopicPartition, at: usize) -> bool {
        let mut waits = 0;
        loop {
            match self.ask(|answer| MoveEvent::IsKnown { partition, at, answer }).await {
                Ok(true) => return true,
                Ok(false) => self.wait_for_controller(&mut waits).await,
                Err(_) => return false,
            }
        }
    }
}

/// Whether there was nothing more to copy.
fn has_all(part: &Copied) -> bool {
    matches!(part, Copied::Records { bytes, .. } if bytes.is_empty())
}
