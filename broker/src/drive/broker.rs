//! Runs a broker's life toward the controller, and gives what the metadata says to its shards.
//!
//! One task owns the lifecycle machine. Its requests run as tasks of their own over two connections, one for
//! the metadata it follows (whose fetches wait) and one for everything else. An image is published to the
//! handlers only after the shards have taken in what it means for them, and not before this broker has
//! replayed its own registration: what an older image says about leaders is history. Nothing waits for the shards
//! but the image: one that makes a thousand logs takes a while, and heartbeats go on.

mod call;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::controller::OperationError;
use ottla_core::ids::{DirectoryId, TopicPartition};
use ottla_core::lifecycle::{
    BrokerState, CallError, CallNumber, Lifecycle, LifecycleConfig, LifecycleEffects, LifecycleEvent,
};
use ottla_core::metadata::image::Image;
use ottla_core::replicas::copier::CopyNext;
use ottla_core::replicas::{CaughtUp, LogDirectory, Order, Relocated, Replicas, Routes, Step};
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use self::call::Callers;
use super::directory_moves::{Copiers, MoveEvent, MoveRequest, Pace};
use super::shard::{ShardEvent, Shards};
use crate::clock;
use crate::metrics::Metrics;
use crate::node::{BrokerStatus, NodeState};
use crate::peer::ActiveController;

/// What the driver is built from.
pub(crate) struct BrokerParts {
    pub(crate) lifecycle: LifecycleConfig,
    /// One for each shard, in the order of the shards.
    pub(crate) directories: Vec<Directory>,
    /// What the properties file sets.
    pub(crate) fixed: ottla_core::config::Settings,
    /// `replica.lag.time.max.ms`
    pub(crate) lag_time_max: Duration,
    pub(crate) shards: Shards,
    pub(crate) shard_events: mpsc::UnboundedReceiver<ShardEvent>,
    pub(crate) routes: watch::Sender<Routes>,
    pub(crate) images: watch::Sender<Arc<Image>>,
    pub(crate) status: watch::Sender<BrokerStatus>,
    pub(crate) active: watch::Sender<Option<ActiveController>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) fatal: mpsc::UnboundedSender<String>,
    /// To move replicas between the directories.
    pub(crate) asked_to_move: mpsc::UnboundedReceiver<MoveRequest>,
}

/// A log directory, as the driver needs to know it.
pub(crate) struct Directory {
    pub(crate) id: DirectoryId,
    pub(crate) path: PathBuf,
    /// Whether this process is a controller and keeps its metadata log there.
    pub(crate) holds_metadata_log: bool,
}

impl Directory {
    fn known_to_replicas(&self) -> LogDirectory {
        LogDirectory { id: self.id, holds_metadata_log: self.holds_metadata_log }
    }
}

/// Runs until the broker has stopped in order. Every directory is to be opened first.
pub(crate) async fn run(parts: BrokerParts) {
    let (replies, replied) = mpsc::unbounded_channel();
    let node_id = parts.lifecycle.registration.node_id;
    let callers = Callers::new(parts.lifecycle.request_timeout, replies);
    let pace = Pace::new(node_id, parts.fixed.clone(), parts.images.subscribe());
    let (copiers, copied) = Copiers::new(parts.shards.clone(), moves_at_once(&parts), pace);
    let driver = Driver {
        lifecycle: Lifecycle::new(parts.lifecycle, clock::monotonic()),
        callers,
        replied,
        replicas: Replicas::new(
            node_id,
            parts.directories.iter().map(Directory::known_to_replicas).collect(),
            parts.fixed,
        ),
        lag_time_max: parts.lag_time_max,
        shards: parts.shards,
        routes: parts.routes,
        shard_events: parts.shard_events,
        directories: parts.directories,
        damaged: BTreeMap::new(),
        images: parts.images,
        status: parts.status,
        active: parts.active,
        metrics: parts.metrics,
        stop: parts.stop,
        fatal: parts.fatal,
        copiers,
        copied,
        asked_to_move: parts.asked_to_move,
        unpublished: None,
        settling: None,
    };
    driver.run().await;
}

/// How many replicas change their directory at once: `num.replica.alter.log.dirs.threads`.
fn moves_at_once(parts: &BrokerParts) -> usize {
    let set = parts.fixed.get("num.replica.alter.log.dirs.threads");
    set.and_then(|value| value.trim().parse().ok()).unwrap_or(parts.directories.len()).max(1)
}

struct Driver {
    lifecycle: Lifecycle,
    callers: Callers,
    replied: mpsc::UnboundedReceiver<(CallNumber, Result<ottla_core::controller::Reply, CallError>)>,
    replicas: Replicas,
    lag_time_max: Duration,
    shards: Shards,
    routes: watch::Sender<Routes>,
    directories: Vec<Directory>,
    /// The damaged logs of each shard.
    damaged: BTreeMap<usize, BTreeSet<TopicPartition>>,
    shard_events: mpsc::UnboundedReceiver<ShardEvent>,
    images: watch::Sender<Arc<Image>>,
    status: watch::Sender<BrokerStatus>,
    active: watch::Sender<Option<ActiveController>>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    fatal: mpsc::UnboundedSender<String>,
    copiers: Copiers,
    copied: mpsc::UnboundedReceiver<MoveEvent>,
    asked_to_move: mpsc::UnboundedReceiver<MoveRequest>,
    /// The newest image whose orders the shards have been sent, unless it is the one that they settle.
    unpublished: Option<Image>,
    settling: Option<Settling>,
}

/// Gives the image back when the shards have taken in what it means for them.
type Settling = Pin<Box<dyn Future<Output = Image> + Send>>;

/// The image that the shards have taken in; never, if there is none.
async fn settled(settling: &mut Option<Settling>) -> Image {
    match settling {
        Some(image) => image.await,
        None => std::future::pending().await,
    }
}

/// Returns when this broker is to stop, or when nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _nobody_left = stop.wait_for(|stop| *stop).await;
}

impl Driver {
    async fn run(mut self) {
        let mut stopping = false;
        loop {
            let effects = self.lifecycle.ready();
            if self.perform(effects) {
                self.copiers.end().await;
                return;
            }
            let sleep = self.lifecycle.wakes_at().since(clock::monotonic());
            // Cancel-safe: recv, changed and sleep all are, and what settles stays where it is.
            tokio::select! {
                Some((number, result)) = self.replied.recv() => {
                    self.lifecycle.replied(clock::monotonic(), number, result);
                }
                Some(event) = self.shard_events.recv() => self.shard_event(event),
                Some(request) = self.asked_to_move.recv() => self.move_replicas(request),
                Some(event) = self.copied.recv() => self.copy_event(event),
                image = settled(&mut self.settling) => self.publish(image),
                () = stopped(&mut self.stop), if !stopping => {
                    stopping = true;
                    self.lifecycle.shut_down(clock::monotonic());
                }
                () = tokio::time::sleep(sleep) => {}
            }
            self.lifecycle.tick(clock::monotonic());
        }
    }

    fn shard_event(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Opened { shard, partitions, futures, damaged } => {
                self.metrics.log_directory(&self.directories[shard].path, true);
                self.replicas.opened(shard, partitions);
                self.replicas.found_futures(shard, futures);
                self.damaged(shard, damaged);
            }
            ShardEvent::Damaged { shard, damaged } => self.damaged(shard, damaged),
            ShardEvent::Failed { shard } => {
                let directory = &self.directories[shard];
                self.metrics.log_directory(&directory.path, false);
                self.lifecycle.directory_failed(directory.id);
                if let Some(end) = self.replicas.failed(shard) {
                    let _ending = self.fatal.send(format!("{end}: \"{}\"", directory.path.display()));
                }
            }
            ShardEvent::Proposed { partition, proposal } => {
                debug!(topic_id = %partition.topic_id, partition = partition.partition.0, ?proposal, "another ISR is proposed");
                self.lifecycle.propose(partition, proposal);
            }
        }
        if self.replicas.are_known() {
            self.lifecycle.recovered();
        }
    }

    /// Before the logs count as recovered: the controller is to know it when it takes the broker into service.
    fn damaged(&mut self, shard: usize, damaged: BTreeSet<TopicPartition>) {
        self.damaged.insert(shard, damaged);
        self.lifecycle.damaged(self.damaged.values().flatten().copied().collect());
    }

    /// True when the broker has stopped.
    fn perform(&mut self, effects: LifecycleEffects) -> bool {
        if let Some(reason) = effects.fatal {
            error!(%reason, "the broker must stop");
            let _ending = self.fatal.send(reason);
            return true;
        }
        for call in effects.calls {
            self.callers.start(call);
        }
        effects.answers.into_iter().for_each(|answer| self.shards.proposal_answered(answer));
        if let Some(image) = effects.image {
            self.replicas.follow(image);
        }
        if let Some(step) = self.replicas.step(self.lifecycle.epoch()) {
            self.follow(step);
        }
        effects.events.iter().for_each(|event| self.event(event));
        self.report();
        self.lifecycle.state() == BrokerState::Stopped
    }

    fn follow(&mut self, step: Step) {
        if let Some(eligible) = &step.eligible {
            self.shards.peers(eligible, self.lag_time_max);
        }
        step.orders.into_iter().for_each(|order| self.order(order));
        for (partition, directory) in step.misplaced {
            self.lifecycle.assign_directory(partition, directory);
        }
        self.routes.send_replace(self.replicas.routes().clone());
        self.unpublished = Some(step.image);
        self.settle();
        self.start_copies();
    }

    fn order(&mut self, order: Order) {
        match &order {
            Order::EndCopy { partition, .. } => {
                self.copiers.stop(*partition);
                self.lifecycle.forget_assignment(*partition);
            }
            Order::Orphan { partition, .. } => self.copiers.stop(*partition),
            Order::Assign { .. } | Order::Remove { .. } | Order::SetAside { .. } => {}
        }
        self.shards.order(order);
    }

    fn start_copies(&mut self) {
        self.replicas.take_moves().into_iter().for_each(|made| self.copiers.start(made));
    }

    fn move_replicas(&mut self, request: MoveRequest) {
        let mut answers = Vec::with_capacity(request.wanted.len());
        for (partition, to) in request.wanted {
            let relocated = self.replicas.relocate(partition, to);
            answers.push(relocated.map(|relocated| self.relocated(partition, relocated)));
        }
        // Whoever asked may have gone.
        let _gone = request.answer.send(answers);
        self.start_copies();
    }

    fn relocated(&mut self, partition: TopicPartition, relocated: Relocated) {
        if relocated.is_stopped {
            self.copiers.stop(partition);
            self.lifecycle.forget_assignment(partition);
        }
        if let Some(shard) = relocated.ended {
            self.shards.order(Order::EndCopy { shard, partition });
        }
        if let Some(shard) = relocated.orphaned {
            self.shards.order(self.replicas.orphan(shard, partition));
        }
        if let Some(directory) = relocated.assign {
            self.lifecycle.assign_directory(partition, directory);
        }
    }

    fn copy_event(&mut self, event: MoveEvent) {
        match event {
            MoveEvent::GivenUp { partition, copier, .. } if !self.copiers.runs(partition, copier) => {}
            MoveEvent::GivenUp { partition, to, .. } => {
                let relocated = self.replicas.give_up(partition, to);
                self.relocated(partition, relocated);
            }
            MoveEvent::Missing { made, copier, answer } => {
                self.copiers.begin_again(&made, copier);
                let _ended = answer.send(());
            }
            MoveEvent::Back { partition, from, to, copier, is_long, answer } => {
                self.copiers.stop_later(partition, copier);
                if let Some((order, relocated)) = self.replicas.moved_back(partition, from, to) {
                    self.shards.expect(from, partition, is_long);
                    self.routes.send_replace(self.replicas.routes().clone());
                    self.shards.order(order);
                    self.lifecycle.forget_assignment(partition);
                    // This task has yet to take the replica back.
                    self.relocated(partition, Relocated { is_stopped: false, ..relocated });
                    let _gone = answer.send(());
                    self.start_copies();
                } else if !self.replicas.routes().contains_key(&partition) {
                    self.shards.remove_frozen(from, partition);
                }
            }
            MoveEvent::IsKnown { partition, at, answer } => {
                if let Some(is_known) = self.replicas.is_known_in(partition, at) {
                    let _gone = answer.send(is_known);
                }
            }
            MoveEvent::Orphan { partition, shard } => {
                self.shards.order(self.replicas.orphan(shard, partition));
            }
            MoveEvent::SwitchEnded { partition } => {
                let orders = self.replicas.switch_ended(partition);
                if !orders.is_empty() {
                    self.routes.send_replace(self.replicas.routes().clone());
                    orders.into_iter().for_each(|order| self.order(order));
                }
            }
            // Nobody would go over.
            MoveEvent::CaughtUp { partition, copier, .. } if !self.copiers.runs(partition, copier) => {}
            MoveEvent::CaughtUp { partition, to, answer, .. } => {
                let next = match self.replicas.caught_up(partition, to) {
                    CaughtUp::End => {
                        let relocated = self.replicas.give_up(partition, to);
                        self.relocated(partition, relocated);
                        CopyNext::End
                    }
                    CaughtUp::Assign(directory) => {
                        self.lifecycle.assign_directory(partition, directory);
                        CopyNext::GoOn
                    }
                    CaughtUp::Switch => {
                        self.copiers.goes_over(partition);
                        self.shards.expect(to, partition, false);
                        self.routes.send_replace(self.replicas.routes().clone());
                        CopyNext::Switch
                    }
                };
                // It ends only by this driver, or with the process.
                let _gone = answer.send(next);
            }
        }
    }

    /// One image at a time: what comes while it is waited for is published as one.
    fn settle(&mut self) {
        if self.settling.is_none()
            && let Some(image) = self.unpublished.take()
        {
            let shards = self.shards.clone();
            self.settling = Some(Box::pin(async move {
                shards.settle().await;
                image
            }));
        }
    }

    fn publish(&mut self, image: Image) {
        self.metrics.metadata_offset.set(i64::try_from(image.offset.0).unwrap_or(i64::MAX));
        self.metrics.partitions_led.set(i64::try_from(self.replicas.led()).unwrap_or(i64::MAX));
        self.lifecycle.published(image.offset);
        self.images.send_replace(Arc::new(image));
        self.settling = None;
        self.settle();
    }

    fn set_aside_stray(&mut self) {
        let orders = self.replicas.set_aside_stray();
        if orders.is_empty() {
            return;
        }
        for order in orders {
            if let Order::SetAside { partition, .. } = &order {
                info!(topic_id = %partition.topic_id, partition = partition.partition.0, "a log belongs to no replica of this broker");
            }
            self.order(order);
        }
        self.routes.send_replace(self.replicas.routes().clone());
    }

    fn event(&mut self, event: &LifecycleEvent) {
        match event {
            LifecycleEvent::Registered { epoch } => info!(broker_epoch = epoch.0, "registered"),
            LifecycleEvent::Unfenced => {
                info!("in service");
                self.set_aside_stray();
            }
            LifecycleEvent::Fenced => info!("fenced by the active controller"),
            LifecycleEvent::Failed { what, at, reason: reason @ CallError::RefusedWithCode(_) } => {
                warn!(what, controller = %at, error = %reason, "refused for a reason that this release does not know");
            }
            LifecycleEvent::Failed { what, at, reason } => {
                debug!(what, controller = %at, error = %reason, "request to a controller failed");
            }
            LifecycleEvent::AssignmentAccepted { partition, directory } => {
                let ended = self.replicas.assignment_accepted(*partition, *directory);
                ended.into_iter().for_each(|order| self.shards.order(order));
            }
            LifecycleEvent::AssignmentRefused {
                partition,
                directory,
                reason:
                    reason @ (OperationError::UnknownTopicId(_)
                    | OperationError::UnknownPartition(_)
                    | OperationError::NotLeaderOrFollower(_)),
            } => {
                debug!(topic_id = %partition.topic_id, partition = partition.partition.0, %directory, error = %reason, "a replica was gone before the controller was told where it lies");
            }
            LifecycleEvent::AssignmentRefused { partition, directory, reason } => {
                warn!(topic_id = %partition.topic_id, partition = partition.partition.0, %directory, error = %reason, "the controller refuses the log directory of a replica");
            }
            LifecycleEvent::Stopped => info!("the active controller lets this broker stop"),
            LifecycleEvent::StoppedAlone => warn!("no controller answers: stopping without its leave"),
        }
    }

    fn report(&mut self) {
        // After what was fetched has reached the shards.
        self.shards.session_ends(self.lifecycle.session_ends());
        let state = match self.lifecycle.state() {
            _ if !self.replicas.are_known() => NodeState::Recovering,
            BrokerState::Starting => NodeState::Starting,
            BrokerState::Recovering => NodeState::Recovering,
            BrokerState::Fenced => NodeState::Fenced,
            BrokerState::Running => NodeState::Running,
            BrokerState::Stopping | BrokerState::Stopped => NodeState::Stopping,
        };
        let status = BrokerStatus { state, broker_epoch: self.lifecycle.epoch().map(|epoch| epoch.0) };
        self.status.send_if_modified(|old| std::mem::replace(old, status) != status);
        let address = self.lifecycle.controller();
        let active =
            ActiveController { address: ottla_client::HostPort::new(address.host.clone(), address.port) };
        let active = Some(active);
        self.active.send_if_modified(|old| {
            let changed = *old != active;
            old.clone_from(&active);
            changed
        });
    }
}
