//! When producers are written down, and how they are found again.
//!
//! A snapshot is written where a segment begins, every [`BYTES`] in between, and at a proper stop. It is never synced:
//! a start that finds it missing or damaged takes the one before and reads the batches from there on, up to the whole
//! log, and writes those again that it lacks where segments begin. As in Kafka those where segments begin live as long as
//! their segments. Of the others Kafka keeps the youngest; here those of the last two segments stay, so that a cut, which
//! removes the youngest, reads no more than [`BYTES`] either. It must only never be older than what it names: so those
//! that lie behind a cut are removed, durably, before anything else is appended.

use ottla_wire::batch::BatchHeader;

use super::snapshot::BYTES_MAX;
use super::{
    AfterCut, Duplicate, LastWrite, PRODUCERS_MAX, ProducerInfo, Producers, SequenceError, Sequenced,
};
use crate::disk::{Disk, DiskFile, OpenMode, is_no_descriptor};
use crate::ids::Offset;
use crate::log::error::{DiskError, OpenError, ReadError, failed};
use crate::log::header::Header;
use crate::log::names::{join, snapshot_file};
use crate::log::replica_log::Log;
use crate::log::scan::{FAR_BYTES, Walk};
use crate::log::segment::{Cut, WalkError};
use crate::planted::{self, Bug};
use crate::time::Monotonic;

/// A start after a crash reads about so much, at the most, to learn what the producers did since the last snapshot.
const BYTES: u64 = 64 << 20;

/// So many snapshots that lie within segments are kept: two of Kafka's default size have no more.
const WITHIN_MAX: usize = 32;

/// What a log knows of its producers, and where that is written down.
#[derive(Debug)]
pub(in crate::log) struct Tracked {
    pub(super) producers: Producers,
    /// The log's ends that there are snapshots of, rising.
    snapshots: Vec<Offset>,
    bytes_since_snapshot: u64,
    /// The time, as the log's owner last told it.
    now: Monotonic,
}

impl Tracked {
    /// Nobody wrote yet; there are snapshots of these ends.
    pub(in crate::log) fn new(mut snapshots: Vec<Offset>) -> Self {
        snapshots.sort_unstable();
        Self { producers: Producers::default(), snapshots, bytes_since_snapshot: 0, now: Monotonic(0) }
    }
}

/// Up to where the log is read for its producers: a batch's end, and where that is.
#[derive(Debug, Clone, Copy)]
struct Until {
    end: Offset,
    segment: usize,
    position: u32,
}

impl<D: Disk> Log<D> {
    /// May a leader append this batch, given what its producer sent before? If it is in the log already: where.
    pub fn check_producer(&self, batch: &[u8]) -> Result<Option<Duplicate>, SequenceError> {
        let header = BatchHeader::parse(batch).ok();
        let Some(sequenced) = header.as_ref().and_then(Sequenced::of) else { return Ok(None) };
        self.tracked.producers.check(&sequenced)
    }

    /// The producers that it remembers, by id.
    pub fn producers(&self) -> impl Iterator<Item = ProducerInfo> + '_ {
        self.tracked.producers.infos()
    }

    /// How many producers it remembers.
    pub fn producer_count(&self) -> usize {
        self.tracked.producers.count()
    }

    /// It was just opened or made: the producers that it found count as idle from now on.
    pub fn count_producers_from(&mut self, now: Monotonic) {
        self.tell_time(now);
        self.tracked.producers.counted_from = now;
    }

    /// Producers whose batches are appended from now on write now.
    pub fn tell_time(&mut self, now: Monotonic) {
        self.tracked.now = now;
    }

    /// Forgets producers that have been idle for `producer.id.expiration.ms`, at most `forgotten_max`; returns how many.
    pub fn expire_producers(&mut self, now: Monotonic, forgotten_max: usize) -> usize {
        self.tracked.producers.expire(now, self.config.producer_idle_max, forgotten_max)
    }

    /// When the producer that wrote longest ago did so; none where nobody is remembered.
    pub fn oldest_producer(&self) -> Option<LastWrite> {
        self.tracked.producers.oldest()
    }

    /// Forgets the producer that wrote longest ago.
    pub fn forget_oldest_producer(&mut self) {
        self.tracked.producers.forget_oldest();
    }

    /// The bug that [`Bug::ForgetProducersOnLeaderChange`] plants.
    pub fn forget_producers_if_planted(&mut self) {
        if planted::is(Bug::ForgetProducersOnLeaderChange) {
            self.tracked.producers = Producers::default();
        }
    }

    /// Takes note of a batch that was just written at the log's end.
    pub(in crate::log) fn note_producer(&mut self, header: &Header) {
        self.tracked.bytes_since_snapshot += u64::from(header.bytes);
        let Some(batch) = &header.producer else { return };
        let tracked = &mut self.tracked;
        let offsets = (header.base, header.last());
        tracked.producers.note(batch, offsets, header.max_timestamp, Some(tracked.now));
        tracked.producers.shrink(PRODUCERS_MAX);
    }

    /// Whether so much was written since the last snapshot that there should be another.
    pub(in crate::log) fn snapshot_due(&self) -> bool {
        self.tracked.bytes_since_snapshot >= BYTES
    }

    /// Writes down the producers as they are at the log's end. Where there is no descriptor for it, it is left out.
    pub(in crate::log) fn take_snapshot(&mut self) -> Result<(), DiskError> {
        let end = self.log_end();
        if end == Offset(0) || self.tracked.snapshots.last().is_some_and(|last| *last >= end) {
            return Ok(());
        }
        if self.write_snapshot(&self.tracked.producers, end)? {
            self.tracked.snapshots.push(end);
            self.tracked.bytes_since_snapshot = 0;
            self.tidy_snapshots()?;
        }
        Ok(())
    }

    /// Writes down who wrote what before this offset; false if there is no descriptor for it.
    fn write_snapshot(&self, producers: &Producers, end: Offset) -> Result<bool, DiskError> {
        let path = join(&self.directory, &snapshot_file(end));
        let bytes = producers.to_snapshot();
        let write = || {
            let file = self.disk.open(&path, OpenMode::Create)?;
            // An earlier one of that name may be left of a crash.
            file.set_length(0)?;
            file.write_at(&bytes, 0)
        };
        match write().map_err(failed("write", &path)) {
            Ok(()) => Ok(true),
            Err(error) if is_no_descriptor(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps the snapshots where segments begin, and the youngest of those within the last two segments.
    fn tidy_snapshots(&mut self) -> Result<(), DiskError> {
        let segments = &self.segments;
        let begins = |at: Offset| segments.binary_search_by_key(&at, |segment| segment.base).is_ok();
        let last_two = segments[segments.len().saturating_sub(2)].base;
        let youngest = self.tracked.snapshots.last().copied();
        let within = self.tracked.snapshots.iter().rev().filter(|at| !begins(**at) && **at > last_two);
        let oldest = within.take(WITHIN_MAX).last().copied();
        let is_kept =
            |at: &Offset| begins(*at) || Some(*at) == youngest || oldest.is_some_and(|oldest| *at >= oldest);
        let spare: Vec<Offset> = self.tracked.snapshots.extract_if(.., |at| !is_kept(at)).collect();
        self.remove_snapshots(&spare)
    }

    fn remove_snapshots(&self, snapshots: &[Offset]) -> Result<(), DiskError> {
        for at in snapshots {
            let path = join(&self.directory, &snapshot_file(*at));
            match self.disk.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The snapshots before this offset are of no use any more; returns their paths.
    pub(in crate::log) fn drop_snapshots_below(&mut self, offset: Offset) -> Vec<String> {
        let below = self.tracked.snapshots.partition_point(|at| *at < offset);
        let dropped = self.tracked.snapshots.drain(..below);
        dropped.map(|at| join(&self.directory, &snapshot_file(at))).collect()
    }

    /// The log is about to be cut at `end`: what is written down of more than that is removed. The caller syncs the
    /// directory before anything is appended.
    pub(in crate::log) fn cut_snapshots(&mut self, end: Offset) -> Result<(), DiskError> {
        let kept = self.tracked.snapshots.partition_point(|at| *at <= end);
        let cut = self.tracked.snapshots.split_off(kept);
        self.remove_snapshots(&cut)
    }

    /// Who wrote what before a cut in this segment, as the batches say that are left.
    pub(in crate::log) fn producers_before(&mut self, at: usize, cut: &Cut) -> Result<Producers, ReadError> {
        let end = cut.end(self.segments[at].base);
        let mut producers = self.tracked.producers.clone();
        match producers.truncate(end) {
            AfterCut::Known => Ok(producers),
            AfterCut::Unknown => {
                let (mut read, _) =
                    self.read_producers(Until { end, segment: at, position: cut.position })?;
                read.resume(&self.tracked.producers, self.tracked.now);
                Ok(read)
            }
        }
    }

    /// Takes over what [`Log::producers_before`] gave, when the log is cut.
    pub(in crate::log) fn set_producers(&mut self, producers: Producers) {
        self.tracked.producers = producers;
    }

    /// The log is about to begin anew, and knows nobody. The caller syncs the directory.
    pub(in crate::log) fn forget_all_producers(&mut self) -> Result<(), DiskError> {
        self.cut_snapshots(Offset(-1))?;
        let before = std::mem::take(&mut self.tracked.producers);
        self.tracked.producers.counted_from = before.counted_from;
        self.tracked.bytes_since_snapshot = 0;
        Ok(())
    }

    /// At a start, when it is known where the log begins and ends: removes the snapshots that are of no use, durably
    /// where they would speak of what may yet come otherwise, and learns who wrote what.
    pub(in crate::log) fn open_producers(&mut self) -> Result<(), OpenError> {
        let (first, end) = (self.segments.first().map_or(Offset(0), |first| first.base), self.log_end());
        let below = self.drop_snapshots_below(first);
        let tracked = &mut self.tracked;
        let above = tracked.snapshots.split_off(tracked.snapshots.partition_point(|at| *at <= end));
        for path in below {
            self.disk.remove(&path).map_err(failed("remove", &path))?;
        }
        if !above.is_empty() {
            self.remove_snapshots(&above)?;
            self.disk.sync_directory(&self.directory).map_err(failed("sync directory", &self.directory))?;
        }
        match self.load_producers() {
            Ok(()) => Ok(self.tidy_snapshots()?),
            Err(ReadError::Disk(error)) => Err(error.into()),
            Err(error @ (ReadError::Corrupt { .. } | ReadError::OutOfRange { .. })) => {
                Err(OpenError::Corrupt {
                    directory: self.directory.clone(),
                    topic_id: Some(self.topic_id),
                    offset: self.local_log_start(),
                    recovery_point: end,
                    detail: error.to_string(),
                })
            }
        }
    }

    /// Learns the producers from what the log holds.
    fn load_producers(&mut self) -> Result<(), ReadError> {
        let segment = self.segments.len() - 1;
        let until = Until { end: self.log_end(), segment, position: self.active().size };
        let (producers, bytes) = self.read_producers(until)?;
        self.tracked.producers = producers;
        self.tracked.bytes_since_snapshot = bytes;
        Ok(())
    }

    /// Reads the youngest whole snapshot of no more than is wanted, and the batches after it; also how many bytes those
    /// were. Damaged snapshots on the way are removed, and where segments begin missing ones are written.
    fn read_producers(&mut self, until: Until) -> Result<(Producers, u64), ReadError> {
        let mut from = self.segments.first().map_or(Offset(0), |first| first.base);
        let mut producers = Producers::default();
        let mut younger = self.tracked.snapshots.partition_point(|at| *at <= until.end);
        while let Some(before) = younger.checked_sub(1) {
            let at = self.tracked.snapshots[before];
            if let Some(written) = self.read_snapshot(at)? {
                (producers, from) = (written, at);
                break;
            }
            self.tracked.snapshots.remove(before);
            self.remove_snapshots(&[at])?;
            younger = before;
        }
        let mut bytes = 0;
        for at in self.segment_index(from)..=until.segment {
            let limit = if at == until.segment { until.position } else { self.segments[at].size };
            let base = self.segments[at].base;
            if let Err(missing) = self.tracked.snapshots.binary_search(&base)
                && base > from
                && self.write_snapshot(&producers, base)?
            {
                self.tracked.snapshots.insert(missing, base);
            }
            bytes += self.note_segment(&mut producers, at, from, limit)?;
        }
        Ok((producers, bytes))
    }

    fn read_snapshot(&self, at: Offset) -> Result<Option<Producers>, DiskError> {
        let path = join(&self.directory, &snapshot_file(at));
        let read = || -> std::io::Result<Option<Producers>> {
            let file = self.disk.open(&path, OpenMode::Existing)?;
            let length = file.length()?;
            if length > BYTES_MAX {
                return Ok(None);
            }
            let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
            let read = file.read_at(&mut bytes, 0)?;
            bytes.truncate(read);
            Ok(Producers::from_snapshot(&bytes, at))
        };
        match read() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map_err(failed("read", &path)),
        }
    }

    /// Notes the batches of one segment from an offset to a position; how many bytes they are. A flaw in what was good
    /// before is rot.
    fn note_segment(
        &self,
        producers: &mut Producers,
        at: usize,
        from: Offset,
        limit: u32,
    ) -> Result<u64, ReadError> {
        let segment = &self.segments[at];
        let base = segment.base;
        let start = if from <= base { Ok(0) } else { segment.position_of(from) };
        let start = start.map_err(|error| self.walk_error(base, error))?;
        let mut walk = Walk::new(&segment.file, start, limit, FAR_BYTES);
        let flaw = loop {
            let position = walk.position();
            match walk.step() {
                Ok(None) => return Ok(u64::from(position.saturating_sub(start))),
                Ok(Some(Ok(header))) => {
                    if let Some(batch) = &header.producer {
                        producers.note(batch, (header.base, header.last()), header.max_timestamp, None);
                        // Whatever is in the log, this much is held of it.
                        producers.shrink(PRODUCERS_MAX);
                    }
                }
                Ok(Some(Err(flaw))) => break WalkError::Flaw { position, flaw },
                Err(error) => break WalkError::Io(error),
            }
        };
        Err(self.walk_error(base, flaw))
    }
}
