//! What a log and the produce path need to know about a topic, resolved and typed.

use std::time::Duration;

use super::layers::{Layers, Settings};
use super::topic_key;
use super::value::{InvalidValue, Value};

/// A bound that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    /// No bound.
    Unlimited,
    /// Up to and including this.
    AtMost(T),
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

/// What an acknowledgement promises (`flush.messages`, `flush.ms`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `flush.messages=1`: a record counts once it is synced.
    Synced,
    /// A record counts once it is in the page cache; syncs happen in the background.
    PageCache {
        /// Sync when so many records wait.
        flush_records: Limit<u64>,
        /// Sync when a record has waited so long.
        flush_wait: Limit<Duration>,
    },
}

/// What becomes of old data (`cleanup.policy`). Both may be on; neither keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Drop segments beyond the retention limits.
    pub delete: bool,
    /// Keep the last record of each key.
    pub compact: bool,
}

/// Who sets the time of a record (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, within these bounds around the broker's clock.
    CreateTime {
        /// How far behind it may be.
        before_max: Limit<Duration>,
        /// How far ahead it may be.
        after_max: Limit<Duration>,
    },
    /// The broker, as it appends.
    LogAppendTime,
}

/// The codec batches are stored with (`compression.type` and the level of that codec).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// What the producer chose.
    Producer,
    /// None.
    Uncompressed,
    /// Gzip at a level; -1 is the codec's own choice.
    Gzip(i32),
    /// Snappy.
    Snappy,
    /// Lz4 at a level.
    Lz4(i32),
    /// Zstandard at a level.
    Zstd(i32),
}

/// The settings of one topic as one broker resolves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicConfig {
    /// `cleanup.policy`
    pub cleanup: CleanupPolicy,
    /// `compression.type`
    pub compression: Compression,
    /// `flush.messages`, `flush.ms`
    pub durability: Durability,
    /// `index.interval.bytes`
    pub index_interval: ByteCount,
    /// `max.message.bytes`: the largest batch, compressed
    pub batch_size_max: ByteCount,
    /// `min.insync.replicas`
    pub min_insync_replicas: u32,
    /// `segment.bytes`
    pub segment_size_max: ByteCount,
    /// `segment.index.bytes`
    pub segment_index_size_max: ByteCount,
    /// `segment.ms`
    pub segment_age_max: Duration,
    /// `message.timestamp.type` and its bounds
    pub timestamps: TimestampType,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
    /// `producer.id.expiration.ms`, of the broker: no topic has a value of its own
    pub producer_idle_max: Duration,
    /// `producer.id.expiration.check.interval.ms`, of the broker likewise
    pub producer_check_interval: Duration,
}

/// Why a topic's overrides are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// No topic has such a key.
    #[error("unknown topic config \"{key}\"{}", hint(.key))]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key does not take its value.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
    /// Two keys contradict each other.
    #[error("conflicting topic configs: {0}")]
    Conflict(&'static str),
}

/// People set the broker's key on a topic, and the other way round.
fn hint(key: &str) -> String {
    super::broker_key(key)
        .and_then(|row| row.default_of)
        .map(|topic_key| format!(": it is a broker config, topics call it \"{topic_key}\""))
        .unwrap_or_default()
}

impl TopicConfig {
    /// Checks the overrides of a topic and resolves them.
    pub fn validate(overrides: &Settings, layers: &Layers) -> Result<Self, TopicConfigError> {
        for (key, value) in overrides {
            let row = topic_key(key).ok_or_else(|| TopicConfigError::UnknownKey { key: key.clone() })?;
            row.parse(value)?;
        }
        let read = Reader { overrides, layers };
        if read.number("min.compaction.lag.ms") > read.number("max.compaction.lag.ms") {
            return Err(TopicConfigError::Conflict(
                "\"min.compaction.lag.ms\" is larger than \"max.compaction.lag.ms\"",
            ));
        }
        Ok(Self::resolve(overrides, layers))
    }

    /// Resolves the settings of a topic. It always can: a value that its key does not take (which another
    /// release may have stored) is passed over in favour of the next layer's.
    pub fn resolve(overrides: &Settings, layers: &Layers) -> Self {
        let read = Reader { overrides, layers };
        let policies = read.list("cleanup.policy");
        Self {
            cleanup: CleanupPolicy {
                delete: policies.iter().any(|policy| policy == "delete"),
                compact: policies.iter().any(|policy| policy == "compact"),
            },
            compression: read.compression(),
            durability: read.durability(),
            index_interval: read.bytes("index.interval.bytes"),
            batch_size_max: read.bytes("max.message.bytes"),
            min_insync_replicas: u32::try_from(read.number("min.insync.replicas")).unwrap_or(u32::MAX),
            segment_size_max: read.bytes("segment.bytes"),
            segment_index_size_max: read.bytes("segment.index.bytes"),
            segment_age_max: read.duration("segment.ms"),
            timestamps: read.timestamps(),
            unclean_leader_election: read.boolean("unclean.leader.election.enable"),
            producer_idle_max: read.broker_duration("producer.id.expiration.ms"),
            producer_check_interval: read.broker_duration("producer.id.expiration.check.interval.ms"),
        }
    }
}

impl Default for TopicConfig {
    /// A topic of which nobody set anything.
    fn default() -> Self {
        Self::resolve(&Settings::default(), &Layers::default())
    }
}

/// Reads single keys of one topic. It asks for keys that have a row and a default; a slip in a name is
/// found by the first test that resolves anything.
struct Reader<'a> {
    overrides: &'a Settings,
    layers: &'a Layers,
}

impl Reader<'_> {
    fn value(&self, name: &str) -> Value {
        let row = topic_key(name).expect("the key has a row");
        self.layers.topic_value(row, self.overrides).expect("the key has a default")
    }

    fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Number(number) => number,
            Value::Boolean(_) | Value::Decimal(_) | Value::Text(_) | Value::List(_) => 0,
        }
    }

    fn boolean(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Boolean(value) => value,
            Value::Number(_) | Value::Decimal(_) | Value::Text(_) | Value::List(_) => false,
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::List(entries) => entries,
            Value::Boolean(_) | Value::Number(_) | Value::Decimal(_) | Value::Text(_) => Vec::new(),
        }
    }

    fn bytes(&self, name: &str) -> ByteCount {
        ByteCount(u64::try_from(self.number(name)).unwrap_or(0))
    }

    fn duration(&self, name: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.number(name)).unwrap_or(0))
    }

    fn durability(&self) -> Durability {
        match self.number("flush.messages") {
            1 => Durability::Synced,
            records => Durability::PageCache {
                flush_records: unless_for_ever(records, |records| records),
                flush_wait: unless_for_ever(self.number("flush.ms"), Duration::from_millis),
            },
        }
    }

    /// Of a key that no topic has a value of its own for.
    fn broker_duration(&self, name: &str) -> Duration {
        let row = super::broker_key(name).expect("the key has a row");
        match self.layers.broker_value(row) {
            Some(Value::Number(ms)) => Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
            Some(Value::Boolean(_) | Value::Decimal(_) | Value::Text(_) | Value::List(_)) | None => {
                Duration::MAX
            }
        }
    }

    fn timestamps(&self) -> TimestampType {
        let bound = |name| unless_for_ever(self.number(name), Duration::from_millis);
        if self.value("message.timestamp.type").to_string() == "LogAppendTime" {
            return TimestampType::LogAppendTime;
        }
        TimestampType::CreateTime {
            before_max: bound("message.timestamp.before.max.ms"),
            after_max: bound("message.timestamp.after.max.ms"),
        }
    }

    fn compression(&self) -> Compression {
        let level = |name| i32::try_from(self.number(name)).unwrap_or(0);
        match self.value("compression.type").to_string().as_str() {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip(level("compression.gzip.level")),
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4(level("compression.lz4.level")),
            "zstd" => Compression::Zstd(level("compression.zstd.level")),
            _ => Compression::Producer,
        }
    }
}

/// Kafka writes "no limit" as -1 in retention keys.
fn unless_negative<T>(number: i64, limit: impl Fn(u64) -> T) -> Limit<T> {
    u64::try_from(number).map_or(Limit::Unlimited, |number| Limit::AtMost(limit(number)))
}

/// Kafka writes "no limit" as the largest long in flush and timestamp keys.
fn unless_for_ever<T>(number: i64, limit: impl Fn(u64) -> T) -> Limit<T> {
    if number == i64::MAX { Limit::Unlimited } else { unless_negative(number, limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn validate(pairs: &[(&str, &str)]) -> Result<TopicConfig, String> {
        TopicConfig::validate(&settings(pairs), &Layers::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn nobody_set_anything() {
        let config = TopicConfig::default();
        assert_eq!(config.durability, Durability::Synced);
        assert_eq!(config.cleanup, CleanupPolicy { delete: true, compact: false });
        assert_eq!(config.batch_size_max, ByteCount(1_048_588));
        assert_eq!(config.segment_size_max, ByteCount(1 << 30));
        assert_eq!(config.compression, Compression::Producer);
        assert_eq!(
            config.timestamps,
            TimestampType::CreateTime {
                before_max: Limit::Unlimited,
                after_max: Limit::AtMost(Duration::from_secs(3600)),
            }
        );
    }

    #[test]
    fn overrides_win_over_the_broker_which_wins_over_the_default() {
        let layers = Layers {
            fixed: settings(&[("log.segment.bytes", "2097152"), ("log.roll.hours", "1")]),
            ..Layers::default()
        };
        let config =
            TopicConfig::validate(&settings(&[("segment.bytes", "1048576")]), &layers).expect("valid");
        assert_eq!(config.segment_size_max, ByteCount(1_048_576));
        assert_eq!(config.segment_age_max, Duration::from_secs(3600));
    }

    #[test]
    fn how_long_idle_producers_are_remembered_is_the_brokers_to_say() {
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(TopicConfig::default().producer_idle_max, day);
        let cluster = settings(&[("producer.id.expiration.ms", "5000")]);
        let layers = Layers { cluster, ..Layers::default() };
        let config = TopicConfig::validate(&Settings::default(), &layers).expect("valid");
        assert_eq!(config.producer_idle_max, Duration::from_secs(5));
        assert_eq!(config.producer_check_interval, Duration::from_secs(600));
    }

    #[test]
    fn any_flush_messages_but_one_is_the_page_cache() {
        let page_cache =
            |records, wait| Ok(Durability::PageCache { flush_records: records, flush_wait: wait });
        let durability = |pairs: &[_]| validate(pairs).map(|config| config.durability);
        assert_eq!(durability(&[("flush.messages", "1"), ("flush.ms", "5")]), Ok(Durability::Synced));
        assert_eq!(
            durability(&[("flush.messages", "500")]),
            page_cache(Limit::AtMost(500), Limit::Unlimited)
        );
        assert_eq!(
            durability(&[("flush.messages", "9223372036854775807"), ("flush.ms", "5")]),
            page_cache(Limit::Unlimited, Limit::AtMost(Duration::from_millis(5)))
        );
    }

    #[test]
    fn wrong_overrides_are_refused() {
        assert_eq!(validate(&[("colour", "blue")]), Err("unknown topic config \"colour\"".to_owned()));
        assert_eq!(
            validate(&[("log.retention.ms", "5")]),
            Err("unknown topic config \"log.retention.ms\": it is a broker config, topics call it \"retention.ms\""
                .to_owned())
        );
        assert_eq!(
            validate(&[("retention.ms", "soon")]),
            Err("invalid value \"soon\" for config \"retention.ms\": wanted a whole number from -1 to 9223372036854775807"
                .to_owned())
        );
        assert_eq!(
            validate(&[("max.compaction.lag.ms", "5"), ("min.compaction.lag.ms", "6")]),
            Err("conflicting topic configs: \"min.compaction.lag.ms\" is larger than \"max.compaction.lag.ms\""
                .to_owned())
        );
    }

    #[test]
    fn every_list_that_cleanup_policy_takes_is_understood() {
        for (text, delete, compact) in [
            ("", false, false),
            ("delete", true, false),
            ("compact", false, true),
            ("compact, delete", true, true),
        ] {
            let config = validate(&[("cleanup.policy", text)]).expect(text);
            assert_eq!(config.cleanup, CleanupPolicy { delete, compact });
        }
    }

    #[test]
    fn the_level_belongs_to_the_codec() {
        let codec = |name| {
            validate(&[
                ("compression.type", name),
                ("compression.gzip.level", "7"),
                ("compression.lz4.level", "8"),
                ("compression.zstd.level", "9"),
            ])
            .map(|config| config.compression)
        };
        assert_eq!(codec("gzip"), Ok(Compression::Gzip(7)));
        assert_eq!(codec("lz4"), Ok(Compression::Lz4(8)));
        assert_eq!(codec("zstd"), Ok(Compression::Zstd(9)));
        assert_eq!(codec("snappy"), Ok(Compression::Snappy));
        assert_eq!(codec("uncompressed"), Ok(Compression::Uncompressed));
    }
}
