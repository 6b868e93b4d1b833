//! The one door through which the core's bytes reach a disk.
//!
//! Two things implement it: real files in the binary, and a simulated disk that knows what is durable
//! and can lose, tear or refuse the rest. The contract is POSIX's, read pessimistically: what was written
//! is durable only after [`DiskFile::sync`] returned `Ok`; a name made, renamed or removed is durable only
//! after [`Disk::sync_directory`] of its directory. After a failed sync nothing may be assumed about any
//! byte written since the last good one, and syncing again proves nothing.
//!
//! An operation may also fail for want of a descriptor ([`NoDescriptor`]): then the disk was not asked at all,
//! nothing is lost, and the same may be tried again.

use std::error::Error;
use std::io;

/// Neither this process nor the machine has a descriptor to spare; nothing was attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many files are open; raise the limit of open files (ulimit -n)")]
pub struct NoDescriptor;

impl From<NoDescriptor> for io::Error {
    fn from(error: NoDescriptor) -> Self {
        Self::other(error)
    }
}

/// Whether an error is, or comes of, [`NoDescriptor`]: no reason to think ill of the disk.
pub fn is_no_descriptor(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<NoDescriptor>()) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether [`Disk::open`] makes a file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist.
    Existing,
    /// The file is made, empty, if it does not exist.
    Create,
}

/// A directory tree. Paths are relative to its root, with `/` between parts; `""` is the root.
pub trait Disk: Clone + Send + 'static {
    /// A file of this disk. Handles are cheap to clone and stay valid when the file is renamed.
    type File: DiskFile;

    /// Opens a file for reading and writing.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File>;
    /// The names in a directory, sorted.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;
    /// Makes a directory; its parent must exist. No error if it exists already.
    fn create_directory(&self, path: &str) -> io::Result<()>;
    /// Renames a file or directory over what may be there.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file, or a directory with all that is in it.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &str) -> io::Result<()>;
}

/// An open file, addressed by position.
pub trait DiskFile: Clone + Send + Sync + 'static {
    /// Reads into `buffer`; returns how many bytes there were, less than asked only at the file's end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `bytes`, lengthening the file if need be.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Cuts or lengthens (with zeros) the file.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Makes the file's bytes and length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
}
