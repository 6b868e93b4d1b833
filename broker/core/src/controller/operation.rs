//! What the controller can be asked, in the core's own words. `api/` of the binary maps Kafka's messages to it.

mod features;
mod producer_ids;
mod reassignment;
mod replication;
mod voters;

use std::time::Duration;

use bytes::Bytes;

use crate::config::Alteration;
use crate::ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, MetadataOffset, NodeId, PartitionIndex, Term,
    TopicId, TopicName, TopicPartition,
};
use crate::metadata::image::{ConfigResource, Endpoint, FeatureRange, Voter};
use crate::quorum::SnapshotId;
use crate::time::Monotonic;

pub use self::features::{FeatureUpdate, UpdateFeatures, UpgradeType};
pub use self::producer_ids::{AllocateProducerIds, ProducerIdBlock};
pub use self::reassignment::{
    AlterPartitionReassignments, ListPartitionReassignments, OngoingReassignment, Reassignment,
};
pub use self::replication::{
    AlterIsr, AlterPartition, AlteredPartition, AssignReplicasToDirs, AssignedReplica, ElectLeaders,
    ElectionType,
};
pub use self::voters::{VoterChange, VoterKey};
use super::error::OperationError;

/// The driver's own number for a request, given back with its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is described at its type")]
pub enum Operation {
    RegisterBroker(RegisterBroker),
    Heartbeat(Heartbeat),
    CreateTopics(CreateTopics),
    DeleteTopics(DeleteTopics),
    CreatePartitions(CreatePartitions),
    IncrementalAlterConfigs(IncrementalAlterConfigs),
    AlterPartition(AlterPartition),
    AssignReplicasToDirs(AssignReplicasToDirs),
    ElectLeaders(ElectLeaders),
    AlterPartitionReassignments(AlterPartitionReassignments),
    ListPartitionReassignments(ListPartitionReassignments),
    /// A broker is gone for good (UnregisterBroker).
    UnregisterBroker(NodeId),
    ChangeVoters(VoterChange),
    UpdateFeatures(UpdateFeatures),
    AllocateProducerIds(AllocateProducerIds),
    /// Who votes and how far everybody is. Reply: [`Reply::DescribeQuorum`].
    DescribeQuorum,
    FetchMetadata(FetchMetadata),
    FetchMetadataSnapshot(FetchMetadataSnapshot),
    RestartSafety(RestartSafety),
}

/// The answer to an [`Operation`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is described at its type")]
pub enum Reply {
    RegisterBroker(RegisteredBroker),
    Heartbeat(HeartbeatReply),
    /// In the order of the request.
    CreateTopics(Vec<Result<CreatedTopic, OperationError>>),
    /// In the order of the request.
    DeleteTopics(Vec<Result<DeletedTopic, OperationError>>),
    /// In the order of the request.
    CreatePartitions(Vec<Result<(), OperationError>>),
    /// In the order of the request.
    IncrementalAlterConfigs(Vec<Result<(), OperationError>>),
    /// In the order of the request.
    AlterPartition(Vec<Result<AlteredPartition, OperationError>>),
    /// In the order of the request.
    AssignReplicasToDirs(Vec<Result<(), OperationError>>),
    /// In the order of the request, or of the topics' ids if it names none.
    ElectLeaders(Vec<(TopicPartition, Result<(), OperationError>)>),
    /// In the order of the request.
    AlterPartitionReassignments(Vec<Result<(), OperationError>>),
    /// In the order of the request, or of the topics' ids if it names none; without those that are not moved.
    ListPartitionReassignments(Vec<OngoingReassignment>),
    UnregisterBroker,
    ChangeVoters,
    UpdateFeatures,
    AllocateProducerIds(ProducerIdBlock),
    DescribeQuorum(QuorumDescription),
    FetchMetadata(FetchedMetadata),
    FetchMetadataSnapshot(SnapshotPart),
    RestartSafety(RestartVerdict),
}

/// A broker asks to be part of the cluster (BrokerRegistration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterBroker {
    /// Its id.
    pub node_id: NodeId,
    /// The cluster it was formatted for.
    pub cluster_id: ClusterId,
    /// The process.
    pub incarnation_id: IncarnationId,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Its log directories.
    pub directories: Vec<DirectoryId>,
    /// What it can run.
    pub features: Vec<FeatureRange>,
    /// The epoch under which it last stopped in order, if all of its log directories say so (KIP-966); none after a
    /// crash. Where acknowledgements are not synced its logs may have lost records then.
    pub previous_epoch: Option<BrokerEpoch>,
}

/// Reply to [`RegisterBroker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredBroker {
    /// What the broker must name from now on.
    pub epoch: BrokerEpoch,
}

/// A broker shows that it lives, and says what it wants (BrokerHeartbeat).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its id.
    pub node_id: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// The last entry of the metadata log that it applied.
    pub metadata_offset: MetadataOffset,
    /// Whether it wants to be, or stay, fenced.
    pub want_fence: bool,
    /// Whether it wants to stop (KIP-841).
    pub want_shutdown: bool,
    /// Those of its log directories that have failed, all of them each time (KIP-858).
    pub offline_directories: Vec<DirectoryId>,
    /// Those of its replicas whose logs are damaged and still in their place: all of them each time, but for those beyond
    /// [`Heartbeat::DAMAGED_MAX`].
    pub damaged_logs: Vec<TopicPartition>,
}

impl Heartbeat {
    /// So many damaged logs are told at once: 20 KiB. Where there are more the first ones go first, as they are repaired.
    pub const DAMAGED_MAX: usize = 1_000;
}

/// Reply to [`Heartbeat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Whether it applied its own registration.
    pub caught_up: bool,
    /// Whether it is fenced.
    pub fenced: bool,
    /// Whether it may stop now.
    pub should_shut_down: bool,
}

/// Topics to be made (CreateTopics).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopics {
    /// Each of them.
    pub topics: Vec<NewTopic>,
    /// Check all and change nothing.
    pub validate_only: bool,
}

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name, unchecked.
    pub name: String,
    /// The id it gets. Drawn by the caller, since nothing here is random; a nil, reserved or known one is refused.
    pub id: TopicId,
    /// How many partitions; -1 for `num.partitions`.
    pub partitions: i32,
    /// How many replicas of each; -1 for `default.replication.factor`.
    pub replication_factor: i16,
    /// The replicas of each partition; empty to let the controller choose.
    pub assignments: Vec<(PartitionIndex, Vec<NodeId>)>,
    /// Its configuration. A key without a value is refused.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that was made, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; nil with `validate_only`.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each has.
    pub replication_factor: i16,
}

/// Topics to be removed (DeleteTopics).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteTopics {
    /// Each of them.
    pub topics: Vec<TopicReference>,
}

/// A topic by name or by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicReference {
    /// By name, unchecked.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// A topic that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    /// The id it had.
    pub id: TopicId,
    /// The name it had.
    pub name: TopicName,
}

/// Partitions to be added (CreatePartitions).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatePartitions {
    /// To which topics.
    pub topics: Vec<MorePartitions>,
    /// Check all and change nothing.
    pub validate_only: bool,
}

/// How many partitions a topic is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitions {
    /// The topic's name, unchecked.
    pub name: String,
    /// How many in all.
    pub count: i32,
    /// The replicas of each new one; none to let the controller choose.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// Dynamic configuration to be changed (IncrementalAlterConfigs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncrementalAlterConfigs {
    /// Of what, and how.
    pub resources: Vec<(ConfigResource, Vec<Alteration>)>,
    /// Check all and change nothing.
    pub validate_only: bool,
}

/// Who votes and how far everybody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The active controller.
    pub leader: NodeId,
    /// Its term.
    pub term: Term,
    /// The last committed entry.
    pub committed: MetadataOffset,
    /// Those who vote.
    pub voters: Vec<QuorumReplica>,
    /// Those who only follow: learners, and brokers that fetch.
    pub observers: Vec<QuorumReplica>,
    /// The voters and learners with their endpoints.
    pub nodes: Vec<Voter>,
}

/// One member or observer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The node.
    pub node_id: NodeId,
    /// Its directory; for a broker one of its log directories.
    pub directory_id: DirectoryId,
    /// The last entry it is known to have.
    pub log_end: MetadataOffset,
    /// When it was last heard.
    pub last_contact: Option<Monotonic>,
    /// When it last had everything.
    pub last_caught_up: Option<Monotonic>,
}

/// A broker asks for what happened since (private RPC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchMetadata {
    /// Who asks.
    pub node_id: NodeId,
    /// The last entry it applied.
    pub after: MetadataOffset,
    /// How long to wait for something new.
    pub wait_max: Duration,
    /// How much to send at most, beyond the first entry.
    pub bytes_max: usize,
}

impl FetchMetadata {
    /// How long a broker waits for something new, as Kafka's observers do, and how long anybody may.
    pub const WAIT_MAX: Duration = Duration::from_millis(500);

    /// How much a broker fetches at once, and how much anybody is sent: small beside the memory of either, large
    /// beside what a second brings.
    pub const BYTES_MAX: usize = 1 << 20;
}

/// Reply to [`FetchMetadata`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchedMetadata {
    /// What comes next; nothing if the wait was in vain.
    Entries {
        /// For [`crate::lifecycle::MetadataFollower`].
        bytes: Bytes,
        /// The last committed entry: how far behind the broker is.
        committed: MetadataOffset,
    },
    /// The log no longer reaches back that far.
    UseSnapshot(SnapshotId),
}

/// A broker asks for a part of a snapshot (private RPC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchMetadataSnapshot {
    /// Which.
    pub id: SnapshotId,
    /// From where on.
    pub position: u64,
    /// How much.
    pub bytes_max: usize,
}

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPart {
    /// Which.
    pub id: SnapshotId,
    /// The size of all of it.
    pub size: u64,
    /// Where this part starts.
    pub position: u64,
    /// The part.
    pub bytes: Bytes,
}

/// May these nodes be restarted now?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartSafety {
    /// Node ids, of brokers and of controllers alike.
    pub nodes: Vec<NodeId>,
}

/// Reply to [`RestartSafety`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartVerdict {
    /// Why not; empty if they may.
    pub reasons: Vec<RestartObstacle>,
}

/// A reason against a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartObstacle {
    /// A fixed word: `QUORUM`, `LAST_REPLICA` or `UNDER_MIN_ISR`.
    pub code: &'static str,
    /// What exactly.
    pub message: String,
}
