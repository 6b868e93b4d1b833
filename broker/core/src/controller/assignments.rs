//! Where a broker says that its replicas lie: AssignReplicasToDirs (KIP-858).
//!
//! The controller chooses the directory of a new replica (see `directories.rs`). The broker may move the replica to another
//! of its directories afterwards, and then says so here. Nothing else of the partition changes by that, so its leader
//! stays in its epoch. Only where nobody leads, because the directory that the replica left has failed meanwhile, a
//! leader is elected.
//!
//! In Kafka a broker may name a directory that does not work, and the replica counts as failed then. Here it is refused:
//! a broker moves no replica to such a directory, and what it said before is nearer to the truth.

use super::directories::with_directory;
use super::election::Wish;
use super::error::OperationError;
use super::operation::{AssignReplicasToDirs, AssignedReplica, Reply};
use super::partitions::Partitions;
use super::repeated::repeated;
use super::state::{ControllerConfig, Outcome, State};
use crate::ids::TopicPartition;
use crate::metadata::image::{Broker, Image, Partition};
use crate::metadata::record::{PartitionChange, Record};

impl State {
    /// AssignReplicasToDirs.
    pub(super) fn assign_replicas_to_dirs(
        &self,
        config: &ControllerConfig,
        request: &AssignReplicasToDirs,
    ) -> Result<Outcome, OperationError> {
        let sender = request.node_id;
        let broker = self.image.brokers.get(&sender).filter(|broker| broker.epoch == request.epoch);
        let broker = broker.ok_or(OperationError::StaleBrokerEpoch { node_id: sender })?;
        let repeated = repeated(request.assignments.iter().map(|asked| &asked.partition));
        // No partition is in it twice, so that each can be decided on what there was before.
        let mut after = self.image.clone();
        let mut records = Vec::new();
        let mut leaderless = Vec::new();
        let mut results = Vec::new();
        for asked in &request.assignments {
            let result = if repeated.contains(&asked.partition) {
                Err(OperationError::InvalidRequest("a partition is in the request twice".to_owned()))
            } else {
                check(&self.image, broker, asked)
            };
            results.push(result.map(|partition| {
                if let Some(record) = change(broker, partition, asked) {
                    after.replay(after.offset, &record).expect("the partition was just found");
                    records.push(record);
                }
                if partition.leader.is_none() {
                    leaderless.push(asked.partition);
                }
            }));
        }
        let partitions = Partitions::of(&after, config, &self.damaged);
        let elected = leaderless.into_iter().filter_map(|at| {
            let partition = after.partition(at.topic_id, at.partition)?;
            partitions.change(at, Wish::as_is(partition))
        });
        records.extend(elected.map(Record::PartitionChange));
        Ok(Outcome { records, reply: Reply::AssignReplicasToDirs(results) })
    }
}

/// The partition whose replica may lie where its broker says; or why it may not: first what Kafka refuses, in its order.
fn check<'a>(
    image: &'a Image,
    broker: &Broker,
    asked: &AssignedReplica,
) -> Result<&'a Partition, OperationError> {
    let TopicPartition { topic_id, partition: index } = asked.partition;
    let (id, directory) = (broker.node_id, asked.directory);
    let topic =
        image.topics.get(&topic_id).ok_or_else(|| OperationError::UnknownTopicId(topic_id.to_string()))?;
    let name = format!("partition {}-{index}", topic.name);
    let Some(partition) = topic.partitions.get(&index) else {
        return Err(OperationError::UnknownPartition(name));
    };
    if !partition.replicas.contains(&id) {
        return Err(OperationError::NotLeaderOrFollower(format!("broker {id} has no replica of {name}")));
    }
    if !broker.directories.contains(&directory) {
        return Err(OperationError::InvalidReplicaAssignment(format!(
            "broker {id} has not registered the log directory {directory} for {name}; add it to log.dirs and restart the \
             broker, or name one that is there"
        )));
    }
    if broker.offline_directories.contains(&directory) {
        return Err(OperationError::InvalidReplicaAssignment(format!(
            "broker {id} said that the log directory {directory} for {name} has failed; repair it and restart the broker, or \
             name one that works"
        )));
    }
    Ok(partition)
}

/// What it takes; nothing if the replica is registered there.
fn change(broker: &Broker, partition: &Partition, asked: &AssignedReplica) -> Option<Record> {
    let directories = with_directory(partition, broker.node_id, asked.directory);
    (directories != partition.directories).then(|| {
        Record::PartitionChange(PartitionChange {
            topic_id: asked.partition.topic_id,
            index: asked.partition.partition,
            directories: Some(directories),
            ..PartitionChange::default()
        })
    })
}
