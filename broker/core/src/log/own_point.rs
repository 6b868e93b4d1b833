//! The recovery point that a future log keeps in its own directory.
//!
//! The directory's checkpoints name replicas, and a log that is to become one in another log directory is none yet. No two
//! of them have a directory of one name, so what lies in it speaks of no other log:
//!
//! ```text
//! 0
//! 1200
//! ```
//!
//! Everything else is as with the checkpoints: it is written, by a [`super::SyncJob`], when everything below it is durable,
//! and what a truncation has taken back is given again by the next writing. Such a log is always opened as after
//! a crash, since that takes no longer where nothing lies above the recovery point: so the mark of a proper stop need not
//! hold for copies that stopped half-way. A log that has its final name keeps none, and nobody would read it there.

use super::config::LogConfig;
use super::error::{CreateError, DiskError, OpenError, failed};
use super::names::{RECOVERY_POINT, join};
use super::open::{RecoveryReport, RecoveryStart};
use super::replica_log::{Log, offset_text, parse_offset};
use super::sync::remove_if_there;
use super::text_file;
use crate::disk::Disk;
use crate::ids::{Offset, TopicId};

/// What is known of the file.
#[derive(Debug, Default)]
pub(super) struct OwnPoint {
    /// What it says, if it is there.
    written: Option<Offset>,
    /// The next sync shall write it.
    is_due: bool,
}

impl<D: Disk> Log<D> {
    /// As [`Log::create`], but it keeps its own recovery point. The directory must have a name that no log had before.
    pub fn create_future(
        disk: D,
        directory: &str,
        topic_id: TopicId,
        config: &LogConfig,
    ) -> Result<Self, CreateError> {
        let log = Self::create(disk, directory, topic_id, config, Offset(0))?;
        Ok(Self { own_point: Some(OwnPoint::default()), ..log })
    }

    /// Opens a log that keeps its own recovery point, and brings that up to date. One that is damaged below it is a copy:
    /// it is cut there like anywhere else, and what it lacks is copied again.
    pub fn open_future(
        disk: D,
        directory: &str,
        config: &LogConfig,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let mut written = read(&disk, directory)?;
        let opened = match (Self::open(disk.clone(), directory, config, start(written)), written) {
            (Err(OpenError::Corrupt { .. }), Some(_)) => {
                // It may only fall durably before the log does.
                remove(&disk, directory)?;
                sync_names(&disk, directory)?;
                written = None;
                Self::open(disk, directory, config, start(written))
            }
            (opened, _) => opened,
        };
        let (mut log, report) = opened?;
        log.own_point = Some(OwnPoint { written, is_due: false });
        let is_taken_back = log.takes_back();
        log.owe_recovery_point();
        while let Some(job) = log.take_sync() {
            let outcome = job.run();
            log.sync_finished(job.number(), outcome)?;
        }
        if is_taken_back {
            // A second crash would have to look at all of that again.
            sync_names(&log.disk, &log.directory)?;
        }
        Ok((log, report))
    }

    /// Where a log keeps its own recovery point: makes the next sync write it, if there is more to say than it says, and
    /// says whether.
    pub fn owe_recovery_point(&mut self) -> bool {
        let (log_end, is_taken_back) = (self.log_end(), self.truncation.is_some());
        let Some(own) = &mut self.own_point else { return false };
        own.is_due = is_taken_back || own.written != Some(log_end);
        own.is_due
    }

    /// Whether the next sync writes it.
    pub(super) fn owes_recovery_point(&self) -> bool {
        self.own_point.as_ref().is_some_and(|own| own.is_due)
    }

    /// What the sync that is about to be taken is to write, if anything: when that is done, all of it is durable.
    pub(super) fn take_own_point(&mut self) -> Option<Offset> {
        let log_end = self.log_end();
        std::mem::take(&mut self.own_point.as_mut()?.is_due).then(|| self.promise(log_end))
    }

    /// The file says this. If the log was cut meanwhile, what takes that back stays, and it is written again.
    pub(super) fn own_point_written(&mut self, point: Offset) -> Result<(), DiskError> {
        if let Some(own) = &mut self.own_point {
            own.written = Some(point);
        }
        self.recovery_point_written(point)
    }

    /// Takes the file away, before the log gets a name under which it has none. The caller makes that durable.
    pub(super) fn forget_own_point(&mut self) -> Result<(), DiskError> {
        let Some(own) = &mut self.own_point else { return Ok(()) };
        *own = OwnPoint::default();
        remove(&self.disk, &self.directory)?;
        // What takes it back must not be gone before it.
        if self.truncation.is_some() { sync_names(&self.disk, &self.directory) } else { Ok(()) }
    }
}

/// What a start knows of the log. Where it begins, its epochs say.
fn start(written: Option<Offset>) -> RecoveryStart {
    RecoveryStart {
        clean_shutdown: false,
        // It is written when the log's first sync has made all the rest.
        established: written.is_some(),
        recovery_point: written.unwrap_or_default(),
        log_start: Offset(0),
    }
}

/// What the file says. Recovery makes its name durable before it acts on it; its bytes are, since it got that name.
fn read<D: Disk>(disk: &D, directory: &str) -> Result<Option<Offset>, DiskError> {
    let path = join(directory, RECOVERY_POINT);
    let text = text_file::read(disk, &path).map_err(failed("read", &path))?;
    Ok(text.as_deref().and_then(parse_offset))
}

/// Writes the file, durably.
pub(super) fn write<D: Disk>(disk: &D, directory: &str, point: Offset) -> std::io::Result<()> {
    text_file::replace_durably(disk, directory, RECOVERY_POINT, &offset_text(point))
}

fn remove<D: Disk>(disk: &D, directory: &str) -> Result<(), DiskError> {
    let path = join(directory, RECOVERY_POINT);
    remove_if_there(disk, &path).map_err(failed("remove", &path))
}

fn sync_names<D: Disk>(disk: &D, directory: &str) -> Result<(), DiskError> {
    disk.sync_directory(directory).map_err(failed("sync directory", directory))
}
