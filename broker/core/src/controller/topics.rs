//! Making and removing topics, and adding partitions (rules 14 to 16 of the protocol).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::draft::Draft;
use super::error::OperationError;
use super::operation::{
    CreatePartitions, CreateTopics, CreatedTopic, DeleteTopics, DeletedTopic, MorePartitions, NewTopic,
    Reply, TopicReference,
};
use super::repeated::repeated;
use super::state::{ControllerConfig, Outcome, State};
use crate::config::TopicConfig;
use crate::ids::{NodeId, PartitionIndex, TopicId, TopicName};
use crate::metadata::image::{ConfigResource, Fencing, Image};
use crate::metadata::record::{ConfigRecord, Record, RemoveTopic, TopicRecord};

/// Partitions that one request may make, as in Kafka: one request is one entry of the metadata log. Nor may it
/// name more topics, since each makes a partition at least.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Ids below this are reserved (KIP-516).
const TOPIC_ID_MIN: u128 = 100;

impl State {
    /// CreateTopics.
    pub(super) fn create_topics(&self, config: &ControllerConfig, request: &CreateTopics) -> Outcome {
        if let Err(error) = limit_partitions(request.topics.len()) {
            let results = request.topics.iter().map(|_| Err(error.clone())).collect();
            return Outcome { records: Vec::new(), reply: Reply::CreateTopics(results) };
        }
        // Later topics of the request see earlier ones, so that names collide and leaders are spread.
        let mut draft = Draft::of(&self.image);
        let mut records = Vec::new();
        let mut partitions = 0;
        let mut results = Vec::new();
        let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
        for topic in &request.topics {
            let result = named_once(&repeated, &topic.name)
                .and_then(|()| create_topic(&mut draft, config, topic, partitions));
            results.push(result.map(|(made, created)| {
                partitions += usize::try_from(created.partitions).unwrap_or(usize::MAX);
                draft.add(&made);
                records.extend(made);
                if request.validate_only {
                    CreatedTopic { id: TopicId::default(), ..created }
                } else {
                    created
                }
            }));
        }
        if request.validate_only {
            records.clear();
        }
        Outcome { records, reply: Reply::CreateTopics(results) }
    }

    /// DeleteTopics.
    pub(super) fn delete_topics(&self, config: &ControllerConfig, request: &DeleteTopics) -> Outcome {
        let mut image = self.image.clone();
        let mut records = Vec::new();
        let mut results = Vec::new();
        for reference in &request.topics {
            let result = if config.delete_topics {
                find(&image, reference)
            } else {
                Err(OperationError::TopicDeletionDisabled)
            };
            results.push(result.inspect(|deleted| {
                let removal = Record::RemoveTopic(RemoveTopic { id: deleted.id });
                image.replay(image.offset, &removal).expect("the topic was just found");
                records.push(removal);
            }));
        }
        Outcome { records, reply: Reply::DeleteTopics(results) }
    }

    /// CreatePartitions.
    pub(super) fn create_partitions(&self, request: &CreatePartitions) -> Outcome {
        if let Err(error) = limit_partitions(request.topics.len()) {
            let results = request.topics.iter().map(|_| Err(error.clone())).collect();
            return Outcome { records: Vec::new(), reply: Reply::CreatePartitions(results) };
        }
        let mut draft = Draft::of(&self.image);
        let mut records: Vec<Record> = Vec::new();
        let mut results = Vec::new();
        let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
        for topic in &request.topics {
            let result = named_once(&repeated, &topic.name)
                .and_then(|()| more_partitions(&mut draft, topic, records.len()));
            results.push(result.map(|made| {
                draft.add(&made);
                records.extend(made);
            }));
        }
        if request.validate_only {
            records.clear();
        }
        Outcome { records, reply: Reply::CreatePartitions(results) }
    }
}

/// Refuses a topic that a request names more than once.
fn named_once(repeated: &BTreeSet<&String>, name: &String) -> Result<(), OperationError> {
    if repeated.contains(name) {
        return Err(OperationError::InvalidRequest(format!("topic \"{name}\" is in the request twice")));
    }
    Ok(())
}

fn limit_partitions(count: usize) -> Result<(), OperationError> {
    if count <= PARTITIONS_PER_REQUEST_MAX {
        return Ok(());
    }
    Err(OperationError::PolicyViolation(format!(
        "one request may make at most {PARTITIONS_PER_REQUEST_MAX} partitions"
    )))
}

/// The records of a new topic, in a request that makes `partitions_before` partitions before it.
fn create_topic(
    draft: &mut Draft,
    config: &ControllerConfig,
    topic: &NewTopic,
    partitions_before: usize,
) -> Result<(Vec<Record>, CreatedTopic), OperationError> {
    let name =
        TopicName::parse(&topic.name).map_err(|error| OperationError::InvalidTopic(error.to_string()))?;
    check_name(draft, &name)?;
    if topic.id.0.as_u128() < TOPIC_ID_MIN || draft.image().topics.contains_key(&topic.id) {
        return Err(OperationError::InvalidRequest(format!("topic id {} cannot be given", topic.id)));
    }
    let replicas = if topic.assignments.is_empty() {
        let count = new_partition_count(config, topic.partitions)?;
        let factor = replication_factor(config, topic.replication_factor)?;
        limit_partitions(partitions_before + count)?;
        draft.place(None, count, factor)?
    } else {
        limit_partitions(partitions_before + topic.assignments.len())?;
        manual_assignment(draft.image(), topic)?
    };
    let settings = check_configs(draft.image(), config, topic)?;
    let created = CreatedTopic {
        id: topic.id,
        partitions: i32::try_from(replicas.len()).unwrap_or(i32::MAX),
        replication_factor: replicas
            .first()
            .map_or(0, |first| i16::try_from(first.len()).unwrap_or(i16::MAX)),
    };
    let mut records = vec![Record::Topic(TopicRecord { id: topic.id, name: name.clone() })];
    records.extend(settings.into_iter().map(|(key, value)| {
        Record::Config(ConfigRecord {
            resource: ConfigResource::Topic(name.clone()),
            name: key,
            value: Some(value),
        })
    }));
    records.extend(draft.partitions(topic.id, 0, replicas));
    Ok((records, created))
}

fn check_name(draft: &mut Draft, name: &TopicName) -> Result<(), OperationError> {
    if draft.image().topic_ids.contains_key(name) {
        return Err(OperationError::TopicAlreadyExists(name.to_string()));
    }
    if let Some(other) = draft.collides(name) {
        return Err(OperationError::InvalidTopic(format!(
            "topic \"{name}\" collides with the existing topic \"{other}\": they differ only in '.' and '_'"
        )));
    }
    Ok(())
}

fn new_partition_count(config: &ControllerConfig, asked: i32) -> Result<usize, OperationError> {
    let count = if asked == -1 { config.num_partitions } else { asked };
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| {
        OperationError::InvalidPartitions(format!("number of partitions {asked} is not positive"))
    })?;
    Ok(count)
}

fn replication_factor(config: &ControllerConfig, asked: i16) -> Result<usize, OperationError> {
    let factor = if asked == -1 { config.default_replication_factor } else { asked };
    let factor = usize::try_from(factor).ok().filter(|factor| *factor > 0);
    let factor = factor.ok_or_else(|| {
        OperationError::InvalidReplicationFactor(format!("replication factor {asked} is not positive"))
    })?;
    Ok(factor)
}

fn manual_assignment(image: &Image, topic: &NewTopic) -> Result<Vec<Vec<NodeId>>, OperationError> {
    if topic.partitions != -1 || topic.replication_factor != -1 {
        return Err(OperationError::InvalidRequest(
            "a manual assignment demands that the number of partitions and the replication factor are -1"
                .to_owned(),
        ));
    }
    let by_index: BTreeMap<PartitionIndex, &Vec<NodeId>> =
        topic.assignments.iter().map(|(index, replicas)| (*index, replicas)).collect();
    let consecutive = (0..).zip(by_index.keys()).all(|(expected, index)| index.0 == expected);
    if by_index.len() != topic.assignments.len() || !consecutive {
        return Err(OperationError::InvalidReplicaAssignment(
            "the partitions of a manual assignment must be 0, 1, 2, … each once".to_owned(),
        ));
    }
    let lists: Vec<Vec<NodeId>> = by_index.into_values().cloned().collect();
    check_assignment(image, &lists, lists.first().map_or(0, Vec::len))?;
    Ok(lists)
}

/// Checks an assignment of so many replicas each.
fn check_assignment(image: &Image, lists: &[Vec<NodeId>], factor: usize) -> Result<(), OperationError> {
    let refuse = |text: String| Err(OperationError::InvalidReplicaAssignment(text));
    for (index, replicas) in lists.iter().enumerate() {
        if replicas.is_empty() {
            return refuse(format!("the manual assignment of partition {index} is empty"));
        }
        if replicas.len() != factor {
            return refuse(format!(
                "the manual assignment of partition {index} has {} replicas, but all partitions must have the same number, {factor}",
                replicas.len()
            ));
        }
        for (position, id) in replicas.iter().enumerate() {
            if replicas[..position].contains(id) {
                return refuse(format!("the manual assignment of partition {index} names broker {id} twice"));
            }
            if !image.brokers.contains_key(id) {
                return refuse(format!(
                    "the manual assignment of partition {index} names broker {id}, which is not registered"
                ));
            }
        }
        let live =
            |id: &NodeId| image.brokers.get(id).is_some_and(|broker| broker.fencing == Fencing::Unfenced);
        if !replicas.iter().any(live) {
            return refuse(format!(
                "all brokers in the manual assignment of partition {index} are fenced or shutting down"
            ));
        }
    }
    Ok(())
}

fn check_configs(
    image: &Image,
    config: &ControllerConfig,
    topic: &NewTopic,
) -> Result<BTreeMap<String, String>, OperationError> {
    let mut settings = BTreeMap::new();
    for (key, value) in &topic.configs {
        let value = value
            .as_ref()
            .ok_or_else(|| OperationError::InvalidConfig(format!("topic config \"{key}\" has no value")))?;
        if settings.insert(key.clone(), value.clone()).is_some() {
            return Err(OperationError::InvalidRequest(format!(
                "topic config \"{key}\" is in the request twice"
            )));
        }
    }
    let overrides = settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    TopicConfig::validate(&overrides, &config.layers(image))
        .map_err(|error| OperationError::InvalidConfig(error.to_string()))?;
    Ok(settings)
}

fn find(image: &Image, reference: &TopicReference) -> Result<DeletedTopic, OperationError> {
    let topic = match reference {
        TopicReference::Name(name) => TopicName::parse(name)
            .ok()
            .and_then(|name| image.topic(&name))
            .ok_or_else(|| OperationError::UnknownTopic(name.clone()))?,
        TopicReference::Id(id) => {
            image.topics.get(id).ok_or_else(|| OperationError::UnknownTopicId(id.to_string()))?
        }
    };
    Ok(DeletedTopic { id: topic.id, name: topic.name.clone() })
}

/// The records of partitions added, in a request that makes `partitions_before` partitions before them.
fn more_partitions(
    draft: &mut Draft,
    request: &MorePartitions,
    partitions_before: usize,
) -> Result<Vec<Record>, OperationError> {
    let unknown = || OperationError::UnknownTopic(request.name.clone());
    let name = TopicName::parse(&request.name).map_err(|_| unknown())?;
    let topic = Arc::clone(draft.image().topic(&name).ok_or_else(unknown)?);
    let present = topic.partitions.len();
    let refuse = |text: String| Err(OperationError::InvalidPartitions(text));
    let Some(count) = usize::try_from(request.count).ok().filter(|count| *count > 0) else {
        return refuse(format!("number of partitions {} is not positive", request.count));
    };
    if count < present {
        return refuse(format!("topic \"{name}\" has {present} partitions, which cannot become {count}"));
    }
    if count == present {
        return refuse(format!("topic \"{name}\" has {present} partitions already"));
    }
    let added = count - present;
    limit_partitions(partitions_before + added)?;
    let factor = topic.partitions.get(&PartitionIndex(0)).map_or(1, |first| first.target_replicas().count());
    let replicas = match &request.assignments {
        None => draft.place(Some(&topic), added, factor)?,
        Some(lists) if lists.len() != added => {
            return Err(OperationError::InvalidReplicaAssignment(format!(
                "{added} partitions are added, but {} are assigned",
                lists.len()
            )));
        }
        Some(lists) => {
            check_assignment(draft.image(), lists, factor)?;
            lists.clone()
        }
    };
    let first = i32::try_from(present).unwrap_or(i32::MAX);
    Ok(draft.partitions(topic.id, first, replicas))
}
