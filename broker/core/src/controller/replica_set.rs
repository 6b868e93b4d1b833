//! Who has a replica of a partition, and who is about to (plan: no memory, no state; KIP-455 and rule 60 of the protocol).
//!
//! While replicas are moved a partition has all of them: those of the target first, in its order, then those that are
//! to go. What there was before is everybody but `adding`, and what there will be everybody but `removing`; a replica that
//! an earlier target asked for and a later one does not is in both. So a move can be replaced and taken back at
//! any time, by whichever controller is active, from what is registered alone.

use crate::ids::{DirectoryId, NodeId};
use crate::metadata::image::Partition;

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplicaSet {
    /// Every replica in order of preference.
    pub(super) replicas: Vec<NodeId>,
    /// The log directory of each, in the same order.
    pub(super) directories: Vec<DirectoryId>,
    /// Those that were none before.
    pub(super) adding: Vec<NodeId>,
    /// Those that are to be none any more.
    pub(super) removing: Vec<NodeId>,
}

impl ReplicaSet {
    /// That of a partition now.
    pub(super) fn of(partition: &Partition) -> Self {
        Self {
            replicas: partition.replicas.clone(),
            directories: partition.directories.clone(),
            adding: partition.adding.clone(),
            removing: partition.removing.clone(),
        }
    }

    /// On its way to these replicas, in this order, whatever it was on its way to before. A new one gets its directory
    /// from `assign`.
    pub(super) fn towards(
        partition: &Partition,
        target: &[NodeId],
        mut assign: impl FnMut(NodeId) -> DirectoryId,
    ) -> Self {
        let removing = without(&partition.replicas, target);
        let mut adding: Vec<NodeId> = without(target, &partition.replicas);
        adding.extend(&partition.adding);
        adding.sort_unstable();
        let replicas: Vec<NodeId> = target.iter().chain(&removing).copied().collect();
        let directories = replicas.iter().map(|id| {
            if partition.replicas.contains(id) { partition.directory_of(*id) } else { assign(*id) }
        });
        Self { directories: directories.collect(), replicas, adding, removing }
    }

    /// What there was before the move.
    pub(super) fn before(partition: &Partition) -> Self {
        let mut set = Self::of(partition);
        set.retain(|id| !partition.adding.contains(&id));
        set
    }

    /// Ends the move if everybody who is to stay is in sync; true if it does.
    pub(super) fn complete_if(&mut self, isr: &[NodeId]) -> bool {
        let target = without(&self.replicas, &self.removing);
        let moves = !self.adding.is_empty() || !self.removing.is_empty();
        let ends = moves && !target.is_empty() && target.iter().all(|id| isr.contains(id));
        if ends {
            self.retain(|id| target.contains(&id));
        }
        ends
    }

    /// Only these, and nobody on the way.
    fn retain(&mut self, keep: impl Fn(NodeId) -> bool) {
        let kept = self.replicas.iter().zip(&self.directories).filter(|(id, _)| keep(**id));
        let (replicas, directories) = kept.map(|(id, directory)| (*id, *directory)).unzip();
        *self = Self { replicas, directories, adding: Vec::new(), removing: Vec::new() };
    }
}

/// These but those.
fn without(these: &[NodeId], those: &[NodeId]) -> Vec<NodeId> {
    these.iter().copied().filter(|id| !those.contains(id)).collect()
}
