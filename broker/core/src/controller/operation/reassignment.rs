//! What is asked about moves of replicas.

use crate::ids::{NodeId, PartitionIndex, TopicName};

/// Replicas to be moved (AlterPartitionReassignments, key 45: KIP-455, KIP-860).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterPartitionReassignments {
    /// Whether partitions may get more or fewer replicas than they have.
    pub allow_replication_factor_change: bool,
    /// Each of them.
    pub partitions: Vec<Reassignment>,
}

/// Where the replicas of one partition are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassignment {
    /// The topic's name, unchecked.
    pub topic: String,
    /// Which partition of it.
    pub partition: PartitionIndex,
    /// The replicas, the preferred leader first; none takes back a move that is under way.
    pub target: Option<Vec<NodeId>>,
}

/// Which replicas are being moved (ListPartitionReassignments, key 46)?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPartitionReassignments {
    /// Of these partitions, by the topics' names, unchecked; none for all.
    pub partitions: Option<Vec<(String, PartitionIndex)>>,
}

/// A move that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OngoingReassignment {
    /// The topic's name.
    pub topic: TopicName,
    /// Which partition of it.
    pub partition: PartitionIndex,
    /// Every replica: where to, then those that go.
    pub replicas: Vec<NodeId>,
    /// Those that were none before.
    pub adding: Vec<NodeId>,
    /// Those that will be none any more.
    pub removing: Vec<NodeId>,
}
