//! What a broker's file says of groups and of where they are kept.

use std::time::Duration;

use super::file::CheckedFile;
use crate::group::GroupSettings;

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// What every group has.
    pub settings: GroupSettings,
    /// `offsets.topic.compression.codec`: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub codec: u8,
    /// The topic that keeps them, while it is not there yet.
    pub topic: OffsetsTopic,
    /// `group.coordinator.threads`: so many partitions of `__consumer_offsets` are read at once.
    pub loads_max: usize,
}

/// How the topic that keeps groups is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsTopic {
    /// `offsets.topic.num.partitions`
    pub partitions: u32,
    /// `offsets.topic.replication.factor`
    pub replication_factor: u16,
    /// `offsets.topic.segment.bytes`
    pub segment_bytes: u64,
}

impl Groups {
    pub(super) fn resolve(file: &CheckedFile<'_>) -> Self {
        let count = |key| u64::try_from(file.number(key)).unwrap_or(0);
        let size = |key| usize::try_from(file.number(key)).unwrap_or(0);
        let duration = |key| Duration::from_millis(count(key));
        let settings = GroupSettings {
            session_timeout_min: duration("group.min.session.timeout.ms"),
            session_timeout_max: duration("group.max.session.timeout.ms"),
            initial_rebalance_delay: duration("group.initial.rebalance.delay.ms"),
            size_max: size("group.max.size"),
            offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
            offsets_retention: Duration::from_secs(count("offsets.retention.minutes").saturating_mul(60)),
            offsets_retention_check_interval: duration("offsets.retention.check.interval.ms"),
        };
        let codec = u8::try_from(file.number("offsets.topic.compression.codec")).unwrap_or(0);
        let topic = OffsetsTopic {
            partitions: u32::try_from(file.number("offsets.topic.num.partitions")).unwrap_or(u32::MAX),
            replication_factor: u16::try_from(file.number("offsets.topic.replication.factor"))
                .unwrap_or(u16::MAX),
            segment_bytes: count("offsets.topic.segment.bytes"),
        };
        Self { settings, codec, topic, loads_max: size("group.coordinator.threads") }
    }
}
