//! Puts a node together, runs it, and takes it apart in order.
//!
//! Start: bind every listener (a taken port fails early), open the metadata log, start the shards, then the
//! broker's life; clients are let in when the broker is in service. Stop, on SIGTERM or SIGINT: the
//! controller moves leaders away and lets the broker go, connections end, logs are closed properly.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use ottla_client::Options;
use ottla_core::config::{Address, BrokerConfig, Listener};
use ottla_core::controller::operation::RegisterBroker;
use ottla_core::controller::{NodeConfig, supported_features};
use ottla_core::ids::{BrokerEpoch, IncarnationId};
use ottla_core::lifecycle::LifecycleConfig;
use ottla_core::metadata::image::{Endpoint, Image};
use ottla_core::quorum::{Peer, QuorumConfig};
use ottla_core::replicas::Routes;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::api::Scope;
use crate::api::authorize::Authorizer;
use crate::api::fetch::{LeaderThrottle, Recovery};
use crate::directories::{LoadedDirectories, LoadedDirectory};
use crate::drive::auto_topics::AutoTopics;
use crate::drive::broker::{self, BrokerParts, Directory};
use crate::drive::controller::{self, ControllerHandle};
use crate::drive::directory_moves::DirectoryMoves;
use crate::drive::groups::Groups;
use crate::drive::producer_ids::ProducerIds;
use crate::drive::replication::{self, ReplicationParts};
use crate::drive::shard::{self, Followed, ShardReports, Shards, Stalls};
use crate::http;
use crate::metrics::Metrics;
use crate::node::{BrokerStatus, Node, NodeState};
use crate::open_files::OpenFiles;
use crate::peer::ControllerClient;
use crate::random::random_uuid;
use crate::server::listener::{self, Bound, ListenerContext, OpenConnections};
use crate::server::memory::MemoryBudgets;

/// How long a broker waits for the controller to let it go. Without one (the whole cluster stops) nobody
/// ever will; leaders then move when the session ends.
const CONTROLLED_SHUTDOWN_MAX: Duration = Duration::from_secs(30);

/// How often the shards are told that time goes on.
const SHARD_TICK: Duration = Duration::from_secs(1);

/// Why a node did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A listener's port is taken, or its host is not ours.
    #[error("cannot listen on {listener}")]
    Bind {
        /// The listener as configured.
        listener: String,
        /// Why.
        source: io::Error,
    },
    /// The operating system refuses something.
    #[error("cannot {what}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The controller did not start.
    #[error(transparent)]
    Controller(#[from] controller::StartError),
    /// A part of the node can go on no longer.
    #[error("the node had to stop: {0}")]
    Fatal(String),
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// Runs a node until a signal stops it.
pub(crate) fn run(config: BrokerConfig, directories: LoadedDirectories) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(1 << 20)
        .build()
        .map_err(system("start the runtime"))?;
    let result = runtime.block_on(run_node(config, directories));
    // Whatever still runs has been told to stop and has had its time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

struct Listening {
    controllers: Vec<Bound>,
    brokers: Vec<Bound>,
    http: Option<TcpListener>,
}

async fn run_node(config: BrokerConfig, directories: LoadedDirectories) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(system("watch for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("watch for SIGINT"))?;
    let mut config = config;
    let listening = bind(&mut config).await?;
    let config = Arc::new(config);
    let (fatal, mut failed) = mpsc::unbounded_channel();
    let started = start(Arc::clone(&config), &directories, listening, &fatal).await?;
    // Cancel-safe: recv of a signal and of a channel are.
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(reason) = failed.recv() => Err(RunError::Fatal(reason)),
    };
    if outcome.is_ok() {
        info!("stopping");
        tokio::select! {
            () = started.stop() => {}
            Some(reason) = failed.recv() => return Err(RunError::Fatal(reason)),
            _ = interrupt.recv() => warn!("interrupted again: stopping at once; the next start recovers the logs"),
        }
    }
    outcome
}

async fn bind(config: &mut BrokerConfig) -> Result<Listening, RunError> {
    let mut listening = Listening { controllers: Vec::new(), brokers: Vec::new(), http: None };
    for listener in config.listeners.clone() {
        let is_controller = listener.name == config.controller_listener;
        let scope = if is_controller { Scope::Controller } else { Scope::Broker };
        let context = ListenerContext { name: listener.name.as_str().to_owned(), scope };
        let failed = |source| RunError::Bind { listener: listener.to_string(), source };
        let bound =
            listener::bind(&listener.address.host, listener.address.port, context).await.map_err(failed)?;
        let port = bound.local_address().map_err(system("learn a listener's port"))?.port();
        settle_port(config, &listener, port);
        if is_controller { listening.controllers.push(bound) } else { listening.brokers.push(bound) }
    }
    if let Some(Address { host, port }) = &config.http_listener {
        let host = if host.is_empty() { "::" } else { host };
        let failed = |source| RunError::Bind { listener: format!("http://{host}:{port}"), source };
        listening.http = Some(TcpListener::bind((host, *port)).await.map_err(failed)?);
    }
    Ok(listening)
}

/// A listener on port 0 is advertised with the port that it got; a controller is found there by its own
/// broker.
fn settle_port(config: &mut BrokerConfig, listener: &Listener, port: u16) {
    for advertised in config.advertised_listeners.iter_mut().filter(|other| other.name == listener.name) {
        if advertised.address.port == 0 {
            advertised.address.port = port;
        }
    }
    if listener.name == config.controller_listener && listener.address.port == 0 {
        let host = listener.address.host.clone();
        config.controllers = vec![Address { host, port }];
    }
}

/// Everything that runs.
struct Started {
    stop_broker: watch::Sender<bool>,
    stop_listeners: watch::Sender<bool>,
    broker: Option<tokio::task::JoinHandle<()>>,
    listeners: JoinSet<()>,
    node: Arc<Node>,
}

impl Started {
    async fn stop(mut self) {
        if let Some(controller) = &self.node.controller {
            controller.resign().await;
        }
        self.stop_broker.send_replace(true);
        if let Some(broker) = self.broker.take()
            && tokio::time::timeout(CONTROLLED_SHUTDOWN_MAX, broker).await.is_err()
        {
            warn!("no controller let this broker go in time");
        }
        self.stop_listeners.send_replace(true);
        while self.listeners.join_next().await.is_some() {}
        let epoch = self.node.status.borrow().broker_epoch.map(BrokerEpoch);
        self.node.shards.close(epoch).await;
    }
}

async fn start(
    config: Arc<BrokerConfig>,
    directories: &LoadedDirectories,
    listening: Listening,
    fatal: &mpsc::UnboundedSender<String>,
) -> Result<Started, RunError> {
    let (stop_broker, broker_stops) = watch::channel(false);
    let (stop_listeners, listeners_stop) = watch::channel(false);
    let log_directories = if config.roles.is_broker() { directories.logs.len() } else { 0 };
    let open_files = OpenFiles::claim(log_directories);
    let controller = config.roles.is_controller();
    let controller =
        controller.then(|| start_controller(&config, directories, open_files, fatal)).transpose()?;
    let (active, known_active) = watch::channel(None);
    // A node without the broker role learns both from its controller.
    let known_active = match &controller {
        Some(controller) if !config.roles.is_broker() => controller.active(),
        Some(_) | None => known_active,
    };
    let (status, statuses) = watch::channel(initial_status(&config));
    let (images, published) = watch::channel(Arc::new(Image::default()));
    let metrics = Metrics::new();
    let (routes, known_routes) = watch::channel(Routes::new());
    let (events, shards_report) = mpsc::unbounded_channel();
    let (follows, followed) = mpsc::unbounded_channel();
    let reports = ShardReports { events, follows };
    let shards = start_shards(&config, directories, open_files, known_routes, &reports)?;
    let controllers = ControllerClient::new(known_active, client_options(&config));
    let (directory_moves, asked_to_move) = DirectoryMoves::new();
    let node = Arc::new(Node {
        id: config.node_id,
        cluster_id: directories.cluster_id,
        config: Arc::clone(&config),
        directory_ids: directories.logs.iter().map(|directory| directory.id).collect(),
        memory: MemoryBudgets::from_cgroup(),
        leader_throttle: LeaderThrottle::default(),
        recovery: Recovery::default(),
        authorizer: Authorizer::AllowAll,
        metrics: Arc::clone(&metrics),
        connections: OpenConnections::new(open_files.clients),
        peer_connections: OpenConnections::new(open_files.peers),
        validations: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get))),
        images: images_of(&config, controller.as_ref(), &published),
        status: statuses.clone(),
        shards: shards.clone(),
        directory_moves,
        auto_topics: AutoTopics::start(&config, &controllers),
        groups: Groups::start(config.node_id, &config.groups, &shards, published.clone()),
        producer_ids: ProducerIds::start(&config, &controllers, &statuses),
        controllers,
        controller,
    });
    start_replication(&config, &shards, followed, (&published, &statuses));
    let broker = config.roles.is_broker().then(|| {
        let parts = BrokerParts {
            lifecycle: lifecycle_config(&config, directories)?,
            directories: shard_directories(&config, directories),
            fixed: config.fixed.clone(),
            lag_time_max: config.replication.lag_time_max,
            shards: shards.clone(),
            shard_events: shards_report,
            routes,
            images,
            status,
            active,
            metrics,
            stop: broker_stops,
            fatal: fatal.clone(),
            asked_to_move,
        };
        Ok::<_, RunError>(tokio::spawn(broker::run(parts)))
    });
    let broker = broker.transpose()?;
    let listeners = serve(listening, &node, statuses, &listeners_stop);
    Ok(Started { stop_broker, stop_listeners, broker, listeners, node })
}

/// How this node connects to others.
fn client_options(config: &BrokerConfig) -> Options {
    Options { client_id: format!("ottla-{}", config.node_id), ..Options::default() }
}

/// What handlers know of the metadata.
fn images_of(
    config: &BrokerConfig,
    controller: Option<&ControllerHandle>,
    published: &watch::Receiver<Arc<Image>>,
) -> watch::Receiver<Arc<Image>> {
    match controller {
        Some(controller) if !config.roles.is_broker() => controller.images(),
        Some(_) | None => published.clone(),
    }
}

fn start_shards(
    config: &BrokerConfig,
    directories: &LoadedDirectories,
    open_files: OpenFiles,
    routes: watch::Receiver<Routes>,
    reports: &ShardReports,
) -> Result<Shards, RunError> {
    if !config.roles.is_broker() {
        return Ok(Shards::none());
    }
    let paths: Vec<_> = directories.logs.iter().map(|directory| directory.path.clone()).collect();
    shard::start(config.node_id, &paths, open_files.log_directory, routes, reports)
        .map_err(system("start the shards"))
}

/// Has the replicas of this broker follow their leaders.
fn start_replication(
    config: &BrokerConfig,
    shards: &Shards,
    follows: mpsc::UnboundedReceiver<Followed>,
    (images, status): (&watch::Receiver<Arc<Image>>, &watch::Receiver<BrokerStatus>),
) {
    let Some(listener) = config.inter_broker_listener.as_ref().filter(|_| config.roles.is_broker()) else {
        return;
    };
    tokio::spawn(replication::run(ReplicationParts {
        me: config.node_id,
        limits: config.replication.fetch,
        answer_timeout: config.replication.answer_timeout,
        listener: listener.as_str().to_owned(),
        shards: shards.clone(),
        follows,
        fixed: config.fixed.clone(),
        images: images.clone(),
        status: status.clone(),
    }));
}

fn start_controller(
    config: &BrokerConfig,
    directories: &LoadedDirectories,
    open_files: OpenFiles,
    fatal: &mpsc::UnboundedSender<String>,
) -> Result<ControllerHandle, RunError> {
    let (metadata, voters) = (directories.metadata(), directories.bootstrap_voters.as_ref());
    let (place, open_max) = ((&*metadata.path, metadata.id), open_files.metadata_log);
    let config = node_config(config, directories)?;
    Ok(controller::start(place, open_max, voters, config, fatal.clone())?)
}

fn shard_directories(config: &BrokerConfig, directories: &LoadedDirectories) -> Vec<Directory> {
    let metadata = config.roles.is_controller().then(|| directories.metadata().id);
    let directory = |loaded: &LoadedDirectory| Directory {
        id: loaded.id,
        path: loaded.path.clone(),
        holds_metadata_log: metadata == Some(loaded.id),
    };
    directories.logs.iter().map(directory).collect()
}

fn initial_status(config: &BrokerConfig) -> BrokerStatus {
    let state = if config.roles.is_broker() { NodeState::Recovering } else { NodeState::Running };
    BrokerStatus { state, broker_epoch: None }
}

fn serve(
    listening: Listening,
    node: &Arc<Node>,
    statuses: watch::Receiver<BrokerStatus>,
    stop: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for bound in listening.controllers {
        tasks.spawn(bound.run(Arc::clone(node), stop.clone()));
    }
    for bound in listening.brokers {
        let (node, stop, mut statuses) = (Arc::clone(node), stop.clone(), statuses.clone());
        let mut stopping = stop.clone();
        tasks.spawn(async move {
            // Clients that connect earlier wait in the kernel's queue instead of being told of no broker.
            // Cancel-safe: wait_for is.
            tokio::select! {
                _ = statuses.wait_for(|status| status.state == NodeState::Running) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            bound.run(node, stop).await;
        });
    }
    if let Some(listener) = listening.http {
        tasks.spawn(http::serve(listener, Arc::clone(node), stop.clone()));
    }
    let (shards, mut stopping) = (node.shards.clone(), stop.clone());
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(SHARD_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stalls = Stalls::default();
        loop {
            tokio::select! {
                _ = ticks.tick() => shards.tick(&mut stalls),
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    });
    tasks
}

fn node_config(config: &BrokerConfig, directories: &LoadedDirectories) -> Result<NodeConfig, RunError> {
    let own = config.advertised_listeners.iter().find(|listener| listener.name == config.controller_listener);
    let address = own.map_or_else(
        || {
            config
                .controllers
                .first()
                .cloned()
                .unwrap_or_else(|| Address { host: "localhost".to_owned(), port: 0 })
        },
        |listener| listener.address.clone(),
    );
    let me = Peer { node_id: config.node_id, directory_id: directories.metadata().id, address };
    let seed = random_uuid().map_err(system("draw the seed of its elections"))?.as_u64_pair().0;
    let mut quorum = QuorumConfig::new(directories.cluster_id, me, seed);
    quorum.bootstrap.clone_from(&config.controllers);
    let mut node = NodeConfig::new(quorum);
    node.snapshot_after_bytes = config.limits.snapshot_after.0;
    let controller = &mut node.controller;
    controller.num_partitions = i32::try_from(config.topics.partitions).unwrap_or(i32::MAX);
    controller.default_replication_factor =
        i16::try_from(config.topics.replication_factor).unwrap_or(i16::MAX);
    controller.delete_topics = config.topics.delete;
    controller.auto_leader_rebalance = config.topics.auto_leader_rebalance;
    controller.leader_imbalance_check_interval = config.timeouts.leader_imbalance_check_interval;
    controller.session_timeout = config.timeouts.broker_session;
    if let Some(listener) = &config.inter_broker_listener {
        controller.inter_broker_listener = listener.as_str().to_owned();
    }
    controller.fixed = config.fixed.clone();
    Ok(node)
}

fn lifecycle_config(
    config: &BrokerConfig,
    directories: &LoadedDirectories,
) -> Result<LifecycleConfig, RunError> {
    let incarnation = random_uuid().map_err(system("draw an incarnation id"))?;
    let endpoints = config
        .advertised_listeners
        .iter()
        .filter(|listener| listener.name != config.controller_listener)
        .map(|listener| Endpoint {
            listener: listener.name.as_str().to_owned(),
            host: listener.address.host.clone(),
            port: listener.address.port,
            security_protocol: listener.protocol.code(),
        });
    let registration = RegisterBroker {
        node_id: config.node_id,
        cluster_id: directories.cluster_id,
        incarnation_id: IncarnationId(incarnation),
        endpoints: endpoints.collect(),
        rack: config.rack.clone(),
        directories: directories.logs.iter().map(|directory| directory.id).collect(),
        features: supported_features(),
        previous_epoch: directories.stopped_in_order(),
    };
    let mut lifecycle = LifecycleConfig::new(registration, config.controllers.clone());
    lifecycle.heartbeat_interval = config.timeouts.broker_heartbeat_interval;
    lifecycle.session_timeout = config.timeouts.broker_session;
    lifecycle.request_timeout = config.timeouts.quorum_request;
    lifecycle.retry_backoff = config.timeouts.quorum_retry_backoff;
    Ok(lifecycle)
}
