//! What is seen of the nodes goes to the checkers, and says when the run is over.

use std::collections::BTreeMap;

use ottla_core::ids::{NodeId, PartitionEpoch, TopicPartition};
use ottla_core::log::directory_name;
use ottla_core::metadata::image::{Image, Partition};

use super::process::{Observation, Process};
use super::reassignments::partitions;
use super::{Simulation, volume};
use crate::checkers::{Rule, Violation};
use crate::coverage::{Coverage, Happening};
use crate::options::Options;

impl Simulation {
    pub(super) fn observe(&mut self, id: NodeId, observations: Vec<Observation>) -> Result<(), Violation> {
        let directory = self.nodes[&id].identity.directory_id;
        for observation in observations {
            match observation {
                Observation::Voted { term, voter, candidate } => {
                    self.trace.line(self.events.now(), format_args!("{id} votes for {candidate} in {term}"));
                    self.checks.votes.voted(voter, term, candidate)?;
                    self.aim_at_vote(voter, candidate);
                }
                Observation::Leads { term } => self.checks.leaders.leads_quorum(term, id, directory)?,
                Observation::LeadsPartition { partition, epoch } => {
                    self.checks.leaders.leads_partition(partition, epoch, id)?;
                }
                Observation::Damaged(directory) => self.damage_is_found(id, &directory)?,
                Observation::Damage { partition, what } => self.damage_is_told(id, partition, &what)?,
                Observation::Opened(logs) => self.check_volume(id, &logs)?,
                Observation::HandedOver { to } => self.aim_at_adoption(id, to),
                Observation::Event(text) => {
                    self.trace.line(self.events.now(), format_args!("{id} says {text}"));
                }
                Observation::Shows(image) => {
                    self.check_level(id, &image)?;
                    self.count_moves(&image);
                    self.checks.committed.shows(id, &image)?;
                    self.excuse_lost_with_volumes(&image);
                }
                Observation::Gave { partition, end } => self.watch.gave(id, partition, end),
                Observation::Happened(happening) => self.checks.coverage.note(happening),
            }
        }
        Ok(())
    }

    /// A partition that nobody counts for but a broker whose volume is gone, which the controller does not know yet, has
    /// nobody who could lead it, as in Kafka. So it may be if nobody else was in service when it was made, and where single
    /// directories fail: that takes a replica out of the ISR, and out of the eligible ones.
    fn excuse_lost_with_volumes(&mut self, image: &Image) {
        let Options { faults, second_directories, .. } = &self.options;
        if !faults.lost_volume {
            return;
        }
        let directories_fail = *second_directories && faults.sync_error;
        let is_lost = |partition: &Partition, id: &NodeId| {
            !self.nodes[id].identity.log_directories.contains(&partition.directory_of(*id))
        };
        let lost: Vec<TopicPartition> = partitions(image)
            .filter(|(_, partition)| directories_fail || partition.partition_epoch == PartitionEpoch(0))
            .filter(|(_, partition)| {
                let mut count = partition.isr.iter().chain(&partition.elr).peekable();
                count.peek().is_some() && count.all(|id| is_lost(partition, id))
            })
            .map(|(at, _)| at)
            .collect();
        lost.into_iter().for_each(|at| self.checks.excuse(at));
    }

    /// A broker has opened its logs: everything acknowledged must be on its volume.
    fn check_volume(&mut self, id: NodeId, logs: &[(String, TopicPartition)]) -> Result<(), Violation> {
        let disk = &self.nodes[&id].disk;
        for partition in self.checks.committed.partitions_only_on(id) {
            let mut found = logs.iter().filter(|(_, found)| *found == partition).map(|(place, _)| place);
            // Of two logs of one replica that counts which lies where the controller chose.
            let chosen = self.chosen_place(id, partition);
            let place = found.clone().find(|place| chosen.as_ref() == Some(place)).or_else(|| found.next());
            let records = match place {
                Some(directory) => volume::records_of(disk, directory)
                    .map_err(|problem| Violation::new(Rule::AcknowledgedBatch, problem))?,
                None => BTreeMap::new(),
            };
            self.checks.reopened(partition, &records)?;
        }
        Ok(())
    }

    /// Where the controller wants a replica to be on its node's volume.
    fn chosen_place(&self, id: NodeId, at: TopicPartition) -> Option<String> {
        let topic = self.checks.committed.newest()?.topics.get(&at.topic_id)?;
        let chosen = topic.partitions.get(&at.partition)?.directory_of(id);
        self.nodes[&id].places_of(chosen, &directory_name(&topic.name, at.partition)).into_iter().next()
    }

    /// Whether everything works again; then the run is over.
    pub(super) fn finish_if_done(&mut self) -> Result<(), Violation> {
        if !self.calm || self.why_not_done().is_some() {
            return Ok(());
        }
        self.done = true;
        self.forget_rot();
        for (id, node) in &self.nodes {
            let applied = node.process.as_ref().map(Process::applied).unwrap_or_default();
            self.checks.committed.must_reach_last(*id, applied)?;
        }
        self.check_replicas()
    }

    /// What does not work yet.
    pub(super) fn why_not_done(&self) -> Option<String> {
        let excused = |partition| !self.is_owed(partition);
        let last = self.checks.committed.last();
        for (id, node) in &self.nodes {
            let Some(process) = &node.process else { return Some(format!("node {id} is down")) };
            if process.applied() < last {
                return Some(format!("node {id} applied {} of {last}", process.applied()));
            }
            if !process.is_running() {
                return Some(format!("broker {id} is not in service"));
            }
        }
        let unfinished = self.unfinished_move();
        let unfinished = unfinished
            .or_else(|| self.unfinished_directory_change())
            .or_else(|| self.unrepaired())
            .or_else(|| self.under_replicated())
            .or_else(|| self.unfinished_upgrade());
        if unfinished.is_some() {
            return unfinished;
        }
        let unfinished = self.clients.values().find(|client| !client.is_finished(&excused))?;
        Some(unfinished.unfinished(&excused))
    }

    /// A partition that some replica is not in sync with, though all nodes are there.
    fn under_replicated(&self) -> Option<String> {
        let image = self.checks.committed.newest()?;
        let is_in_sync = |partition: &Partition| partition.isr.len() == partition.replicas.len();
        let (at, partition) =
            partitions(image).find(|(at, partition)| self.is_owed(*at) && !is_in_sync(partition))?;
        let TopicPartition { topic_id, partition: index } = at;
        Some(format!("partition {index} of {topic_id} has replicas that are not in sync: {partition:?}"))
    }

    /// What happened so far, in one place.
    pub(super) fn coverage(&self) -> Coverage {
        let mut coverage = self.checks.coverage.clone();
        coverage.merge(self.network.coverage());
        self.nodes.values().for_each(|node| coverage.merge(&node.coverage()));
        coverage.add(Happening::Vote, self.checks.votes.cast() as u64);
        coverage.add(Happening::Election, self.checks.leaders.terms() as u64);
        coverage
    }
}
