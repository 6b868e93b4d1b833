//! The one place that speaks Kafka's protocol: what the operator asks of a cluster, in its own words.

mod configs;
mod quorum;
mod reassignments;
mod topics;

use std::{collections::BTreeMap, time::Duration};

use ottla_client::{Admin, ClientError, HostPort, Options};
use ottla_wire::{ResponseError, messages::TopicName, protocol::StrBytes};
use uuid::Uuid;

pub use self::{
    quorum::QuorumFacts,
    reassignments::{BrokerFacts, Census, Cordon, Move, Moved, PartitionFacts},
    topics::{BATCH_MAX, ConfigChange, NewTopic, TopicFacts},
};
use crate::names::PORT_CLIENT;

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
        let address = HostPort::new(format!("{bootstrap}.{namespace}.svc"), PORT_CLIENT);
        Ok(Self(Admin::connect(&[address], options()).await?))
    }
}

fn options() -> Options {
    Options {
        client_id: crate::names::FIELD_MANAGER.to_owned(),
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(20),
        ..Options::default()
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}
