//! Following the metadata log: from fetched entries and parts of snapshots to images.

use super::{CallError, CallNumber, LifecycleConfig};
use crate::controller::OperationError;
use crate::controller::operation::{
    FetchMetadata, FetchMetadataSnapshot, FetchedMetadata, Operation, Reply, SnapshotPart,
};
use crate::ids::NodeId;
use crate::metadata::feed::decode_feed;
use crate::metadata::image::Image;
use crate::metadata::record::Record;
use crate::quorum::{SnapshotId, snapshot};
use crate::time::Monotonic;

/// Why what was fetched did not lead to a newer image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// There was no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// This release cannot read it, or it contradicts what came before.
    #[error("{0}")]
    Contents(String),
}

#[derive(Debug)]
struct Pull {
    id: SnapshotId,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Follower {
    node_id: NodeId,
    image: Image,
    pull: Option<Pull>,
    waits_for: Option<(CallNumber, Monotonic)>,
    next_at: Monotonic,
    /// When the last fetch was sent that led to all that was committed.
    complete_as_of: Option<Monotonic>,
}

impl Follower {
    pub(super) fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            image: Image::default(),
            pull: None,
            waits_for: None,
            next_at: Monotonic(0),
            complete_as_of: None,
        }
    }

    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// The image has all that was committed at that time.
    pub(super) fn complete_as_of(&self) -> Option<Monotonic> {
        self.complete_as_of
    }

    pub(super) fn awaits(&self, number: CallNumber) -> bool {
        self.waits_for.is_some_and(|(waits_for, _)| waits_for == number)
    }

    pub(super) fn wakes_at(&self, config: &LifecycleConfig) -> Monotonic {
        self.waits_for
            .map_or(self.next_at, |(_, since)| since.plus(config.request_timeout + FetchMetadata::WAIT_MAX))
    }

    /// Gives up a call that takes too long, if there is one.
    pub(super) fn timed_out(&mut self, now: Monotonic, config: &LifecycleConfig) -> Option<CallNumber> {
        let patience = config.request_timeout + FetchMetadata::WAIT_MAX;
        self.waits_for.take_if(|(_, since)| now.since(*since) >= patience).map(|(number, _)| number)
    }

    pub(super) fn retry_at(&mut self, at: Monotonic) {
        self.next_at = at;
    }

    pub(super) fn next(&self, now: Monotonic) -> Option<Operation> {
        if self.waits_for.is_some() || now < self.next_at {
            return None;
        }
        Some(match &self.pull {
            None => Operation::FetchMetadata(FetchMetadata {
                node_id: self.node_id,
                after: self.image.offset,
                wait_max: FetchMetadata::WAIT_MAX,
                bytes_max: FetchMetadata::BYTES_MAX,
            }),
            Some(pull) => Operation::FetchMetadataSnapshot(FetchMetadataSnapshot {
                id: pull.id,
                position: pull.bytes.len() as u64,
                bytes_max: FetchMetadata::BYTES_MAX,
            }),
        })
    }

    pub(super) fn sent(&mut self, number: CallNumber, now: Monotonic) {
        self.waits_for = Some((number, now));
    }

    pub(super) fn replied(
        &mut self,
        number: CallNumber,
        result: Result<Reply, CallError>,
    ) -> Result<(), FollowError> {
        debug_assert!(self.awaits(number), "the caller asks first");
        let sent = self.waits_for.take().map(|(_, sent)| sent);
        match result {
            Ok(Reply::FetchMetadata(FetchedMetadata::Entries { bytes, committed })) => {
                self.apply(&bytes)?;
                if self.image.offset >= committed {
                    self.complete_as_of = sent;
                }
                Ok(())
            }
            Ok(Reply::FetchMetadata(FetchedMetadata::UseSnapshot(id))) => {
                self.pull = Some(Pull { id, bytes: Vec::new() });
                Ok(())
            }
            Ok(Reply::FetchMetadataSnapshot(part)) => self.take_part(&part),
            Ok(_) => Err(FollowError::Contents("the controller answered another question".to_owned())),
            Err(error) => {
                // Another controller may have another snapshot: begin again.
                self.pull = None;
                let gone = error == CallError::Refused(OperationError::SnapshotNotFound);
                if gone { Ok(()) } else { Err(error.into()) }
            }
        }
    }

    fn apply(&mut self, bytes: &[u8]) -> Result<(), FollowError> {
        let unreadable = |error: &dyn std::fmt::Display| FollowError::Contents(error.to_string());
        // Worked on a copy, which costs nothing: an image is never half-way through an entry.
        let mut image = self.image.clone();
        for entry in decode_feed(bytes).map_err(|error| unreadable(&error))? {
            if entry.offset.0 != image.offset.0 + 1 {
                return Err(FollowError::Contents(format!(
                    "entry {} does not follow {}",
                    entry.offset, image.offset
                )));
            }
            let records = Record::decode_batch(&entry.payload).map_err(|error| unreadable(&error))?;
            image.replay_entry(entry.offset, entry.term, &records).map_err(|error| unreadable(&error))?;
        }
        self.image = image;
        Ok(())
    }

    fn take_part(&mut self, part: &SnapshotPart) -> Result<(), FollowError> {
        let Some(pull) = &mut self.pull else { return Ok(()) };
        if part.id != pull.id || part.position != pull.bytes.len() as u64 {
            self.pull = None;
            return Ok(());
        }
        pull.bytes.extend_from_slice(&part.bytes);
        if (pull.bytes.len() as u64) < part.size {
            return Ok(());
        }
        let Some(pull) = self.pull.take() else { return Ok(()) };
        let image = snapshot::decode(&pull.bytes).map_err(|error| FollowError::Contents(error.in_full()))?;
        if image.offset > self.image.offset {
            self.image = image;
        }
        Ok(())
    }
}
