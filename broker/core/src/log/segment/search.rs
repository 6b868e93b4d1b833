//! Finding batches in a segment: by offset, by size and by timestamp.

use super::{Segment, Stretch, WalkError};
use crate::disk::DiskFile;
use crate::ids::Offset;
use crate::log::error::BatchFlaw;
use crate::log::header::Header;
use crate::log::index::OffsetEntry;
use crate::log::scan::{NEAR_BYTES, Walk};

impl<F: DiskFile> Segment<F> {
    /// The batch that holds `offset`, or the first one after it; the segment's size if there is none.
    pub(in crate::log) fn position_of(&self, offset: Offset) -> Result<u32, WalkError> {
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
    ///
    /// # Errors
    /// Also if the first batch begins before `upper` and ends beyond it, and `wanted`, the offset that is asked for, lies
    /// before it: both a log and what of it is committed end where a batch does, so that its header is not what was written.
    /// Whoever reads it would wait for its end for ever.
    pub(in crate::log) fn stretch(
        &self,
        start: u32,
        wanted: Offset,
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
            let straddles = wanted < upper && header.base < upper && header.end > upper;
            if straddles && end == start {
                return Err(WalkError::Flaw { position: start, flaw: BatchFlaw::Offsets });
            }
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
    pub(in crate::log) fn batch_at_timestamp(
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
    pub(in crate::log) fn safe_end_before(&self, offset: Offset) -> Result<Offset, WalkError> {
        let position = self.position_of(offset)?;
        let entry = self.offsets.floor(|entry| entry.position < position)?;
        Ok(entry.map_or(self.base, |entry| self.at(entry.relative).plus(1)))
    }
}

/// The next header, a flaw being an error.
pub(super) fn step<F: DiskFile>(walk: &mut Walk<'_, F>) -> Result<Option<Header>, WalkError> {
    let position = walk.position();
    match walk.step()? {
        None => Ok(None),
        Some(Ok(header)) => Ok(Some(header)),
        Some(Err(flaw)) => Err(WalkError::Flaw { position, flaw }),
    }
}
