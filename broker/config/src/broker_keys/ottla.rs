//! Ottla's own keys. Kafka has none of them.

use crate::key::{ConfigType, Key};

pub(super) const KEYS: &[Key] = &[
    Key::unset(
        "ottla.http.listener",
        ConfigType::String,
        "Where probes and metrics are served over HTTP, as HOST:PORT; no host listens on all interfaces. Unset: nowhere.",
    ),
    Key::unset(
        "ottla.config.hash",
        ConfigType::String,
        "Any text; the node reports it back at /v1/node, so that an operator can tell which configuration runs.",
    )
    .low(),
    Key::long(
        "ottla.recovery.bytes.per.second",
        "104857600",
        "How many bytes per second a broker serves to replicas that are not in sync and lack committed records, beyond two bytes for each that producers write to it. 0: no limit.",
    )
    .at_least(0)
    .cluster_wide(),
];
