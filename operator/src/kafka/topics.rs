//! Topics: described, created, changed and deleted, many in one request.

use std::{collections::BTreeMap, time::Duration};

use ottla_wire::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
        IncrementalAlterConfigsRequest, MetadataRequest,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        incremental_alter_configs_request::AlterConfigsResource,
        metadata_request::MetadataRequestTopic,
    },
};
use uuid::Uuid;

use super::{
    Answer, Answers, Kafka, KafkaError, PartitionFacts, answer, configs, name, reassignments::Ongoing, text,
};

/// The resource type of a topic in config requests.
const RESOURCE_TOPIC: i8 = 2;
/// The source of a value that was set on the topic itself.
const SOURCE_TOPIC: i8 = 1;
/// Topics in one request: it keeps a response of full configurations well below the client's limit.
pub const BATCH_MAX: usize = 200;
/// How long the cluster may take over a change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(15);

/// A topic as the cluster has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicFacts {
    /// Its id.
    pub id: Uuid,
    /// How many partitions.
    pub partitions: i32,
    /// Its replication factor: the lowest of its partitions, without replicas that are still being added.
    pub replicas: i32,
    /// The values that are set on the topic itself.
    pub config: BTreeMap<String, String>,
    /// Its partitions; empty in what is said of a topic that was created just now.
    pub layout: Vec<PartitionFacts>,
}

impl TopicFacts {
    /// Whether every partition has this replication factor.
    #[must_use]
    pub fn has_replicas(&self, wanted: i16) -> bool {
        self.replicas == i32::from(wanted)
            && self.layout.iter().all(|partition| usize::try_from(wanted) == Ok(partition.replicas_now()))
    }
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

impl Kafka {
    /// Describes topics of the cluster with this id, as a broker knows them: without moves. One that does not exist is
    /// absent from the answers.
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
                        let mut layout: Vec<_> = topic.partitions.iter().map(PartitionFacts::of).collect();
                        layout.sort_by_key(|partition| partition.index);
                        let facts = TopicFacts {
                            id: topic.topic_id,
                            partitions: i32::try_from(layout.len()).unwrap_or(i32::MAX),
                            replicas: least_replicas(&layout),
                            config: BTreeMap::new(),
                            layout,
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

    /// Adds what the active controller knows of moves. It is asked after the brokers, which know less: a move that ended in
    /// between is over. Gives the moves of all other partitions of the cluster.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses.
    pub async fn add_moves(
        &self,
        found: &mut Answers<TopicFacts>,
    ) -> Result<Vec<PartitionFacts>, KafkaError> {
        Ok(take_in(found, &self.ongoing().await?))
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
                    layout: Vec::new(),
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
                    let change = |(key, value): &ConfigChange| configs::change(key, value.as_deref());
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

/// Adds moves to what is known of topics. Gives those of other topics, and of partitions that are not known yet.
fn take_in(found: &mut Answers<TopicFacts>, ongoing: &Ongoing) -> Vec<PartitionFacts> {
    let mut elsewhere = Vec::new();
    for (topic, moves) in ongoing {
        let mut facts = found.get_mut(topic).and_then(|facts| facts.as_mut().ok());
        for one in moves {
            let known = facts.as_mut().and_then(|facts| {
                let at = facts.layout.binary_search_by_key(&one.partition_index, |known| known.index);
                at.ok().map(|at| &mut facts.layout[at])
            });
            match known {
                Some(partition) => partition.moves(one),
                None => {
                    let mut partition =
                        PartitionFacts { index: one.partition_index, ..PartitionFacts::default() };
                    partition.moves(one);
                    elsewhere.push(partition);
                }
            }
        }
        if let Some(facts) = facts {
            facts.replicas = least_replicas(&facts.layout);
        }
    }
    elsewhere
}

fn least_replicas(layout: &[PartitionFacts]) -> i32 {
    let least = layout.iter().map(PartitionFacts::replicas_now).min().unwrap_or(0);
    i32::try_from(least).unwrap_or(i32::MAX)
}

fn timeout_ms() -> i32 {
    i32::try_from(CHANGE_TIMEOUT.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use ottla_wire::messages::{
        BrokerId, list_partition_reassignments_response::OngoingPartitionReassignment,
    };

    use super::*;

    #[test]
    fn the_topics_of_another_cluster_are_not_looked_at() {
        assert!(check_cluster(Some("ours"), "ours").is_ok());
        let error = check_cluster(Some("theirs"), "ours").unwrap_err().to_string();
        assert_eq!(error, "its address leads to cluster theirs, and its own id is ours");
        assert!(check_cluster(None, "ours").is_err());
    }

    #[test]
    fn the_moves_of_topics_that_nobody_asked_about_are_given_too() {
        let brokers = |ids: &[i32]| ids.iter().map(|id| BrokerId(*id)).collect::<Vec<_>>();
        let to_broker_1 = |partition| {
            OngoingPartitionReassignment::default()
                .with_partition_index(partition)
                .with_replicas(brokers(&[0, 1]))
                .with_adding_replicas(brokers(&[1]))
        };
        let layout = (0..2).map(|index| PartitionFacts { index, ..PartitionFacts::default() }).collect();
        let config = BTreeMap::new();
        let facts = TopicFacts { id: Uuid::nil(), partitions: 2, replicas: 0, config, layout };
        let mut found = Answers::from([("declared".to_owned(), Ok(facts))]);
        let ongoing = Ongoing::from([
            // A broker that lags behind does not know partition 2 yet.
            ("declared".to_owned(), vec![to_broker_1(1), to_broker_1(2)]),
            ("other".to_owned(), vec![to_broker_1(0), to_broker_1(7)]),
        ]);
        let elsewhere = take_in(&mut found, &ongoing);
        assert_eq!(elsewhere.iter().map(|one| one.index).collect::<Vec<_>>(), [2, 0, 7]);
        assert!(elsewhere.iter().all(PartitionFacts::is_moving));
        let facts = found["declared"].as_ref().unwrap();
        let moving: Vec<bool> = facts.layout.iter().map(PartitionFacts::is_moving).collect();
        assert_eq!(moving, [false, true]);
    }
}
