//! Consumer groups, share groups and transactions.

use crate::key::{Key, Validator};

const NO_GROUPS: &str = "groups of the consumer protocol (KIP-848) are not built yet";
const NO_SHARE: &str = "share groups are not built yet";
const NO_TXN: &str = "transactions are not built yet";

fn is_migration_policy(text: &str) -> bool {
    ["disabled", "downgrade", "upgrade", "bidirectional"]
        .iter()
        .any(|policy| policy.eq_ignore_ascii_case(text))
}

pub(super) const KEYS: &[Key] = &[
    Key::int(
        "offsets.topic.num.partitions",
        "50",
        "Partitions of the topic that holds committed offsets; fixed once it exists.",
    )
    .at_least(1)
    .high(),
    Key::short(
        "offsets.topic.replication.factor",
        "3",
        "Replicas of the topic that holds committed offsets.",
    )
    .at_least(1)
    .high(),
    Key::int(
        "offsets.topic.segment.bytes",
        "104857600",
        "Segment size of the topic that holds committed offsets.",
    )
    .at_least(1),
    Key::int("offsets.topic.compression.codec", "0", "Codec of the topic that holds committed offsets.")
        .low()
        .valid(Validator::Between(0, 4)),
    Key::int("offsets.retention.minutes", "10080", "How long the offsets of an empty group are kept.")
        .at_least(1)
        .high(),
    Key::long("offsets.retention.check.interval.ms", "600000", "How often expired offsets are looked for.")
        .at_least(1),
    Key::int("offsets.commit.timeout.ms", "5000", "How long a commit may take.")
        .at_least(1)
        .inert("a commit is answered when it is committed, or when its leader can no longer say"),
    Key::int(
        "offsets.load.buffer.size",
        "5242880",
        "How many bytes are read at once when offsets are loaded.",
    )
    .at_least(1)
    .low()
    .inert("1 MiB is read at once"),
    Key::int("offset.metadata.max.bytes", "4096", "The largest note a consumer may store with an offset.")
        .at_least(0),
    Key::int("group.min.session.timeout.ms", "6000", "The shortest session a classic consumer may ask for.")
        .at_least(0),
    Key::int(
        "group.max.session.timeout.ms",
        "1800000",
        "The longest session a classic consumer may ask for.",
    )
    .at_least(0),
    Key::int(
        "group.initial.rebalance.delay.ms",
        "3000",
        "How long a new classic group waits for more members.",
    )
    .at_least(0),
    Key::int("group.max.size", "2147483647", "How many members a classic group may have.").at_least(1),
    Key::list(
        "group.coordinator.rebalance.protocols",
        "classic,consumer,streams",
        "The group protocols offered.",
    )
    .inert(NO_GROUPS),
    Key::int(
        "group.coordinator.threads",
        "4",
        "How many partitions of __consumer_offsets are read at once when their groups are taken over.",
    )
    .at_least(1),
    Key::int(
        "group.coordinator.append.linger.ms",
        "-1",
        "How long a coordinator's records wait to be written together.",
    )
    .at_least(-1)
    .inert("what is asked while a batch is on its way shares the next one"),
    Key::int(
        "group.consumer.session.timeout.ms",
        "45000",
        "The session of a consumer of the newer protocol.",
    )
    .at_least(1)
    .inert(NO_GROUPS),
    Key::int("group.consumer.min.session.timeout.ms", "45000", "The shortest such session a group may set.")
        .at_least(1)
        .inert(NO_GROUPS),
    Key::int("group.consumer.max.session.timeout.ms", "60000", "The longest such session a group may set.")
        .at_least(1)
        .inert(NO_GROUPS),
    Key::int(
        "group.consumer.heartbeat.interval.ms",
        "5000",
        "How often a consumer of the newer protocol reports.",
    )
    .at_least(1)
    .inert(NO_GROUPS),
    Key::int(
        "group.consumer.min.heartbeat.interval.ms",
        "5000",
        "The shortest such interval a group may set.",
    )
    .at_least(1)
    .inert(NO_GROUPS),
    Key::int(
        "group.consumer.max.heartbeat.interval.ms",
        "15000",
        "The longest such interval a group may set.",
    )
    .at_least(1)
    .inert(NO_GROUPS),
    Key::int(
        "group.consumer.max.size",
        "2147483647",
        "How many members a group of the newer protocol may have.",
    )
    .at_least(1)
    .inert(NO_GROUPS),
    Key::list(
        "group.consumer.assignors",
        "uniform,range",
        "The assignors offered to groups of the newer protocol.",
    )
    .inert(NO_GROUPS),
    Key::string(
        "group.consumer.migration.policy",
        "bidirectional",
        "Between which protocols a live group may move.",
    )
    .valid(Validator::Custom {
        wanted: "one of disabled, downgrade, upgrade, bidirectional",
        accepts: is_migration_policy,
    })
    .inert(NO_GROUPS),
    Key::int("group.share.delivery.count.limit", "5", "How often a record is delivered to a share group.")
        .at_least(2)
        .inert(NO_SHARE),
    Key::int(
        "group.share.record.lock.duration.ms",
        "30000",
        "How long a share group's member holds a record.",
    )
    .at_least(1000)
    .inert(NO_SHARE),
    Key::int("group.share.max.size", "200", "How many members a share group may have.")
        .at_least(1)
        .inert(NO_SHARE),
    Key::int("group.share.heartbeat.interval.ms", "5000", "How often a share group's member reports.")
        .at_least(1)
        .inert(NO_SHARE),
    Key::int("group.share.session.timeout.ms", "45000", "The session of a share group's member.")
        .at_least(1)
        .inert(NO_SHARE),
    Key::int(
        "group.share.partition.max.record.locks",
        "2000",
        "How many records of a partition may be held.",
    )
    .at_least(1)
    .inert(NO_SHARE),
    Key::int(
        "share.coordinator.state.topic.num.partitions",
        "50",
        "Partitions of the topic that holds share groups' state.",
    )
    .at_least(1)
    .inert(NO_SHARE),
    Key::short(
        "share.coordinator.state.topic.replication.factor",
        "3",
        "Replicas of the topic that holds share groups' state.",
    )
    .at_least(1)
    .inert(NO_SHARE),
    Key::short("share.coordinator.state.topic.min.isr", "2", "min.insync.replicas of that topic.")
        .at_least(1)
        .inert(NO_SHARE),
    Key::int(
        "transaction.state.log.num.partitions",
        "50",
        "Partitions of the topic that holds transactions; fixed once it exists.",
    )
    .at_least(1)
    .high()
    .inert(NO_TXN),
    Key::short(
        "transaction.state.log.replication.factor",
        "3",
        "Replicas of the topic that holds transactions.",
    )
    .at_least(1)
    .high()
    .inert(NO_TXN),
    Key::int("transaction.state.log.min.isr", "2", "min.insync.replicas of that topic.")
        .at_least(1)
        .high()
        .inert(NO_TXN),
    Key::int("transaction.state.log.segment.bytes", "104857600", "Segment size of that topic.")
        .at_least(1)
        .inert(NO_TXN),
    Key::int("transaction.max.timeout.ms", "900000", "The longest time a producer may give a transaction.")
        .at_least(1)
        .inert(NO_TXN),
    Key::int("transactional.id.expiration.ms", "604800000", "How long an unused transactional id is kept.")
        .at_least(1)
        .inert(NO_TXN),
    Key::int(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "10000",
        "How often transactions that took too long are looked for.",
    )
    .at_least(1)
    .low()
    .inert(NO_TXN),
    Key::int(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        "3600000",
        "How often unused transactional ids are looked for.",
    )
    .at_least(1)
    .low()
    .inert(NO_TXN),
    Key::boolean(
        "transaction.partition.verification.enable",
        "true",
        "Whether a leader asks the coordinator whether a transaction is open.",
    )
    .cluster_wide()
    .low()
    .inert(NO_TXN),
];
