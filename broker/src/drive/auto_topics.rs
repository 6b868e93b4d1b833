//! Has topics made that clients ask for and that are not there (rule 12), and those that the broker itself needs.
//!
//! One task owns the names on their way: a topic is asked for once, however many clients ask for it meanwhile. Nobody
//! waits: clients ask again. What the controller refuses is tried again when somebody asks again.

use std::collections::BTreeSet;
use std::time::Duration;

use ottla_core::config::BrokerConfig;
use ottla_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_wire::messages::{ApiKey, CreateTopicsRequest, TopicName};
use ottla_wire::private::ForwardRequest;
use ottla_wire::protocol::StrBytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::groups::OFFSETS_TOPIC;
use crate::api::Principal;
use crate::peer::ControllerClient;

/// So many topics may be on their way, and as many wait. More are asked for again by those who want them.
const IN_FLIGHT_MAX: usize = 1_000;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

const VERSION: i16 = 7;
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// Who wants a topic, as the controller is to see it.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) principal: Principal,
    pub(crate) client_id: String,
    pub(crate) listener: String,
    pub(crate) host: String,
}

#[derive(Debug)]
struct Ask {
    topic: String,
    asker: Option<Asker>,
}

/// The way to have topics made.
#[derive(Debug, Clone)]
pub(crate) struct AutoTopics {
    asks: mpsc::Sender<Ask>,
}

impl AutoTopics {
    /// Begins to have topics made, with the defaults of this broker.
    pub(crate) fn start(config: &BrokerConfig, controllers: &ControllerClient) -> Self {
        let (asks, asked) = mpsc::channel(IN_FLIGHT_MAX);
        let listener = config.inter_broker_listener.as_ref();
        let maker = Maker {
            rules: Rules::of(config),
            itself: Asker {
                principal: Principal::anonymous(),
                client_id: format!("ottla-{}", config.node_id),
                listener: listener.map(|listener| listener.as_str().to_owned()).unwrap_or_default(),
                host: "127.0.0.1".to_owned(),
            },
            controllers: controllers.clone(),
        };
        // It ends with the last way to ask it.
        tokio::spawn(maker.run(asked));
        Self { asks }
    }

    /// What is asked for is kept by the second; nobody makes it.
    #[cfg(test)]
    pub(crate) fn noted() -> (Self, Asked) {
        let (asks, asked) = mpsc::channel(IN_FLIGHT_MAX);
        (Self { asks }, Asked(asked))
    }

    /// Has a topic made that a client asks for.
    pub(crate) fn ask_for(&self, topic: &str, asker: Asker) {
        self.ask(Ask { topic: topic.to_owned(), asker: Some(asker) });
    }

    /// Has a topic made that the broker needs.
    pub(crate) fn ask_for_internal(&self, topic: &str) {
        self.ask(Ask { topic: topic.to_owned(), asker: None });
    }

    fn ask(&self, ask: Ask) {
        // With so many on their way it is asked for again.
        let _full = self.asks.try_send(ask);
    }
}

/// The topics that were asked for, in a test.
#[cfg(test)]
pub(crate) struct Asked(mpsc::Receiver<Ask>);

#[cfg(test)]
impl Asked {
    /// The next one: its name, and whether a client asked for it.
    pub(crate) fn next(&mut self) -> Option<(String, bool)> {
        self.0.try_recv().ok().map(|ask| (ask.topic, ask.asker.is_some()))
    }
}

/// What topics are made with.
#[derive(Debug, Clone)]
struct Rules {
    partitions: i32,
    replication_factor: i16,
    offsets_partitions: i32,
    offsets_replication_factor: i16,
    offsets_segment_bytes: i64,
    offsets_codec: &'static str,
}

impl Rules {
    fn of(config: &BrokerConfig) -> Self {
        let offsets = &config.groups.topic;
        Self {
            partitions: i32::try_from(config.topics.partitions).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(config.topics.replication_factor).unwrap_or(i16::MAX),
            offsets_partitions: i32::try_from(offsets.partitions).unwrap_or(i32::MAX),
            offsets_replication_factor: i16::try_from(offsets.replication_factor).unwrap_or(i16::MAX),
            offsets_segment_bytes: i64::try_from(offsets.segment_bytes).unwrap_or(i64::MAX),
            // What is appended has its codec already.
            offsets_codec: "producer",
        }
    }

    fn topic(&self, name: &str) -> CreatableTopic {
        let topic = CreatableTopic::default().with_name(TopicName(StrBytes::from_string(name.to_owned())));
        if name != OFFSETS_TOPIC {
            return topic
                .with_num_partitions(self.partitions)
                .with_replication_factor(self.replication_factor);
        }
        let config = |name: &'static str, value: String| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_string(value)))
        };
        topic
            .with_num_partitions(self.offsets_partitions)
            .with_replication_factor(self.offsets_replication_factor)
            .with_configs(vec![
                config("cleanup.policy", "compact".to_owned()),
                config("compression.type", self.offsets_codec.to_owned()),
                config("segment.bytes", self.offsets_segment_bytes.to_string()),
            ])
    }
}

struct Maker {
    rules: Rules,
    /// The broker, where it is the one that wants a topic.
    itself: Asker,
    controllers: ControllerClient,
}

impl Maker {
    async fn run(self, mut asked: mpsc::Receiver<Ask>) {
        let mut in_flight = BTreeSet::new();
        let mut making = JoinSet::new();
        loop {
            // Cancel-safe: recv and join_next are.
            tokio::select! {
                ask = asked.recv(), if in_flight.len() < IN_FLIGHT_MAX => {
                    let Some(ask) = ask else { return };
                    if in_flight.insert(ask.topic.clone()) {
                        making.spawn(self.make(ask));
                    }
                }
                Some(made) = making.join_next() => {
                    if let Ok(topic) = made {
                        in_flight.remove(&topic);
                    }
                }
            }
        }
    }

    /// Asks the controller for one topic; gives its name back when there is an answer.
    fn make(&self, ask: Ask) -> impl Future<Output = String> + Send + use<> {
        let topic = self.rules.topic(&ask.topic);
        let asker = ask.asker.unwrap_or_else(|| self.itself.clone());
        let controllers = self.controllers.clone();
        async move {
            let timeout_ms = i32::try_from(ATTEMPT.as_millis()).unwrap_or(i32::MAX);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
            let body = match ottla_wire::request::encode_body(VERSION, &request) {
                Ok(body) => body,
                Err(error) => {
                    warn!(topic = ask.topic, %error, "a topic cannot be asked for");
                    return ask.topic;
                }
            };
            let forward = ForwardRequest {
                principal_type: asker.principal.kind,
                principal_name: asker.principal.name,
                client_id: asker.client_id,
                listener: asker.listener,
                client_host: asker.host,
                api_key: ApiKey::CreateTopics as i16,
                api_version: VERSION,
                body,
            };
            match controllers.forward(forward, ATTEMPT).await {
                Ok(body) => report(&ask.topic, body),
                Err(error) => info!(topic = ask.topic, %error, "a topic was not made"),
            }
            ask.topic
        }
    }
}

fn report(topic: &str, body: bytes::Bytes) {
    let response = match ottla_wire::response::decode_body::<CreateTopicsRequest>(VERSION, body) {
        Ok(response) => response,
        Err(error) => return warn!(topic, %error, "the controller's answer cannot be read"),
    };
    let Some(made) = response.topics.first() else { return };
    match made.error_code {
        0 => info!(topic, "made a topic that was asked for"),
        // Who asked had not heard of it yet.
        TOPIC_ALREADY_EXISTS => {}
        error_code => {
            let reason = made.error_message.as_deref().unwrap_or_default();
            info!(topic, error_code, reason, "a topic that was asked for is not made");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        partitions: 4,
        replication_factor: 2,
        offsets_partitions: 50,
        offsets_replication_factor: 3,
        offsets_segment_bytes: 104_857_600,
        offsets_codec: "producer",
    };

    #[test]
    fn a_topic_is_made_with_the_brokers_defaults() {
        let topic = RULES.topic("t");
        assert_eq!((topic.num_partitions, topic.replication_factor, topic.configs.len()), (4, 2, 0));
    }

    #[test]
    fn the_topic_of_offsets_is_made_as_kafka_makes_it() {
        let topic = RULES.topic(OFFSETS_TOPIC);
        assert_eq!((topic.num_partitions, topic.replication_factor), (50, 3));
        let configs: Vec<(&str, &str)> = topic
            .configs
            .iter()
            .map(|config| (config.name.as_str(), config.value.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            configs,
            [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")]
        );
    }
}
