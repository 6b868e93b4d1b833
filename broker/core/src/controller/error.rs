//! Why an operation is refused, and the one place where that becomes a Kafka error code.

use crate::ids::NodeId;

/// A refusal, with the text that the client is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// Another controller is active, or none is.
    #[error("this is not the active controller")]
    NotController {
        /// Who is, as far as known.
        leader: Option<NodeId>,
    },
    /// A topic's name is no name, or collides with another.
    #[error("{0}")]
    InvalidTopic(String),
    /// A topic of that name exists.
    #[error("topic \"{0}\" already exists")]
    TopicAlreadyExists(String),
    /// A replication factor that is impossible here.
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// A number of partitions that is impossible.
    #[error("{0}")]
    InvalidPartitions(String),
    /// An assignment of replicas, to brokers or to a log directory, that is impossible.
    #[error("{0}")]
    InvalidReplicaAssignment(String),
    /// A configuration that no topic or broker takes.
    #[error("{0}")]
    InvalidConfig(String),
    /// There is no such topic.
    #[error("topic \"{0}\" does not exist")]
    UnknownTopic(String),
    /// There is no topic with such an id.
    #[error("there is no topic with id {0}")]
    UnknownTopicId(String),
    /// There is no such partition.
    #[error("{0} does not exist")]
    UnknownPartition(String),
    /// A broker speaks of a replica that it does not have.
    #[error("{0}")]
    NotLeaderOrFollower(String),
    /// Too much at once, or forbidden by the cluster's configuration.
    #[error("{0}")]
    PolicyViolation(String),
    /// `delete.topic.enable` is false.
    #[error("topic deletion is disabled by delete.topic.enable")]
    TopicDeletionDisabled,
    /// The request contradicts itself.
    #[error("{0}")]
    InvalidRequest(String),
    /// The leader is there that was asked for.
    #[error("no election is needed")]
    ElectionNotNeeded,
    /// The first replica cannot lead.
    #[error("{0}")]
    PreferredLeaderNotAvailable(String),
    /// A move that is to be taken back is not under way.
    #[error("{0}")]
    NoReassignmentInProgress(String),
    /// What a leader asked for was done, and with it a reassignment ended that made another the leader.
    #[error("{0}")]
    NewLeaderElected(String),
    /// No replica can lead.
    #[error("{0}")]
    EligibleLeadersNotAvailable(String),
    /// A leader speaks for an epoch that is over.
    #[error("{0}")]
    FencedLeaderEpoch(String),
    /// A leader does not know the last change of its partition.
    #[error("{0}")]
    InvalidUpdateVersion(String),
    /// A replica that cannot be in sync.
    #[error("{0}")]
    IneligibleReplica(String),
    /// A broker speaks for a registration that was replaced.
    #[error("broker {node_id} has another epoch by now")]
    StaleBrokerEpoch {
        /// The broker.
        node_id: NodeId,
    },
    /// All producer ids are given out.
    #[error("there are no producer ids left")]
    ProducerIdsExhausted,
    /// A broker that never registered.
    #[error("broker {0} is not registered")]
    BrokerIdNotRegistered(NodeId),
    /// Another live process has this id.
    #[error("broker id {0} is in use by another process that is alive")]
    DuplicateBrokerRegistration(NodeId),
    /// A registration that makes no sense.
    #[error("{0}")]
    InvalidRegistration(String),
    /// A broker of another cluster.
    #[error("the broker belongs to another cluster")]
    InconsistentClusterId,
    /// A broker that cannot run what the cluster has finalised.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// What must come first did not in time.
    #[error("{0}")]
    RequestTimedOut(String),
    /// A controller that votes already.
    #[error("{0}")]
    DuplicateVoter(String),
    /// A controller that does not vote.
    #[error("{0}")]
    VoterNotFound(String),
    /// The snapshot asked for is no longer there; begin anew.
    #[error("the snapshot is no longer there")]
    SnapshotNotFound,
}

impl OperationError {
    /// Kafka's number of the error.
    pub fn code(&self) -> i16 {
        match self {
            Self::ProducerIdsExhausted => -1,
            Self::UnknownTopic(_) | Self::UnknownPartition(_) => 3,
            Self::NotLeaderOrFollower(_) => 6,
            Self::RequestTimedOut(_) => 7,
            Self::InvalidTopic(_) => 17,
            Self::UnsupportedVersion(_) => 35,
            Self::TopicAlreadyExists(_) => 36,
            Self::InvalidPartitions(_) => 37,
            Self::InvalidReplicationFactor(_) => 38,
            Self::InvalidReplicaAssignment(_) => 39,
            Self::InvalidConfig(_) => 40,
            Self::NotController { .. } => 41,
            Self::InvalidRequest(_) => 42,
            Self::PolicyViolation(_) => 44,
            Self::TopicDeletionDisabled => 73,
            Self::FencedLeaderEpoch(_) => 74,
            Self::StaleBrokerEpoch { .. } => 77,
            Self::PreferredLeaderNotAvailable(_) => 80,
            Self::EligibleLeadersNotAvailable(_) => 83,
            Self::ElectionNotNeeded => 84,
            Self::NoReassignmentInProgress(_) => 85,
            Self::InvalidUpdateVersion(_) => 95,
            Self::SnapshotNotFound => 98,
            Self::UnknownTopicId(_) => 100,
            Self::DuplicateBrokerRegistration(_) => 101,
            Self::BrokerIdNotRegistered(_) => 102,
            Self::InconsistentClusterId => 104,
            Self::IneligibleReplica(_) => 107,
            Self::NewLeaderElected(_) => 108,
            Self::InvalidRegistration(_) => 119,
            Self::DuplicateVoter(_) => 126,
            Self::VoterNotFound(_) => 127,
        }
    }
}
