//! A batch's header, as far as the log reads it: [`ottla_wire::batch`] says what it holds, and here is said
//! what a log asks of it.

use ottla_wire::batch::{Batch, BatchHeader};

use super::error::BatchFlaw;
use super::producers::Sequenced;
use crate::ids::{LeaderEpoch, Offset};

pub(super) use ottla_wire::batch::HEADER_BYTES;

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
    /// Whose it is, and its place among that producer's.
    pub(super) producer: Option<Sequenced>,
}

impl Header {
    /// Reads a header from the first bytes of a batch; whether the rest of it is there is not looked at.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BatchFlaw> {
        Self::of(&BatchHeader::parse(bytes)?)
    }

    fn of(header: &BatchHeader) -> Result<Self, BatchFlaw> {
        let (base, delta) = (header.base_offset, header.last_offset_delta);
        let end = base.checked_add(i64::from(delta)).and_then(|last| last.checked_add(1));
        let end = end.filter(|_| base >= 0 && delta >= 0).ok_or(BatchFlaw::Offsets)?;
        if header.leader_epoch < 0 {
            return Err(BatchFlaw::Epoch);
        }
        Ok(Self {
            base: Offset(base),
            end: Offset(end),
            bytes: header.total_bytes,
            epoch: LeaderEpoch(header.leader_epoch),
            crc: header.crc,
            max_timestamp: header.max_timestamp,
            producer: Sequenced::of(header),
        })
    }

    pub(super) fn last(&self) -> Offset {
        Offset(self.end.0 - 1)
    }
}

/// The batches of a buffer, each with its header; ends after the first that is flawed or not whole.
pub(super) fn batches(mut bytes: &[u8]) -> impl Iterator<Item = Result<(Header, &[u8]), BatchFlaw>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let split = Batch::split(bytes).map_err(BatchFlaw::from);
        let split = split.and_then(|(batch, rest)| Ok((Header::of(&batch.header)?, batch.bytes, rest)));
        bytes = split.as_ref().map_or(&[], |(_, _, rest)| rest);
        Some(split.map(|(header, batch, _)| (header, batch)))
    })
}
