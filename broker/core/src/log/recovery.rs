//! Recovery: what of a log is still good.
//!
//! Segments wholly below the recovery point are taken as they are. From the one that holds it on, batches
//! are walked and noted as an append would, from the last index entry below the recovery point, and
//! have their checksums tested. The first flaw above the recovery point ends the log, and so does a gap
//! between two segments; a flaw below is [`OpenError::Corrupt`], and then no batch is touched.
//!
//! Every step may be cut short by another crash: segments behind the cut are removed, youngest first, before
//! the cut is made, and whatever remains of them shows as a gap next time.

use super::error::{BatchFlaw, OpenError, failed};
use super::header::Header;
use super::names::{index_file, join, log_file, time_index_file};
use super::open::RecoveryReport;
use super::replica_log::Log;
use super::scan::{FAR_BYTES, Walk, checksum_holds};
use super::segment::{Segment, WalkError};
use crate::disk::{Disk, DiskFile};
use crate::ids::{LeaderEpoch, Offset};

pub(super) struct Recovered {
    pub(super) report: RecoveryReport,
}

struct Recovery<'a, D: Disk> {
    log: &'a mut Log<D>,
    recovery_point: Offset,
    /// There is no torn tail.
    clean: bool,
    /// The epoch of the batch before, where it is known.
    epoch: Option<LeaderEpoch>,
    report: RecoveryReport,
}

/// Fills the log's segments and epochs from the segments found.
pub(super) fn recover<D: Disk>(
    log: &mut Log<D>,
    bases: &[Offset],
    recovery_point: Offset,
    clean: bool,
) -> Result<Recovered, OpenError> {
    // Every batch has an epoch, so where the first one begins is the log start of the last sync, which its own
    // checkpoint, written now and then, may not know yet. Of segments below it any may be left.
    log.log_start = log.log_start.max(log.epochs.first_start().unwrap_or_default());
    let old = bases.iter().skip(1).take_while(|next| **next <= log.log_start).count();
    let (old, bases) = bases.split_at(old);
    // What a crash may have left of epochs above is noted again from the batches themselves.
    if !clean {
        log.epochs.cut_end(recovery_point);
    }
    // The segment that ends at the recovery point is walked, too: of a cut there the new length may be lost.
    let mut first = bases.partition_point(|base| *base < recovery_point).saturating_sub(1);
    let mut trusted_below = recovery_point;
    if log.epochs.latest().is_none() && log.log_start < recovery_point {
        // The epochs' file is lost: all batches are walked to find them.
        (first, trusted_below) = (0, Offset(0));
    }
    let mut recovery =
        Recovery { log, recovery_point, clean, epoch: None, report: RecoveryReport::default() };
    recovery.remove(old)?;
    for (at, base) in bases.iter().enumerate().take(first) {
        let log = &mut recovery.log;
        log.segments.push(Segment::open_rolled(&log.disk, &log.directory, *base, bases[at + 1])?);
    }
    recovery.segments(&bases[first..], trusted_below)?;
    recovery.check_end()?;
    let report = recovery.report;
    log.epochs.cut_start(log.log_start);
    Ok(Recovered { report })
}

impl<D: Disk> Recovery<'_, D> {
    fn segments(&mut self, bases: &[Offset], trusted_below: Offset) -> Result<(), OpenError> {
        for (at, base) in bases.iter().enumerate() {
            let follows = at == 0 || self.log.log_end() == *base || self.spans_gap(*base)?;
            let whole = follows && self.segment(*base, trusted_below, &bases[at + 1..])?;
            if !whole {
                self.check_reaches_recovery_point(self.log.log_end())?;
                let doubtful = if follows { &bases[at + 1..] } else { &bases[at..] };
                self.remove(doubtful)?;
                break;
            }
            if at + 1 < bases.len() {
                self.log.active_mut().seal();
            }
        }
        Ok(())
    }

    /// Whether a segment may follow though there is a gap: only an append that no relative offset could
    /// span leaves one.
    fn spans_gap(&self, base: Offset) -> Result<bool, OpenError> {
        let path = join(&self.log.directory, &log_file(base));
        let first = || {
            let file = self.log.disk.open(&path, crate::disk::OpenMode::Existing)?;
            let limit = u32::try_from(file.length()?).unwrap_or(u32::MAX);
            Walk::new(&file, 0, limit, FAR_BYTES).step()
        };
        let first = first().map_err(failed("read", &path))?;
        let log_end = self.log.log_end();
        let far = |header: Header| header.base == base && header.last().0 - log_end.0 > i64::from(i32::MAX);
        Ok(base > log_end && first.and_then(Result::ok).is_some_and(far))
    }

    /// Recovers one segment; whether it was whole.
    fn segment(&mut self, base: Offset, trusted_below: Offset, later: &[Offset]) -> Result<bool, OpenError> {
        let log = &mut *self.log;
        let mut segment = Segment::open_for_recovery(&log.disk, &log.directory, base, trusted_below)?;
        let file = segment.file.clone();
        let length = file.length().map_err(failed("measure a segment of", &log.directory))?;
        let limit = u32::try_from(length).unwrap_or(i32::MAX as u32).min(i32::MAX as u32);
        let flaw =
            self.walk(&mut segment, limit).map_err(failed("read a segment of", &self.log.directory))?;
        let end = segment.end;
        if let Some(flaw) = flaw
            && end < self.recovery_point
        {
            return Err(self.corrupt(end, flaw.to_string()));
        }
        let cut = length - u64::from(segment.size);
        if cut > 0 {
            self.report.cut_bytes += cut;
            self.report.flaw = flaw.or(Some(BatchFlaw::Position));
            self.remove(later)?;
            let size = u64::from(segment.size);
            segment.file.set_length(size).map_err(failed("cut a segment of", &self.log.directory))?;
        }
        if end > self.recovery_point && !self.clean {
            let from = self.recovery_point.max(base);
            self.report.recovered_bytes +=
                segment.rewrite_from(from).map_err(|error| self.walk_error(end, error))?;
        }
        // Even where nothing lies above the recovery point, a cut may have reached the page cache only.
        segment.dirty = cut > 0 || !self.clean;
        segment.index_due = cut > 0 || (end > self.recovery_point && !self.clean);
        self.log.segments.push(segment);
        Ok(cut == 0)
    }

    /// Notes the good batches of a segment; returns what ended it early.
    fn walk(&mut self, segment: &mut Segment<D::File>, limit: u32) -> std::io::Result<Option<BatchFlaw>> {
        let file = segment.file.clone();
        let mut walk = Walk::new(&file, segment.size, limit, FAR_BYTES);
        loop {
            let position = walk.position();
            let header = match walk.step()? {
                None => return Ok(None),
                Some(Err(flaw)) => return Ok(Some(flaw)),
                Some(Ok(header)) => header,
            };
            if header.base < segment.end || !segment.has_room(&header, 0) {
                return Ok(Some(BatchFlaw::Offsets));
            }
            if header.end > self.recovery_point && self.epoch.is_some_and(|before| header.epoch < before) {
                return Ok(Some(BatchFlaw::Epoch));
            }
            let is_above = header.end > self.recovery_point;
            // After a proper shutdown nothing above is torn; but where a batch ends is part of what may be rotten.
            if !(self.clean && header.base >= self.recovery_point) {
                self.report.checked_batches += u64::from(is_above);
                if !checksum_holds(&file, position, &header)? {
                    return Ok(Some(BatchFlaw::Checksum));
                }
            }
            segment.note(&header, self.log.config.index_interval_bytes);
            self.log.epochs.assign(header.epoch, header.base);
            self.epoch = Some(header.epoch);
        }
    }

    /// The end must have reached the recovery point, and the log start must not be beyond the end.
    fn check_end(&mut self) -> Result<(), OpenError> {
        let end = self.log.segments.last().map_or(self.log.log_start, |last| last.end);
        self.check_reaches_recovery_point(end)?;
        let log = &mut *self.log;
        if log.segments.is_empty() || end < log.log_start {
            let bases: Vec<Offset> = log.segments.drain(..).map(|segment| segment.base).collect();
            let log_start = log.log_start;
            self.remove(&bases)?;
            let log = &mut *self.log;
            log.epochs.cut_end(log_start);
            log.segments.push(Segment::create(&log.disk, &log.directory, log_start)?);
            log.pending.names = true;
        }
        Ok(())
    }

    /// Before anything is removed: what lies behind a gap in what was durable may be all that is left of it.
    fn check_reaches_recovery_point(&self, end: Offset) -> Result<(), OpenError> {
        if end < self.recovery_point && self.log.log_start < self.recovery_point {
            return Err(self.corrupt(end, "the log ends there".to_owned()));
        }
        Ok(())
    }

    /// Removes whole segments, youngest first, and makes that durable.
    fn remove(&mut self, bases: &[Offset]) -> Result<(), OpenError> {
        if bases.is_empty() {
            return Ok(());
        }
        self.report.removed_segments += bases.len() as u64;
        let log = &self.log;
        for base in bases.iter().rev() {
            remove_segment(&log.disk, &log.directory, *base)
                .map_err(failed("remove a segment of", &log.directory))?;
        }
        log.disk.sync_directory(&log.directory).map_err(failed("sync directory", &log.directory))?;
        Ok(())
    }

    fn corrupt(&self, offset: Offset, detail: String) -> OpenError {
        let (directory, recovery_point) = (self.log.directory.clone(), self.recovery_point);
        let topic_id = Some(self.log.topic_id);
        OpenError::Corrupt { directory, topic_id, offset, recovery_point, detail }
    }

    fn walk_error(&self, offset: Offset, error: WalkError) -> OpenError {
        match error {
            WalkError::Io(source) => failed("rewrite a segment of", &self.log.directory)(source).into(),
            WalkError::Flaw { flaw, .. } => self.corrupt(offset, flaw.to_string()),
        }
    }
}

/// Removes a segment's files, that of its batches first: without it the others are nothing.
pub(super) fn remove_segment<D: Disk>(disk: &D, directory: &str, base: Offset) -> std::io::Result<()> {
    for name in [log_file(base), index_file(base), time_index_file(base)] {
        match disk.remove(&join(directory, &name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
