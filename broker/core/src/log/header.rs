//! The header of a record batch (format 2), as far as the log reads it.
//!
//! | byte | field |
//! |---|---|
//! | 0 | base offset, i64 |
//! | 8 | length of what follows this field, i32 |
//! | 12 | leader epoch of the partition, i32 |
//! | 16 | magic, i8: 2 |
//! | 17 | CRC-32C of all that follows this field, u32 |
//! | 21 | attributes, i16 |
//! | 23 | last offset less the base offset, i32 |
//! | 27 | base timestamp, i64 |
//! | 35 | greatest timestamp, i64 |
//! | 43 | producer id i64, producer epoch i16, base sequence i32, count of records i32 |
//! | 61 | records |

use super::error::BatchFlaw;
use crate::ids::{LeaderEpoch, Offset};

/// The header's length; no batch is shorter.
pub(super) const HEADER_BYTES: usize = 61;
/// The first byte that the checksum covers.
pub(super) const CHECKED_FROM: usize = 21;

/// What the log needs of a batch's header. Without a leader epoch (-1, as producers send it) it is no
/// batch of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) base: Offset,
    /// The offset after its last record.
    pub(super) end: Offset,
    /// Its whole length in bytes.
    pub(super) bytes: u32,
    pub(super) epoch: LeaderEpoch,
    pub(super) crc: u32,
    pub(super) max_timestamp: i64,
}

impl Header {
    /// Reads a header from the first bytes of a batch; whether the rest of it is there is not looked at.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BatchFlaw> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(BatchFlaw::Short)?;
        let length = i32::from_be_bytes(field(header, 8));
        let bytes = u32::try_from(length).ok().and_then(|length| length.checked_add(12));
        let bytes = bytes.filter(|bytes| *bytes >= HEADER_BYTES as u32).ok_or(BatchFlaw::Length(length))?;
        let magic = i8::from_be_bytes(field(header, 16));
        if magic != 2 {
            return Err(BatchFlaw::Magic(magic));
        }
        let base = i64::from_be_bytes(field(header, 0));
        let delta = i32::from_be_bytes(field(header, 23));
        let end = base.checked_add(i64::from(delta)).and_then(|last| last.checked_add(1));
        let end = end.filter(|_| base >= 0 && delta >= 0).ok_or(BatchFlaw::Offsets)?;
        let epoch = i32::from_be_bytes(field(header, 12));
        if epoch < 0 {
            return Err(BatchFlaw::Epoch);
        }
        Ok(Self {
            base: Offset(base),
            end: Offset(end),
            bytes,
            epoch: LeaderEpoch(epoch),
            crc: u32::from_be_bytes(field(header, 17)),
            max_timestamp: i64::from_be_bytes(field(header, 35)),
        })
    }

    pub(super) fn last(&self) -> Offset {
        Offset(self.end.0 - 1)
    }
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&header[at..at + N]);
    field
}

/// The batches of a buffer, each with its header; ends after the first that is not whole.
pub(super) fn batches(mut bytes: &[u8]) -> impl Iterator<Item = Result<(Header, &[u8]), BatchFlaw>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let split = Header::parse(bytes).and_then(|header| {
            let length = usize::try_from(header.bytes).map_err(|_| BatchFlaw::Short)?;
            let (batch, rest) = bytes.split_at_checked(length).ok_or(BatchFlaw::Short)?;
            Ok((header, batch, rest))
        });
        match split {
            Ok((header, batch, rest)) => {
                bytes = rest;
                Some(Ok((header, batch)))
            }
            Err(flaw) => {
                bytes = &[];
                Some(Err(flaw))
            }
        }
    })
}
