//! Fetch where consumers read from the replica nearest to them (KIP-392), on a node with a shard.

use std::sync::Arc;
use std::time::Duration;

use ottla_core::config::{Layers, RACK_AWARE_SELECTOR, Settings, TopicConfig};
use ottla_core::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, TopicId, TopicName,
    TopicPartition,
};
use ottla_core::metadata::image::{Broker, Fencing, Image, Partition};
use ottla_core::partition::AckLevel;
use ottla_core::replicas::{Held, Order, Routes};
use ottla_core::replication::Delivery;
use ottla_core::shard::{Assignment, Batch, Replicated, ReplicatedPart};
use ottla_core::time::Monotonic;
use ottla_wire::batch::BatchBuilder;
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use ottla_wire::messages::fetch_response::PartitionData;
use ottla_wire::messages::{BrokerId, FetchRequest};
use ottla_wire::protocol::StrBytes;
use ottla_wire::replica_fetch::with_flushed_offset;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::rig::{PRESENT, ask, config_with, image, node_that_knows};
use crate::api::Scope;
use crate::api::authorize::Authorizer;
use crate::drive::shard::{ShardEvent, ShardReports, Shards, start};
use crate::node::Node;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const OTHER_EPOCH: BrokerEpoch = BrokerEpoch(6);
const TOPIC: TopicPartition = TopicPartition { topic_id: TopicId(PRESENT.id), partition: PartitionIndex(0) };
const SELECTOR: &[(&str, &str)] = &[("replica.selector.class", RACK_AWARE_SELECTOR)];
const NOT_LEADER: i16 = 6;
const OFFSET_NOT_AVAILABLE: i16 = 78;

/// Longer than any test: what is answered before was not waited for.
const WAIT_MS: i32 = 300_000;
const AT_ONCE: Duration = Duration::from_secs(30);

/// The rig's image, with a broker 2 in rack "b" and the topic on both.
fn replicated(leader: NodeId) -> (Image, Arc<Partition>) {
    let mut image = image();
    let first = image.brokers.get(&ME).expect("broker 1").as_ref().clone();
    let brokers = [
        Broker { rack: Some("a".to_owned()), ..first.clone() },
        Broker { node_id: OTHER, epoch: OTHER_EPOCH, rack: Some("b".to_owned()), ..first },
    ];
    image.brokers = brokers.into_iter().map(|broker| (broker.node_id, Arc::new(broker))).collect();
    let topic = image.topics.get_mut(&TOPIC.topic_id).expect("the topic");
    let topic = Arc::make_mut(topic);
    let partition = topic.partitions.get_mut(&TOPIC.partition).expect("the partition");
    let one = Arc::make_mut(partition);
    one.replicas = vec![ME, OTHER];
    one.directories = vec![one.directories[0]; 2];
    one.isr = vec![ME, OTHER];
    one.leader = Some(leader);
    let partition = Arc::clone(partition);
    (image, partition)
}

/// Broker 1 with a replica of the topic, which this one leads; and with what its properties file sets besides.
async fn node(leader: NodeId, settings: &[(&str, &str)]) -> (Arc<Node>, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let (image, registration) = replicated(leader);
    let held = Held { shard: 0, config: None, assigned: true };
    let (_, routes) = watch::channel(Routes::unit(TOPIC, held));
    let (events, mut reports) = mpsc::unbounded_channel();
    let (follows, _nobody_follows) = mpsc::unbounded_channel();
    let to = ShardReports { events, follows };
    let shards = start(ME, &[directory.path().to_owned()], 100, routes, &to).expect("a shard");
    assert!(matches!(reports.recv().await, Some(ShardEvent::Opened { .. })));
    shards.session_ends(Monotonic(u64::MAX));
    let eligible = image.live_brokers().map(|broker| (broker.node_id, broker.epoch)).collect();
    shards.peers(&Arc::new(eligible), Duration::from_secs(30));
    assign(&shards, &registration, &[ME, OTHER], 0);
    let (_, images) = watch::channel(Arc::new(image));
    let bare = node_that_knows(images, Authorizer::AllowAll, None);
    let mut node = Arc::into_inner(bare).expect("nobody else has it");
    node.config = Arc::new(config_with(settings));
    node.shards = shards;
    (Arc::new(node), directory)
}

/// The shard hears that this is the ISR.
fn assign(shards: &Shards, registered: &Partition, isr: &[NodeId], partition_epoch: i32) {
    let partition_epoch = PartitionEpoch(partition_epoch);
    let registration = Partition { isr: isr.to_vec(), partition_epoch, ..registered.clone() };
    let assignment = Assignment {
        partition: TOPIC,
        topic: TopicName::parse(PRESENT.name).expect("a name"),
        registration: Arc::new(registration),
        config: TopicConfig::resolve(&Settings::default(), &Layers::default()),
    };
    shards.order(Order::Assign { shard: 0, assignment: Box::new(assignment) });
}

fn batch() -> Batch {
    let (bytes, header) = BatchBuilder::new().record(1_000, None, Some(b"value")).build().expect("a batch");
    Batch { bytes, record_count: header.record_count.unsigned_abs(), log_append_time: None, only_in: None }
}

/// The leader has one record, and so has its follower, durably.
async fn leading(settings: &[(&str, &str)]) -> (Arc<Node>, TempDir) {
    let (node, directory) = node(ME, settings).await;
    let produced = node.shards.produce(TOPIC, batch(), AckLevel::Leader).await;
    produced.expect("an answer").expect("it is written");
    let told = follow(&node, 1, i64::MAX, 0).await;
    assert_eq!(told.high_watermark, 1);
    (node, directory)
}

async fn fetch(
    node: &Arc<Node>,
    version: i16,
    partition: FetchPartition,
    request: FetchRequest,
) -> PartitionData {
    let partition = partition.with_partition_max_bytes(1_000).with_current_leader_epoch(0);
    let topic = FetchTopic::default().with_partitions(vec![partition]);
    let topic =
        if version < 13 { topic.with_topic(PRESENT.topic()) } else { topic.with_topic_id(PRESENT.id) };
    let request = request.with_topics(vec![topic]).with_max_bytes(1_000).with_session_epoch(-1);
    let answer = tokio::time::timeout(AT_ONCE, ask(node, Scope::Broker, version, &request)).await;
    answer.expect("it does not wait").responses.remove(0).partitions.remove(0)
}

/// As broker 2 fetches that has so much, and knows this high watermark.
async fn follow(node: &Arc<Node>, end: i64, high_watermark: i64, wait_ms: i32) -> PartitionData {
    let state = ReplicaState::default().with_replica_id(BrokerId(OTHER.0)).with_replica_epoch(OTHER_EPOCH.0);
    let request =
        FetchRequest::default().with_replica_state(state).with_min_bytes(1).with_max_wait_ms(wait_ms);
    let partition = FetchPartition::default().with_fetch_offset(end).with_log_start_offset(0);
    fetch(node, 18, with_flushed_offset(partition.with_high_watermark(high_watermark), end), request).await
}

/// As a consumer in this rack fetches that has read up to `offset`, and would wait for very much.
async fn consume(
    node: &Arc<Node>,
    version: i16,
    rack: &'static str,
    offset: i64,
    wait_ms: i32,
) -> PartitionData {
    let request = FetchRequest::default().with_min_bytes(1 << 20).with_max_wait_ms(wait_ms);
    let request = if version < 11 { request } else { request.with_rack_id(StrBytes::from_static_str(rack)) };
    fetch(node, version, FetchPartition::default().with_fetch_offset(offset), request).await
}

/// Who is preferred, and whether there are records.
fn told(data: &PartitionData) -> (i32, bool, i16) {
    let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
    (data.preferred_read_replica.0, has_records, data.error_code)
}

#[tokio::test]
async fn a_leader_sends_a_consumer_to_the_replica_in_its_rack_and_lets_it_not_wait() {
    let (node, _directory) = leading(SELECTOR).await;
    for version in [11, 12, 13, 18] {
        for offset in [0, 1] {
            let data = consume(&node, version, "b", offset, WAIT_MS).await;
            assert_eq!(told(&data), (OTHER.0, false, 0), "v{version} at {offset}");
            assert_eq!((data.high_watermark, data.log_start_offset), (1, 0));
        }
        for rack in ["a", "c", ""] {
            assert_eq!(
                told(&consume(&node, version, rack, 0, 0).await),
                (-1, true, 0),
                "v{version} in {rack:?}"
            );
        }
    }
    assert_eq!(told(&consume(&node, 10, "", 0, 0).await), (-1, true, 0), "it knows of no racks");
    node.shards.session_ends(Monotonic(0));
    let in_doubt = consume(&node, 18, "b", 0, 0).await;
    assert_eq!(told(&in_doubt), (-1, true, 0), "what this leader knows of the other may be old");
}

#[tokio::test]
async fn a_leader_without_a_selector_keeps_its_consumers() {
    let (node, _directory) = leading(&[]).await;
    assert_eq!(told(&consume(&node, 18, "b", 0, 0).await), (-1, true, 0));
}

#[tokio::test]
async fn a_follower_is_told_at_once_of_a_high_watermark_that_its_consumers_wait_for() {
    let (node, _directory) = node(ME, SELECTOR).await;
    let produced = node.shards.produce(TOPIC, batch(), AckLevel::Leader).await;
    produced.expect("an answer").expect("it is written");
    // Its fetch says that it has the record, upon which the record is committed.
    assert_eq!(follow(&node, 1, 0, WAIT_MS).await.high_watermark, 1);
}

#[tokio::test]
async fn a_follower_that_waits_is_told_when_another_one_is_no_longer_waited_for() {
    let (node, _directory) = node(ME, SELECTOR).await;
    let (_, registered) = replicated(ME);
    assign(&node.shards, &registered, &[ME, OTHER, NodeId(3)], 1);
    let produced = node.shards.produce(TOPIC, batch(), AckLevel::Leader).await;
    produced.expect("an answer").expect("it is written");
    let another_leaves = async {
        // The follower's fetch has been looked at, and what it waits for is known to the shard.
        for _ in 0..10 {
            node.shards.settle().await;
        }
        assign(&node.shards, &registered, &[ME, OTHER], 2);
    };
    let (told, ()) = tokio::join!(follow(&node, 1, 0, WAIT_MS), another_leaves);
    assert_eq!(told.high_watermark, 1);
}

#[test]
fn near_a_consumer_are_the_brokers_in_its_rack_that_serve_and_that_it_can_reach() {
    let (mut image, _) = replicated(ME);
    let fenced = Broker { node_id: NodeId(3), fencing: Fencing::Fenced, ..(*image.brokers[&OTHER]).clone() };
    image.brokers.insert(NodeId(3), Arc::new(fenced));
    assert_eq!(image.live_in_rack("b", "PLAIN"), [OTHER].into());
    assert_eq!(image.live_in_rack("c", "PLAIN"), [].into());
    assert_eq!(image.live_in_rack("b", "SECRET"), [].into());
}

#[tokio::test]
async fn a_follower_serves_consumers_that_know_of_it() {
    let (node, _directory) = node(OTHER, SELECTOR).await;
    let mut bytes = batch().bytes;
    ottla_wire::batch::patch_base_offset(&mut bytes, 0);
    ottla_wire::batch::patch_leader_epoch(&mut bytes, 0);
    let bytes = bytes.freeze();
    let given = Replicated::Records { bytes, high_watermark: Offset(1), log_start: Offset(0) };
    let part = ReplicatedPart { leader_epoch: LeaderEpoch(0), from: Offset(0), given };
    node.shards.replicate(Delivery { shard: 0, partition: TOPIC, part });
    node.shards.settle().await;
    for version in [11, 18] {
        assert_eq!(told(&consume(&node, version, "a", 0, 0).await), (-1, true, 0), "v{version}");
        assert_eq!(
            told(&consume(&node, version, "", 0, 0).await),
            (-1, true, 0),
            "v{version} without a rack"
        );
        assert_eq!(told(&consume(&node, version, "a", 1, 0).await), (-1, false, 0), "it waits");
        assert_eq!(consume(&node, version, "a", 2, 0).await.error_code, OFFSET_NOT_AVAILABLE);
    }
    assert_eq!(consume(&node, 10, "", 0, 0).await.error_code, NOT_LEADER);
    node.shards.session_ends(Monotonic(0));
    assert_eq!(told(&consume(&node, 18, "a", 0, 0).await), (-1, true, 0), "what it has it has");
    let in_doubt = consume(&node, 18, "a", 1, 0).await;
    assert_eq!(
        in_doubt.error_code, OFFSET_NOT_AVAILABLE,
        "it may be cut off, and have nothing more for ever"
    );
}
