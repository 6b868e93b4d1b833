//! Giving a log its final name: what a replica's log in another directory becomes.

use super::error::{DiskError, OpenError, failed};
use super::names::{TRUNCATION, join};
use super::open::RecoveryStart;
use super::replica_log::Log;
use super::sync::{SyncJob, remove_if_there};
use crate::disk::{Disk, is_no_descriptor};

impl<D: Disk> Log<D> {
    /// Makes all of it durable, and then its directory's other name: [`Log::reopen`] opens it there. It must not be under
    /// sync, and no recovery point of an earlier log of that name may be on the disk. Blocks on the disk.
    ///
    /// # Errors
    /// If the disk fails; or [`crate::disk::NoDescriptor`]: then the same is to be tried again, with what it left in
    /// `unfinished`.
    pub fn rename(&mut self, directory: &str, unfinished: &mut Option<SyncJob<D>>) -> Result<(), DiskError> {
        if self.directory != directory {
            if unfinished.is_none() {
                self.prepare_close();
            }
            while let Some(job) = unfinished.take().or_else(|| self.take_sync()) {
                match job.run() {
                    Err(error) if is_no_descriptor(&error) => {
                        *unfinished = Some(job);
                        return Err(failed("sync", &self.directory)(error));
                    }
                    outcome => self.sync_finished(job.number(), outcome)?,
                };
            }
            // A crash from here on to the first checkpoint that names it finds a log of which all has to be looked at.
            self.forget_own_point()?;
            // No recovery point is on the disk that it would have to take back.
            let path = join(&self.directory, TRUNCATION);
            remove_if_there(&self.disk, &path).map_err(failed("remove", &path))?;
            self.truncation = None;
            self.disk.sync_directory(&self.directory).map_err(failed("sync directory", &self.directory))?;
            self.disk.rename(&self.directory, directory).map_err(failed("rename", &self.directory))?;
            directory.clone_into(&mut self.directory);
            self.own_point = None;
        }
        self.disk.sync_directory("").map_err(failed("sync directory", ""))
    }

    /// The log as it is under the name that [`Log::rename`] gave it: the files it has open bear another.
    ///
    /// # Errors
    /// If the disk fails; or [`crate::disk::NoDescriptor`]: then the same may be tried again.
    pub fn reopen(&self) -> Result<Self, OpenError> {
        let start = RecoveryStart {
            clean_shutdown: true,
            established: true,
            recovery_point: self.flushed_end,
            log_start: self.log_start,
        };
        Ok(Self::open(self.disk.clone(), &self.directory, &self.config, start)?.0)
    }
}
