//! Record batches as the simulated clients write and read them: format 2, uncompressed, values only.
//!
//! Clients have a codec of their own, as real ones do: if broker and client shared one, a mistake in it
//! would agree with itself.

use bytes::Bytes;
use ottla_core::ids::{LeaderEpoch, Offset};

use crate::checkers::replication::BatchId;

const HEADER_BYTES: usize = 61;

/// A batch as a producer sends it: base offset 0, no leader epoch, no producer id.
pub fn encode(values: &[String], timestamp: i64) -> Bytes {
    encode_sequenced(values, timestamp, (-1, -1, -1))
}

/// The same of an idempotent producer: its id, its epoch, and the sequence number of the first record.
pub fn encode_sequenced(values: &[String], timestamp: i64, (id, epoch, sequence): (i64, i16, i32)) -> Bytes {
    let mut records = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let mut record = vec![0u8];
        put_varint(&mut record, 0);
        put_varint(&mut record, i64::try_from(i).expect("batches are small"));
        put_varint(&mut record, -1);
        put_varint(&mut record, i64::try_from(value.len()).expect("values are small"));
        record.extend_from_slice(value.as_bytes());
        put_varint(&mut record, 0);
        put_varint(&mut records, i64::try_from(record.len()).expect("records are small"));
        records.extend_from_slice(&record);
    }
    let count = i32::try_from(values.len()).expect("batches are small");
    let mut checked = Vec::new();
    checked.extend_from_slice(&0i16.to_be_bytes());
    checked.extend_from_slice(&(count - 1).to_be_bytes());
    checked.extend_from_slice(&timestamp.to_be_bytes());
    checked.extend_from_slice(&timestamp.to_be_bytes());
    checked.extend_from_slice(&id.to_be_bytes());
    checked.extend_from_slice(&epoch.to_be_bytes());
    checked.extend_from_slice(&sequence.to_be_bytes());
    checked.extend_from_slice(&count.to_be_bytes());
    checked.extend_from_slice(&records);

    let length = i32::try_from(checked.len() + 9).expect("batches are small");
    let mut batch = Vec::with_capacity(checked.len() + 21);
    batch.extend_from_slice(&0i64.to_be_bytes());
    batch.extend_from_slice(&length.to_be_bytes());
    batch.extend_from_slice(&(-1i32).to_be_bytes());
    batch.push(2);
    batch.extend_from_slice(&crc32c::crc32c(&checked).to_be_bytes());
    batch.extend_from_slice(&checked);
    batch.into()
}

/// Has a batch bear the time at which its leader appends it, as brokers do for `LogAppendTime`.
pub fn stamp(batch: &mut [u8], timestamp: i64) {
    batch[22] |= 8;
    batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Bytes that are no run of whole, uncompressed batches of format 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad record batch at byte {position}: {problem}")]
pub struct BadBatch {
    /// Where.
    pub position: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// The records of a run of batches. What is left of a last batch that is not whole is skipped, as a
/// consumer skips it.
pub fn decode(bytes: &[u8]) -> Result<Vec<(Offset, String)>, BadBatch> {
    let mut records = Vec::new();
    let mut position = 0;
    while let Some(header) = bytes[position..].first_chunk::<HEADER_BYTES>() {
        let bad = |problem| BadBatch { position, problem };
        let length =
            usize::try_from(i32::from_be_bytes(field(header, 8))).map_err(|_| bad("negative length"))? + 12;
        let Some(batch) = bytes[position..].get(..length) else { break };
        if batch[16] != 2 {
            return Err(bad("magic is not 2"));
        }
        let crc = u32::from_be_bytes(field(header, 17));
        if crc != crc32c::crc32c(&batch[21..]) {
            return Err(bad("wrong checksum"));
        }
        let base = i64::from_be_bytes(field(header, 0));
        decode_records(base, &batch[HEADER_BYTES..], &mut records).ok_or_else(|| bad("bad records"))?;
        position += length;
    }
    Ok(records)
}

/// Adds the batches of a run that end after `from`, up to the first that is not whole.
pub fn batches(bytes: &[u8], from: Offset, found: &mut Vec<BatchId>) {
    let mut position = 0;
    while let Some(header) = bytes[position..].first_chunk::<HEADER_BYTES>() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(field(header, 8))) else { return };
        let Some(batch) = bytes[position..].get(..length + 12).filter(|batch| batch.len() >= HEADER_BYTES)
        else {
            return;
        };
        position += batch.len();
        let base = Offset(i64::from_be_bytes(field(header, 0)));
        let end = base.plus(i64::from(i32::from_be_bytes(field(header, 23))) + 1);
        let crc = u32::from_be_bytes(field(header, 17));
        if end <= from {
            continue;
        }
        if crc != crc32c::crc32c(&batch[21..]) {
            return;
        }
        let epoch = LeaderEpoch(i32::from_be_bytes(field(header, 12)));
        found.push(BatchId { base, end, epoch, crc });
    }
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}

fn decode_records(base: i64, mut bytes: &[u8], records: &mut Vec<(Offset, String)>) -> Option<()> {
    while !bytes.is_empty() {
        let length = usize::try_from(varint(&mut bytes)?).ok()?;
        let (mut record, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        record = record.get(1..)?;
        varint(&mut record)?;
        let offset = base + varint(&mut record)?;
        if let Ok(key) = usize::try_from(varint(&mut record)?) {
            record = record.get(key..)?;
        }
        let value = usize::try_from(varint(&mut record)?).ok()?;
        records.push((Offset(offset), String::from_utf8_lossy(record.get(..value)?).into_owned()));
    }
    Some(())
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded_with_offsets_from_the_base() {
        let values = ["a".to_owned(), "x".repeat(300)];
        let mut batch = encode(&values, 1_700_000_000_000).to_vec();
        batch[..8].copy_from_slice(&7i64.to_be_bytes());
        let mut run = batch.clone();
        run.extend_from_slice(&batch[..batch.len() - 1]);
        let expected = vec![(Offset(7), values[0].clone()), (Offset(8), values[1].clone())];
        assert_eq!(decode(&run), Ok(expected), "the second batch is not whole");
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        let mut batch = encode(&["a".to_owned()], 0).to_vec();
        *batch.last_mut().unwrap() ^= 1;
        assert_eq!(decode(&batch).unwrap_err().problem, "wrong checksum");
    }
}
