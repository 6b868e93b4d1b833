//! The settings of one node, resolved and typed: what `server.properties` comes to.

use std::path::PathBuf;
use std::time::Duration;

use super::address::{Address, InitialController, ListenerName, SecurityProtocol, StaticVoter, reachable};
use super::file::{CheckedFile, Problem, Setting, Warning};
use super::listeners::{Listener, Listeners};
use super::{ByteCount, Groups, Limit, RACK_AWARE_SELECTOR, Settings};
use crate::ids::NodeId;
use crate::metadata::image::{CORDONED_LOG_DIRS, Endpoint, Voter};
use crate::metadata::record::Voters;
use crate::replication::FetchLimits;

/// What a node does (`process.roles`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    /// Stores data and serves clients.
    Broker,
    /// Votes on the cluster's metadata.
    Controller,
    /// Both in one process.
    Combined,
}

impl Roles {
    /// Whether the node stores data and serves clients.
    pub fn is_broker(self) -> bool {
        matches!(self, Self::Broker | Self::Combined)
    }

    /// Whether the node takes part in the metadata quorum.
    pub fn is_controller(self) -> bool {
        matches!(self, Self::Controller | Self::Combined)
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// `broker.heartbeat.interval.ms`
    pub broker_heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`
    pub broker_session: Duration,
    /// `leader.imbalance.check.interval.seconds`
    pub leader_imbalance_check_interval: Duration,
    /// `controller.quorum.request.timeout.ms`
    pub quorum_request: Duration,
    /// `controller.quorum.retry.backoff.ms`
    pub quorum_retry_backoff: Duration,
    /// `request.timeout.ms`
    pub request: Duration,
    /// `connections.max.idle.ms`
    pub connection_idle: Limit<Duration>,
}

/// From which replica consumers are to read (`replica.selector.class`, KIP-392).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaSelector {
    /// From the leader.
    Leader,
    /// From one in their own rack, if there is one that keeps up.
    RackAware,
}

/// How replicas follow their leaders, and who reads from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// `replica.lag.time.max.ms`
    pub lag_time_max: Duration,
    /// `replica.socket.timeout.ms`
    pub answer_timeout: Duration,
    /// `replica.fetch.*`
    pub fetch: FetchLimits,
    /// `replica.selector.class`
    pub selector: ReplicaSelector,
}

/// How much of things there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `socket.request.max.bytes`
    pub request_size_max: ByteCount,
    /// `fetch.max.bytes`
    pub fetch_size_max: ByteCount,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_after: ByteCount,
}

/// What a topic gets when its creator does not say, and what may happen to topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRules {
    /// `num.partitions`
    pub partitions: u32,
    /// `default.replication.factor`
    pub replication_factor: u16,
    /// `auto.create.topics.enable`
    pub auto_create: bool,
    /// `delete.topic.enable`
    pub delete: bool,
    /// `auto.leader.rebalance.enable`
    pub auto_leader_rebalance: bool,
}

/// The settings of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `node.id`
    pub node_id: NodeId,
    /// `process.roles`
    pub roles: Roles,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `listeners`: where the node accepts connections.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`: where others reach it. A port of 0 stands for the one that was bound.
    pub advertised_listeners: Vec<Listener>,
    /// The first of `controller.listener.names`.
    pub controller_listener: ListenerName,
    /// `inter.broker.listener.name`. None on a node that is no broker.
    pub inter_broker_listener: Option<ListenerName>,
    /// `controller.quorum.bootstrap.servers`, or the addresses of `controller.quorum.voters`.
    pub controllers: Vec<Address>,
    /// `log.dirs`
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`
    pub metadata_log_dir: PathBuf,
    /// `ottla.http.listener`
    pub http_listener: Option<Address>,
    /// `ottla.config.hash`
    pub config_hash: Option<String>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much of things there may be.
    pub limits: Limits,
    /// How replicas follow their leaders.
    pub replication: Replication,
    /// Creation and deletion of topics.
    pub topics: TopicRules,
    /// Groups, and where they are kept.
    pub groups: Groups,
    /// Everything the properties file sets, for DescribeConfigs and for the defaults of topics.
    pub fixed: Settings,
}

impl BrokerConfig {
    /// Resolves the settings of a properties file. `host_name` is the machine's own name, which is
    /// advertised where a listener names no host. Reports everything that is wrong at once.
    pub fn resolve(settings: &[Setting], host_name: &str) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        let mut file = CheckedFile::check(settings);
        if file.has_problems() {
            // Rules between keys would only repeat that one of them is wrong.
            return Err(file.into_parts().1);
        }
        let roles = roles(&file);
        let node_id = node_id(&mut file);
        let controllers = controllers(&mut file, roles, node_id);
        let log_dirs = log_dirs(&mut file);
        let metadata_log_dir =
            file.text("metadata.log.dir").map(PathBuf::from).or_else(|| log_dirs.first().cloned());
        let listeners = Listeners::resolve(&mut file, roles, host_name);
        let http_listener = http_listener(&mut file);
        file.check_together();
        refuse_cordoned_in_file(&mut file);
        let (timeouts, limits, topics) = (timeouts(&file), limits(&file), topic_rules(&file));
        let (replication, groups) = (replication(&file), Groups::resolve(&file));
        let rack = file.text("broker.rack");
        let config_hash = file.text("ottla.config.hash");
        let (fixed, problems, warnings) = file.into_parts();
        let (Some(listeners), Some(metadata_log_dir), true) =
            (listeners, metadata_log_dir, problems.is_empty())
        else {
            return Err(problems);
        };
        let config = Self {
            node_id,
            roles,
            rack,
            listeners: listeners.bound,
            advertised_listeners: listeners.advertised,
            controller_listener: listeners.controller,
            inter_broker_listener: listeners.inter_broker,
            controllers,
            log_dirs,
            metadata_log_dir,
            http_listener,
            config_hash,
            timeouts,
            limits,
            replication,
            topics,
            groups,
            fixed,
        };
        Ok((config, warnings))
    }

    /// The first voters of this node's quorum, as its log records them.
    pub fn voters(&self, controllers: &[InitialController]) -> Voters {
        let listener = self.controller_listener.to_string();
        let voter = |controller: &InitialController| Voter {
            node_id: controller.node_id,
            directory_id: controller.directory_id,
            endpoints: vec![Endpoint {
                listener: listener.clone(),
                host: controller.address.host.clone(),
                port: controller.address.port,
                // Controller listeners are all PLAINTEXT as yet; see listener.security.protocol.map.
                security_protocol: SecurityProtocol::Plaintext.code(),
            }],
        };
        Voters { voters: controllers.iter().map(voter).collect(), ..Voters::default() }
    }

    /// Every directory the node keeps data in, each once: the log directories, and the metadata log
    /// directory where it is another one.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories = self.log_dirs.clone();
        if !directories.contains(&self.metadata_log_dir) {
            directories.push(self.metadata_log_dir.clone());
        }
        directories
    }
}

fn roles(file: &CheckedFile<'_>) -> Roles {
    let roles = file.list("process.roles");
    let has = |role: &str| roles.iter().any(|entry| entry == role);
    match (has("broker"), has("controller")) {
        (true, true) => Roles::Combined,
        (false, true) => Roles::Controller,
        (true, false) | (false, false) => Roles::Broker,
    }
}

fn node_id(file: &mut CheckedFile<'_>) -> NodeId {
    if file.list("process.roles").is_empty() {
        file.rule("process.roles", "wanted \"broker\", \"controller\" or \"broker,controller\"");
    }
    let (node_id, broker_id) = (file.number("node.id"), file.number("broker.id"));
    if file.is_set("node.id") && file.is_set("broker.id") && node_id != broker_id {
        file.rule("broker.id", format!("it is another name of node.id and must be {node_id} too"));
    }
    NodeId(i32::try_from(node_id).unwrap_or(-1))
}

/// Only the controller places replicas, and it knows no broker's properties file.
fn refuse_cordoned_in_file(file: &mut CheckedFile<'_>) {
    if !file.list(CORDONED_LOG_DIRS).is_empty() {
        file.rule(
            CORDONED_LOG_DIRS,
            "it is set on a broker while the cluster runs, with kafka-configs.sh --entity-type brokers",
        );
    }
}

/// Whom to ask for the quorum. The static list of voters is taken as such a list, and checked as Kafka
/// checks it, so that a copied file with a wrong id is found.
fn controllers(file: &mut CheckedFile<'_>, roles: Roles, node_id: NodeId) -> Vec<Address> {
    let voters: Vec<StaticVoter> = file.entries("controller.quorum.voters");
    let is_voter = voters.iter().any(|voter| voter.node_id == node_id);
    if !voters.is_empty() && roles.is_controller() && !is_voter {
        file.rule(
            "controller.quorum.voters",
            format!("node.id {node_id} is a controller and must be listed"),
        );
    }
    if is_voter && !roles.is_controller() {
        file.rule(
            "controller.quorum.voters",
            format!("node.id {node_id} is listed, but its process.roles has no \"controller\""),
        );
    }
    let servers = file.list("controller.quorum.bootstrap.servers");
    if servers.is_empty() && voters.is_empty() && !file.is_set("controller.quorum.voters") {
        file.missing("controller.quorum.bootstrap.servers");
    }
    if servers.is_empty() {
        return voters.into_iter().map(|voter| voter.address).collect();
    }
    let mut read = Vec::new();
    for server in servers {
        match reachable(&server) {
            Some(address) => read.push(address),
            None => {
                file.rule("controller.quorum.bootstrap.servers", format!("\"{server}\" is not HOST:PORT"))
            }
        }
    }
    read
}

fn log_dirs(file: &mut CheckedFile<'_>) -> Vec<PathBuf> {
    let key = if file.is_set("log.dirs") { "log.dirs" } else { "log.dir" };
    let directories = file.list("log.dirs");
    for (index, directory) in directories.iter().enumerate() {
        if directory.is_empty() {
            file.rule(key, "a directory without a name");
        }
        if directories[..index].contains(directory) {
            file.rule(key, format!("\"{directory}\" is listed twice"));
        }
    }
    directories.into_iter().map(PathBuf::from).collect()
}

fn http_listener(file: &mut CheckedFile<'_>) -> Option<Address> {
    let text = file.text("ottla.http.listener")?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            file.rule("ottla.http.listener", format!("{error}"));
            None
        }
    }
}

fn timeouts(file: &CheckedFile<'_>) -> Timeouts {
    let duration = |key| Duration::from_millis(u64::try_from(file.number(key)).unwrap_or(0));
    Timeouts {
        broker_heartbeat_interval: duration("broker.heartbeat.interval.ms"),
        broker_session: duration("broker.session.timeout.ms"),
        leader_imbalance_check_interval: Duration::from_secs(
            u64::try_from(file.number("leader.imbalance.check.interval.seconds")).unwrap_or(0),
        ),
        quorum_request: duration("controller.quorum.request.timeout.ms"),
        quorum_retry_backoff: duration("controller.quorum.retry.backoff.ms"),
        request: duration("request.timeout.ms"),
        connection_idle: match file.number("connections.max.idle.ms") {
            ..0 => Limit::Unlimited,
            0.. => Limit::AtMost(duration("connections.max.idle.ms")),
        },
    }
}

fn replication(file: &CheckedFile<'_>) -> Replication {
    let duration = |key| Duration::from_millis(u64::try_from(file.number(key)).unwrap_or(0));
    let bytes = |key| u32::try_from(file.number(key)).unwrap_or(u32::MAX);
    Replication {
        lag_time_max: duration("replica.lag.time.max.ms"),
        answer_timeout: duration("replica.socket.timeout.ms"),
        fetch: FetchLimits {
            wait_max: duration("replica.fetch.wait.max.ms"),
            bytes_max: bytes("replica.fetch.response.max.bytes"),
            partition_bytes_max: bytes("replica.fetch.max.bytes"),
            backoff: duration("replica.fetch.backoff.ms"),
        },
        selector: match file.text("replica.selector.class").as_deref() {
            Some(RACK_AWARE_SELECTOR) => ReplicaSelector::RackAware,
            Some(_) | None => ReplicaSelector::Leader,
        },
    }
}

fn limits(file: &CheckedFile<'_>) -> Limits {
    let unsigned = |key| u64::try_from(file.number(key)).unwrap_or(0);
    Limits {
        request_size_max: ByteCount(unsigned("socket.request.max.bytes")),
        fetch_size_max: ByteCount(unsigned("fetch.max.bytes")),
        snapshot_after: ByteCount(unsigned("metadata.log.max.record.bytes.between.snapshots")),
    }
}

fn topic_rules(file: &CheckedFile<'_>) -> TopicRules {
    TopicRules {
        partitions: u32::try_from(file.number("num.partitions")).unwrap_or(1),
        replication_factor: u16::try_from(file.number("default.replication.factor")).unwrap_or(1),
        auto_create: file.flag("auto.create.topics.enable"),
        delete: file.flag("delete.topic.enable"),
        auto_leader_rebalance: file.flag("auto.leader.rebalance.enable"),
    }
}

#[cfg(test)]
mod tests;
