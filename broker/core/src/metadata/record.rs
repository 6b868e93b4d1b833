//! What the metadata log can say.
//!
//! Each kind of record has a number, written once in [`Record::ordinal`] and never reused; numbers of Kafka's
//! own records (KIP-631) are kept where there is one. The bytes are in `record_codec.rs`, what a record does
//! to the image in `replay.rs`. A new kind of record is a variant here and an arm in each; the compiler finds
//! the places.

use crate::ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, NodeId, PartitionIndex, ProducerId, TopicId,
    TopicName,
};
use crate::metadata::image::{
    ConfigResource, Endpoint, FeatureRange, Fencing, LeaderRecoveryState, Partition, Voter,
};

/// One change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A broker registered, for the first time or again.
    RegisterBroker(RegisterBroker),
    /// A broker is gone for good.
    UnregisterBroker(UnregisterBroker),
    /// A topic exists.
    Topic(TopicRecord),
    /// A partition exists.
    Partition(PartitionRecord),
    /// A dynamic configuration was set or taken away.
    Config(ConfigRecord),
    /// A partition changed.
    PartitionChange(PartitionChange),
    /// A topic is gone, with its partitions and its configuration.
    RemoveTopic(RemoveTopic),
    /// A feature was finalised (KIP-584).
    FeatureLevel(FeatureLevel),
    /// A broker was given a block of producer ids.
    ProducerIds(ProducerIds),
    /// A broker changed between fenced, unfenced and controlled shutdown.
    BrokerRegistrationChange(BrokerRegistrationChange),
    /// Nothing changed.
    NoOp,
    /// The cluster's id. Part of the first snapshot.
    ClusterId(ClusterId),
    /// The members of the metadata quorum, all of them.
    Voters(Voters),
}

impl Record {
    /// The number of this kind of record on disk and wire.
    pub fn ordinal(&self) -> u64 {
        match self {
            Self::RegisterBroker(_) => 0,
            Self::UnregisterBroker(_) => 1,
            Self::Topic(_) => 2,
            Self::Partition(_) => 3,
            Self::Config(_) => 4,
            Self::PartitionChange(_) => 5,
            Self::RemoveTopic(_) => 9,
            Self::FeatureLevel(_) => 12,
            Self::ProducerIds(_) => 15,
            Self::BrokerRegistrationChange(_) => 17,
            Self::NoOp => 20,
            // Ours start at 1000, out of reach of Kafka's.
            Self::ClusterId(_) => 1000,
            Self::Voters(_) => 1001,
        }
    }
}

/// See [`Record::RegisterBroker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterBroker {
    /// The broker's id.
    pub node_id: NodeId,
    /// The process that registered.
    pub incarnation_id: IncarnationId,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Its log directories, sorted.
    pub directories: Vec<DirectoryId>,
    /// What it can run.
    pub features: Vec<FeatureRange>,
    /// How it starts: fenced, except in a snapshot.
    pub fencing: Fencing,
    /// Its epoch, in a snapshot only: in the log it is the offset of this record.
    pub epoch: Option<BrokerEpoch>,
    /// Those of its directories that have failed, in a snapshot only: a process starts with none.
    pub offline_directories: Vec<DirectoryId>,
}

/// See [`Record::UnregisterBroker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnregisterBroker {
    /// The broker's id.
    pub node_id: NodeId,
    /// The registration that ends.
    pub epoch: BrokerEpoch,
}

/// See [`Record::BrokerRegistrationChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRegistrationChange {
    /// The broker's id.
    pub node_id: NodeId,
    /// The registration that changes.
    pub epoch: BrokerEpoch,
    /// What it is from now on.
    pub fencing: Fencing,
    /// Replaces [`Broker::offline_directories`](super::image::Broker::offline_directories).
    pub offline_directories: Option<Vec<DirectoryId>>,
}

/// See [`Record::Topic`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRecord {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
}

/// See [`Record::RemoveTopic`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveTopic {
    /// The id of the topic.
    pub id: TopicId,
}

/// See [`Record::Partition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRecord {
    /// The id of the topic.
    pub topic_id: TopicId,
    /// Which partition of it.
    pub index: PartitionIndex,
    /// The whole of it.
    pub partition: Partition,
}

/// Who leads after a [`PartitionChange`]. Each of these but [`LeaderChange::Unchanged`] raises the leader
/// epoch, also if it names the same leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaderChange {
    /// The leader and its epoch stay.
    #[default]
    Unchanged,
    /// Nobody leads.
    Nobody,
    /// This broker leads.
    Leader(NodeId),
}

/// See [`Record::PartitionChange`]. Only what changed is in it: changes of the ISR are the bulk of the log.
/// The partition epoch rises by one with each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionChange {
    /// The id of the topic.
    pub topic_id: TopicId,
    /// Which partition of it.
    pub index: PartitionIndex,
    /// Replaces [`Partition::replicas`].
    pub replicas: Option<Vec<NodeId>>,
    /// Replaces [`Partition::directories`].
    pub directories: Option<Vec<DirectoryId>>,
    /// Replaces [`Partition::isr`].
    pub isr: Option<Vec<NodeId>>,
    /// Replaces [`Partition::adding`].
    pub adding: Option<Vec<NodeId>>,
    /// Replaces [`Partition::removing`].
    pub removing: Option<Vec<NodeId>>,
    /// Replaces [`Partition::elr`].
    pub elr: Option<Vec<NodeId>>,
    /// Replaces [`Partition::last_known_elr`].
    pub last_known_elr: Option<Vec<NodeId>>,
    /// Who leads.
    pub leader: LeaderChange,
    /// Replaces [`Partition::recovery`].
    pub recovery: Option<LeaderRecoveryState>,
}

/// See [`Record::Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRecord {
    /// What it is set on.
    pub resource: ConfigResource,
    /// The key.
    pub name: String,
    /// The value; none takes the key away.
    pub value: Option<String>,
}

/// See [`Record::FeatureLevel`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureLevel {
    /// The feature's name.
    pub name: String,
    /// Its level; 0 takes it away.
    pub level: i16,
}

/// See [`Record::ProducerIds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIds {
    /// The broker; -1 in a snapshot, where nobody asks any more.
    pub node_id: NodeId,
    /// Its registration when it asked; -1 in a snapshot.
    pub epoch: BrokerEpoch,
    /// The first id after the block: the next block begins here.
    pub next: ProducerId,
}

/// See [`Record::Voters`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Voters {
    /// Those who vote.
    pub voters: Vec<Voter>,
    /// Those who only follow.
    pub learners: Vec<Voter>,
    /// Of those who only follow, the nodes that are to go on so until somebody says otherwise. The others are about to
    /// take the place of a voter.
    pub observers: Vec<NodeId>,
}
