//! Tiered storage.

use crate::key::{ConfigType, Key};

const NO_TIERS: &str = "tiered storage is not built yet";

pub(super) const KEYS: &[Key] = &[
    Key::boolean(
        "remote.log.storage.system.enable",
        "false",
        "Whether old segments may move to remote storage.",
    )
    .default_only(NO_TIERS),
    Key::unset(
        "remote.log.storage.manager.class.name",
        ConfigType::String,
        "The Java class that talks to remote storage.",
    )
    .inert(NO_TIERS),
    Key::string(
        "remote.log.metadata.manager.class.name",
        "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
        "The Java class that keeps track of remote segments.",
    )
    .inert(NO_TIERS),
    Key::int("remote.log.manager.copier.thread.pool.size", "10", "Threads that copy segments.")
        .at_least(1)
        .cluster_wide()
        .inert(NO_TIERS),
    Key::int("remote.log.manager.expiration.thread.pool.size", "10", "Threads that drop old segments.")
        .at_least(1)
        .cluster_wide()
        .inert(NO_TIERS),
    Key::int("remote.log.manager.follower.thread.pool.size", "2", "Threads that follow remote segments.")
        .at_least(1)
        .cluster_wide()
        .inert(NO_TIERS),
    Key::int("remote.log.reader.threads", "10", "Threads that read remote segments.")
        .at_least(1)
        .cluster_wide()
        .inert(NO_TIERS),
    Key::int("remote.log.reader.max.pending.tasks", "100", "How many remote reads may wait.")
        .at_least(1)
        .low()
        .inert(NO_TIERS),
    Key::long("remote.log.manager.task.interval.ms", "30000", "How often segments to move are looked for.")
        .at_least(1)
        .low()
        .inert(NO_TIERS),
    Key::long(
        "remote.log.index.file.cache.total.size.bytes",
        "1073741824",
        "How many bytes of remote indexes are kept on disk.",
    )
    .at_least(1)
    .cluster_wide()
    .low()
    .inert(NO_TIERS),
    Key::long(
        "remote.log.manager.copy.max.bytes.per.second",
        "9223372036854775807",
        "How fast segments are copied.",
    )
    .at_least(1)
    .cluster_wide()
    .inert(NO_TIERS),
    Key::long(
        "remote.log.manager.fetch.max.bytes.per.second",
        "9223372036854775807",
        "How fast remote segments are read.",
    )
    .at_least(1)
    .cluster_wide()
    .inert(NO_TIERS),
    Key::int("remote.fetch.max.wait.ms", "500", "How long a fetch waits for remote storage.")
        .at_least(1)
        .cluster_wide()
        .inert(NO_TIERS),
];
