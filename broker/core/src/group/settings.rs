//! What a broker's configuration says of groups.

use std::time::Duration;

/// Settings that every group of a broker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`
    pub size_max: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval: Duration,
}

impl Default for GroupSettings {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_mins(30),
            initial_rebalance_delay: Duration::from_secs(3),
            size_max: 2_147_483_647,
            offset_metadata_bytes_max: 4_096,
            offsets_retention: Duration::from_hours(7 * 24),
            offsets_retention_check_interval: Duration::from_mins(10),
        }
    }
}
