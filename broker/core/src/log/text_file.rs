//! Small text files: read whole, replaced whole.

use std::io;

use super::names::join;
use crate::disk::{Disk, DiskFile, OpenMode};

/// More than the checkpoint of 100,000 replicas takes; a file larger than this is none of ours.
const LENGTH_MAX: u64 = 64 << 20;

/// The file's text; `None` if there is no such file. Bytes that are no text are damage like any other, and not
/// a failure of the disk: none of our files in which they turn up is then in its form.
pub(super) fn read<D: Disk>(disk: &D, path: &str) -> io::Result<Option<String>> {
    let file = match disk.open(path, OpenMode::Existing) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.length()?;
    if length > LENGTH_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large"));
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a file's bytes over themselves, so that its next sync really writes them.
pub(super) fn rewrite<F: DiskFile>(file: &F) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, 0)?;
    file.write_at(&bytes[..read], 0)
}

/// Puts a new file in the place of the old one; a crash leaves either, whole. The name is durable only
/// after a sync of the directory.
pub(super) fn replace<D: Disk>(disk: &D, directory: &str, name: &str, text: &str) -> io::Result<()> {
    let path = join(directory, name);
    let temporary = format!("{path}.tmp");
    let file = disk.open(&temporary, OpenMode::Create)?;
    file.set_length(0)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&temporary, &path)
}

/// As [`replace`], and the name is durable.
pub(super) fn replace_durably<D: Disk>(disk: &D, directory: &str, name: &str, text: &str) -> io::Result<()> {
    replace(disk, directory, name, text)?;
    disk.sync_directory(directory)
}
