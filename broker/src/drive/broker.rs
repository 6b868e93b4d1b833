//! Runs a broker's life toward the controller, and gives what the metadata says to its shards.
//!
//! One task owns the lifecycle machine. Its requests run as tasks of their own over two connections, one for
//! the metadata it follows (whose fetches wait) and one for everything else. An image is published to the
//! handlers only after the shards have taken in what it means for them, and not before this broker has
//! replayed its own registration: what an older image says about leaders is history.

mod call;
mod replicas;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::ids::{DirectoryId, TopicPartition};
use ottla_core::lifecycle::{
    BrokerState, CallError, CallNumber, Lifecycle, LifecycleConfig, LifecycleEffects, LifecycleEvent,
};
use ottla_core::metadata::image::Image;
use ottla_core::time::Monotonic;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use self::call::Callers;
use self::replicas::Replicas;
use super::shard::{ShardEvent, ShardRoutes, Shards};
use crate::clock;
use crate::metrics::Metrics;
use crate::node::{BrokerStatus, NodeState};
use crate::peer::ActiveController;

/// A broker that stops, and has heard of no controller for so long, goes without leave: when a whole cluster
/// stops, the last ones have nobody to ask. It is longer than an election takes.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// What the driver is built from.
pub(crate) struct BrokerParts {
    pub(crate) lifecycle: LifecycleConfig,
    /// One for each shard, in the order of the shards.
    pub(crate) directories: Vec<Directory>,
    /// What the properties file sets.
    pub(crate) fixed: ottla_core::config::Settings,
    pub(crate) shards: Shards,
    pub(crate) shard_events: mpsc::UnboundedReceiver<ShardEvent>,
    pub(crate) routes: watch::Sender<Arc<ShardRoutes>>,
    pub(crate) images: watch::Sender<Arc<Image>>,
    pub(crate) status: watch::Sender<BrokerStatus>,
    pub(crate) active: watch::Sender<Option<ActiveController>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) fatal: mpsc::UnboundedSender<String>,
}

/// A log directory, as the driver needs to know it.
pub(crate) struct Directory {
    pub(crate) id: DirectoryId,
    pub(crate) path: PathBuf,
    /// Whether this process is a controller and keeps its metadata log there.
    pub(crate) holds_metadata_log: bool,
}

/// Runs until the broker has stopped in order. Every directory is to be opened first.
pub(crate) async fn run(parts: BrokerParts) {
    let (replies, replied) = mpsc::unbounded_channel();
    let node_id = parts.lifecycle.registration.node_id;
    let callers = Callers::new(parts.lifecycle.request_timeout, replies);
    let driver = Driver {
        lifecycle: Lifecycle::new(parts.lifecycle, clock::monotonic()),
        callers,
        replied,
        replicas: Replicas::new(
            node_id,
            parts.directories.iter().map(|directory| directory.id).collect(),
            parts.shards.clone(),
            parts.routes,
            parts.fixed,
        ),
        shard_events: parts.shard_events,
        opening: parts.directories.len(),
        directories: parts.directories,
        heard_at: clock::monotonic(),
        pending: None,
        images: parts.images,
        status: parts.status,
        active: parts.active,
        metrics: parts.metrics,
        stop: parts.stop,
        fatal: parts.fatal,
    };
    driver.run().await;
}

struct Driver {
    lifecycle: Lifecycle,
    callers: Callers,
    replied: mpsc::UnboundedReceiver<(CallNumber, Result<ottla_core::controller::Reply, CallError>)>,
    replicas: Replicas,
    directories: Vec<Directory>,
    shard_events: mpsc::UnboundedReceiver<ShardEvent>,
    /// Directories whose logs are not open yet.
    opening: usize,
    /// When a controller last answered, or when this broker was told to stop.
    heard_at: Monotonic,
    /// The newest image that is not published yet.
    pending: Option<Image>,
    images: watch::Sender<Arc<Image>>,
    status: watch::Sender<BrokerStatus>,
    active: watch::Sender<Option<ActiveController>>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    fatal: mpsc::UnboundedSender<String>,
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
            if self.perform(effects).await {
                return;
            }
            let sleep = self.lifecycle.wakes_at().since(clock::monotonic());
            // Cancel-safe: recv, changed and sleep all are.
            tokio::select! {
                Some((number, result)) = self.replied.recv() => {
                    if result.is_ok() {
                        self.heard_at = clock::monotonic();
                    }
                    self.lifecycle.replied(clock::monotonic(), number, result);
                }
                Some(event) = self.shard_events.recv() => self.shard_event(event),
                () = stopped(&mut self.stop), if !stopping => {
                    stopping = true;
                    self.heard_at = clock::monotonic();
                    self.lifecycle.shut_down();
                }
                () = tokio::time::sleep(sleep) => {}
            }
            self.lifecycle.tick(clock::monotonic());
            if stopping && clock::monotonic().since(self.heard_at) > SILENCE_MAX {
                warn!("no controller answers: stopping without its leave");
                return;
            }
        }
    }

    fn shard_event(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Opened { shard, partitions } => {
                self.metrics.log_directory(&self.directories[shard].path, true);
                self.replicas.found(shard, partitions);
                self.opened();
            }
            ShardEvent::Failed { shard } => {
                if self.replicas.failed(shard) {
                    self.opened();
                }
                let directory = &self.directories[shard];
                self.metrics.log_directory(&directory.path, false);
                self.lifecycle.directory_failed(directory.id);
                self.end_without(shard);
            }
        }
    }

    /// Ends the process, as Kafka does, if there is nothing left to serve from, or if the controller within
    /// keeps its log where nothing can be kept.
    fn end_without(&self, shard: usize) {
        let directory = &self.directories[shard];
        let reason = if self.replicas.all_failed() {
            "no log directory is left"
        } else if directory.holds_metadata_log {
            "the metadata log is in a log directory that has failed"
        } else {
            return;
        };
        let _ending = self.fatal.send(format!("{reason}: \"{}\"", directory.path.display()));
    }

    fn opened(&mut self) {
        self.opening = self.opening.saturating_sub(1);
        if self.opening == 0 {
            self.lifecycle.recovered();
        }
    }

    /// True when the broker has stopped.
    async fn perform(&mut self, effects: LifecycleEffects) -> bool {
        if let Some(reason) = effects.fatal {
            error!(%reason, "the broker must stop");
            let _ending = self.fatal.send(reason);
            return true;
        }
        for call in effects.calls {
            self.callers.start(call);
        }
        if let Some(image) = effects.image {
            self.pending = Some(image);
        }
        self.publish().await;
        let mut stopped = false;
        for event in effects.events {
            stopped |= self.event(&event);
        }
        self.report();
        stopped
    }

    async fn publish(&mut self) {
        let registered = self.pending.as_ref().is_some_and(|image| self.has_own_registration(image));
        if self.opening > 0 || !registered {
            return;
        }
        let Some(image) = self.pending.take() else { return };
        let image = Arc::new(image);
        let before = Arc::clone(&self.images.borrow());
        self.replicas.apply(&before, &image).await;
        self.metrics.metadata_offset.set(i64::try_from(image.offset.0).unwrap_or(i64::MAX));
        self.metrics.partitions_led.set(i64::try_from(self.replicas.led(&image)).unwrap_or(i64::MAX));
        self.images.send_replace(image);
    }

    fn has_own_registration(&self, image: &Image) -> bool {
        let own = image.brokers.get(&self.lifecycle.node_id());
        own.is_some_and(|broker| Some(broker.epoch) == self.lifecycle.epoch())
    }

    fn event(&mut self, event: &LifecycleEvent) -> bool {
        match event {
            LifecycleEvent::Registered { epoch } => info!(broker_epoch = epoch.0, "registered"),
            LifecycleEvent::Unfenced => {
                info!("in service");
                let image = Arc::clone(&self.images.borrow());
                let stray: Vec<TopicPartition> = self.replicas.remove_stray(&image);
                for partition in stray {
                    info!(topic_id = %partition.topic_id, partition = partition.partition.0, "removed the log of a topic that is gone");
                }
            }
            LifecycleEvent::Fenced => info!("fenced by the active controller"),
            LifecycleEvent::Failed { what, at, reason: reason @ CallError::RefusedWithCode(_) } => {
                warn!(what, controller = %at, error = %reason, "refused for a reason that this release does not know");
            }
            LifecycleEvent::Failed { what, at, reason } => {
                debug!(what, controller = %at, error = %reason, "request to a controller failed");
            }
            LifecycleEvent::Stopped => {
                info!("the active controller lets this broker stop");
                return true;
            }
        }
        false
    }

    fn report(&mut self) {
        let state = match self.lifecycle.state() {
            _ if self.opening > 0 => NodeState::Recovering,
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
