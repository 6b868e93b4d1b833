//! Who leads a partition when brokers come and go.

use crate::ids::{LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId};
use crate::metadata::image::{Fencing, Image, LeaderRecoveryState, Partition};
use crate::metadata::record::{LeaderChange, PartitionChange, Record};

/// A new partition with these replicas, led by the first that is in service.
pub(super) fn new_partition(image: &Image, replicas: Vec<NodeId>) -> Partition {
    let live = |id: &NodeId| image.brokers.get(id).is_some_and(|broker| broker.fencing == Fencing::Unfenced);
    let isr: Vec<NodeId> = replicas.iter().copied().filter(live).collect();
    let directories = replicas
        .iter()
        // With one directory there is no choice; else the broker chooses and reports (KIP-858).
        .map(|id| match image.brokers.get(id).map(|broker| broker.directories.as_slice()) {
            Some([only]) => *only,
            Some(_) | None => crate::ids::DirectoryId::default(),
        })
        .collect();
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
    let live = |id: NodeId| {
        id != leaving && image.brokers.get(&id).is_some_and(|broker| broker.fencing == Fencing::Unfenced)
    };
    let change = |topic_id: TopicId, index: PartitionIndex, partition: &Partition| {
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

/// What changes when a broker comes into service: it leads what nobody leads and it is in the ISR of.
pub(super) fn broker_returns(image: &Image, returning: NodeId) -> Vec<Record> {
    changes(image, |topic_id, index, partition| {
        let takes = partition.leader.is_none() && partition.isr.contains(&returning);
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
