//! What is asked and told of log directories, on a node with two of them.

use std::sync::Arc;

use ottla_core::config::{Layers, Settings, TopicConfig};
use ottla_core::ids::{NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};
use ottla_core::metadata::image::{CORDONED_LOG_DIRS, ConfigResource, Image};
use ottla_core::partition::AckLevel;
use ottla_core::replicas::{Held, Order, Routes};
use ottla_core::shard::{Assignment, Batch};
use ottla_wire::batch::BatchBuilder;
use ottla_wire::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use ottla_wire::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest};
use ottla_wire::protocol::StrBytes;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::rig::{Asked, MISSING, PRESENT, ask, image, node_that_knows};
use crate::api::Scope;
use crate::api::authorize::Authorizer;
use crate::drive::directory_moves::{DirectoryMoves, MoveRefusal, MoveRequest};
use crate::drive::shard::{ShardEvent, ShardReports, start};
use crate::node::Node;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const REPLICA_NOT_AVAILABLE: i16 = 9;
const INVALID_TOPIC: i16 = 17;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const KAFKA_STORAGE_ERROR: i16 = 56;
const LOG_DIR_NOT_FOUND: i16 = 57;

const ILLEGAL: Asked = Asked { name: "no/name", id: Uuid::nil() };
const TOPIC: TopicPartition = TopicPartition { topic_id: TopicId(PRESENT.id), partition: PartitionIndex(0) };
/// How many partitions the topic has.
const PARTITIONS: i32 = 3;
/// The place of the directory that holds partition 0.
const SECOND: usize = 1;

/// A node with two directories, where they are, and what was asked of its driver.
struct Rig {
    node: Arc<Node>,
    directories: [TempDir; 2],
}

impl Rig {
    async fn new(directory_moves: DirectoryMoves) -> Self {
        Self::of(image(), directory_moves).await
    }

    async fn of(mut image: Image, directory_moves: DirectoryMoves) -> Self {
        let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let topic = Arc::make_mut(image.topics.get_mut(&TOPIC.topic_id).expect("the topic"));
        let registration = Arc::clone(&topic.partitions[&TOPIC.partition]);
        let more = (0..PARTITIONS).map(|index| (PartitionIndex(index), Arc::clone(&registration)));
        topic.partitions = more.collect();
        let (events, mut reports) = mpsc::unbounded_channel();
        let (follows, _nobody_follows) = mpsc::unbounded_channel();
        let to = ShardReports { events, follows };
        let (_, routes) =
            watch::channel(Routes::unit(TOPIC, Held { shard: SECOND, config: None, assigned: true }));
        let paths = directories.each_ref().map(|directory| directory.path().to_owned());
        let shards = start(NodeId(1), &paths, 100, routes, &to).expect("shards");
        for _ in &paths {
            assert!(matches!(reports.recv().await, Some(ShardEvent::Opened { .. })));
        }
        let assignment = Assignment {
            partition: TOPIC,
            topic: TopicName::parse(PRESENT.name).expect("a name"),
            registration,
            config: TopicConfig::resolve(&Settings::default(), &Layers::default()),
        };
        shards.order(Order::Assign { shard: SECOND, assignment: Box::new(assignment) });
        let (_, images) = watch::channel(Arc::new(image));
        let bare = node_that_knows(images, Authorizer::AllowAll, None);
        let mut node = Arc::into_inner(bare).expect("nobody else has it");
        node.shards = shards;
        node.directory_moves = directory_moves;
        Self { node: Arc::new(node), directories }
    }

    fn path(&self, directory: usize) -> String {
        self.directories[directory].path().display().to_string()
    }

    /// Topic, index and code of each partition in the answer.
    async fn alter(&self, version: i16, wanted: &[(&str, Asked, &[i32])]) -> Vec<(String, i32, i16)> {
        let wanted = wanted.iter().map(|(path, topic, partitions)| {
            let topic = AlterReplicaLogDirTopic::default().with_name(topic.topic());
            AlterReplicaLogDir::default()
                .with_path(StrBytes::from_string((*path).to_owned()))
                .with_topics(vec![topic.with_partitions(partitions.to_vec())])
        });
        let request = AlterReplicaLogDirsRequest::default().with_dirs(wanted.collect());
        let answer = ask(&self.node, Scope::Broker, version, &request).await;
        let mut codes = Vec::new();
        for topic in answer.results {
            let of = |index, code| (topic.topic_name.to_string(), index, code);
            codes.extend(topic.partitions.iter().map(|one| of(one.partition_index, one.error_code)));
        }
        codes
    }
}

/// A driver that answers one request, each partition by its index, and tells what was asked of it.
fn driver(answers: [Result<(), MoveRefusal>; 3]) -> (DirectoryMoves, JoinHandle<Vec<(i32, usize)>>) {
    let (moves, mut requests) = DirectoryMoves::new();
    let driver = tokio::spawn(async move {
        let MoveRequest { wanted, answer } = requests.recv().await.expect("a request");
        let of = |id: &TopicPartition| answers[usize::try_from(id.partition.0).expect("an index")];
        answer.send(wanted.iter().map(|(id, _)| of(id)).collect()).expect("somebody waits");
        wanted.into_iter().map(|(id, directory)| (id.partition.0, directory)).collect()
    });
    (moves, driver)
}

fn present(index: i32, code: i16) -> (String, i32, i16) {
    (PRESENT.name.to_owned(), index, code)
}

#[tokio::test]
async fn each_replica_is_asked_for_with_its_directory_and_answered_alone() {
    for version in 1..=2 {
        let (moves, asked) = driver([Ok(()), Err(MoveRefusal::NotHere), Err(MoveRefusal::Storage)]);
        let rig = Rig::new(moves).await;
        let (first, second) = (rig.path(0), rig.path(1));
        let told = rig.alter(version, &[(&first, PRESENT, &[1, 2]), (&second, PRESENT, &[0])]).await;
        let expected = [present(0, 0), present(1, REPLICA_NOT_AVAILABLE), present(2, KAFKA_STORAGE_ERROR)];
        assert_eq!(told, expected, "v{version}");
        assert_eq!(asked.await.expect("it has answered"), [(0, 1), (1, 0), (2, 0)]);
    }
}

#[tokio::test]
async fn what_does_not_exist_is_refused_and_the_rest_is_asked_for() {
    let (moves, asked) = driver([Ok(()); 3]);
    let rig = Rig::new(moves).await;
    let (first, with_slash) = (rig.path(0), format!("{}/", rig.path(0)));
    let wanted: [(&str, Asked, &[i32]); 6] = [
        (&first, MISSING, &[0]),
        (&first, ILLEGAL, &[0]),
        ("/elsewhere", MISSING, &[1]),
        (&first, PRESENT, &[-1, 0, PARTITIONS]),
        ("/elsewhere", PRESENT, &[1]),
        // It is the same directory, but no tool would find the replica there.
        (&with_slash, PRESENT, &[2]),
    ];
    let of = |topic: Asked, index, code| (topic.name.to_owned(), index, code);
    let expected = [
        of(MISSING, 0, UNKNOWN_TOPIC_OR_PARTITION),
        of(MISSING, 1, LOG_DIR_NOT_FOUND),
        of(ILLEGAL, 0, INVALID_TOPIC),
        present(-1, UNKNOWN_TOPIC_OR_PARTITION),
        present(0, 0),
        present(1, LOG_DIR_NOT_FOUND),
        present(2, LOG_DIR_NOT_FOUND),
        present(PARTITIONS, UNKNOWN_TOPIC_OR_PARTITION),
    ];
    assert_eq!(rig.alter(2, &wanted).await, expected);
    assert_eq!(asked.await.expect("it has answered"), [(0, 0)]);
}

#[tokio::test]
async fn a_partition_that_is_named_twice_goes_to_the_directory_that_is_named_last() {
    let (moves, asked) = driver([Ok(()); 3]);
    let rig = Rig::new(moves).await;
    let (first, second) = (rig.path(0), rig.path(1));
    let wanted: [(&str, Asked, &[i32]); 3] =
        [(&first, PRESENT, &[0, 0, 1]), (&second, PRESENT, &[0]), ("/elsewhere", PRESENT, &[1])];
    assert_eq!(rig.alter(2, &wanted).await, [present(0, 0), present(1, LOG_DIR_NOT_FOUND)]);
    assert_eq!(asked.await.expect("it has answered"), [(0, 1)]);
}

#[tokio::test]
async fn a_cordoned_broker_moves_nothing() {
    let mut image = image();
    let cordoned = [(CORDONED_LOG_DIRS.to_owned(), "*".to_owned())].into_iter().collect();
    image.configs.insert(ConfigResource::Broker(NodeId(1)), cordoned);
    let rig = Rig::of(image, DirectoryMoves::new().0).await;
    let first = rig.path(0);
    let expected = [present(0, INVALID_REPLICA_ASSIGNMENT), present(1, LOG_DIR_NOT_FOUND)];
    let wanted: [(&str, Asked, &[i32]); 2] = [(&first, PRESENT, &[0]), ("/elsewhere", PRESENT, &[1])];
    assert_eq!(rig.alter(2, &wanted).await, expected);
}

#[tokio::test]
async fn a_broker_that_stops_moves_nothing_and_has_tools_ask_again() {
    let rig = Rig::new(DirectoryMoves::new().0).await;
    let first = rig.path(0);
    assert_eq!(rig.alter(2, &[(&first, PRESENT, &[0])]).await, [present(0, REPLICA_NOT_AVAILABLE)]);
}

#[tokio::test]
async fn each_directory_is_described_with_the_logs_in_it() {
    let rig = Rig::new(DirectoryMoves::new().0).await;
    let (bytes, header) = BatchBuilder::new().record(1_000, None, Some(b"value")).build().expect("a batch");
    let size = i64::try_from(bytes.len()).expect("a small batch");
    let batch = Batch {
        bytes,
        record_count: header.record_count.unsigned_abs(),
        log_append_time: None,
        only_in: None,
    };
    let produced = rig.node.shards.produce(TOPIC, batch, AckLevel::All).await;
    produced.expect("an answer").expect("it is written");
    for version in 1..=4 {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let answer = ask(&rig.node, Scope::Broker, version, &request).await;
        let paths: Vec<String> = answer.results.iter().map(|result| result.log_dir.to_string()).collect();
        assert_eq!(paths, [rig.path(0), rig.path(1)], "v{version}");
        assert!(answer.results[0].topics.is_empty());
        let [topic] = &answer.results[SECOND].topics[..] else { panic!("one topic lies there") };
        assert_eq!(topic.name.as_str(), PRESENT.name);
        let [log] = &topic.partitions[..] else { panic!("one partition lies there") };
        assert_eq!((log.partition_index, log.partition_size, log.offset_lag), (0, size, 0));
        assert!(!log.is_future_key);
    }
}
