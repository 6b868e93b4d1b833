//! Tells the checkers of replication what became of the replicas, after every event: of the nodes that did something, of
//! those that stopped, and of the partitions that the controller changed.

use std::collections::{BTreeMap, BTreeSet};

use ottla_core::ids::{BrokerEpoch, DirectoryId, NodeId, Offset, TopicPartition};
use ottla_core::log::directory_name;
use ottla_core::metadata::image::{Image, Partition};

use super::node::Node;
use super::process::ReplicaView;
use super::reassignments::partitions;
use super::{Simulation, volume};
use crate::checkers::replication::{BatchId, Member, Replication, well_formed};
use crate::checkers::{Rule, Violation};

/// What is remembered of one replica from one step to the next.
#[derive(Debug, Clone, Copy)]
struct Seen {
    life: u64,
    view: ReplicaView,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Watch {
    replication: Replication,
    /// The only rule to heed, if not all are.
    only: Option<Rule>,
    /// The nodes that did something, or stopped, in this event.
    touched: BTreeSet<NodeId>,
    seen: BTreeMap<(NodeId, TopicPartition), Seen>,
    /// Up to where consumers were given records in this event.
    given: Vec<(NodeId, TopicPartition, Offset)>,
    /// The newest image that was checked.
    image: Image,
    /// The nodes that lost power where acknowledgements do not wait for disks, and under which registration: until they
    /// register anew nobody may trust what they have, and nobody does, since they are out of service.
    in_doubt: BTreeMap<NodeId, BrokerEpoch>,
}

impl Watch {
    pub(super) fn new(only: Option<Rule>) -> Self {
        Self { only, ..Self::default() }
    }

    /// A node did something, or stopped.
    pub(super) fn touch(&mut self, node: NodeId) {
        self.touched.insert(node);
    }

    /// A node gave a consumer records up to here.
    pub(super) fn gave(&mut self, node: NodeId, partition: TopicPartition, end: Offset) {
        self.given.push((node, partition, end));
    }

    /// A node lost what acknowledgements did not wait for.
    pub(super) fn lost_power(&mut self, node: NodeId, newest: Option<&Image>) {
        let epoch =
            newest.and_then(|image| image.brokers.get(&node)).map_or(BrokerEpoch(-1), |broker| broker.epoch);
        self.in_doubt.insert(node, epoch);
    }

    /// Whether a node lost power and has not registered since.
    pub(super) fn anybody_in_doubt(&self) -> bool {
        !self.in_doubt.is_empty()
    }

    fn heed(&self, checked: Result<(), Violation>) -> Result<(), Violation> {
        checked.or_else(|violation| match self.only {
            Some(only) if only != violation.rule => Ok(()),
            Some(_) | None => Err(violation),
        })
    }

    /// Whether any of the rules that are checked here is to be heeded.
    fn is_needed(&self) -> bool {
        self.only.is_none_or(|only| {
            matches!(
                only,
                Rule::OneLeader | Rule::LogMatching | Rule::InSync | Rule::EligibleLeader | Rule::ReplicaSets
            )
        })
    }
}

impl Simulation {
    /// Checks what this event changed.
    pub(super) fn check_replication(&mut self) -> Result<(), Violation> {
        let touched = std::mem::take(&mut self.watch.touched);
        let given = std::mem::take(&mut self.watch.given);
        self.check_new_image()?;
        if !self.watch.is_needed() {
            return Ok(());
        }
        for id in touched {
            let node = &self.nodes[&id];
            let life = node.life;
            match &node.process {
                None => self.check_memberships(id)?,
                Some(process) => {
                    let views: Vec<ReplicaView> = process.replicas().collect();
                    for view in views {
                        self.check_replica(id, Seen { life, view })?;
                    }
                }
            }
        }
        given.into_iter().try_for_each(|(node, partition, end)| self.check_given(node, partition, end))
    }

    /// What consumers are given is committed, whichever replica gives it.
    fn check_given(&self, node: NodeId, partition: TopicPartition, end: Offset) -> Result<(), Violation> {
        // Of a topic that was deleted nothing is remembered.
        let is_there = self.watch.image.partition(partition.topic_id, partition.partition).is_some();
        if !is_there || self.checks.excused().contains(&partition) {
            return Ok(());
        }
        self.watch.heed(self.watch.replication.gave(partition, node, end))
    }

    /// Every partition that the controller changed, and every one of a broker that registered.
    fn check_new_image(&mut self) -> Result<(), Violation> {
        let Some(newest) =
            self.checks.committed.newest().filter(|newest| newest.offset > self.watch.image.offset)
        else {
            return Ok(());
        };
        let before = std::mem::replace(&mut self.watch.image, newest.clone());
        let newest = newest.clone();
        let epoch_of = |image: &Image, id: &NodeId| image.brokers.get(id).map(|broker| broker.epoch);
        self.watch.in_doubt.retain(|id, since| epoch_of(&newest, id).is_none_or(|epoch| epoch <= *since));
        for (at, partition) in partitions(&newest) {
            let old = before.partition(at.topic_id, at.partition);
            if old.is_some_and(|old| old.partition_epoch == partition.partition_epoch) {
                continue;
            }
            self.watch.heed(well_formed(at, partition))?;
            for (node, member) in members(partition) {
                self.check_member(at, partition, (node, member), Offset(0))?;
            }
        }
        for id in newest.brokers.keys().filter(|id| epoch_of(&before, id) != epoch_of(&newest, id)) {
            self.check_memberships(*id)?;
        }
        Ok(())
    }

    fn check_replica(&mut self, id: NodeId, now: Seen) -> Result<(), Violation> {
        let partition = now.view.partition;
        if self.checks.excused().contains(&partition) {
            return Ok(());
        }
        let before = self.watch.seen.insert((id, partition), now).filter(|before| before.life == now.life);
        if before.is_some_and(|before| before.view == now.view) {
            return Ok(());
        }
        if let Some(epoch) = now.view.leads {
            let led = self.checks.leaders.leads_partition(partition, epoch, id);
            self.watch.heed(led)?;
        }
        let was_cut = before.is_none_or(|before| before.view.log_end > now.view.log_end);
        if was_cut {
            self.check_membership(id, partition)?;
        }
        let from = before.filter(|_| !was_cut).map_or(Offset(0), |before| before.view.high_watermark);
        self.check_high_watermark(id, now.view, from)
    }

    /// The log below a high watermark that has moved; and if nobody's was there before, what the others have.
    fn check_high_watermark(&mut self, id: NodeId, view: ReplicaView, from: Offset) -> Result<(), Violation> {
        let ReplicaView { partition, high_watermark, .. } = view;
        if high_watermark <= from {
            return Ok(());
        }
        let image = self.watch.image.clone();
        // A topic that was deleted, or that this node has not heard of being deleted.
        let Some(registered) = image.partition(partition.topic_id, partition.partition) else {
            return Ok(());
        };
        // It speaks of the log that it has, which may not be where the controller believes it to be.
        let log = self.batches(id, partition, from, Node::places_in_use);
        let committed = self.watch.replication.end(partition);
        let checked = self.watch.replication.high_watermark(partition, id, from, high_watermark, &log);
        self.watch.heed(checked)?;
        if self.watch.replication.end(partition) > committed {
            for member in members(registered).filter(|(node, _)| *node != id) {
                self.check_member(partition, registered, member, committed)?;
            }
        }
        Ok(())
    }

    /// All that a node must hold.
    fn check_memberships(&mut self, id: NodeId) -> Result<(), Violation> {
        let image = self.watch.image.clone();
        for (at, _) in partitions(&image).filter(|(_, partition)| partition.replicas.contains(&id)) {
            self.check_membership(id, at)?;
        }
        Ok(())
    }

    fn check_membership(&mut self, id: NodeId, at: TopicPartition) -> Result<(), Violation> {
        let image = self.watch.image.clone();
        let Some(partition) = image.partition(at.topic_id, at.partition) else { return Ok(()) };
        match members(partition).find(|(node, _)| *node == id) {
            Some(member) => self.check_member(at, partition, member, Offset(0)),
            None => Ok(()),
        }
    }

    fn check_member(
        &self,
        at: TopicPartition,
        partition: &Partition,
        (node, member): (NodeId, Member),
        from: Offset,
    ) -> Result<(), Violation> {
        // The controller is to find out when the broker registers, without a directory or after a crash.
        let chosen = partition.directory_of(node);
        let volume_is_lost = !self.nodes[&node].identity.log_directories.contains(&chosen);
        if volume_is_lost || self.watch.in_doubt.contains_key(&node) || self.checks.excused().contains(&at) {
            return Ok(());
        }
        let log = self.batches(node, at, from, Node::places_of);
        self.watch.heed(self.watch.replication.holds(at, (node, member), from, &log))
    }

    fn batches(
        &self,
        node: NodeId,
        at: TopicPartition,
        from: Offset,
        places: impl Fn(&Node, DirectoryId, &str) -> Vec<String>,
    ) -> Vec<BatchId> {
        let Some(topic) = self.watch.image.topics.get(&at.topic_id) else { return Vec::new() };
        let name = directory_name(&topic.name, at.partition);
        let chosen = topic.partitions.get(&at.partition).map(|partition| partition.directory_of(node));
        let places = places(&self.nodes[&node], chosen.unwrap_or_default(), &name);
        self.as_written(node, &self.watch.image, |disk| {
            let place = places.iter().find(|place| volume::belongs_to(disk, place, at.topic_id));
            place.map(|place| volume::batches_of(disk, place, from)).unwrap_or_default()
        })
    }
}

fn members(partition: &Partition) -> impl Iterator<Item = (NodeId, Member)> + '_ {
    let in_sync = partition.isr.iter().map(|id| (*id, Member::InSync));
    in_sync.chain(partition.elr.iter().map(|id| (*id, Member::Eligible)))
}
