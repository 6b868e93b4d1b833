//! The ISR as leaders ask for it: AlterPartition (KIP-497, KIP-704, KIP-903; rule 56 of the protocol).
//!
//! A leader names the epochs that it knows its partition under. Older ones mean that it has yet to hear of a change,
//! newer ones that this controller has: it is not the active one any more, and the leader must find that one.
//!
//! Beyond Kafka: an ISR without its leader makes another member the leader (decision 0049).

use std::cmp::Ordering;

use super::election::Wish;
use super::error::OperationError;
use super::operation::{AlterIsr, AlterPartition, AlteredPartition, Reply};
use super::partitions::Partitions;
use super::repeated::repeated;
use super::state::{ControllerConfig, Outcome, State};
use crate::ids::{BrokerEpoch, NodeId, TopicPartition};
use crate::metadata::image::{Fencing, Image, LeaderRecoveryState, Partition};
use crate::metadata::record::{LeaderChange, PartitionChange, Record};
use crate::planted::{self, Bug};

impl State {
    /// AlterPartition.
    pub(super) fn alter_partition(
        &self,
        config: &ControllerConfig,
        request: &AlterPartition,
    ) -> Result<Outcome, OperationError> {
        let sender = request.node_id;
        let broker =
            self.image.brokers.get(&sender).ok_or(OperationError::StaleBrokerEpoch { node_id: sender })?;
        if broker.epoch != request.epoch {
            return Err(OperationError::StaleBrokerEpoch { node_id: sender });
        }
        let repeated = repeated(request.partitions.iter().map(|asked| &asked.partition));
        // No partition is in it twice, so that each can be decided on what there was before.
        let partitions = Partitions::of(&self.image, config, &self.damaged);
        let mut image = self.image.clone();
        let mut records = Vec::new();
        let mut results = Vec::new();
        for asked in &request.partitions {
            let result = if repeated.contains(&asked.partition) {
                Err(OperationError::InvalidRequest("a partition is in the request twice".to_owned()))
            } else {
                check(&self.image, sender, asked)
                    .map(|partition| partitions.change(asked.partition, wish(asked, partition)))
            };
            results.push(result.and_then(|change| {
                makes_way(sender, asked, change.as_ref())?;
                let elects = change.as_ref().map(|change| change.leader);
                if let Some(record) = change.map(Record::PartitionChange) {
                    image.replay(image.offset, &record).expect("the partition was just found");
                    records.push(record);
                }
                match elects {
                    Some(LeaderChange::Leader(leader)) if leader != sender => Err(new_leader(leader)),
                    Some(_) | None => Ok(altered(&image, asked.partition)),
                }
            }));
        }
        Ok(Outcome { records, reply: Reply::AlterPartition(results) })
    }
}

/// The partition that a leader may alter as it asks; or why it may not, in the order in which Kafka looks.
fn check<'a>(image: &'a Image, sender: NodeId, asked: &AlterIsr) -> Result<&'a Partition, OperationError> {
    let TopicPartition { topic_id, partition: index } = asked.partition;
    let topic =
        image.topics.get(&topic_id).ok_or_else(|| OperationError::UnknownTopicId(topic_id.to_string()))?;
    let name = format!("partition {}-{index}", topic.name);
    let Some(partition) = topic.partitions.get(&index) else {
        return Err(OperationError::UnknownPartition(name));
    };
    if asked.leader_epoch > partition.leader_epoch || asked.partition_epoch > partition.partition_epoch {
        return Err(OperationError::NotController { leader: None });
    }
    if is_believed_if_planted(asked, partition) {
        return check_isr(image, &name, partition, sender, asked).map(|()| partition.as_ref());
    }
    if asked.leader_epoch < partition.leader_epoch {
        return Err(OperationError::FencedLeaderEpoch(format!(
            "{name} is led in epoch {}, epoch {} is over",
            partition.leader_epoch, asked.leader_epoch
        )));
    }
    if partition.leader != Some(sender) {
        return Err(OperationError::InvalidRequest(format!("{name} is not led by broker {sender}")));
    }
    if asked.partition_epoch < partition.partition_epoch && !planted::is(Bug::NoPartitionEpochCheck) {
        return Err(OperationError::InvalidUpdateVersion(format!(
            "{name} has partition epoch {} by now, the request was made from {}",
            partition.partition_epoch, asked.partition_epoch
        )));
    }
    check_isr(image, &name, partition, sender, asked)?;
    Ok(partition)
}

/// The bug that [`Bug::StaleLeader`] plants.
fn is_believed_if_planted(asked: &AlterIsr, partition: &Partition) -> bool {
    planted::is(Bug::StaleLeader) && asked.leader_epoch != partition.leader_epoch
}

fn check_isr(
    image: &Image,
    name: &str,
    partition: &Partition,
    sender: NodeId,
    asked: &AlterIsr,
) -> Result<(), OperationError> {
    let refuse = |text: String| Err(OperationError::InvalidRequest(text));
    for (position, (id, _)) in asked.isr.iter().enumerate() {
        if !partition.replicas.contains(id) {
            return refuse(format!("the ISR of {name} would have broker {id}, which has no replica of it"));
        }
        if asked.isr[..position].iter().any(|(earlier, _)| earlier == id) {
            return refuse(format!("the ISR of {name} would have broker {id} twice"));
        }
    }
    if asked.isr.is_empty() {
        return refuse(format!("the ISR of {name} would have nobody"));
    }
    if !names(asked, sender) && !asked.isr.iter().all(|(id, _)| partition.isr.contains(id)) {
        return refuse(format!(
            "the ISR of {name} would have new members without broker {sender}, its leader"
        ));
    }
    if asked.recovery == LeaderRecoveryState::Recovering {
        if asked.isr.len() > 1 {
            return refuse(format!("the leader of {name} is recovering, so the ISR is itself alone"));
        }
        if partition.recovery == LeaderRecoveryState::Recovered {
            return refuse(format!("the leader of {name} has recovered already"));
        }
    }
    for (id, epoch) in &asked.isr {
        if let Some(why) = ineligible(image, partition, *id, *epoch) {
            return Err(OperationError::IneligibleReplica(format!(
                "broker {id} cannot be in the ISR of {name}: it {why}"
            )));
        }
    }
    Ok(())
}

fn names(asked: &AlterIsr, member: NodeId) -> bool {
    asked.isr.iter().any(|(id, _)| *id == member)
}

/// A leader that asks for an ISR without itself stays where none of the others can lead.
fn makes_way(
    leader: NodeId,
    asked: &AlterIsr,
    change: Option<&PartitionChange>,
) -> Result<(), OperationError> {
    let is_named = |change: &PartitionChange| match change.leader {
        LeaderChange::Leader(elected) => names(asked, elected),
        LeaderChange::Unchanged | LeaderChange::Nobody => false,
    };
    if names(asked, leader) || change.is_some_and(is_named) {
        return Ok(());
    }
    Err(OperationError::IneligibleReplica(format!("nobody could lead in the place of broker {leader}")))
}

/// Why a replica cannot be in sync now, if it was seen fetching under this broker epoch.
fn ineligible(
    image: &Image,
    partition: &Partition,
    id: NodeId,
    epoch: Option<BrokerEpoch>,
) -> Option<&'static str> {
    let Some(broker) = image.brokers.get(&id) else { return Some("is not registered") };
    match broker.fencing {
        Fencing::Fenced => return Some("is fenced"),
        Fencing::InControlledShutdown => return Some("is shutting down"),
        Fencing::Unfenced => {}
    }
    // Kafka does not look. A member that cannot fetch any more would hold up every write until it is found out.
    if broker.offline_directories.contains(&partition.directory_of(id)) {
        return Some("keeps the replica in a log directory that has failed");
    }
    match epoch?.cmp(&broker.epoch) {
        Ordering::Equal => None,
        Ordering::Less => Some("has registered anew since it was seen"),
        Ordering::Greater => Some("has no such registration"),
    }
}

/// What was asked for is done, and the sender leads no longer: it asked for that, or it was the last thing that a reassignment
/// waited for.
fn new_leader(leader: NodeId) -> OperationError {
    OperationError::NewLeaderElected(format!("the ISR is as it was asked for, and broker {leader} leads now"))
}

fn wish(asked: &AlterIsr, partition: &Partition) -> Wish {
    let isr: Vec<NodeId> = asked.isr.iter().map(|(id, _)| *id).collect();
    // The same members in another order are the same ISR.
    let same = isr.len() == partition.isr.len() && isr.iter().all(|id| partition.isr.contains(id));
    let isr = if same { partition.isr.clone() } else { isr };
    Wish { isr, recovery: asked.recovery, ..Wish::as_is(partition) }
}

fn altered(image: &Image, at: TopicPartition) -> AlteredPartition {
    let partition = image.partition(at.topic_id, at.partition).expect("the partition was just found");
    AlteredPartition {
        partition: at,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: partition.isr.clone(),
        recovery: partition.recovery,
    }
}
