//! RaftMessage (10000): one raft message between two controllers.
//!
//! Raft is one-way; the response only says whether the message reached the machine
//! it was meant for. Both directory ids travel with it, because a node id can come
//! back with an empty disk, and such a voter must not be spoken to as its old self.

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::protocol::buf::ByteBuf;
use uuid::Uuid;

use super::codec::{self, Fields, Sink};
use super::{PrivateKey, private_message};

/// Carries one raft message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftMessageRequest {
    /// The cluster the sender belongs to.
    pub cluster_id: String,
    /// The sender's node id.
    pub from_node_id: u32,
    /// The sender's directory id.
    pub from_directory_id: Uuid,
    /// The directory id the message is meant for.
    pub to_directory_id: Uuid,
    /// The message in the quorum's own versioned encoding; opaque here.
    pub payload: Bytes,
}

impl Fields for RaftMessageRequest {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_string(out, &self.cluster_id)?;
        codec::put_u32(out, self.from_node_id);
        codec::put_uuid(out, self.from_directory_id);
        codec::put_uuid(out, self.to_directory_id);
        codec::put_bytes(out, &self.payload)
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self {
            cluster_id: codec::read_string(input)?,
            from_node_id: input.try_get_u32()?,
            from_directory_id: codec::read_uuid(input)?,
            to_directory_id: codec::read_uuid(input)?,
            payload: codec::read_bytes(input)?,
        })
    }
}

/// Says whether the message was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftMessageResponse {
    /// A Kafka error code, 0 if the message was taken.
    pub error_code: i16,
}

impl Fields for RaftMessageResponse {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_i16(out, self.error_code);
        Ok(())
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self { error_code: input.try_get_i16()? })
    }
}

private_message!(PrivateKey::RaftMessage, RaftMessageRequest => RaftMessageResponse);
