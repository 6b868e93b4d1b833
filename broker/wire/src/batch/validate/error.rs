//! Why a batch was refused, and the code Kafka gives for it.

use crate::batch::compression::DecompressError;
use crate::batch::header::BatchFlaw;
use crate::batch::record::RecordFlaw;
use crate::error::ErrorCode;

/// Record errors kept for the response. Past it, records are only counted: a batch can
/// hold millions of them, and the producer fails the batch as a whole anyway.
const RECORD_ERRORS_MAX: usize = 1_000;

/// Record errors quoted in the message, as in Kafka.
const RECORD_ERRORS_QUOTED: usize = 3;

/// Why a batch was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// There is no whole batch.
    #[error("no whole record batch")]
    NoBatch,
    /// There is more than one batch.
    #[error("more than one record batch")]
    SeveralBatches,
    /// A format that ended with Kafka 4.0.
    #[error("record format {magic} is no longer accepted")]
    OldFormat {
        /// The format.
        magic: i8,
    },
    /// The batch is damaged.
    #[error("corrupt record batch: {0}")]
    Corrupt(#[from] BatchFlaw),
    /// The attributes name no codec.
    #[error("unknown codec {bits}")]
    UnknownCodec {
        /// The number in the attributes.
        bits: u8,
    },
    /// Consumers of that time could not read it.
    #[error("produce version {produce_version} cannot carry zstd")]
    ZstdBeforeItsTime {
        /// The version of the request.
        produce_version: i16,
    },
    /// Offsets are the broker's to give.
    #[error("base offset {base_offset} of a producer's batch is not 0")]
    BaseOffset {
        /// As it stands in the batch.
        base_offset: i64,
    },
    /// Larger than `max.message.bytes`, as it came or after recompression.
    #[error("record batch of {bytes} bytes is larger than the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// Larger than a segment.
    #[error("record batch of {bytes} bytes is larger than a segment of {max}")]
    LargerThanSegment {
        /// Its size.
        bytes: usize,
        /// The size of a segment.
        max: u32,
    },
    /// The batch's counts are not positive or do not agree.
    #[error("record count {record_count} does not go with last offset delta {last_offset_delta}")]
    Count {
        /// How many records it claims.
        record_count: i32,
        /// The offset delta it claims for the last one.
        last_offset_delta: i32,
    },
    /// Markers are the broker's to write.
    #[error("producers may not write control batches")]
    Control,
    /// A producer id without sequence numbers.
    #[error("base sequence {base_sequence} of producer id {producer_id} is negative")]
    Sequence {
        /// The producer.
        producer_id: i64,
        /// Its first sequence number.
        base_sequence: i32,
    },
    /// The records cannot be decompressed, or are too many when they are.
    #[error("{0}")]
    Decompress(#[from] DecompressError),
    /// The records are not what the batch claims.
    #[error("invalid records: {0}")]
    Records(#[from] RecordFlaw),
    /// Records the topic does not accept.
    #[error("{0}")]
    Rejected(RejectedRecords),
    /// The topic's codec failed.
    #[error("cannot recompress records")]
    Recompress {
        /// What it said.
        source: std::io::Error,
    },
}

impl ProduceError {
    /// The code Kafka gives.
    ///
    /// Data that does not decompress is INVALID_RECORD, not Kafka's unknown server
    /// error: its checksum was right, so sending it again cannot help. Too much of it
    /// is MESSAGE_TOO_LARGE, on which producers split the batch.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Corrupt(_) => ErrorCode::CorruptMessage,
            Self::UnknownCodec { .. }
            | Self::ZstdBeforeItsTime { .. }
            | Self::Decompress(DecompressError::UnknownCodec { .. }) => ErrorCode::UnsupportedCompressionType,
            Self::TooLarge { .. } | Self::Decompress(DecompressError::TooLong { .. }) => {
                ErrorCode::MessageTooLarge
            }
            Self::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            Self::NoBatch
            | Self::SeveralBatches
            | Self::OldFormat { .. }
            | Self::BaseOffset { .. }
            | Self::Count { .. }
            | Self::Control
            | Self::Sequence { .. }
            | Self::Records(_)
            | Self::Decompress(DecompressError::Corrupt { .. }) => ErrorCode::InvalidRecord,
            Self::Rejected(rejected) => rejected.code(),
            Self::Recompress { .. } => ErrorCode::UnknownServerError,
        }
    }

    /// The records to name in the response, from Produce version 8 on.
    #[must_use]
    pub fn record_errors(&self) -> &[RecordError] {
        if let Self::Rejected(rejected) = self { &rejected.errors } else { &[] }
    }
}

/// One record the topic does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Which record of the batch.
    pub batch_index: i32,
    /// Why.
    pub message: String,
}

/// All records of a batch that the topic does not accept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectedRecords {
    errors: Vec<RecordError>,
    count: u32,
    bad_timestamps: u32,
}

impl RejectedRecords {
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn push_keyless(&mut self, index: i32) {
        self.push(index, || "a compacted topic cannot accept a record without a key".to_owned());
    }

    pub(super) fn push_out_of_range(&mut self, index: i32, timestamp: i64) {
        self.bad_timestamps += 1;
        self.push(index, || format!("timestamp {timestamp} is out of the range this topic accepts"));
    }

    pub(super) fn push_flagged(&mut self, index: i32) {
        self.bad_timestamps += 1;
        self.push(index, || "producers may not set the timestamp type to LogAppendTime".to_owned());
    }

    fn push(&mut self, batch_index: i32, message: impl FnOnce() -> String) {
        self.count += 1;
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(RecordError { batch_index, message: message() });
        }
    }

    /// As Kafka: one bad timestamp gives the whole batch its code.
    const fn any_timestamp(&self) -> bool {
        self.bad_timestamps > 0
    }

    const fn code(&self) -> ErrorCode {
        if self.any_timestamp() { ErrorCode::InvalidTimestamp } else { ErrorCode::InvalidRecord }
    }
}

impl std::fmt::Display for RejectedRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.any_timestamp() {
            return f.write_str("one or more records have been rejected due to invalid timestamp");
        }
        write!(f, "{} records have been rejected, among them:", self.count)?;
        for error in self.errors.iter().take(RECORD_ERRORS_QUOTED) {
            write!(f, " record {}: {};", error.batch_index, error.message)?;
        }
        Ok(())
    }
}
