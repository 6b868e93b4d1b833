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
];
