//! The core's [`Disk`] on real files.
//!
//! Owns: the mapping of paths below one root to files, and their descriptors ([`descriptors`]). Plain
//! `pread`, `pwrite` and `fdatasync` on the caller's thread, which must not be one of the runtime's. No
//! mmap: a bad sector is to be an error and not a signal.

mod descriptors;
mod nowait;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_core::disk::{Disk, DiskFile, OpenMode};

use self::descriptors::{Descriptors, Node};
use self::nowait::Attempt;
pub(crate) use self::nowait::{Missed, without_waiting};

/// What is kept free of a file system is a twentieth of it, and no more than this: two snapshots of the
/// metadata and the indexes of a segment being rolled fit well.
const RESERVE_MAX: u64 = 64 << 20;
const RESERVE_SHARE: u64 = 20;

/// A directory tree below one root. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct RealDisk {
    root: Arc<PathBuf>,
    descriptors: Arc<Descriptors>,
}

/// A file of a [`RealDisk`]. It may have no descriptor at the moment.
#[derive(Debug, Clone)]
pub(crate) struct RealFile {
    node: Arc<Node>,
    descriptors: Arc<Descriptors>,
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Used or not.
    pub(crate) total: u64,
    /// What may still be written.
    pub(crate) usable: u64,
}

impl RealDisk {
    /// The tree below `root`, which must be a directory. It keeps so many files open, and whoever finds no
    /// descriptor at all waits for one for as long as `patience` says.
    pub(crate) fn new(root: &Path, open_max: usize, patience: Duration) -> io::Result<Self> {
        // Relative roots would follow the process when it changes its directory.
        let root = fs::canonicalize(root)?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let descriptors = Arc::new(Descriptors::new(root.clone(), open_max, patience));
        Ok(Self { root: Arc::new(root), descriptors })
    }

    /// The size of the file system, and how much of it is free.
    pub(crate) fn space(&self) -> io::Result<Space> {
        let space = rustix::fs::statvfs(self.root.as_path())?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok(Space { total: bytes(space.f_blocks), usable: bytes(space.f_bavail) })
    }

    /// How many bytes may be written before the reserve is touched that keeps the file system from being full:
    /// the metadata log, indexes and checkpoints must always find room, or nothing can start again.
    pub(crate) fn room(&self) -> io::Result<u64> {
        let Space { total, usable } = self.space()?;
        Ok(usable.saturating_sub(RESERVE_MAX.min(total / RESERVE_SHARE)))
    }

    fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.as_ref().clone() } else { self.root.join(path) }
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<RealFile> {
        let node = self.descriptors.open(path, mode)?;
        Ok(RealFile { node, descriptors: Arc::clone(&self.descriptors) })
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let full = self.full(directory);
        for entry in self.descriptors.with_descriptor(|| fs::read_dir(&full))? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_directory(&self, path: &str) -> io::Result<()> {
        match fs::create_dir(self.full(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.full(path).is_dir() => Ok(()),
            result => result,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.descriptors.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.descriptors.remove(path)
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        let full = self.full(directory);
        self.descriptors.with_descriptor(|| File::open(&full))?.sync_all()
    }
}

impl RealFile {
    /// Reads all of these bytes, if that does not have to wait for the disk.
    pub(crate) fn read_now(&self, position: u64, length: u32) -> io::Result<Option<Bytes>> {
        let mut bytes = BytesMut::zeroed(usize::try_from(length).map_err(io::Error::other)?);
        match self.read_at_now(&mut bytes, position)? {
            Some(read) if read < bytes.len() => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) => Ok(Some(bytes.freeze())),
            None => Ok(None),
        }
    }

    fn read_at_now(&self, buffer: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        // To open a file again may wait, too.
        match self.descriptors.file_if_open(&self.node) {
            Some(file) => match nowait::read(&file, buffer, position)? {
                Attempt::Read(count) => Ok(Some(count)),
                Attempt::WouldWait => Ok(None),
                Attempt::Unsupported => {
                    self.descriptors.nowait_unsupported.store(true, Ordering::Relaxed);
                    Ok(None)
                }
            },
            None => Ok(None),
        }
    }

    /// Whether a read must fail rather than wait. Where the file system cannot tell, it waits.
    fn must_not_wait(&self) -> bool {
        nowait::is_forbidden() && !self.descriptors.nowait_unsupported.load(Ordering::Relaxed)
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if self.must_not_wait() {
            let read = self.read_at_now(buffer, position)?;
            return read.ok_or_else(|| {
                nowait::missed(self, position, buffer.len());
                io::ErrorKind::WouldBlock.into()
            });
        }
        let file = self.descriptors.file(&self.node)?;
        let mut read = 0;
        while read < buffer.len() {
            match file.read_at(&mut buffer[read..], position + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.descriptors.change(&self.node, |file| file.write_all_at(bytes, position))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.descriptors.change(&self.node, |file| file.set_len(length))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.descriptors.file(&self.node)?.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.descriptors.sync(&self.node)
    }
}
