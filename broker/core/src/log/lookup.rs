//! Looking for records by timestamp, as ListOffsets does.

use super::error::LookupError;
use super::replica_log::Log;
use crate::disk::Disk;
use crate::ids::{LeaderEpoch, Offset};

/// A record's timestamp and place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its timestamp.
    pub timestamp: i64,
    /// Its offset.
    pub offset: Offset,
    /// The leader epoch of its batch.
    pub epoch: LeaderEpoch,
}

impl<D: Disk> Log<D> {
    /// The first record whose timestamp is at or above `timestamp`; `None` if there is none.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampOffset>, LookupError> {
        for segment in &self.segments {
            if segment.greatest.is_none_or(|greatest| greatest.timestamp < timestamp) {
                continue;
            }
            let found = segment.batch_at_timestamp(timestamp);
            let found = found.map_err(|error| self.walk_error(segment.base, error))?;
            let Some((_, header)) = found else { continue };
            // To the batch only, until the records can be unpacked.
            let (timestamp, offset) = (header.max_timestamp, header.base.max(self.log_start));
            return Ok(Some(TimestampOffset { timestamp, offset, epoch: header.epoch }));
        }
        Ok(None)
    }

    /// The first record with the greatest timestamp; `None` if the log has no timestamps.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, LookupError> {
        let greatest = self.segments.iter().filter_map(|segment| segment.greatest).map(|g| g.timestamp).max();
        greatest
            .filter(|timestamp| *timestamp >= 0)
            .map_or(Ok(None), |timestamp| self.offset_for_timestamp(timestamp))
    }
}
