//! What lies on a volume, read without the core's help.

use std::collections::BTreeMap;
use std::io;

use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::Offset;

use crate::disk::SimDisk;
use crate::records;

/// Every record in the segments of a log's directory.
pub(crate) fn records_of(disk: &SimDisk, directory: &str) -> Result<BTreeMap<Offset, String>, String> {
    let mut found = BTreeMap::new();
    for bytes in segments(disk, directory).map_err(|error| format!("{directory} cannot be read: {error}"))? {
        let records = records::decode(&bytes).map_err(|bad| format!("{directory}: {bad}"))?;
        found.extend(records);
    }
    Ok(found)
}

fn segments(disk: &SimDisk, directory: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut segments = Vec::new();
    for name in disk.list(directory)?.iter().filter(|name| name.ends_with(".log")) {
        let file = disk.open(&format!("{directory}/{name}"), OpenMode::Existing)?;
        let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
        file.read_at(&mut bytes, 0)?;
        segments.push(bytes);
    }
    Ok(segments)
}
