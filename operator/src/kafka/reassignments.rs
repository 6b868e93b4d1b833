//! Where replicas lie, where they are on their way to, and how full each broker is of them.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream};
use ottla_client::HostPort;
use ottla_wire::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, DescribeClusterRequest, ListPartitionReassignmentsRequest,
    MetadataRequest,
    alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
    list_partition_reassignments_response::OngoingPartitionReassignment,
    metadata_response::MetadataResponsePartition,
};

use super::{Answer, Kafka, KafkaError, answer, configs::config_of_broker, name};
use crate::names::NodeId;

/// Partitions in one request.
const BATCH_MAX: usize = 500;
/// How long the cluster may take to register moves, or to list them.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Brokers that are asked at the same time.
const ASKED_MAX: usize = 16;
/// The key by which a broker is cordoned.
const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";
/// The kind of node that `DescribeCluster` tells of (KIP-919).
const ENDPOINTS_OF_BROKERS: i8 = 1;

/// A partition as the cluster has it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PartitionFacts {
    /// Its index.
    pub index: i32,
    /// Who leads it, if anybody does.
    pub leader: Option<NodeId>,
    /// Who holds it, the preferred leader first; those that are to go last.
    pub replicas: Vec<NodeId>,
    /// Those of them that are in sync.
    pub isr: Vec<NodeId>,
    /// Those of them that a move adds.
    pub adding: Vec<NodeId>,
    /// Those of them that a move removes.
    pub removing: Vec<NodeId>,
}

impl PartitionFacts {
    /// What a broker's metadata says, which shows no moves.
    pub(super) fn of(partition: &MetadataResponsePartition) -> Self {
        let leader = NodeId(partition.leader_id.0);
        Self {
            index: partition.partition_index,
            leader: (leader.0 >= 0).then_some(leader),
            replicas: nodes(&partition.replica_nodes),
            isr: nodes(&partition.isr_nodes),
            ..Self::default()
        }
    }

    /// Takes over what the active controller knows of a move.
    pub(super) fn moves(&mut self, ongoing: &OngoingPartitionReassignment) {
        self.replicas = nodes(&ongoing.replicas);
        self.adding = nodes(&ongoing.adding_replicas);
        self.removing = nodes(&ongoing.removing_replicas);
    }

    /// Whether replicas come or go.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// How many replicas it has, without those that are still being added.
    #[must_use]
    pub fn replicas_now(&self) -> usize {
        self.replicas.len().saturating_sub(self.adding.len())
    }

    /// How many replicas it has once the move that is under way, if there is one, is over.
    #[must_use]
    pub fn replicas_then(&self) -> usize {
        self.replicas.len().saturating_sub(self.removing.len())
    }
}

fn nodes(ids: &[BrokerId]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(id.0)).collect()
}

/// The partitions of each topic that have replicas on the move.
pub(super) type Ongoing = BTreeMap<String, Vec<OngoingPartitionReassignment>>;

/// Whether a broker is to get no new replicas, by `cordoned.log.dirs` (KIP-1066).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Cordon {
    /// It may get some.
    #[default]
    Open,
    /// It is to get none.
    Cordoned,
    /// It did not say, and gets none before it does.
    Unknown,
}

/// A broker as replicas are placed on it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BrokerFacts {
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// Where clients reach it.
    pub address: Option<HostPort>,
    /// Whether it is not fenced.
    pub in_service: bool,
    /// Whether it is to get no new replicas.
    pub cordon: Cordon,
    /// How many replicas lie on it.
    pub replicas: i64,
    /// Of how many partitions it is the preferred leader.
    pub leaders: i64,
}

/// All registered brokers, and what lies on them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Census {
    /// The brokers.
    pub brokers: BTreeMap<NodeId, BrokerFacts>,
}

/// Where the replicas of a partition are to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Move {
    /// Its topic.
    pub topic: String,
    /// Its index.
    pub partition: i32,
    /// On which brokers, the preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// What was said about each move, by topic and partition.
pub type Moved = BTreeMap<(String, i32), Result<(), Answer>>;

impl Kafka {
    /// All moves of the cluster that are under way, as the active controller knows them.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses.
    pub(super) async fn ongoing(&self) -> Result<Ongoing, KafkaError> {
        let request =
            ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(timeout_ms());
        let response = self.0.request(request).await?;
        let refused = |answer| KafkaError::Refused { what: "list the reassignments of partitions", answer };
        answer(response.error_code, response.error_message).map_err(refused)?;
        Ok(response.topics.into_iter().map(|topic| (topic.name.0.to_string(), topic.partitions)).collect())
    }

    /// Counts what lies on each registered broker, over all topics.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses.
    pub async fn census(&self) -> Result<Census, KafkaError> {
        let request = DescribeClusterRequest::default()
            .with_endpoint_type(ENDPOINTS_OF_BROKERS)
            .with_include_fenced_brokers(true);
        let response = self.0.request(request).await?;
        let refused = |answer| KafkaError::Refused { what: "list the brokers", answer };
        answer(response.error_code, response.error_message).map_err(refused)?;
        let brokers = response.brokers.into_iter().map(|broker| {
            let port = u16::try_from(broker.port).ok();
            let facts = BrokerFacts {
                rack: broker.rack.map(|rack| rack.to_string()),
                address: port.map(|port| HostPort::new(broker.host.to_string(), port)),
                in_service: !broker.is_fenced,
                ..BrokerFacts::default()
            };
            (NodeId(broker.broker_id.0), facts)
        });
        let mut census = Census { brokers: brokers.collect() };
        let all = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
        let topics = self.0.request(all).await?.topics;
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            for (position, id) in partition.replica_nodes.iter().enumerate() {
                let Some(broker) = census.brokers.get_mut(&NodeId(id.0)) else { continue };
                broker.replicas += 1;
                broker.leaders += i64::from(position == 0);
            }
        }
        Ok(census)
    }

    /// Asks each broker in service whether it is cordoned, by a connection of its own: only itself knows.
    pub async fn add_cordons(&self, census: &mut Census) {
        let in_service = census.brokers.iter_mut().filter(|(_, broker)| broker.in_service);
        let asked = in_service.map(|(id, broker)| async move {
            let value = match &broker.address {
                Some(address) => config_of_broker(address, *id, CORDONED_LOG_DIRS).await.ok(),
                None => None,
            };
            broker.cordon = cordon(value.as_ref().map(Option::as_deref));
        });
        // Collected first: a stream over the map itself would have to prove too much about its lifetimes.
        let asked: Vec<_> = asked.collect();
        stream::iter(asked).buffer_unordered(ASKED_MAX).collect::<()>().await;
    }

    /// Begins moves, or leads those that are under way elsewhere.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn reassign(&self, moves: &[Move]) -> Result<Moved, KafkaError> {
        let mut moved = Moved::new();
        for batch in moves.chunks(BATCH_MAX) {
            let topics = batch.chunk_by(|a, b| a.topic == b.topic).map(|of_topic| {
                let partition = |one: &Move| {
                    ReassignablePartition::default()
                        .with_partition_index(one.partition)
                        .with_replicas(Some(one.replicas.iter().map(|id| BrokerId(id.0)).collect()))
                };
                ReassignableTopic::default()
                    .with_name(name(&of_topic[0].topic))
                    .with_partitions(of_topic.iter().map(partition).collect())
            });
            let request = AlterPartitionReassignmentsRequest::default()
                .with_topics(topics.collect())
                .with_timeout_ms(timeout_ms())
                .with_allow_replication_factor_change(true);
            let response = self.0.request(request).await?;
            let whole = answer(response.error_code, response.error_message);
            for topic in response.responses {
                for partition in topic.partitions {
                    let one = answer(partition.error_code, partition.error_message);
                    let key = (topic.name.0.to_string(), partition.partition_index);
                    moved.insert(key, whole.clone().and(one));
                }
            }
        }
        Ok(moved)
    }
}

/// What a broker's answer about [`CORDONED_LOG_DIRS`] means, if it gave one. Ottla's brokers know no single directories there.
fn cordon(answer: Option<Option<&str>>) -> Cordon {
    match answer {
        Some(Some(value)) if value.split(',').any(|entry| entry.trim() == "*") => Cordon::Cordoned,
        Some(_) => Cordon::Open,
        None => Cordon::Unknown,
    }
}

fn timeout_ms() -> i32 {
    i32::try_from(TIMEOUT.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_does_not_say_whether_it_is_cordoned_is_not_taken_for_open() {
        assert_eq!(cordon(Some(Some("*"))), Cordon::Cordoned);
        assert_eq!(cordon(Some(Some(""))), Cordon::Open);
        assert_eq!(cordon(Some(None)), Cordon::Open, "a release that does not know the key");
        assert_eq!(cordon(None), Cordon::Unknown);
    }
}
