//! Who leads a partition when brokers come and go.

use super::directories::DirectoryLoads;
use crate::ids::{DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId};
use crate::metadata::image::{Fencing, Image, LeaderRecoveryState, Partition};
use crate::metadata::record::{LeaderChange, PartitionChange, Record};

/// A new partition with these replicas, led by the first that is in service.
pub(super) fn new_partition(image: &Image, loads: &mut DirectoryLoads, replicas: Vec<NodeId>) -> Partition {
    let live = |id: &NodeId| image.brokers.get(id).is_some_and(|broker| broker.fencing == Fencing::Unfenced);
    let isr: Vec<NodeId> = replicas.iter().copied().filter(live).collect();
    let directories = replicas.iter().map(|id| loads.assign(image, *id)).collect();
    Partition {
        leader: isr.first().copied(),
        isr: if isr.is_empty() { replicas.clone() } else { isr },
        directories,
        replicas,
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        recovery: LeaderRecoveryState::Recovered,
    }
}

/// What changes when a broker stops to be in service: what it leads gets another leader from the ISR, or none,
/// and it leaves each ISR in which it is not the last.
pub(super) fn broker_leaves(image: &Image, leaving: NodeId) -> Vec<Record> {
    replicas_leave(image, leaving, |_| true)
}

/// The same for the replicas in directories of a broker that have failed.
pub(super) fn directories_fail(image: &Image, broker: NodeId, failed: &[DirectoryId]) -> Vec<Record> {
    replicas_leave(image, broker, |partition| failed.contains(&partition.directory_of(broker)))
}

fn replicas_leave(image: &Image, leaving: NodeId, concerned: impl Fn(&Partition) -> bool) -> Vec<Record> {
    let change = |topic_id: TopicId, index: PartitionIndex, partition: &Partition| {
        if !concerned(partition) {
            return None;
        }
        let live = |id: NodeId| id != leaving && serves(image, partition, id);
        let leads = partition.leader == Some(leaving);
        let others = || partition.isr.iter().copied().filter(|id| *id != leaving);
        let leaves_isr = partition.isr.contains(&leaving) && others().next().is_some();
        if !leads && !leaves_isr {
            return None;
        }
        let heir = partition.replicas.iter().copied().find(|id| partition.isr.contains(id) && live(*id));
        Some(Record::PartitionChange(PartitionChange {
            topic_id,
            index,
            isr: leaves_isr.then(|| others().collect()),
            leader: match (leads, heir) {
                (false, _) => LeaderChange::Unchanged,
                (true, None) => LeaderChange::Nobody,
                (true, Some(heir)) => LeaderChange::Leader(heir),
            },
            ..PartitionChange::default()
        }))
    };
    changes(image, change)
}

/// Whether a replica could lead: its broker is in service and its directory has not failed.
fn serves(image: &Image, partition: &Partition, id: NodeId) -> bool {
    image.brokers.get(&id).is_some_and(|broker| {
        broker.fencing == Fencing::Unfenced
            && !broker.offline_directories.contains(&partition.directory_of(id))
    })
}

/// What changes when a broker comes into service, but for these directories: it leads what nobody leads and
/// it is in the ISR of.
pub(super) fn broker_returns(image: &Image, returning: NodeId, offline: &[DirectoryId]) -> Vec<Record> {
    changes(image, |topic_id, index, partition| {
        let takes = partition.leader.is_none()
            && partition.isr.contains(&returning)
            && !offline.contains(&partition.directory_of(returning));
        takes.then(|| {
            Record::PartitionChange(PartitionChange {
                topic_id,
                index,
                leader: LeaderChange::Leader(returning),
                ..PartitionChange::default()
            })
        })
    })
}

/// Whether a broker leads anything.
pub(super) fn leads_anything(image: &Image, broker: NodeId) -> bool {
    image
        .topics
        .values()
        .any(|topic| topic.partitions.values().any(|partition| partition.leader == Some(broker)))
}

fn changes(
    image: &Image,
    change: impl Fn(TopicId, PartitionIndex, &Partition) -> Option<Record>,
) -> Vec<Record> {
    let partitions = image
        .topics
        .values()
        .flat_map(|topic| topic.partitions.iter().map(|(index, partition)| (topic.id, *index, partition)));
    partitions.filter_map(|(topic_id, index, partition)| change(topic_id, index, partition)).collect()
}
