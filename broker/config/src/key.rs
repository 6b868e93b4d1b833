//! What one row of the table says about a configuration key.
//!
//! A row is written once, as a constant, with the builder below; everything else (parsing, validation,
//! DescribeConfigs, the reference page) is derived from it.

/// The type of a key's value, in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number of 16 bits.
    Short,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A decimal number.
    Double,
    /// Any text.
    String,
    /// Texts separated by commas.
    List,
    /// A text that is never shown.
    Password,
    /// The name of a Java class. Kept because Kafka's tools write such keys; Ottla loads no classes.
    Class,
}

impl ConfigType {
    /// The number of the type in a DescribeConfigs response (KIP-569).
    pub fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// The type's name in the reference page.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Class => "class",
            Self::Password => "password",
        }
    }
}

/// The value of a key that nobody set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This text, written as an operator would write it.
    Text(&'static str),
    /// No value; the key's text says what follows from that.
    Null,
    /// There is none: a server without this key does not start.
    Required,
}

impl DefaultValue {
    /// The default as text, where there is one.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Required => None,
        }
    }
}

/// Which values of the right type are allowed.
#[derive(Debug, Clone, Copy)]
pub enum Validator {
    /// All of them.
    Any,
    /// Whole numbers from this one on.
    AtLeast(i64),
    /// Whole numbers from the first to the second, both included.
    Between(i64, i64),
    /// Decimal numbers from 0 to 1, both included.
    Ratio,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of these texts only; it may be empty.
    ListOf(&'static [&'static str]),
    /// At least one entry.
    NotEmpty,
    /// What a function says.
    Custom {
        /// The rule, as the end of the sentence "wanted ...".
        wanted: &'static str,
        /// Whether a text (a list: each of its entries) follows the rule.
        accepts: fn(&str) -> bool,
    },
}

/// When a change of a broker key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpdateMode {
    /// At the next start; only the properties file sets it.
    ReadOnly,
    /// At once; set on one broker.
    PerBroker,
    /// At once; set for all brokers, or on one of them to try it.
    ClusterWide,
}

impl UpdateMode {
    /// Kafka's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::PerBroker => "per-broker",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

/// How much an operator should care, in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Look at it before going into production.
    High,
    /// Worth knowing.
    Medium,
    /// For special cases.
    Low,
}

impl Importance {
    /// Kafka's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// What Ottla does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has the effect its text describes.
    Live,
    /// Accepted, stored and described, so that tools and existing files work, but without effect, for
    /// the reason given.
    Inert(&'static str),
    /// Only the default is accepted, because ignoring another value would mislead (it would leave a
    /// cluster open, or lose what somebody counted on). The text says what is missing.
    DefaultOnly(&'static str),
}

/// A broker key that gives a topic key its default. A topic key may have several, in order of precedence,
/// which differ in their unit (`log.retention.ms` before `log.retention.minutes` before `.hours`).
#[derive(Debug, Clone, Copy)]
pub struct Synonym {
    /// The broker key's name.
    pub name: &'static str,
    /// Its own default, in its own unit.
    pub default: DefaultValue,
    /// Its type.
    pub kind: ConfigType,
    /// How many of the topic key's units one of its own is; 1 means "the same value".
    pub factor: i64,
    /// When a change takes effect.
    pub update: UpdateMode,
}

impl Synonym {
    /// A broker key in another unit than its topic key, without a default of its own.
    pub(crate) const fn coarse(name: &'static str, factor: i64) -> Self {
        Self {
            name,
            default: DefaultValue::Null,
            kind: ConfigType::Int,
            factor,
            update: UpdateMode::ReadOnly,
        }
    }

    /// The same with a default.
    pub(crate) const fn with_default(mut self, text: &'static str) -> Self {
        self.default = DefaultValue::Text(text);
        self
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key's name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: ConfigType,
    /// Its value when nobody sets it.
    pub default: DefaultValue,
    /// Which values are allowed.
    pub validator: Validator,
    /// What it does.
    pub doc: &'static str,
    /// How much to care.
    pub importance: Importance,
    /// When a change takes effect. Topic keys always change at once.
    pub update: UpdateMode,
    /// What Ottla does with it.
    pub support: Support,
    /// Topic keys: the broker keys their default comes from. Broker keys: other names of the same
    /// setting (`broker.id` for `node.id`), of which the first one set counts.
    pub synonyms: &'static [Synonym],
    /// Broker keys derived from a topic key: that key's name.
    pub default_of: Option<&'static str>,
}

impl Key {
    pub(crate) const fn new(
        name: &'static str,
        kind: ConfigType,
        default: DefaultValue,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            validator: Validator::Any,
            doc,
            importance: Importance::Medium,
            update: UpdateMode::ReadOnly,
            support: Support::Live,
            synonyms: &[],
            default_of: None,
        }
    }

    pub(crate) const fn boolean(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, ConfigType::Boolean, DefaultValue::Text(default), doc)
    }

    pub(crate) const fn short(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, ConfigType::Short, DefaultValue::Text(default), doc)
    }

    pub(crate) const fn int(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, ConfigType::Int, DefaultValue::Text(default), doc)
    }

    pub(crate) const fn long(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, ConfigType::Long, DefaultValue::Text(default), doc)
    }

    pub(crate) const fn double(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, ConfigType::Double, DefaultValue::Text(default), doc)
    }

    pub(crate) const fn string(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, ConfigType::String, DefaultValue::Text(default), doc)
    }

    pub(crate) const fn list(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(name, ConfigType::List, DefaultValue::Text(default), doc)
    }

    /// A key without a default value.
    pub(crate) const fn unset(name: &'static str, kind: ConfigType, doc: &'static str) -> Self {
        Self::new(name, kind, DefaultValue::Null, doc)
    }

    /// A key that a server must have.
    pub(crate) const fn required(name: &'static str, kind: ConfigType, doc: &'static str) -> Self {
        Self::new(name, kind, DefaultValue::Required, doc)
    }

    pub(crate) const fn valid(mut self, validator: Validator) -> Self {
        self.validator = validator;
        self
    }

    pub(crate) const fn at_least(self, minimum: i64) -> Self {
        self.valid(Validator::AtLeast(minimum))
    }

    pub(crate) const fn high(mut self) -> Self {
        self.importance = Importance::High;
        self
    }

    pub(crate) const fn low(mut self) -> Self {
        self.importance = Importance::Low;
        self
    }

    pub(crate) const fn per_broker(mut self) -> Self {
        self.update = UpdateMode::PerBroker;
        self
    }

    pub(crate) const fn cluster_wide(mut self) -> Self {
        self.update = UpdateMode::ClusterWide;
        self
    }

    pub(crate) const fn inert(mut self, why: &'static str) -> Self {
        self.support = Support::Inert(why);
        self
    }

    pub(crate) const fn default_only(mut self, why: &'static str) -> Self {
        self.support = Support::DefaultOnly(why);
        self
    }

    pub(crate) const fn synonyms(mut self, synonyms: &'static [Synonym]) -> Self {
        self.synonyms = synonyms;
        self
    }

    /// Whether the value must never be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// Whether APPEND and SUBTRACT work on it.
    pub fn is_list(&self) -> bool {
        self.kind == ConfigType::List
    }
}
