//! The keys of brokers and controllers: those of `server.properties`, and those that may be set while
//! the cluster runs.
//!
//! One file per subject. Keys that only give a topic key its default are derived from that key's row, so
//! that type, rule and text cannot drift apart.

mod clients;
mod controller;
mod coordinators;
mod logs;
mod node;
mod ottla;
mod replication;
mod security;
mod tiering;

use super::key::{ConfigType, Key, Synonym};
use super::topic_keys::TOPIC_KEYS;

pub use replication::RACK_AWARE_SELECTOR;

const SUBJECTS: &[&[Key]] = &[
    node::KEYS,
    controller::KEYS,
    clients::KEYS,
    logs::KEYS,
    replication::KEYS,
    coordinators::KEYS,
    security::KEYS,
    tiering::KEYS,
    ottla::KEYS,
];

/// Every broker key, in order of name.
pub(super) fn broker_keys() -> Vec<Key> {
    let own = SUBJECTS.iter().flat_map(|keys| keys.iter().copied());
    let derived = TOPIC_KEYS
        .iter()
        .flat_map(|topic_key| topic_key.synonyms.iter().map(move |synonym| derive(topic_key, synonym)));
    let mut keys: Vec<Key> = own.chain(derived).collect();
    keys.sort_by_key(|key| key.name);
    keys
}

/// The broker key that gives `topic_key` its default.
fn derive(topic_key: &Key, synonym: &Synonym) -> Key {
    Key {
        name: synonym.name,
        kind: synonym.kind,
        default: synonym.default,
        update: synonym.update,
        synonyms: &[],
        default_of: Some(topic_key.name),
        ..*topic_key
    }
}

/// The other name of a read-only broker key.
const fn other_name(name: &'static str, kind: ConfigType) -> Synonym {
    Synonym {
        name,
        default: super::key::DefaultValue::Null,
        kind,
        factor: 1,
        update: super::key::UpdateMode::ReadOnly,
    }
}
