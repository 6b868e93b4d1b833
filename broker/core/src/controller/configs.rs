//! Changing dynamic configuration (rule 17 of the protocol).

use super::error::OperationError;
use super::operation::{IncrementalAlterConfigs, Reply};
use super::partitions::Partitions;
use super::repeated::repeated;
use super::state::{ControllerConfig, Outcome, State};
use crate::config::{AlterOp, AlterScope, Alteration, alter};
use crate::metadata::image::ConfigResource;
use crate::metadata::record::{ConfigRecord, PartitionChange, Record};

/// On topics and on brokers alike.
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const UNCLEAN_ELECTIONS: &str = "unclean.leader.election.enable";

impl State {
    /// IncrementalAlterConfigs. Each resource changes wholly or not at all.
    pub(super) fn incremental_alter_configs(
        &self,
        config: &ControllerConfig,
        request: &IncrementalAlterConfigs,
    ) -> Outcome {
        let mut records = Vec::new();
        let mut results = Vec::new();
        let repeated = repeated(request.resources.iter().map(|(resource, _)| resource));
        for (resource, alterations) in &request.resources {
            let result = if repeated.contains(resource) {
                Err(OperationError::InvalidRequest("a resource is in the request twice".to_owned()))
            } else {
                self.alter_resource(config, resource, alterations)
            };
            results.push(result.map(|made| records.extend(made)));
        }
        records.extend(self.partitions_follow(config, &records));
        if request.validate_only {
            records.clear();
        }
        Outcome { records, reply: Reply::IncrementalAlterConfigs(results) }
    }

    /// What partitions make of configuration that changes.
    fn partitions_follow(&self, config: &ControllerConfig, configs: &[Record]) -> Vec<Record> {
        let changed = |key| configs.iter().any(|record| changes(record, key));
        let mut after = self.image.clone();
        for record in configs {
            after.replay(after.offset, record).expect("a configuration contradicts nothing");
        }
        let mut records = Vec::new();
        if changed(MIN_INSYNC_REPLICAS) {
            let of = |image| Partitions::of(image, config, &self.damaged);
            let (before, after) = (of(&self.image), of(&after));
            records.extend(self.forget_eligible(&before, &after));
        }
        if changed(UNCLEAN_ELECTIONS) {
            records.extend(Partitions::of(&after, config, &self.damaged).elect_leaders());
        }
        records
    }

    /// What ends the eligibility of replicas whose topics get another `min.insync.replicas`: they hold everything only
    /// as long as their leader commits nothing without them, which it may now do. Where nobody leads, nobody does.
    fn forget_eligible(&self, before: &Partitions<'_>, after: &Partitions<'_>) -> Vec<Record> {
        let rules = |partitions: &Partitions<'_>, topic| partitions.rules(topic).min_insync_replicas;
        let mut records = Vec::new();
        for topic in self.image.topics.values() {
            if rules(before, topic) == rules(after, topic) {
                continue;
            }
            for (index, partition) in &topic.partitions {
                if partition.leader.is_some() && !partition.elr.is_empty() {
                    records.push(Record::PartitionChange(PartitionChange {
                        topic_id: topic.id,
                        index: *index,
                        elr: Some(Vec::new()),
                        ..PartitionChange::default()
                    }));
                }
            }
        }
        records
    }

    fn alter_resource(
        &self,
        config: &ControllerConfig,
        resource: &ConfigResource,
        alterations: &[Alteration],
    ) -> Result<Vec<Record>, OperationError> {
        let scope = match resource {
            ConfigResource::Topic(name) => {
                self.image.topic(name).ok_or_else(|| OperationError::UnknownTopic(name.to_string()))?;
                AlterScope::Topic
            }
            ConfigResource::Broker(id) if id.0 < 0 => {
                return Err(OperationError::InvalidRequest(format!("broker id {id} is negative")));
            }
            // What is set for a broker that never was would stay for ever. What is left of one may be taken away.
            ConfigResource::Broker(id)
                if !self.image.brokers.contains_key(id) && !self.image.configs.contains_key(resource) =>
            {
                return Err(OperationError::BrokerIdNotRegistered(*id));
            }
            ConfigResource::Broker(_) => AlterScope::Broker,
            ConfigResource::BrokerDefault => AlterScope::Cluster,
        };
        refuse_for_one_broker(resource, alterations)?;
        let current = self.image.configs.get(resource).cloned().unwrap_or_default();
        let changes = alter(scope, &current, &config.layers(&self.image), alterations)
            .map_err(|error| OperationError::InvalidConfig(error.to_string()))?;
        let record = |key: &'static str, value| {
            Record::Config(ConfigRecord { resource: resource.clone(), name: key.to_owned(), value })
        };
        Ok(changes.into_iter().map(|change| record(change.key, change.value)).collect())
    }
}

fn changes(record: &Record, key: &str) -> bool {
    matches!(record, Record::Config(ConfigRecord { name, .. }) if name == key)
}

/// The controller decides by it who is eligible to lead, so that a partition's brokers must not each have their own
/// (KIP-966). What an older release stored may be taken away.
fn refuse_for_one_broker(
    resource: &ConfigResource,
    alterations: &[Alteration],
) -> Result<(), OperationError> {
    let sets =
        |alteration: &Alteration| alteration.key == MIN_INSYNC_REPLICAS && alteration.op != AlterOp::Delete;
    match resource {
        ConfigResource::Broker(id) if alterations.iter().any(sets) => {
            Err(OperationError::InvalidConfig(format!(
                "{MIN_INSYNC_REPLICAS} cannot be set on broker {id} alone: set it on all brokers or on a topic"
            )))
        }
        ConfigResource::Broker(_) | ConfigResource::BrokerDefault | ConfigResource::Topic(_) => Ok(()),
    }
}
