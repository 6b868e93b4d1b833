//! The bytes of one file: what the page cache shows, what is durable, and every state between.
//!
//! The unit of writing is a sector: a crash may leave each sector at any state it had since the last
//! sync, independently of all others, which covers torn writes and reordering. A sector never holds bytes
//! that nobody wrote: only old ones, new ones, or zeros where a file was lengthened.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::CrashKind;
use crate::rng::Rng;

/// The unit in which disks promise to write whole.
pub(super) const SECTOR_BYTES: u64 = 512;
const SECTOR_SIZE: usize = 512;

/// How many states between two syncs a sector or a length remembers. A file that is never synced (an
/// index) would otherwise remember all of its past; eight keep every state of short histories.
const VERSIONS_MAX: usize = 8;

/// `None` reads as zeros: a hole, or beyond the end.
type Sector = Option<Arc<[u8; SECTOR_SIZE]>>;

#[derive(Debug, Clone, PartialEq, Default)]
struct Image {
    length: u64,
    sectors: BTreeMap<u64, Arc<[u8; SECTOR_SIZE]>>,
}

impl Image {
    fn put(&mut self, index: u64, sector: Sector) {
        match sector {
            Some(sector) => self.sectors.insert(index, sector),
            None => self.sectors.remove(&index),
        };
    }

    /// Sets the length; what lies beyond it is gone, and would read as zeros if the file grew again.
    fn cut(&mut self, length: u64) {
        self.length = length;
        self.sectors.split_off(&length.div_ceil(SECTOR_BYTES));
        let tail = usize::try_from(length % SECTOR_BYTES).expect("a rest of 512");
        if tail > 0
            && let Some(last) = self.sectors.get_mut(&(length / SECTOR_BYTES))
        {
            Arc::make_mut(last)[tail..].fill(0);
        }
    }
}

/// How much of what was not synced a crash took from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Nothing,
    All,
    /// Of several sectors, or several states of one, some survived.
    Part,
}

/// One file's content.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    cached: Image,
    durable: Image,
    /// For each sector written since the last sync, the states it had since, oldest first.
    dirty: BTreeMap<u64, Vec<Sector>>,
    /// The lengths the file had since the last sync, oldest first.
    lengths: Vec<u64>,
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.cached.length
    }

    /// How much of the disk the file takes.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.cached.sectors.len() as u64 * SECTOR_BYTES
    }

    /// How many more bytes of disk a write would take.
    pub(super) fn growth_bytes(&self, position: u64, length: u64) -> u64 {
        if length == 0 {
            return 0;
        }
        let sectors = position / SECTOR_BYTES..=(position + length - 1) / SECTOR_BYTES;
        let there = self.cached.sectors.range(sectors.clone()).count() as u64;
        (sectors.end() - sectors.start() + 1 - there) * SECTOR_BYTES
    }

    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let available = self.cached.length.saturating_sub(position);
        let wanted = usize::try_from(available).unwrap_or(usize::MAX).min(buffer.len());
        for (index, within, part) in parts(position, wanted) {
            match self.cached.sectors.get(&index) {
                Some(sector) => buffer[part].copy_from_slice(&sector[within]),
                None => buffer[part].fill(0),
            }
        }
        wanted
    }

    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        for (index, within, part) in parts(position, bytes.len()) {
            let mut sector = self.cached.sectors.get(&index).map_or([0; SECTOR_SIZE], |old| **old);
            sector[within].copy_from_slice(&bytes[part]);
            let sector = Arc::new(sector);
            self.cached.sectors.insert(index, Arc::clone(&sector));
            remember(self.dirty.entry(index).or_default(), Some(sector));
        }
        let end = position + bytes.len() as u64;
        if !bytes.is_empty() && end > self.cached.length {
            self.cached.length = end;
            remember(&mut self.lengths, end);
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.cached.length {
            let first = length / SECTOR_BYTES;
            let touched: Vec<u64> = self.cached.sectors.range(first..).map(|(index, _)| *index).collect();
            self.cached.cut(length);
            for index in touched {
                let now = self.cached.sectors.get(&index).cloned();
                remember(self.dirty.entry(index).or_default(), now);
            }
        }
        self.cached.length = length;
        remember(&mut self.lengths, length);
    }

    pub(super) fn sync(&mut self) {
        // Bytes are not durable without the length that makes them readable.
        let length_too = !self.dirty.is_empty() || !self.lengths.is_empty();
        for index in std::mem::take(&mut self.dirty).into_keys() {
            self.durable.put(index, self.cached.sectors.get(&index).cloned());
        }
        if length_too {
            self.durable.cut(self.cached.length);
            self.lengths.clear();
        }
    }

    /// Flips the bits of a mask in one byte, wherever it is kept.
    pub(super) fn flip(&mut self, position: u64, mask: u8) {
        let (index, within) = (position / SECTOR_BYTES, position % SECTOR_BYTES);
        let within = usize::try_from(within).expect("a rest of 512");
        let kept = [&mut self.cached, &mut self.durable].into_iter();
        let kept = kept.filter_map(|image| image.sectors.get_mut(&index));
        let dirty = self.dirty.get_mut(&index).into_iter().flatten().flatten();
        for sector in kept.chain(dirty) {
            Arc::make_mut(sector)[within] ^= mask;
        }
    }

    /// A sync that failed: an arbitrary part became durable, and the rest counts as clean from now on, so
    /// that the next sync succeeds without having written it (what Linux does after EIO).
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        self.write_back_some(rng);
        if rng.permille(500) {
            self.cached = self.durable.clone();
        }
    }

    /// What is left of the file after a crash. Nobody holds it open any longer.
    pub(super) fn crash(&mut self, kind: CrashKind, rng: &mut Rng) -> Loss {
        let wrote_some = match kind {
            CrashKind::Process => return Loss::Nothing,
            CrashKind::PowerAllLost => {
                self.dirty.clear();
                self.lengths.clear();
                false
            }
            CrashKind::PowerSomeLost => self.write_back_some(rng),
        };
        let lost = self.cached != self.durable;
        self.cached = self.durable.clone();
        match (lost, wrote_some) {
            (false, _) => Loss::Nothing,
            (true, false) => Loss::All,
            (true, true) => Loss::Part,
        }
    }

    /// Whether it wrote any.
    fn write_back_some(&mut self, rng: &mut Rng) -> bool {
        let mut wrote = false;
        for (index, mut versions) in std::mem::take(&mut self.dirty) {
            let kept = rng.index(versions.len() + 1);
            if kept > 0 {
                self.durable.put(index, versions.swap_remove(kept - 1));
                wrote = true;
            }
        }
        let lengths = std::mem::take(&mut self.lengths);
        let kept = rng.index(lengths.len() + 1);
        let length = if kept > 0 { lengths[kept - 1] } else { self.durable.length };
        self.durable.cut(length);
        wrote
    }
}

fn remember<T>(versions: &mut Vec<T>, now: T) {
    if versions.len() == VERSIONS_MAX {
        versions.remove(VERSIONS_MAX / 2);
    }
    versions.push(now);
}

/// Splits a stretch of a file by sector: the sector, the range within it, the range of the buffer.
fn parts(
    position: u64,
    length: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0usize;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = position + done as u64;
        let start = usize::try_from(at % SECTOR_BYTES).expect("a rest of 512");
        let count = (SECTOR_SIZE - start).min(length - done);
        let part = done..done + count;
        done += count;
        Some((at / SECTOR_BYTES, start..start + count, part))
    })
}
