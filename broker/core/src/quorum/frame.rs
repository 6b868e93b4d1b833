//! The frames of the metadata log's files; the layout is described in `store.rs`.

use super::identity::RaftId;
use super::message::{read_entry, write_entry};
use super::snapshot::SnapshotId;
use super::store::{HardState, LogEntry};
use crate::ids::{DirectoryId, MetadataOffset, Term};
use crate::metadata::codec::{DecodeError, Reader, Tags, Writer};

const MAGIC: &[u8; 4] = b"OTTF";
const HEADER_BYTES: usize = 20;

const KIND_START: u64 = 0;
const KIND_APPEND: u64 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) sequence: u64,
    pub(crate) body: FrameBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FrameBody {
    Start { directory_id: DirectoryId, hard_state: HardState, replaced_by: Option<SnapshotId> },
    Append { hard_state: HardState, entries: Vec<LogEntry> },
}

impl FrameBody {
    pub(crate) fn hard_state(&self) -> HardState {
        let (Self::Start { hard_state, .. } | Self::Append { hard_state, .. }) = self;
        *hard_state
    }

    pub(crate) fn directory_id(&self) -> Option<DirectoryId> {
        match self {
            Self::Start { directory_id, .. } => Some(*directory_id),
            Self::Append { .. } => None,
        }
    }

    pub(crate) fn highest_offset(&self) -> MetadataOffset {
        match self {
            Self::Start { .. } => MetadataOffset(0),
            Self::Append { entries, .. } => {
                entries.iter().map(|entry| entry.offset).max().unwrap_or_default()
            }
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Start { directory_id, hard_state, replaced_by } => {
                writer.uvarint(KIND_START);
                writer.uuid(directory_id.0);
                write_hard_state(&mut writer, hard_state);
                writer.list(replaced_by.as_slice(), |writer, id| {
                    writer.uvarint(id.offset.0);
                    writer.uvarint(id.term.0);
                });
            }
            Self::Append { hard_state, entries } => {
                writer.uvarint(KIND_APPEND);
                write_hard_state(&mut writer, hard_state);
                writer.list(entries, |writer, entry| write_entry(writer, &entry.to_raft()));
            }
        }
        writer.tags(Tags::none());
        writer.into_bytes()
    }

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.uvarint("frame kind")?;
        let body = match kind {
            KIND_START => {
                let directory_id = DirectoryId(reader.uuid("directory id")?);
                let hard_state = read_hard_state(&mut reader)?;
                let mut ids = reader.list("snapshot id", |reader| {
                    Ok(SnapshotId {
                        offset: MetadataOffset(reader.uvarint("snapshot offset")?),
                        term: Term(reader.uvarint("snapshot term")?),
                    })
                })?;
                Self::Start { directory_id, hard_state, replaced_by: ids.pop() }
            }
            KIND_APPEND => {
                let hard_state = read_hard_state(&mut reader)?;
                let entries =
                    reader.list("entries", |reader| Ok(LogEntry::from_raft(&read_entry(reader)?)))?;
                Self::Append { hard_state, entries }
            }
            _ => return Err(DecodeError::BadValue { what: "frame kind" }),
        };
        reader.tags(|_, _| Ok(()))?;
        reader.finish("frame")?;
        Ok(body)
    }
}

fn write_hard_state(writer: &mut Writer, state: &HardState) {
    writer.uvarint(state.term.0);
    writer.uvarint(state.vote.map_or(0, |vote| vote.0));
    writer.uvarint(state.commit.0);
}

fn read_hard_state(reader: &mut Reader<'_>) -> Result<HardState, DecodeError> {
    Ok(HardState {
        term: Term(reader.uvarint("term")?),
        vote: Some(RaftId(reader.uvarint("vote")?)).filter(|vote| vote.0 != 0),
        commit: MetadataOffset(reader.uvarint("commit")?),
    })
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let payload = self.body.write();
        let length = u32::try_from(payload.len()).expect("a frame holds no more than may wait for the disk");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&checksum(length, self.sequence, &payload).to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }
}

fn checksum(length: u32, sequence: u64, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&length.to_be_bytes());
    let crc = crc32c::crc32c_append(crc, &sequence.to_be_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// The frame at the start of `bytes` and its length, if it is whole and bears this sequence number. What has a
/// right checksum and cannot be read all the same was written by another release, or by a bug.
pub(crate) fn read_frame(bytes: &[u8], sequence: u64) -> Option<(Result<FrameBody, DecodeError>, usize)> {
    let (found, payload) = whole_frame(bytes)?;
    (found == sequence).then(|| (FrameBody::read(payload), HEADER_BYTES + payload.len()))
}

/// Where in `bytes` a whole frame with this sequence number or a later one starts.
pub(crate) fn find_frame(bytes: &[u8], sequence: u64) -> Option<usize> {
    let starts = (0..bytes.len()).filter(|start| bytes[*start..].starts_with(MAGIC));
    starts.into_iter().find(|start| whole_frame(&bytes[*start..]).is_some_and(|(found, _)| found >= sequence))
}

fn whole_frame(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (magic, header) = header.split_first_chunk::<4>()?;
    let (length, header) = header.split_first_chunk::<4>()?;
    let (sequence, crc) = header.split_first_chunk::<8>()?;
    let length = u32::from_be_bytes(*length);
    let sequence = u64::from_be_bytes(*sequence);
    let payload = rest.get(..usize::try_from(length).ok()?)?;
    let whole = magic == MAGIC && crc == checksum(length, sequence, payload).to_be_bytes();
    whole.then_some((sequence, payload))
}
