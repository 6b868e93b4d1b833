//! One segment: a file of batches, its two indexes, and what is known of it in memory.
//!
//! Here it grows, is sealed and is cut; `open` makes and opens it, `search` finds batches in it.

mod open;
mod search;

use std::io;

use self::search::step;
use super::error::BatchFlaw;
use super::header::Header;
use super::index::{Entry, Index, IndexWrite, OffsetEntry, TimeEntry};
use super::scan::{FAR_BYTES, NEAR_BYTES, Walk};
use crate::disk::DiskFile;
use crate::ids::Offset;
use crate::time::Wall;

/// Index entries of the active segment are synced after that many bytes of batches, so that a recovery
/// rebuilds no more than that. It is also how far the recovery point may lag.
pub(in crate::log) const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Positions are 32 bits, signed, in Kafka's index.
const SEGMENT_BYTES_MAX: u32 = i32::MAX as u32;

/// The greatest timestamp of a segment, and the last offset of its first batch that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct Greatest {
    pub(in crate::log) timestamp: i64,
    pub(in crate::log) last: Offset,
}

/// Where a batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    end: Offset,
    position: u32,
}

/// A stretch of a segment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct Stretch {
    pub(in crate::log) position: u32,
    pub(in crate::log) end: u32,
}

/// Where a segment is to be cut, with all that must be read to do so.
#[derive(Debug)]
pub(in crate::log) struct Cut {
    offset: Offset,
    /// How long its file is then.
    pub(in crate::log) position: u32,
    /// The batches that are left, from the one with the last index entry on.
    rest: Vec<Header>,
}

impl Cut {
    /// Where the segment ends then, given its base.
    pub(in crate::log) fn end(&self, base: Offset) -> Offset {
        self.rest.last().map_or(base, |last| last.end)
    }
}

/// Why a segment's batches could not be walked.
#[derive(Debug)]
pub(in crate::log) enum WalkError {
    Io(io::Error),
    Flaw { position: u32, flaw: BatchFlaw },
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[derive(Debug)]
pub(in crate::log) struct Segment<F> {
    pub(in crate::log) base: Offset,
    /// The offset after its last record; the base if there is none.
    pub(in crate::log) end: Offset,
    pub(in crate::log) file: F,
    pub(in crate::log) size: u32,
    pub(in crate::log) greatest: Option<Greatest>,
    /// The greatest timestamp of its first batch, from which `segment.ms` counts.
    pub(in crate::log) first_timestamp: Option<i64>,
    /// When this process first appended to it, for batches without timestamps.
    pub(in crate::log) first_append: Option<Wall>,
    /// Bytes or length of the file changed since its last sync was handed out.
    pub(in crate::log) dirty: bool,
    /// The indexes must go with the next sync.
    pub(in crate::log) index_due: bool,
    offsets: Index<F, OffsetEntry>,
    times: Index<F, TimeEntry>,
    bytes_since_entry: u32,
    bytes_since_index_sync: u64,
    /// The batches from the one with the last index entry on: few, and the ones most asked for.
    tail: Vec<Place>,
}

impl<F: DiskFile> Segment<F> {
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
    pub(in crate::log) fn has_room(&self, header: &Header, planned_bytes: u32) -> bool {
        let position = self.size.checked_add(planned_bytes).and_then(|at| at.checked_add(header.bytes));
        header.last().0 - self.base.0 <= i64::from(i32::MAX)
            && position.is_some_and(|end| end <= SEGMENT_BYTES_MAX)
    }

    /// Whether an index might exceed its size with `planned` batches and one more.
    pub(in crate::log) fn index_is_full(&self, index_bytes: u32, planned: usize) -> bool {
        let room = index_bytes as usize;
        let entries = planned + 1;
        // The time index gets one more when the segment is sealed.
        self.offsets.bytes() + entries * OffsetEntry::BYTES > room
            || self.times.bytes() + (entries + 1) * TimeEntry::BYTES > room
    }

    /// How long ago its first batch was made, seen from one with this timestamp.
    pub(in crate::log) fn age_ms(&self, timestamp: i64, now: Wall) -> i64 {
        match self.first_timestamp {
            Some(first) if first >= 0 => timestamp.saturating_sub(first),
            _ => self.first_append.map_or(0, |first| now.0.saturating_sub(first.0)),
        }
    }

    /// Takes note of a batch that lies, or is about to lie, at the segment's end. The append and the
    /// recovery both come through here, so that both make the same index.
    pub(in crate::log) fn note(&mut self, header: &Header, index_interval_bytes: u32) {
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
    pub(in crate::log) fn seal(&mut self) {
        self.note_time();
        self.tail = Vec::new();
        self.index_due = true;
    }

    /// As far as a proper shutdown goes, the segment is complete; it may still grow after the next start.
    pub(in crate::log) fn prepare_close(&mut self) {
        self.note_time();
        self.index_due = true;
    }

    /// The index entries its files lack, the time index first: what an entry of the offset index says
    /// about a batch, a recovery also wants to know of all timestamps before it.
    pub(in crate::log) fn take_index_writes(&mut self) -> Vec<IndexWrite<F>> {
        self.index_due = false;
        self.bytes_since_index_sync = 0;
        self.times.take_unwritten().into_iter().chain(self.offsets.take_unwritten()).collect()
    }

    /// Lets go of the memory of a rolled segment's index.
    pub(in crate::log) fn release_index(&mut self) {
        self.offsets.release();
        self.times.release();
    }

    /// Writes the bytes from a position on once more. After a crash of the process alone they may lie in the
    /// page cache of a write-back that failed: written again they count as dirty, and a sync is honest.
    pub(in crate::log) fn rewrite_from(&self, offset: Offset) -> Result<u64, WalkError> {
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

    /// Prepares to cut the segment at the batch that holds `offset`: the rest of its file, and of its indexes.
    pub(in crate::log) fn plan_cut(&mut self, offset: Offset) -> Result<Cut, WalkError> {
        self.offsets.load()?;
        self.times.load()?;
        let position = self.position_of(offset)?;
        // The rest is walked again as a recovery would; nothing of it has an index entry but the first batch.
        let entry = self.offsets.floor(|entry| entry.position < position)?;
        let mut walk = Walk::new(&self.file, entry.map_or(0, |entry| entry.position), position, NEAR_BYTES);
        let mut rest = Vec::new();
        while let Some(header) = step(&mut walk)? {
            rest.push(header);
        }
        Ok(Cut { offset, position, rest })
    }

    /// Cuts as planned. After an error it is as it was.
    pub(in crate::log) fn cut(&mut self, cut: Cut) -> io::Result<()> {
        let Cut { offset, position, rest } = cut;
        self.file.set_length(u64::from(position))?;
        self.offsets.keep(|entry| entry.position < position);
        self.times.keep(|entry| self.base.plus(i64::from(entry.relative)) < offset);
        self.dirty = true;
        self.index_due = true;
        self.size = self.offsets.last().map_or(0, |entry| entry.position);
        self.end = self.base;
        self.greatest = self.greatest_of_index();
        self.first_timestamp = self.first_timestamp.filter(|_| position > 0);
        self.bytes_since_entry = 0;
        self.tail = Vec::new();
        for header in rest {
            // No interval is exceeded here: these batches made no entry when they came.
            self.note(&header, u32::MAX);
        }
        Ok(())
    }
}
