//! Committed entries as brokers pull them.
//!
//! ```text
//! version  u8 = 0
//! count    uvarint
//! count times: offset uvarint, term uvarint, payload (length and bytes: a record batch)
//! tags     a tagged section
//! ```

use bytes::Bytes;

use super::codec::{DecodeError, Reader, Tags, Writer};
use crate::ids::{MetadataOffset, Term};

const VERSION: u8 = 0;

/// One committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// Where in the log it is.
    pub offset: MetadataOffset,
    /// The term it was written in.
    pub term: Term,
    /// Its record batch.
    pub payload: Bytes,
}

/// Entries as bytes.
pub fn encode_feed<'a>(entries: impl ExactSizeIterator<Item = (MetadataOffset, Term, &'a Bytes)>) -> Bytes {
    let mut writer = Writer::default();
    writer.raw(&[VERSION]);
    writer.count(entries.len());
    for (offset, term, payload) in entries {
        writer.uvarint(offset.0);
        writer.uvarint(term.0);
        writer.bytes(payload);
    }
    writer.tags(Tags::none());
    writer.into_bytes().into()
}

/// Entries from bytes.
pub fn decode_feed(bytes: &[u8]) -> Result<Vec<FeedEntry>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.raw(1, "feed version")?[0];
    if version != VERSION {
        return Err(DecodeError::UnknownVersion { what: "metadata feed", version: version.into() });
    }
    let entries = reader.list("entries", |reader| {
        Ok(FeedEntry {
            offset: MetadataOffset(reader.uvarint("entry offset")?),
            term: Term(reader.uvarint("entry term")?),
            payload: Bytes::copy_from_slice(reader.bytes("entry payload")?),
        })
    })?;
    reader.tags(|_, _| Ok(()))?;
    reader.finish("metadata feed")?;
    Ok(entries)
}
