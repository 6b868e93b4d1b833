//! Appending batches: where they go, when a segment is rolled.

use bytes::Bytes;

use super::error::{AppendError, DiskError, failed};
use super::header::{Header, batches};
use super::recovery::remove_segment;
use super::replica_log::Log;
use super::segment::Segment;
use crate::disk::{Disk, DiskFile, is_no_descriptor};
use crate::ids::Offset;
use crate::time::Wall;

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendOutcome {
    /// The offset of the first record; the log's end if there was none.
    pub base_offset: Offset,
    /// The log's end after it.
    pub log_end: Offset,
    /// How many bytes were written.
    pub bytes: u64,
    /// Whether a segment was rolled on the way.
    pub rolled: bool,
}

/// Neighbouring batches of one buffer that go to one segment in one write.
struct Run {
    headers: Vec<Header>,
    bytes: std::ops::Range<usize>,
}

impl<D: Disk> Log<D> {
    /// Appends whole batches, in format 2, with their offsets and leader epochs set. Each buffer holds one
    /// or more. They are checked first to follow the log's end and each other (offsets may leave gaps, as
    /// compaction makes them); their checksums are the caller's matter. `now` counts for `segment.ms` only
    /// where batches carry no timestamp. Where there is no descriptor for it the log goes on as it is, with the
    /// batches that came before the one in hand.
    pub fn append(&mut self, buffers: &[Bytes], now: Wall) -> Result<AppendOutcome, AppendError> {
        if self.failed {
            return Err(AppendError::Failed(self.directory.clone()));
        }
        let base_offset = self.check(buffers)?;
        self.settle()?;
        let segments_before = self.segments.len();
        let mut bytes = 0;
        for buffer in buffers {
            bytes += buffer.len() as u64;
            if let Err(error) = self.append_buffer(buffer, now) {
                // What is in the log is whole; the rest was not attempted.
                let again = is_no_descriptor(&error);
                return Err(if again { error } else { self.fail(error) }.into());
            }
        }
        let rolled = self.segments.len() > segments_before;
        Ok(AppendOutcome { base_offset, log_end: self.log_end(), bytes, rolled })
    }

    /// Whether all batches are whole and follow; the first one's offset.
    fn check(&self, buffers: &[Bytes]) -> Result<Offset, AppendError> {
        let mut end = self.log_end();
        let mut latest = self.latest_epoch();
        let mut first = None;
        for batch in buffers.iter().flat_map(|buffer| batches(buffer)) {
            let (header, _) = batch.map_err(|flaw| AppendError::Flawed { offset: end, flaw })?;
            if header.base < end {
                return Err(AppendError::OffsetBehind { log_end: end, found: header.base });
            }
            if let Some(latest) = latest.filter(|latest| header.epoch < *latest) {
                return Err(AppendError::EpochBehind { latest, found: header.epoch });
            }
            first.get_or_insert(header.base);
            end = header.end;
            latest = Some(header.epoch);
        }
        Ok(first.unwrap_or(end))
    }

    fn append_buffer(&mut self, buffer: &Bytes, now: Wall) -> Result<(), DiskError> {
        let mut run = Run { headers: Vec::new(), bytes: 0..0 };
        // All were checked: none is flawed.
        for (header, bytes) in batches(buffer).filter_map(Result::ok) {
            if self.must_roll(&run, &header, now) {
                self.write_run(buffer, &mut run, now)?;
                // The run may have been what filled the segment.
                if self.must_roll(&run, &header, now) {
                    self.roll(&header)?;
                }
            }
            run.headers.push(header);
            run.bytes.end += bytes.len();
        }
        self.write_run(buffer, &mut run, now)
    }

    fn write_run(&mut self, buffer: &Bytes, run: &mut Run, now: Wall) -> Result<(), DiskError> {
        let (bytes, headers) = (run.bytes.clone(), std::mem::take(&mut run.headers));
        run.bytes.start = run.bytes.end;
        if headers.is_empty() {
            return Ok(());
        }
        let interval = self.config.index_interval_bytes;
        let segment = self.segments.last_mut().expect("a log has a segment");
        let position = u64::from(segment.size);
        segment.file.write_at(&buffer[bytes], position).map_err(failed("append to", &self.directory))?;
        segment.dirty = true;
        segment.first_append.get_or_insert(now);
        headers.iter().for_each(|header| segment.note(header, interval));
        self.pending.epochs |= std::mem::take(&mut self.epoch_begun);
        for header in headers {
            self.pending.epochs |= self.epochs.assign(header.epoch, header.base);
            self.note_producer(&header);
        }
        if self.snapshot_due() { self.take_snapshot() } else { Ok(()) }
    }

    /// Whether a batch needs a new segment, given a run that is to be written before it.
    fn must_roll(&self, run: &Run, header: &Header, now: Wall) -> bool {
        let segment = self.active();
        let planned = u64::from(segment.size) + run.bytes.len() as u64;
        let grown = planned + u64::from(header.bytes);
        if planned == 0 {
            return !segment.has_room(header, 0);
        }
        let planned_bytes = u32::try_from(run.bytes.len()).unwrap_or(u32::MAX);
        grown > u64::from(self.config.segment_bytes)
            || !segment.has_room(header, planned_bytes)
            || segment.index_is_full(self.config.segment_index_bytes, run.headers.len())
            || segment.age_ms(header.max_timestamp, now) > self.config.segment_ms
    }

    /// Seals the active segment and begins the next, which the log's end names, so that a segment missing
    /// after a crash shows as a gap; unless the batch leaves a gap that a relative offset cannot span.
    pub(super) fn roll(&mut self, header: &Header) -> Result<(), DiskError> {
        let log_end = self.log_end();
        let spans = header.last().0 - log_end.0 <= i64::from(i32::MAX);
        let base = if spans { log_end } else { header.base };
        if base == self.active().base {
            // Nothing was ever in it.
            return Ok(());
        }
        let segment = self.create_segment(base)?;
        self.active_mut().seal();
        self.segments.push(segment);
        self.pending.names = true;
        self.take_snapshot()
    }

    /// Makes an empty segment; nothing of it is left where there is no descriptor for all its files.
    pub(super) fn create_segment(&mut self, base: Offset) -> Result<Segment<D::File>, DiskError> {
        let created = Segment::create(&self.disk, &self.directory, base);
        if created.as_ref().is_err_and(|error| is_no_descriptor(error)) {
            self.take_back_names(base)?;
        }
        created
    }

    /// Some of a new segment's files were made, and then there was no descriptor for the next. What comes may
    /// yet fit into the segment before: a start must not find these among its records.
    fn take_back_names(&mut self, base: Offset) -> Result<(), DiskError> {
        let removed = remove_segment(&self.disk, &self.directory, base);
        removed.map_err(failed("remove a segment of", &self.directory))?;
        self.pending.names = true;
        Ok(())
    }
}
