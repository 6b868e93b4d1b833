//! FetchMetadata (10001) and FetchMetadataSnapshot (10002): how brokers and
//! learners pull the metadata log.
//!
//! A node asks from the offset it needs next. The answer holds committed entries,
//! or, where the log no longer reaches back that far, names a snapshot that the
//! node then pulls in chunks. A controller that does not lead says who does.

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::protocol::buf::ByteBuf;

use super::codec::{self, Fields, Sink};
use super::{PrivateKey, private_message};

/// Asks for committed metadata entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchMetadataRequest {
    /// Who asks.
    pub node_id: u32,
    /// The epoch of the asker's registration, -1 before it has one.
    pub broker_epoch: i64,
    /// The first offset the asker does not have.
    pub from_offset: u64,
    /// How many bytes of entries to return at most; the first entry always comes whole.
    pub max_bytes: u32,
    /// How long to wait for something new.
    pub max_wait_ms: u32,
}

impl Fields for FetchMetadataRequest {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_u32(out, self.node_id);
        codec::put_i64(out, self.broker_epoch);
        codec::put_u64(out, self.from_offset);
        codec::put_u32(out, self.max_bytes);
        codec::put_u32(out, self.max_wait_ms);
        Ok(())
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self {
            node_id: input.try_get_u32()?,
            broker_epoch: input.try_get_i64()?,
            from_offset: input.try_get_u64()?,
            max_bytes: input.try_get_u32()?,
            max_wait_ms: input.try_get_u32()?,
        })
    }
}

/// Where the active controller is, as far as the answering node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// Its node id.
    pub node_id: u32,
    /// The host of its controller listener.
    pub host: String,
    /// The port of its controller listener.
    pub port: u16,
}

impl Fields for LeaderHint {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_u32(out, self.node_id);
        codec::put_string(out, &self.host)?;
        codec::put_u16(out, self.port);
        Ok(())
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self {
            node_id: input.try_get_u32()?,
            host: codec::read_string(input)?,
            port: input.try_get_u16()?,
        })
    }
}

/// A snapshot that stands in for everything up to its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotDescriptor {
    /// The last offset it contains.
    pub offset: u64,
    /// The term of that offset.
    pub term: u64,
    /// Its length in bytes.
    pub size: u64,
}

impl Fields for SnapshotDescriptor {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_u64(out, self.offset);
        codec::put_u64(out, self.term);
        codec::put_u64(out, self.size);
        Ok(())
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self { offset: input.try_get_u64()?, term: input.try_get_u64()?, size: input.try_get_u64()? })
    }
}

/// Committed entries, or the way to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchMetadataResponse {
    /// A Kafka error code, 0 if the entries are good.
    pub error_code: i16,
    /// Who leads, if that is known.
    pub leader: Option<LeaderHint>,
    /// The last committed offset.
    pub high_watermark: u64,
    /// Committed entries in order, from the offset asked for, in the metadata log's own versioned encoding.
    pub entries: Bytes,
    /// Set if the log no longer holds the offset asked for.
    pub snapshot: Option<SnapshotDescriptor>,
}

impl Fields for FetchMetadataResponse {
    fn write<S: Sink>(&self, version: i16, out: &mut S) -> Result<()> {
        codec::put_i16(out, self.error_code);
        codec::put_option(self.leader.as_ref(), version, out)?;
        codec::put_u64(out, self.high_watermark);
        codec::put_bytes(out, &self.entries)?;
        codec::put_option(self.snapshot.as_ref(), version, out)
    }

    fn read<B: ByteBuf>(version: i16, input: &mut B) -> Result<Self> {
        Ok(Self {
            error_code: input.try_get_i16()?,
            leader: codec::read_option(version, input)?,
            high_watermark: input.try_get_u64()?,
            entries: codec::read_bytes(input)?,
            snapshot: codec::read_option(version, input)?,
        })
    }
}

/// Asks for a chunk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchMetadataSnapshotRequest {
    /// The snapshot's last offset.
    pub offset: u64,
    /// The term of that offset.
    pub term: u64,
    /// The first byte wanted.
    pub position: u64,
    /// How many bytes to return at most.
    pub max_bytes: u32,
}

impl Fields for FetchMetadataSnapshotRequest {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_u64(out, self.offset);
        codec::put_u64(out, self.term);
        codec::put_u64(out, self.position);
        codec::put_u32(out, self.max_bytes);
        Ok(())
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self {
            offset: input.try_get_u64()?,
            term: input.try_get_u64()?,
            position: input.try_get_u64()?,
            max_bytes: input.try_get_u32()?,
        })
    }
}

/// A chunk of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchMetadataSnapshotResponse {
    /// A Kafka error code, 0 if the bytes are good.
    pub error_code: i16,
    /// The length of the whole snapshot.
    pub size: u64,
    /// Where in the snapshot the bytes belong.
    pub position: u64,
    /// The bytes.
    pub bytes: Bytes,
}

impl Fields for FetchMetadataSnapshotResponse {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_i16(out, self.error_code);
        codec::put_u64(out, self.size);
        codec::put_u64(out, self.position);
        codec::put_bytes(out, &self.bytes)
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self {
            error_code: input.try_get_i16()?,
            size: input.try_get_u64()?,
            position: input.try_get_u64()?,
            bytes: codec::read_bytes(input)?,
        })
    }
}

private_message!(PrivateKey::FetchMetadata, FetchMetadataRequest => FetchMetadataResponse);
private_message!(
    PrivateKey::FetchMetadataSnapshot,
    FetchMetadataSnapshotRequest => FetchMetadataSnapshotResponse
);
