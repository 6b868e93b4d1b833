//! Logs that are on the disk and cannot serve: what was durable in them is no longer whole.
//!
//! Such a log stays as it is, so that somebody may still save what is left of it, and so does what the directory's checkpoints say of it: without its recovery
//! point the next start would take the damage for a torn tail and cut it. Its partition answers
//! KAFKA_STORAGE_ERROR, and no empty log takes its place while its topic is there.

use super::Shard;
use crate::disk::Disk;
use crate::ids::{Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use crate::log::{DiskError, keep_aside, move_aside};
use crate::partition::PartitionError;

/// One of them.
pub(super) struct Damaged {
    pub(super) directory: String,
    pub(super) name: (TopicName, PartitionIndex),
    /// Whose it is; `None` if that is part of the damage.
    pub(super) topic_id: Option<TopicId>,
    pub(super) recovery_point: Offset,
    pub(super) log_start: Offset,
}

impl Damaged {
    /// The partition it is a replica of, as far as it says.
    pub(super) fn partition(&self) -> Option<TopicPartition> {
        Some(TopicPartition { topic_id: self.topic_id?, partition: self.name.1 })
    }
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// What is wrong with a partition that has no replica here.
    pub(super) fn absent(&self, id: TopicPartition) -> PartitionError {
        let damaged = self.damaged.iter().any(|damaged| damaged.partition() == Some(id));
        if damaged { PartitionError::Storage } else { PartitionError::NotLeader }
    }

    /// Whether a damaged log has the place of this replica. One that does not say whose it is belongs to the
    /// first that is wanted there; one of an earlier topic of that name makes way.
    pub(super) fn is_damaged(&mut self, directory: &str, id: TopicPartition) -> Result<bool, DiskError> {
        let Some(at) = self.damaged.iter().position(|damaged| damaged.directory == directory) else {
            return Ok(false);
        };
        if *self.damaged[at].topic_id.get_or_insert(id.topic_id) == id.topic_id {
            return Ok(true);
        }
        self.move_damaged(at, false)?;
        Ok(false)
    }

    /// The partition is no longer wanted here: what is left of its log goes, too, or is kept aside where
    /// nobody said that its topic is gone.
    pub(super) fn take_out_damaged(&mut self, id: TopicPartition, stray: bool) {
        let Some(at) = self.damaged.iter().position(|damaged| damaged.partition() == Some(id)) else {
            return;
        };
        if let Err(error) = self.move_damaged(at, stray) {
            self.fail(&error);
        }
    }

    fn move_damaged(&mut self, at: usize, stray: bool) -> Result<(), DiskError> {
        let Damaged { directory: from, topic_id, .. } = self.damaged.swap_remove(at);
        let topic_id = topic_id.unwrap_or_default();
        let to = if stray {
            keep_aside(&self.disk, &from, topic_id.0)?
        } else {
            let unique = self.removal(topic_id);
            move_aside(&self.disk, &from, unique)?
        };
        self.moved(from, to, stray);
        Ok(())
    }
}
