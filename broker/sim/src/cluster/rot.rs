//! Bit rot: a bit of what was durable on a disk is another when its node starts again.
//!
//! It strikes a batch that recovery has to look at, below the recovery point, where it can be nothing but damage, and
//! only while somebody else who counts for that partition has a sound disk: one replica at a time, in clusters where
//! as many as two always hold what was committed. The node must find it, may not count for that partition from when it is
//! in service, and must have copied the log anew before the run may end.

use std::collections::BTreeMap;

use ottla_core::disk::Disk;
use ottla_core::ids::{BrokerEpoch, DirectoryId, NodeId, Offset, TopicPartition};
use ottla_core::log::checkpoints::Checkpoint;
use ottla_core::log::{directory_name, parse_damaged_name, parse_directory_name};
use ottla_core::metadata::image::{Fencing, Image, Partition};

use super::node::{Node, PLACES, in_place};
use super::reassignments::partitions;
use super::{Simulation, volume};
use crate::checkers::{Rule, Violation};
use crate::coverage::Happening;
use crate::disk::SimDisk;

/// How often in a thousand a start finds a bit that is another.
const OFTEN_PERMILLE: u32 = 400;

/// Of a batch's header the base offset, the length and the leader epoch lie before its checksum and outside of it.
const COVERED_FROM: usize = 17;

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
    /// The registration under which the node served the log when it was whole.
    epoch: BrokerEpoch,
    segment: String,
    position: usize,
    /// The batch as it is now.
    batch: Vec<u8>,
}

/// A batch that may rot, and where it lies.
struct Target {
    at: TopicPartition,
    directory_id: DirectoryId,
    place: &'static str,
    directory: String,
    segment: String,
    position: usize,
    batch: Vec<u8>,
}

impl Rot {
    /// Whether the damaged batch is where it was.
    fn is_in_place(&self, disk: &SimDisk) -> bool {
        let segment = volume::read(&disk.within(self.place), &self.segment).unwrap_or_default();
        segment.get(self.position..).is_some_and(|rest| rest.starts_with(&self.batch))
    }

    /// Whether what was there is still kept.
    fn is_kept(&self, disk: &SimDisk) -> bool {
        let names = disk.within(self.place).list("").unwrap_or_default();
        names.iter().filter_map(|name| parse_damaged_name(name)).any(|(kept, _)| kept == self.at)
    }
}

impl Simulation {
    /// A node is about to start: perhaps a bit on its disk is another by now.
    pub(super) fn rot(&mut self, id: NodeId) {
        // What is damaged is found, also where its topic is gone and the node has yet to hear of that.
        let lies_there = |rot: &Rot| rot.is_in_place(&self.nodes[&rot.node].disk);
        let is_busy = self.unrepaired().is_some() || self.rot.as_ref().is_some_and(lies_there);
        if !self.options.faults.bit_rot || self.calm || is_busy {
            return;
        }
        self.forget_rot();
        if !self.rng.permille(OFTEN_PERMILLE) {
            return;
        }
        let Some(image) = self.checks.committed.newest().cloned() else { return };
        let mut candidates: Vec<Target> = partitions(&image)
            .filter(|(_, partition)| self.is_held_elsewhere(id, partition))
            .filter_map(|(at, _)| {
                let directory = directory_name(&image.topics.get(&at.topic_id)?.name, at.partition);
                target(&self.nodes[&id], &directory, at)
            })
            .collect();
        if candidates.is_empty() {
            return;
        }
        let drawn = self.rng.index(candidates.len());
        let Target { at, directory_id, place, directory, segment, position, mut batch } =
            candidates.swap_remove(drawn);
        let byte = COVERED_FROM + self.rng.index(batch.len() - COVERED_FROM);
        let mask = 1 << self.rng.below(8);
        batch[byte] ^= mask;
        self.nodes[&id].disk.within(place).flip(&segment, (position + byte) as u64, mask);
        let (path, byte) = (in_place(place, &segment), position + byte);
        let text = format_args!("FAULT a bit of {path} of {id} is another, in byte {byte}");
        self.trace.line(self.events.now(), text);
        self.checks.coverage.note(Happening::BitRot);
        let epoch = image.brokers.get(&id).map_or(BrokerEpoch(-1), |broker| broker.epoch);
        self.rot =
            Some(Rot { node: id, at, directory_id, place, directory, epoch, segment, position, batch });
    }

    /// Whether somebody else who counts for a partition has the disk that he should.
    fn is_held_elsewhere(&self, id: NodeId, partition: &Partition) -> bool {
        let sound =
            |id: &NodeId| self.nodes[id].identity.log_directories.contains(&partition.directory_of(*id));
        let mut holders = partition.isr.iter().chain(&partition.elr);
        partition.replicas.contains(&id) && sound(&id) && holders.any(|holder| *holder != id && sound(holder))
    }

    /// A node has found a damaged log.
    pub(super) fn damage_is_found(&self, id: NodeId, directory: &str) -> Result<(), Violation> {
        let is_it = |rot: &Rot| rot.node == id && in_place(rot.place, &rot.directory) == directory;
        if self.rot.as_ref().is_some_and(is_it) {
            return Ok(());
        }
        Err(Violation::new(Rule::NoPanic, format!("node {id} takes its log {directory} for damaged")))
    }

    /// Whether a node need not hold what it should of a partition: its log is damaged, and the controller has yet to
    /// hear of it. What is in a directory that could not be opened the node cannot tell.
    pub(super) fn may_be_rotten(&self, id: NodeId, at: TopicPartition, image: &Image) -> bool {
        let Some(rot) = self.rot.as_ref().filter(|rot| rot.node == id && rot.at == at) else { return false };
        let has_told = image.brokers.get(&id).is_some_and(|broker| {
            broker.epoch > rot.epoch
                && broker.fencing != Fencing::Fenced
                && !broker.offline_directories.contains(&rot.directory_id)
        });
        !has_told && rot.is_in_place(&self.nodes[&id].disk)
    }

    /// What is still damaged, or kept.
    pub(super) fn unrepaired(&self) -> Option<String> {
        let rot = self.rot.as_ref()?;
        let Rot { node, at, directory, .. } = rot;
        let image = self.checks.committed.newest()?;
        let partition = image.partition(at.topic_id, at.partition)?;
        let disk = &self.nodes[node].disk;
        let problem = if !partition.replicas.contains(node) {
            return None;
        } else if rot.is_in_place(disk) {
            "is damaged"
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
        if self.unrepaired().is_none() && self.rot.take().is_some() {
            self.checks.coverage.note(Happening::CopiedAnew);
        }
    }
}

/// The last batch of a replica below its log's recovery point, where a start takes that for what was durable. Of two logs of
/// one replica the start has yet to say which counts.
fn target(node: &Node, directory: &str, at: TopicPartition) -> Option<Target> {
    let mut found = PLACES
        .into_iter()
        .zip(&node.identity.log_directories)
        .filter(|(place, _)| volume::belongs_to(&node.disk.within(place), directory, at.topic_id));
    let (place, directory_id) = found.next()?;
    if found.next().is_some() || !place.is_empty() && node.lacks_second {
        return None;
    }
    let disk = &node.disk.within(place);
    let (segment, position, batch) = last_durable(disk, directory, at)?;
    let directory = directory.to_owned();
    Some(Target { at, directory_id: *directory_id, place, directory, segment, position, batch })
}

/// A segment, a position in it, and the batch there.
fn last_durable(disk: &SimDisk, directory: &str, at: TopicPartition) -> Option<(String, usize, Vec<u8>)> {
    let root = disk.list("").ok()?;
    let names = disk.list(directory).ok()?;
    if root.iter().any(|name| parse_damaged_name(name).is_some_and(|(kept, _)| kept == at))
        || names.iter().any(|name| name == "truncation-checkpoint")
    {
        return None;
    }
    let recovery_point = *recovery_points(disk).get(directory)?;
    let base = |name: &String| Some((name.strip_suffix(".log")?.parse().ok().map(Offset)?, name.clone()));
    let (_, segment) = names.iter().filter_map(base).filter(|(base, _)| *base < recovery_point).max()?;
    let segment = format!("{directory}/{segment}");
    let bytes = volume::read(disk, &segment).ok()?;
    let mut found = None;
    let mut position = 0;
    while let Some(header) = bytes.get(position..position + 61) {
        let length = 12 + usize::try_from(i32::from_be_bytes(field(header, 8))).ok()?;
        let last = i64::from_be_bytes(field(header, 0)) + i64::from(i32::from_be_bytes(field(header, 23)));
        let batch = bytes.get(position..position + length)?;
        if Offset(last) >= recovery_point {
            break;
        }
        found = Some((segment.clone(), position, batch.to_vec()));
        position += length;
    }
    found
}

fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}

/// What is on the disk, by log directory.
fn recovery_points(disk: &SimDisk) -> BTreeMap<String, Offset> {
    let text = volume::read(disk, Checkpoint::RecoveryPoint.file_name()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        let directory = format!("{}-{}", fields.next()?, fields.next()?);
        parse_directory_name(&directory)?;
        Some((directory, Offset(fields.next()?.parse().ok()?)))
    };
    text.lines().filter_map(entry).collect()
}
