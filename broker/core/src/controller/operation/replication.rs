//! What is asked about the replicas of partitions that there are.

use crate::ids::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, TopicPartition};
use crate::metadata::image::LeaderRecoveryState;

/// A leader asks for another ISR (AlterPartition, key 56: KIP-497, KIP-903).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterPartition {
    /// Who asks.
    pub node_id: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// What it asks for.
    pub partitions: Vec<AlterIsr>,
}

/// The ISR that the leader of one partition asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterIsr {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The epoch that the sender leads in.
    pub leader_epoch: LeaderEpoch,
    /// The partition as the sender knows it.
    pub partition_epoch: PartitionEpoch,
    /// Each member, with the broker epoch under which it was seen fetching. None is "unknown", which is compared
    /// with nothing; the leader itself may pass its own.
    pub isr: Vec<(NodeId, Option<BrokerEpoch>)>,
    /// Whether the leader has recovered.
    pub recovery: LeaderRecoveryState,
}

/// A partition after an [`AlterIsr`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlteredPartition {
    /// Which one.
    pub partition: TopicPartition,
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// Its leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// Its partition epoch.
    pub partition_epoch: PartitionEpoch,
    /// Its ISR.
    pub isr: Vec<NodeId>,
    /// Whether its leader has recovered.
    pub recovery: LeaderRecoveryState,
}

/// A broker says in which of its log directories replicas of its own lie (AssignReplicasToDirs, key 73: KIP-858).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignReplicasToDirs {
    /// Who says so.
    pub node_id: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// Which replicas, and where they lie.
    pub assignments: Vec<AssignedReplica>,
}

/// Where a replica of the sender lies. Those of one directory stand together when they are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AssignedReplica {
    /// In this directory.
    pub directory: DirectoryId,
    /// Of which partition.
    pub partition: TopicPartition,
}

/// Leaders to be elected (ElectLeaders, key 43: KIP-460).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectLeaders {
    /// Which kind of leader.
    pub election: ElectionType,
    /// Of which partitions; none for all, of which those are left out that need no election.
    pub partitions: Option<Vec<TopicPartition>>,
}

/// Which leader is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica, where another one leads (0).
    Preferred,
    /// Any replica, where nobody leads, even if it lacks records (1).
    Unclean,
}
