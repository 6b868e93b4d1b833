//! Carrying snapshots to controllers and brokers that are too far behind.
//!
//! Raft's own message names a snapshot and nothing more; whoever lacks it pulls it in chunks. The side that has
//! it keeps only images, which cost next to nothing beside the current one, and makes the bytes when asked.

use bytes::Bytes;
use raft::eraftpb::Message;

use super::identity::Peer;
use super::message::Chunk;
use super::snapshot::{self, SnapshotId};
use crate::metadata::image::Image;
use crate::time::Monotonic;

/// The largest part of a snapshot sent at once.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Snapshots kept for those who are in the middle of pulling one when the next is taken.
const HELD_MAX: usize = 2;

/// The snapshots that can be pulled from here, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Held {
    snapshots: Vec<HeldSnapshot>,
}

#[derive(Debug)]
struct HeldSnapshot {
    id: SnapshotId,
    image: Image,
    /// Made when first asked for, dropped when nobody asked for a while.
    bytes: Option<(Bytes, Monotonic)>,
}

impl Held {
    pub(crate) fn hold(&mut self, image: Image) {
        let id = SnapshotId::of(&image);
        self.snapshots.retain(|held| held.id != id);
        self.snapshots.push(HeldSnapshot { id, image, bytes: None });
        if self.snapshots.len() > HELD_MAX {
            self.snapshots.remove(0);
        }
    }

    pub(crate) fn latest(&self) -> Option<SnapshotId> {
        self.snapshots.last().map(|held| held.id)
    }

    pub(crate) fn chunk(
        &mut self,
        now: Monotonic,
        id: SnapshotId,
        position: u64,
        bytes_max: usize,
    ) -> Option<Chunk> {
        let held = self.snapshots.iter_mut().find(|held| held.id == id)?;
        let (bytes, asked_at) = held.bytes.get_or_insert_with(|| (snapshot::encode(&held.image), now));
        *asked_at = now;
        let start = usize::try_from(position).ok().filter(|start| *start <= bytes.len())?;
        let end = bytes.len().min(start + bytes_max.min(CHUNK_BYTES_MAX));
        Some(Chunk { id, size: bytes.len() as u64, position, bytes: bytes.slice(start..end) })
    }

    /// Frees bytes that nobody asked for since `before`.
    pub(crate) fn forget_bytes(&mut self, before: Monotonic) {
        for held in &mut self.snapshots {
            held.bytes.take_if(|(_, asked_at)| *asked_at < before);
        }
    }
}

/// A snapshot that is being pulled.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Raft's message that named it, stepped once the bytes are here.
    pub(crate) message: Message,
    pub(crate) from: Peer,
    pub(crate) id: SnapshotId,
    pub(crate) asked_at: Monotonic,
    buffer: Vec<u8>,
}

impl Incoming {
    pub(crate) fn new(message: Message, from: Peer, id: SnapshotId, now: Monotonic) -> Self {
        Self { message, from, id, asked_at: now, buffer: Vec::new() }
    }

    pub(crate) fn position(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Takes a chunk if it is the next one; true when that was the last.
    pub(crate) fn take(&mut self, chunk: &Chunk) -> bool {
        if chunk.id != self.id || chunk.position != self.position() {
            return false;
        }
        self.buffer.extend_from_slice(&chunk.bytes);
        self.position() >= chunk.size
    }

    pub(crate) fn into_bytes(self) -> (Message, Bytes) {
        (self.message, self.buffer.into())
    }
}
