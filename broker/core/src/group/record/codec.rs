//! Reads and writes the records.

use bytes::Bytes;
use uuid::Uuid;

use super::{ClassicGroupValue, ClassicMemberValue, CommittedOffset, EncodedRecord, GroupRecord, OffsetKey};
use crate::group::ids::{GroupId, InstanceId, MemberId};
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use crate::time::Wall;

/// Why a record of `__consumer_offsets` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It ends inside a field.
    #[error("a record of a group ends inside its {what}")]
    Truncated {
        /// Which field.
        what: &'static str,
    },
    /// A field is outside of what its type allows.
    #[error("a record of a group has an impossible {what}")]
    BadValue {
        /// Which field.
        what: &'static str,
    },
    /// Its value has a version from the future.
    #[error("version {version} of a value of key type {key} is not known to this release")]
    UnknownVersion {
        /// The key's type.
        key: i16,
        /// The value's version.
        version: i16,
    },
}

const OFFSET_COMMIT: i16 = 1;
const CLASSIC_GROUP: i16 = 2;

/// What an epoch, a time and a timestamp are that are not there.
const NONE: i64 = -1;

impl GroupRecord {
    /// The bytes of it.
    pub fn encode(&self) -> EncodedRecord {
        let mut key = Writer::default();
        match self {
            Self::OffsetCommit { group, at, value } => {
                key.i16(OFFSET_COMMIT);
                key.text(group.as_str());
                key.text(at.topic.as_str());
                key.i32(at.partition.0);
                EncodedRecord { key: key.0, value: value.as_ref().map(encode_commit) }
            }
            Self::ClassicGroup { group, value } => {
                key.i16(CLASSIC_GROUP);
                key.text(group.as_str());
                EncodedRecord { key: key.0, value: value.as_ref().map(encode_classic) }
            }
        }
    }

    /// Reads a record; none if its key is of a type that this release does not know.
    ///
    /// # Errors
    /// If its bytes are not what its type and version say.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, RecordError> {
        let mut key = Reader { bytes: key, flexible: false };
        match key.i16("key type")? {
            0 | OFFSET_COMMIT => {
                let group = GroupId::from(key.text("group")?);
                let topic = key.text("topic")?;
                let topic = TopicName::parse(topic).map_err(|_| RecordError::BadValue { what: "topic" })?;
                let partition = PartitionIndex(key.i32("partition")?);
                let value = value.map(decode_commit).transpose()?;
                Ok(Some(Self::OffsetCommit { group, at: OffsetKey { topic, partition }, value }))
            }
            CLASSIC_GROUP => {
                let group = GroupId::from(key.text("group")?);
                Ok(Some(Self::ClassicGroup { group, value: value.map(decode_classic).transpose()? }))
            }
            _ => Ok(None),
        }
    }
}

fn encode_commit(value: &CommittedOffset) -> Vec<u8> {
    let mut out = Writer::default();
    if let Some(expires) = value.expires {
        out.i16(1);
        out.i64(value.offset.0);
        out.text(&value.metadata);
        out.i64(value.committed.0);
        out.i64(expires.0);
        return out.0;
    }
    out.i16(4);
    out.i64(value.offset.0);
    out.i32(value.leader_epoch.map_or(-1, |epoch| epoch.0));
    out.compact_text(&value.metadata);
    out.i64(value.committed.0);
    if value.topic_id.0.is_nil() {
        out.uvarint(0);
    } else {
        // One tagged field: 0, of 16 bytes.
        out.0.extend_from_slice(&[1, 0, 16]);
        out.0.extend_from_slice(value.topic_id.0.as_bytes());
    }
    out.0
}

fn decode_commit(bytes: &[u8]) -> Result<CommittedOffset, RecordError> {
    let mut value = Reader { bytes, flexible: false };
    let version = value.i16("version")?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::UnknownVersion { key: OFFSET_COMMIT, version });
    }
    value.flexible = version >= 4;
    let offset = Offset(value.i64("offset")?);
    let leader_epoch = if version >= 3 { value.i32("leader epoch")? } else { -1 };
    let metadata = value.text("metadata")?.to_owned();
    let committed = Wall(value.i64("commit timestamp")?);
    let expires = if version == 1 { value.i64("expire timestamp")? } else { NONE };
    let mut topic_id = TopicId::default();
    if value.flexible {
        value.tags(|tag, bytes| {
            if tag == 0 {
                let bytes = bytes.try_into().map_err(|_| RecordError::BadValue { what: "topic id" })?;
                topic_id = TopicId(Uuid::from_bytes(bytes));
            }
            Ok(())
        })?;
    }
    Ok(CommittedOffset {
        offset,
        leader_epoch: (leader_epoch >= 0).then_some(LeaderEpoch(leader_epoch)),
        metadata,
        committed,
        expires: (expires != NONE).then_some(Wall(expires)),
        topic_id,
    })
}

fn encode_classic(value: &ClassicGroupValue) -> Vec<u8> {
    let mut out = Writer::default();
    out.i16(3);
    out.text(&value.protocol_type);
    out.i32(value.generation);
    out.nullable(value.protocol.as_deref());
    out.nullable(value.leader.as_ref().map(MemberId::as_str));
    out.i64(value.state_since.map_or(NONE, |at| at.0));
    out.count(value.members.len());
    for member in &value.members {
        out.text(member.id.as_str());
        out.nullable(member.instance.as_ref().map(InstanceId::as_str));
        out.text(&member.client_id);
        out.text(&member.client_host);
        out.i32(member.rebalance_timeout_ms);
        out.i32(member.session_timeout_ms);
        out.bytes(&member.subscription);
        out.bytes(&member.assignment);
    }
    out.0
}

fn decode_classic(bytes: &[u8]) -> Result<ClassicGroupValue, RecordError> {
    let mut value = Reader { bytes, flexible: false };
    let version = value.i16("version")?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::UnknownVersion { key: CLASSIC_GROUP, version });
    }
    value.flexible = version >= 4;
    let protocol_type = value.text("protocol type")?.to_owned();
    let generation = value.i32("generation")?;
    let protocol = value.nullable("protocol")?.map(str::to_owned);
    let leader = value.nullable("leader")?.map(MemberId::from);
    let since = if version >= 2 { value.i64("current state timestamp")? } else { NONE };
    let count = value.count("members")?;
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(decode_member(&mut value, version)?);
    }
    if value.flexible {
        value.tags(|_, _| Ok(()))?;
    }
    let state_since = (since != NONE).then_some(Wall(since));
    Ok(ClassicGroupValue { protocol_type, generation, protocol, leader, state_since, members })
}

fn decode_member(value: &mut Reader<'_>, version: i16) -> Result<ClassicMemberValue, RecordError> {
    let id = MemberId::from(value.text("member id")?);
    let instance = if version >= 3 { value.nullable("group instance id")? } else { None };
    let instance = instance.map(InstanceId::from);
    let client_id = value.text("client id")?.to_owned();
    let client_host = value.text("client host")?.to_owned();
    let rebalance = if version >= 1 { Some(value.i32("rebalance timeout")?) } else { None };
    let session_timeout_ms = value.i32("session timeout")?;
    let subscription = Bytes::copy_from_slice(value.byte_string("subscription")?);
    let assignment = Bytes::copy_from_slice(value.byte_string("assignment")?);
    if value.flexible {
        value.tags(|_, _| Ok(()))?;
    }
    Ok(ClassicMemberValue {
        id,
        instance,
        client_id,
        client_host,
        rebalance_timeout_ms: rebalance.unwrap_or(session_timeout_ms),
        session_timeout_ms,
        subscription,
        assignment,
    })
}

/// Appends fields. What comes from a client has passed the same limits on its way in.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.nullable(Some(text));
    }

    fn nullable(&mut self, text: Option<&str>) {
        let Some(text) = text else { return self.i16(-1) };
        self.i16(i16::try_from(text.len()).expect("a text of a request has at most 32,767 bytes"));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).expect("a request has at most 2 GiB"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn compact_text(&mut self, text: &str) {
        self.uvarint(u32::try_from(text.len()).expect("a request has at most 2 GiB") + 1);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Takes fields off the front; believes no length.
struct Reader<'a> {
    bytes: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(RecordError::Truncated { what })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(RecordError::Truncated { what })?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn i16(&mut self, what: &'static str) -> Result<i16, RecordError> {
        self.array(what).map(i16::from_be_bytes)
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, RecordError> {
        self.array(what).map(i32::from_be_bytes)
    }

    fn i64(&mut self, what: &'static str) -> Result<i64, RecordError> {
        self.array(what).map(i64::from_be_bytes)
    }

    fn uvarint(&mut self, what: &'static str) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(what)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::BadValue { what })
    }

    /// A length or a count; none if it is null.
    fn length(&mut self, short: bool, what: &'static str) -> Result<Option<usize>, RecordError> {
        let length = match (self.flexible, short) {
            (true, _) => i64::from(self.uvarint(what)?) - 1,
            (false, true) => i64::from(self.i16(what)?),
            (false, false) => i64::from(self.i32(what)?),
        };
        match length {
            NONE => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| RecordError::BadValue { what }),
        }
    }

    fn count(&mut self, what: &'static str) -> Result<usize, RecordError> {
        self.length(false, what)?.ok_or(RecordError::BadValue { what })
    }

    fn nullable(&mut self, what: &'static str) -> Result<Option<&'a str>, RecordError> {
        let Some(length) = self.length(true, what)? else { return Ok(None) };
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| RecordError::BadValue { what })
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, RecordError> {
        self.nullable(what)?.ok_or(RecordError::BadValue { what })
    }

    fn byte_string(&mut self, what: &'static str) -> Result<&'a [u8], RecordError> {
        let length = self.count(what)?;
        self.take(length, what)
    }

    fn tags(
        &mut self,
        mut each: impl FnMut(u32, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let what = "tagged fields";
        for _ in 0..self.uvarint(what)? {
            let tag = self.uvarint(what)?;
            let length = usize::try_from(self.uvarint(what)?).map_err(|_| RecordError::BadValue { what })?;
            each(tag, self.take(length, what)?)?;
        }
        Ok(())
    }
}
