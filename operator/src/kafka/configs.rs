//! Configuration that is set while brokers run: that of all of them together, and how any is written.

use ottla_wire::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    describe_configs_request::DescribeConfigsResource,
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
};

use super::{Kafka, KafkaError, answer, text};

/// The resource type of brokers in config requests; the empty name is all of them.
const RESOURCE_BROKER: i8 = 4;
/// Operations of `IncrementalAlterConfigs`.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// A value to be set for a key, or none to take it away.
pub(super) fn change(key: &str, value: Option<&str>) -> AlterableConfig {
    AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(if value.is_some() { SET } else { DELETE })
        .with_value(value.map(text))
}

impl Kafka {
    /// The value of a key that is set for all brokers; none if it is not set there.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses.
    pub async fn config_of_all_brokers(&self, key: &str) -> Result<Option<String>, KafkaError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(RESOURCE_BROKER)
            .with_configuration_keys(Some(vec![text(key)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let Some(result) = self.0.request(request).await?.results.into_iter().next() else { return Ok(None) };
        let refused =
            |answer| KafkaError::Refused { what: "describe the configuration of all brokers", answer };
        answer(result.error_code, result.error_message).map_err(refused)?;
        let entry = result.configs.into_iter().find(|entry| *entry.name == *key);
        Ok(entry.and_then(|entry| entry.value).map(|value| value.to_string()))
    }

    /// Sets a key for all brokers, while they run, or takes back what was set.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses.
    pub async fn set_for_all_brokers(&self, key: &str, value: Option<&str>) -> Result<(), KafkaError> {
        let resource = AlterConfigsResource::default()
            .with_resource_type(RESOURCE_BROKER)
            .with_configs(vec![change(key, value)]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let refused =
            |answer| KafkaError::Refused { what: "change the configuration of all brokers", answer };
        let mut responses = self.0.request(request).await?.responses.into_iter();
        responses.try_for_each(|result| answer(result.error_code, result.error_message).map_err(refused))
    }
}
