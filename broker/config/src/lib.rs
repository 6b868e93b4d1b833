//! Every configuration key: one row says all there is to know about it.
//!
//! Owns: the table of topic keys ([`topic_key`]) and of broker keys ([`broker_key`]); parsing and checking
//! of values; the order in which a topic's override, the dynamic configuration and the properties file
//! win ([`Layers`]); the settings of a topic, resolved ([`TopicConfig`]); changes to them ([`alter`]).
//! `ottla-core` resolves a whole node's settings from it. Must not: read files, name Kafka's error codes
//! (the API handlers do), or keep any setting outside a row.
//!
//! It is a crate of its own because the operator has to refuse a wrong key before it restarts a broker for
//! it, and may not depend on the broker.
//!
//! To add a key, write its row in `topic_keys.rs` or under `broker_keys/`, then use it where settings are
//! resolved. DescribeConfigs, IncrementalAlterConfigs, validation and the reference page follow.

mod alter;
mod broker_keys;
mod check;
mod key;
mod layers;
mod reference;
mod topic;
mod topic_keys;
mod value;

use std::sync::LazyLock;

pub use alter::{AlterError, AlterOp, AlterScope, Alteration, Change, alter};
pub use broker_keys::RACK_AWARE_SELECTOR;
pub use check::{BrokenRule, BrokerSettingError, check_broker_setting, check_broker_settings_together};
pub use key::{ConfigType, DefaultValue, Importance, Key, Support, Synonym, UpdateMode, Validator};
pub use layers::{Described, Layers, Settings, Source, SourcedValue};
pub use reference::reference_markdown;
pub use topic::{
    ByteCount, CleanupPolicy, Compression, Durability, Limit, TimestampType, TopicConfig, TopicConfigError,
};
pub use value::{InvalidValue, Value};

static BROKER_KEYS: LazyLock<Vec<Key>> = LazyLock::new(broker_keys::broker_keys);

/// Every key of a topic, in order of name.
pub fn topic_keys() -> &'static [Key] {
    topic_keys::TOPIC_KEYS
}

/// Every key of a broker or controller, in order of name.
pub fn broker_keys() -> &'static [Key] {
    &BROKER_KEYS
}

/// The row of a topic key.
pub fn topic_key(name: &str) -> Option<&'static Key> {
    find(topic_keys(), name)
}

/// The row of a broker key.
pub fn broker_key(name: &str) -> Option<&'static Key> {
    find(broker_keys(), name)
}

fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.binary_search_by(|key| key.name.cmp(name)).ok().and_then(|index| keys.get(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_unique() {
        for keys in [topic_keys(), broker_keys()] {
            for pair in keys.windows(2) {
                assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
            }
        }
    }

    #[test]
    fn every_default_passes_its_own_row() {
        for key in topic_keys().iter().chain(broker_keys()) {
            if let DefaultValue::Text(text) = key.default {
                key.parse(text).unwrap_or_else(|error| panic!("{error}"));
            }
            assert!(!key.doc.is_empty() && key.doc.ends_with('.'), "{} has no text", key.name);
        }
    }

    #[test]
    fn a_topic_key_and_its_broker_key_have_the_same_default() {
        for key in topic_keys().iter().filter(|key| !key.synonyms.is_empty()) {
            let inherited: Vec<String> = key
                .synonyms
                .iter()
                .filter_map(|synonym| match (synonym.default, synonym.factor) {
                    (DefaultValue::Text(text), 1) => Some(text.to_owned()),
                    (DefaultValue::Text(text), factor) => {
                        Some((text.parse::<i64>().expect("a number") * factor).to_string())
                    }
                    (DefaultValue::Null | DefaultValue::Required, _) => None,
                })
                .collect();
            assert_eq!(Some(inherited[0].as_str()), key.default.text(), "{}", key.name);
            assert_eq!(inherited.len(), 1, "{} would have two defaults", key.name);
        }
    }

    #[test]
    fn an_acknowledgement_means_synced_unless_somebody_says_otherwise() {
        assert_eq!(topic_key("flush.messages").map(|key| key.default), Some(DefaultValue::Text("1")));
        assert_eq!(
            broker_key("log.flush.interval.messages").map(|key| key.default),
            Some(DefaultValue::Text("1"))
        );
    }
}
