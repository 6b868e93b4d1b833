//! Whether a broker key may be set to a value at all: for a properties file, and for the operator before it
//! writes one.

use super::key::Key;
use super::layers::{Layers, Settings};
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

/// Keys whose values are right one by one, but not together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenRule {
    /// The keys, the likeliest to be changed first.
    pub keys: &'static [&'static str],
    /// What must hold.
    pub rule: &'static str,
}

impl BrokenRule {
    /// The key to blame: the likeliest that somebody set, since nobody is helped by the name of a default.
    pub fn blamed(&self, fixed: &Settings) -> &'static str {
        let set = self.keys.iter().find(|key| fixed.contains_key(**key));
        set.or_else(|| self.keys.first()).copied().expect("a rule is about keys")
    }
}

/// Checks the settings of a properties file against each other, as far as they are no matter of one node's
/// place in its cluster (those rules are `ottla-core`'s).
pub fn check_broker_settings_together(fixed: &Settings) -> Vec<BrokenRule> {
    let layers = Layers { fixed: fixed.clone(), ..Layers::default() };
    let number = |name: &str| match broker_key(name).and_then(|row| layers.broker_value(row)) {
        Some(Value::Number(number)) => number,
        Some(Value::Boolean(_) | Value::Decimal(_) | Value::Text(_) | Value::List(_)) | None => 0,
    };
    let mut broken = Vec::new();
    if number("broker.heartbeat.interval.ms").saturating_mul(2) > number("broker.session.timeout.ms") {
        broken.push(BrokenRule {
            keys: &["broker.heartbeat.interval.ms", "broker.session.timeout.ms"],
            rule: "broker.heartbeat.interval.ms must be at most half of broker.session.timeout.ms, so that one lost heartbeat ends no session",
        });
    }
    if number("log.cleaner.min.compaction.lag.ms") > number("log.cleaner.max.compaction.lag.ms") {
        broken.push(BrokenRule {
            keys: &["log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"],
            rule: "log.cleaner.min.compaction.lag.ms must be at most log.cleaner.max.compaction.lag.ms",
        });
    }
    broken
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
    fn two_right_settings_may_be_wrong_together() {
        let blamed = |pairs: &[(&str, &str)]| {
            let fixed: Settings =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let broken = check_broker_settings_together(&fixed);
            broken.iter().map(|broken| broken.blamed(&fixed)).collect::<Vec<_>>()
        };
        let (interval, session) = ("broker.heartbeat.interval.ms", "broker.session.timeout.ms");
        assert_eq!(blamed(&[]), Vec::<&str>::new());
        assert_eq!(blamed(&[(session, "999")]), [session]);
        assert_eq!(blamed(&[(session, "3000"), (interval, "1501")]), [interval]);
        assert_eq!(blamed(&[(session, "3000"), (interval, "1500")]), Vec::<&str>::new());
        assert_eq!(
            blamed(&[("log.cleaner.max.compaction.lag.ms", "5"), ("log.cleaner.min.compaction.lag.ms", "6")]),
            ["log.cleaner.min.compaction.lag.ms"]
        );
    }

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
