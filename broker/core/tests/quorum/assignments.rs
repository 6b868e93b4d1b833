//! Where brokers say that their replicas lie (AssignReplicasToDirs): what is written, and what is refused with which error.

use std::collections::BTreeMap;

use ottla_core::controller::operation::{
    AssignReplicasToDirs, AssignedReplica, CreateTopics, DeleteTopics, NewTopic, RegisterBroker,
    TopicReference,
};
use ottla_core::controller::{Operation, OperationError, Reply};
use ottla_core::ids::{
    BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicPartition,
};
use ottla_core::lifecycle::{Lifecycle, LifecycleConfig};
use ottla_core::metadata::image::Partition;
use ottla_sim::disk::CrashKind;
use uuid::Uuid;

use crate::rig::{Cluster, address, create, directory, heartbeat_with, registration};

/// It has directories 1 and 2.
const BROKER: NodeId = NodeId(5);

/// It has directory 3.
const OTHER: NodeId = NodeId(6);

const TOPIC: TopicId = TopicId(Uuid::from_u128(1_001));

/// Led by the broker, which keeps it in directory 1; the other follows.
const PARTITION: TopicPartition = TopicPartition { topic_id: TOPIC, partition: PartitionIndex(0) };

/// Only the other broker has a replica of it.
const ELSEWHERE: TopicPartition =
    TopicPartition { topic_id: TopicId(Uuid::from_u128(1_002)), partition: PartitionIndex(0) };

struct Disks {
    cluster: Cluster,
    active: NodeId,
    epochs: BTreeMap<NodeId, BrokerEpoch>,
}

impl Disks {
    /// Both brokers are in service, and both partitions are there.
    fn with(controllers: i32) -> Self {
        let mut cluster = Cluster::started(controllers);
        let active = cluster.wait_active();
        let mut disks = Self { cluster, active, epochs: BTreeMap::new() };
        disks.register(BROKER, 1);
        disks.register(OTHER, 1);
        disks.beat(BROKER, &[]);
        disks.beat(OTHER, &[]);
        let topic = |name: &str, at: TopicPartition, replicas: &[NodeId]| NewTopic {
            name: name.to_owned(),
            id: at.topic_id,
            partitions: -1,
            replication_factor: -1,
            assignments: vec![(at.partition, replicas.to_vec())],
            configs: Vec::new(),
        };
        let topics = vec![topic("a", PARTITION, &[BROKER, OTHER]), topic("b", ELSEWHERE, &[OTHER])];
        let topics = CreateTopics { topics, validate_only: false };
        match disks.cluster.call(active, Operation::CreateTopics(topics)) {
            Ok(Reply::CreateTopics(results)) => assert!(results.iter().all(Result::is_ok), "{results:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(disks.partition().directories, [directory(1), directory(3)]);
        disks
    }

    fn register(&mut self, broker: NodeId, incarnation: u128) {
        let directories: &[u128] = if broker == BROKER { &[1, 2] } else { &[3] };
        let request = RegisterBroker {
            directories: directories.iter().copied().map(directory).collect(),
            previous_epoch: self.epochs.get(&broker).copied(),
            ..registration(broker, incarnation)
        };
        match self.cluster.call(self.active, Operation::RegisterBroker(request)) {
            Ok(Reply::RegisterBroker(registered)) => self.epochs.insert(broker, registered.epoch),
            other => panic!("{other:?}"),
        };
    }

    /// A broker is in service, and these of its directories have failed.
    fn beat(&mut self, broker: NodeId, offline: &[u128]) {
        let heartbeat = heartbeat_with(broker, self.epochs[&broker], |beat| {
            beat.offline_directories = offline.iter().copied().map(directory).collect();
        });
        self.cluster.call(self.active, heartbeat).unwrap();
    }

    /// What comes of what the broker says.
    fn say(
        &mut self,
        assignments: &[(TopicPartition, DirectoryId)],
    ) -> Result<Vec<Result<(), OperationError>>, OperationError> {
        let assignments = assignments
            .iter()
            .map(|(partition, directory)| AssignedReplica { directory: *directory, partition: *partition });
        let request = AssignReplicasToDirs {
            node_id: BROKER,
            epoch: self.epochs[&BROKER],
            assignments: assignments.collect(),
        };
        match self.cluster.call(self.active, Operation::AssignReplicasToDirs(request)) {
            Ok(Reply::AssignReplicasToDirs(results)) => Ok(results),
            Err(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// The broker's replica lies there now.
    fn assign(&mut self, number: u128) -> Result<(), OperationError> {
        self.say(&[(PARTITION, directory(number))])?.remove(0)
    }

    fn partition(&self) -> Partition {
        let image = self.cluster.image(self.active);
        Partition::clone(image.partition(PARTITION.topic_id, PARTITION.partition).unwrap())
    }
}

fn codes(results: Vec<Result<(), OperationError>>) -> Vec<i16> {
    results.into_iter().map(|result| result.map_or_else(|error| error.code(), |()| 0)).collect()
}

#[test]
fn what_a_broker_says_replaces_its_own_directory_and_nothing_else() {
    let mut disks = Disks::with(1);
    let before = disks.partition();
    disks.assign(2).unwrap();
    let expected = Partition {
        directories: vec![directory(2), directory(3)],
        partition_epoch: PartitionEpoch(before.partition_epoch.0 + 1),
        ..before.clone()
    };
    assert_eq!(disks.partition(), expected);
    assert_eq!((before.leader, before.leader_epoch), (Some(BROKER), LeaderEpoch(0)));
}

#[test]
fn what_is_so_already_succeeds_and_writes_nothing() {
    let mut disks = Disks::with(1);
    disks.assign(2).unwrap();
    let before = disks.cluster.image(disks.active).offset;
    disks.assign(2).unwrap();
    assert_eq!(disks.cluster.image(disks.active).offset, before);
}

#[test]
fn what_is_wrong_is_told_with_its_code_and_changes_nothing() {
    let mut disks = Disks::with(1);
    disks.beat(BROKER, &[2]);
    let at = |topic_id, index| TopicPartition { topic_id, partition: PartitionIndex(index) };
    let table = [
        ("unknown topic", at(TopicId::default(), 0), directory(1), 100),
        ("unknown partition", at(TOPIC, 2), directory(1), 3),
        ("no replica", ELSEWHERE, directory(1), 6),
        ("no replica, which counts more than the directory", ELSEWHERE, directory(9), 6),
        ("unknown directory", PARTITION, directory(9), 39),
        ("nil directory", PARTITION, DirectoryId::default(), 39),
        ("the directory of another broker", PARTITION, directory(3), 39),
        ("failed directory", PARTITION, directory(2), 39),
    ];
    let before = disks.cluster.image(disks.active).offset;
    for (what, partition, directory, code) in table {
        assert_eq!(disks.say(&[(partition, directory)]).map(codes), Ok(vec![code]), "{what}");
    }
    assert_eq!(disks.cluster.image(disks.active).offset, before);
}

#[test]
fn a_directory_works_again_when_the_broker_registers_anew() {
    let mut disks = Disks::with(1);
    disks.beat(BROKER, &[2]);
    let refused = disks.assign(2).unwrap_err().to_string();
    assert!(refused.contains("has failed") && refused.contains("restart the broker"), "{refused}");
    disks.register(BROKER, 2);
    disks.assign(2).unwrap();
    assert_eq!(disks.partition().directories[0], directory(2), "it need not be in service");
}

#[test]
fn a_broker_with_an_old_registration_is_refused_as_a_whole() {
    let mut disks = Disks::with(1);
    let old = disks.epochs[&BROKER];
    disks.register(BROKER, 2);
    let new = disks.epochs.insert(BROKER, old).unwrap();
    let before = disks.partition();
    assert_eq!(disks.assign(2).map_err(|error| error.code()), Err(77));
    disks.epochs.insert(BROKER, BrokerEpoch(new.0 + 1));
    assert_eq!(disks.assign(2).map_err(|error| error.code()), Err(77), "nor one that is yet to come");
    assert_eq!(disks.partition(), before);
    disks.epochs.insert(BROKER, new);
    disks.assign(2).unwrap();
}

#[test]
fn each_replica_is_decided_by_itself_and_none_that_is_named_twice() {
    let mut disks = Disks::with(1);
    let said = [(ELSEWHERE, directory(1)), (PARTITION, directory(2))];
    assert_eq!(disks.say(&said).map(codes), Ok(vec![6, 0]));
    assert_eq!(disks.partition().directories[0], directory(2));
    let twice = [(PARTITION, directory(1)), (ELSEWHERE, directory(1)), (PARTITION, directory(2))];
    assert_eq!(disks.say(&twice).map(codes), Ok(vec![42, 6, 42]));
    assert_eq!(disks.partition().directories[0], directory(2));
}

#[test]
fn the_replicas_of_a_topic_that_was_deleted_lie_nowhere() {
    let mut disks = Disks::with(1);
    let topics = DeleteTopics { topics: vec![TopicReference::Id(TOPIC)] };
    disks.cluster.call(disks.active, Operation::DeleteTopics(topics)).unwrap();
    assert_eq!(disks.assign(2).map_err(|error| error.code()), Err(100));
}

#[test]
fn a_directory_that_fails_takes_what_was_moved_to_it_and_not_what_was_moved_away() {
    let mut disks = Disks::with(1);
    disks.assign(2).unwrap();
    disks.beat(BROKER, &[1]);
    assert_eq!(disks.partition().leader, Some(BROKER));
    disks.beat(BROKER, &[1, 2]);
    assert_eq!(disks.partition().leader, Some(OTHER));
    assert_eq!(disks.partition().isr, [OTHER]);
}

#[test]
fn a_replica_that_was_moved_before_its_directory_failed_leads_again() {
    let mut disks = Disks::with(1);
    disks.beat(OTHER, &[3]);
    disks.beat(BROKER, &[1]);
    let before = disks.partition();
    assert_eq!((before.leader, before.elr.contains(&BROKER)), (None, true));
    disks.assign(2).unwrap();
    let after = disks.partition();
    assert_eq!((after.leader, after.isr, after.directories[0]), (Some(BROKER), vec![BROKER], directory(2)));
    assert_eq!(after.leader_epoch, LeaderEpoch(before.leader_epoch.0 + 1));
}

#[test]
fn the_next_active_controller_knows_where_a_replica_lies() {
    let mut disks = Disks::with(3);
    disks.assign(2).unwrap();
    disks.cluster.stop(disks.active, CrashKind::PowerAllLost);
    disks.active = disks.cluster.wait_active();
    assert_eq!(disks.partition().directories, [directory(2), directory(3)]);
    disks.assign(1).unwrap();
    assert_eq!(disks.partition().directories, [directory(1), directory(3)]);
}

#[test]
fn a_broker_says_it_until_an_active_controller_has_taken_it() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let registration =
        RegisterBroker { directories: vec![directory(1), directory(2)], ..registration(BROKER, 1) };
    let controllers = cluster.ids().into_iter().map(address).collect();
    let mut broker = Lifecycle::new(LifecycleConfig::new(registration, controllers), cluster.now);
    broker.recovered();
    cluster.brokers.insert(BROKER, broker);
    cluster.pass(1_000);
    cluster.call(active, create("a", 1, 1)).unwrap();
    let place = |cluster: &Cluster| {
        let active = cluster.active()?;
        cluster.image(active).partition(TOPIC, PARTITION.partition).map(|partition| partition.directories[0])
    };
    assert_eq!(place(&cluster), Some(directory(1)));
    cluster.stop(active, CrashKind::Process);
    cluster.brokers.get_mut(&BROKER).unwrap().assign_directory(PARTITION, directory(2));
    cluster.pass_until("the controller knows it", |cluster| place(cluster) == Some(directory(2)));
}
