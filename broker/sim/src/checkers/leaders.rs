//! One leader per term (Raft, figure 3: election safety), and one per epoch of a partition.

use std::collections::BTreeMap;

use ottla_core::ids::{DirectoryId, LeaderEpoch, NodeId, Term, TopicPartition};

use super::{Rule, Violation};

/// Who has ever led.
#[derive(Debug, Default)]
pub struct Leaders {
    quorum: BTreeMap<Term, (NodeId, DirectoryId)>,
    partitions: BTreeMap<(TopicPartition, LeaderEpoch), NodeId>,
}

impl Leaders {
    /// A controller believes it leads a term.
    pub fn leads_quorum(
        &mut self,
        term: Term,
        node: NodeId,
        directory: DirectoryId,
    ) -> Result<(), Violation> {
        let first = *self.quorum.entry(term).or_insert((node, directory));
        if first == (node, directory) {
            return Ok(());
        }
        let text =
            format!("term {term} is led by node {node} ({directory}) and by node {} ({})", first.0, first.1);
        Err(Violation::new(Rule::OneLeader, text))
    }

    /// A broker serves a partition as its leader.
    pub fn leads_partition(
        &mut self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        node: NodeId,
    ) -> Result<(), Violation> {
        let first = *self.partitions.entry((partition, epoch)).or_insert(node);
        if first == node {
            return Ok(());
        }
        let TopicPartition { topic_id, partition } = partition;
        let text =
            format!("epoch {epoch} of partition {partition} of {topic_id} is led by {node} and by {first}");
        Err(Violation::new(Rule::OneLeader, text))
    }

    /// How many terms had a leader.
    pub fn terms(&self) -> usize {
        self.quorum.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_second_leader_of_a_term_is_seen_even_on_the_same_node_with_another_directory() {
        let (a, b) = (DirectoryId(Uuid::from_u128(1)), DirectoryId(Uuid::from_u128(2)));
        let mut leaders = Leaders::default();
        leaders.leads_quorum(Term(1), NodeId(1), a).unwrap();
        leaders.leads_quorum(Term(1), NodeId(1), a).unwrap();
        leaders.leads_quorum(Term(2), NodeId(2), b).unwrap();
        assert_eq!(leaders.leads_quorum(Term(1), NodeId(2), b).unwrap_err().rule, Rule::OneLeader);
        assert_eq!(leaders.leads_quorum(Term(1), NodeId(1), b).unwrap_err().rule, Rule::OneLeader);
    }
}
