//! The one place that speaks Kafka's protocol: what the operator asks of a cluster, in its own words.

use std::{collections::BTreeMap, time::Duration};

use ottla_client::{Admin, ClientError, HostPort, Options};
use ottla_wire::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
        DescribeQuorumRequest, IncrementalAlterConfigsRequest, MetadataRequest, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        describe_quorum_request,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        metadata_request::MetadataRequestTopic,
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use crate::{
    cluster::identity::InitialController,
    names::{NodeId, PORT_CLIENT},
};

/// The resource type of a topic in config requests.
const RESOURCE_TOPIC: i8 = 2;
/// The source of a value that was set on the topic itself.
const SOURCE_TOPIC: i8 = 1;
/// Operations of `IncrementalAlterConfigs`.
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Topics in one request: it keeps a response of full configurations well below the client's limit.
pub const BATCH_MAX: usize = 200;
/// How long the cluster may take over a change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(15);

/// Why the cluster did not do it.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// It cannot be reached, or does not answer as it should.
    #[error("the cluster does not answer")]
    Client(#[from] ClientError),
    /// The address leads to another cluster, whose topics are none of ours.
    #[error("its address leads to cluster {found}, and its own id is {wanted}")]
    OtherCluster {
        /// Whom it leads to.
        found: String,
        /// Who was wanted.
        wanted: String,
    },
    /// It refused the whole request.
    #[error("the cluster refused to {what}: {answer}")]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// What it said.
        answer: Answer,
    },
}

/// What the cluster said about one thing that was asked of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Kafka's error.
    pub error: ResponseError,
    /// Its explanation.
    pub message: Option<String>,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.message {
            Some(message) if !message.is_empty() => write!(f, "{:?}: {message}", self.error),
            Some(_) | None => write!(f, "{:?}", self.error),
        }
    }
}

fn answer(code: i16, message: Option<StrBytes>) -> Result<(), Answer> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(Answer { error, message: message.map(|text| text.to_string()) }),
    }
}

/// What came of each thing that was asked for, by topic.
pub type Answers<T> = BTreeMap<String, Result<T, Answer>>;

/// A topic as the cluster has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicFacts {
    /// Its id.
    pub id: Uuid,
    /// How many partitions.
    pub partitions: i32,
    /// The replication factor of its first partition.
    pub replicas: i32,
    /// The values that are set on the topic itself.
    pub config: BTreeMap<String, String>,
}

/// A topic to create.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// On how many brokers; none means the cluster's default.
    pub replicas: Option<i16>,
    /// Its configuration.
    pub config: BTreeMap<String, String>,
}

/// A change of one configuration value: a new one, or none for the cluster's default.
pub type ConfigChange = (String, Option<String>);

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

/// Whether the cluster that answered is the one that was meant: somebody else's Service may have its name.
fn check_cluster(found: Option<&str>, wanted: &str) -> Result<(), KafkaError> {
    match found {
        Some(found) if found == wanted => Ok(()),
        found => {
            let (found, wanted) = (found.unwrap_or("without an id").to_owned(), wanted.to_owned());
            Err(KafkaError::OtherCluster { found, wanted })
        }
    }
}

/// An id in Kafka's form.
#[must_use]
pub fn uuid_text(id: &Uuid) -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// The id that a text of Kafka's form names.
#[must_use]
pub fn uuid_of(text: &str) -> Option<Uuid> {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    Uuid::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// A connection to a cluster.
pub struct Kafka(Admin);

impl Kafka {
    /// Connects by the cluster's bootstrap Service.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn connect(bootstrap: &str, namespace: &str) -> Result<Self, KafkaError> {
        let options = Options {
            client_id: crate::names::FIELD_MANAGER.to_owned(),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(20),
            ..Options::default()
        };
        let address = HostPort::new(format!("{bootstrap}.{namespace}.svc"), PORT_CLIENT);
        Ok(Self(Admin::connect(&[address], options).await?))
    }

    /// Asks for the state of the quorum.
    ///
    /// # Errors
    /// When nobody can tell.
    pub async fn quorum(&self) -> Result<QuorumFacts, KafkaError> {
        let partition = describe_quorum_request::PartitionData::default().with_partition_index(0);
        let topic = describe_quorum_request::TopicData::default()
            .with_topic_name(name("__cluster_metadata"))
            .with_partitions(vec![partition]);
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

    /// Describes topics of the cluster with this id. One that does not exist is absent from the answers.
    ///
    /// # Errors
    /// When the cluster does not answer, or another one does: its topics must not be touched.
    pub async fn topics(
        &self,
        names: &[String],
        cluster_id: &str,
    ) -> Result<Answers<TopicFacts>, KafkaError> {
        let mut found = Answers::new();
        for batch in names.chunks(BATCH_MAX) {
            let asked = batch
                .iter()
                .map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))))
                .collect();
            let request =
                MetadataRequest::default().with_topics(Some(asked)).with_allow_auto_topic_creation(false);
            let response = self.0.request(request).await?;
            check_cluster(response.cluster_id.as_deref(), cluster_id)?;
            for topic in response.topics {
                let Some(topic_name) = topic.name.map(|name| name.0.to_string()) else { continue };
                match answer(topic.error_code, None) {
                    Err(Answer { error: ResponseError::UnknownTopicOrPartition, .. }) => {}
                    Err(refused) => {
                        found.insert(topic_name, Err(refused));
                    }
                    Ok(()) => {
                        let replicas = topic.partitions.first().map_or(0, |first| first.replica_nodes.len());
                        let facts = TopicFacts {
                            id: topic.topic_id,
                            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                            replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
                            config: BTreeMap::new(),
                        };
                        found.insert(topic_name, Ok(facts));
                    }
                }
            }
        }
        self.fill_in_config(&mut found).await?;
        Ok(found)
    }

    async fn fill_in_config(&self, found: &mut Answers<TopicFacts>) -> Result<(), KafkaError> {
        let names: Vec<String> =
            found.iter().filter(|(_, facts)| facts.is_ok()).map(|(name, _)| name.clone()).collect();
        for batch in names.chunks(BATCH_MAX) {
            let resources = batch
                .iter()
                .map(|topic| {
                    DescribeConfigsResource::default()
                        .with_resource_type(RESOURCE_TOPIC)
                        .with_resource_name(text(topic))
                })
                .collect();
            let request = DescribeConfigsRequest::default().with_resources(resources);
            for result in self.0.request(request).await?.results {
                let topic = result.resource_name.to_string();
                match answer(result.error_code, result.error_message) {
                    // Deleted since it was listed: absent, as if it had not been listed.
                    Err(Answer { error: ResponseError::UnknownTopicOrPartition, .. }) => {
                        found.remove(&topic);
                    }
                    Err(refused) => {
                        found.insert(topic, Err(refused));
                    }
                    Ok(()) => {
                        let own =
                            result.configs.into_iter().filter(|entry| entry.config_source == SOURCE_TOPIC);
                        let config = own
                            .filter_map(|entry| Some((entry.name.to_string(), entry.value?.to_string())))
                            .collect();
                        if let Some(Ok(facts)) = found.get_mut(&topic) {
                            facts.config = config;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Creates topics.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<Answers<TopicFacts>, KafkaError> {
        let mut answers = Answers::new();
        for batch in topics.chunks(BATCH_MAX) {
            let topics = batch
                .iter()
                .map(|topic| {
                    let config = |(key, value): (&String, &String)| {
                        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
                    };
                    CreatableTopic::default()
                        .with_name(name(&topic.name))
                        .with_num_partitions(topic.partitions)
                        .with_replication_factor(topic.replicas.unwrap_or(-1))
                        .with_configs(topic.config.iter().map(config).collect())
                })
                .collect();
            let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(timeout_ms());
            for topic in self.0.request(request).await?.topics {
                let name = topic.name.0.to_string();
                let config =
                    batch.iter().find(|wanted| wanted.name == name).map(|wanted| wanted.config.clone());
                let facts = TopicFacts {
                    id: topic.topic_id,
                    partitions: topic.num_partitions,
                    replicas: i32::from(topic.replication_factor),
                    config: config.unwrap_or_default(),
                };
                answers.insert(name, answer(topic.error_code, topic.error_message).map(|()| facts));
            }
        }
        Ok(answers)
    }

    /// Asks the controller whether names are free, without making anything.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn are_free(&self, names: &[String]) -> Result<Answers<()>, KafkaError> {
        let mut answers = Answers::new();
        for batch in names.chunks(BATCH_MAX) {
            let topic = |topic: &String| {
                CreatableTopic::default()
                    .with_name(name(topic))
                    .with_num_partitions(1)
                    .with_replication_factor(1)
            };
            let request = CreateTopicsRequest::default()
                .with_topics(batch.iter().map(topic).collect())
                .with_validate_only(true)
                .with_timeout_ms(timeout_ms());
            for topic in self.0.request(request).await?.topics {
                let answer = answer(topic.error_code, topic.error_message);
                answers.insert(topic.name.0.to_string(), answer);
            }
        }
        Ok(answers)
    }

    /// Raises topics to a number of partitions.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn raise_partitions(&self, topics: &[(String, i32)]) -> Result<Answers<()>, KafkaError> {
        let mut answers = Answers::new();
        for batch in topics.chunks(BATCH_MAX) {
            let topics = batch
                .iter()
                .map(|(topic, count)| {
                    CreatePartitionsTopic::default()
                        .with_name(name(topic))
                        .with_count(*count)
                        .with_assignments(None)
                })
                .collect();
            let request =
                CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(timeout_ms());
            for result in self.0.request(request).await?.results {
                answers.insert(result.name.0.to_string(), answer(result.error_code, result.error_message));
            }
        }
        Ok(answers)
    }

    /// Changes the configuration of topics.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn change_config(
        &self,
        topics: &[(String, Vec<ConfigChange>)],
    ) -> Result<Answers<()>, KafkaError> {
        let mut answers = Answers::new();
        for batch in topics.chunks(BATCH_MAX) {
            let resources = batch
                .iter()
                .map(|(topic, changes)| {
                    let change = |(key, value): &ConfigChange| {
                        AlterableConfig::default()
                            .with_name(text(key))
                            .with_config_operation(if value.is_some() { SET } else { DELETE })
                            .with_value(value.as_deref().map(text))
                    };
                    AlterConfigsResource::default()
                        .with_resource_type(RESOURCE_TOPIC)
                        .with_resource_name(text(topic))
                        .with_configs(changes.iter().map(change).collect())
                })
                .collect();
            let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
            for result in self.0.request(request).await?.responses {
                let outcome = answer(result.error_code, result.error_message);
                answers.insert(result.resource_name.to_string(), outcome);
            }
        }
        Ok(answers)
    }

    /// Deletes topics by their ids, so that one that took the name of another is never meant.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn delete_topics(
        &self,
        ids: &[Uuid],
    ) -> Result<BTreeMap<Uuid, Result<(), Answer>>, KafkaError> {
        let mut answers = BTreeMap::new();
        for batch in ids.chunks(BATCH_MAX) {
            let topics = batch
                .iter()
                .map(|id| DeleteTopicState::default().with_name(None).with_topic_id(*id))
                .collect();
            let request = DeleteTopicsRequest::default().with_topics(topics).with_timeout_ms(timeout_ms());
            for result in self.0.request(request).await?.responses {
                answers.insert(result.topic_id, answer(result.error_code, result.error_message));
            }
        }
        Ok(answers)
    }
}

fn timeout_ms() -> i32 {
    i32::try_from(CHANGE_TIMEOUT.as_millis()).unwrap_or(i32::MAX)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
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

    #[test]
    fn the_topics_of_another_cluster_are_not_looked_at() {
        assert!(check_cluster(Some("ours"), "ours").is_ok());
        let error = check_cluster(Some("theirs"), "ours").unwrap_err().to_string();
        assert_eq!(error, "its address leads to cluster theirs, and its own id is ours");
        assert!(check_cluster(None, "ours").is_err());
    }
}
