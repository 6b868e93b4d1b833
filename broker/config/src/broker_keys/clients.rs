//! Connections, requests, and the threads that serve them.

use crate::key::{ConfigType, Key};

const NO_POOLS: &str = "connections share one pool of threads, one per core";
const NO_QUOTAS: &str = "client quotas are not built yet";

pub(super) const KEYS: &[Key] = &[
    Key::int("num.network.threads", "3", "Threads that move bytes.")
        .at_least(1)
        .cluster_wide()
        .inert(NO_POOLS),
    Key::int("num.io.threads", "8", "Threads that answer requests.")
        .at_least(1)
        .cluster_wide()
        .inert(NO_POOLS),
    Key::int("background.threads", "10", "Threads for background work.")
        .at_least(1)
        .cluster_wide()
        .inert(NO_POOLS),
    Key::int(
        "socket.send.buffer.bytes",
        "102400",
        "The size of a connection's send buffer; -1 leaves it to the operating system.",
    )
    .at_least(-1)
    .inert("the operating system sizes socket buffers by itself"),
    Key::int(
        "socket.receive.buffer.bytes",
        "102400",
        "The size of a connection's receive buffer; -1 leaves it to the operating system.",
    )
    .at_least(-1)
    .inert("the operating system sizes socket buffers by itself"),
    Key::int(
        "socket.request.max.bytes",
        "104857600",
        "The largest request. A longer one closes its connection before a byte of it is kept.",
    )
    .at_least(1),
    Key::int("socket.listen.backlog.size", "50", "How many connections may wait to be accepted.")
        .at_least(1)
        .inert("the backlog is fixed"),
    Key::int("queued.max.requests", "500", "How many requests may wait for an answer.")
        .at_least(1)
        .inert("requests are bounded by memory, not by number"),
    Key::long(
        "queued.max.request.bytes",
        "-1",
        "How many bytes of requests may wait for an answer; -1 leaves it to the memory budget.",
    )
    .inert("the memory budget follows the container's limit"),
    Key::long(
        "connections.max.idle.ms",
        "600000",
        "After how long an idle connection is closed; -1 never closes it.",
    ),
    Key::int(
        "max.connections",
        "2147483647",
        "How many connections the broker accepts at once; never more than the limit of open files has room for beside the logs.",
    )
    .at_least(0)
    .cluster_wide(),
    Key::int("max.connections.per.ip", "2147483647", "How many connections one address may have.")
        .at_least(0)
        .cluster_wide()
        .inert("connections are not counted by address yet"),
    Key::string(
        "max.connections.per.ip.overrides",
        "",
        "Another number for single addresses, as ADDRESS:NUMBER.",
    )
    .cluster_wide()
    .inert("connections are not counted by address yet"),
    Key::int(
        "max.connection.creation.rate",
        "2147483647",
        "How many new connections the broker accepts per second.",
    )
    .at_least(0)
    .cluster_wide()
    .inert(NO_QUOTAS),
    Key::int("fetch.max.bytes", "57671680", "The largest answer to a fetch.").at_least(1024),
    Key::int("max.incremental.fetch.session.cache.slots", "1000", "How many fetch sessions are kept.")
        .at_least(0)
        .inert("every fetch is a full one; clients fall back to that by themselves"),
    Key::int(
        "max.request.partition.size.limit",
        "2000",
        "How many partitions one answer about topics describes; a client asks again for the rest.",
    )
    .at_least(1),
    Key::int(
        "request.timeout.ms",
        "30000",
        "How long the broker itself waits for an answer from another node.",
    )
    .at_least(1),
    Key::int("quota.window.num", "11", "How many samples a quota looks at.")
        .at_least(1)
        .low()
        .inert(NO_QUOTAS),
    Key::int("quota.window.size.seconds", "1", "The length of such a sample.")
        .at_least(1)
        .low()
        .inert(NO_QUOTAS),
    Key::list("metric.reporters", "", "Java classes that receive metrics.")
        .low()
        .inert("metrics are served over HTTP, see ottla.http.listener"),
    Key::unset(
        "early.start.listeners",
        ConfigType::List,
        "Listeners that open before the broker has registered.",
    )
    .low()
    .inert("controller listeners open first"),
    Key::unset("client.quota.callback.class", ConfigType::Class, "A Java class that decides quotas.")
        .low()
        .default_only("Ottla loads no Java classes"),
];
