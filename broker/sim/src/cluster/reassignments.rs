//! Somebody who moves replicas while everything else goes on: to other nodes, to more or fewer, in another order, and back
//! before a move has ended. And what must have come of it when nothing goes wrong any more.

use std::collections::BTreeSet;

use ottla_core::controller::Operation;
use ottla_core::controller::operation::{AlterPartitionReassignments, Reassignment};
use ottla_core::ids::{NodeId, TopicPartition};
use ottla_core::log::directory_name;
use ottla_core::metadata::image::{Image, Partition};

use super::{Event, Simulation, volume};
use crate::checkers::{Rule, Violation};
use crate::coverage::Happening;
use crate::options::Options;
use crate::rng::Rng;

/// Replies to it go to a life that no node has: what came of a request is seen in the metadata.
const NOBODY: u64 = u64::MAX;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Reassignments {
    rng: Rng,
    interval_ms: u64,
    /// No partition is to have fewer replicas.
    replicas_min: usize,
}

impl Reassignments {
    pub(super) fn new(rng: Rng, options: &Options) -> Option<Self> {
        let interval_ms = options.reassignment_interval_ms?;
        // Where volumes are lost, a second copy in sync must hold what is acknowledged.
        let replicas_min = if options.faults.lost_volume { 2 } else { 1 };
        Some(Self { rng, interval_ms, replicas_min })
    }

    /// How long until the next request.
    pub(super) fn wait_ms(&mut self) -> u64 {
        self.rng.range(1..2 * self.interval_ms)
    }

    /// The next request, made from what is registered.
    fn draw(&mut self, image: &Image, nodes: &[NodeId]) -> Option<Reassignment> {
        let partitions: Vec<_> = image
            .topics
            .values()
            .flat_map(|topic| {
                topic.partitions.iter().map(|(index, partition)| (&topic.name, *index, partition))
            })
            .collect();
        if partitions.is_empty() {
            return None;
        }
        let (topic, index, partition) = *self.rng.pick(&partitions);
        let target = self.target(partition, nodes);
        Some(Reassignment { topic: topic.to_string(), partition: index, target })
    }

    fn target(&mut self, partition: &Partition, nodes: &[NodeId]) -> Option<Vec<NodeId>> {
        if self.rng.permille(if partition.is_moving() { 300 } else { 20 }) {
            return None;
        }
        let mut left = match self.rng.permille(150) {
            true => partition.target_replicas().collect(),
            false => nodes.to_vec(),
        };
        let most = left.len().min(3);
        let least = self.replicas_min.min(most);
        let count = least + self.rng.index(most - least + 1);
        let drawn = (0..count).map(|_| left.swap_remove(self.rng.index(left.len())));
        Some(drawn.collect())
    }
}

impl Simulation {
    /// Asks every controller for the next move: one of them may be active.
    pub(super) fn reassign(&mut self) -> Result<(), Violation> {
        let nodes = self.brokers();
        let Some(reassignments) = self.reassignments.as_mut().filter(|_| !self.calm) else { return Ok(()) };
        let wait = reassignments.wait_ms();
        let asked = self.checks.committed.newest().and_then(|image| reassignments.draw(image, &nodes));
        self.events.at(self.events.now().plus_millis(wait), Event::Reassign);
        let Some(asked) = asked else { return Ok(()) };
        self.trace.line(self.events.now(), format_args!("{asked:?}"));
        let controllers = self.nodes.values().filter(|node| node.identity.is_controller);
        let controllers: Vec<NodeId> = controllers.map(|node| node.identity.node_id).collect();
        for to in controllers {
            let operation = Operation::AlterPartitionReassignments(AlterPartitionReassignments {
                allow_replication_factor_change: true,
                partitions: vec![asked.clone()],
            });
            self.step(to, |process, now| process.rpc(now, to, NOBODY, 0, operation))?;
        }
        Ok(())
    }

    /// Writes down how partitions changed from one picture to the next, and counts moves that begin and end.
    pub(super) fn count_moves(&mut self, newer: &Image) {
        let Some(older) = self.checks.committed.newest().filter(|older| older.offset < newer.offset) else {
            return;
        };
        let mut noted = Vec::new();
        for (id, new) in partitions(newer) {
            let Some(old) = older.partition(id.topic_id, id.partition) else { continue };
            if **old != *new {
                self.trace.line(self.events.now(), format_args!("at {} {id:?} is {new:?}", newer.offset));
            }
            match (old.is_moving(), new.is_moving()) {
                (false, true) => noted.push(Happening::MoveBegun),
                (true, false) => noted.push(Happening::MoveEnded),
                (false, false) | (true, true) => {}
            }
        }
        noted.into_iter().for_each(|happening| self.checks.coverage.note(happening));
    }

    /// A move that has not ended yet, or a log that should be gone or be there.
    pub(super) fn unfinished_move(&self) -> Option<String> {
        let image = self.checks.committed.newest()?;
        let owed = |(id, _): &(TopicPartition, &Partition)| self.is_owed(*id);
        if let Some((id, partition)) =
            partitions(image).filter(owed).find(|(_, partition)| partition.is_moving())
        {
            return Some(format!("partition {} of {} still moves: {partition:?}", id.partition, id.topic_id));
        }
        for (id, node) in &self.nodes {
            let Some(process) = &node.process else { continue };
            let assigned: BTreeSet<TopicPartition> = partitions(image)
                .filter(|(_, partition)| partition.replicas.contains(id))
                .map(|(partition, _)| partition)
                .collect();
            let held: BTreeSet<TopicPartition> = process.partitions().collect();
            if held != assigned {
                return Some(format!("node {id} has {held:?}, and should have {assigned:?}"));
            }
        }
        None
    }

    /// At the end: every replica that is in sync has what was acknowledged.
    pub(super) fn check_replicas(&self) -> Result<(), Violation> {
        let Some(image) = self.checks.committed.newest() else { return Ok(()) };
        for topic in image.topics.values() {
            for (index, partition) in &topic.partitions {
                let directory = directory_name(&topic.name, *index);
                for member in &partition.isr {
                    let places = self.nodes[member].places_of(partition.directory_of(*member), &directory);
                    let records = self.as_written(*member, image, |disk| {
                        let place = places.iter().find(|place| volume::belongs_to(disk, place, topic.id));
                        volume::records_of(disk, place.unwrap_or(&places[0]))
                    });
                    let records =
                        records.map_err(|problem| Violation::new(Rule::AcknowledgedBatch, problem))?;
                    let id = TopicPartition { topic_id: topic.id, partition: *index };
                    self.checks.reopened(id, &records).map_err(|violation| {
                        Violation::new(violation.rule, format!("on node {member}: {violation}"))
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Every partition of an image.
pub(super) fn partitions(image: &Image) -> impl Iterator<Item = (TopicPartition, &Partition)> {
    image.topics.values().flat_map(|topic| {
        let of_topic = topic.partitions.iter();
        of_topic.map(|(index, partition)| {
            (TopicPartition { topic_id: topic.id, partition: *index }, partition.as_ref())
        })
    })
}
