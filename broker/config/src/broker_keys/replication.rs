//! Replication between brokers.

use crate::key::{ConfigType, Key, Validator};

const ONE_REPLICA: &str = "partitions have one replica yet";
const NO_WINDOW: &str = "a replication quota counts bytes exactly, and takes no samples";
const NO_LIMIT: &str = "9223372036854775807";

/// Kafka's class that sends consumers to a replica in their own rack (KIP-392).
pub const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

pub(super) const KEYS: &[Key] = &[
    Key::long(
        "replica.lag.time.max.ms",
        "30000",
        "How long a follower may be behind before it counts as out of sync.",
    )
    .high()
    .at_least(1),
    Key::int("num.replica.fetchers", "1", "Connections to each broker that data is copied from.")
        .at_least(1)
        .cluster_wide()
        .inert(ONE_REPLICA),
    Key::int(
        "replica.fetch.max.bytes",
        "1048576",
        "How many bytes of a partition a follower asks for at once.",
    )
    .at_least(0),
    Key::int("replica.fetch.min.bytes", "1", "How many bytes a follower waits for.")
        .at_least(0)
        .inert(ONE_REPLICA),
    Key::int("replica.fetch.response.max.bytes", "10485760", "How many bytes a follower asks for at once.")
        .at_least(0),
    Key::int("replica.fetch.wait.max.ms", "500", "How long a follower waits for new data.").at_least(0),
    Key::int("replica.fetch.backoff.ms", "1000", "How long a follower waits after an error.").at_least(0),
    Key::int("replica.socket.timeout.ms", "30000", "How long a follower waits for an answer.").at_least(1),
    Key::int("replica.socket.receive.buffer.bytes", "65536", "The size of a follower's receive buffer.")
        .at_least(-1)
        .inert("the operating system sizes socket buffers by itself"),
    Key::long(
        "replica.high.watermark.checkpoint.interval.ms",
        "5000",
        "How often high watermarks are written down.",
    )
    .at_least(1)
    .inert(ONE_REPLICA),
    Key::int(
        "fetch.purgatory.purge.interval.requests",
        "1000",
        "How often answered fetches are cleared away.",
    )
    .low()
    .inert("a waiting fetch is removed as it is answered"),
    Key::int(
        "producer.purgatory.purge.interval.requests",
        "1000",
        "How often answered produce requests are cleared away.",
    )
    .low()
    .inert("a waiting request is removed as it is answered"),
    Key::int(
        "delete.records.purgatory.purge.interval.requests",
        "1",
        "How often answered deletions are cleared away.",
    )
    .low()
    .inert("a waiting request is removed as it is answered"),
    Key::unset(
        "replica.selector.class",
        ConfigType::String,
        "From which replica consumers read. Unset: from the leader. org.apache.kafka.common.replica.RackAwareReplicaSelector: from a replica that is in sync and whose broker.rack is the consumer's client.rack, if there is one.",
    )
    .valid(Validator::Custom {
        wanted: "org.apache.kafka.common.replica.RackAwareReplicaSelector, or nothing: Ottla loads no Java classes",
        accepts: |class| [RACK_AWARE_SELECTOR, ""].contains(&class),
    }),
    Key::int("replication.quota.window.num", "11", "How many samples a replication quota looks at.")
        .at_least(1)
        .low()
        .inert(NO_WINDOW),
    Key::int("replication.quota.window.size.seconds", "1", "The length of such a sample.")
        .at_least(1)
        .low()
        .inert(NO_WINDOW),
    Key::long(
        "leader.replication.throttled.rate",
        NO_LIMIT,
        "How many bytes per second a broker serves to throttled followers.",
    )
    .at_least(0)
    .cluster_wide(),
    Key::long(
        "follower.replication.throttled.rate",
        NO_LIMIT,
        "How many bytes per second a broker copies for throttled replicas.",
    )
    .at_least(0)
    .cluster_wide(),
    Key::long(
        "replica.alter.log.dirs.io.max.bytes.per.second",
        NO_LIMIT,
        "How fast replicas move between directories.",
    )
    .at_least(0)
    .cluster_wide(),
    Key::unset(
        "num.replica.alter.log.dirs.threads",
        ConfigType::Int,
        "How many replicas move between directories at once; as many as there are directories if it is not set.",
    ),
];
