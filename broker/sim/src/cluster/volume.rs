//! What lies on a volume, read without the core's help.

use std::collections::BTreeMap;
use std::io;

use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::{Offset, TopicId};
use ottla_wire::batch::{Batch, Batches};

use crate::checkers::replication::BatchId;
use crate::disk::SimDisk;
use crate::records;

/// A batch, and where on a volume it lies.
#[derive(Debug, Clone)]
pub(crate) struct StoredBatch {
    /// The path of its segment.
    pub(crate) segment: String,
    /// Its position there, in bytes.
    pub(crate) position: usize,
    /// The offset of its first record.
    pub(crate) base: Offset,
    pub(crate) bytes: Vec<u8>,
}

/// Every record in the segments of a log's directory.
pub(crate) fn records_of(disk: &SimDisk, directory: &str) -> Result<BTreeMap<Offset, String>, String> {
    let mut found = BTreeMap::new();
    for bytes in segments(disk, directory).map_err(|error| format!("{directory} cannot be read: {error}"))? {
        let records = records::decode(&bytes).map_err(|bad| format!("{directory}: {bad}"))?;
        found.extend(records);
    }
    Ok(found)
}

/// The batches that end after `from`, as far as they are whole, read from a log's directory.
pub(crate) fn batches_of(disk: &SimDisk, directory: &str, from: Offset) -> Vec<BatchId> {
    let segments = segments_by_base(disk, directory);
    let first = segments.partition_point(|(base, _)| *base <= from).saturating_sub(1);
    let mut found = Vec::new();
    for (_, segment) in &segments[first..] {
        let Ok(bytes) = read(disk, segment) else { break };
        records::batches(&bytes, from, &mut found);
    }
    found
}

/// The batches that end at `end` or before, of a log's directory in which none is damaged.
pub(crate) fn batches_before(disk: &SimDisk, directory: &str, end: Offset) -> Vec<StoredBatch> {
    let mut found = Vec::new();
    for (_, segment) in segments_by_base(disk, directory).into_iter().filter(|(base, _)| *base < end) {
        let bytes = read(disk, &segment).unwrap_or_default();
        let mut position = 0;
        for Batch { header, bytes } in Batches::new(&bytes).map_while(Result::ok) {
            if Offset(header.next_offset()) <= end {
                let (segment, base) = (segment.clone(), Offset(header.base_offset));
                found.push(StoredBatch { segment, position, base, bytes: bytes.to_vec() });
            }
            position += bytes.len();
        }
    }
    found
}

/// The paths of a log's segments in order, each with the offset that it begins at.
fn segments_by_base(disk: &SimDisk, directory: &str) -> Vec<(Offset, String)> {
    let names = disk.list(directory).unwrap_or_default();
    let base = |name: &String| name.strip_suffix(".log")?.parse().ok().map(Offset);
    let mut segments: Vec<(Offset, String)> =
        names.iter().filter_map(|name| Some((base(name)?, format!("{directory}/{name}")))).collect();
    segments.sort_unstable();
    segments
}

/// Whether a log's directory is there and belongs to this topic, and not to another of that name.
pub(crate) fn belongs_to(disk: &SimDisk, directory: &str, topic: TopicId) -> bool {
    let metadata = read(disk, &format!("{directory}/partition.metadata")).unwrap_or_default();
    String::from_utf8_lossy(&metadata).contains(&topic.to_string())
}

/// The bytes of a file.
pub(crate) fn read(disk: &SimDisk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Existing)?;
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn segments(disk: &SimDisk, directory: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut segments = Vec::new();
    for name in disk.list(directory)?.iter().filter(|name| name.ends_with(".log")) {
        segments.push(read(disk, &format!("{directory}/{name}"))?);
    }
    Ok(segments)
}
