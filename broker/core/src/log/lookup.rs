//! Looking for records by timestamp, as ListOffsets does.

use ottla_wire::batch::compression::MAX_DECOMPRESSED_BYTES;
use ottla_wire::batch::{Batch, Records, TimestampType, records};

use super::error::{LookupError, ReadError};
use super::header::Header;
use super::read::ReadPlan;
use super::replica_log::Log;
use super::segment::Segment;
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
    /// The first record whose timestamp is at or above `timestamp`; `None` if there is none. It blocks on the
    /// disk for a few reads: by the index, then no more than an index interval, then one batch.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampOffset>, LookupError> {
        for segment in &self.segments {
            if segment.greatest.is_none_or(|greatest| greatest.timestamp < timestamp) {
                continue;
            }
            if let Some(found) = self.record_in_segment(segment, timestamp)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record with the greatest timestamp; `None` if no record has one.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, LookupError> {
        let greatest = self.segments.iter().filter_map(|segment| segment.greatest).map(|g| g.timestamp).max();
        match greatest.filter(|timestamp| *timestamp >= 0) {
            Some(timestamp) => self.offset_for_timestamp(timestamp),
            None => Ok(None),
        }
    }

    fn record_in_segment(
        &self,
        segment: &Segment<D::File>,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, LookupError> {
        let mut from = None;
        loop {
            let batch = segment.batch_at_timestamp(timestamp, from);
            let batch = batch.map_err(|error| self.walk_error(segment.base, error))?;
            let Some((position, header)) = batch else { return Ok(None) };
            // A batch may have lost its record to the log start, or have said a timestamp no record has.
            if let Some(found) = self.record_in_batch(segment, position, &header, timestamp)? {
                return Ok(Some(found));
            }
            from = Some(position + header.bytes);
        }
    }

    fn record_in_batch(
        &self,
        segment: &Segment<D::File>,
        position: u32,
        header: &Header,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, LookupError> {
        let plan = ReadPlan::new(segment, position, header.bytes);
        let read = |source| ReadError::Disk(super::error::failed("read", &self.directory)(source));
        let bytes = plan.run().map_err(read)?;
        let (batch, _) =
            Batch::split(&bytes).map_err(|flaw| self.corrupt(segment.base, position, flaw.into()))?;
        let found = |timestamp, offset| TimestampOffset { timestamp, offset, epoch: header.epoch };
        if batch.header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            // All records have the time of the append.
            return Ok((header.end > self.log_start)
                .then(|| found(header.max_timestamp, header.base.max(self.log_start))));
        }
        let broken = |detail: String| LookupError::Records { offset: header.base, detail };
        let payload = records(&batch, MAX_DECOMPRESSED_BYTES).map_err(|error| broken(error.to_string()))?;
        for record in Records::new(&payload, batch.header.record_count) {
            let record = record.map_err(|error| broken(error.to_string()))?;
            let offset = header.base.plus(i64::from(record.offset_delta));
            let record_timestamp = batch.header.base_timestamp.saturating_add(record.timestamp_delta);
            if record_timestamp >= timestamp && offset >= self.log_start {
                return Ok(Some(found(record_timestamp, offset)));
            }
        }
        Ok(None)
    }
}
