//! What clients and brokers say to each other.

use bytes::Bytes;
use ottla_core::ids::{LeaderEpoch, NodeId, Offset, TopicId, TopicName, TopicPartition};
use ottla_core::metadata::image::Image;

use crate::coverage::Happening;

/// What a client asks a broker.
#[derive(Debug, Clone)]
pub(crate) enum ClientRequest {
    /// Where is everything?
    Metadata,
    /// Make a topic.
    CreateTopic { name: TopicName, partitions: i32, replication_factor: i16 },
    /// Delete a topic.
    DeleteTopic { id: TopicId },
    /// Change how densely a topic's logs are indexed, and how soon they begin another segment.
    Configure { name: TopicName, index_interval_bytes: u32, segment_index_bytes: u32 },
    /// Append a batch, acks=all.
    Produce { partition: TopicPartition, batch: Bytes, idempotent: bool },
    /// Read committed records: from the leader, or from any replica and rather from one in this rack.
    Fetch { partition: TopicPartition, offset: Offset, epoch: LeaderEpoch, rack: Option<String> },
    /// Where does the partition end?
    ListOffsets { partition: TopicPartition, epoch: LeaderEpoch },
}

/// What a broker answers.
#[derive(Debug, Clone)]
pub(crate) enum ClientReply {
    Metadata(Box<Image>),
    /// A topic was made, deleted or configured.
    Done(Happening),
    Produced {
        base_offset: Offset,
    },
    Fetched {
        records: Bytes,
        /// `None` from a leader that does not know yet how much the one before it has committed, and from a follower.
        high_watermark: Option<Offset>,
        /// The replica to read from instead.
        preferred: Option<NodeId>,
    },
    End {
        partition: TopicPartition,
        offset: Offset,
        /// Whether the broker may have been replaced as the leader, and this be an old end.
        in_doubt: bool,
    },
    /// It did not work. `certain`: and it will not have happened later either.
    Refused {
        certain: bool,
        reason: String,
    },
}

impl ClientRequest {
    /// Whether it may arrive twice, as when a client asks again over another connection while the first still delivers.
    pub(crate) fn may_be_repeated(&self) -> bool {
        matches!(self, Self::Produce { idempotent: true, .. })
    }
}

impl ClientReply {
    /// What kind of reply it is, for the trace.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Metadata(image) => format!("metadata at {}", image.offset),
            Self::Done(what) => what.name().to_owned(),
            Self::Produced { base_offset } => format!("produced at {base_offset}"),
            Self::Fetched { preferred: Some(preferred), .. } => format!("sent to {preferred}"),
            Self::Fetched { records, high_watermark, preferred: None } => {
                format!("fetched {} bytes of {high_watermark:?}", records.len())
            }
            Self::End { offset, in_doubt: false, .. } => format!("end {offset}"),
            Self::End { offset, in_doubt: true, .. } => format!("end {offset}, in doubt"),
            Self::Refused { certain, reason } => format!("refused ({certain}): {reason}"),
        }
    }
}
