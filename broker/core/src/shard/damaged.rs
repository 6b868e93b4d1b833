//! Logs that were found damaged below their recovery point: what was durable there is no longer whole.
//!
//! Such a log is not served and not touched, so that somebody may still save what is left of it. Its partition
//! answers with a storage error; everything else in the directory is served. It goes when its topic does.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::Disk;
use crate::ids::{TopicId, TopicPartition};
use crate::log::{DiskError, move_aside, topic_of};
use crate::partition::PartitionError;

/// What became of the damage when its partition was assigned.
pub(super) enum Damage {
    /// There is none in that directory.
    None,
    /// The partition has no other log than the damaged one.
    Stays,
    /// It belonged to an earlier topic of that name, and was moved out of the way, to be removed.
    MovedTo(String),
}

/// The damaged logs of one log directory.
#[derive(Debug, Default)]
pub(super) struct Damaged {
    /// By the name of their directory.
    directories: BTreeSet<String>,
    /// Those that the metadata knows.
    partitions: BTreeMap<TopicPartition, String>,
}

impl Damaged {
    /// A log was found damaged.
    pub(super) fn found(&mut self, directory: String) {
        self.directories.insert(directory);
    }

    /// What a request for a partition without a replica gets.
    pub(super) fn error_of(&self, id: TopicPartition) -> PartitionError {
        if self.partitions.contains_key(&id) { PartitionError::Storage } else { PartitionError::NotLeader }
    }

    /// A replica is to be made in this directory.
    pub(super) fn assigned<D: Disk>(
        &mut self,
        disk: &D,
        id: TopicPartition,
        directory: &str,
    ) -> Result<Damage, DiskError> {
        if !self.directories.contains(directory) {
            return Ok(Damage::None);
        }
        let topic_id = topic_of(disk, directory)?;
        if topic_id == Some(id.topic_id) {
            self.partitions.insert(id, directory.to_owned());
            return Ok(Damage::Stays);
        }
        self.move_aside(disk, directory, topic_id.unwrap_or(id.topic_id)).map(Damage::MovedTo)
    }

    /// A replica is no longer wanted here. The name that its log was moved to, if it was a damaged one.
    pub(super) fn removed<D: Disk>(
        &mut self,
        disk: &D,
        id: TopicPartition,
    ) -> Result<Option<String>, DiskError> {
        let Some(directory) = self.partitions.remove(&id) else { return Ok(None) };
        self.move_aside(disk, &directory, id.topic_id).map(Some)
    }

    fn move_aside<D: Disk>(
        &mut self,
        disk: &D,
        directory: &str,
        topic_id: TopicId,
    ) -> Result<String, DiskError> {
        self.directories.remove(directory);
        self.partitions.retain(|_, name| name != directory);
        move_aside(disk, directory, topic_id.0)
    }
}
