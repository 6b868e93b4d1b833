//! One partition and the brokers that have replicas of it, as stories tell of them.

use std::collections::BTreeMap;

use ottla_core::config::{AlterOp, Alteration};
use ottla_core::controller::operation::{
    AlterIsr, AlterPartition, AlteredPartition, CreateTopics, ElectLeaders, ElectionType, Heartbeat,
    IncrementalAlterConfigs, NewTopic, RegisterBroker,
};
use ottla_core::controller::{Operation, OperationError, Reply};
use ottla_core::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicName, TopicPartition,
};
use ottla_core::metadata::image::{ConfigResource, LeaderRecoveryState, Partition};
use uuid::Uuid;

use crate::rig::{Cluster, directory, heartbeat_with, registration};

const CONTROLLER: NodeId = NodeId(0);

/// The partition that stories are about.
pub(crate) const PARTITION: TopicPartition =
    TopicPartition { topic_id: TopicId(Uuid::from_u128(1_001)), partition: PartitionIndex(0) };

/// One controller, some brokers, and one partition.
pub(crate) struct Story {
    pub(crate) cluster: Cluster,
    /// The registration of each broker.
    pub(crate) epochs: BTreeMap<NodeId, BrokerEpoch>,
    incarnations: u128,
    /// The log directory that each broker registers with.
    pub(crate) directories: BTreeMap<NodeId, u128>,
}

/// How a broker's last process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    InOrder,
    Crash,
}

pub(crate) fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

impl Story {
    /// Brokers 1 to 4, in service, and topic "a" with these settings, whose partition has replicas 1, 2 and 3.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(&[1, 2, 3], settings)
    }

    pub(crate) fn of(replicas: &[i32], settings: &[(&str, &str)]) -> Self {
        let mut cluster = Cluster::new(1);
        cluster.start(CONTROLLER);
        let mut story =
            Self { cluster, epochs: BTreeMap::new(), incarnations: 0, directories: BTreeMap::new() };
        for id in 1..=4 {
            story.directories.insert(NodeId(id), 500 + u128::try_from(id).unwrap());
            story.restart(id, Stop::InOrder);
        }
        let topic = NewTopic {
            name: "a".to_owned(),
            id: PARTITION.topic_id,
            partitions: -1,
            replication_factor: -1,
            assignments: vec![(PartitionIndex(0), nodes(replicas))],
            configs: settings.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect(),
        };
        let topics = CreateTopics { topics: vec![topic], validate_only: false };
        match story.call(Operation::CreateTopics(topics)) {
            Ok(Reply::CreateTopics(results)) => results[0].as_ref().map(|_| ()).unwrap(),
            other => panic!("{other:?}"),
        }
        story
    }

    pub(crate) fn call(&mut self, operation: Operation) -> Result<Reply, OperationError> {
        self.cluster.call(CONTROLLER, operation)
    }

    pub(crate) fn partition(&self) -> Partition {
        let image = self.cluster.image(CONTROLLER);
        Partition::clone(image.partition(PARTITION.topic_id, PARTITION.partition).unwrap())
    }

    /// The leader, the ISR, the ELR and the last known leader, by number.
    pub(crate) fn state(&self) -> (Option<i32>, Vec<i32>, Vec<i32>, Vec<i32>) {
        let numbers = |ids: &[NodeId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
        let partition = self.partition();
        let leader = partition.leader.map(|id| id.0);
        (leader, numbers(&partition.isr), numbers(&partition.elr), numbers(&partition.last_known_elr))
    }

    /// A process of a broker begins.
    pub(crate) fn register(&mut self, id: i32, stop: Stop) {
        self.incarnations += 1;
        let id = NodeId(id);
        let request = RegisterBroker {
            previous_epoch: match stop {
                Stop::InOrder => self.epochs.get(&id).copied(),
                Stop::Crash => None,
            },
            directories: vec![directory(self.directories[&id])],
            ..registration(id, self.incarnations)
        };
        match self.call(Operation::RegisterBroker(request)) {
            Ok(Reply::RegisterBroker(registered)) => self.epochs.insert(id, registered.epoch),
            other => panic!("{other:?}"),
        };
    }

    /// A broker says what it wants.
    pub(crate) fn beat(&mut self, id: i32, want: impl FnOnce(&mut Heartbeat)) {
        let id = NodeId(id);
        self.call(heartbeat_with(id, self.epochs[&id], want)).unwrap();
    }

    /// A broker is fenced.
    pub(crate) fn fence(&mut self, id: i32) {
        self.beat(id, |beat| beat.want_fence = true);
    }

    /// A process of a broker begins, and comes into service.
    pub(crate) fn restart(&mut self, id: i32, stop: Stop) {
        self.register(id, stop);
        self.beat(id, |_| {});
    }

    /// What the leader would say to have this ISR.
    pub(crate) fn wish(&self, isr: &[i32]) -> AlterIsr {
        let partition = self.partition();
        AlterIsr {
            partition: PARTITION,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: nodes(isr).into_iter().map(|id| (id, self.epochs.get(&id).copied())).collect(),
            recovery: LeaderRecoveryState::Recovered,
        }
    }

    /// A broker asks for other ISRs.
    pub(crate) fn ask(
        &mut self,
        sender: i32,
        partitions: Vec<AlterIsr>,
    ) -> Result<Vec<Result<AlteredPartition, OperationError>>, OperationError> {
        let node_id = NodeId(sender);
        let epoch = self.epochs[&node_id];
        match self.call(Operation::AlterPartition(AlterPartition { node_id, epoch, partitions })) {
            Ok(Reply::AlterPartition(results)) => Ok(results),
            Err(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// A broker asks for another ISR.
    pub(crate) fn alter(&mut self, sender: i32, asked: AlterIsr) -> Result<AlteredPartition, OperationError> {
        self.ask(sender, vec![asked])?.remove(0)
    }

    /// The leader gets this ISR.
    pub(crate) fn isr(&mut self, isr: &[i32]) {
        let leader = self.partition().leader.unwrap().0;
        let asked = self.wish(isr);
        self.alter(leader, asked).unwrap();
    }

    pub(crate) fn elect(&mut self, election: ElectionType) -> Result<(), OperationError> {
        let request = ElectLeaders { election, partitions: Some(vec![PARTITION]) };
        match self.call(Operation::ElectLeaders(request)) {
            Ok(Reply::ElectLeaders(mut results)) => results.remove(0).1,
            other => panic!("{other:?}"),
        }
    }

    /// Sets a key of the topic.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let topic = ConfigResource::Topic(TopicName::parse("a").unwrap());
        self.set_on(topic, key, value).unwrap();
    }

    pub(crate) fn set_on(
        &mut self,
        resource: ConfigResource,
        key: &str,
        value: &str,
    ) -> Result<(), OperationError> {
        let set = Alteration { key: key.to_owned(), op: AlterOp::Set, value: Some(value.to_owned()) };
        let request =
            IncrementalAlterConfigs { resources: vec![(resource, vec![set])], validate_only: false };
        match self.call(Operation::IncrementalAlterConfigs(request)) {
            Ok(Reply::IncrementalAlterConfigs(mut results)) => results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn epochs_of_partition(&self) -> (LeaderEpoch, PartitionEpoch) {
        let partition = self.partition();
        (partition.leader_epoch, partition.partition_epoch)
    }
}
