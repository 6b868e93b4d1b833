//! Brokers that are cordoned get no new replicas, and keep what they have (KIP-1066).

use ottla_core::config::{AlterOp, Alteration};
use ottla_core::controller::operation::{
    AlterPartitionReassignments, CreatePartitions, CreateTopics, IncrementalAlterConfigs, MorePartitions,
    NewTopic, Reassignment,
};
use ottla_core::controller::{Operation, OperationError, Reply};
use ottla_core::ids::{NodeId, PartitionIndex, TopicId, TopicName};
use ottla_core::metadata::image::ConfigResource;
use uuid::Uuid;

use crate::rig::{Cluster, create};

const CONTROLLER: NodeId = NodeId(0);
const EVERYBODY: ConfigResource = ConfigResource::BrokerDefault;

/// One controller and brokers 1, 2 and 3 in service.
fn cluster() -> Cluster {
    let mut cluster = Cluster::started(1);
    for broker in 1..=3 {
        cluster.broker_up(CONTROLLER, NodeId(broker));
    }
    cluster
}

/// Sets `cordoned.log.dirs`, or takes it away.
fn cordon(cluster: &mut Cluster, who: ConfigResource, value: Option<&str>) -> Result<(), OperationError> {
    let alteration = Alteration {
        key: "cordoned.log.dirs".to_owned(),
        op: if value.is_some() { AlterOp::Set } else { AlterOp::Delete },
        value: value.map(str::to_owned),
    };
    let request = IncrementalAlterConfigs { resources: vec![(who, vec![alteration])], validate_only: false };
    match cluster.call(CONTROLLER, Operation::IncrementalAlterConfigs(request)) {
        Ok(Reply::IncrementalAlterConfigs(mut results)) => results.remove(0),
        other => panic!("{other:?}"),
    }
}

fn broker(id: i32) -> ConfigResource {
    ConfigResource::Broker(NodeId(id))
}

/// The replicas of each partition, sorted.
fn replicas(cluster: &Cluster, topic: &str) -> Vec<Vec<i32>> {
    let topic = cluster.image(CONTROLLER).topic(&TopicName::parse(topic).unwrap()).unwrap();
    let of = |partition: &std::sync::Arc<ottla_core::metadata::image::Partition>| {
        let mut ids: Vec<i32> = partition.replicas.iter().map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    };
    topic.partitions.values().map(of).collect()
}

fn topic(name: &str, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        id: TopicId(Uuid::from_u128(1_000_000)),
        partitions: 6,
        replication_factor,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

#[test]
fn a_cordoned_broker_gets_no_new_replicas_and_keeps_what_it_has() {
    let mut cluster = cluster();
    cluster.call(CONTROLLER, create("before", 1, 3)).unwrap();
    cordon(&mut cluster, broker(2), Some("*")).unwrap();
    assert!(replicas(&cluster, "before").iter().any(|of| of.contains(&2)), "what it has it keeps");

    let made = CreateTopics { topics: vec![topic("after", 2)], validate_only: false };
    cluster.call(CONTROLLER, Operation::CreateTopics(made)).unwrap();
    assert_eq!(replicas(&cluster, "after"), vec![vec![1, 3]; 6]);
    let more = MorePartitions { name: "after".to_owned(), count: 9, assignments: None };
    let more = CreatePartitions { topics: vec![more], validate_only: false };
    cluster.call(CONTROLLER, Operation::CreatePartitions(more)).unwrap();
    assert_eq!(replicas(&cluster, "after"), vec![vec![1, 3]; 9]);

    cordon(&mut cluster, broker(2), None).unwrap();
    let again = NewTopic { id: TopicId(Uuid::from_u128(1_000_001)), ..topic("again", 3) };
    let again = CreateTopics { topics: vec![again], validate_only: false };
    cluster.call(CONTROLLER, Operation::CreateTopics(again)).unwrap();
    assert_eq!(replicas(&cluster, "again"), vec![vec![1, 2, 3]; 6]);
}

#[test]
fn too_few_brokers_without_a_cordon_are_told_apart_from_too_few_brokers() {
    let mut cluster = cluster();
    cordon(&mut cluster, broker(2), Some("*")).unwrap();
    let (code, message) = cluster.refusal(CONTROLLER, topic("t", 3));
    assert_eq!(code, 38);
    assert_eq!(
        message,
        "replication factor 3 is larger than the number of brokers that may get replicas, 2; of 3 registered ones 1 have \
         all their log directories cordoned (cordoned.log.dirs)"
    );
    cordon(&mut cluster, EVERYBODY, Some("*")).unwrap();
    assert_eq!(cluster.refusal(CONTROLLER, topic("t", 1)).0, 38, "nobody is left");
    // One broker's own value counts before that of all.
    cordon(&mut cluster, broker(2), Some("")).unwrap();
    let made = CreateTopics { topics: vec![topic("t", 1)], validate_only: false };
    cluster.call(CONTROLLER, Operation::CreateTopics(made)).unwrap();
    assert_eq!(replicas(&cluster, "t"), vec![vec![2]; 6]);
}

#[test]
fn replicas_can_be_put_on_a_cordoned_broker_by_name_as_in_kafka() {
    let mut cluster = cluster();
    cordon(&mut cluster, broker(2), Some("*")).unwrap();
    let by_name = NewTopic {
        partitions: -1,
        assignments: vec![(PartitionIndex(0), vec![NodeId(2)])],
        ..topic("t", -1)
    };
    let made = CreateTopics { topics: vec![by_name], validate_only: false };
    cluster.call(CONTROLLER, Operation::CreateTopics(made)).unwrap();
    assert_eq!(replicas(&cluster, "t"), [[2]]);
    let moves = [(0, vec![NodeId(3), NodeId(2)])].map(|(index, target)| Reassignment {
        topic: "t".to_owned(),
        partition: PartitionIndex(index),
        target: Some(target),
    });
    let request =
        AlterPartitionReassignments { allow_replication_factor_change: true, partitions: moves.to_vec() };
    match cluster.call(CONTROLLER, Operation::AlterPartitionReassignments(request)) {
        Ok(Reply::AlterPartitionReassignments(results)) => assert!(results[0].is_ok(), "{results:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn single_directories_cannot_be_cordoned() {
    let mut cluster = cluster();
    let error = cordon(&mut cluster, broker(2), Some("/data/1")).unwrap_err();
    assert_eq!(error.code(), 40);
    assert!(error.to_string().contains("single ones cannot be cordoned"), "{error}");
    assert!(!cluster.image(CONTROLLER).is_cordoned(NodeId(2)));
}
