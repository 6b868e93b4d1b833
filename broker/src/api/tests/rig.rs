//! A node without files, peers or a quorum, and a way to send it requests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::config::{BrokerConfig, Origin, Setting, Settings};
use ottla_core::ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch,
    PartitionIndex, TopicId, TopicName,
};
use ottla_core::metadata::image::{
    Broker, ConfigResource, Endpoint, Fencing, Image, LeaderRecoveryState, Partition, Topic,
};
use ottla_wire::protocol::{Request, StrBytes};
use ottla_wire::request::RequestHeader;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::api::authorize::Authorizer;
use crate::api::fetch::{LeaderThrottle, Recovery};
use crate::api::{Call, Principal, Reply, RequestContext, Scope, find};
use crate::drive::auto_topics::AutoTopics;
use crate::drive::controller::ControllerHandle;
use crate::drive::directory_moves::DirectoryMoves;
use crate::drive::groups::Groups;
use crate::drive::producer_ids::ProducerIds;
use crate::drive::shard::Shards;
use crate::metrics::Metrics;
use crate::node::{BrokerStatus, Node, NodeState};
use crate::server::listener::{ListenerContext, OpenConnections};
use crate::server::memory::MemoryBudgets;

/// The topic that exists, and one that does not whose name and id are as long.
pub(in crate::api) const PRESENT: Asked =
    Asked { name: "present", id: Uuid::from_u128(0xa1b2_c3d4_e5f6_4718_8293_a4b5_c6d7_e8f9) };
pub(in crate::api) const MISSING: Asked =
    Asked { name: "missing", id: Uuid::from_u128(0x1f2e_3d4c_5b6a_4798_8697_a5b4_c3d2_e1f0) };

/// Values that no refusal may repeat.
pub(in crate::api) const RETENTION_OF_TOPIC: &str = "7654321";
pub(in crate::api) const RETENTION_OF_BROKERS: &str = "7654322";
pub(in crate::api) const RETENTION_OF_FILE: &str = "7654323";
pub(in crate::api) const KEY_PASSWORD: &str = "hunter2";

/// A topic as a request names it.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Asked {
    pub(in crate::api) name: &'static str,
    pub(in crate::api) id: Uuid,
}

impl Asked {
    pub(in crate::api) fn text(&self) -> StrBytes {
        StrBytes::from_static_str(self.name)
    }

    pub(in crate::api) fn topic(&self) -> ottla_wire::messages::TopicName {
        self.text().into()
    }
}

/// Broker 1, which leads the one partition of [`PRESENT`].
pub(in crate::api) fn node(authorizer: Authorizer) -> Arc<Node> {
    // The senders may go: a receiver keeps what it has seen last.
    let (_, images) = watch::channel(Arc::new(image()));
    node_that_knows(images, authorizer, None)
}

/// Broker 1 with such metadata, and with a controller part or none.
pub(crate) fn node_that_knows(
    images: watch::Receiver<Arc<Image>>,
    authorizer: Authorizer,
    controller: Option<ControllerHandle>,
) -> Arc<Node> {
    let config = config();
    let status = BrokerStatus { state: NodeState::Running, broker_epoch: Some(5) };
    let (_, status) = watch::channel(status);
    Arc::new(Node {
        id: config.node_id,
        cluster_id: ClusterId(Uuid::from_u128(1)),
        config: Arc::new(config),
        directory_ids: vec![DirectoryId(Uuid::from_u128(2))],
        memory: MemoryBudgets::new(1 << 20),
        leader_throttle: LeaderThrottle::default(),
        recovery: Recovery::default(),
        authorizer,
        metrics: Metrics::new(),
        connections: OpenConnections::new(usize::MAX),
        peer_connections: OpenConnections::new(usize::MAX),
        validations: Arc::new(Semaphore::new(1)),
        images,
        status,
        shards: Shards::none(),
        directory_moves: DirectoryMoves::new().0,
        auto_topics: AutoTopics::noted().0,
        groups: Groups::none(),
        controllers: crate::node::no_controllers(),
        producer_ids: ProducerIds::none(),
        controller,
    })
}

fn config() -> BrokerConfig {
    config_with(&[])
}

/// The same with more settings.
pub(in crate::api) fn config_with(more: &[(&str, &str)]) -> BrokerConfig {
    let settings = [
        ("process.roles", "broker"),
        ("node.id", "1"),
        ("controller.quorum.bootstrap.servers", "localhost:9090"),
        ("controller.listener.names", "CONTROLLER"),
        ("listeners", "PLAIN://:9092"),
        ("log.dirs", "/nowhere"),
        ("inter.broker.listener.name", "PLAIN"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT"),
        ("log.retention.ms", RETENTION_OF_FILE),
        // So that a test of "no controller" does not wait.
        ("request.timeout.ms", "1"),
    ];
    let settings = settings.iter().chain(more).map(|(key, value)| Setting {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        origin: Origin::CommandLine,
    });
    let (config, _) = BrokerConfig::resolve(&settings.collect::<Vec<_>>(), "b1").unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    config
}

pub(crate) fn image() -> Image {
    let endpoint =
        Endpoint { listener: "PLAIN".to_owned(), host: "b1".to_owned(), port: 9092, security_protocol: 0 };
    let broker = Broker {
        node_id: NodeId(1),
        epoch: BrokerEpoch(5),
        incarnation_id: IncarnationId(Uuid::from_u128(3)),
        endpoints: vec![endpoint],
        rack: None,
        directories: vec![DirectoryId(Uuid::from_u128(2))],
        offline_directories: Vec::new(),
        features: Vec::new(),
        fencing: Fencing::Unfenced,
    };
    let partition = Partition {
        replicas: vec![NodeId(1)],
        directories: vec![DirectoryId(Uuid::from_u128(2))],
        isr: vec![NodeId(1)],
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        recovery: LeaderRecoveryState::Recovered,
    };
    let name = TopicName::parse(PRESENT.name).expect("a name");
    let id = TopicId(PRESENT.id);
    let partitions = [(PartitionIndex(0), Arc::new(partition))].into_iter().collect();
    let topic = Topic { id, name: name.clone(), partitions };
    let settings =
        |key: &str, value: &str| -> Settings { [(key.to_owned(), value.to_owned())].into_iter().collect() };
    let configs = [
        (ConfigResource::Topic(name.clone()), settings("retention.ms", RETENTION_OF_TOPIC)),
        (ConfigResource::BrokerDefault, settings("log.retention.ms", RETENTION_OF_BROKERS)),
        (ConfigResource::Broker(NodeId(1)), settings("ssl.key.password", KEY_PASSWORD)),
    ];
    Image {
        offset: MetadataOffset(9),
        cluster_id: ClusterId(Uuid::from_u128(1)),
        brokers: [(NodeId(1), Arc::new(broker))].into_iter().collect(),
        topics: [(id, Arc::new(topic))].into_iter().collect(),
        topic_ids: [(name, id)].into_iter().collect(),
        configs: configs.into_iter().collect(),
        ..Image::default()
    }
}

/// A call as a client of this kind of listener makes it.
pub(in crate::api) fn call(node: &Arc<Node>, scope: Scope, key: i16, version: i16) -> Call {
    Call {
        node: Arc::clone(node),
        context: RequestContext {
            principal: Principal::anonymous(),
            listener: Arc::new(ListenerContext { name: "PLAIN".to_owned(), scope }),
            client_id: StrBytes::from_static_str("test"),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        },
        key,
        version,
        correlation_id: CORRELATION_ID,
    }
}

const CORRELATION_ID: i32 = 77;

/// Sends a request as a client of this kind of listener and returns the body of the response.
pub(in crate::api) async fn send<R: Request>(
    node: &Arc<Node>,
    scope: Scope,
    version: i16,
    request: &R,
) -> Bytes {
    let api = find(R::KEY).unwrap_or_else(|| panic!("key {} has no row", R::KEY));
    let call = call(node, scope, R::KEY, version);
    let reply = match api.serve(scope, call, body_of(version, request)) {
        Ok(Reply::Now(chunks)) => chunks,
        Ok(Reply::Later(reply)) => reply.await.expect("a reply"),
        Ok(Reply::Staged(stage)) => stage.await.await.expect("a reply"),
        Ok(Reply::Close(reason)) => panic!("{} v{version} closes: {reason}", api.name),
        Err(error) => panic!("{} v{version} cannot read the request: {error}", api.name),
    };
    let frame: Vec<u8> = reply.iter().flat_map(|chunk| chunk.iter().copied()).collect();
    let mut body = Bytes::from(frame).slice(4..);
    assert_eq!(ottla_wire::response::decode_correlation_id(&mut body).expect("a header"), CORRELATION_ID);
    ottla_wire::response::decode_header_rest(R::KEY, version, &mut body).expect("a header");
    body
}

/// [`send`], and reads the response.
pub(in crate::api) async fn ask<R: Request>(
    node: &Arc<Node>,
    scope: Scope,
    version: i16,
    request: &R,
) -> R::Response {
    let body = send(node, scope, version, request).await;
    read::<R>(version, body)
}

pub(in crate::api) fn read<R: Request>(version: i16, body: Bytes) -> R::Response {
    ottla_wire::response::decode_body::<R>(version, body)
        .unwrap_or_else(|error| panic!("key {} v{version}: {error}", R::KEY))
}

/// The body of a request, without frame and header.
pub(in crate::api) fn body_of<R: Request>(version: i16, request: &R) -> Bytes {
    let client_id = StrBytes::from_static_str("test");
    let frame = ottla_wire::request::encode(version, CORRELATION_ID, &client_id, request)
        .unwrap_or_else(|error| panic!("key {} v{version}: {error}", R::KEY));
    let mut body = frame.slice(4..);
    RequestHeader::decode(&mut body).expect("a header");
    body
}
