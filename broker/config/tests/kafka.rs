//! Our table beside Kafka's own. `kafka-4.3.1.tsv` was written by `KafkaTable.java` from Kafka's code.

use std::collections::BTreeMap;

use ottla_config::{DefaultValue, Key, broker_key, broker_keys, topic_key, topic_keys};

const KAFKA: &str = include_str!("kafka-4.3.1.tsv");

/// Keys whose type, default or update mode is another than Kafka's, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("broker.heartbeat.interval.ms", "a silent broker is out of service in 5 s"),
    ("broker.id", "Kafka writes \"not set\" as -1"),
    ("broker.session.timeout.ms", "a silent broker is out of service in 5 s"),
    ("controller.listener.names", "a missing one is reported with the rules between keys"),
    ("cordoned.log.dirs", "changed for all brokers, too, and whole brokers only"),
    ("flush.messages", "an acknowledged record is on disk"),
    ("listener.security.protocol.map", "it is a list, and is read at the start only"),
    ("listeners", "read at the start only"),
    ("log.dir", "Kafka's default is a temporary directory"),
    ("log.dirs", "no default, see log.dir"),
    ("log.flush.interval.messages", "an acknowledged record is on disk"),
    ("metric.reporters", "Kafka's default is a Java class; read at the start only"),
    ("principal.builder.class", "read at the start only"),
];

/// Keys that Kafka's table does not hold, and why ours does.
const OURS_ONLY: &[(&str, &str)] = &[
    ("allow.everyone.if.no.acl.found", "read by Kafka's authorizer"),
    ("follower.replication.throttled.rate", "a dynamic key, which Kafka keeps in another table"),
    ("leader.replication.throttled.rate", "a dynamic key, which Kafka keeps in another table"),
    ("ottla.config.hash", "Ottla's own"),
    ("ottla.http.listener", "Ottla's own"),
    ("ottla.recovery.bytes.per.second", "Ottla's own"),
    ("producer.id.expiration.check.interval.ms", "internal in Kafka"),
    ("replica.alter.log.dirs.io.max.bytes.per.second", "a dynamic key, which Kafka keeps in another table"),
    ("super.users", "read by Kafka's authorizer"),
];

struct KafkaKey<'a> {
    resource: &'a str,
    kind: &'a str,
    default: &'a str,
    update: &'a str,
}

fn kafkas_keys() -> BTreeMap<(&'static str, &'static str), KafkaKey<'static>> {
    let row = |line: &'static str| {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().expect("five columns");
        let (resource, name) = (cell(), cell());
        ((resource, name), KafkaKey { resource, kind: cell(), default: cell(), update: cell() })
    };
    KAFKA.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

fn default(key: &Key) -> &'static str {
    match key.default {
        DefaultValue::Text(text) => text,
        DefaultValue::Null => "<null>",
        DefaultValue::Required => "<required>",
    }
}

#[test]
fn keys_are_kafkas_except_where_we_say_why() {
    let kafkas = kafkas_keys();
    let (topics, brokers) = (topic_keys().iter(), broker_keys().iter());
    let ours = topics.map(|key| ("topic", key)).chain(brokers.map(|key| ("broker", key)));
    let mut found = Vec::new();
    for (resource, key) in ours {
        let Some(kafka) = kafkas.get(&(resource, key.name)) else {
            if OURS_ONLY.iter().all(|(name, _)| *name != key.name) {
                found.push(format!("{resource} key {} is not Kafka's", key.name));
            }
            continue;
        };
        let same = kafka.kind == key.kind.word()
            && kafka.default == default(key)
            && (kafka.resource == "topic" || kafka.update == key.update.word());
        let said = OTHERWISE.iter().any(|(name, _)| *name == key.name);
        if same == said {
            let KafkaKey { kind, default, update, .. } = kafka;
            let verdict = if said { "is Kafka's again" } else { "is not Kafka's" };
            found.push(format!("{resource} key {} {verdict}: {kind}, {default}, {update}", key.name));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_topic_key_of_kafka_is_known() {
    for (resource, name) in kafkas_keys().into_keys() {
        assert!(resource != "topic" || topic_key(name).is_some(), "{name}");
    }
}

#[test]
fn what_we_say_about_differences_is_about_keys() {
    for (name, _) in OTHERWISE.iter().chain(OURS_ONLY) {
        assert!(topic_key(name).or_else(|| broker_key(name)).is_some(), "{name}");
    }
}

#[test]
fn secrets_are_what_kafka_takes_for_secrets() {
    for ((_, name), kafka) in kafkas_keys() {
        let ours = topic_key(name).or_else(|| broker_key(name));
        assert!(ours.is_none_or(|key| key.is_secret() == (kafka.kind == "password")), "{name}");
    }
}
