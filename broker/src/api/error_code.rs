//! From each operation's error to Kafka's code. No other place names a code for these.

use ottla_core::controller::OperationError;
use ottla_core::group::request::GroupError;
use ottla_core::log::SequenceError;
use ottla_core::partition::PartitionError;
use ottla_wire::ResponseError;
use ottla_wire::protocol::StrBytes;

use crate::drive::directory_moves::MoveRefusal;

/// What a partition refuses with.
pub(crate) fn of_partition_error(error: &PartitionError) -> ResponseError {
    match error {
        PartitionError::NotLeader | PartitionError::UnknownReplica(_) => ResponseError::NotLeaderOrFollower,
        PartitionError::FencedLeaderEpoch { .. } => ResponseError::FencedLeaderEpoch,
        PartitionError::UnknownLeaderEpoch { .. } => ResponseError::UnknownLeaderEpoch,
        PartitionError::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange,
        PartitionError::OffsetNotAvailable => ResponseError::OffsetNotAvailable,
        PartitionError::NotEnoughReplicas { .. } => ResponseError::NotEnoughReplicas,
        PartitionError::NotEnoughReplicasAfterAppend { .. } => ResponseError::NotEnoughReplicasAfterAppend,
        PartitionError::Sequence(SequenceError::OutOfOrder { .. }) => ResponseError::OutOfOrderSequenceNumber,
        PartitionError::Sequence(SequenceError::StaleEpoch { .. }) => ResponseError::InvalidProducerEpoch,
        PartitionError::Storage | PartitionError::DirectoryFull => ResponseError::KafkaStorageError,
    }
}

/// What a coordinator refuses with.
pub(super) fn of_group_error(error: &GroupError) -> ResponseError {
    match error {
        GroupError::CoordinatorLoadInProgress => ResponseError::CoordinatorLoadInProgress,
        GroupError::CoordinatorNotAvailable => ResponseError::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ResponseError::NotCoordinator,
        GroupError::InvalidGroupId => ResponseError::InvalidGroupId,
        GroupError::GroupIdNotFound(_) => ResponseError::GroupIdNotFound,
        GroupError::NonEmptyGroup(_) => ResponseError::NonEmptyGroup,
        GroupError::GroupSubscribedToTopic { .. } => ResponseError::GroupSubscribedToTopic,
        GroupError::GroupMaxSizeReached => ResponseError::GroupMaxSizeReached,
        GroupError::UnknownMemberId => ResponseError::UnknownMemberId,
        GroupError::MemberIdRequired(_) => ResponseError::MemberIdRequired,
        GroupError::FencedInstanceId => ResponseError::FencedInstanceId,
        GroupError::IllegalGeneration(_) => ResponseError::IllegalGeneration,
        GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => ResponseError::InconsistentGroupProtocol,
        GroupError::TooManyProtocols => ResponseError::InvalidRequest,
        GroupError::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
        GroupError::OffsetMetadataTooLarge => ResponseError::OffsetMetadataTooLarge,
        GroupError::InvalidCommitOffsetSize => ResponseError::InvalidCommitOffsetSize,
        GroupError::GroupTooLarge => ResponseError::UnknownServerError,
    }
}

/// Why a replica is not moved to another log directory.
pub(super) fn of_move_refusal(refusal: MoveRefusal) -> ResponseError {
    match refusal {
        MoveRefusal::NotHere => ResponseError::ReplicaNotAvailable,
        MoveRefusal::Storage => ResponseError::KafkaStorageError,
    }
}

/// A refusal as a client sees it: a code, and the sentence beside it where the response has room for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Kafka's number of the error.
    pub(super) code: i16,
    message: String,
}

impl Refusal {
    pub(super) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { code: error.code(), message: message.into() }
    }

    /// The principal may not. The text is the same whether the thing exists or not.
    pub(super) fn unauthorized(error: ResponseError) -> Self {
        Self::new(error, "not authorized")
    }

    /// The sentence in the type of the message fields.
    pub(super) fn text(&self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.message.clone()))
    }
}

/// The core knows the number of each of its errors.
impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}
