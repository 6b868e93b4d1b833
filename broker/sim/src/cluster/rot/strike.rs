//! What rots: a batch of a log that others hold, and a bit of it.

use std::collections::BTreeMap;

use ottla_core::disk::Disk;
use ottla_core::ids::{DirectoryId, NodeId, Offset, TopicPartition};
use ottla_core::log::checkpoints::Checkpoint;
use ottla_core::log::{directory_name, parse_damaged_name, parse_directory_name};
use ottla_core::metadata::image::{Image, Partition};

use super::{Found, Rot};
use crate::cluster::node::{Node, PLACES, in_place};
use crate::cluster::reassignments::partitions;
use crate::cluster::volume::StoredBatch;
use crate::cluster::{Simulation, volume};
use crate::coverage::Happening;
use crate::disk::SimDisk;
use crate::rng::Rng;

/// How often in a thousand a start finds a bit that is another.
const OFTEN_PERMILLE: u32 = 400;

/// Of a batch's header the base offset, the length and the leader epoch lie before its checksum and outside of it.
const COVERED_FROM: usize = 17;

/// A bit of a batch that is another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flip {
    pub(super) byte: usize,
    pub(super) mask: u8,
}

impl Flip {
    fn draw(rng: &mut Rng, batch: &[u8]) -> Self {
        let byte = COVERED_FROM + rng.index(batch.len() - COVERED_FROM);
        Self { byte, mask: 1 << rng.below(8) }
    }
}

/// The batches of a replica that may rot, and where they lie.
struct Target {
    at: TopicPartition,
    directory_id: DirectoryId,
    place: &'static str,
    directory: String,
    /// At least one, in order.
    batches: Vec<StoredBatch>,
}

impl Simulation {
    /// A node is about to start: perhaps a bit on its disk is another by now.
    pub(in crate::cluster) fn rot(&mut self, id: NodeId) {
        if !self.options.faults.bit_rot || self.calm || self.is_rotten() {
            return;
        }
        self.forget_rot();
        if !self.rng.permille(OFTEN_PERMILLE) {
            return;
        }
        let Some(image) = self.checks.committed.newest() else { return };
        let mut candidates: Vec<Target> = partitions(image)
            .filter(|(_, partition)| self.is_held_elsewhere(id, partition))
            .filter_map(|(at, _)| self.target(id, at, image, Offset(i64::MAX)))
            .collect();
        if candidates.is_empty() {
            return;
        }
        let target = candidates.swap_remove(self.rng.index(candidates.len()));
        // There recovery has to look.
        let last = target.batches.len() - 1;
        let flip = Flip::draw(&mut self.rng, &target.batches[last].bytes);
        self.checks.coverage.note(Happening::BitRot);
        self.strike_bit(id, target, last, flip, Found::Since(self.epoch_of(id)));
    }

    /// A bit of what a running leader has committed is another.
    pub(super) fn rot_under_leader(&mut self, rng: &mut Rng) {
        let Some(image) = self.checks.committed.newest() else { return };
        let mut candidates: Vec<(NodeId, Target)> = partitions(image)
            .filter_map(|(at, partition)| {
                let leader = partition.leader.filter(|leader| self.is_held_elsewhere(*leader, partition))?;
                let mut views = self.nodes[&leader].process.as_ref()?.replicas();
                let view = views.find(|view| view.partition == at && view.leads.is_some())?;
                Some((leader, self.target(leader, at, image, view.high_watermark)?))
            })
            .collect();
        if candidates.is_empty() {
            return;
        }
        let (leader, target) = candidates.swap_remove(rng.index(candidates.len()));
        let drawn = rng.index(target.batches.len());
        let flip = Flip::draw(rng, &target.batches[drawn].bytes);
        self.checks.coverage.note(Happening::RotWhileRunning);
        self.strike_bit(leader, target, drawn, flip, Found::No);
    }

    fn strike_bit(&mut self, node: NodeId, target: Target, batch: usize, flip: Flip, found: Found) {
        let Target { at, directory_id, place, directory, mut batches } = target;
        // A `truncation-checkpoint` that a loss of power brings back has a start believe no recovery point, and take rot for
        // a torn tail: known, and not done (decision 0044).
        self.nodes[&node].disk.within(place).write_back_names(&directory);
        let mut batch = batches.swap_remove(batch);
        batch.bytes[flip.byte] ^= flip.mask;
        let (path, byte) = (in_place(place, &batch.segment), batch.position + flip.byte);
        let rot = Rot { node, at, directory_id, place, directory, batch, flip, found };
        rot.turn(&self.nodes[&node].disk);
        let text = format_args!("FAULT a bit of {path} of {node} is another, in byte {byte}");
        self.trace.line(self.events.now(), text);
        self.rot = Some(rot);
    }

    /// Whether somebody else who counts for a partition has the disk that he should.
    fn is_held_elsewhere(&self, id: NodeId, partition: &Partition) -> bool {
        let sound =
            |id: &NodeId| self.nodes[id].identity.log_directories.contains(&partition.directory_of(*id));
        let mut holders = partition.isr.iter().chain(&partition.elr);
        partition.replicas.contains(&id) && sound(&id) && holders.any(|holder| *holder != id && sound(holder))
    }

    /// What of a replica may rot before an offset.
    fn target(&self, id: NodeId, at: TopicPartition, image: &Image, end: Offset) -> Option<Target> {
        let directory = directory_name(&image.topics.get(&at.topic_id)?.name, at.partition);
        let (place, directory_id) = only_place(&self.nodes[&id], &directory, at)?;
        let disk = &self.nodes[&id].disk.within(place);
        let durable_end = durable_end(disk, &directory, at)?;
        let batches = volume::batches_before(disk, &directory, durable_end.min(end));
        (!batches.is_empty()).then_some(Target { at, directory_id, place, directory, batches })
    }
}

/// Where a replica's log is. Of two logs of one replica the start has yet to say which counts.
fn only_place(node: &Node, directory: &str, at: TopicPartition) -> Option<(&'static str, DirectoryId)> {
    let mut found = PLACES
        .into_iter()
        .zip(&node.identity.log_directories)
        .filter(|(place, _)| volume::belongs_to(&node.disk.within(place), directory, at.topic_id));
    let (place, directory_id) = found.next()?;
    let is_there = place.is_empty() || !node.lacks_second;
    (found.next().is_none() && is_there).then_some((place, *directory_id))
}

/// The recovery point of a log, where a start takes what lies before it for durable.
fn durable_end(disk: &SimDisk, directory: &str, at: TopicPartition) -> Option<Offset> {
    let root = disk.list("").ok()?;
    let names = disk.list(directory).ok()?;
    if root.iter().any(|name| parse_damaged_name(name).is_some_and(|(kept, _)| kept == at))
        || names.iter().any(|name| name == "truncation-checkpoint")
    {
        return None;
    }
    recovery_points(disk).get(directory).copied()
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
