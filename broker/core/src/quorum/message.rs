//! What controllers say to each other, and its bytes.
//!
//! ```text
//! version    u8 = 0
//! cluster    16 bytes
//! from       node varint, directory 16 bytes, host text, port uvarint
//! to         directory 16 bytes (nil in a Join: the sender need not know whom it asks)
//! kind       uvarint: 0 raft, 1 join, 2 snapshot request, 3 snapshot chunk
//! fields     of that kind
//! tags       a tagged section
//! ```
//! The raft ids of sender and receiver are not in the bytes: they follow from the directory ids, so a message
//! cannot claim to come from another voter than the directory it names.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};

use super::identity::{Address, Peer, RaftId};
use super::snapshot::SnapshotId;
use crate::ids::{ClusterId, DirectoryId, MetadataOffset, NodeId, Term};
use crate::metadata::codec::{DecodeError, Reader, Tags, Writer};

const VERSION: u8 = 0;

/// Messages above this many bytes are refused unread: an append holds entries of
/// [`super::machine::APPEND_BYTES_MAX`] at most or a single one, and that is at most
/// [`super::machine::ENTRY_BYTES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A message with its addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The cluster it belongs to.
    pub cluster_id: ClusterId,
    /// Who sends it, and where an answer goes.
    pub from: Peer,
    /// Whom it is for.
    pub to: DirectoryId,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A message of raft.
    Raft(Box<Message>),
    /// "I hold this node id and have an empty log": sent by a controller that is not a member, to everyone it
    /// knows, until it is one (decision 3).
    Join,
    /// "Send me that snapshot from this position on."
    SnapshotRequest {
        /// Which snapshot.
        id: SnapshotId,
        /// How much of it the sender has.
        position: u64,
    },
    /// A part of a snapshot.
    SnapshotChunk(Chunk),
}

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The size of the whole of it, in bytes.
    pub size: u64,
    /// Where in it this part starts.
    pub position: u64,
    /// The part.
    pub bytes: Bytes,
}

impl Envelope {
    /// The message as bytes.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.raw(&[VERSION]);
        writer.uuid(self.cluster_id.0);
        writer.varint(self.from.node_id.0.into());
        writer.uuid(self.from.directory_id.0);
        writer.text(&self.from.address.host);
        writer.uvarint(self.from.address.port.into());
        writer.uuid(self.to.0);
        match &self.body {
            Body::Raft(message) => {
                writer.uvarint(0);
                write_raft(&mut writer, message);
            }
            Body::Join => writer.uvarint(1),
            Body::SnapshotRequest { id, position } => {
                writer.uvarint(2);
                write_snapshot_id(&mut writer, *id);
                writer.uvarint(*position);
            }
            Body::SnapshotChunk(chunk) => {
                writer.uvarint(3);
                write_snapshot_id(&mut writer, chunk.id);
                writer.uvarint(chunk.size);
                writer.uvarint(chunk.position);
                writer.bytes(&chunk.bytes);
            }
        }
        writer.tags(Tags::none());
        writer.into_bytes().into()
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(DecodeError::BadValue { what: "message length" });
        }
        let mut reader = Reader::new(bytes);
        let version = reader.raw(1, "message version")?[0];
        if version != VERSION {
            return Err(DecodeError::UnknownVersion { what: "peer message", version: version.into() });
        }
        let cluster_id = ClusterId(reader.uuid("cluster id")?);
        let from = Peer {
            node_id: NodeId(reader.number("node id")?),
            directory_id: DirectoryId(reader.uuid("directory id")?),
            address: Address { host: reader.text("host")?, port: read_port(&mut reader)? },
        };
        let to = DirectoryId(reader.uuid("directory id")?);
        let body = match reader.uvarint("message kind")? {
            0 => {
                let id = |directory, what| RaftId::of(directory).map_err(|_| DecodeError::BadValue { what });
                let mut message = read_raft(&mut reader)?;
                message.from = id(from.directory_id, "sender")?.0;
                message.to = id(to, "receiver")?.0;
                Body::Raft(Box::new(message))
            }
            1 => Body::Join,
            2 => Body::SnapshotRequest {
                id: read_snapshot_id(&mut reader)?,
                position: reader.uvarint("position")?,
            },
            3 => Body::SnapshotChunk(Chunk {
                id: read_snapshot_id(&mut reader)?,
                size: reader.uvarint("size")?,
                position: reader.uvarint("position")?,
                bytes: Bytes::copy_from_slice(reader.bytes("chunk")?),
            }),
            _ => return Err(DecodeError::BadValue { what: "message kind" }),
        };
        reader.tags(|_, _| Ok(()))?;
        reader.finish("peer message")?;
        Ok(Self { cluster_id, from, to, body })
    }
}

fn read_port(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    u16::try_from(reader.uvarint("port")?).map_err(|_| DecodeError::BadValue { what: "port" })
}

fn write_snapshot_id(writer: &mut Writer, id: SnapshotId) {
    writer.uvarint(id.offset.0);
    writer.uvarint(id.term.0);
}

fn read_snapshot_id(reader: &mut Reader<'_>) -> Result<SnapshotId, DecodeError> {
    Ok(SnapshotId {
        offset: MetadataOffset(reader.uvarint("snapshot offset")?),
        term: Term(reader.uvarint("snapshot term")?),
    })
}

/// The kinds of raft messages that may cross the network, with their numbers. Everything else in the crate's
/// enum is either local to a node or a forwarding that we do not use.
const KINDS: [(u64, MessageType); 10] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgSnapshot),
    (6, MessageType::MsgHeartbeat),
    (7, MessageType::MsgHeartbeatResponse),
    (8, MessageType::MsgTimeoutNow),
    (9, MessageType::MsgRequestPreVote),
    (10, MessageType::MsgRequestPreVoteResponse),
];

/// Whether a message of this type may leave the node.
pub(crate) fn may_travel(kind: MessageType) -> bool {
    KINDS.iter().any(|(_, known)| *known == kind)
}

fn write_raft(writer: &mut Writer, message: &Message) {
    let kind = KINDS.iter().find(|(_, kind)| *kind == message.get_msg_type());
    writer.uvarint(kind.expect("only messages that may travel are encoded").0);
    writer.uvarint(message.term);
    writer.uvarint(message.log_term);
    writer.uvarint(message.index);
    writer.uvarint(message.commit);
    writer.uvarint(message.commit_term);
    writer.uvarint(message.reject.into());
    writer.uvarint(message.reject_hint);
    writer.uvarint(message.request_snapshot);
    writer.bytes(&message.context);
    writer.list(&message.entries, write_entry);
    let metadata = message.get_snapshot().get_metadata();
    writer.uvarint(metadata.index);
    writer.uvarint(metadata.term);
    writer.list(&metadata.get_conf_state().voters, |writer, id| writer.uvarint(*id));
    writer.list(&metadata.get_conf_state().learners, |writer, id| writer.uvarint(*id));
}

fn read_raft(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let kind = reader.uvarint("raft message kind")?;
    let known = KINDS.iter().find(|(number, _)| *number == kind);
    let (_, kind) = known.ok_or(DecodeError::BadValue { what: "raft message kind" })?;
    let mut message = Message::default();
    message.set_msg_type(*kind);
    message.term = reader.uvarint("term")?;
    message.log_term = reader.uvarint("log term")?;
    message.index = reader.uvarint("index")?;
    message.commit = reader.uvarint("commit")?;
    message.commit_term = reader.uvarint("commit term")?;
    message.reject = reader.uvarint("reject")? != 0;
    message.reject_hint = reader.uvarint("reject hint")?;
    message.request_snapshot = reader.uvarint("snapshot request")?;
    message.context = Bytes::copy_from_slice(reader.bytes("context")?);
    message.set_entries(reader.list("entries", read_entry)?.into());
    let mut snapshot = Snapshot::default();
    snapshot.mut_metadata().index = reader.uvarint("snapshot index")?;
    snapshot.mut_metadata().term = reader.uvarint("snapshot term")?;
    let voters = reader.list("voters", |reader| reader.uvarint("voter"))?;
    let learners = reader.list("learners", |reader| reader.uvarint("learner"))?;
    snapshot.mut_metadata().set_conf_state(ConfState::from((voters, learners)));
    if snapshot.get_metadata().index > 0 {
        message.set_snapshot(snapshot);
    }
    Ok(message)
}

const ENTRY_NORMAL: u64 = 0;
const ENTRY_VOTERS: u64 = 1;

/// An entry, on the wire and in the log alike: term, index, kind, payload.
///
/// An entry that changes the voters carries the new table as a record batch in raft's `context`; its `data`
/// (the crate's own form of the change) is made anew from the table where it is applied, and never travels.
pub(crate) fn write_entry(writer: &mut Writer, entry: &Entry) {
    writer.uvarint(entry.term);
    writer.uvarint(entry.index);
    match entry.get_entry_type() {
        EntryType::EntryNormal => {
            writer.uvarint(ENTRY_NORMAL);
            writer.bytes(&entry.data);
        }
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            writer.uvarint(ENTRY_VOTERS);
            writer.bytes(&entry.context);
        }
    }
}

/// Reads what [`write_entry`] wrote.
pub(crate) fn read_entry(reader: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    let mut entry = Entry {
        term: reader.uvarint("entry term")?,
        index: reader.uvarint("entry index")?,
        ..Entry::default()
    };
    let kind = reader.uvarint("entry kind")?;
    let payload = Bytes::copy_from_slice(reader.bytes("entry payload")?);
    match kind {
        ENTRY_NORMAL => entry.data = payload,
        ENTRY_VOTERS => {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            entry.context = payload;
        }
        _ => return Err(DecodeError::BadValue { what: "entry kind" }),
    }
    Ok(entry)
}

/// The payload of an entry: its records.
pub(crate) fn payload(entry: &Entry) -> Bytes {
    match entry.get_entry_type() {
        EntryType::EntryNormal => entry.data.clone(),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => entry.context.clone(),
    }
}
