//! Records inside a batch: varint lengths, so they can only be walked from the start.

use super::Batch;
use super::compression::{Codec, DecompressError, decompress};
use crate::varint;

use std::borrow::Cow;

/// Why bytes are not the records their batch claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFlaw {
    /// The bytes end inside a record, or before all of them have come.
    #[error("record {index} ends early")]
    Short {
        /// Which record.
        index: u32,
    },
    /// A length or count inside the record contradicts the record's own length.
    #[error("record {index} contradicts its own length")]
    Shape {
        /// Which record.
        index: u32,
    },
    /// Bytes are left after the last record.
    #[error("{count} bytes follow the last record")]
    Trailing {
        /// How many.
        count: usize,
    },
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Unused by Kafka so far.
    pub attributes: i8,
    /// Counted from the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Counted from the batch's base offset.
    pub offset_delta: i32,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value, if it has one; without, the record is a tombstone.
    pub value: Option<&'a [u8]>,
    pub(super) header_count: u32,
    pub(super) headers: &'a [u8],
}

impl<'a> Record<'a> {
    /// The headers in order.
    #[must_use]
    pub const fn headers(&self) -> Headers<'a> {
        Headers { left: self.header_count, rest: self.headers }
    }

    /// Takes one record off the front of `bytes`, every length in it checked.
    fn take(bytes: &mut &'a [u8], index: u32) -> Result<Self, RecordFlaw> {
        let short = RecordFlaw::Short { index };
        let shape = RecordFlaw::Shape { index };
        let length = varint::take_i32(bytes).ok_or(short)?;
        let length = usize::try_from(length).map_err(|_| shape)?;
        let (mut body, rest) = bytes.split_at_checked(length).ok_or(short)?;
        *bytes = rest;
        let record = Self::parse(&mut body).ok_or(shape)?;
        if body.is_empty() { Ok(record) } else { Err(shape) }
    }

    fn parse(body: &mut &'a [u8]) -> Option<Self> {
        let (attributes, rest) = body.split_first()?;
        *body = rest;
        let timestamp_delta = varint::take_i64(body)?;
        let offset_delta = varint::take_i32(body)?;
        let key = take_nullable(body)?;
        let value = take_nullable(body)?;
        let header_count = u32::try_from(varint::take_i32(body)?).ok()?;
        let headers = *body;
        for _ in 0..header_count {
            take_header(body)?;
        }
        Some(Self {
            attributes: attributes.cast_signed(),
            timestamp_delta,
            offset_delta,
            key,
            value,
            header_count,
            headers: &headers[..headers.len() - body.len()],
        })
    }
}

/// Bytes after a length; any negative length means null, as in Kafka.
fn take_nullable<'a>(body: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(varint::take_i32(body)?) else {
        return Some(None);
    };
    let (value, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(Some(value))
}

fn take_header<'a>(body: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    // A header's key is never null.
    let key = take_nullable(body)??;
    Some((key, take_nullable(body)?))
}

/// The headers of a record: key and value, which may be null.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        take_header(&mut self.rest)
    }
}

/// Walks the records of a batch whose payload is not compressed.
///
/// Yields exactly `count` records or ends in a flaw; bytes behind the last one are
/// a flaw too.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: u32,
    count: u32,
    over: bool,
}

impl<'a> Records<'a> {
    /// Walks `payload`, which should hold `count` records. A negative count is none.
    #[must_use]
    pub fn new(payload: &'a [u8], count: i32) -> Self {
        Self { rest: payload, index: 0, count: u32::try_from(count).unwrap_or(0), over: false }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordFlaw>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        if self.index == self.count {
            self.over = true;
            let count = self.rest.len();
            return (count > 0).then_some(Err(RecordFlaw::Trailing { count }));
        }
        let record = Record::take(&mut self.rest, self.index);
        self.over = record.is_err();
        self.index += 1;
        Some(record)
    }
}

/// The payload of a batch without its compression: a view where there is none.
///
/// # Errors
/// If the codec does not exist, the data is not what the codec says, or there is
/// more of it than `max_bytes`.
pub fn records<'a>(batch: &Batch<'a>, max_bytes: u32) -> Result<Cow<'a, [u8]>, DecompressError> {
    let codec = batch.header.attributes.codec().map_err(|bits| DecompressError::UnknownCodec { bits })?;
    match codec {
        Codec::None => Ok(Cow::Borrowed(batch.payload())),
        Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
            decompress(codec, batch.payload(), max_bytes).map(Cow::Owned)
        }
    }
}
