//! Configuration that is set while brokers run: that of all of them together, that of one, and how any is written.

use std::time::Duration;

use ottla_client::{Connection, HostPort, Options};
use ottla_wire::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    describe_configs_request::DescribeConfigsResource,
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
};

use super::{Answer, Kafka, KafkaError, answer, options, text};
use crate::names::NodeId;

/// The resource type of brokers in config requests; the empty name is all of them.
const RESOURCE_BROKER: i8 = 4;
/// How long a single broker may take to tell of itself. Others wait for it.
const BROKER_TIMEOUT: Duration = Duration::from_secs(3);
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

/// A question about one key of a broker, by its id, or of all of them, by an empty name.
fn question(broker: &str, key: &str) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(RESOURCE_BROKER)
        .with_resource_name(text(broker))
        .with_configuration_keys(Some(vec![text(key)]));
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

/// The value that the answer to a [`question`] gives; none if it is not set, or not known.
fn value(response: DescribeConfigsResponse, key: &str) -> Result<Option<String>, Answer> {
    let Some(result) = response.results.into_iter().next() else { return Ok(None) };
    answer(result.error_code, result.error_message)?;
    let entry = result.configs.into_iter().find(|entry| *entry.name == *key);
    Ok(entry.and_then(|entry| entry.value).map(|value| value.to_string()))
}

/// The value of a key for one broker, which is asked itself: no other one knows its configuration.
///
/// # Errors
/// When it does not answer, or refuses.
pub(super) async fn config_of_broker(
    address: &HostPort,
    id: NodeId,
    key: &str,
) -> Result<Option<String>, KafkaError> {
    let options = Options { request_timeout: BROKER_TIMEOUT, ..options() };
    let connection = Connection::connect(address, &options).await?;
    let response = connection.request(question(&id.0.to_string(), key)).await?;
    let refused = |answer| KafkaError::Refused { what: "describe the configuration of a broker", answer };
    value(response, key).map_err(refused)
}

impl Kafka {
    /// The value of a key that is set for all brokers; none if it is not set there.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses.
    pub async fn config_of_all_brokers(&self, key: &str) -> Result<Option<String>, KafkaError> {
        let refused =
            |answer| KafkaError::Refused { what: "describe the configuration of all brokers", answer };
        value(self.0.request(question("", key)).await?, key).map_err(refused)
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
