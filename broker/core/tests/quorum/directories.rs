//! Log directories of brokers: which one a replica is given, and what happens when one fails.

use std::collections::BTreeMap;

use ottla_core::controller::operation::RegisterBroker;
use ottla_core::controller::{Operation, Reply};
use ottla_core::ids::{BrokerEpoch, DirectoryId, NodeId, TopicName};
use ottla_core::metadata::image::Partition;

use crate::rig::{Cluster, create, directory, heartbeat_with, registration};

const BROKER: NodeId = NodeId(5);

struct Disks {
    cluster: Cluster,
    active: NodeId,
    epoch: BrokerEpoch,
}

impl Disks {
    /// A broker with these directories, in service.
    fn with(directories: &[u128]) -> Self {
        let cluster = Cluster::started(1);
        let active = cluster.active().unwrap();
        let mut disks = Self { cluster, active, epoch: BrokerEpoch(-1) };
        disks.register(1, directories);
        disks.beat(&[]);
        disks
    }

    fn register(&mut self, incarnation: u128, directories: &[u128]) {
        let request = RegisterBroker {
            directories: directories.iter().copied().map(directory).collect(),
            ..registration(BROKER, incarnation)
        };
        match self.cluster.call(self.active, Operation::RegisterBroker(request)) {
            Ok(Reply::RegisterBroker(registered)) => self.epoch = registered.epoch,
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self, offline: &[u128]) {
        let heartbeat = heartbeat_with(BROKER, self.epoch, |beat| {
            beat.offline_directories = offline.iter().copied().map(directory).collect();
        });
        self.cluster.call(self.active, heartbeat).unwrap();
    }

    fn create(&mut self, name: &str, id: u128, partitions: i32) {
        self.cluster.call(self.active, create(name, id, partitions)).unwrap();
    }

    fn partitions(&self, topic: &str) -> Vec<Partition> {
        let topic = self.cluster.image(self.active).topic(&TopicName::parse(topic).unwrap()).unwrap().clone();
        topic.partitions.values().map(|partition| Partition::clone(partition)).collect()
    }

    /// How many of a topic's partitions lie in each directory.
    fn spread(&self, topic: &str) -> BTreeMap<DirectoryId, usize> {
        let mut spread = BTreeMap::new();
        for partition in self.partitions(topic) {
            *spread.entry(partition.directories[0]).or_default() += 1;
        }
        spread
    }

    /// Whether each partition of a topic has a leader, by directory.
    fn led(&self, topic: &str) -> BTreeMap<DirectoryId, bool> {
        self.partitions(topic).into_iter().map(|p| (p.directories[0], p.leader.is_some())).collect()
    }
}

#[test]
fn new_replicas_go_to_the_emptiest_directory() {
    let mut disks = Disks::with(&[1, 2, 3]);
    disks.create("a", 1, 6);
    assert_eq!(disks.spread("a"), [1, 2, 3].map(|number| (directory(number), 2)).into());
    disks.create("b", 2, 1);
    disks.create("c", 3, 1);
    assert_ne!(disks.spread("b"), disks.spread("c"), "what the first took counts for the second");
}

#[test]
fn a_failed_directory_takes_the_leaders_of_its_replicas_and_of_no_others() {
    let mut disks = Disks::with(&[1, 2]);
    disks.create("a", 1, 4);
    disks.beat(&[2]);
    assert_eq!(disks.led("a"), [(directory(1), true), (directory(2), false)].into());
    let before = disks.partitions("a");
    disks.beat(&[2]);
    assert_eq!(disks.partitions("a"), before, "saying it again changes nothing");
    disks.beat(&[]);
    assert_eq!(disks.partitions("a"), before, "a directory that has failed stays so while the process runs");
    for partition in before {
        let holder = if partition.leader.is_some() { partition.isr } else { partition.elr };
        assert_eq!(holder, [BROKER], "it is still the last with the records");
    }
}

#[test]
fn a_directory_that_fails_before_the_broker_is_in_service_leads_nothing() {
    let mut disks = Disks::with(&[1, 2]);
    disks.create("a", 1, 2);
    disks.register(2, &[1, 2]);
    assert_eq!(disks.led("a"), [(directory(1), false), (directory(2), false)].into());
    disks.beat(&[1]);
    assert_eq!(disks.led("a"), [(directory(1), false), (directory(2), true)].into());
}

#[test]
fn the_next_process_leads_again_what_a_failed_directory_held() {
    let mut disks = Disks::with(&[1, 2]);
    disks.create("a", 1, 2);
    disks.beat(&[2]);
    disks.register(2, &[1, 2]);
    disks.beat(&[]);
    assert_eq!(disks.led("a"), [(directory(1), true), (directory(2), true)].into());
}

#[test]
fn new_partitions_avoid_a_failed_directory() {
    let mut disks = Disks::with(&[1, 2]);
    disks.beat(&[1]);
    disks.create("a", 1, 3);
    assert_eq!(disks.spread("a"), [(directory(2), 3)].into());
    assert_eq!(disks.led("a"), [(directory(2), true)].into());
}

#[test]
fn replicas_of_a_directory_that_was_replaced_begin_anew_in_another() {
    let mut disks = Disks::with(&[1, 2]);
    disks.create("a", 1, 4);
    disks.register(2, &[1, 3]);
    disks.beat(&[]);
    assert_eq!(disks.spread("a"), [(directory(1), 2), (directory(3), 2)].into());
    assert_eq!(disks.led("a"), [(directory(1), true), (directory(3), true)].into());
}

#[test]
fn a_broker_reports_a_failed_directory_at_once() {
    let mut cluster = Cluster::started(1);
    let active = cluster.active().unwrap();
    cluster.start_broker(BROKER, 1);
    cluster.pass(500);
    let failed = registration(BROKER, 1).directories[0];
    cluster.brokers.get_mut(&BROKER).unwrap().directory_failed(failed);
    cluster.pass(100);
    assert_eq!(cluster.image(active).brokers[&BROKER].offline_directories, [failed]);
}
