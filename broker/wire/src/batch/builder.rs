//! Writing batches: for recompression, for tests and for the simulator.

use std::io;

use bytes::{BufMut, BytesMut};

use super::compression::{Compression, compress};
use super::record::Record;
use super::{
    Attributes, BatchHeader, HEADER_BYTES, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP,
    TimestampType,
};
use crate::varint;

/// One header of a record: its key, and its value if it has one.
pub type RecordHeader<'a> = (&'a str, Option<&'a [u8]>);

/// Collects records and seals them into a batch.
///
/// Offset deltas count up from 0 and timestamps are counted from the first record's,
/// as every client does it.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    records: BytesMut,
    empty: bool,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// A batch at offset 0 without producer id, compression or records.
    #[must_use]
    pub fn new() -> Self {
        let header = BatchHeader {
            base_offset: 0,
            total_bytes: 0,
            leader_epoch: -1,
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            record_count: 0,
        };
        Self { header, compression: Compression::None, records: BytesMut::new(), empty: true }
    }

    /// Sets the base offset.
    #[must_use]
    pub const fn base_offset(mut self, base_offset: i64) -> Self {
        self.header.base_offset = base_offset;
        self
    }

    /// Sets the leader epoch.
    #[must_use]
    pub const fn leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.header.leader_epoch = leader_epoch;
        self
    }

    /// Compresses the records.
    #[must_use]
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets producer id, producer epoch and the sequence number of the first record.
    #[must_use]
    pub const fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Makes the batch part of a transaction.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_transactional(true);
        self
    }

    /// Makes the batch a marker.
    #[must_use]
    pub const fn control(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_control(true);
        self
    }

    /// Marks the timestamps as the broker's; `now_ms` becomes the max timestamp.
    #[must_use]
    pub const fn log_append_time(mut self, now_ms: i64) -> Self {
        self.header.attributes = self.header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.header.max_timestamp = now_ms;
        self
    }

    /// Appends a record.
    #[must_use]
    pub fn record(self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        self.record_with_headers(timestamp_ms, key, value, &[])
    }

    /// Appends a record with headers.
    #[must_use]
    pub fn record_with_headers(
        mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> Self {
        let mut packed = BytesMut::new();
        for (key, value) in headers {
            put_nullable(&mut packed, Some(key.as_bytes()));
            put_nullable(&mut packed, *value);
        }
        let record = Record {
            attributes: 0,
            timestamp_delta: 0,
            offset_delta: 0,
            key,
            value,
            header_count: headers.len() as u32,
            headers: &packed,
        };
        self.append(timestamp_ms, &record);
        self
    }

    /// Appends a record as it is but for its deltas, which follow from its place here.
    pub(super) fn append(&mut self, timestamp_ms: i64, record: &Record<'_>) {
        if self.empty {
            self.empty = false;
            self.header.base_timestamp = timestamp_ms;
        }
        self.header.last_offset_delta += 1;
        self.header.record_count += 1;
        if self.header.attributes.timestamp_type() == TimestampType::CreateTime {
            self.header.max_timestamp = self.header.max_timestamp.max(timestamp_ms);
        }
        let placed = Record {
            timestamp_delta: timestamp_ms.wrapping_sub(self.header.base_timestamp),
            offset_delta: self.header.last_offset_delta,
            ..*record
        };
        put_record(&mut self.records, &placed);
    }

    /// The finished batch and its header.
    ///
    /// # Errors
    /// If the codec fails.
    pub fn build(self) -> io::Result<(BytesMut, BatchHeader)> {
        let mut header = self.header;
        header.attributes = header.attributes.with_codec(self.compression.codec());
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.records.len());
        bytes.resize(HEADER_BYTES, 0);
        match self.compression {
            Compression::None => bytes.extend_from_slice(&self.records),
            Compression::Gzip { .. } | Compression::Snappy | Compression::Lz4 | Compression::Zstd { .. } => {
                bytes.extend_from_slice(&compress(self.compression, &self.records)?);
            }
        }
        let header = header.seal(&mut bytes);
        Ok((bytes, header))
    }
}

fn put_record(out: &mut BytesMut, record: &Record<'_>) {
    let length = 1
        + varint::zigzag_bytes(record.timestamp_delta)
        + varint::zigzag_bytes(i64::from(record.offset_delta))
        + nullable_bytes(record.key)
        + nullable_bytes(record.value)
        + varint::zigzag_bytes(i64::from(record.header_count))
        + record.headers.len();
    out.reserve(length + varint::MAX_U32_BYTES);
    varint::put_zigzag(out, length as i64);
    out.put_i8(record.attributes);
    varint::put_zigzag(out, record.timestamp_delta);
    varint::put_zigzag(out, i64::from(record.offset_delta));
    put_nullable(out, record.key);
    put_nullable(out, record.value);
    varint::put_zigzag(out, i64::from(record.header_count));
    out.extend_from_slice(record.headers);
}

fn nullable_bytes(value: Option<&[u8]>) -> usize {
    value.map_or(1, |value| varint::zigzag_bytes(value.len() as i64) + value.len())
}

fn put_nullable(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => varint::put_zigzag(out, -1),
        Some(value) => {
            varint::put_zigzag(out, value.len() as i64);
            out.extend_from_slice(value);
        }
    }
}
