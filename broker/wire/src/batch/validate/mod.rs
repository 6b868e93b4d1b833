//! Whether a producer's batch may enter a log, and in which form.
//!
//! A pure function of the bytes, the topic's settings and the time. It refuses what
//! Kafka refuses, in Kafka's order, so that a batch with several faults gets the
//! same code from both. What it returns is ready to append: offset and leader epoch
//! are still to be patched in, which the checksum does not cover.
//!
//! Producers' sequence numbers are checked later, against the state of the partition.
//!
//! Two things differ from Kafka on purpose. Records whose offset deltas are not
//! 0, 1, 2, … are renumbered in uncompressed batches as well, where Kafka stores
//! them as they came. Attribute bits that only a broker may set (the delete horizon)
//! are cleared instead of stored.

mod error;
#[cfg(test)]
mod tests;

pub use error::{ProduceError, RecordError, RejectedRecords};

use bytes::BytesMut;

use super::compression::{Codec, Compression, MAX_DECOMPRESSED_BYTES};
use super::header::{Attributes, Batch, BatchFlaw, BatchHeader, TimestampType};
use super::record::{Records, records};
use super::{BatchBuilder, NO_TIMESTAMP};

/// The first version of Produce that may carry zstd.
const ZSTD_MIN_VERSION: i16 = 7;

/// What `compression.type` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetCompression {
    /// Whatever the producer used; batches pass through as they came.
    #[default]
    Producer,
    /// This codec: batches in another one are recompressed, batches already in it
    /// pass through whatever their level.
    To(Compression),
}

/// What a topic's configuration asks of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `cleanup.policy` holds `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `i64::MAX` for no limit.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`; `i64::MAX` for no limit.
    pub after_max_ms: i64,
    /// `max.message.bytes`, of a whole batch as stored.
    pub max_message_bytes: u32,
    /// `segment.bytes`: a batch must fit one segment.
    pub segment_bytes: u32,
    /// `compression.type` with its level.
    pub compression: TargetCompression,
}

impl Default for TopicSettings {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            max_message_bytes: 1_048_588,
            segment_bytes: 1_073_741_824,
            compression: TargetCompression::Producer,
        }
    }
}

/// A batch that may be appended once it has its offset and leader epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedBatch {
    /// The whole batch, detached from the request it came in.
    pub bytes: BytesMut,
    /// Its header as it stands in `bytes`: counts, producer, sequences, flags, and the
    /// true max timestamp.
    pub header: BatchHeader,
    /// Which record, counted from the first, has the max timestamp.
    pub max_timestamp_delta: i32,
    /// The time to return to the producer: set only if the topic has append times.
    pub log_append_time_ms: Option<i64>,
    /// Whether the records were written anew, because the topic asks for another
    /// codec or because their offset deltas had gaps.
    pub rebuilt: bool,
}

/// Checks what one partition of a Produce request carries.
///
/// # Errors
/// If the records are not exactly one sound batch that the topic accepts.
pub fn validate(
    bytes: &[u8],
    produce_version: i16,
    settings: &TopicSettings,
    now_ms: i64,
) -> Result<ValidatedBatch, ProduceError> {
    let batch = only_batch(bytes)?;
    let source = check_header(&batch, produce_version, settings)?;
    let payload = records(&batch, decompressed_bytes_max(settings))?;
    let walk = walk(&batch, &payload, settings, now_ms)?;
    let target = match settings.compression {
        TargetCompression::Producer => Compression::of(source),
        TargetCompression::To(compression) => compression,
    };
    let rebuilt = target.codec() != source || !walk.consecutive;
    let (bytes, header) = if rebuilt {
        let rebuilt = rebuild(&batch, &payload, target, settings.timestamp_type, now_ms)?;
        check_size(rebuilt.0.len(), settings)?;
        rebuilt
    } else {
        settle(&batch, walk.max_timestamp, settings.timestamp_type, now_ms)
    };
    if bytes.len() > settings.segment_bytes as usize {
        return Err(ProduceError::LargerThanSegment { bytes: bytes.len(), max: settings.segment_bytes });
    }
    let (log_append_time_ms, max_timestamp_delta) = match settings.timestamp_type {
        TimestampType::CreateTime => (None, walk.max_timestamp_delta),
        // Every record of the batch then has the same time, the first one included.
        TimestampType::LogAppendTime => (Some(now_ms), 0),
    };
    Ok(ValidatedBatch { bytes, header, max_timestamp_delta, log_append_time_ms, rebuilt })
}

/// How far a batch may swell. Topics with larger batches than usual get more room, at
/// the ratio that compressed text has.
fn decompressed_bytes_max(settings: &TopicSettings) -> u32 {
    const RATIO: u32 = 8;
    settings.max_message_bytes.saturating_mul(RATIO).max(MAX_DECOMPRESSED_BYTES)
}

/// Exactly one batch of format 2, the rest being at most part of another.
fn only_batch(bytes: &[u8]) -> Result<Batch<'_>, ProduceError> {
    let (batch, rest) = match Batch::split(bytes) {
        Ok(split) => split,
        Err(BatchFlaw::Short { .. }) => return Err(ProduceError::NoBatch),
        Err(BatchFlaw::Magic { magic: magic @ 0..=1 }) => return Err(ProduceError::OldFormat { magic }),
        Err(flaw @ (BatchFlaw::Length { .. } | BatchFlaw::Magic { .. } | BatchFlaw::Crc { .. })) => {
            return Err(flaw.into());
        }
    };
    match Batch::split(rest) {
        // As Kafka, which reads past a torn end.
        Err(BatchFlaw::Short { .. }) => Ok(batch),
        Ok(_) | Err(BatchFlaw::Magic { magic: 0..=1 }) => Err(ProduceError::SeveralBatches),
        Err(flaw @ (BatchFlaw::Length { .. } | BatchFlaw::Magic { .. } | BatchFlaw::Crc { .. })) => {
            Err(flaw.into())
        }
    }
}

/// All that can be said without looking at the records. Returns their codec.
fn check_header(
    batch: &Batch<'_>,
    produce_version: i16,
    settings: &TopicSettings,
) -> Result<Codec, ProduceError> {
    let header = &batch.header;
    let codec = header.attributes.codec().map_err(|bits| ProduceError::UnknownCodec { bits })?;
    if codec == Codec::Zstd && produce_version < ZSTD_MIN_VERSION {
        return Err(ProduceError::ZstdBeforeItsTime { produce_version });
    }
    if header.base_offset != 0 {
        return Err(ProduceError::BaseOffset { base_offset: header.base_offset });
    }
    check_size(batch.bytes.len(), settings)?;
    batch.verify_crc()?;
    let count = i64::from(header.record_count);
    if count <= 0 || i64::from(header.last_offset_delta) + 1 != count {
        return Err(ProduceError::Count {
            record_count: header.record_count,
            last_offset_delta: header.last_offset_delta,
        });
    }
    if header.attributes.is_control() {
        return Err(ProduceError::Control);
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(ProduceError::Sequence {
            producer_id: header.producer_id,
            base_sequence: header.base_sequence,
        });
    }
    Ok(codec)
}

fn check_size(bytes: usize, settings: &TopicSettings) -> Result<(), ProduceError> {
    if bytes > settings.max_message_bytes as usize {
        return Err(ProduceError::TooLarge { bytes, max: settings.max_message_bytes });
    }
    Ok(())
}

/// What was learnt from the records.
struct Walk {
    max_timestamp: i64,
    max_timestamp_delta: i32,
    consecutive: bool,
}

/// Looks at every record.
fn walk(
    batch: &Batch<'_>,
    payload: &[u8],
    settings: &TopicSettings,
    now_ms: i64,
) -> Result<Walk, ProduceError> {
    let header = &batch.header;
    let mut walk = Walk { max_timestamp: NO_TIMESTAMP, max_timestamp_delta: 0, consecutive: true };
    let mut rejected = RejectedRecords::default();
    for (index, record) in (0i32..).zip(Records::new(payload, header.record_count)) {
        let record = record?;
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        walk.consecutive &= record.offset_delta == index;
        if timestamp > walk.max_timestamp {
            walk.max_timestamp = timestamp;
            walk.max_timestamp_delta = index;
        }
        if settings.compacted && record.key.is_none() {
            rejected.push_keyless(index);
        } else if settings.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
            if out_of_range(timestamp, settings, now_ms) {
                rejected.push_out_of_range(index, timestamp);
            }
        } else if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            rejected.push_flagged(index);
        }
    }
    if rejected.is_empty() { Ok(walk) } else { Err(ProduceError::Rejected(rejected)) }
}

const fn out_of_range(timestamp: i64, settings: &TopicSettings, now_ms: i64) -> bool {
    // Saturating, because the peer chooses one side and the user the other.
    let is_limited = settings.before_max_ms != i64::MAX;
    is_limited && timestamp < now_ms.saturating_sub(settings.before_max_ms)
        || timestamp > now_ms.saturating_add(settings.after_max_ms)
}

/// The attributes a stored batch has: the producer's, with the topic's timestamp type
/// and without what only a broker may set.
const fn settled_attributes(codec: Codec, source: Attributes, timestamp_type: TimestampType) -> Attributes {
    Attributes(0)
        .with_codec(codec)
        .with_transactional(source.is_transactional())
        .with_timestamp_type(timestamp_type)
}

/// Takes the batch as it is but for its timestamps; the checksum is computed anew only
/// if something it covers has changed.
fn settle(
    batch: &Batch<'_>,
    max_timestamp: i64,
    timestamp_type: TimestampType,
    now_ms: i64,
) -> (BytesMut, BatchHeader) {
    let mut bytes = BytesMut::from(batch.bytes);
    let source = batch.header;
    let codec = source.attributes.codec().unwrap_or_default();
    let settled = BatchHeader {
        attributes: settled_attributes(codec, source.attributes, timestamp_type),
        max_timestamp: match timestamp_type {
            TimestampType::CreateTime => max_timestamp,
            TimestampType::LogAppendTime => now_ms,
        },
        ..source
    };
    if settled == source {
        return (bytes, source);
    }
    let sealed = settled.seal(&mut bytes);
    (bytes, sealed)
}

/// Writes the records anew, numbered 0, 1, 2, … and in the target's codec.
fn rebuild(
    batch: &Batch<'_>,
    payload: &[u8],
    target: Compression,
    timestamp_type: TimestampType,
    now_ms: i64,
) -> Result<(BytesMut, BatchHeader), ProduceError> {
    let header = &batch.header;
    let mut builder = BatchBuilder::new().compression(target).leader_epoch(header.leader_epoch).producer(
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
    );
    if header.attributes.is_transactional() {
        builder = builder.transactional();
    }
    if timestamp_type == TimestampType::LogAppendTime {
        builder = builder.log_append_time(now_ms);
    }
    for record in Records::new(payload, header.record_count) {
        let record = record?;
        builder.append(header.base_timestamp.wrapping_add(record.timestamp_delta), &record);
    }
    builder.build().map_err(|source| ProduceError::Recompress { source })
}
