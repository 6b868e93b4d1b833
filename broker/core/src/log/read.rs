//! Reading batches: first a plan, which needs the log; then the bytes, which any thread may fetch.

use std::io;

use bytes::{Bytes, BytesMut};

use super::error::ReadError;
use super::replica_log::Log;
use super::segment::Segment;
use crate::disk::{Disk, DiskFile};
use crate::ids::Offset;

/// A stretch of a file that holds whole batches. Between the plan and its run the log may be cut or the
/// segment removed: bytes below the high watermark never change, and followers, who read others, refuse batches of a later
/// leadership than they asked in.
#[derive(Debug, Clone)]
pub struct ReadPlan<F> {
    file: F,
    /// The base offset of its segment.
    pub segment: Offset,
    /// Where the stretch begins in the file.
    pub position: u64,
    /// How long it is; 0 if there is nothing to read.
    pub length: u32,
    /// Whether there are records that may be read in a later segment.
    pub more_follows: bool,
}

impl<F: DiskFile> ReadPlan<F> {
    pub(super) fn new(segment: &Segment<F>, position: u32, length: u32) -> Self
    where
        F: Clone,
    {
        let (file, position) = (segment.file.clone(), u64::from(position));
        Self { file, segment: segment.base, position, length, more_follows: false }
    }

    /// The file itself.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Reads the bytes; blocks on the disk.
    pub fn run(&self) -> io::Result<Bytes> {
        let length = usize::try_from(self.length).map_err(io::Error::other)?;
        let mut bytes = BytesMut::zeroed(length);
        if self.file.read_at(&mut bytes, self.position)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes.freeze())
    }
}

impl<D: Disk> Log<D> {
    /// Plans a read of the batch that holds `from`, or of the first after it, and of those that follow in
    /// the same segment: up to `max_bytes`, and none that reaches to `upper_exclusive` or beyond it. With
    /// `at_least_one_batch` the first may be larger than `max_bytes`.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: u32,
        upper_exclusive: Offset,
        at_least_one_batch: bool,
    ) -> Result<ReadPlan<D::File>, ReadError> {
        let (log_start, log_end) = (self.local_log_start(), self.log_end());
        if from < log_start || from > log_end {
            return Err(ReadError::OutOfRange { offset: from, log_start, log_end });
        }
        let upper = upper_exclusive.min(log_end);
        for (index, segment) in self.segments.iter().enumerate().skip(self.segment_index(from)) {
            if segment.base >= upper {
                break;
            }
            let error = |error| self.walk_error(segment.base, error);
            let start = segment.position_of(from).map_err(error)?;
            if start == segment.size {
                // The log has a gap here, up to the next segment.
                continue;
            }
            let stretch =
                segment.stretch(start, from, max_bytes, upper, at_least_one_batch).map_err(error)?;
            let length = stretch.end - stretch.position;
            let more_follows = self.segments.get(index + 1).is_some_and(|next| next.base < upper);
            return Ok(ReadPlan { more_follows, ..ReadPlan::new(segment, stretch.position, length) });
        }
        Ok(self.read_nothing())
    }

    /// The plan of a read that finds nothing.
    pub fn read_nothing(&self) -> ReadPlan<D::File> {
        ReadPlan::new(self.active(), self.active().size, 0)
    }
}
