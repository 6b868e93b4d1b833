//! What a coordinator is asked, and what it answers.

use bytes::Bytes;
use uuid::Uuid;

use super::ids::{GroupId, InstanceId, MemberId};
use super::record::{CommittedOffset, OffsetKey};
use crate::ids::{LeaderEpoch, Offset, TopicId, TopicName};
use crate::time::Wall;

/// What is asked of one group, or of all.
#[derive(Debug, Clone)]
pub enum Request {
    /// JoinGroup
    Join(Join),
    /// SyncGroup
    Sync(Sync),
    /// Heartbeat
    Heartbeat(Heartbeat),
    /// LeaveGroup
    Leave(Leave),
    /// OffsetCommit
    Commit(Commit),
    /// OffsetFetch
    FetchOffsets(FetchOffsets),
    /// OffsetDelete
    DeleteOffsets {
        /// Which group.
        group: GroupId,
        /// What is no longer to be kept.
        offsets: Vec<OffsetKey>,
    },
    /// DeleteGroups
    Delete(GroupId),
    /// DescribeGroups
    Describe(GroupId),
    /// ListGroups
    List,
}

/// Who speaks for a member.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// What the coordinator calls it; none if it does not know yet, or does not say.
    pub member: Option<MemberId>,
    /// What it calls itself.
    pub instance: Option<InstanceId>,
}

/// A member joins, or joins again.
#[derive(Debug, Clone)]
pub struct Join {
    /// Which group.
    pub group: GroupId,
    /// Who.
    pub speaker: Speaker,
    /// `client.id`
    pub client_id: String,
    /// Its address, as `/127.0.0.1`.
    pub client_host: String,
    /// Milliseconds without a sign of life after which it is gone.
    pub session_timeout_ms: i32,
    /// Milliseconds that it takes at most to join again.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect` or another.
    pub protocol_type: String,
    /// What it could agree on, the best first, each with what the leader is to know.
    pub protocols: Vec<(String, Bytes)>,
    /// Whether it has to come back with the id it is given before it counts (JoinGroup 4).
    pub needs_known_id: bool,
    /// Whether a leader understands that it is to assign nothing (JoinGroup 9).
    pub may_skip_assignment: bool,
    /// What its id is made of, if it gets one.
    pub fresh: Uuid,
}

/// A member wants its assignment; the leader brings everybody's.
#[derive(Debug, Clone)]
pub struct Sync {
    /// Which group.
    pub group: GroupId,
    /// Who.
    pub speaker: Speaker,
    /// Of which generation.
    pub generation: i32,
    /// The protocol type and the protocol that it believes in, where it says so (SyncGroup 5).
    pub protocol_type: Option<String>,
    /// See above.
    pub protocol: Option<String>,
    /// From the leader.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// A sign of life.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Which group.
    pub group: GroupId,
    /// Who.
    pub speaker: Speaker,
    /// Of which generation.
    pub generation: i32,
}

/// Members leave, or are removed.
#[derive(Debug, Clone)]
pub struct Leave {
    /// Which group.
    pub group: GroupId,
    /// Who.
    pub members: Vec<Speaker>,
}

/// Offsets to be kept.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Which group.
    pub group: GroupId,
    /// Who.
    pub speaker: Speaker,
    /// Of which generation; −1 of nobody's: an administrator, or a consumer that assigns itself.
    pub generation: i32,
    /// Whether the client knows the code GROUP_ID_NOT_FOUND (OffsetCommit 9).
    pub knows_group_id_not_found: bool,
    /// What is to be kept.
    pub offsets: Vec<CommitItem>,
}

/// One offset to be kept.
#[derive(Debug, Clone)]
pub struct CommitItem {
    /// Of what.
    pub at: OffsetKey,
    /// The topic's id, if it is known.
    pub topic_id: TopicId,
    /// The next record to be consumed.
    pub offset: Offset,
    /// The leader epoch of the last one consumed.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the client wants kept with it.
    pub metadata: String,
    /// When it expires, where the client says so.
    pub expires: Option<Wall>,
}

/// Which offsets are wanted.
#[derive(Debug, Clone)]
pub struct FetchOffsets {
    /// Of which group.
    pub group: GroupId,
    /// Of these; none: of all there are.
    pub offsets: Option<Vec<OffsetKey>>,
}

/// What is answered, in the order of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Join`].
    Joined(Joined),
    /// To [`Request::Sync`].
    Synced(Synced),
    /// To [`Request::Heartbeat`].
    Alive,
    /// To [`Request::Leave`]: what came of each.
    Left(Vec<Result<(), GroupError>>),
    /// To [`Request::Commit`]: what came of each.
    Committed(Vec<Result<(), GroupError>>),
    /// To [`Request::FetchOffsets`]: what is kept of each, in the order asked for.
    Offsets(Vec<(OffsetKey, Option<CommittedOffset>)>),
    /// To [`Request::DeleteOffsets`]: what came of each.
    OffsetsDeleted(Vec<Result<(), GroupError>>),
    /// To [`Request::Delete`].
    Deleted,
    /// To [`Request::Describe`].
    Described(Description),
    /// To [`Request::List`].
    Listed(Vec<Overview>),
}

/// A member is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Of which generation.
    pub generation: i32,
    /// Which protocol type was agreed on.
    pub protocol_type: Option<String>,
    /// Which protocol.
    pub protocol: Option<String>,
    /// Who assigns.
    pub leader: MemberId,
    /// What it is called.
    pub member: MemberId,
    /// A leader that came back is to leave the assignment as it is.
    pub skip_assignment: bool,
    /// To the leader: who is to be assigned something.
    pub members: Vec<JoinedMember>,
}

/// A member, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// What the coordinator calls it.
    pub id: MemberId,
    /// What it calls itself.
    pub instance: Option<InstanceId>,
    /// What it said under the chosen protocol.
    pub metadata: Bytes,
}

/// What a member was assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Which protocol type was agreed on.
    pub protocol_type: Option<String>,
    /// Which protocol.
    pub protocol: Option<String>,
    /// The leader's words to it.
    pub assignment: Bytes,
}

/// The state of a classic group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; maybe offsets.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// The leader is assigning.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// It is being deleted.
    Dead,
}

impl GroupState {
    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A group as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its state.
    pub state: GroupState,
    /// `consumer`, `connect` or another; empty for one that only keeps offsets.
    pub protocol_type: String,
    /// The chosen protocol, while it is stable.
    pub protocol: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// What the coordinator calls it.
    pub id: MemberId,
    /// What it calls itself.
    pub instance: Option<InstanceId>,
    /// `client.id`
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// What it said under the chosen protocol, while the group is stable.
    pub metadata: Bytes,
    /// What it was assigned, while the group is stable.
    pub assignment: Bytes,
}

/// A group as ListGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// Its name.
    pub group: GroupId,
    /// `consumer`, `connect` or another; empty for one that only keeps offsets.
    pub protocol_type: String,
    /// Its state.
    pub state: GroupState,
}

/// Why something asked of a group was not done. Each is Kafka's error of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// COORDINATOR_LOAD_IN_PROGRESS
    #[error("the coordinator reads what it keeps of the group: ask again")]
    CoordinatorLoadInProgress,
    /// COORDINATOR_NOT_AVAILABLE
    #[error("the coordinator cannot write what it keeps of the group: ask again")]
    CoordinatorNotAvailable,
    /// NOT_COORDINATOR
    #[error("another broker coordinates the group: ask FindCoordinator which")]
    NotCoordinator,
    /// INVALID_GROUP_ID
    #[error("the group id is empty")]
    InvalidGroupId,
    /// GROUP_ID_NOT_FOUND
    #[error("group \"{0}\" does not exist")]
    GroupIdNotFound(GroupId),
    /// NON_EMPTY_GROUP
    #[error("group \"{0}\" has members: stop them first")]
    NonEmptyGroup(GroupId),
    /// GROUP_SUBSCRIBED_TO_TOPIC
    #[error("group \"{group}\" is subscribed to topic \"{topic}\"")]
    GroupSubscribedToTopic {
        /// Which group.
        group: GroupId,
        /// Which topic.
        topic: TopicName,
    },
    /// GROUP_MAX_SIZE_REACHED
    #[error("the group has as many members as group.max.size allows")]
    GroupMaxSizeReached,
    /// UNKNOWN_MEMBER_ID
    #[error("the group has no such member: join it again")]
    UnknownMemberId,
    /// MEMBER_ID_REQUIRED
    #[error("join again as \"{0}\"")]
    MemberIdRequired(MemberId),
    /// FENCED_INSTANCE_ID
    #[error("another process has joined under this group.instance.id")]
    FencedInstanceId,
    /// ILLEGAL_GENERATION
    #[error("the group is at generation {0}")]
    IllegalGeneration(i32),
    /// REBALANCE_IN_PROGRESS
    #[error("the group rebalances: join it again")]
    RebalanceInProgress,
    /// INCONSISTENT_GROUP_PROTOCOL
    #[error("the group has another protocol type, or no protocol in common")]
    InconsistentGroupProtocol,
    /// INVALID_REQUEST
    #[error("a member names more than 100 protocols")]
    TooManyProtocols,
    /// INVALID_SESSION_TIMEOUT
    #[error(
        "the session timeout is outside of group.min.session.timeout.ms and group.max.session.timeout.ms"
    )]
    InvalidSessionTimeout,
    /// OFFSET_METADATA_TOO_LARGE
    #[error("the metadata is longer than offset.metadata.max.bytes")]
    OffsetMetadataTooLarge,
    /// INVALID_COMMIT_OFFSET_SIZE
    #[error("so many offsets do not fit one batch of __consumer_offsets: commit fewer at once")]
    InvalidCommitOffsetSize,
    /// UNKNOWN_SERVER_ERROR, as Kafka has it where what a group agreed on does not fit one record.
    #[error("what the members say does not fit one batch of __consumer_offsets (its max.message.bytes)")]
    GroupTooLarge,
}

impl CommitItem {
    /// What is kept of it.
    pub(super) fn into_kept(self, now: Wall) -> CommittedOffset {
        CommittedOffset {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata,
            committed: now,
            expires: self.expires,
            topic_id: self.topic_id,
        }
    }
}
