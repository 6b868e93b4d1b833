//! One segment: a file of batches, its two indexes, and what is known of it in memory.

use std::io;

use super::error::{BatchFlaw, DiskError, failed};
use super::header::Header;
use super::index::{Entry, Index, IndexWrite, OffsetEntry, TimeEntry};
use super::names::{index_file, join, log_file, time_index_file};
use super::scan::{FAR_BYTES, NEAR_BYTES, Walk};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::ids::Offset;
use crate::time::Wall;

/// Index entries of the active segment are synced after that many bytes of batches, so that a recovery
/// rebuilds no more than that. It is also how far the recovery point may lag.
pub(super) const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Positions are 32 bits, signed, in Kafka's index.
const SEGMENT_BYTES_MAX: u32 = i32::MAX as u32;

/// The greatest timestamp of a segment, and the last offset of its first batch that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Greatest {
    pub(super) timestamp: i64,
    pub(super) last: Offset,
}

/// Where a batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    end: Offset,
    position: u32,
}

/// A stretch of a segment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) position: u32,
    pub(super) end: u32,
}

/// Why a segment's batches could not be walked.
#[derive(Debug)]
pub(super) enum WalkError {
    Io(io::Error),
    Flaw { position: u32, flaw: BatchFlaw },
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) base: Offset,
    /// The offset after its last record; the base if there is none.
    pub(super) end: Offset,
    pub(super) file: F,
    pub(super) size: u32,
    pub(super) greatest: Option<Greatest>,
    /// The greatest timestamp of its first batch, from which `segment.ms` counts.
    pub(super) first_timestamp: Option<i64>,
    /// When this process first appended to it, for batches without timestamps.
    pub(super) first_append: Option<Wall>,
    /// Bytes or length of the file changed since its last sync was handed out.
    pub(super) dirty: bool,
    /// The indexes must go with the next sync.
    pub(super) index_due: bool,
    offsets: Index<F, OffsetEntry>,
    times: Index<F, TimeEntry>,
    bytes_since_entry: u32,
    bytes_since_index_sync: u64,
    /// The batches from the one with the last index entry on: few, and the ones most asked for.
    tail: Vec<Place>,
}

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
    pub(super) fn create<D: Disk<File = F>>(
        disk: &D,
        directory: &str,
        base: Offset,
    ) -> Result<Self, DiskError> {
        let files = open_files(disk, directory, base)?;
        for file in [&files.log, &files.offsets, &files.times] {
            file.set_length(0).map_err(failed("empty a file of the new segment in", directory))?;
        }
        let mut segment = Self::with(base, files.log, Index::new(files.offsets), Index::new(files.times));
        // Even an empty file must be on the disk before its successors are.
        segment.dirty = true;
        Ok(segment)
    }

    /// A rolled segment that lies wholly below the recovery point, `end` being its successor's base.
    pub(super) fn open_rolled<D: Disk<File = F>>(
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
    pub(super) fn open_for_recovery<D: Disk<File = F>>(
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

    fn greatest_of_index(&self) -> Option<Greatest> {
        let entry = self.times.last()?;
        Some(Greatest { timestamp: entry.timestamp, last: self.at(entry.relative) })
    }

    fn at(&self, relative: u32) -> Offset {
        self.base.plus(i64::from(relative))
    }

    fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0 - self.base.0).expect("a segment is rolled before a relative offset overflows")
    }

    /// Whether this batch can still go here after `planned_bytes` more, by the width of positions and
    /// relative offsets.
    pub(super) fn has_room(&self, header: &Header, planned_bytes: u32) -> bool {
        let position = self.size.checked_add(planned_bytes).and_then(|at| at.checked_add(header.bytes));
        header.last().0 - self.base.0 <= i64::from(i32::MAX)
            && position.is_some_and(|end| end <= SEGMENT_BYTES_MAX)
    }

    /// Whether an index might exceed its size with `planned` batches and one more.
    pub(super) fn index_is_full(&self, index_bytes: u32, planned: usize) -> bool {
        let room = index_bytes as usize;
        let entries = planned + 1;
        // The time index gets one more when the segment is sealed.
        self.offsets.bytes() + entries * OffsetEntry::BYTES > room
            || self.times.bytes() + (entries + 1) * TimeEntry::BYTES > room
    }

    /// How long ago its first batch was made, seen from one with this timestamp.
    pub(super) fn age_ms(&self, timestamp: i64, now: Wall) -> i64 {
        match self.first_timestamp {
            Some(first) if first >= 0 => timestamp.saturating_sub(first),
            _ => self.first_append.map_or(0, |first| now.0.saturating_sub(first.0)),
        }
    }

    /// Takes note of a batch that lies, or is about to lie, at the segment's end. The append and the
    /// recovery both come through here, so that both make the same index.
    pub(super) fn note(&mut self, header: &Header, index_interval_bytes: u32) {
        let position = self.size;
        self.first_timestamp.get_or_insert(header.max_timestamp);
        if self.greatest.is_none_or(|greatest| header.max_timestamp > greatest.timestamp) {
            self.greatest = Some(Greatest { timestamp: header.max_timestamp, last: header.last() });
        }
        if self.bytes_since_entry > index_interval_bytes {
            self.offsets.push(OffsetEntry { relative: self.relative(header.last()), position });
            self.note_time();
            self.bytes_since_entry = 0;
            self.tail.clear();
        }
        self.tail.push(Place { end: header.end, position });
        self.size += header.bytes;
        self.end = header.end;
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(header.bytes);
        self.bytes_since_index_sync += u64::from(header.bytes);
        if self.bytes_since_index_sync >= CHECKPOINT_BYTES {
            self.index_due = true;
        }
    }

    fn note_time(&mut self) {
        let Some(greatest) = self.greatest else { return };
        if greatest.timestamp > self.times.last().map_or(-1, |entry| entry.timestamp) {
            let relative = self.relative(greatest.last);
            self.times.push(TimeEntry { timestamp: greatest.timestamp, relative });
        }
    }

    /// The segment gets no more batches: its last timestamp goes into the index, and the index to its file.
    pub(super) fn seal(&mut self) {
        self.note_time();
        self.tail = Vec::new();
        self.index_due = true;
    }

    /// As far as a proper shutdown goes, the segment is complete; it may still grow after the next start.
    pub(super) fn prepare_close(&mut self) {
        self.note_time();
        self.index_due = true;
    }

    /// The index entries its files lack, the time index first: what an entry of the offset index says
    /// about a batch, a recovery also wants to know of all timestamps before it.
    pub(super) fn take_index_writes(&mut self) -> Vec<IndexWrite<F>> {
        self.index_due = false;
        self.bytes_since_index_sync = 0;
        self.times.take_unwritten().into_iter().chain(self.offsets.take_unwritten()).collect()
    }

    /// Lets go of the memory of a rolled segment's index.
    pub(super) fn release_index(&mut self) {
        self.offsets.release();
        self.times.release();
    }

    /// The batch that holds `offset`, or the first one after it; the segment's size if there is none.
    pub(super) fn position_of(&self, offset: Offset) -> Result<u32, WalkError> {
        if let Some(first) = self.tail.first()
            && (first.position == 0
                || self.offsets.last().is_some_and(|entry| offset > self.at(entry.relative)))
        {
            let before = self.tail.partition_point(|place| place.end <= offset);
            return Ok(self.tail.get(before).map_or(self.size, |place| place.position));
        }
        let from =
            self.offsets.floor(|entry| self.at(entry.relative) <= offset)?.map_or(0, |entry| entry.position);
        self.walk_until(from, |header| header.end > offset)
    }

    /// The stretch from `start`, a batch's position, that is to be read: whole batches only, none that ends
    /// beyond `upper`, and no more than `bytes_max`, of which the first batch may be excused.
    pub(super) fn stretch(
        &self,
        start: u32,
        bytes_max: u32,
        upper: Offset,
        first_excused: bool,
    ) -> Result<Stretch, WalkError> {
        let most = start.saturating_add(bytes_max);
        if upper >= self.end && most >= self.size {
            return Ok(Stretch { position: start, end: self.size });
        }
        // Every entry of the index is a batch's beginning: the walk begins at the last that is safe.
        let safe = |entry: &OffsetEntry| entry.position <= most && self.at(entry.relative) < upper;
        let from = self.offsets.floor(safe)?.map_or(0, |entry| entry.position).max(start);
        let mut walk = Walk::new(&self.file, from, self.size, NEAR_BYTES);
        let mut end = from;
        while let Some(header) = step(&mut walk)? {
            let fits = walk.position() <= most || (first_excused && end == start);
            if header.end > upper || !fits {
                break;
            }
            end = walk.position();
        }
        Ok(Stretch { position: start, end })
    }

    /// The first position from `from` on whose batch satisfies `wanted`; the size if there is none.
    fn walk_until(&self, from: u32, wanted: impl Fn(&Header) -> bool) -> Result<u32, WalkError> {
        let mut walk = Walk::new(&self.file, from, self.size, NEAR_BYTES);
        let mut position = walk.position();
        while let Some(header) = step(&mut walk)? {
            if wanted(&header) {
                return Ok(position);
            }
            position = walk.position();
        }
        Ok(self.size)
    }

    /// The first batch, with its position, whose greatest timestamp is at or above `target`; not before the
    /// batch at position `from`, if that is given.
    pub(super) fn batch_at_timestamp(
        &self,
        target: i64,
        from: Option<u32>,
    ) -> Result<Option<(u32, Header)>, WalkError> {
        let position = match from {
            Some(position) => position,
            None => {
                let before = self.times.floor(|entry| entry.timestamp < target)?;
                self.position_of(before.map_or(self.base, |entry| self.at(entry.relative)))?
            }
        };
        let mut walk = Walk::new(&self.file, position, self.size, NEAR_BYTES);
        let mut position = position;
        while let Some(header) = step(&mut walk)? {
            if header.max_timestamp >= target {
                return Ok(Some((position, header)));
            }
            position = walk.position();
        }
        Ok(None)
    }

    /// An offset at or below where [`Segment::truncate`] would make the log end, and close to it.
    pub(super) fn safe_end_before(&self, offset: Offset) -> Result<Offset, WalkError> {
        let position = self.position_of(offset)?;
        let entry = self.offsets.floor(|entry| entry.position < position)?;
        Ok(entry.map_or(self.base, |entry| self.at(entry.relative).plus(1)))
    }

    /// Writes the bytes from a position on once more. After a crash of the process alone they may lie in the
    /// page cache of a write-back that failed: written again they count as dirty, and a sync is honest.
    pub(super) fn rewrite_from(&self, offset: Offset) -> Result<u64, WalkError> {
        let start = u64::from(self.position_of(offset)?);
        let end = u64::from(self.size);
        let mut chunk = vec![0; FAR_BYTES];
        let mut at = start;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(chunk.len());
            let read = self.file.read_at(&mut chunk[..wanted], at)?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.file.write_at(&chunk[..read], at)?;
            at += read as u64;
        }
        Ok(end - start)
    }

    /// Cuts the segment at the batch that holds `offset`: the rest of its file, and of its indexes.
    pub(super) fn truncate(&mut self, offset: Offset) -> Result<(), WalkError> {
        let position = self.position_of(offset)?;
        self.offsets.keep(|entry| entry.position < position)?;
        self.times.keep(|entry| self.base.plus(i64::from(entry.relative)) < offset)?;
        self.file.set_length(u64::from(position))?;
        self.dirty = true;
        self.index_due = true;
        // Walk the rest again as a recovery would; nothing of it has an index entry but the first batch.
        self.size = self.offsets.last().map_or(0, |entry| entry.position);
        self.end = self.base;
        self.greatest = self.greatest_of_index();
        self.first_timestamp = self.first_timestamp.filter(|_| position > 0);
        self.bytes_since_entry = 0;
        self.tail = Vec::new();
        let file = self.file.clone();
        let mut walk = Walk::new(&file, self.size, position, NEAR_BYTES);
        while let Some(header) = step(&mut walk)? {
            // No interval is exceeded here: these batches made no entry when they came.
            self.note(&header, u32::MAX);
        }
        Ok(())
    }
}

/// The next header, a flaw being an error.
fn step<F: DiskFile>(walk: &mut Walk<'_, F>) -> Result<Option<Header>, WalkError> {
    let position = walk.position();
    match walk.step()? {
        None => Ok(None),
        Some(Ok(header)) => Ok(Some(header)),
        Some(Err(flaw)) => Err(WalkError::Flaw { position, flaw }),
    }
}
