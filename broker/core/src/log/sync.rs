//! What must be made durable, handed out as a job that any thread may run.
//!
//! The order within a job: the bytes of batches, then index entries (of the time index first), then the
//! leader epochs, then the directory's names, then (once) `partition.metadata`, whose presence says that all
//! the rest was durable once, then the directory's own name, then the removal of old segments, which thereby never goes before
//! the durable name of what follows them, and last the recovery point of a log that keeps its own (`own_point`). One job of a
//! log runs at a time; what is appended meanwhile belongs to the next.

use std::io;

use super::error::{DiskError, failed};
use super::index::IndexWrite;
use super::names::{EPOCHS, METADATA, TRUNCATION, join};
use super::replica_log::Log;
use super::{own_point, text_file};
use crate::disk::{Disk, DiskFile};
use crate::ids::Offset;

/// Numbers the syncs of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SyncNumber(pub u64);

/// What must be durable beside the segments' bytes.
#[derive(Debug)]
pub(super) struct Pending<F> {
    /// Small files written once.
    pub(super) files: Vec<F>,
    /// The text of `partition.metadata`, which is made last: where it is, the log is whole.
    pub(super) metadata: Option<String>,
    pub(super) epochs: bool,
    /// Names in the log's directory.
    pub(super) names: bool,
    /// The same, of which only the next job has to see: none is made for it.
    pub(super) names_meanwhile: bool,
    /// The name of the log's directory.
    pub(super) parent: bool,
    /// Files no longer needed.
    pub(super) removals: Vec<String>,
}

impl<F> Default for Pending<F> {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            metadata: None,
            epochs: false,
            names: false,
            names_meanwhile: false,
            parent: false,
            removals: Vec::new(),
        }
    }
}

/// The job under way.
#[derive(Debug)]
pub(super) struct Running {
    number: SyncNumber,
    /// What will be durable when it has succeeded; falls if the log is cut meanwhile.
    pub(super) end: Offset,
    /// The rolled segments whose index will be on its file.
    sealed: Vec<Offset>,
    /// What will be in the log's own recovery point, if it is written.
    own_point: Option<Offset>,
}

/// Everything that has changed in a log since its last job.
#[derive(Debug, Clone)]
pub struct SyncJob<D: Disk> {
    number: SyncNumber,
    disk: D,
    directory: String,
    files: Vec<D::File>,
    index_writes: Vec<IndexWrite<D::File>>,
    epochs: Option<String>,
    metadata: Option<String>,
    names: bool,
    parent: bool,
    removals: Vec<String>,
    own_point: Option<Offset>,
}

impl<D: Disk> SyncJob<D> {
    /// Its number, for [`Log::sync_finished`].
    pub fn number(&self) -> SyncNumber {
        self.number
    }

    /// Does the job; blocks until the disk has done its part. After an error nothing may be assumed, but after
    /// [`crate::disk::NoDescriptor`] the job may be done again from its beginning.
    pub fn run(&self) -> io::Result<()> {
        self.files.iter().try_for_each(DiskFile::sync)?;
        self.index_writes.iter().try_for_each(IndexWrite::run)?;
        if let Some(text) = &self.epochs {
            text_file::replace(&self.disk, &self.directory, EPOCHS, text)?;
        }
        if self.names || self.epochs.is_some() {
            self.disk.sync_directory(&self.directory)?;
        }
        if let Some(text) = &self.metadata {
            text_file::replace_durably(&self.disk, &self.directory, METADATA, text)?;
        }
        if self.parent {
            self.disk.sync_directory("")?;
        }
        if !self.removals.is_empty() {
            self.removals.iter().try_for_each(|path| remove_if_there(&self.disk, path))?;
            // Otherwise any of them could turn up again, long after, next to what has no room for it.
            self.disk.sync_directory(&self.directory)?;
        }
        self.own_point.map_or(Ok(()), |point| own_point::write(&self.disk, &self.directory, point))
    }
}

pub(super) fn remove_if_there<D: Disk>(disk: &D, path: &str) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl<D: Disk> Log<D> {
    /// Whether [`Log::take_sync`] would give a job, now or when the running one has finished.
    pub fn needs_sync(&self) -> bool {
        let pending = &self.pending;
        let more = pending.epochs || pending.names || pending.parent;
        let active = self.active();
        // A segment is rolled only when another is made, which is a new name.
        more || active.dirty || active.index_due || !pending.removals.is_empty() || self.owes_recovery_point()
    }

    /// What is dirty since the last job; `None` if nothing is, if a job is under way, or if the log has
    /// failed.
    pub fn take_sync(&mut self) -> Option<SyncJob<D>> {
        if self.failed || self.running.is_some() || !self.needs_sync() {
            return None;
        }
        let number = self.next_sync;
        self.next_sync = SyncNumber(number.0 + 1);
        let pending = std::mem::take(&mut self.pending);
        let mut files = pending.files;
        let mut index_writes = Vec::new();
        let mut sealed = Vec::new();
        let active_base = self.active().base;
        // Only the youngest segments can have changed.
        let clean = |segment: &super::segment::Segment<D::File>| !segment.dirty && !segment.index_due;
        let first = self.segments.iter().rposition(|segment| clean(segment) && segment.base != active_base);
        for segment in self.segments.iter_mut().skip(first.map_or(0, |at| at + 1)) {
            if std::mem::take(&mut segment.dirty) {
                files.push(segment.file.clone());
            }
            if segment.index_due {
                index_writes.extend(segment.take_index_writes());
            }
            if segment.base != active_base {
                sealed.push(segment.base);
            }
        }
        let own_point = self.take_own_point();
        self.running = Some(Running { number, end: self.log_end(), sealed, own_point });
        Some(SyncJob {
            number,
            disk: self.disk.clone(),
            directory: self.directory.clone(),
            files,
            index_writes,
            epochs: pending.epochs.then(|| self.epochs.render()),
            metadata: pending.metadata,
            names: pending.names || pending.names_meanwhile,
            parent: pending.parent,
            removals: pending.removals,
            own_point,
        })
    }

    /// Whether a job is under way.
    pub fn sync_running(&self) -> bool {
        self.running.is_some()
    }

    /// Takes a job's result. Success moves the flushed end, which is returned; failure ends the log for
    /// ever: what a failed sync has lost cannot be known, and syncing again would prove nothing.
    pub fn sync_finished(&mut self, number: SyncNumber, result: io::Result<()>) -> Result<Offset, DiskError> {
        let running = self.running.take().expect("a sync that finishes was under way");
        assert_eq!(running.number, number, "one sync of a log is under way at a time");
        if let Err(error) = result {
            return Err(self.fail(failed("sync", &self.directory)(error)));
        }
        if self.failed {
            return Ok(self.flushed_end);
        }
        for base in running.sealed {
            let at = self.segment_index(base);
            if at + 1 < self.segments.len() {
                self.segments[at].release_index();
            }
        }
        // The first job has made all that a start looks for.
        self.established = true;
        self.flushed_end = self.flushed_end.max(running.end);
        if let Some(point) = running.own_point {
            self.own_point_written(point)?;
        }
        Ok(self.flushed_end)
    }

    /// The recovery point, to be written to its checkpoint now, after the log start to its own. When both are
    /// durable, say so with [`Log::recovery_point_written`]. One such writing is under way at a time.
    pub fn take_recovery_point(&mut self) -> Offset {
        self.promise(self.flushed_end)
    }

    /// Notes that this recovery point may be on the disk from now on, until another one is written.
    pub(super) fn promise(&mut self, recovery_point: Offset) -> Offset {
        if self.promised != Offset(i64::MAX) {
            self.promised = self.promised.max(recovery_point);
        }
        recovery_point
    }

    /// The checkpoints on the disk now say this recovery point, and the log start of that time. What a
    /// truncation has taken back is not needed any longer.
    pub fn recovery_point_written(&mut self, recovery_point: Offset) -> Result<(), DiskError> {
        // What was written may have been an earlier log's of this name.
        if self.failed || !self.established || recovery_point > self.flushed_end {
            return Ok(());
        }
        self.promised = self.flushed_end;
        if self.truncation.take().is_some() {
            let path = join(&self.directory, TRUNCATION);
            remove_if_there(&self.disk, &path)
                .map_err(failed("remove", &path))
                .map_err(|error| self.fail(error))?;
            // A loss of power that brings it back has a start believe no recovery point.
            self.pending.names_meanwhile = true;
        }
        Ok(())
    }
}
