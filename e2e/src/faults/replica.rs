//! What lies in the log directory of one replica: its segments, read as bytes.
//!
//! A record batch of format 2, big-endian: base offset (8), length of what follows (4), leader epoch (4), magic (1),
//! CRC (4), attributes (2), last offset delta (4), two times (16), producer id, epoch and sequence (14), number of
//! records (4), records. A record: length, attributes (1), time delta, offset delta, key, value, headers; lengths and
//! deltas are zigzag varints. The rig's producers do not compress.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Up to the first record.
const HEADER_BYTES: usize = 61;
/// Of the base offset and the length, which the length does not count.
const PREFIX_BYTES: usize = 12;
const CONTROL: u16 = 1 << 5;
const COMPRESSION: u16 = 7;

/// The log of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replica {
    /// The first offset of each batch, and the one behind its last.
    pub batches: Vec<(u64, u64)>,
    /// Offset and value of each record; of the value what comes before a blank.
    pub records: Vec<(u64, String)>,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Replica {
    /// Reads the segments in a log directory.
    pub fn read(directory: &Path) -> Result<Self> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                segments.push(path);
            }
        }
        segments.sort();
        let mut bytes = Vec::new();
        for segment in segments {
            bytes.extend(fs::read(&segment).with_context(|| format!("read {}", segment.display()))?);
        }
        Self::parse(bytes).with_context(|| format!("the log {}", directory.display()))
    }

    fn parse(bytes: Vec<u8>) -> Result<Self> {
        let mut replica = Self::default();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let batch = whole_batch(rest).with_context(|| format!("behind {:?}", replica.batches.last()))?;
            replica.take(batch)?;
            rest = &rest[batch.len()..];
        }
        replica.bytes = bytes;
        Ok(replica)
    }

    fn take(&mut self, batch: &[u8]) -> Result<()> {
        let base = u64::from_be_bytes(field(batch, 0)?);
        let last = base + u64::from(u32::from_be_bytes(field(batch, 23)?));
        let attributes = u16::from_be_bytes(field(batch, 21)?);
        self.batches.push((base, last + 1));
        ensure!(attributes & COMPRESSION == 0, "the batch at {base} is compressed");
        if attributes & CONTROL == 0 {
            let mut rest = &batch[HEADER_BYTES..];
            for _ in 0..u32::from_be_bytes(field(batch, 57)?) {
                let (delta, value) =
                    record(&mut rest).with_context(|| format!("a record of the batch at {base}"))?;
                self.records.push((base + delta, value));
            }
        }
        Ok(())
    }

    /// How it differs from another replica of the same partition, if it does.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.bytes == other.bytes {
            return None;
        }
        let end = |replica: &Self| replica.batches.last().map_or(0, |(_, end)| *end);
        let values: BTreeMap<u64, &str> =
            self.records.iter().map(|(offset, value)| (*offset, value.as_str())).collect();
        let differs =
            other.records.iter().find(|(offset, value)| values.get(offset).is_some_and(|mine| mine != value));
        let differs = differs.map(|(offset, value)| format!("; at {offset} the second has {value}"));
        Some(format!(
            "they end at {} and {}, with {} and {} bytes{}",
            end(self),
            end(other),
            self.bytes.len(),
            other.bytes.len(),
            differs.unwrap_or_default()
        ))
    }
}

fn whole_batch(bytes: &[u8]) -> Result<&[u8]> {
    let length = usize::try_from(u32::from_be_bytes(field(bytes, 8)?))?;
    let batch = bytes.get(..PREFIX_BYTES + length).context("a batch that is cut short")?;
    ensure!(batch.len() >= HEADER_BYTES, "a batch of {} bytes", batch.len());
    ensure!(batch[16] == 2, "a batch of format {}", batch[16]);
    Ok(batch)
}

fn field<const N: usize>(bytes: &[u8], from: usize) -> Result<[u8; N]> {
    let found = bytes.get(from..from + N).context("a batch that is cut short")?;
    Ok(found.try_into()?)
}

fn record(rest: &mut &[u8]) -> Result<(u64, String)> {
    let length = usize::try_from(varint(rest)?)?;
    let (mut body, after) = rest.split_at_checked(length).context("it is cut short")?;
    *rest = after;
    body = body.get(1..).context("it is empty")?;
    let _time = varint(&mut body)?;
    let delta = u64::try_from(varint(&mut body)?)?;
    let _key = bytes(&mut body)?;
    let value = String::from_utf8_lossy(bytes(&mut body)?.unwrap_or_default());
    Ok((delta, value.split(' ').next().unwrap_or_default().to_owned()))
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let length = varint(rest)?;
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let (found, after) = rest.split_at_checked(length).context("it is cut short")?;
    *rest = after;
    Ok(Some(found))
}

fn varint(rest: &mut &[u8]) -> Result<i64> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().context("it is cut short")?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    anyhow::bail!("a number without an end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn batches_are_read_with_their_offsets_and_values() {
        let mut second = wire::batch_of_one(b"b.1 filled up");
        second[7] = 1;
        let both = [wire::batch_of_one(b"b.0"), second.clone()].concat();
        let replica = Replica::parse(both.clone()).unwrap();
        assert_eq!(replica.batches, [(0, 1), (1, 2)]);
        assert_eq!(replica.records, [(0, "b.0".to_owned()), (1, "b.1".to_owned())]);
        assert!(Replica::parse(both[..both.len() - 1].to_vec()).is_err());
        let shorter = Replica::parse(wire::batch_of_one(b"b.0")).unwrap();
        assert!(replica.difference(&replica).is_none());
        assert!(replica.difference(&shorter).unwrap().starts_with("they end at 2 and 1"));
    }

    #[test]
    fn numbers_are_zigzag_varints() {
        let mut rest = &[0x00, 0x01, 0x02, 0xac, 0x02][..];
        let numbers: Vec<i64> = (0..4).map(|_| varint(&mut rest).unwrap()).collect();
        assert_eq!(numbers, [0, -1, 1, 150]);
    }
}
