//! Rot that a read finds while the log is in use.
//!
//! A start looks at what lies close to the recovery point; what is rotten further down shows when somebody reads it. A note
//! beside the segments (`damage-checkpoint`) makes the next start refuse the log, as it refuses one whose end is rotten, for
//! as long as that batch is not whole again.

use std::io;

use super::error::{DiskError, failed};
use super::header::{CHECKED_FROM, Header, batches};
use super::names::{DAMAGE, join, log_file};
use super::replica_log::Log;
use super::scan::{FAR_BYTES, Walk, checksum_holds};
use super::text_file;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::ids::Offset;

/// Where a rotten batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RottenBatch {
    /// The base offset of its segment.
    pub segment: Offset,
    /// Its position in the segment's file, in bytes.
    pub position: u32,
}

/// The first batch of a stretch that is not what was appended. The stretch holds whole batches of a segment from a position on,
/// as a [`super::ReadPlan`] gives them.
pub fn find_rot(segment: Offset, position: u64, bytes: &[u8]) -> Option<RottenBatch> {
    let (mut at, mut end) = (position, Offset(0));
    for batch in batches(bytes) {
        let sound = batch.ok().filter(|(header, batch)| {
            header.base >= end && header.crc == crc32c::crc32c(&batch[CHECKED_FROM..])
        });
        let Some((header, batch)) = sound else {
            return Some(RottenBatch { segment, position: u32::try_from(at).unwrap_or(u32::MAX) });
        };
        (at, end) = (at + batch.len() as u64, header.end);
    }
    None
}

impl<D: Disk> Log<D> {
    /// Whether the batches of its segment do not lead to a place, or the one there is not whole. Blocks on the disk.
    pub fn is_rotten(&self, at: RottenBatch) -> Result<bool, DiskError> {
        is_rotten(&self.disk, &self.directory, at).map_err(failed("read", &self.directory))
    }

    /// Makes every start from now on refuse this log, unless the batch is whole by then. Blocks on the disk.
    pub fn mark_rotten(&self, at: RottenBatch) -> Result<(), DiskError> {
        let text = format!("0\n{} {}\n", at.segment, at.position);
        text_file::replace_durably(&self.disk, &self.directory, DAMAGE, &text)
            .map_err(failed("write", &join(&self.directory, DAMAGE)))
    }
}

/// The rotten batch that a log was left with, if it is rotten still; takes back a note of one that is not. A note that
/// nobody can read is not believed: what it spoke of shows again when it is read.
pub(super) fn marked_rot<D: Disk>(disk: &D, directory: &str) -> Result<Option<RottenBatch>, DiskError> {
    let path = join(directory, DAMAGE);
    let Some(text) = text_file::read(disk, &path).map_err(failed("read", &path))? else { return Ok(None) };
    if let Some(at) = parse(&text)
        && is_rotten(disk, directory, at).map_err(failed("read", directory))?
    {
        return Ok(Some(at));
    }
    disk.remove(&path).map_err(failed("remove", &path))?;
    Ok(None)
}

fn parse(text: &str) -> Option<RottenBatch> {
    let (segment, position) = text.strip_prefix("0\n")?.strip_suffix('\n')?.split_once(' ')?;
    Some(RottenBatch { segment: Offset(segment.parse().ok()?), position: position.parse().ok()? })
}

/// Whether the batches of a segment do not lead to a position, or the one there is not whole.
fn is_rotten<D: Disk>(disk: &D, directory: &str, at: RottenBatch) -> io::Result<bool> {
    let file = match disk.open(&join(directory, &log_file(at.segment)), OpenMode::Existing) {
        Ok(file) => file,
        // It went with its records.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let length = u32::try_from(file.length()?).unwrap_or(u32::MAX);
    let mut walk = Walk::new(&file, 0, length, FAR_BYTES);
    let mut end = at.segment;
    while walk.position() <= at.position {
        let position = walk.position();
        let header: Header = match walk.step()? {
            // It was cut off.
            None => return Ok(false),
            Some(Ok(header)) if header.base >= end => header,
            Some(_) => return Ok(true),
        };
        if position == at.position {
            // The base offset lies outside of the checksum.
            let overlaps = |next: &Result<Header, _>| next.as_ref().is_ok_and(|next| next.base < header.end);
            return Ok(!checksum_holds(&file, position, &header)?
                || walk.step()?.is_some_and(|next| overlaps(&next)));
        }
        end = header.end;
    }
    // No batch begins there: whoever said so went by an index that is not what it was.
    Ok(false)
}
