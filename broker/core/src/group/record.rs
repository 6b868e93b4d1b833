//! What `__consumer_offsets` holds: keys and values, byte for byte as Apache Kafka 4.3 writes them.
//!
//! A key is `i16` type, then its fields; a value `i16` version, then its fields. Texts have an `i16` length (−1 for
//! null) and byte strings an `i32` one; from the *flexible* version on, lengths are varints of the length and one, and
//! each structure ends with its tagged fields. A record without a value (a tombstone) takes its key away.
//!
//! ```text
//! key 0, 1  offset commit     group, topic, partition i32       written as 1; 0 is read as the same
//!   value 0  offset i64, metadata, commit timestamp i64
//!         1  and expire timestamp i64                           written where a client asks for a retention
//!         2  as 0
//!         3  offset i64, leader epoch i32, metadata, commit timestamp i64
//!         4  as 3, flexible; tag 0 is the topic's id            written otherwise
//! key 2     classic group     group
//!   value 0  protocol type, generation i32, protocol or null, leader or null, members: i32 count, then each
//!            member id, client id, client host, session timeout i32 ms, subscription, assignment
//!         1  and rebalance timeout i32 ms before the session's
//!         2  and current state timestamp i64 before the members
//!         3  and group instance id or null after the member id  written
//!         4  as 3, flexible
//! ```
//!
//! Keys of other types are let be: they are of protocols that this release does not know.

mod codec;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::ids::{GroupId, InstanceId, MemberId};
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use crate::time::Wall;

pub use codec::RecordError;

/// A record of a group, with its value, or without where it takes the key away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    /// Keys 0 and 1.
    OffsetCommit {
        /// Who committed.
        group: GroupId,
        /// What of.
        at: OffsetKey,
        /// How far.
        value: Option<CommittedOffset>,
    },
    /// Key 2.
    ClassicGroup {
        /// Which group.
        group: GroupId,
        /// What it is.
        value: Option<ClassicGroupValue>,
    },
}

/// Which partition an offset is committed of. Topics are known by name: a topic made anew goes on where the one of that
/// name ended, as in Kafka, unless its offsets were deleted with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionIndex,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to be consumed.
    pub offset: Offset,
    /// The leader epoch of the last one consumed (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the client wants kept with it.
    pub metadata: String,
    /// When it was committed.
    pub committed: Wall,
    /// When it expires, where the client said so (OffsetCommit 2 to 4).
    pub expires: Option<Wall>,
    /// The topic's id; zero if it was not known.
    pub topic_id: TopicId,
}

/// A classic group with what its members agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicGroupValue {
    /// `consumer`, `connect` or another; empty for one that only keeps offsets.
    pub protocol_type: String,
    /// Rises with every rebalance.
    pub generation: i32,
    /// The protocol that was chosen.
    pub protocol: Option<String>,
    /// Who assigned.
    pub leader: Option<MemberId>,
    /// Since when it has been in its state.
    pub state_since: Option<Wall>,
    /// Its members.
    pub members: Vec<ClassicMemberValue>,
}

/// A member of a [`ClassicGroupValue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMemberValue {
    /// What the coordinator calls it.
    pub id: MemberId,
    /// What it calls itself, if it is static.
    pub instance: Option<InstanceId>,
    /// `client.id`
    pub client_id: String,
    /// Its address, as `/127.0.0.1`.
    pub client_host: String,
    /// Milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Milliseconds.
    pub session_timeout_ms: i32,
    /// What it said under the chosen protocol.
    pub subscription: Bytes,
    /// What it was assigned.
    pub assignment: Bytes,
}

/// A record as it goes into a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// Never empty.
    pub key: Vec<u8>,
    /// None of a tombstone.
    pub value: Option<Vec<u8>>,
}

impl EncodedRecord {
    /// Its size within a batch, at most.
    pub fn bytes(&self) -> usize {
        // Length, attributes, two deltas, two lengths and the count of headers: none is larger than this.
        const OVERHEAD: usize = 32;
        OVERHEAD + self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}
