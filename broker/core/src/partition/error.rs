//! Why a replica refuses.

use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::log::SequenceError;

/// Why a replica cannot serve a request; each maps to one Kafka error code at the edge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// NOT_LEADER_OR_FOLLOWER.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// FENCED_LEADER_EPOCH (rule 50).
    #[error("leader epoch {asked} is older than the current one, {current}")]
    FencedLeaderEpoch {
        /// The epoch in the request.
        asked: LeaderEpoch,
        /// The epoch here.
        current: LeaderEpoch,
    },
    /// UNKNOWN_LEADER_EPOCH (rule 50).
    #[error("leader epoch {asked} is newer than the one known here, {current}")]
    UnknownLeaderEpoch {
        /// The epoch in the request.
        asked: LeaderEpoch,
        /// The epoch here.
        current: LeaderEpoch,
    },
    /// OFFSET_OUT_OF_RANGE (rule 47).
    #[error("offset {asked} is outside {log_start}..={log_end}")]
    OffsetOutOfRange {
        /// The offset in the request.
        asked: Offset,
        /// Where the log starts.
        log_start: Offset,
        /// Where it ends.
        log_end: Offset,
    },
    /// OFFSET_NOT_AVAILABLE: whether there is something committed there this replica does not know yet. A leader has not
    /// learnt how much of what earlier ones took is (rule 53); a follower may lack what its leader has (KIP-392).
    #[error("it is not known here yet what is committed there")]
    OffsetNotAvailable,
    /// NOT_ENOUGH_REPLICAS (rule 28): nothing was written.
    #[error("the partition has {isr} in-sync replicas and needs {min}")]
    NotEnoughReplicas {
        /// In-sync replicas now.
        isr: usize,
        /// `min.insync.replicas`, or the number of replicas where that is less.
        min: usize,
    },
    /// NOT_ENOUGH_REPLICAS_AFTER_APPEND (rule 28): the records stay in the log.
    #[error("the partition fell to {isr} in-sync replicas, below {min}, after the records were written")]
    NotEnoughReplicasAfterAppend {
        /// In-sync replicas now.
        isr: usize,
        /// `min.insync.replicas`, or the number of replicas where that is less.
        min: usize,
    },
    /// NOT_LEADER_OR_FOLLOWER: somebody fetches as a replica who is none, or no longer in that life, as far as this
    /// leader knows. Its metadata may be old; the follower asks again.
    #[error("broker {0} does not replicate the partition, as far as its leader knows")]
    UnknownReplica(NodeId),
    /// OUT_OF_ORDER_SEQUENCE_NUMBER or INVALID_PRODUCER_EPOCH (rules 33 and 34): nothing was written.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// KAFKA_STORAGE_ERROR: there is too little room in the log directory, or there was and another is about to lead for
    /// that; nothing was written, though an earlier copy may be there.
    #[error("the log directory of the partition is full: records are refused until there is room again")]
    DirectoryFull,
    /// KAFKA_STORAGE_ERROR: the log directory failed; nothing is known of what it held unsynced.
    #[error("the log directory of the partition has failed")]
    Storage,
}

impl PartitionError {
    /// The same from a leader that may have been replaced without having heard of it
    /// ([`crate::lifecycle::Lifecycle::session_ends`]). That its log does not have an offset means nothing: a reader that
    /// believes it begins again somewhere else, while the new leader has what it asks for. Nor does it mean anything that
    /// its log lacks what an idempotent producer has sent before: a producer that believes it gives up. Where its own log
    /// begins it knows, and which producer has a newer epoch.
    #[must_use]
    pub fn of_doubtful_leader(self) -> Self {
        let lacks_offset =
            matches!(&self, Self::OffsetOutOfRange { asked, log_start, .. } if asked >= log_start);
        let lacks_sequence = matches!(self, Self::Sequence(SequenceError::OutOfOrder { .. }));
        if lacks_offset || lacks_sequence { Self::NotLeader } else { self }
    }
}
