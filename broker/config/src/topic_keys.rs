//! The keys of topics. Each names the broker key its default comes from.

use super::key::{ConfigType, DefaultValue, Key, Synonym, UpdateMode, Validator};

const fn broker_key(name: &'static str, kind: ConfigType, default: &'static str) -> Synonym {
    Synonym { name, default: DefaultValue::Text(default), kind, factor: 1, update: UpdateMode::ClusterWide }
}

const fn broker_key_unset(name: &'static str, kind: ConfigType) -> Synonym {
    Synonym { name, default: DefaultValue::Null, kind, factor: 1, update: UpdateMode::ClusterWide }
}

const FOR_EVER: &str = "9223372036854775807";
const MINUTES: i64 = 60_000;
const HOURS: i64 = 60 * MINUTES;

const NO_RETENTION: &str = "old segments are not removed yet";
const NO_COMPACTION: &str = "logs are not compacted yet";
const NO_TIERS: &str = "tiered storage is not built yet";

/// The smallest `segment.bytes` Kafka 4 accepts: many small files cost more than they free.
const SEGMENT_BYTES_MIN: i64 = 1024 * 1024;

fn is_replica_list(entry: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    entry == "*"
        || entry.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

const REPLICAS: Validator = Validator::Custom {
    wanted: "\"*\" or a comma-separated list of PARTITION:BROKER",
    accepts: is_replica_list,
};

fn is_gzip_level(text: &str) -> bool {
    text == "-1" || matches!(text.parse(), Ok(1..=9))
}

/// Every key of a topic, in order of name.
pub(super) const TOPIC_KEYS: &[Key] = &[
    Key::list(
        "cleanup.policy",
        "delete",
        "What becomes of old data. \"delete\" drops whole segments by age and size; \"compact\" keeps the last record of each key; both may be combined; an empty list keeps everything. As yet nothing is removed, whatever the policy; \"compact\" already refuses records without a key.",
    )
    .valid(Validator::ListOf(&["compact", "delete"]))
    .synonyms(&[broker_key("log.cleanup.policy", ConfigType::List, "delete")]),
    Key::int("compression.gzip.level", "-1", "How hard the broker compresses when it has to write gzip itself; -1 is the codec's own choice.")
        .valid(Validator::Custom { wanted: "-1 or a whole number from 1 to 9", accepts: is_gzip_level })
        .low()
        .synonyms(&[broker_key("compression.gzip.level", ConfigType::Int, "-1")]),
    Key::int("compression.lz4.level", "9", "How hard the broker compresses when it has to write lz4 itself.")
        .valid(Validator::Between(1, 17))
        .low()
        .inert("the lz4 codec has one level")
    .synonyms(&[broker_key("compression.lz4.level", ConfigType::Int, "9")]),
    Key::string(
        "compression.type",
        "producer",
        "The codec batches are stored with. \"producer\" keeps what the producer chose and is the only one without work for the broker.",
    )
    .valid(Validator::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]))
    .synonyms(&[broker_key("compression.type", ConfigType::String, "producer")]),
    Key::int("compression.zstd.level", "3", "How hard the broker compresses when it has to write zstd itself.")
        .valid(Validator::Between(-131_072, 22))
        .low()
        .synonyms(&[broker_key("compression.zstd.level", ConfigType::Int, "3")]),
    Key::long(
        "delete.retention.ms",
        "86400000",
        "How long a compacted topic keeps the mark of a deleted key, so that readers from the start learn of the deletion.",
    )
    .at_least(0)
    .inert(NO_COMPACTION)
    .synonyms(&[broker_key("log.cleaner.delete.retention.ms", ConfigType::Long, "86400000")]),
    Key::long("file.delete.delay.ms", "60000", "How long the file of a dropped segment stays before it is removed; readers that still have it open are not disturbed.")
        .at_least(0)
        .inert(NO_RETENTION)
    .synonyms(&[broker_key("log.segment.delete.delay.ms", ConfigType::Long, "60000")]),
    Key::long(
        "flush.messages",
        "1",
        "What an acknowledgement means. 1 (Ottla's default): records are synced to disk before they count, on every in-sync replica, so acks=all survives a power cut. Any other number: records count once they are in the page cache, as Kafka does by default, and the log is synced in the background after that many.",
    )
    .at_least(1)
    .high()
    .synonyms(&[broker_key("log.flush.interval.messages", ConfigType::Long, "1")]),
    Key::long("flush.ms", FOR_EVER, "With flush.messages other than 1: the longest time a record waits for the background sync, looked at once a second. By default that comes every 5 s.")
        .at_least(0)
        .synonyms(&[
            broker_key_unset("log.flush.interval.ms", ConfigType::Long),
            Synonym {
                name: "log.flush.scheduler.interval.ms",
                default: DefaultValue::Text(FOR_EVER),
                kind: ConfigType::Long,
                factor: 1,
                update: UpdateMode::ReadOnly,
            },
        ]),
    Key::list(
        "follower.replication.throttled.replicas",
        "",
        "The replicas whose catching up is throttled, as PARTITION:BROKER, or \"*\" for all.",
    )
    .valid(REPLICAS),
    Key::int("index.interval.bytes", "4096", "How many bytes of records lie between two entries of the offset index. Smaller finds a record faster and costs a larger index.")
        .at_least(0)
        .synonyms(&[broker_key("log.index.interval.bytes", ConfigType::Int, "4096")]),
    Key::list(
        "leader.replication.throttled.replicas",
        "",
        "The replicas whose serving of followers is throttled, as PARTITION:BROKER, or \"*\" for all.",
    )
    .valid(REPLICAS),
    Key::long("local.retention.bytes", "-2", "How many bytes stay on the broker's disk once older segments are in remote storage; -2 means as retention.bytes.")
        .at_least(-2)
        .inert(NO_TIERS)
        .synonyms(&[broker_key("log.local.retention.bytes", ConfigType::Long, "-2")]),
    Key::long("local.retention.ms", "-2", "How long segments stay on the broker's disk once they are in remote storage; -2 means as retention.ms.")
        .at_least(-2)
        .inert(NO_TIERS)
        .synonyms(&[broker_key("log.local.retention.ms", ConfigType::Long, "-2")]),
    Key::long("max.compaction.lag.ms", FOR_EVER, "The longest time a record stays uncompacted in a compacted topic.")
        .at_least(1)
        .inert(NO_COMPACTION)
        .synonyms(&[broker_key("log.cleaner.max.compaction.lag.ms", ConfigType::Long, FOR_EVER)]),
    Key::int("max.message.bytes", "1048588", "The largest record batch a producer may send, after compression. Consumers and followers always get at least one batch, however large.")
        .at_least(0)
        .synonyms(&[broker_key("message.max.bytes", ConfigType::Int, "1048588")]),
    Key::long("message.timestamp.after.max.ms", "3600000", "How far ahead of the broker's clock a record's time may be, where producers set the time. A clock running ahead would keep data for ever.")
        .at_least(0)
        .synonyms(&[broker_key("log.message.timestamp.after.max.ms", ConfigType::Long, "3600000")]),
    Key::long("message.timestamp.before.max.ms", FOR_EVER, "How far behind the broker's clock a record's time may be, where producers set the time.")
        .at_least(0)
        .synonyms(&[broker_key("log.message.timestamp.before.max.ms", ConfigType::Long, FOR_EVER)]),
    Key::string("message.timestamp.type", "CreateTime", "Who sets a record's time: the producer (CreateTime) or the broker as it appends (LogAppendTime).")
        .valid(Validator::OneOf(&["CreateTime", "LogAppendTime"]))
        .synonyms(&[broker_key("log.message.timestamp.type", ConfigType::String, "CreateTime")]),
    Key::double("min.cleanable.dirty.ratio", "0.5", "How much of a compacted log, from 0 to 1, may be uncompacted before it is compacted again.")
        .valid(Validator::Ratio)
        .inert(NO_COMPACTION)
        .synonyms(&[broker_key("log.cleaner.min.cleanable.ratio", ConfigType::Double, "0.5")]),
    Key::long("min.compaction.lag.ms", "0", "The shortest time a record stays uncompacted in a compacted topic.")
        .at_least(0)
        .inert(NO_COMPACTION)
        .synonyms(&[broker_key("log.cleaner.min.compaction.lag.ms", ConfigType::Long, "0")]),
    Key::int("min.insync.replicas", "1", "How many replicas must be in sync for a write with acks=all to be accepted. With three replicas, 2 survives the loss of one without losing data or availability.")
        .at_least(1)
        .high()
        .synonyms(&[broker_key("min.insync.replicas", ConfigType::Int, "1")]),
    Key::boolean("preallocate", "false", "Whether a new segment's file is made at its full size.")
        .inert("segments grow as they are written")
        .low()
        .synonyms(&[broker_key("log.preallocate", ConfigType::Boolean, "false")]),
    Key::boolean("remote.log.copy.disable", "false", "Stops copying segments to remote storage; those already there stay readable.").inert(NO_TIERS),
    Key::boolean("remote.log.delete.on.disable", "false", "Whether turning remote storage off deletes what is there.").inert(NO_TIERS),
    Key::boolean("remote.storage.enable", "false", "Whether old segments move to remote storage.").default_only(NO_TIERS),
    Key::long("retention.bytes", "-1", "With cleanup.policy \"delete\": how many bytes a partition keeps; older segments are dropped. -1 sets no limit.")
        .at_least(-1)
        .inert(NO_RETENTION)
    .synonyms(&[broker_key("log.retention.bytes", ConfigType::Long, "-1")]),
    Key::long("retention.ms", "604800000", "With cleanup.policy \"delete\": how long records are kept. A segment is dropped when its newest record is older. -1 keeps them for ever.")
        .at_least(-1)
        .inert(NO_RETENTION)
    .synonyms(&[
            broker_key_unset("log.retention.ms", ConfigType::Long),
            Synonym::coarse("log.retention.minutes", MINUTES),
            Synonym::coarse("log.retention.hours", HOURS).with_default("168"),
        ]),
    Key::int("segment.bytes", "1073741824", "The size at which a new segment is begun. Retention drops whole segments, so smaller ones free space sooner.")
        .at_least(SEGMENT_BYTES_MIN)
        .synonyms(&[broker_key("log.segment.bytes", ConfigType::Int, "1073741824")]),
    Key::int("segment.index.bytes", "10485760", "The largest size of a segment's index; a new segment is begun when it is full.")
        .at_least(4)
        .synonyms(&[broker_key("log.index.size.max.bytes", ConfigType::Int, "10485760")]),
    Key::long("segment.jitter.ms", "0", "How much earlier than segment.ms, at random, a new segment is begun, so that partitions do not roll together.")
        .at_least(0)
        .inert("segments roll at segment.ms exactly")
    .synonyms(&[
            broker_key_unset("log.roll.jitter.ms", ConfigType::Long),
            Synonym::coarse("log.roll.jitter.hours", HOURS).with_default("0"),
        ]),
    Key::long("segment.ms", "604800000", "The age at which a new segment is begun although the current one is not full.")
        .at_least(1)
        .synonyms(&[
            broker_key_unset("log.roll.ms", ConfigType::Long),
            Synonym::coarse("log.roll.hours", HOURS).with_default("168"),
        ]),
    Key::boolean("unclean.leader.election.enable", "false", "Whether a replica that is not in sync may lead when no other is left. It brings the partition back and loses what it lacks.")
        .high()
        .synonyms(&[broker_key("unclean.leader.election.enable", ConfigType::Boolean, "false")]),
];
