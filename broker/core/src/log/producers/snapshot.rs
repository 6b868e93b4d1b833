//! A log's producers in a file, `<offset>.snapshot` in 20 digits: as they were when the log ended at that offset.
//!
//! Kafka's format (`ProducerSnapshot`, version 1):
//! ```text
//! byte  0  version             i16   1
//!       2  CRC-32C             u32   of everything after this field
//!       6  count               i32
//!      10  count times 46 bytes:
//!          producer id         i64
//!          producer epoch      i16
//!          last sequence       i32   -1: it has only control batches
//!          last offset         i64   of its last batch
//!          offset delta        i32   from that batch's first record to its last
//!          timestamp           i64   the greatest of that batch
//!          coordinator epoch   i32   -1: it has no transactions
//!          transaction start   i64   -1: none is open
//! ```
//! Only the last batch of each producer is in it, so after a start only that one is recognised when it comes again.

use std::collections::VecDeque;

use super::{Noted, PRODUCERS_MAX, Producer, Producers};
use crate::ids::{Offset, ProducerEpoch, ProducerId};

const VERSION: i16 = 1;
const CHECKED_FROM: usize = 6;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;

/// No snapshot is longer: Kafka sets no bound on producers, and a million of them is more than any log has.
pub(super) const BYTES_MAX: u64 = (HEADER_BYTES + (1 << 20) * ENTRY_BYTES) as u64;

impl Producers {
    pub(super) fn to_snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.producers.len() * ENTRY_BYTES);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(u32::try_from(self.producers.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (id, producer) in &self.producers {
            let youngest = producer.youngest();
            let delta = youngest.last_offset.0 - youngest.base_offset.0;
            bytes.extend(id.0.to_be_bytes());
            bytes.extend(producer.epoch.0.to_be_bytes());
            bytes.extend(youngest.last.to_be_bytes());
            bytes.extend(youngest.last_offset.0.to_be_bytes());
            bytes.extend(i32::try_from(delta).unwrap_or(i32::MAX).to_be_bytes());
            bytes.extend(youngest.timestamp.to_be_bytes());
            bytes.extend((-1_i32).to_be_bytes());
            bytes.extend((-1_i64).to_be_bytes());
        }
        let crc = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        bytes[2..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// `None` if it is damaged, of another version, or not of a log that ended at `end`.
    pub(super) fn from_snapshot(bytes: &[u8], end: Offset) -> Option<Self> {
        let mut fields = Fields(bytes);
        let version = i16::from_be_bytes(fields.take()?);
        let crc = u32::from_be_bytes(fields.take()?);
        let count = usize::try_from(i32::from_be_bytes(fields.take()?)).ok()?;
        let is_whole = count.checked_mul(ENTRY_BYTES) == Some(fields.0.len());
        if version != VERSION || !is_whole || crc32c::crc32c(&bytes[CHECKED_FROM..]) != crc {
            return None;
        }
        let mut producers = Self::default();
        for _ in 0..count {
            let id = ProducerId(i64::from_be_bytes(fields.take()?));
            let epoch = ProducerEpoch(i16::from_be_bytes(fields.take()?));
            let last = i32::from_be_bytes(fields.take()?);
            let last_offset = Offset(i64::from_be_bytes(fields.take()?));
            let delta = i32::from_be_bytes(fields.take()?);
            let timestamp = i64::from_be_bytes(fields.take()?);
            let _transactions: [u8; 12] = fields.take()?;
            if last < 0 {
                continue;
            }
            if delta < 0 || last_offset.0 < i64::from(delta) || last_offset >= end {
                return None;
            }
            let noted = Noted {
                first: last.wrapping_sub(delta) & i32::MAX,
                last,
                base_offset: last_offset.plus(-i64::from(delta)),
                last_offset,
                timestamp,
            };
            // What was before its last batch is not in here.
            let since = Offset(i64::MIN);
            let producer = Producer { epoch, batches: VecDeque::from([noted]), since, active_at: None };
            producers.by_age.insert((last_offset, id));
            if producers.producers.insert(id, producer).is_some() {
                return None;
            }
            // One of Kafka's own may hold more.
            producers.shrink(PRODUCERS_MAX);
        }
        Some(producers)
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}
