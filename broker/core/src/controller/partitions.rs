//! Which partitions an event concerns, and what is wished for each. What comes of it is planned in `election.rs`.

use std::collections::BTreeSet;

use super::damaged::DamagedLogs;
use super::directories::DirectoryLoads;
use super::election::{Election, ElectionRules, Loss, Wish, plan_change};
use super::state::ControllerConfig;
use crate::config::{Layers, Settings};
use crate::ids::{DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, TopicId, TopicPartition};
use crate::metadata::image::{ConfigResource, Fencing, Image, LeaderRecoveryState, Partition, Topic};
use crate::metadata::record::{PartitionChange, Record};
use crate::planted::{self, Bug};

/// The partitions of an image, with the rules of their topics.
#[derive(Debug)]
pub(super) struct Partitions<'a> {
    image: &'a Image,
    damaged: &'a DamagedLogs,
    layers: Layers,
    /// Of every topic without a configuration of its own. Most have none, and there may be ten thousand.
    inherited: ElectionRules,
}

/// A new partition with these replicas, led by the first that is in service.
pub(super) fn new_partition(image: &Image, loads: &mut DirectoryLoads, replicas: Vec<NodeId>) -> Partition {
    let directories = replicas.iter().map(|id| loads.assign(image, *id)).collect();
    let mut partition = Partition {
        leader: None,
        isr: replicas.clone(),
        directories,
        replicas,
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        recovery: LeaderRecoveryState::Recovered,
    };
    let live: Vec<NodeId> =
        partition.replicas.iter().copied().filter(|id| serves(image, &partition, *id)).collect();
    if let Some(leader) = live.first() {
        partition.leader = Some(*leader);
        partition.isr = live;
    }
    partition
}

/// Whether a replica could lead: its broker is in service and its directory has not failed.
pub(super) fn serves(image: &Image, partition: &Partition, id: NodeId) -> bool {
    image.brokers.get(&id).is_some_and(|broker| {
        broker.fencing == Fencing::Unfenced
            && !broker.offline_directories.contains(&partition.directory_of(id))
    })
}

/// Whether a broker leads anything.
pub(super) fn leads_anything(image: &Image, broker: NodeId) -> bool {
    image
        .topics
        .values()
        .any(|topic| topic.partitions.values().any(|partition| partition.leader == Some(broker)))
}

fn is_active(partition: &Partition, replica: NodeId) -> bool {
    partition.leader == Some(replica) || partition.isr.contains(&replica)
}

impl<'a> Partitions<'a> {
    /// Those of an image, as the controller sees their configuration. Who has one of these damaged logs does not lead it.
    pub(super) fn of(image: &'a Image, config: &ControllerConfig, damaged: &'a DamagedLogs) -> Self {
        let layers = config.layers(image);
        let inherited = ElectionRules::of(&Settings::new(), &layers);
        Self { image, damaged, layers, inherited }
    }

    /// The rules of a topic.
    pub(super) fn rules(&self, topic: &Topic) -> ElectionRules {
        match self.image.configs.get(&ConfigResource::Topic(topic.name.clone())) {
            Some(overrides) => ElectionRules::of(overrides, &self.layers),
            None => self.inherited,
        }
    }

    /// What changes when a broker, which this image has out of service already, leaves: it is in no ISR any more, and
    /// what it leads gets another leader, or none.
    pub(super) fn broker_leaves(&self, leaving: NodeId) -> Vec<Record> {
        self.changes(
            |partition| is_active(partition, leaving),
            |_, partition| Wish::without(partition, leaving),
        )
    }

    /// The same for the replicas in directories of a broker that have failed.
    pub(super) fn directories_fail(&self, broker: NodeId, failed: &[DirectoryId]) -> Vec<Record> {
        self.changes(
            |partition| is_active(partition, broker) && failed.contains(&partition.directory_of(broker)),
            |_, partition| Wish::without(partition, broker),
        )
    }

    /// What changes because logs of a broker are damaged: these replicas lead nothing, and are neither in sync nor
    /// eligible where somebody else is. The last one of a partition stays eligible. Where that is news to the controller,
    /// who `knew` of others before, leaders begin another epoch: what they know of the log, from fetches of the process that
    /// has it still, must not be taken for what its successor has.
    pub(super) fn logs_are_damaged(&self, broker: NodeId, knew: &DamagedLogs) -> Vec<Record> {
        let change = |at: TopicPartition| {
            let partition = self.image.partition(at.topic_id, at.partition)?;
            let holders = || partition.isr.iter().chain(&partition.elr);
            let counts = holders().any(|id| *id == broker);
            let follows = partition.replicas.contains(&broker) && partition.leader.is_some();
            let new_epoch = follows && !knew.contains(broker, at);
            if !counts && !new_epoch {
                return None;
            }
            let mut wish = Wish { new_epoch, ..Wish::without(partition, broker) };
            wish.lost = (counts && holders().any(|id| *id != broker)).then_some((broker, Loss::Log));
            self.change(at, wish)
        };
        self.damaged.of(broker).filter_map(change).map(Record::PartitionChange).collect()
    }

    /// What changes when a broker, which this image has out of service already, begins anew with these directories. Its
    /// replicas are in no ISR until they have caught up. Those in none of the directories lost everything, and are
    /// given another one of them. After a crash those of topics whose acknowledgements are not synced may have lost
    /// the end of their logs. Neither can be trusted to hold what was committed.
    pub(super) fn broker_registers(
        &self,
        broker: NodeId,
        directories: &[DirectoryId],
        crashed: bool,
    ) -> Vec<Record> {
        let mut loads = DirectoryLoads::of(self.image);
        let kept: BTreeSet<DirectoryId> = directories.iter().copied().collect();
        let topics = self.image.topics.values().filter(|_| crashed);
        let unsynced: BTreeSet<TopicId> =
            topics.filter(|topic| !self.rules(topic).acks_synced).map(|topic| topic.id).collect();
        self.changes(
            |partition| partition.replicas.contains(&broker),
            |at, partition| {
                let mut wish = Wish::without(partition, broker);
                if !kept.contains(&partition.directory_of(broker)) {
                    wish.lost = Some((broker, Loss::Log));
                    wish.replica_set.directories = loads.replace(partition, broker, directories);
                } else if unsynced.contains(&at.topic_id) && !planted::is(Bug::EligibleAfterLoss) {
                    wish.lost = Some((broker, Loss::Tail));
                }
                wish
            },
        )
    }

    /// What changes because somebody can lead what nobody leads.
    pub(super) fn elect_leaders(&self) -> Vec<Record> {
        self.changes(|partition| partition.leader.is_none(), |_, partition| Wish::as_is(partition))
    }

    /// What gives leadership back to the first replicas, so many times at most.
    pub(super) fn elect_preferred_leaders(&self, count_max: usize) -> Vec<Record> {
        let mut records = self.changes(
            |partition| {
                let preferred = partition.replicas.first();
                partition.leader.is_some()
                    && partition.leader.as_ref() != preferred
                    && preferred.is_some_and(|preferred| partition.isr.contains(preferred))
            },
            |_, partition| Wish { election: Election::Preferred, ..Wish::as_is(partition) },
        );
        records.truncate(count_max);
        records
    }

    /// What a wish leads to.
    pub(super) fn change(&self, at: TopicPartition, wish: Wish) -> Option<PartitionChange> {
        let topic = self.image.topics.get(&at.topic_id)?;
        let partition = topic.partitions.get(&at.partition)?;
        self.plan(at, partition, self.rules(topic), wish)
    }

    fn plan(
        &self,
        at: TopicPartition,
        partition: &Partition,
        rules: ElectionRules,
        wish: Wish,
    ) -> Option<PartitionChange> {
        let can_lead = |id| serves(self.image, partition, id) && !self.damaged.contains(id, at);
        plan_change(at, partition, rules, wish, can_lead)
    }

    fn changes(
        &self,
        concerned: impl Fn(&Partition) -> bool,
        mut wish: impl FnMut(TopicPartition, &Partition) -> Wish,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        for topic in self.image.topics.values() {
            let mut rules = None;
            for (index, partition) in topic.partitions.iter().filter(|(_, partition)| concerned(partition)) {
                let at = TopicPartition { topic_id: topic.id, partition: *index };
                let rules = *rules.get_or_insert_with(|| self.rules(topic));
                let change = self.plan(at, partition, rules, wish(at, partition));
                records.extend(change.map(Record::PartitionChange));
            }
        }
        records
    }
}
