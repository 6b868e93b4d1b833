//! Opening a log that is on the disk.

use super::config::LogConfig;
use super::epochs::Epochs;
use super::error::{BatchFlaw, DiskError, OpenError, failed};
use super::names::{EPOCHS, METADATA, SNAPSHOT, TRUNCATION, join, parse_segment_file};
use super::producers::Tracked;
use super::recovery::{Recovered, recover};
use super::replica_log::{Log, parse_truncation};
use super::rot::marked_rot;
use super::sync::{Pending, SyncNumber};
use super::{partition_metadata, text_file};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::ids::{Offset, TopicId};

/// What is known about a log before it is opened, from the directory's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryStart {
    /// The node was shut down properly, and wrote all it had.
    pub clean_shutdown: bool,
    /// A checkpoint of the directory names the log, which none does before the log's first sync: what
    /// that one made durable, its name and whose it is, needs no second time.
    pub established: bool,
    /// Everything below is durable.
    pub recovery_point: Offset,
    /// The first offset that clients may read.
    pub log_start: Offset,
}

/// What opening a log has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Batches above the recovery point whose checksum was tested.
    pub checked_batches: u64,
    /// Bytes that were cut from the segment's end.
    pub cut_bytes: u64,
    /// Why they were cut.
    pub flaw: Option<BatchFlaw>,
    /// Whole segments that were removed because they lay behind the cut, or behind a gap.
    pub removed_segments: u64,
    /// Bytes above the recovery point that were found good, and made durable.
    pub recovered_bytes: u64,
}

/// What a directory holds.
pub(super) struct Found {
    pub(super) topic_id: TopicId,
    pub(super) epochs: Option<Epochs>,
    pub(super) truncation: Option<Offset>,
    /// The ends of which the producers were written down.
    pub(super) snapshots: Vec<Offset>,
    /// The base offsets of its segments, rising.
    pub(super) bases: Vec<Offset>,
}

impl<D: Disk> Log<D> {
    /// Opens a log, after a proper shutdown or a crash. When it returns, all that the log holds is durable.
    /// It blocks on the disk, and may be called for several logs on several threads.
    pub fn open(
        disk: D,
        directory: &str,
        config: &LogConfig,
        start: RecoveryStart,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let found = look(&disk, directory, start)?;
        if let Some(at) = marked_rot(&disk, directory)? {
            return Err(OpenError::Corrupt {
                directory: directory.to_owned(),
                topic_id: Some(found.topic_id),
                offset: at.segment,
                recovery_point: start.recovery_point,
                detail: format!("a read found the batch at byte {} of that segment rotten", at.position),
            });
        }
        // Where a truncation took back a recovery point, the shutdown's own is not to be trusted either.
        let clean = start.clean_shutdown && found.truncation.is_none();
        let (recovery_point, log_start) = match found.truncation {
            None => (start.recovery_point, start.log_start),
            Some(at) => (start.recovery_point.min(at), start.log_start.min(at)),
        };
        let Found { topic_id, epochs, truncation, snapshots, bases } = found;
        let written_epochs = epochs.clone();
        let mut log = Self {
            disk,
            directory: directory.to_owned(),
            topic_id,
            config: config.clone(),
            segments: Vec::new(),
            epochs: epochs.unwrap_or_default(),
            tracked: Tracked::new(snapshots),
            epoch_begun: false,
            log_start: log_start.max(bases.first().copied().unwrap_or_default()),
            flushed_end: recovery_point,
            pending: Pending::default(),
            running: None,
            next_sync: SyncNumber(0),
            promised: start.recovery_point,
            truncation,
            own_point: None,
            names_owed: false,
            established: true,
            cuts: 0,
            failed: false,
        };
        let Recovered { report } = recover(&mut log, &bases, recovery_point, clean)?;
        log.open_producers()?;
        log.pending.epochs = written_epochs.unwrap_or_default() != log.epochs;
        if !clean {
            // The checkpoint may speak of an earlier log of the name, as long as this one takes it back.
            log.resync(start.established && truncation.is_none())?;
        }
        log.flushed_end = log.log_end();
        Ok((log, report))
    }

    /// Makes durable what recovery has kept and changed, and unless they are `established`, the directory's own
    /// name and whose log it is. All other names are durable since recovery looked at them. Small files are written over
    /// themselves before they are synced: after a failed sync the page cache may show what never reached the disk, and
    /// take it for clean.
    fn resync(&mut self, established: bool) -> Result<(), OpenError> {
        let names = [(!established).then_some(METADATA), self.truncation.map(|_| TRUNCATION)];
        for name in names.into_iter().flatten() {
            let path = join(&self.directory, name);
            let file = self.disk.open(&path, OpenMode::Existing).map_err(failed("open", &path))?;
            text_file::rewrite(&file).map_err(failed("write", &path))?;
            self.pending.files.push(file);
        }
        self.pending.parent = !established;
        let job = self.take_sync().expect("recovery leaves the last segment to be synced");
        let result = job.run();
        self.sync_finished(job.number(), result)?;
        Ok(())
    }
}

/// Reads what is small, and removes what an interrupted step left behind.
fn look<D: Disk>(disk: &D, directory: &str, start: RecoveryStart) -> Result<Found, OpenError> {
    let read = |name: &str| {
        let path = join(directory, name);
        text_file::read(disk, &path).map_err(failed("read", &path))
    };
    if !start.clean_shutdown {
        // Recovery acts on the names it finds: a second crash must not bring back others.
        disk.sync_directory(directory).map_err(failed("sync directory", directory))?;
    }
    let Some(topic_id) = read(METADATA)?.as_deref().and_then(partition_metadata::parse) else {
        return Err(without_metadata(disk, directory, start.recovery_point));
    };
    let epochs = read(EPOCHS)?.as_deref().and_then(Epochs::parse);
    let truncation = read(TRUNCATION)?.as_deref().map(parse_truncation);
    let names = disk.list(directory).map_err(failed("list", directory))?;
    let of_kind = |kind: &str| {
        let files = names.iter().filter_map(|name| parse_segment_file(name));
        let mut offsets: Vec<Offset> =
            files.filter(|(_, suffix)| *suffix == kind).map(|(base, _)| base).collect();
        offsets.sort_unstable();
        offsets
    };
    let (bases, snapshots) = (of_kind("log"), of_kind(SNAPSHOT));
    for name in &names {
        let orphan = parse_segment_file(name)
            .is_some_and(|(base, suffix)| suffix != SNAPSHOT && bases.binary_search(&base).is_err());
        let leftover = [".tmp", ".deleted", ".cleaned"].iter().any(|suffix| name.ends_with(suffix));
        if orphan || leftover {
            let path = join(directory, name);
            disk.remove(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(Found { topic_id, epochs, truncation, snapshots, bases })
}

/// A log that does not say whose it is. Only its creation leaves that by itself: until the first checkpoint
/// after it the `truncation-checkpoint` is there, or no recovery point is. Anything else had it, and has lost
/// it to rot, to a power cut on a disk that lies, or to a restore that missed it.
fn without_metadata<D: Disk>(disk: &D, directory: &str, recovery_point: Offset) -> OpenError {
    let detail = format!("{METADATA} is missing or torn");
    match holding(disk, directory) {
        Err(error) => error.into(),
        Ok(Holding::Records) if recovery_point > Offset(0) => {
            let (directory, offset) = (directory.to_owned(), Offset(0));
            OpenError::Corrupt { directory, topic_id: None, offset, recovery_point, detail }
        }
        Ok(_) => OpenError::Unfinished { directory: directory.to_owned(), detail },
    }
}

/// What a directory without `partition.metadata` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    /// Nothing that a creation does not leave behind.
    Nothing,
    /// Records, or traces of them.
    Records,
}

pub(super) fn holding<D: Disk>(disk: &D, directory: &str) -> Result<Holding, DiskError> {
    let names = disk.list(directory).map_err(failed("list", directory))?;
    if names.iter().any(|name| name == TRUNCATION) {
        let path = join(directory, TRUNCATION);
        let text = text_file::read(disk, &path).map_err(failed("read", &path))?;
        // A creation begins with one that takes everything back.
        if text.is_some_and(|text| parse_truncation(&text) == Offset(0)) {
            return Ok(Holding::Nothing);
        }
    }
    for (name, (base, suffix)) in names.iter().filter_map(|name| Some((name, parse_segment_file(name)?))) {
        let path = join(directory, name);
        let length = || disk.open(&path, OpenMode::Existing)?.length();
        if suffix == "log" && (base > Offset(0) || length().map_err(failed("measure", &path))? > 0) {
            return Ok(Holding::Records);
        }
    }
    Ok(Holding::Nothing)
}
