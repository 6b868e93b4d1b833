//! Walking the batches of a segment's file.

use std::io;

use super::error::BatchFlaw;
use super::header::{CHECKED_FROM, HEADER_BYTES, Header};
use crate::disk::DiskFile;

/// How much one read takes in where a few neighbouring headers are wanted.
pub(super) const NEAR_BYTES: usize = 4 << 10;
/// How much one read takes in where a whole segment is walked.
pub(super) const FAR_BYTES: usize = 256 << 10;

/// Walks headers from one position to another. It allocates one chunk, whatever lengths the file claims.
pub(super) struct Walk<'a, F> {
    file: &'a F,
    position: u32,
    limit: u32,
    chunk: Vec<u8>,
    chunk_at: u32,
    chunk_bytes: usize,
}

impl<'a, F: DiskFile> Walk<'a, F> {
    /// From the batch at `position` to `limit`, where a batch must end.
    pub(super) fn new(file: &'a F, position: u32, limit: u32, chunk_bytes: usize) -> Self {
        Self { file, position, limit, chunk: Vec::new(), chunk_at: 0, chunk_bytes }
    }

    /// Where the next batch begins.
    pub(super) fn position(&self) -> u32 {
        self.position
    }

    /// The next header; a flaw if it is none, or says that its batch ends beyond the limit. After a flaw
    /// the walk stays where it is.
    pub(super) fn step(&mut self) -> io::Result<Option<Result<Header, BatchFlaw>>> {
        if self.position >= self.limit {
            return Ok(None);
        }
        let header = match Header::parse(self.header_bytes()?) {
            Ok(header) => header,
            Err(flaw) => return Ok(Some(Err(flaw))),
        };
        let Some(next) = self.position.checked_add(header.bytes).filter(|next| *next <= self.limit) else {
            let (expected, got) = (header.bytes, self.limit - self.position);
            return Ok(Some(Err(ottla_wire::batch::BatchFlaw::Short { expected, got }.into())));
        };
        self.position = next;
        Ok(Some(Ok(header)))
    }

    fn header_bytes(&mut self) -> io::Result<&[u8]> {
        let left = (self.limit - self.position) as usize;
        let wanted = left.min(HEADER_BYTES);
        let within = |at: u32| at.checked_sub(self.chunk_at).map(|offset| offset as usize);
        let held = within(self.position)
            .filter(|start| start + wanted <= self.chunk.len() && !self.chunk.is_empty());
        let start = match held {
            Some(start) => start,
            None => {
                self.chunk.resize(left.min(self.chunk_bytes), 0);
                self.chunk_at = self.position;
                let read = self.file.read_at(&mut self.chunk, u64::from(self.position))?;
                self.chunk.truncate(read);
                0
            }
        };
        let end = self.chunk.len().min(start + HEADER_BYTES);
        Ok(&self.chunk[start..end])
    }
}

/// Whether the batch at a position has the checksum its header says. Reads in chunks.
pub(super) fn checksum_holds<F: DiskFile>(file: &F, position: u32, header: &Header) -> io::Result<bool> {
    let mut at = u64::from(position) + CHECKED_FROM as u64;
    let end = u64::from(position) + u64::from(header.bytes);
    let mut crc = 0;
    let mut chunk = vec![0; FAR_BYTES.min(header.bytes as usize)];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(chunk.len());
        let read = file.read_at(&mut chunk[..wanted], at)?;
        if read == 0 {
            return Ok(false);
        }
        crc = crc32c::crc32c_append(crc, &chunk[..read]);
        at += read as u64;
    }
    Ok(crc == header.crc)
}
