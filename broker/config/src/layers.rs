//! Which of several values of a key counts, and where it came from (KIP-226).
//!
//! From strongest to weakest: the topic's own override, the broker's dynamic configuration, the dynamic
//! configuration of all brokers, the properties file, the built-in default. Within one of these the first
//! of several names wins (`log.retention.ms` before `log.retention.hours`).

use imbl::OrdMap;

use super::key::{Key, Synonym};
use super::value::Value;
use super::{broker_key, broker_keys, topic_keys};

/// Values by key, as they were set.
pub type Settings = OrdMap<String, String>;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Set on the topic.
    Topic,
    /// Set on this broker while it ran.
    Broker,
    /// Set for all brokers while they ran.
    Cluster,
    /// From the properties file.
    Static,
    /// Built in.
    Default,
}

impl Source {
    /// The number of the source in a DescribeConfigs response.
    pub fn code(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::Broker => 2,
            Self::Cluster => 3,
            Self::Static => 4,
            Self::Default => 5,
        }
    }
}

/// A value that counts, or would count if the stronger ones were removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcedValue {
    /// The key it was set under.
    pub name: &'static str,
    /// The value in the unit of that key. None if it is a secret.
    pub value: Option<String>,
    /// Where it came from.
    pub source: Source,
}

/// One key as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The key's name.
    pub name: &'static str,
    /// The value that counts. None if there is none, or if it is a secret.
    pub value: Option<String>,
    /// Where it came from.
    pub source: Source,
    /// Every value, the one that counts first.
    pub synonyms: Vec<SourcedValue>,
}

/// Everything below a topic's own overrides, as one broker sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layers {
    /// Set on this broker while it ran.
    pub broker: Settings,
    /// Set for all brokers while they ran.
    pub cluster: Settings,
    /// From the properties file.
    pub fixed: Settings,
}

impl Layers {
    /// Every topic key with the value that counts for a topic with these overrides.
    pub fn describe_topic(&self, overrides: &Settings) -> Vec<Described> {
        topic_keys().iter().map(|key| self.describe_topic_key(key, overrides)).collect()
    }

    /// One topic key.
    pub fn describe_topic_key(&self, key: &'static Key, overrides: &Settings) -> Described {
        let own = overrides.get(key.name).map(|text| (key, text.as_str(), Source::Topic));
        let inherited = self.candidates(key.synonyms.iter().filter_map(row));
        let value = self.topic_value(key, overrides).map(|value| value.to_string());
        describe(key, own.into_iter().chain(inherited), value)
    }

    /// Every broker key with the value that counts on this broker.
    pub fn describe_broker(&self) -> Vec<Described> {
        broker_keys().iter().map(|key| self.describe_broker_key(key)).collect()
    }

    /// One broker key.
    pub fn describe_broker_key(&self, key: &'static Key) -> Described {
        describe(key, self.broker_candidates(key), self.broker_value(key).map(|value| value.to_string()))
    }

    /// The value of a topic key that counts, in the key's own unit.
    ///
    /// A value that the key does not take is passed over. It cannot have been set through this release,
    /// but a record of another one may hold it, and a broker must not stop for that.
    pub fn topic_value(&self, key: &'static Key, overrides: &Settings) -> Option<Value> {
        let own = overrides.get(key.name).and_then(|text| key.parse(text).ok());
        own.or_else(|| self.inherited_value(key)).or_else(|| key.default_value())
    }

    fn inherited_value(&self, key: &'static Key) -> Option<Value> {
        self.candidates(key.synonyms.iter().filter_map(row)).find_map(|(row, text, _)| {
            let synonym = key.synonyms.iter().find(|synonym| synonym.name == row.name)?;
            Some(in_unit_of_topic(row.parse(text).ok()?, synonym))
        })
    }

    /// The value of a broker key that counts. None if nobody set it and it has no default.
    pub fn broker_value(&self, key: &'static Key) -> Option<Value> {
        self.broker_candidates(key).find_map(|(row, text, _)| row.parse(text).ok())
    }

    fn broker_candidates(
        &self,
        key: &'static Key,
    ) -> impl Iterator<Item = (&'static Key, &str, Source)> + use<'_> {
        self.candidates(std::iter::once(key).chain(key.synonyms.iter().filter_map(row)))
    }

    /// Every value set under one of these names, strongest first.
    fn candidates(
        &self,
        names: impl Iterator<Item = &'static Key> + Clone,
    ) -> impl Iterator<Item = (&'static Key, &str, Source)> {
        let layers =
            [(&self.broker, Source::Broker), (&self.cluster, Source::Cluster), (&self.fixed, Source::Static)];
        let defaults = names.clone().filter_map(|key| Some((key, key.default.text()?, Source::Default)));
        layers
            .into_iter()
            .flat_map(move |(settings, source)| {
                names
                    .clone()
                    .filter_map(move |key| settings.get(key.name).map(|text| (key, text.as_str(), source)))
            })
            .chain(defaults)
    }
}

/// The row of a synonym: there is one for each, which a test of the table checks.
fn row(synonym: &'static Synonym) -> Option<&'static Key> {
    broker_key(synonym.name)
}

fn describe<'a>(
    key: &'static Key,
    candidates: impl Iterator<Item = (&'static Key, &'a str, Source)>,
    value: Option<String>,
) -> Described {
    let synonyms: Vec<SourcedValue> = candidates
        .filter_map(|(row, text, source)| {
            let value = row.parse(text).ok()?.to_string();
            Some(SourcedValue { name: row.name, value: (!row.is_secret()).then_some(value), source })
        })
        .collect();
    let source = synonyms.first().map_or(Source::Default, |synonym| synonym.source);
    Described { name: key.name, value: value.filter(|_| !key.is_secret()), source, synonyms }
}

/// Hours to milliseconds, and the like. A negative number means "no limit" in every unit.
fn in_unit_of_topic(value: Value, synonym: &Synonym) -> Value {
    match value {
        Value::Number(number) if number >= 0 => Value::Number(number.saturating_mul(synonym.factor)),
        Value::Boolean(_) | Value::Number(_) | Value::Decimal(_) | Value::Text(_) | Value::List(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic_key;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn sources(described: &Described) -> Vec<(&str, &str, Source)> {
        described
            .synonyms
            .iter()
            .map(|synonym| (synonym.name, synonym.value.as_deref().unwrap_or("-"), synonym.source))
            .collect()
    }

    fn retention(layers: &Layers, overrides: &Settings) -> Described {
        layers.describe_topic_key(topic_key("retention.ms").expect("a row"), overrides)
    }

    #[test]
    fn the_strongest_value_counts_and_the_rest_are_listed_behind_it() {
        let layers = Layers {
            broker: settings(&[("log.retention.ms", "3")]),
            cluster: settings(&[("log.retention.ms", "4")]),
            fixed: settings(&[("log.retention.hours", "2"), ("log.retention.minutes", "1")]),
        };
        let described = retention(&layers, &settings(&[("retention.ms", "2")]));
        assert_eq!((described.value.as_deref(), described.source), (Some("2"), Source::Topic));
        assert_eq!(
            sources(&described),
            [
                ("retention.ms", "2", Source::Topic),
                ("log.retention.ms", "3", Source::Broker),
                ("log.retention.ms", "4", Source::Cluster),
                ("log.retention.minutes", "1", Source::Static),
                ("log.retention.hours", "2", Source::Static),
                ("log.retention.hours", "168", Source::Default),
            ]
        );
    }

    #[test]
    fn minutes_and_hours_become_milliseconds_and_no_limit_stays_no_limit() {
        let fixed = |pairs: &[_]| Layers { fixed: settings(pairs), ..Layers::default() };
        let value = |layers: &Layers| retention(layers, &Settings::default()).value;
        assert_eq!(value(&fixed(&[("log.retention.hours", "2")])).as_deref(), Some("7200000"));
        assert_eq!(
            value(&fixed(&[("log.retention.hours", "2"), ("log.retention.minutes", "1")])).as_deref(),
            Some("60000")
        );
        assert_eq!(value(&fixed(&[("log.retention.hours", "-1")])).as_deref(), Some("-1"));
        assert_eq!(value(&Layers::default()).as_deref(), Some("604800000"));
    }

    #[test]
    fn a_value_of_another_release_is_passed_over() {
        let layers =
            Layers { cluster: settings(&[("log.retention.ms", "a fortnight")]), ..Layers::default() };
        let described = retention(&layers, &settings(&[("retention.ms", "-7")]));
        assert_eq!((described.value.as_deref(), described.source), (Some("604800000"), Source::Default));
    }

    #[test]
    fn a_secret_is_described_without_its_value() {
        let layers = Layers { fixed: settings(&[("ssl.key.password", "hunter2")]), ..Layers::default() };
        let described = layers.describe_broker_key(broker_key("ssl.key.password").expect("a row"));
        assert_eq!(described.source, Source::Static);
        assert_eq!(described.value, None);
        assert!(!format!("{described:?}").contains("hunter2"));
    }

    #[test]
    fn the_older_name_of_a_broker_key_counts_where_the_newer_is_not_set() {
        let layers = Layers { fixed: settings(&[("broker.id", "7")]), ..Layers::default() };
        let described = layers.describe_broker_key(broker_key("node.id").expect("a row"));
        assert_eq!(described.value.as_deref(), Some("7"));
        assert_eq!(sources(&described), [("broker.id", "7", Source::Static)]);
    }

    #[test]
    fn every_synonym_has_a_row() {
        for key in topic_keys().iter().chain(broker_keys()) {
            for synonym in key.synonyms {
                assert!(broker_key(synonym.name).is_some(), "{} of {}", synonym.name, key.name);
            }
        }
    }
}
