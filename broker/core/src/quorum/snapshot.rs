//! A snapshot: an image as bytes, on disk and on the wire alike.
//!
//! ```text
//! magic    4 bytes "OTTS"
//! crc      u32 big-endian: CRC-32C of everything after it
//! version  u8 = 0
//! offset   uvarint: the last entry in the image
//! term     uvarint: that entry's term
//! records  the rest: a record batch (see `metadata/record_codec.rs`)
//! ```

use std::fmt;

use bytes::Bytes;

use crate::ids::{MetadataOffset, Term};
use crate::metadata::codec::{DecodeError, Reader, Writer};
use crate::metadata::image::Image;
use crate::metadata::record::Record;
use crate::release;

const MAGIC: &[u8; 4] = b"OTTS";
const VERSION: u8 = 0;

/// Which snapshot: the last entry in it. Two snapshots of one cluster with the same id hold the same image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SnapshotId {
    /// The offset of the last entry in it.
    pub offset: MetadataOffset,
    /// The term of that entry.
    pub term: Term,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}", self.offset.0, self.term.0)
    }
}

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It does not begin like one, or its checksum is wrong.
    #[error("the checksum of the snapshot is wrong")]
    Checksum,
    /// Its contents cannot be read.
    #[error("the snapshot cannot be read")]
    Contents(#[from] DecodeError),
    /// Its records contradict each other.
    #[error("the snapshot contradicts itself")]
    Replay(#[from] crate::metadata::ReplayError),
}

impl SnapshotError {
    /// With what is behind it, where a text is all that is handed on.
    pub fn in_full(&self) -> String {
        match self {
            Self::Checksum => self.to_string(),
            Self::Contents(cause) => format!("{self}: {cause}"),
            Self::Replay(cause) => format!("{self}: {cause}"),
        }
    }
}

impl SnapshotId {
    /// The id of a snapshot of this image.
    pub fn of(image: &Image) -> Self {
        Self { offset: image.offset, term: image.term }
    }
}

/// An image as bytes.
pub fn encode(image: &Image) -> Bytes {
    let mut body = Writer::default();
    body.raw(&[VERSION]);
    body.uvarint(image.offset.0);
    body.uvarint(image.term.0);
    body.raw(&Record::encode_batch_at(release::level_of(image), &image.to_records()));
    let body = body.into_bytes();
    let mut bytes = Vec::with_capacity(body.len() + 8);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes.into()
}

/// The image in a snapshot's bytes.
pub fn decode(bytes: &[u8]) -> Result<Image, SnapshotError> {
    let (magic, rest) = bytes.split_at_checked(4).ok_or(SnapshotError::Checksum)?;
    let (crc, body) = rest.split_at_checked(4).ok_or(SnapshotError::Checksum)?;
    if magic != MAGIC || crc != crc32c::crc32c(body).to_be_bytes() {
        return Err(SnapshotError::Checksum);
    }
    let mut reader = Reader::new(body);
    let version = reader.raw(1, "snapshot version")?[0];
    if version != VERSION {
        return Err(DecodeError::UnknownVersion { what: "snapshot", version: version.into() }.into());
    }
    let offset = MetadataOffset(reader.uvarint("snapshot offset")?);
    let term = Term(reader.uvarint("snapshot term")?);
    let records = Record::decode_batch(reader.rest())?;
    let mut image = Image::default();
    image.replay_entry(offset, term, &records)?;
    Ok(image)
}
