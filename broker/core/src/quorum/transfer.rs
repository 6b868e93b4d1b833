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

/// The largest snapshot taken over: some five times that of a cluster with 500,000 partitions.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

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
    /// As the first chunk says.
    size: Option<u64>,
    buffer: Vec<u8>,
}

/// What a chunk did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is none that was asked for, as one that comes twice.
    Ignored,
    /// There are more.
    Part,
    /// It was the last.
    All,
    /// Whoever sent it does not keep to what was said before, or to any limit.
    Bad(&'static str),
}

impl Incoming {
    pub(crate) fn new(message: Message, from: Peer, id: SnapshotId, now: Monotonic) -> Self {
        Self { message, from, id, asked_at: now, size: None, buffer: Vec::new() }
    }

    pub(crate) fn position(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Takes a chunk if it is the next one, and from whom it was asked.
    pub(crate) fn take(&mut self, from: &Peer, chunk: &Chunk) -> Taken {
        let sender = (from.node_id, from.directory_id);
        let asked = (self.from.node_id, self.from.directory_id);
        if sender != asked || chunk.id != self.id || chunk.position != self.position() {
            return Taken::Ignored;
        }
        if chunk.size > SNAPSHOT_BYTES_MAX {
            return Taken::Bad("it is too large");
        }
        if *self.size.get_or_insert(chunk.size) != chunk.size {
            return Taken::Bad("its size changes");
        }
        if chunk.bytes.len() > CHUNK_BYTES_MAX || self.position() + chunk.bytes.len() as u64 > chunk.size {
            return Taken::Bad("a part of it is too large");
        }
        if chunk.bytes.is_empty() && self.position() < chunk.size {
            return Taken::Bad("a part of it is empty");
        }
        self.buffer.extend_from_slice(&chunk.bytes);
        if self.position() == chunk.size { Taken::All } else { Taken::Part }
    }

    pub(crate) fn into_bytes(self) -> (Message, Bytes) {
        (self.message, self.buffer.into())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::{DirectoryId, MetadataOffset, NodeId, Term};
    use crate::quorum::identity::Address;

    const ID: SnapshotId = SnapshotId { offset: MetadataOffset(7), term: Term(1) };

    fn peer(number: u64) -> Peer {
        Peer {
            node_id: NodeId(1),
            directory_id: DirectoryId(Uuid::from_u64_pair(number, 0)),
            address: Address { host: "a".to_owned(), port: 1 },
        }
    }

    fn incoming() -> Incoming {
        Incoming::new(Message::default(), peer(1), ID, Monotonic(0))
    }

    fn chunk(size: u64, position: u64, bytes: usize) -> Chunk {
        Chunk { id: ID, size, position, bytes: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn parts_are_taken_in_order_and_once() {
        let mut incoming = incoming();
        assert_eq!(incoming.take(&peer(1), &chunk(30, 10, 10)), Taken::Ignored);
        assert_eq!(incoming.take(&peer(1), &chunk(30, 0, 10)), Taken::Part);
        assert_eq!(incoming.take(&peer(1), &chunk(30, 0, 10)), Taken::Ignored);
        assert_eq!(incoming.take(&peer(1), &chunk(30, 10, 20)), Taken::All);
        assert_eq!(incoming.into_bytes().1.len(), 30);
    }

    #[test]
    fn another_sender_adds_nothing() {
        let mut incoming = incoming();
        assert_eq!(incoming.take(&peer(2), &chunk(30, 0, 10)), Taken::Ignored);
        assert_eq!(incoming.position(), 0);
    }

    #[test]
    fn the_first_part_says_how_much_there_will_be_within_a_limit() {
        assert!(matches!(incoming().take(&peer(1), &chunk(SNAPSHOT_BYTES_MAX + 1, 0, 10)), Taken::Bad(_)));
        assert!(matches!(incoming().take(&peer(1), &chunk(9, 0, 10)), Taken::Bad(_)));
        assert!(matches!(incoming().take(&peer(1), &chunk(9, 0, 0)), Taken::Bad(_)));
        let mut incoming = incoming();
        assert_eq!(incoming.take(&peer(1), &chunk(30, 0, 10)), Taken::Part);
        assert!(matches!(incoming.take(&peer(1), &chunk(40, 10, 10)), Taken::Bad(_)));
        assert_eq!(incoming.position(), 10);
    }
}
