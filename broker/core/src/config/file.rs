//! The settings of a properties file, checked one by one against the table.

use std::fmt;

use super::{
    BrokerSettingError, DefaultValue, Key, Layers, Settings, Support, Value, broker_key, broker_keys,
    check_broker_setting, check_broker_settings_together,
};

/// Where a setting was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// On this line of the properties file, counted from 1.
    Line(u32),
    /// By `--override`.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::CommandLine => f.write_str("--override"),
        }
    }
}

/// A key, its value, and where that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// Why a node cannot start with its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerConfigError {
    /// A key that there must not be, or that does not take its value.
    #[error(transparent)]
    Setting(BrokerSettingError),
    /// A key that must be there is not.
    #[error("config \"{key}\" is missing: wanted {wanted}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What would have been right.
        wanted: String,
    },
    /// The keys are right one by one, but not together.
    #[error("config \"{key}\": {rule}")]
    Rule {
        /// The key that has to change, or the likeliest.
        key: &'static str,
        /// What must hold.
        rule: String,
    },
}

/// An error and where it was made; a key that is missing was made nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, if anywhere.
    pub origin: Option<Origin>,
    /// What.
    pub error: BrokerConfigError,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

/// Something odd that does not keep a node from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub origin: Origin,
    /// The key.
    pub key: String,
    /// What is odd.
    pub kind: WarningKind,
}

/// What is odd about a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarningKind {
    /// No such key. Kafka starts with keys it does not know (plugins read them), and so do we.
    Unknown {
        /// The key that was probably meant.
        meant: Option<&'static str>,
    },
    /// The key is known and has no effect.
    NoEffect {
        /// Why.
        why: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: config \"{}\" ", self.origin, self.key)?;
        match self.kind {
            WarningKind::Unknown { meant: None } => f.write_str("is unknown and ignored"),
            WarningKind::Unknown { meant: Some(meant) } => {
                write!(f, "is unknown and ignored: brokers call it \"{meant}\"")
            }
            WarningKind::NoEffect { why } => write!(f, "has no effect: {why}"),
        }
    }
}

/// The settings of a properties file after the check.
#[derive(Debug)]
pub(super) struct CheckedFile<'a> {
    settings: &'a [Setting],
    layers: Layers,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl<'a> CheckedFile<'a> {
    /// Checks every setting. A key that is set twice counts as set last; the caller has warned of it.
    pub(super) fn check(settings: &'a [Setting]) -> Self {
        let mut file =
            Self { settings, layers: Layers::default(), problems: Vec::new(), warnings: Vec::new() };
        let last = |setting: &Setting, index: usize| {
            settings[index + 1..].iter().all(|later| later.key != setting.key)
        };
        for (index, setting) in settings.iter().enumerate() {
            if last(setting, index) {
                file.check_one(setting);
            }
        }
        for key in broker_keys().iter().filter(|key| key.default == DefaultValue::Required) {
            let names = || std::iter::once(key.name).chain(key.synonyms.iter().map(|synonym| synonym.name));
            if names().all(|name| settings.iter().all(|setting| setting.key != name)) {
                file.missing(key.name);
            }
        }
        file
    }

    fn check_one(&mut self, setting: &Setting) {
        let Setting { key, value, origin } = setting;
        // Values that are lists of addresses and the like are looked into where they are resolved.
        let (row, parsed) = match check_broker_setting(key, value) {
            Ok(fine) => fine,
            Err(BrokerSettingError::Unknown { meant, .. }) => {
                return self.warn(setting, WarningKind::Unknown { meant });
            }
            Err(error) => return self.problem(Some(*origin), BrokerConfigError::Setting(error)),
        };
        if let Support::Inert(why) = row.support
            && row.default_value().as_ref() != Some(&parsed)
        {
            self.warn(setting, WarningKind::NoEffect { why });
        }
        self.layers.fixed.insert(key.clone(), value.clone());
    }

    fn warn(&mut self, setting: &Setting, kind: WarningKind) {
        self.warnings.push(Warning { origin: setting.origin, key: setting.key.clone(), kind });
    }

    fn problem(&mut self, origin: Option<Origin>, error: BrokerConfigError) {
        self.problems.push(Problem { origin, error });
    }

    /// A key that must be set in this file is not.
    pub(super) fn missing(&mut self, name: &'static str) {
        let wanted = row(name).wanted();
        self.problem(None, BrokerConfigError::Missing { key: name, wanted });
    }

    /// A key's value breaks a rule that the table cannot say.
    pub(super) fn rule(&mut self, key: &'static str, rule: impl Into<String>) {
        self.problem(self.origin(key), BrokerConfigError::Rule { key, rule: rule.into() });
    }

    /// Notes the rules between keys that the table's crate knows.
    pub(super) fn check_together(&mut self) {
        for broken in check_broker_settings_together(&self.layers.fixed) {
            self.rule(broken.blamed(&self.layers.fixed), broken.rule);
        }
    }

    /// The entries of a list, each read as a `T`; those that cannot be read are noted.
    pub(super) fn entries<T: std::str::FromStr>(&mut self, key: &'static str) -> Vec<T>
    where
        T::Err: fmt::Display,
    {
        let mut read = Vec::new();
        for entry in self.list(key) {
            match entry.parse::<T>() {
                Ok(entry) => read.push(entry),
                Err(error) => self.rule(key, error.to_string()),
            }
        }
        read
    }

    /// Where a key was set last.
    fn origin(&self, key: &str) -> Option<Origin> {
        self.settings.iter().rfind(|setting| setting.key == key).map(|setting| setting.origin)
    }

    /// Whether somebody set the key.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.layers.fixed.contains_key(key)
    }

    fn value(&self, key: &str) -> Option<Value> {
        self.layers.broker_value(row(key))
    }

    /// A text, if it is set and not empty.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.value(key).map(|value| value.to_string()).filter(|text| !text.is_empty())
    }

    /// A list.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(Value::List(entries)) => entries,
            Some(Value::Boolean(_) | Value::Number(_) | Value::Decimal(_) | Value::Text(_)) | None => {
                Vec::new()
            }
        }
    }

    /// A number; 0 where the value was refused, which has been noted.
    pub(super) fn number(&self, key: &str) -> i64 {
        match self.value(key) {
            Some(Value::Number(number)) => number,
            Some(Value::Boolean(_) | Value::Decimal(_) | Value::Text(_) | Value::List(_)) | None => 0,
        }
    }

    /// A boolean.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.value(key) == Some(Value::Boolean(true))
    }

    /// Whether anything is wrong so far.
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// What the check found.
    pub(super) fn into_parts(self) -> (Settings, Vec<Problem>, Vec<Warning>) {
        (self.layers.fixed, self.problems, self.warnings)
    }
}

/// The row of a key that the code names; a slip in a name is found by the first test that resolves a file.
fn row(key: &str) -> &'static Key {
    broker_key(key).expect("the key has a row")
}
