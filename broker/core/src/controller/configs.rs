//! Changing dynamic configuration (rule 17 of the protocol).

use super::error::OperationError;
use super::operation::{IncrementalAlterConfigs, Reply};
use super::repeated::repeated;
use super::state::{ControllerConfig, Outcome, State};
use crate::config::{AlterScope, Alteration, alter};
use crate::metadata::image::ConfigResource;
use crate::metadata::record::{ConfigRecord, Record};

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
        if request.validate_only {
            records.clear();
        }
        Outcome { records, reply: Reply::IncrementalAlterConfigs(results) }
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
        let current = self.image.configs.get(resource).cloned().unwrap_or_default();
        let changes = alter(scope, &current, &config.layers(&self.image), alterations)
            .map_err(|error| OperationError::InvalidConfig(error.to_string()))?;
        let record = |key: &'static str, value| {
            Record::Config(ConfigRecord { resource: resource.clone(), name: key.to_owned(), value })
        };
        Ok(changes.into_iter().map(|change| record(change.key, change.value)).collect())
    }
}
