//! The files of snapshots: written beside, synced, renamed.

use std::io;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::ids::{MetadataOffset, Term};
use crate::metadata::image::Image;
use crate::quorum::snapshot::{self, SnapshotId};

const CHECKPOINT: &str = ".checkpoint";
pub(super) const TEMPORARY: &str = ".tmp";

/// Writes snapshots of what this member applied. It touches no file of the log, so it may be used while the log is
/// written, from another thread: an image can take long, and votes must not wait for it.
#[derive(Debug, Clone)]
pub struct SnapshotWriter<D> {
    pub(super) disk: D,
    pub(super) directory: String,
}

impl<D: Disk> SnapshotWriter<D> {
    /// Makes a snapshot of an image durable. Then [`super::PersistAction::Compact`] lets go of the log before it. An
    /// error is final, as one of the log is.
    pub fn write(&self, image: &Image) -> io::Result<()> {
        write_checkpoint(&self.disk, &self.directory, SnapshotId::of(image), &snapshot::encode(image))
    }
}

/// The snapshot that a file's name says it is.
pub(super) fn parse_checkpoint(name: &str) -> Option<SnapshotId> {
    let (offset, term) = name.strip_suffix(CHECKPOINT)?.split_once('-')?;
    Some(SnapshotId { offset: MetadataOffset(offset.parse().ok()?), term: Term(term.parse().ok()?) })
}

pub(super) fn write_checkpoint<D: Disk>(
    disk: &D,
    directory: &str,
    id: SnapshotId,
    bytes: &[u8],
) -> io::Result<()> {
    let path = format!("{directory}/{id}{CHECKPOINT}");
    let temporary = format!("{path}{TEMPORARY}");
    let file = disk.open(&temporary, OpenMode::Create)?;
    file.set_length(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, &path)?;
    disk.sync_directory(directory)
}
