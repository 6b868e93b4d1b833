//! Making a segment, and opening one that is there.

use std::io;

use super::{SEGMENT_BYTES_MAX, Segment};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::ids::Offset;
use crate::log::error::{DiskError, failed};
use crate::log::header::Header;
use crate::log::index::{Index, OffsetEntry, TimeEntry};
use crate::log::names::{index_file, join, log_file, time_index_file};
use crate::log::scan::{NEAR_BYTES, Walk};

struct Files<F> {
    log: F,
    offsets: F,
    times: F,
}

fn open_files<D: Disk>(disk: &D, directory: &str, base: Offset) -> Result<Files<D::File>, DiskError> {
    let open = |name: String| {
        let path = join(directory, &name);
        disk.open(&path, OpenMode::Create).map_err(failed("open", &path))
    };
    Ok(Files {
        log: open(log_file(base))?,
        offsets: open(index_file(base))?,
        times: open(time_index_file(base))?,
    })
}

impl<F: DiskFile> Segment<F> {
    /// A new, empty segment. Its names are not durable yet.
    pub(in crate::log) fn create<D: Disk<File = F>>(
        disk: &D,
        directory: &str,
        base: Offset,
    ) -> Result<Self, DiskError> {
        let files = open_files(disk, directory, base)?;
        for file in [&files.log, &files.offsets, &files.times] {
            // A file that was not there is empty; changing it would only make it dirty.
            let empty = || if file.length()? > 0 { file.set_length(0) } else { Ok(()) };
            empty().map_err(failed("empty a file of the new segment in", directory))?;
        }
        let mut segment = Self::with(base, files.log, Index::new(files.offsets), Index::new(files.times));
        // Even an empty file must be on the disk before its successors are.
        segment.dirty = true;
        Ok(segment)
    }

    /// A rolled segment that lies wholly below the recovery point, `end` being its successor's base.
    pub(in crate::log) fn open_rolled<D: Disk<File = F>>(
        disk: &D,
        directory: &str,
        base: Offset,
        end: Offset,
    ) -> Result<Self, DiskError> {
        let files = open_files(disk, directory, base)?;
        let open = || -> io::Result<Self> {
            let size = u32::try_from(files.log.length()?).map_err(io::Error::other)?;
            let (offsets, times) = (Index::on_file(files.offsets)?, Index::on_file(files.times)?);
            let mut segment = Self::with(base, files.log, offsets, times);
            segment.size = size;
            segment.end = end;
            segment.greatest = segment.greatest_of_index();
            Ok(segment)
        };
        open().map_err(failed("open a segment of", directory))
    }

    /// A segment to be recovered: empty, but for the index entries below `trusted_below`, up to which the
    /// walk is already done. The caller notes the batches from [`Segment::size`] on.
    pub(in crate::log) fn open_for_recovery<D: Disk<File = F>>(
        disk: &D,
        directory: &str,
        base: Offset,
        trusted_below: Offset,
    ) -> Result<Self, DiskError> {
        let files = open_files(disk, directory, base)?;
        let open = || -> io::Result<Self> {
            let length = files.log.length()?;
            let trusted = |relative: u32| base.plus(i64::from(relative)) < trusted_below;
            let offsets = Index::recover(files.offsets.clone(), |before: Option<&OffsetEntry>, entry| {
                let rises = before.is_none_or(|b| b.relative < entry.relative && b.position < entry.position);
                rises && entry.position > 0 && u64::from(entry.position) < length && trusted(entry.relative)
            })?;
            let times = Index::recover(files.times.clone(), |before: Option<&TimeEntry>, entry| {
                let rises =
                    before.is_none_or(|b| b.relative < entry.relative && b.timestamp < entry.timestamp);
                rises && entry.timestamp >= 0 && trusted(entry.relative)
            })?;
            let mut segment = Self::with(base, files.log, offsets, times);
            if !segment.index_fits()? {
                segment.offsets = Index::recover(files.offsets, |_, _| false)?;
                segment.times = Index::recover(files.times, |_, _| false)?;
            }
            if let Some(entry) = segment.offsets.last() {
                // The batch of the last entry is walked again: it starts the tail.
                segment.size = entry.position;
                segment.first_timestamp = segment.first_header()?.map(|header| header.max_timestamp);
            }
            segment.greatest = segment.greatest_of_index();
            segment.dirty = true;
            segment.index_due = true;
            Ok(segment)
        };
        open().map_err(failed("recover a segment of", directory))
    }

    fn with(base: Offset, file: F, offsets: Index<F, OffsetEntry>, times: Index<F, TimeEntry>) -> Self {
        Self {
            base,
            end: base,
            file,
            size: 0,
            greatest: None,
            first_timestamp: None,
            first_append: None,
            dirty: false,
            index_due: false,
            offsets,
            times,
            bytes_since_entry: 0,
            bytes_since_index_sync: 0,
            tail: Vec::new(),
        }
    }

    /// Whether the batch that the last index entry names is there.
    fn index_fits(&self) -> io::Result<bool> {
        let Some(entry) = self.offsets.last() else { return Ok(true) };
        let limit = u32::try_from(self.file.length()?).unwrap_or(SEGMENT_BYTES_MAX);
        let step = Walk::new(&self.file, entry.position, limit, NEAR_BYTES).step()?;
        Ok(matches!(step, Some(Ok(header)) if header.last() == self.at(entry.relative)))
    }

    fn first_header(&self) -> io::Result<Option<Header>> {
        let limit = u32::try_from(self.file.length()?).unwrap_or(SEGMENT_BYTES_MAX);
        Ok(Walk::new(&self.file, 0, limit, NEAR_BYTES).step()?.and_then(Result::ok))
    }
}
