//! From a text to a typed value, or to an error that names the key, the value and what was wanted.

use std::fmt;

use super::key::{ConfigType, DefaultValue, Key, Support, Validator};

/// A value of the type its key asks for. Displayed in the form Kafka gives it back.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Boolean.
    Boolean(bool),
    /// Short, int or long; the key's type has been checked.
    Number(i64),
    /// Double.
    Decimal(f64),
    /// String, password or class.
    Text(String),
    /// List.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            // Debug keeps the ".0" of a whole number, as Java prints a double.
            Self::Decimal(value) => write!(f, "{value:?}"),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => f.write_str(&values.join(",")),
        }
    }
}

/// A value that its key does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value {shown} for config \"{key}\": wanted {wanted}")]
pub struct InvalidValue {
    /// The key.
    pub key: String,
    /// The value in quotes, or a stand-in if it is a secret.
    shown: String,
    /// What would have been right.
    pub wanted: String,
}

impl InvalidValue {
    /// For rules that a [`Validator`] cannot say.
    pub(crate) fn new(key: &Key, value: &str, wanted: impl Into<String>) -> Self {
        // A value from outside may be huge; the first hundred characters show what it is.
        let shown = if key.is_secret() {
            "[hidden]".to_owned()
        } else {
            let cut: String = value.chars().take(SHOWN_CHARS_MAX).collect();
            let dots = if cut.len() < value.len() { "…" } else { "" };
            format!("\"{cut}{dots}\"")
        };
        Self { key: key.name.to_owned(), shown, wanted: wanted.into() }
    }
}

/// How much of a wrong value an error repeats: enough to recognise it, too little to fill a log.
const SHOWN_CHARS_MAX: usize = 100;

impl Key {
    /// Parses and validates a value of this key.
    pub fn parse(&self, text: &str) -> Result<Value, InvalidValue> {
        let text = text.trim();
        let refuse = || InvalidValue::new(self, text, self.wanted());
        let value = self.read(text).ok_or_else(refuse)?;
        if !self.accepts(&value) {
            return Err(refuse());
        }
        if let Support::DefaultOnly(why) = self.support
            && self.default_value().is_none_or(|default| default != value)
        {
            let shown = match self.default {
                DefaultValue::Text("") | DefaultValue::Null | DefaultValue::Required => "nothing".to_owned(),
                DefaultValue::Text(default) => format!("\"{default}\""),
            };
            return Err(InvalidValue::new(self, text, format!("{shown}: {why}")));
        }
        Ok(value)
    }

    /// The key's default, parsed. None where there is none.
    pub fn default_value(&self) -> Option<Value> {
        match self.default {
            DefaultValue::Text(text) => self.read(text),
            DefaultValue::Null | DefaultValue::Required => None,
        }
    }

    /// What a right value looks like, as the end of the sentence "wanted ...".
    pub fn wanted(&self) -> String {
        match (self.validator, self.kind) {
            (Validator::AtLeast(minimum), _) => {
                format!("a whole number from {minimum} to {}", self.largest())
            }
            (Validator::Between(low, high), _) => format!("a whole number from {low} to {high}"),
            (Validator::Ratio, _) => "a decimal number from 0 to 1".to_owned(),
            (Validator::OneOf(words), _) => format!("one of {}", words.join(", ")),
            (Validator::ListOf(words), _) => {
                format!("a comma-separated list of {}, each at most once", words.join(", "))
            }
            (Validator::NotEmpty, ConfigType::List) => {
                "a comma-separated list with at least one entry".to_owned()
            }
            (Validator::NotEmpty, _) => "a text that is not empty".to_owned(),
            (Validator::Custom { wanted, .. }, _) => wanted.to_owned(),
            (Validator::Any, ConfigType::Boolean) => "true or false".to_owned(),
            (Validator::Any, ConfigType::Short) => "a whole number of 16 bits".to_owned(),
            (Validator::Any, ConfigType::Int) => "a whole number of 32 bits".to_owned(),
            (Validator::Any, ConfigType::Long) => "a whole number of 64 bits".to_owned(),
            (Validator::Any, ConfigType::Double) => "a decimal number".to_owned(),
            (Validator::Any, ConfigType::List) => "a comma-separated list".to_owned(),
            (Validator::Any, ConfigType::Class) => "the name of a class".to_owned(),
            (Validator::Any, ConfigType::String | ConfigType::Password) => "a text".to_owned(),
        }
    }

    fn largest(&self) -> i64 {
        match self.kind {
            ConfigType::Short => i64::from(i16::MAX),
            ConfigType::Int => i64::from(i32::MAX),
            ConfigType::Boolean
            | ConfigType::Long
            | ConfigType::Double
            | ConfigType::String
            | ConfigType::List
            | ConfigType::Password
            | ConfigType::Class => i64::MAX,
        }
    }

    fn read(&self, text: &str) -> Option<Value> {
        match self.kind {
            ConfigType::Boolean if text.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
            ConfigType::Boolean if text.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
            ConfigType::Boolean => None,
            ConfigType::Short => text.parse::<i16>().ok().map(|number| Value::Number(number.into())),
            ConfigType::Int => text.parse::<i32>().ok().map(|number| Value::Number(number.into())),
            ConfigType::Long => text.parse().ok().map(Value::Number),
            ConfigType::Double => {
                text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Decimal)
            }
            ConfigType::String | ConfigType::Password | ConfigType::Class => {
                Some(Value::Text(text.to_owned()))
            }
            ConfigType::List if text.is_empty() => Some(Value::List(Vec::new())),
            ConfigType::List => {
                Some(Value::List(text.split(',').map(|entry| entry.trim().to_owned()).collect()))
            }
        }
    }

    fn accepts(&self, value: &Value) -> bool {
        match (self.validator, value) {
            (Validator::AtLeast(minimum), Value::Number(number)) => *number >= minimum,
            (Validator::Between(low, high), Value::Number(number)) => (low..=high).contains(number),
            (Validator::Ratio, Value::Decimal(number)) => (0.0..=1.0).contains(number),
            (Validator::OneOf(words), Value::Text(text)) => words.contains(&text.as_str()),
            (Validator::ListOf(words), Value::List(entries)) => {
                let known = entries.iter().all(|entry| words.contains(&entry.as_str()));
                // A word twice is surely a slip, and Kafka refuses it too since 4.2 (KIP-1161).
                known && (1..entries.len()).all(|i| !entries[..i].contains(&entries[i]))
            }
            (Validator::NotEmpty, Value::List(entries)) => {
                !entries.is_empty() && entries.iter().all(|entry| !entry.is_empty())
            }
            (Validator::NotEmpty, Value::Text(text)) => !text.is_empty(),
            (Validator::Custom { accepts, .. }, Value::List(entries)) => {
                entries.iter().all(|entry| accepts(entry))
            }
            (Validator::Custom { accepts, .. }, value) => accepts(&value.to_string()),
            (Validator::Any, _) => true,
            // A validator for another type than the key's: the table's test fails on such a row.
            (
                Validator::AtLeast(_)
                | Validator::Between(..)
                | Validator::Ratio
                | Validator::OneOf(_)
                | Validator::ListOf(_)
                | Validator::NotEmpty,
                _,
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Key = Key::int("x.minutes", "5", "").at_least(-1);
    const POLICY: Key = Key::list("x.policy", "delete", "").valid(Validator::ListOf(&["compact", "delete"]));

    #[track_caller]
    fn refused(key: &Key, text: &str, message: &str) {
        assert_eq!(key.parse(text).expect_err("refused").to_string(), message);
    }

    #[test]
    fn a_right_value_becomes_its_type() {
        assert_eq!(MINUTES.parse(" 7 "), Ok(Value::Number(7)));
        assert_eq!(Key::boolean("b", "true", "").parse("FALSE"), Ok(Value::Boolean(false)));
        assert_eq!(Key::double("d", "0.5", "").parse("1").map(|v| v.to_string()), Ok("1.0".to_owned()));
        assert_eq!(POLICY.parse("").map(|v| v.to_string()), Ok(String::new()));
        assert_eq!(POLICY.parse("delete , compact").map(|v| v.to_string()), Ok("delete,compact".to_owned()));
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_was_wanted() {
        refused(
            &MINUTES,
            "-2",
            "invalid value \"-2\" for config \"x.minutes\": wanted a whole number from -1 to 2147483647",
        );
        refused(
            &MINUTES,
            "3000000000",
            "invalid value \"3000000000\" for config \"x.minutes\": wanted a whole number from -1 to 2147483647",
        );
        refused(
            &Key::boolean("b", "true", ""),
            "yes",
            "invalid value \"yes\" for config \"b\": wanted true or false",
        );
        let wanted = "wanted a comma-separated list of compact, delete, each at most once";
        refused(&POLICY, "shred", &format!("invalid value \"shred\" for config \"x.policy\": {wanted}"));
        refused(
            &POLICY,
            "delete,delete",
            &format!("invalid value \"delete,delete\" for config \"x.policy\": {wanted}"),
        );
        refused(&POLICY, "delete,", &format!("invalid value \"delete,\" for config \"x.policy\": {wanted}"));
        assert!(Key::double("d", "0", "").parse("NaN").is_err());
    }

    #[test]
    fn a_key_not_built_yet_takes_its_default_only() {
        let key = Key::boolean("tiers", "false", "").default_only("tiered storage is not built yet");
        assert_eq!(key.parse("false"), Ok(Value::Boolean(false)));
        refused(
            &key,
            "true",
            "invalid value \"true\" for config \"tiers\": wanted \"false\": tiered storage is not built yet",
        );
    }

    #[test]
    fn a_secret_and_a_huge_value_stay_out_of_the_error() {
        let secret = Key::unset("p", ConfigType::Password, "").valid(Validator::NotEmpty);
        refused(&secret, "", "invalid value [hidden] for config \"p\": wanted a text that is not empty");
        let error = MINUTES.parse(&"9".repeat(1_000_000)).expect_err("refused").to_string();
        assert!(error.len() < 300, "{}", error.len());
    }
}
