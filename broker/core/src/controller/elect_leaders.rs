//! Leaders that somebody asks for: ElectLeaders (KIP-460; rule 58 of the protocol).

use super::election::{Election, Wish};
use super::error::OperationError;
use super::operation::{ElectLeaders, ElectionType, Reply};
use super::partitions::Partitions;
use super::repeated::repeated;
use super::state::{ControllerConfig, Outcome, State};
use crate::ids::TopicPartition;
use crate::metadata::record::{LeaderChange, PartitionChange, Record};

impl State {
    /// ElectLeaders.
    pub(super) fn elect_leaders(&self, config: &ControllerConfig, request: &ElectLeaders) -> Outcome {
        let partitions = Partitions::of(&self.image, config, &self.damaged);
        let all: Vec<TopicPartition>;
        let asked = match &request.partitions {
            Some(asked) => asked,
            None => {
                all = self.all_partitions();
                &all
            }
        };
        let repeated = repeated(asked.iter());
        let mut records = Vec::new();
        let mut results = Vec::new();
        for at in asked {
            let result = if repeated.contains(at) {
                Err(OperationError::InvalidRequest("a partition is in the request twice".to_owned()))
            } else {
                self.elect(&partitions, *at, request.election)
            };
            if request.partitions.is_none() && result == Err(OperationError::ElectionNotNeeded) {
                continue;
            }
            results.push((*at, result.map(|change| records.push(Record::PartitionChange(change)))));
        }
        Outcome { records, reply: Reply::ElectLeaders(results) }
    }

    fn all_partitions(&self) -> Vec<TopicPartition> {
        let topics = self.image.topics.values();
        let of_topic = topics.flat_map(|topic| topic.partitions.keys().map(|index| (topic.id, *index)));
        of_topic.map(|(topic_id, partition)| TopicPartition { topic_id, partition }).collect()
    }

    fn elect(
        &self,
        partitions: &Partitions<'_>,
        at: TopicPartition,
        election: ElectionType,
    ) -> Result<PartitionChange, OperationError> {
        let TopicPartition { topic_id, partition: index } = at;
        let unknown = || OperationError::UnknownPartition(format!("partition {index} of topic {topic_id}"));
        let topic = self.image.topics.get(&topic_id).ok_or_else(unknown)?;
        let partition = topic.partitions.get(&index).ok_or_else(unknown)?;
        let name = || format!("{}-{index}", topic.name);
        let (needed, election, not_available) = match election {
            ElectionType::Preferred => (
                partition.leader.as_ref() != partition.replicas.first(),
                Election::Preferred,
                OperationError::PreferredLeaderNotAvailable(format!(
                    "the first replica of partition {} is not in sync, so it cannot lead",
                    name()
                )),
            ),
            ElectionType::Unclean => (
                partition.leader.is_none(),
                Election::Unclean,
                OperationError::EligibleLeadersNotAvailable(format!(
                    "no replica of partition {} is in service",
                    name()
                )),
            ),
        };
        if !needed {
            return Err(OperationError::ElectionNotNeeded);
        }
        let change = partitions.change(at, Wish { election, ..Wish::as_is(partition) });
        change.filter(|change| change.leader != LeaderChange::Unchanged).ok_or(not_available)
    }
}
