//! Cutting a log at its end, moving its start, closing it.

use super::error::{ChangeError, DiskError, failed};
use super::names::{TRUNCATION, index_file, join, log_file, time_index_file};
use super::recovery::remove_segment;
use super::replica_log::{Log, offset_text};
use super::text_file;
use crate::disk::{Disk, DiskFile, is_no_descriptor};
use crate::ids::Offset;

impl<D: Disk> Log<D> {
    /// Cuts the log at the batch that holds `offset`: a follower's divergent tail. Returns the new end. Below
    /// the first segment it is as [`Log::restart_at`]; below the log start, that falls, too.
    ///
    /// It blocks on the disk. Where a recovery point or a log start on the disk lies above the cut, it is first
    /// taken back by a durable `truncation-checkpoint`; otherwise a crash would find a log shorter than it was
    /// said to be. Then later segments are removed, youngest first, and the file is cut; every state between
    /// recovers to a prefix of the old log that is not below the cut. All of it is durable before anything is appended:
    /// otherwise a crash could put old batches before new ones, as no replica ever had them, and comparing
    /// epochs would not find it.
    ///
    /// # Errors
    /// Rot in what is kept, or want of a descriptor: then nothing was changed. Any other failure of the disk ends the log.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<Offset, ChangeError> {
        if offset >= self.log_end() {
            return Ok(self.log_end());
        }
        if offset < self.segments.first().map_or(offset, |first| first.base) {
            self.restart_at(offset)?;
            return Ok(offset);
        }
        self.check_usable()?;
        // All that must be read is read first: what is rotten, or finds no descriptor, leaves the log as it was.
        let at = self.segment_index(offset);
        let base = self.segments[at].base;
        let segment = &mut self.segments[at];
        let planned = segment.safe_end_before(offset).and_then(|safe| Ok((safe, segment.plan_cut(offset)?)));
        let (safe, cut) = planned.map_err(|error| self.walk_error(base, error))?;
        let producers = self.producers_before(at, &cut)?;
        self.take_back(safe)?;
        if at + 1 < self.segments.len() {
            // Changed, though it is as it was, the file keeps its descriptor until it is synced.
            let kept = self.segments[at].file.set_length(u64::from(self.segments[at].size));
            kept.map_err(failed("cut a segment of", &self.directory))
                .map_err(|error| if is_no_descriptor(&error) { error } else { self.fail(error) })?;
        }
        for segment in self.segments.split_off(at + 1).into_iter().rev() {
            self.remove_now(segment.base)?;
        }
        let done = self.active_mut().cut(cut).and_then(|()| self.active().file.sync());
        done.map_err(failed("cut a segment of", &self.directory)).map_err(|error| self.fail(error))?;
        let log_end = self.log_end();
        self.cut_snapshots(log_end).map_err(|error| self.fail(error))?;
        self.pending.epochs |= self.epochs.cut_end(log_end);
        self.log_start = self.log_start.min(log_end);
        self.lower_flushed(log_end);
        self.set_producers(producers);
        self.sync_names()?;
        Ok(log_end)
    }

    /// Drops everything and begins again at `offset`: a follower that lags behind its leader's log start. It
    /// blocks on the disk.
    pub fn restart_at(&mut self, offset: Offset) -> Result<(), ChangeError> {
        self.check_usable()?;
        debug_assert!(self.segments.iter().all(|segment| segment.base != offset), "it begins elsewhere");
        self.take_back(Offset(0))?;
        // Made first, as it may find no descriptor. Beside the old ones it shows as a gap, or makes them one.
        let segment = self.create_segment(offset)?;
        for segment in std::mem::replace(&mut self.segments, vec![segment]).into_iter().rev() {
            self.remove_now(segment.base)?;
        }
        self.forget_all_producers().map_err(|error| self.fail(error))?;
        self.pending.names = true;
        self.pending.epochs |= self.epochs.cut_end(Offset(0));
        self.log_start = offset;
        self.flushed_end = offset;
        if let Some(running) = &mut self.running {
            running.end = offset;
        }
        self.sync_names()
    }

    /// After a cut: nothing that was removed may turn up again beside what comes. Where there is no descriptor for
    /// that, nothing comes until there is ([`Log::settle`]).
    fn sync_names(&mut self) -> Result<(), ChangeError> {
        self.names_owed = true;
        // Whoever waits for the next sync waits for these, too.
        self.pending.names = true;
        match self.settle() {
            Err(error) if !is_no_descriptor(&error) => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes durable what a cut has removed, if that could not be done at once.
    pub(super) fn settle(&mut self) -> Result<(), DiskError> {
        if self.names_owed {
            let synced = self.disk.sync_directory(&self.directory);
            synced
                .map_err(failed("sync the cut of", &self.directory))
                .map_err(|error| if is_no_descriptor(&error) { error } else { self.fail(error) })?;
            self.names_owed = false;
        }
        Ok(())
    }

    /// Moves the log start up, at most to the log's end, and drops the segments that lie wholly below it.
    /// Their files go with the next sync. Returns how many that were.
    pub fn advance_log_start(&mut self, offset: Offset) -> usize {
        let offset = offset.min(self.log_end());
        if offset <= self.log_start {
            return 0;
        }
        self.log_start = offset;
        self.pending.epochs |= self.epochs.cut_start(offset);
        let below = self.segments.iter().take_while(|segment| segment.end <= offset).count();
        let dropped = below.min(self.segments.len() - 1);
        for segment in self.segments.drain(..dropped) {
            let names = [log_file(segment.base), index_file(segment.base), time_index_file(segment.base)];
            self.pending.removals.extend(names.iter().map(|name| join(&self.directory, name)));
        }
        let first = self.segments.first().map_or(offset, |first| first.base);
        let snapshots = self.drop_snapshots_below(first);
        self.pending.removals.extend(snapshots);
        dropped
    }

    /// Makes the next sync write all that a proper shutdown leaves behind: after it, the log is whole on the
    /// disk, indexes included, and its recovery point is its end.
    pub fn prepare_close(&mut self) {
        if !self.failed {
            self.active_mut().prepare_close();
            // Without it the next start reads a little more.
            let _written_if_it_can_be = self.take_snapshot();
        }
    }

    /// Takes back what the recovery point and the log start on the disk may say above `offset`.
    fn take_back(&mut self, offset: Offset) -> Result<(), ChangeError> {
        self.cuts += 1;
        let nothing_above = offset >= self.promised && offset >= self.log_start;
        if nothing_above || self.truncation.is_some_and(|at| at <= offset) {
            return Ok(());
        }
        let text = offset_text(offset);
        let written = text_file::replace_durably(&self.disk, &self.directory, TRUNCATION, &text);
        // Where there is no descriptor for it nothing was changed.
        written
            .map_err(failed("write the truncation of", &self.directory))
            .map_err(|error| if is_no_descriptor(&error) { error } else { self.fail(error) })?;
        self.truncation = Some(offset);
        Ok(())
    }

    fn remove_now(&mut self, base: Offset) -> Result<(), ChangeError> {
        let removed = remove_segment(&self.disk, &self.directory, base);
        removed.map_err(failed("remove a segment of", &self.directory)).map_err(|error| self.fail(error))?;
        Ok(())
    }

    fn check_usable(&self) -> Result<(), ChangeError> {
        if self.failed { Err(ChangeError::Failed(self.directory.clone())) } else { Ok(()) }
    }

    fn lower_flushed(&mut self, end: Offset) {
        self.flushed_end = self.flushed_end.min(end);
        if let Some(running) = &mut self.running {
            running.end = running.end.min(end);
        }
    }
}
