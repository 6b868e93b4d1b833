//! Bit rot: a bit of what was durable on a disk is another, from when its node starts again or while it leads.
//!
//! It strikes a batch below the recovery point, where it can be nothing but damage, and only while somebody else who counts
//! for that partition has a sound disk: one replica at a time, in clusters where as many as two always hold what was
//! committed. At a start it strikes where recovery has to look: the node must find it, and may not count for that partition
//! from when it is in service. Under a leader it strikes anywhere ([`running`]): whoever reads it there must find it, if only
//! by its checksum, and its leader must make way as soon as another can lead. What was found must have been copied anew
//! before the run may end.

mod running;
mod strike;

use ottla_core::disk::Disk;
use ottla_core::ids::{BrokerEpoch, DirectoryId, NodeId, TopicPartition};
use ottla_core::log::parse_damaged_name;
use ottla_core::metadata::image::{Fencing, Image};
use ottla_core::shard::Damage;

use self::strike::Flip;
use super::node::in_place;
use super::volume::StoredBatch;
use super::{Simulation, volume};
use crate::checkers::{Rule, Violation};
use crate::coverage::Happening;
use crate::disk::SimDisk;

pub(super) use running::{RunningRot, VISITOR};

/// A damaged log that was not yet copied anew.
#[derive(Debug, Clone)]
pub(super) struct Rot {
    node: NodeId,
    at: TopicPartition,
    /// The log directory that it is in, and where that lies.
    directory_id: DirectoryId,
    place: &'static str,
    /// The log's own directory within.
    directory: String,
    /// The batch as it is now.
    batch: StoredBatch,
    flip: Flip,
    found: Found,
}

/// Whether a node knows that a log is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nobody has read it.
    No,
    /// It does, or its next start has to find out. It last served the log under this registration.
    Since(BrokerEpoch),
}

impl Rot {
    /// Whether the damaged batch is where it was.
    fn is_in_place(&self, disk: &SimDisk) -> bool {
        let segment = volume::read(&disk.within(self.place), &self.batch.segment).unwrap_or_default();
        segment.get(self.batch.position..).is_some_and(|rest| rest.starts_with(&self.batch.bytes))
    }

    /// Whether what was there is still kept.
    fn is_kept(&self, disk: &SimDisk) -> bool {
        let names = disk.within(self.place).list("").unwrap_or_default();
        names.iter().filter_map(|name| parse_damaged_name(name)).any(|(kept, _)| kept == self.at)
    }

    /// Whether its node has told the controller, as it must before it is in service again. What is in a directory that
    /// could not be opened the node cannot tell.
    fn is_told(&self, image: &Image) -> bool {
        let Found::Since(epoch) = self.found else { return false };
        image.brokers.get(&self.node).is_some_and(|broker| {
            broker.epoch > epoch
                && broker.fencing != Fencing::Fenced
                && !broker.offline_directories.contains(&self.directory_id)
        })
    }

    /// Whether nobody else is in sync or eligible: what others had they lost since. Such a replica stays what it is, for
    /// whoever restores its log, and right after a change of controllers it may even be elected (decision 0044).
    fn is_last(&self, image: &Image) -> bool {
        let registered = image.partition(self.at.topic_id, self.at.partition);
        registered.is_some_and(|registered| {
            registered.isr.iter().chain(&registered.elr).all(|holder| *holder == self.node)
        })
    }

    /// Turns the bit that is another, there or back.
    fn turn(&self, disk: &SimDisk) {
        let position = (self.batch.position + self.flip.byte) as u64;
        disk.within(self.place).flip(&self.batch.segment, position, self.flip.mask);
    }
}

impl Simulation {
    /// A start has found a damaged log.
    pub(super) fn damage_is_found(&mut self, id: NodeId, directory: &str) -> Result<(), Violation> {
        let is_it = |rot: &Rot| rot.node == id && in_place(rot.place, &rot.directory) == directory;
        if self.rot.as_ref().is_some_and(is_it) {
            self.rot_is_known(id);
            return Ok(());
        }
        Err(Violation::new(Rule::NoPanic, format!("node {id} takes its log {directory} for damaged")))
    }

    /// A running node says what it has found out about a log, or done with it.
    pub(super) fn damage_is_told(
        &mut self,
        id: NodeId,
        at: TopicPartition,
        what: &Damage,
    ) -> Result<(), Violation> {
        self.trace.line(self.events.now(), format_args!("{id} says of {at:?}: {what:?}"));
        let is_it = |rot: &Rot| (rot.node, rot.at) == (id, at) && rot.is_in_place(&self.nodes[&id].disk);
        let is_there = self.rot.as_ref().is_some_and(is_it);
        match what {
            Damage::Read { .. } if is_there => {
                self.checks.coverage.note(Happening::RotFoundByRead);
                self.rot_is_known(id);
                Ok(())
            }
            Damage::AtFollower { .. } | Damage::Alone { .. } if is_there => Ok(()),
            // Whoever read does not know yet that a sync has failed under what it read.
            Damage::Read { .. } | Damage::AtFollower { .. } | Damage::Alone { .. }
                if !self.nodes[&id].disk_was_good() =>
            {
                Ok(())
            }
            Damage::Read { .. } | Damage::AtFollower { .. } | Damage::Alone { .. } => {
                let text = format!("node {id} finds rot in its log of {at:?}, where there is none: {what:?}");
                Err(Violation::new(Rule::NoPanic, text))
            }
            Damage::Found
            | Damage::Orphan
            | Damage::Replaced { .. }
            | Damage::Gone
            | Damage::Longer { .. }
            | Damage::Repaired { .. } => Ok(()),
        }
    }

    /// From here on the node may not count with what has rotted there, once it has registered anew.
    fn rot_is_known(&mut self, id: NodeId) {
        let epoch = self.epoch_of(id);
        if let Some(rot) = self.rot.as_mut().filter(|rot| rot.found == Found::No) {
            rot.found = Found::Since(epoch);
        }
    }

    /// The registration of a node's broker.
    fn epoch_of(&self, id: NodeId) -> BrokerEpoch {
        let broker = self.checks.committed.newest().and_then(|image| image.brokers.get(&id));
        broker.map_or(BrokerEpoch(-1), |broker| broker.epoch)
    }

    /// Reads a node's disk as if no bit of it were another, as long as the controller need not have heard of that: nothing
    /// but the bit may be missing there.
    pub(super) fn as_written<T>(&self, id: NodeId, image: &Image, read: impl FnOnce(&SimDisk) -> T) -> T {
        let disk = &self.nodes[&id].disk;
        let counts = |rot: &Rot| !rot.is_told(image) || rot.is_last(image);
        let excused = |rot: &&Rot| rot.node == id && counts(rot) && rot.is_in_place(disk);
        let rot = self.rot.as_ref().filter(excused);
        rot.inspect(|rot| rot.turn(disk));
        let found = read(disk);
        rot.inspect(|rot| rot.turn(disk));
        found
    }

    /// Whether something is damaged, or kept: nothing else may rot meanwhile. What is damaged is found, also where its topic
    /// is gone and the node has yet to hear of that, or where nobody reads it yet.
    fn is_rotten(&self) -> bool {
        self.unrepaired().is_some() || self.rot_lies_there()
    }

    fn rot_lies_there(&self) -> bool {
        self.rot.as_ref().is_some_and(|rot| rot.is_in_place(&self.nodes[&rot.node].disk))
    }

    /// Whether a partition must work again in the end.
    pub(super) fn is_owed(&self, partition: TopicPartition) -> bool {
        !self.checks.excused().contains(&partition) && !self.is_given_up(partition)
    }

    /// A partition that nobody leads until somebody restores a log, since no whole one is left.
    fn is_given_up(&self, partition: TopicPartition) -> bool {
        let newest = self.checks.committed.newest();
        let rot = self.rot.as_ref().filter(|rot| rot.at == partition && rot.found != Found::No);
        rot.zip(newest)
            .is_some_and(|(rot, image)| rot.is_last(image) && rot.is_in_place(&self.nodes[&rot.node].disk))
    }

    /// What is still damaged, or kept, and must not be when the run ends.
    pub(super) fn unrepaired(&self) -> Option<String> {
        let rot = self.rot.as_ref().filter(|rot| !self.is_given_up(rot.at))?;
        let Rot { node, at, directory, .. } = rot;
        let image = self.checks.committed.newest()?;
        let partition = image.partition(at.topic_id, at.partition)?;
        let disk = &self.nodes[node].disk;
        let problem = if !partition.replicas.contains(node) {
            return None;
        } else if rot.is_in_place(disk) {
            // Nobody reads what a follower has.
            if rot.found == Found::No && partition.leader != Some(*node) {
                return None;
            }
            "is damaged"
        } else if rot.found == Found::No {
            return None;
        } else if !partition.isr.contains(node) {
            "is not in sync again"
        } else if rot.is_kept(disk) && partition.leader != Some(*node) {
            "has its damaged log still"
        } else {
            return None;
        };
        Some(format!("{directory} of node {node} {problem}: {partition:?}"))
    }

    /// What was damaged is not any more.
    pub(super) fn forget_rot(&mut self) {
        if self.is_rotten() {
            return;
        }
        if self.rot.take().is_some_and(|rot| rot.found != Found::No) {
            self.checks.coverage.note(Happening::CopiedAnew);
        }
    }
}
