//! The settings of one log.

use std::time::Duration;

/// The settings of one log: a topic's configuration as far as the log itself obeys it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is not grown beyond it, unless one batch alone is larger.
    pub segment_bytes: u32,
    /// `segment.ms`, exactly: there is no jitter.
    pub segment_ms: i64,
    /// `segment.index.bytes`: a full index rolls the segment.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: how many bytes of batches lie between two index entries, at least.
    pub index_interval_bytes: u32,
    /// `producer.id.expiration.ms`: an idempotent producer that is idle for so long is forgotten.
    pub producer_idle_max: Duration,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            producer_idle_max: Duration::from_secs(24 * 60 * 60),
        }
    }
}
