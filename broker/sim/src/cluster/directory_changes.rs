//! Somebody who moves replicas between the log directories of their nodes while everything else goes on, and back.

use ottla_core::ids::{NodeId, TopicPartition};

use super::reassignments::partitions;
use super::{Event, Simulation};
use crate::checkers::Violation;
use crate::cluster::node::PLACES;
use crate::options::Options;
use crate::rng::Rng;

/// See the module's text.
#[derive(Debug)]
pub(super) struct DirectoryChanges {
    rng: Rng,
    interval_ms: u64,
}

impl DirectoryChanges {
    pub(super) fn new(rng: Rng, options: &Options) -> Option<Self> {
        Some(Self { rng, interval_ms: options.directory_change_interval_ms? })
    }

    /// How long until the next request.
    pub(super) fn wait_ms(&mut self) -> u64 {
        self.rng.range(1..2 * self.interval_ms)
    }
}

impl Simulation {
    /// Asks a broker for one of its replicas in one of its directories.
    pub(super) fn change_directory(&mut self) -> Result<(), Violation> {
        let Some(changes) = self.directory_changes.as_mut().filter(|_| !self.calm) else { return Ok(()) };
        let wait = changes.wait_ms();
        self.events.at(self.events.now().plus_millis(wait), Event::ChangeDirectory);
        let known = self.checks.committed.newest();
        let replicas: Vec<(TopicPartition, NodeId)> = known
            .into_iter()
            .flat_map(partitions)
            .flat_map(|(id, partition)| partition.replicas.iter().map(move |node| (id, *node)))
            .collect();
        if replicas.is_empty() {
            return Ok(());
        }
        let (partition, node) = *changes.rng.pick(&replicas);
        let to = changes.rng.index(PLACES.len());
        self.trace.line(self.events.now(), format_args!("{node}: {partition:?} is to be in directory {to}"));
        self.step(node, |process, now| process.relocate(now, partition, to))
    }

    /// A replica that is still on its way.
    pub(super) fn unfinished_directory_change(&self) -> Option<String> {
        self.nodes.iter().find_map(|(id, node)| {
            let moving = node.process.as_ref()?.moving().next()?;
            Some(format!("node {id} still brings {moving:?} to another directory"))
        })
    }
}
