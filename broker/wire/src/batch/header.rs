//! The fixed part of a batch, and walking a buffer of batches.

use super::MAGIC;
use super::compression::Codec;

/// Length of the fixed part; no batch is shorter.
pub const HEADER_BYTES: usize = 61;

/// What stands before the part that the length field counts.
const LENGTH_END: usize = 12;
/// Bytes needed to tell a batch's length and format.
const PREFIX_BYTES: usize = 17;

const BASE_OFFSET: usize = 0;
const LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
const MAGIC_AT: usize = 16;
const CRC: usize = 17;
/// The checksum covers everything from here on.
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const RECORD_COUNT: usize = 57;

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, record by record.
    #[default]
    CreateTime,
    /// The broker, one for the whole batch: its max timestamp.
    LogAppendTime,
}

/// The bits that say how a batch is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0b111;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// The codec of the records, or the number of one that does not exist.
    ///
    /// # Errors
    /// If the bits name no codec.
    pub const fn codec(self) -> Result<Codec, u8> {
        let bits = (self.0 & Self::CODEC) as u8;
        match Codec::from_bits(bits) {
            Some(codec) => Ok(codec),
            None => Err(bits),
        }
    }

    /// Who set the timestamps.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Part of a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// A marker of the broker's own, not data.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The base timestamp is the time from which the cleaner may drop tombstones (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same with another codec.
    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !Self::CODEC | codec.bits() as i16)
    }

    /// The same with other timestamps.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// The same, in or outside a transaction.
    #[must_use]
    pub const fn with_transactional(self, transactional: bool) -> Self {
        if transactional { Self(self.0 | Self::TRANSACTIONAL) } else { Self(self.0 & !Self::TRANSACTIONAL) }
    }

    /// The same, as a marker or as data.
    #[must_use]
    pub const fn with_control(self, control: bool) -> Self {
        if control { Self(self.0 | Self::CONTROL) } else { Self(self.0 & !Self::CONTROL) }
    }
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchFlaw {
    /// Fewer bytes than the length field says, or than the fixed part has.
    #[error("batch of {expected} bytes ends after {got}")]
    Short {
        /// How many bytes there should be.
        expected: u32,
        /// How many there are.
        got: u32,
    },
    /// The length cannot be that of a batch.
    #[error("batch length {length} is below the minimum")]
    Length {
        /// The length as it stands in the field.
        length: i32,
    },
    /// Another format.
    #[error("batch format {magic} is not {MAGIC}")]
    Magic {
        /// The format as it stands in the field.
        magic: i8,
    },
    /// The checksum is not that of the bytes.
    #[error("batch checksum {stored:08x} should be {computed:08x}")]
    Crc {
        /// As it stands in the field.
        stored: u32,
        /// That of the bytes.
        computed: u32,
    },
}

/// The fixed part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: i64,
    /// Bytes of the whole batch, from the base offset on.
    pub total_bytes: u32,
    /// The epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// The checksum as stored; see [`Batch::verify_crc`].
    pub crc: u32,
    /// Codec, timestamp type and flags.
    pub attributes: Attributes,
    /// The last record's offset, counted from the base offset.
    pub last_offset_delta: i32,
    /// What record timestamps are counted from.
    pub base_timestamp: i64,
    /// The greatest timestamp of a record, or the append time.
    pub max_timestamp: i64,
    /// Whose sequence numbers these are, [`NO_PRODUCER_ID`](super::NO_PRODUCER_ID) if nobody's.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The sequence number of the first record.
    pub base_sequence: i32,
    /// How many records there are.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the fixed part. Whether the records behind it are there is not looked at.
    ///
    /// # Errors
    /// If there are fewer than [`HEADER_BYTES`], or length or format cannot be right.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchFlaw> {
        let (total_bytes, _) = prefix(bytes)?;
        if bytes.len() < HEADER_BYTES {
            return Err(BatchFlaw::Short { expected: HEADER_BYTES as u32, got: bytes.len() as u32 });
        }
        Ok(Self {
            base_offset: i64::from_be_bytes(field(bytes, BASE_OFFSET)),
            total_bytes,
            leader_epoch: i32::from_be_bytes(field(bytes, LEADER_EPOCH)),
            crc: u32::from_be_bytes(field(bytes, CRC)),
            attributes: Attributes(i16::from_be_bytes(field(bytes, ATTRIBUTES))),
            last_offset_delta: i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(field(bytes, BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(bytes, PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(bytes, PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(bytes, BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(field(bytes, RECORD_COUNT)),
        })
    }

    /// Writes the fixed part over the start of `bytes`, which hold the records behind
    /// it; length and checksum are computed from them. Returns the header as written.
    pub(super) fn seal(mut self, bytes: &mut [u8]) -> Self {
        self.total_bytes = bytes.len() as u32;
        put(bytes, BASE_OFFSET, self.base_offset.to_be_bytes());
        put(bytes, LENGTH, (self.total_bytes - LENGTH_END as u32).to_be_bytes());
        put(bytes, LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        put(bytes, MAGIC_AT, MAGIC.to_be_bytes());
        put(bytes, ATTRIBUTES, self.attributes.0.to_be_bytes());
        put(bytes, LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(bytes, BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(bytes, MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(bytes, PRODUCER_ID, self.producer_id.to_be_bytes());
        put(bytes, PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(bytes, BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(bytes, RECORD_COUNT, self.record_count.to_be_bytes());
        self.crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
        put(bytes, CRC, self.crc.to_be_bytes());
        self
    }

    /// The offset of the last record.
    #[must_use]
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// The offset after the last record.
    #[must_use]
    pub const fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The sequence number of the last record, [`NO_SEQUENCE`](super::NO_SEQUENCE) if there are none.
    /// Sequence numbers wrap to 0 after the greatest.
    #[must_use]
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return super::NO_SEQUENCE;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// Whether the batch carries a producer id.
    #[must_use]
    pub const fn has_producer_id(&self) -> bool {
        self.producer_id > super::NO_PRODUCER_ID
    }
}

/// Total length and format of the batch that starts here.
fn prefix(bytes: &[u8]) -> Result<(u32, i8), BatchFlaw> {
    let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else {
        return Err(BatchFlaw::Short { expected: HEADER_BYTES as u32, got: bytes.len() as u32 });
    };
    let length = i32::from_be_bytes(field(prefix, LENGTH));
    let total = u32::try_from(length).ok().map(|length| length + LENGTH_END as u32);
    let magic = i8::from_be_bytes(field(prefix, MAGIC_AT));
    match total.filter(|total| *total >= HEADER_BYTES as u32) {
        _ if magic != MAGIC => Err(BatchFlaw::Magic { magic }),
        None => Err(BatchFlaw::Length { length }),
        Some(total) => Ok((total, magic)),
    }
}

/// A fixed-size field; callers have checked that the bytes reach that far.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// Gives a batch its base offset. The checksum does not cover it.
///
/// # Panics
/// If `batch` is shorter than a header: only whole, parsed batches are patched.
pub fn patch_base_offset(batch: &mut [u8], base_offset: i64) {
    put(batch, BASE_OFFSET, base_offset.to_be_bytes());
}

/// Gives a batch its leader epoch. The checksum does not cover it.
///
/// # Panics
/// If `batch` is shorter than a header: only whole, parsed batches are patched.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    put(batch, LEADER_EPOCH, leader_epoch.to_be_bytes());
}

/// A whole batch: its header and all its bytes, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The fixed part.
    pub header: BatchHeader,
    /// Every byte of the batch.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the batch at the start of `bytes` and what follows it.
    ///
    /// # Errors
    /// If the header is flawed or the batch is not all there. The checksum is not
    /// looked at.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BatchFlaw> {
        let header = BatchHeader::parse(bytes)?;
        let (batch, rest) = bytes
            .split_at_checked(header.total_bytes as usize)
            .ok_or(BatchFlaw::Short { expected: header.total_bytes, got: bytes.len() as u32 })?;
        Ok((Self { header, bytes: batch }, rest))
    }

    /// Compares the checksum with the bytes.
    ///
    /// # Errors
    /// If they differ.
    pub fn verify_crc(&self) -> Result<(), BatchFlaw> {
        let computed = crc32c::crc32c(&self.bytes[ATTRIBUTES..]);
        let stored = self.header.crc;
        if stored == computed { Ok(()) } else { Err(BatchFlaw::Crc { stored, computed }) }
    }

    /// The records as they stand in the batch, still compressed if it has a codec.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

/// Walks the batches of a buffer.
///
/// Ends quietly before a last batch that is not all there, as a Fetch response or a
/// torn log may have one; ends after the first flaw of any other kind.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Starts at the beginning of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been walked: after the end, the bytes that are not whole batches.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchFlaw>;

    fn next(&mut self) -> Option<Self::Item> {
        match Batch::split(self.rest) {
            Ok((batch, rest)) => {
                self.rest = rest;
                Some(Ok(batch))
            }
            Err(BatchFlaw::Short { .. }) => None,
            Err(flaw) => {
                self.rest = &[];
                Some(Err(flaw))
            }
        }
    }
}
