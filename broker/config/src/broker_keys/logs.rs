//! Logs on disk, where no topic key carries the setting.

use crate::key::Key;

const NO_COMPACTION: &str = "logs are not compacted yet";

pub(super) const KEYS: &[Key] = &[
    Key::long("log.retention.check.interval.ms", "300000", "How often old segments are looked for.")
        .at_least(1)
        .inert("old segments are not removed yet"),
    Key::int(
        "num.recovery.threads.per.data.dir",
        "2",
        "Threads that check a directory's logs at a start after a crash.",
    )
    .at_least(1)
    .cluster_wide()
    .inert("each directory is recovered by its own I/O thread"),
    Key::int(
        "log.flush.offset.checkpoint.interval.ms",
        "60000",
        "How often the point from which recovery starts is written down.",
    )
    .at_least(0)
    .inert("it is written every 64 MiB or 5 seconds, so that recovery is short"),
    Key::int(
        "log.flush.start.offset.checkpoint.interval.ms",
        "60000",
        "How often the start of each log is written down.",
    )
    .at_least(0)
    .inert("it is written when it changes"),
    Key::long(
        "log.dir.failure.timeout.ms",
        "30000",
        "How long a failed directory may wait to be reported before the broker stops.",
    )
    .at_least(1)
    .low()
    .inert("a failed directory is reported with every heartbeat, and its broker serves on from the others"),
    Key::boolean("log.cleaner.enable", "true", "Whether compaction runs.").inert(NO_COMPACTION),
    Key::int("log.cleaner.threads", "1", "Threads that compact.")
        .at_least(0)
        .cluster_wide()
        .inert(NO_COMPACTION),
    Key::long("log.cleaner.dedupe.buffer.size", "134217728", "Memory for the keys met while compacting.")
        .cluster_wide()
        .inert(NO_COMPACTION),
    Key::int("log.cleaner.io.buffer.size", "524288", "Memory for reading and writing while compacting.")
        .at_least(0)
        .cluster_wide()
        .low()
        .inert(NO_COMPACTION),
    Key::double("log.cleaner.io.buffer.load.factor", "0.9", "How full the table of keys may get.")
        .cluster_wide()
        .low()
        .inert(NO_COMPACTION),
    Key::double(
        "log.cleaner.io.max.bytes.per.second",
        "1.7976931348623157E308",
        "How fast compaction may read and write.",
    )
    .cluster_wide()
    .inert(NO_COMPACTION),
    Key::long(
        "log.cleaner.backoff.ms",
        "15000",
        "How long the compactor sleeps when it finds nothing to do.",
    )
    .at_least(0)
    .cluster_wide()
    .inert(NO_COMPACTION),
    Key::int(
        "producer.id.expiration.ms",
        "86400000",
        "How long an idle producer's sequence numbers are remembered.",
    )
    .at_least(1)
    .cluster_wide(),
    Key::int(
        "producer.id.expiration.check.interval.ms",
        "600000",
        "How often idle producers are looked for.",
    )
    .at_least(1)
    .low(),
];
