//! Changing dynamic configuration (IncrementalAlterConfigs, KIP-339): from the changes asked for to the
//! settings that are to be recorded.

use super::key::{Key, UpdateMode};
use super::layers::{Layers, Settings};
use super::topic::{TopicConfig, TopicConfigError};
use super::value::{InvalidValue, Value};
use super::{broker_key, topic_key};

/// What to do with a key (rule 17 of the protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterOp {
    /// Set the value.
    Set,
    /// Take the override away.
    Delete,
    /// Add entries to a list.
    Append,
    /// Take entries out of a list.
    Subtract,
}

impl AlterOp {
    /// The operation with this number in an IncrementalAlterConfigs request.
    pub fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One change that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alteration {
    /// The key.
    pub key: String,
    /// What to do with it.
    pub op: AlterOp,
    /// The value, which [`AlterOp::Delete`] needs not.
    pub value: Option<String>,
}

/// What the configuration belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterScope {
    /// A topic.
    Topic,
    /// One broker.
    Broker,
    /// All brokers.
    Cluster,
}

/// One change that is to be recorded: a value, or none if the key is no longer set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: &'static str,
    /// Its new value.
    pub value: Option<String>,
}

/// Why a change is refused. Nothing of the request is then changed on that resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// The same key twice in one request.
    #[error("config \"{0}\" appears twice in the request")]
    Duplicate(String),
    /// SET, APPEND or SUBTRACT without a value.
    #[error("config \"{0}\" has no value in the request")]
    NoValue(String),
    /// APPEND or SUBTRACT on a key that holds no list.
    #[error("config \"{0}\" is no list, entries cannot be added or removed")]
    NotAList(String),
    /// No broker has such a key.
    #[error("unknown broker config \"{0}\"")]
    UnknownBrokerKey(String),
    /// The properties file alone sets it.
    #[error("config \"{0}\" cannot change while a broker runs; set it in the properties file and restart")]
    ReadOnly(String),
    /// It makes sense for one broker only.
    #[error("config \"{0}\" can be set on a single broker only, not on all")]
    PerBrokerOnly(String),
    /// The key does not take the value.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
    /// The topic would be left with settings that are refused.
    #[error(transparent)]
    Topic(#[from] TopicConfigError),
}

/// Works out what changes on a resource that has the settings `current`. `layers` is what lies below a
/// topic, or the configuration of the broker that is altered: APPEND and SUBTRACT start from the value
/// that counts there if the resource has none of its own.
pub fn alter(
    scope: AlterScope,
    current: &Settings,
    layers: &Layers,
    alterations: &[Alteration],
) -> Result<Vec<Change>, AlterError> {
    let mut after = current.clone();
    let mut changes = Vec::new();
    for (index, alteration) in alterations.iter().enumerate() {
        if alterations[..index].iter().any(|earlier| earlier.key == alteration.key) {
            return Err(AlterError::Duplicate(alteration.key.clone()));
        }
        let row = alterable(scope, alteration)?;
        let value = new_value(scope, row, current, layers, alteration)?;
        match &value {
            Some(text) => after.insert(row.name.to_owned(), text.clone()),
            None => after.remove(row.name),
        };
        if value.as_ref() != current.get(row.name) {
            changes.push(Change { key: row.name, value });
        }
    }
    if scope == AlterScope::Topic {
        TopicConfig::validate(&after, layers)?;
    }
    Ok(changes)
}

/// The row of a key that may be changed in this scope. A key that may not can still be deleted, so that
/// nothing an older release stored has to stay for ever.
fn alterable(scope: AlterScope, alteration: &Alteration) -> Result<&'static Key, AlterError> {
    let key = || alteration.key.clone();
    if scope == AlterScope::Topic {
        return topic_key(&alteration.key).ok_or_else(|| TopicConfigError::UnknownKey { key: key() }.into());
    }
    let row = broker_key(&alteration.key).ok_or_else(|| AlterError::UnknownBrokerKey(key()))?;
    match (row.update, scope) {
        (UpdateMode::ReadOnly, _) if alteration.op != AlterOp::Delete => Err(AlterError::ReadOnly(key())),
        (UpdateMode::PerBroker, AlterScope::Cluster) if alteration.op != AlterOp::Delete => {
            Err(AlterError::PerBrokerOnly(key()))
        }
        (UpdateMode::ReadOnly | UpdateMode::PerBroker | UpdateMode::ClusterWide, _) => Ok(row),
    }
}

fn new_value(
    scope: AlterScope,
    row: &'static Key,
    current: &Settings,
    layers: &Layers,
    alteration: &Alteration,
) -> Result<Option<String>, AlterError> {
    let given = || alteration.value.as_deref().ok_or_else(|| AlterError::NoValue(alteration.key.clone()));
    match alteration.op {
        AlterOp::Delete => Ok(None),
        AlterOp::Set => Ok(Some(row.parse(given()?)?.to_string())),
        AlterOp::Append | AlterOp::Subtract if !row.is_list() => {
            Err(AlterError::NotAList(alteration.key.clone()))
        }
        AlterOp::Append => {
            let mut entries = entries_before(scope, row, current, layers);
            for entry in entries_of(given()?) {
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
            Ok(Some(row.parse(&entries.join(","))?.to_string()))
        }
        AlterOp::Subtract => {
            let removed = entries_of(given()?);
            let mut entries = entries_before(scope, row, current, layers);
            entries.retain(|entry| !removed.contains(entry));
            Ok(Some(row.parse(&entries.join(","))?.to_string()))
        }
    }
}

fn entries_before(scope: AlterScope, row: &'static Key, current: &Settings, layers: &Layers) -> Vec<String> {
    if let Some(text) = current.get(row.name) {
        return entries_of(text);
    }
    let inherited = match scope {
        AlterScope::Topic => layers.topic_value(row, current),
        AlterScope::Broker | AlterScope::Cluster => layers.broker_value(row),
    };
    match inherited {
        Some(Value::List(entries)) => entries,
        Some(Value::Boolean(_) | Value::Number(_) | Value::Decimal(_) | Value::Text(_)) | None => Vec::new(),
    }
}

fn entries_of(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn ask(key: &str, op: AlterOp, value: &str) -> Alteration {
        let value = (op != AlterOp::Delete).then(|| value.to_owned());
        Alteration { key: key.to_owned(), op, value }
    }

    fn run(
        scope: AlterScope,
        current: &[(&str, &str)],
        ask: &[Alteration],
    ) -> Result<Vec<(&'static str, Option<String>)>, String> {
        alter(scope, &settings(current), &Layers::default(), ask)
            .map(|changes| changes.into_iter().map(|change| (change.key, change.value)).collect())
            .map_err(|error| error.to_string())
    }

    fn set_to(key: &'static str, value: &str) -> (&'static str, Option<String>) {
        (key, Some(value.to_owned()))
    }

    #[test]
    fn set_and_delete() {
        let current = [("retention.ms", "5"), ("segment.ms", "7")];
        let changes = run(
            AlterScope::Topic,
            &current,
            &[ask("retention.ms", AlterOp::Delete, ""), ask("flush.messages", AlterOp::Set, " 9 ")],
        );
        assert_eq!(changes, Ok(vec![("retention.ms", None), set_to("flush.messages", "9")]));
    }

    #[test]
    fn what_changes_nothing_is_not_recorded() {
        let asked = [ask("segment.ms", AlterOp::Set, "7"), ask("retention.ms", AlterOp::Delete, "")];
        assert_eq!(run(AlterScope::Topic, &[("segment.ms", "7")], &asked), Ok(vec![]));
    }

    #[test]
    fn append_and_subtract_start_from_what_counts_now() {
        let append = [ask("cleanup.policy", AlterOp::Append, "compact,delete")];
        assert_eq!(
            run(AlterScope::Topic, &[], &append),
            Ok(vec![set_to("cleanup.policy", "delete,compact")])
        );
        let subtract = [ask("cleanup.policy", AlterOp::Subtract, "delete")];
        assert_eq!(
            run(AlterScope::Topic, &[("cleanup.policy", "delete,compact")], &subtract),
            Ok(vec![set_to("cleanup.policy", "compact")])
        );
        let layers = Layers { fixed: settings(&[("log.cleanup.policy", "compact")]), ..Layers::default() };
        let changes = alter(AlterScope::Topic, &Settings::default(), &layers, &append);
        assert_eq!(changes.expect("changes")[0].value.as_deref(), Some("compact,delete"));
    }

    #[test]
    fn refusals_say_why() {
        let refused = |scope, op, key, value| run(scope, &[], &[ask(key, op, value)]).expect_err("refused");
        use AlterOp::{Append, Set};
        use AlterScope::{Broker, Cluster, Topic};
        assert_eq!(refused(Topic, Set, "colour", "blue"), "unknown topic config \"colour\"");
        assert_eq!(
            refused(Topic, Append, "retention.ms", "5"),
            "config \"retention.ms\" is no list, entries cannot be added or removed"
        );
        assert_eq!(refused(Broker, Set, "colour", "blue"), "unknown broker config \"colour\"");
        assert_eq!(
            refused(Broker, Set, "node.id", "5"),
            "config \"node.id\" cannot change while a broker runs; set it in the properties file and restart"
        );
        assert_eq!(
            refused(Cluster, Set, "ssl.keystore.location", "5"),
            "config \"ssl.keystore.location\" can be set on a single broker only, not on all"
        );
        assert_eq!(
            refused(Topic, Append, "cleanup.policy", "shred"),
            "invalid value \"delete,shred\" for config \"cleanup.policy\": wanted a comma-separated list of compact, delete, each at most once"
        );
        let twice = [ask("segment.ms", Set, "7"), ask("segment.ms", Set, "8")];
        assert_eq!(
            run(Topic, &[], &twice),
            Err("config \"segment.ms\" appears twice in the request".to_owned())
        );
        let nothing = Alteration { key: "segment.ms".to_owned(), op: Set, value: None };
        assert_eq!(
            run(Topic, &[], &[nothing]),
            Err("config \"segment.ms\" has no value in the request".to_owned())
        );
    }

    #[test]
    fn two_right_values_that_contradict_each_other_are_refused() {
        let error = run(
            AlterScope::Topic,
            &[("max.compaction.lag.ms", "5")],
            &[ask("min.compaction.lag.ms", AlterOp::Set, "6")],
        );
        assert!(error.is_err_and(|text| text.contains("is larger than")));
    }

    #[test]
    fn cluster_wide_keys_change_on_all_brokers_or_on_one() {
        for scope in [AlterScope::Cluster, AlterScope::Broker] {
            let changes = run(scope, &[], &[ask("log.retention.ms", AlterOp::Set, "5")]);
            assert_eq!(changes, Ok(vec![set_to("log.retention.ms", "5")]));
        }
    }
}
