//! A segment's two sparse indexes: by offset and by timestamp.
//!
//! Every entry is taken when `index.interval.bytes` of batches have gone by since the one before. Entries
//! are kept in memory until the segment is rolled, and reach their file only with a [`super::SyncJob`]:
//! when the segment is rolled or closed, and every 64 MiB. Those of a rolled segment are read from the
//! file, by binary search. No mmap: a bad sector must be an error and not a SIGBUS.

use std::io;

use crate::disk::DiskFile;

/// One entry of an index, of fixed size on disk.
pub(super) trait Entry: Copy {
    const BYTES: usize;
    fn encode(self, to: &mut Vec<u8>);
    fn decode(bytes: &[u8]) -> Self;
}

/// The batch whose last record has this offset begins at this position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    /// Less the segment's base offset.
    pub(super) relative: u32,
    pub(super) position: u32,
}

/// No record up to this offset has a greater timestamp, and the batch that ends with it has this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeEntry {
    pub(super) timestamp: i64,
    /// Less the segment's base offset.
    pub(super) relative: u32,
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[at..at + N]);
    taken
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;

    fn encode(self, to: &mut Vec<u8>) {
        to.extend(self.relative.to_be_bytes());
        to.extend(self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { relative: u32::from_be_bytes(take(bytes, 0)), position: u32::from_be_bytes(take(bytes, 4)) }
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;

    fn encode(self, to: &mut Vec<u8>) {
        to.extend(self.timestamp.to_be_bytes());
        to.extend(self.relative.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { timestamp: i64::from_be_bytes(take(bytes, 0)), relative: u32::from_be_bytes(take(bytes, 8)) }
    }
}

/// One index of one segment.
#[derive(Debug)]
pub(super) struct Index<F, E> {
    file: F,
    /// All entries, or none if they are read from the file.
    resident: Option<Vec<E>>,
    count: usize,
    last: Option<E>,
    /// How many entries the file holds, or will when the job that has them is done.
    written: usize,
    /// The file may hold something after those: it must be cut before more is written.
    cut: bool,
}

/// Bytes of an index on their way to its file.
#[derive(Debug, Clone)]
pub(super) struct IndexWrite<F> {
    file: F,
    /// Cut the file to this length first.
    cut_to: Option<u64>,
    position: u64,
    bytes: Vec<u8>,
}

impl<F: DiskFile> IndexWrite<F> {
    /// Writes and syncs.
    pub(super) fn run(&self) -> io::Result<()> {
        if let Some(length) = self.cut_to {
            self.file.set_length(length)?;
        }
        if !self.bytes.is_empty() {
            self.file.write_at(&self.bytes, self.position)?;
        }
        self.file.sync()
    }
}

impl<F: DiskFile, E: Entry> Index<F, E> {
    /// The index of a new segment.
    pub(super) fn new(file: F) -> Self {
        Self { file, resident: Some(Vec::new()), count: 0, last: None, written: 0, cut: false }
    }

    /// The index of a rolled segment, whose file is trusted.
    pub(super) fn on_file(file: F) -> io::Result<Self> {
        let length = file.length()?;
        let count = usize::try_from(length).map_err(io::Error::other)? / E::BYTES;
        let mut index = Self { file, resident: None, count, last: None, written: count, cut: false };
        index.last = count.checked_sub(1).map(|at| index.entry(at)).transpose()?;
        Ok(index)
    }

    /// The index of a segment under recovery: the entries of its file as long as `good` accepts them, given
    /// the one before. What follows in the file is cut with the next write.
    pub(super) fn recover(file: F, mut good: impl FnMut(Option<&E>, &E) -> bool) -> io::Result<Self> {
        let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, 0)?;
        let mut entries: Vec<E> = Vec::new();
        for chunk in bytes[..read].chunks_exact(E::BYTES) {
            let entry = E::decode(chunk);
            if !good(entries.last(), &entry) {
                break;
            }
            entries.push(entry);
        }
        let count = entries.len();
        let cut = count * E::BYTES != length;
        Ok(Self { file, last: entries.last().copied(), resident: Some(entries), count, written: count, cut })
    }

    pub(super) fn bytes(&self) -> usize {
        self.count * E::BYTES
    }

    pub(super) fn last(&self) -> Option<E> {
        self.last
    }

    pub(super) fn push(&mut self, entry: E) {
        let entries = self.resident.as_mut().expect("only the active segment gets entries");
        entries.push(entry);
        self.count += 1;
        self.last = Some(entry);
    }

    /// The last entry for which `below` holds; it must hold for a prefix of all entries.
    pub(super) fn floor(&self, below: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if below(&self.entry(middle)?) { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).map(|at| self.entry(at)).transpose()
    }

    fn entry(&self, at: usize) -> io::Result<E> {
        if let Some(entries) = &self.resident {
            return Ok(entries[at]);
        }
        // Twelve bytes hold an entry of either kind.
        let mut bytes = [0; 12];
        let bytes = &mut bytes[..E::BYTES];
        let read = self.file.read_at(bytes, (at * E::BYTES) as u64)?;
        if read < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(E::decode(bytes))
    }

    /// Keeps the entries for which `below` holds; they are in memory. The file is cut with the next write.
    pub(super) fn keep(&mut self, below: impl Fn(&E) -> bool) {
        let entries = self.resident.as_mut().expect("whoever cuts an index loads it first");
        let kept = entries.partition_point(below);
        // Also where all of the file's entries stay: a job under way may still write what was cut here.
        self.cut = true;
        entries.truncate(kept);
        self.last = entries.last().copied();
        self.count = kept;
        self.written = self.written.min(kept);
    }

    /// Brings a rolled segment's entries back into memory, for it to become the active one.
    pub(super) fn load(&mut self) -> io::Result<()> {
        if self.resident.is_none() {
            let entries: io::Result<Vec<E>> = (0..self.count).map(|at| self.entry(at)).collect();
            self.resident = Some(entries?);
        }
        Ok(())
    }

    /// What the file lacks.
    pub(super) fn take_unwritten(&mut self) -> Option<IndexWrite<F>> {
        let entries = self.resident.as_ref()?;
        if self.written == self.count && !self.cut {
            return None;
        }
        let mut bytes = Vec::with_capacity((self.count - self.written) * E::BYTES);
        entries[self.written..].iter().for_each(|entry| entry.encode(&mut bytes));
        let position = (self.written * E::BYTES) as u64;
        self.written = self.count;
        let cut_to = std::mem::take(&mut self.cut).then_some(position);
        Some(IndexWrite { file: self.file.clone(), cut_to, position, bytes })
    }

    /// Lets go of the memory of a rolled segment's entries, if its file has them.
    pub(super) fn release(&mut self) {
        if self.written == self.count && !self.cut {
            self.resident = None;
        }
    }
}
