//! What is written is read as it was.

use ottla_core::ids::{
    BrokerEpoch, DirectoryId, IncarnationId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId,
    TopicName,
};
use ottla_core::metadata::image::{
    ConfigResource, Endpoint, FeatureRange, Fencing, LeaderRecoveryState, Partition, Voter,
};
use ottla_core::metadata::record::{
    BrokerRegistrationChange, ConfigRecord, FeatureLevel, LeaderChange, PartitionChange, PartitionRecord,
    Record, RegisterBroker, TopicRecord, Voters,
};
use ottla_core::quorum::snapshot;
use proptest::prelude::*;
use uuid::Uuid;

use crate::samples;

prop_compose! {
    fn uuid()(bits: u128) -> Uuid { Uuid::from_u128(bits) }
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<i32>().prop_map(NodeId)
}

fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
    prop::collection::vec(node(), 0..4)
}

fn directories() -> impl Strategy<Value = Vec<DirectoryId>> {
    prop::collection::vec(uuid().prop_map(DirectoryId), 0..4)
}

fn fencing() -> impl Strategy<Value = Fencing> {
    prop_oneof![Just(Fencing::Fenced), Just(Fencing::Unfenced), Just(Fencing::InControlledShutdown)]
}

fn recovery() -> impl Strategy<Value = LeaderRecoveryState> {
    prop_oneof![Just(LeaderRecoveryState::Recovered), Just(LeaderRecoveryState::Recovering)]
}

fn topic_name() -> impl Strategy<Value = TopicName> {
    "[a-zA-Z0-9_-]{1,30}".prop_map(|name| TopicName::parse(&name).unwrap())
}

prop_compose! {
    fn endpoint()(listener: String, host: String, port: u16, security_protocol: i16) -> Endpoint {
        Endpoint { listener, host, port, security_protocol }
    }
}

prop_compose! {
    fn voter()(
        node_id in node(),
        directory in uuid(),
        endpoints in prop::collection::vec(endpoint(), 0..3),
    ) -> Voter {
        Voter { node_id, directory_id: DirectoryId(directory), endpoints }
    }
}

prop_compose! {
    fn partition()(
        lists in prop::array::uniform6(nodes()),
        directories in directories(),
        leader in prop::option::of((0..i32::MAX).prop_map(NodeId)),
        epochs: (i32, i32),
        recovery in recovery(),
    ) -> Partition {
        let [replicas, isr, adding, removing, elr, last_known_elr] = lists;
        Partition {
            replicas, directories, isr, adding, removing, elr, last_known_elr, leader,
            leader_epoch: LeaderEpoch(epochs.0), partition_epoch: PartitionEpoch(epochs.1), recovery,
        }
    }
}

prop_compose! {
    fn change()(
        topic in uuid(),
        index: i32,
        lists in prop::array::uniform6(prop::option::of(nodes())),
        directories in prop::option::of(directories()),
        leader in prop_oneof![
            Just(LeaderChange::Unchanged),
            Just(LeaderChange::Nobody),
            (0..i32::MAX).prop_map(|id| LeaderChange::Leader(NodeId(id))),
        ],
        recovery in prop::option::of(recovery()),
    ) -> PartitionChange {
        let [replicas, isr, adding, removing, elr, last_known_elr] = lists;
        PartitionChange {
            topic_id: TopicId(topic), index: PartitionIndex(index), replicas, directories, isr, adding, removing,
            elr, last_known_elr, leader, recovery,
        }
    }
}

prop_compose! {
    fn broker()(
        node_id in node(),
        incarnation in uuid(),
        endpoints in prop::collection::vec(endpoint(), 0..3),
        rack: Option<String>,
        directories in directories(),
        features in prop::collection::vec(any::<(String, i16, i16)>(), 0..3),
        fencing in fencing(),
        epoch: Option<i64>,
        offline_directories in directories(),
    ) -> RegisterBroker {
        let feature = |(name, level_min, level_max)| FeatureRange { name, level_min, level_max };
        RegisterBroker {
            node_id, incarnation_id: IncarnationId(incarnation), endpoints, rack, directories,
            features: features.into_iter().map(feature).collect(), fencing, epoch: epoch.map(BrokerEpoch),
            offline_directories,
        }
    }
}

fn resource() -> impl Strategy<Value = ConfigResource> {
    prop_oneof![
        topic_name().prop_map(ConfigResource::Topic),
        node().prop_map(ConfigResource::Broker),
        Just(ConfigResource::BrokerDefault),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        broker().prop_map(Record::RegisterBroker),
        (uuid(), topic_name()).prop_map(|(id, name)| Record::Topic(TopicRecord { id: TopicId(id), name })),
        (uuid(), any::<i32>(), partition()).prop_map(|(id, index, partition)| {
            Record::Partition(PartitionRecord {
                topic_id: TopicId(id),
                index: PartitionIndex(index),
                partition,
            })
        }),
        change().prop_map(Record::PartitionChange),
        (resource(), any::<String>(), any::<Option<String>>())
            .prop_map(|(resource, name, value)| Record::Config(ConfigRecord { resource, name, value })),
        any::<(String, i16)>().prop_map(|(name, level)| Record::FeatureLevel(FeatureLevel { name, level })),
        (node(), any::<i64>(), fencing(), prop::option::of(directories())).prop_map(
            |(node_id, epoch, fencing, offline)| {
                Record::BrokerRegistrationChange(BrokerRegistrationChange {
                    node_id,
                    epoch: BrokerEpoch(epoch),
                    fencing,
                    offline_directories: offline,
                })
            }
        ),
        (prop::collection::vec(voter(), 0..3), prop::collection::vec(voter(), 0..3)).prop_map(
            |(voters, learners)| {
                let observers = learners.iter().skip(1).map(|learner| learner.node_id).collect();
                Record::Voters(Voters { voters, learners, observers })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn records_come_back(records in prop::collection::vec(record(), 0..5)) {
        prop_assert_eq!(Record::decode_batch(&Record::encode_batch(&records)), Ok(records));
    }
}

#[test]
fn an_image_is_the_same_after_a_snapshot() {
    let image = samples::image();
    assert_eq!(snapshot::decode(&snapshot::encode(&image)), Ok(image));
}
