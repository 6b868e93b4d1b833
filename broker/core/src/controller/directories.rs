//! Which log directory of its broker a replica belongs to (KIP-858, but for who chooses).
//!
//! In Kafka the broker chooses and tells the controller afterwards. Here the controller chooses when it makes
//! the partition: it knows the directories and what is in them, so that nothing has to be reported, and the
//! metadata says at every moment where a replica's records are. A broker therefore never makes an empty log in
//! one directory while the records lie in another that has failed. Only a replica that its broker has moved since is
//! reported, see `assignments.rs`.
//!
//! A directory that failed keeps its replicas, which nobody leads until the broker comes back with it. One
//! that the broker no longer registers with was taken out or replaced by an empty one: its replicas begin
//! anew in another, as in Kafka.

use std::collections::BTreeMap;

use crate::ids::{DirectoryId, NodeId};
use crate::metadata::image::{Image, Partition};

/// How many replicas each directory holds.
#[derive(Debug, Default)]
pub(super) struct DirectoryLoads(BTreeMap<DirectoryId, usize>);

impl DirectoryLoads {
    /// What the image says.
    pub(super) fn of(image: &Image) -> Self {
        let mut loads = Self::default();
        for partition in image.topics.values().flat_map(|topic| topic.partitions.values()) {
            partition.directories.iter().for_each(|directory| loads.add(*directory));
        }
        loads
    }

    /// The directory for one more replica on a broker: of those that work, the one with the fewest. Nil if
    /// the broker is not known.
    pub(super) fn assign(&mut self, image: &Image, broker: NodeId) -> DirectoryId {
        let Some(broker) = image.brokers.get(&broker) else { return DirectoryId::default() };
        let working = broker.directories.iter().filter(|id| !broker.offline_directories.contains(id));
        let load = |directory: &&DirectoryId| self.0.get(*directory).copied().unwrap_or(0);
        let Some(chosen) = working.min_by_key(load).or_else(|| broker.directories.first()).copied() else {
            return DirectoryId::default();
        };
        self.add(chosen);
        chosen
    }

    /// The directories of a partition's replicas, with that of one broker replaced by the emptiest of these.
    pub(super) fn replace(
        &mut self,
        partition: &Partition,
        broker: NodeId,
        directories: &[DirectoryId],
    ) -> Vec<DirectoryId> {
        let load = |directory: &&DirectoryId| self.0.get(*directory).copied().unwrap_or(0);
        let Some(chosen) = directories.iter().min_by_key(load).copied() else {
            return partition.directories.clone();
        };
        self.add(chosen);
        with_directory(partition, broker, chosen)
    }

    fn add(&mut self, directory: DirectoryId) {
        *self.0.entry(directory).or_insert(0) += 1;
    }
}

/// The directories of a partition's replicas, with that of one broker replaced by this one.
pub(super) fn with_directory(
    partition: &Partition,
    broker: NodeId,
    directory: DirectoryId,
) -> Vec<DirectoryId> {
    let directory_of =
        |replica: &NodeId| if *replica == broker { directory } else { partition.directory_of(*replica) };
    partition.replicas.iter().map(directory_of).collect()
}
