//! Whether a broker key may be set to a value at all: for a properties file, and for the operator before it
//! writes one.

use super::key::Key;
use super::value::{InvalidValue, Value};
use super::{broker_key, topic_key};

/// Why a setting of a broker is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerSettingError {
    /// The key does not take the value.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
    /// A key of ZooKeeper mode.
    #[error(
        "config \"{key}\" belongs to ZooKeeper mode: Ottla runs in KRaft mode only, with process.roles, node.id and controller.quorum.bootstrap.servers"
    )]
    ZooKeeper {
        /// The key.
        key: String,
    },
    /// No such key. A broker starts all the same, as Kafka does: plugins read keys of their own.
    #[error("config \"{key}\" is unknown{}", meant_text(*.meant))]
    Unknown {
        /// The key.
        key: String,
        /// The key that was probably meant.
        meant: Option<&'static str>,
    },
}

fn meant_text(meant: Option<&str>) -> String {
    meant.map(|meant| format!(": brokers call it \"{meant}\"")).unwrap_or_default()
}

/// Checks one setting by its row. Rules between several keys are `ottla-core`'s.
pub fn check_broker_setting(key: &str, value: &str) -> Result<(&'static Key, Value), BrokerSettingError> {
    if is_zookeeper_key(key) {
        return Err(BrokerSettingError::ZooKeeper { key: key.to_owned() });
    }
    let Some(row) = broker_key(key) else {
        let meant = topic_key(key).and_then(|row| row.synonyms.first()).map(|synonym| synonym.name);
        return Err(BrokerSettingError::Unknown { key: key.to_owned(), meant });
    };
    Ok((row, row.parse(value)?))
}

fn is_zookeeper_key(key: &str) -> bool {
    key.starts_with("zookeeper.")
        || ["broker.id.generation.enable", "control.plane.listener.name", "reserved.broker.max.id"]
            .contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_refused_with_its_reason() {
        let refused = |key, value| check_broker_setting(key, value).expect_err("refused").to_string();
        assert!(refused("zookeeper.connect", "x").contains("KRaft mode only"));
        assert_eq!(refused("colour", "blue"), "config \"colour\" is unknown");
        assert_eq!(
            refused("retention.ms", "5"),
            "config \"retention.ms\" is unknown: brokers call it \"log.retention.ms\""
        );
        assert_eq!(
            refused("num.partitions", "0"),
            "invalid value \"0\" for config \"num.partitions\": wanted a whole number from 1 to 2147483647"
        );
        assert_eq!(
            check_broker_setting("num.partitions", "6").map(|(row, value)| (row.name, value)),
            Ok(("num.partitions", Value::Number(6)))
        );
    }
}
