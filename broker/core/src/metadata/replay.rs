//! What each record does to an image: the only code that changes one.
//!
//! A record that contradicts the image (a change of a topic that is not there) can only come from a bug in the
//! controller that wrote it or from a damaged log. It is an error, and the node that meets it must stop: an
//! image that skipped a record is no longer the cluster's.

use std::sync::Arc;

use imbl::OrdMap;

use super::image::{Broker, Image, Partition, Topic};
use super::record::{
    BrokerRegistrationChange, ConfigRecord, FeatureLevel, LeaderChange, PartitionChange, PartitionRecord,
    ProducerIds, Record, RegisterBroker, RemoveTopic, TopicRecord, UnregisterBroker, Voters,
};
use crate::ids::{BrokerEpoch, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch, ProducerId, Term};
use crate::metadata::image::{ConfigResource, Voter};

/// A record that contradicts the image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata entry {offset} contradicts what came before: {problem}")]
pub struct ReplayError {
    /// The offset of its entry.
    pub offset: MetadataOffset,
    /// What is wrong.
    pub problem: String,
}

impl Image {
    /// Applies one entry, whole. On an error the image must be thrown away.
    pub fn replay_entry(
        &mut self,
        offset: MetadataOffset,
        term: Term,
        records: &[Record],
    ) -> Result<(), ReplayError> {
        for record in records {
            self.replay(offset, record)?;
        }
        self.offset = offset;
        self.term = term;
        Ok(())
    }

    /// Applies one record of the entry at `offset`.
    pub fn replay(&mut self, offset: MetadataOffset, record: &Record) -> Result<(), ReplayError> {
        let result = match record {
            Record::RegisterBroker(record) => self.register_broker(offset, record),
            Record::UnregisterBroker(record) => self.unregister_broker(record),
            Record::Topic(record) => self.topic_record(record),
            Record::Partition(record) => self.partition_record(record),
            Record::Config(record) => {
                self.config(record);
                Ok(())
            }
            Record::PartitionChange(record) => self.partition_change(record),
            Record::RemoveTopic(record) => self.remove_topic(record),
            Record::FeatureLevel(FeatureLevel { name, level }) => {
                match level {
                    0 => self.features.remove(name),
                    level => self.features.insert(name.clone(), *level),
                };
                Ok(())
            }
            Record::ProducerIds(record) => self.producer_ids(*record),
            Record::BrokerRegistrationChange(record) => self.broker_registration_change(record),
            Record::NoOp => Ok(()),
            Record::ClusterId(id) => {
                self.cluster_id = *id;
                Ok(())
            }
            Record::Voters(Voters { voters, learners, observers }) => {
                self.voters = by_node(voters);
                self.learners = by_node(learners);
                self.observers = observers.iter().copied().collect();
                Ok(())
            }
        };
        result.map_err(|problem| ReplayError { offset, problem })
    }

    /// Everything in this image as records, in an order in which they can be replayed: a snapshot.
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = vec![
            Record::ClusterId(self.cluster_id),
            Record::Voters(Voters {
                voters: list(&self.voters),
                learners: list(&self.learners),
                observers: self.observers.iter().copied().collect(),
            }),
        ];
        records.extend(
            self.features.iter().map(|(name, level)| {
                Record::FeatureLevel(FeatureLevel { name: name.clone(), level: *level })
            }),
        );
        records.extend(self.brokers.values().map(|broker| {
            Record::RegisterBroker(RegisterBroker {
                node_id: broker.node_id,
                incarnation_id: broker.incarnation_id,
                endpoints: broker.endpoints.clone(),
                rack: broker.rack.clone(),
                directories: broker.directories.clone(),
                features: broker.features.clone(),
                fencing: broker.fencing,
                epoch: Some(broker.epoch),
                offline_directories: broker.offline_directories.clone(),
            })
        }));
        if self.next_producer_id > ProducerId(0) {
            let (node_id, epoch) = (NodeId(-1), BrokerEpoch(-1));
            records.push(Record::ProducerIds(ProducerIds { node_id, epoch, next: self.next_producer_id }));
        }
        for topic in self.topics.values() {
            records.push(Record::Topic(TopicRecord { id: topic.id, name: topic.name.clone() }));
            records.extend(topic.partitions.iter().map(|(index, partition)| {
                Record::Partition(PartitionRecord {
                    topic_id: topic.id,
                    index: *index,
                    partition: Partition::clone(partition),
                })
            }));
        }
        for (resource, configs) in &self.configs {
            records.extend(configs.iter().map(|(name, value)| {
                Record::Config(ConfigRecord {
                    resource: resource.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                })
            }));
        }
        records
    }

    fn register_broker(&mut self, offset: MetadataOffset, record: &RegisterBroker) -> Result<(), String> {
        let offset = i64::try_from(offset.0).map_err(|_| "the offset is out of range".to_owned())?;
        let broker = Broker {
            node_id: record.node_id,
            epoch: record.epoch.unwrap_or(BrokerEpoch(offset)),
            incarnation_id: record.incarnation_id,
            endpoints: record.endpoints.clone(),
            rack: record.rack.clone(),
            directories: record.directories.clone(),
            offline_directories: record.offline_directories.clone(),
            features: record.features.clone(),
            fencing: record.fencing,
        };
        self.brokers.insert(record.node_id, Arc::new(broker));
        Ok(())
    }

    fn unregister_broker(&mut self, record: &UnregisterBroker) -> Result<(), String> {
        self.broker_of_epoch(record.node_id, record.epoch)?;
        self.brokers.remove(&record.node_id);
        Ok(())
    }

    fn broker_registration_change(&mut self, record: &BrokerRegistrationChange) -> Result<(), String> {
        let broker = Arc::make_mut(self.broker_of_epoch(record.node_id, record.epoch)?);
        broker.fencing = record.fencing;
        if let Some(offline) = &record.offline_directories {
            broker.offline_directories.clone_from(offline);
        }
        Ok(())
    }

    fn producer_ids(&mut self, record: ProducerIds) -> Result<(), String> {
        if record.next <= self.next_producer_id {
            return Err(format!("producer ids below {} were given out before", self.next_producer_id));
        }
        self.next_producer_id = record.next;
        Ok(())
    }

    fn broker_of_epoch(&mut self, id: NodeId, epoch: BrokerEpoch) -> Result<&mut Arc<Broker>, String> {
        let broker = self.brokers.get_mut(&id).ok_or_else(|| format!("broker {id} is not registered"))?;
        if broker.epoch != epoch {
            return Err(format!("broker {id} has epoch {}, not {epoch}", broker.epoch));
        }
        Ok(broker)
    }

    fn topic_record(&mut self, record: &TopicRecord) -> Result<(), String> {
        if self.topic_ids.contains_key(&record.name) || self.topics.contains_key(&record.id) {
            return Err(format!("topic \"{}\" with id {} exists already", record.name, record.id));
        }
        self.topic_ids.insert(record.name.clone(), record.id);
        let topic = Topic { id: record.id, name: record.name.clone(), partitions: OrdMap::new() };
        self.topics.insert(record.id, Arc::new(topic));
        Ok(())
    }

    fn remove_topic(&mut self, record: &RemoveTopic) -> Result<(), String> {
        let topic =
            self.topics.remove(&record.id).ok_or_else(|| format!("topic {} is not there", record.id))?;
        self.topic_ids.remove(&topic.name);
        self.configs.remove(&ConfigResource::Topic(topic.name.clone()));
        Ok(())
    }

    fn partition_record(&mut self, record: &PartitionRecord) -> Result<(), String> {
        let id = record.topic_id;
        let topic = self.topics.get_mut(&id).ok_or_else(|| format!("topic {id} is not there"))?;
        Arc::make_mut(topic).partitions.insert(record.index, Arc::new(record.partition.clone()));
        Ok(())
    }

    fn partition_change(&mut self, change: &PartitionChange) -> Result<(), String> {
        let id = change.topic_id;
        let topic = self.topics.get_mut(&id).ok_or_else(|| format!("topic {id} is not there"))?;
        let partition = Arc::make_mut(topic)
            .partitions
            .get_mut(&change.index)
            .ok_or_else(|| format!("partition {} of topic {id} is not there", change.index))?;
        Arc::make_mut(partition).change(change);
        Ok(())
    }

    fn config(&mut self, record: &ConfigRecord) {
        let mut configs = self.configs.get(&record.resource).cloned().unwrap_or_default();
        match &record.value {
            Some(value) => configs.insert(record.name.clone(), value.clone()),
            None => configs.remove(&record.name),
        };
        if configs.is_empty() {
            self.configs.remove(&record.resource);
        } else {
            self.configs.insert(record.resource.clone(), configs);
        }
    }
}

impl Partition {
    fn change(&mut self, change: &PartitionChange) {
        fn set<T: Clone>(field: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut self.replicas, change.replicas.as_ref());
        set(&mut self.directories, change.directories.as_ref());
        set(&mut self.isr, change.isr.as_ref());
        set(&mut self.adding, change.adding.as_ref());
        set(&mut self.removing, change.removing.as_ref());
        set(&mut self.elr, change.elr.as_ref());
        set(&mut self.last_known_elr, change.last_known_elr.as_ref());
        set(&mut self.recovery, change.recovery.as_ref());
        let leader = match change.leader {
            LeaderChange::Unchanged => None,
            LeaderChange::Nobody => Some(None),
            LeaderChange::Leader(leader) => Some(Some(leader)),
        };
        if let Some(leader) = leader {
            self.leader = leader;
            self.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        }
        self.partition_epoch = PartitionEpoch(self.partition_epoch.0 + 1);
    }
}

fn by_node(voters: &[Voter]) -> OrdMap<NodeId, Arc<Voter>> {
    voters.iter().map(|voter| (voter.node_id, Arc::new(voter.clone()))).collect()
}

fn list(voters: &OrdMap<NodeId, Arc<Voter>>) -> Vec<Voter> {
    voters.values().map(|voter| Voter::clone(voter)).collect()
}
