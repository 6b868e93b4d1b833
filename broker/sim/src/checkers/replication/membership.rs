//! What the controller's records say of a partition fits together, in every image that anybody shows.

use ottla_core::ids::{NodeId, TopicPartition};
use ottla_core::metadata::image::Partition;

use super::broken;
use crate::checkers::{Rule, Violation};

/// The ISR and the eligible leaders are replicas, nobody is anything twice, and who leads is in sync.
pub fn well_formed(at: TopicPartition, partition: &Partition) -> Result<(), Violation> {
    let Partition { replicas, isr, elr, leader, .. } = partition;
    let problem = if let Some(id) = repeated(replicas).or_else(|| repeated(isr)).or_else(|| repeated(elr)) {
        format!("node {id} is in one list twice")
    } else if let Some(id) = isr.iter().find(|id| !replicas.contains(id)) {
        format!("node {id} is in the ISR and no replica")
    } else if let Some(id) = elr.iter().find(|id| !replicas.contains(id) || isr.contains(id)) {
        format!("node {id} is an eligible leader, and in the ISR or no replica")
    } else if let Some(id) = leader.filter(|id| !isr.contains(id)) {
        format!("node {id} leads and is not in the ISR")
    } else if partition.directories.len() != replicas.len() {
        "its directories are not those of its replicas".to_owned()
    } else {
        return Ok(());
    };
    Err(broken(Rule::ReplicaSets, at, &format!("{problem}: {partition:?}")))
}

fn repeated(ids: &[NodeId]) -> Option<NodeId> {
    ids.iter().enumerate().find(|(at, id)| ids[..*at].contains(id)).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use ottla_core::ids::{DirectoryId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId};
    use ottla_core::metadata::image::LeaderRecoveryState;

    use super::*;

    fn check(replicas: &[i32], isr: &[i32], elr: &[i32], leader: Option<i32>) -> Result<(), Violation> {
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
        let partition = Partition {
            replicas: nodes(replicas),
            directories: vec![DirectoryId::default(); replicas.len()],
            isr: nodes(isr),
            adding: Vec::new(),
            removing: Vec::new(),
            elr: nodes(elr),
            last_known_elr: Vec::new(),
            leader: leader.map(NodeId),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            recovery: LeaderRecoveryState::Recovered,
        };
        let at = TopicPartition { topic_id: TopicId::default(), partition: PartitionIndex(0) };
        well_formed(at, &partition)
    }

    #[test]
    fn lists_that_do_not_fit_together_are_seen() {
        check(&[1, 2, 3], &[1, 2], &[3], Some(1)).unwrap();
        check(&[1, 2, 3], &[], &[3], None).unwrap();
        for (replicas, isr, elr, leader) in [
            (&[1, 2][..], &[1, 3][..], &[][..], Some(1)),
            (&[1, 2], &[1], &[3], Some(1)),
            (&[1, 2], &[1, 2], &[2], Some(1)),
            (&[1, 2], &[1, 1], &[], Some(1)),
            (&[1, 1], &[1], &[], Some(1)),
            (&[1, 2], &[2], &[], Some(1)),
            (&[1, 2], &[], &[1], Some(1)),
        ] {
            let seen = check(replicas, isr, elr, leader).unwrap_err();
            assert_eq!(seen.rule, Rule::ReplicaSets, "{replicas:?} {isr:?} {elr:?} {leader:?}");
        }
    }
}
