//! The metadata quorum: who leads it, who votes, how far each one is.

use ottla_wire::messages::{
    DescribeQuorumRequest,
    describe_quorum_request::{PartitionData, TopicData},
};
use uuid::Uuid;

use super::{Kafka, KafkaError, answer, name, uuid_text};
use crate::{cluster::identity::InitialController, names::NodeId};

/// The quorum as its leader sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuorumFacts {
    /// The active controller.
    pub leader: Option<NodeId>,
    /// What is known to be on a majority.
    pub high_watermark: i64,
    /// The voters: node, directory, end of its log.
    pub voters: Vec<(NodeId, Uuid, i64)>,
}

impl QuorumFacts {
    /// Whether every one of the first voters has taken part: it is a voter under the directory id that was drawn
    /// for it, and its log reaches what the majority knows. Only then are the drawn ids used up. A voter whose volume
    /// was `lost` takes part under another id once the others have let it in.
    #[must_use]
    pub fn has_formed(&self, first: &[InitialController], lost: &[NodeId]) -> bool {
        self.leader.is_some()
            && self.high_watermark > 0
            && first.iter().all(|wanted| {
                self.voters.iter().any(|(node, directory, end)| {
                    *node == wanted.node_id
                        && (uuid_text(directory) == wanted.directory_id.as_str() || lost.contains(node))
                        && *end >= self.high_watermark
                })
            })
    }
}

impl Kafka {
    /// Asks for the state of the quorum.
    ///
    /// # Errors
    /// When nobody can tell.
    pub async fn quorum(&self) -> Result<QuorumFacts, KafkaError> {
        let partition = PartitionData::default().with_partition_index(0);
        let topic =
            TopicData::default().with_topic_name(name("__cluster_metadata")).with_partitions(vec![partition]);
        let response = self.0.request(DescribeQuorumRequest::default().with_topics(vec![topic])).await?;
        let refused = |answer| KafkaError::Refused { what: "describe the quorum", answer };
        answer(response.error_code, response.error_message).map_err(refused)?;
        let partition =
            response.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        let partition = partition.unwrap_or_default();
        answer(partition.error_code, partition.error_message).map_err(refused)?;
        Ok(QuorumFacts {
            leader: (partition.leader_id.0 >= 0).then_some(NodeId(partition.leader_id.0)),
            high_watermark: partition.high_watermark,
            voters: partition
                .current_voters
                .iter()
                .map(|voter| (NodeId(voter.replica_id.0), voter.replica_directory_id, voter.log_end_offset))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Vec<InitialController> {
        (0..3)
            .map(|id| InitialController {
                node_id: NodeId(id),
                address: String::new(),
                directory_id: uuid_text(&directory(id)).parse().unwrap(),
            })
            .collect()
    }

    fn directory(id: i32) -> Uuid {
        Uuid::from_u128(u128::try_from(id).unwrap() + 1)
    }

    #[test]
    fn the_quorum_has_formed_when_every_first_voter_took_part() {
        let mut facts = QuorumFacts {
            leader: Some(NodeId(1)),
            high_watermark: 5,
            voters: (0..3).map(|id| (NodeId(id), directory(id), 5)).collect(),
        };
        assert!(facts.has_formed(&first(), &[]));
        facts.voters[2].2 = 0;
        assert!(!facts.has_formed(&first(), &[]), "one voter has an empty log");
        facts.voters[2] = (NodeId(2), directory(9), 5);
        assert!(!facts.has_formed(&first(), &[]), "one voter has another directory");
        assert!(facts.has_formed(&first(), &[NodeId(2)]), "the others let it in again");
        facts.voters.pop();
        assert!(!facts.has_formed(&first(), &[]), "one voter is missing");
    }
}
