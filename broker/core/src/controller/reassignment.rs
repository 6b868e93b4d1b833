//! Replicas that somebody moves: AlterPartitionReassignments and ListPartitionReassignments (KIP-455, KIP-860; rule 60 of
//! the protocol).
//!
//! A request only says where to. The new replicas fetch like every other; when the last of them is in sync,
//! [`plan_change`](super::election::plan_change) ends the move in the record that says so. Nothing about a move is kept
//! but what is registered, so that the next active controller goes on with it.

use super::directories::DirectoryLoads;
use super::election::Wish;
use super::error::OperationError;
use super::operation::{
    AlterPartitionReassignments, ListPartitionReassignments, OngoingReassignment, Reassignment, Reply,
};
use super::partitions::{Partitions, serves};
use super::repeated::repeated;
use super::replica_set::ReplicaSet;
use super::state::{ControllerConfig, Outcome, State};
use crate::ids::{NodeId, PartitionIndex, TopicName, TopicPartition};
use crate::metadata::image::{Image, Partition, Topic};
use crate::metadata::record::{PartitionChange, Record};

impl State {
    /// AlterPartitionReassignments.
    pub(super) fn alter_partition_reassignments(
        &self,
        config: &ControllerConfig,
        request: &AlterPartitionReassignments,
    ) -> Outcome {
        let keys: Vec<(&str, PartitionIndex)> =
            request.partitions.iter().map(|asked| (asked.topic.as_str(), asked.partition)).collect();
        let repeated = repeated(keys.iter());
        // No partition is in it twice, so that each can be decided on what there was before.
        let mut planner = Planner {
            image: &self.image,
            partitions: Partitions::of(&self.image, config, &self.damaged),
            loads: None,
            allow_replication_factor_change: request.allow_replication_factor_change,
        };
        let mut records = Vec::new();
        let mut results = Vec::new();
        for (asked, key) in request.partitions.iter().zip(&keys) {
            let result = if repeated.contains(key) {
                Err(OperationError::InvalidRequest("a partition is in the request twice".to_owned()))
            } else {
                planner.plan(asked)
            };
            results.push(result.map(|change| records.extend(change.map(Record::PartitionChange))));
        }
        Outcome { records, reply: Reply::AlterPartitionReassignments(results) }
    }

    /// ListPartitionReassignments. What does not exist, or is not moved, is left out, as in Kafka.
    pub(super) fn list_partition_reassignments(&self, request: &ListPartitionReassignments) -> Outcome {
        let mut ongoing = Vec::new();
        match &request.partitions {
            None => {
                for topic in self.image.topics.values() {
                    let all = topic.partitions.iter();
                    ongoing.extend(all.filter_map(|(index, partition)| moved(topic, *index, partition)));
                }
            }
            Some(asked) => {
                let named = asked.iter().filter_map(|(name, index)| {
                    let topic = self.image.topic(&TopicName::parse(name).ok()?)?;
                    moved(topic, *index, topic.partitions.get(index)?)
                });
                ongoing.extend(named);
            }
        }
        Outcome { records: Vec::new(), reply: Reply::ListPartitionReassignments(ongoing) }
    }
}

fn moved(topic: &Topic, index: PartitionIndex, partition: &Partition) -> Option<OngoingReassignment> {
    partition.is_moving().then(|| OngoingReassignment {
        topic: topic.name.clone(),
        partition: index,
        replicas: partition.replicas.clone(),
        adding: partition.adding.clone(),
        removing: partition.removing.clone(),
    })
}

/// What one request is decided with.
struct Planner<'a> {
    image: &'a Image,
    partitions: Partitions<'a>,
    /// Counted when the first directory is chosen.
    loads: Option<DirectoryLoads>,
    allow_replication_factor_change: bool,
}

impl Planner<'_> {
    fn plan(&mut self, asked: &Reassignment) -> Result<Option<PartitionChange>, OperationError> {
        let name = format!("partition {}-{}", asked.topic, asked.partition);
        let topic = TopicName::parse(&asked.topic).ok().and_then(|topic| self.image.topic(&topic));
        let topic = topic.ok_or_else(|| OperationError::UnknownTopic(asked.topic.clone()))?;
        let partition = topic
            .partitions
            .get(&asked.partition)
            .ok_or_else(|| OperationError::UnknownPartition(name.clone()))?;
        let wish = match &asked.target {
            Some(target) => self.towards(&name, partition, target)?,
            None => self.back(&name, topic, partition)?,
        };
        let at = TopicPartition { topic_id: topic.id, partition: asked.partition };
        Ok(self.partitions.change(at, wish))
    }

    fn towards(
        &mut self,
        name: &str,
        partition: &Partition,
        target: &[NodeId],
    ) -> Result<Wish, OperationError> {
        check_target(self.image, name, target)?;
        let factor = partition.target_replicas().count();
        if !self.allow_replication_factor_change && factor != target.len() {
            return Err(OperationError::InvalidReplicationFactor(format!(
                "{name} has {factor} replicas and would have {}, but the request forbids to change the replication factor",
                target.len()
            )));
        }
        let image = self.image;
        let loads = &mut self.loads;
        let assign = |id| loads.get_or_insert_with(|| DirectoryLoads::of(image)).assign(image, id);
        let replica_set = ReplicaSet::towards(partition, target, assign);
        Ok(Wish { replica_set, ..Wish::as_is(partition) })
    }

    /// Takes a move back. Who was added may have become the only one that holds everything: then there is no way back that
    /// keeps the records, and in Kafka's words it would be an unclean election.
    fn back(&self, name: &str, topic: &Topic, partition: &Partition) -> Result<Wish, OperationError> {
        if !partition.is_moving() {
            return Err(OperationError::NoReassignmentInProgress(format!(
                "no reassignment of {name} is in progress, so there is nothing to cancel"
            )));
        }
        let replica_set = ReplicaSet::before(partition);
        let remaining = |ids: &[NodeId]| -> Vec<NodeId> {
            ids.iter().copied().filter(|id| replica_set.replicas.contains(id)).collect()
        };
        let (isr, elr) = (remaining(&partition.isr), remaining(&partition.elr));
        // Where nobody else could lead either, nothing is lost on the way; but for the last leader, which may come back.
        let last = &partition.last_known_elr;
        let nobody_holds_them = partition.isr.is_empty()
            && partition.elr.is_empty()
            && (last.is_empty() || !remaining(last).is_empty());
        let keeps_records = !isr.is_empty()
            || nobody_holds_them
            || elr.iter().any(|id| partition.leader.is_none() || serves(self.image, partition, *id));
        if !keeps_records && !self.partitions.rules(topic).unclean_elections {
            return Err(OperationError::InvalidReplicaAssignment(format!(
                "the reassignment of {name} cannot be cancelled: of the replicas before it none is in sync, so it would take \
                 an unclean leader election; let the reassignment end, or bring one of {} back first",
                list(&replica_set.replicas)
            )));
        }
        Ok(Wish { isr, replica_set, ..Wish::as_is(partition) })
    }
}

/// As Kafka checks a manual assignment: every broker is registered, in service or not, and named once.
fn check_target(image: &Image, name: &str, target: &[NodeId]) -> Result<(), OperationError> {
    let refuse = |text: String| Err(OperationError::InvalidReplicaAssignment(text));
    if target.is_empty() {
        return refuse(format!(
            "the new assignment of {name} names no broker; null would cancel a reassignment"
        ));
    }
    for (position, id) in target.iter().enumerate() {
        if !image.brokers.contains_key(id) {
            let registered: Vec<NodeId> = image.brokers.keys().copied().collect();
            return refuse(format!(
                "the new assignment of {name} names broker {id}, which is not registered; registered are {}",
                list(&registered)
            ));
        }
        if target[..position].contains(id) {
            return refuse(format!("the new assignment of {name} names broker {id} twice"));
        }
    }
    Ok(())
}

/// How many brokers a message names.
const NAMED_MAX: usize = 10;

fn list(ids: &[NodeId]) -> String {
    let named: Vec<String> = ids.iter().take(NAMED_MAX).map(NodeId::to_string).collect();
    let more = if ids.len() > NAMED_MAX { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}
