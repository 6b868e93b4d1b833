//! The log itself: what it holds and where it begins and ends.

use std::io;

use uuid::Uuid;

use super::config::LogConfig;
use super::epochs::{EpochEnd, Epochs};
use super::error::{BatchFlaw, ChangeError, CreateError, DiskError, ReadError, failed};
use super::names::{METADATA, TRUNCATION, damaged_name, join, removal_name, stray_name};
use super::open::{Holding, holding};
use super::own_point::OwnPoint;
use super::producers::Tracked;
use super::segment::{Segment, WalkError};
use super::sync::{Pending, Running, SyncNumber};
use super::{partition_metadata, text_file};
use crate::disk::{Disk, DiskFile, OpenMode, is_no_descriptor};
use crate::ids::{LeaderEpoch, Offset, TopicId, TopicName, TopicPartition};

/// The log of one partition replica. See the module's text for what it promises.
#[derive(Debug)]
pub struct Log<D: Disk> {
    pub(super) disk: D,
    pub(super) directory: String,
    pub(super) topic_id: TopicId,
    pub(super) config: LogConfig,
    /// By base offset; never empty; only the last one grows.
    pub(super) segments: Vec<Segment<D::File>>,
    pub(super) epochs: Epochs,
    pub(super) tracked: Tracked,
    /// The latest epoch has no record yet, and need not be on the disk.
    pub(super) epoch_begun: bool,
    pub(super) log_start: Offset,
    pub(super) flushed_end: Offset,
    pub(super) pending: Pending<D::File>,
    pub(super) running: Option<Running>,
    pub(super) next_sync: SyncNumber,
    /// No recovery point on the disk is above this one.
    pub(super) promised: Offset,
    /// The offset in the truncation checkpoint, if there is one.
    pub(super) truncation: Option<Offset>,
    /// Where the directory's checkpoints do not name it: the recovery point in its own directory.
    pub(super) own_point: Option<OwnPoint>,
    /// What a cut has removed is not durably gone yet: nothing may be appended before.
    pub(super) names_owed: bool,
    /// See [`Log::is_established`].
    pub(super) established: bool,
    /// See [`Log::cuts`].
    pub(super) cuts: u64,
    pub(super) failed: bool,
}

/// A segment, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The offset it is named after.
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    /// The length of its file of batches.
    pub size_bytes: u32,
    /// The greatest timestamp in it; -1 if it holds none.
    pub max_timestamp: i64,
}

impl<D: Disk> Log<D> {
    /// Makes an empty log that begins at offset 0. Nothing of it is durable before its first sync, unless a
    /// `recovery_point` of an earlier log of that name may still be on the disk. What an unfinished creation
    /// left behind is removed; what holds records is kept aside ([`keep_aside`]).
    pub fn create(
        disk: D,
        directory: &str,
        topic_id: TopicId,
        config: &LogConfig,
        recovery_point: Offset,
    ) -> Result<Self, CreateError> {
        let path = join(directory, METADATA);
        let text = text_file::read(&disk, &path).map_err(failed("read", &path))?;
        if let Some(topic_id) = text.as_deref().and_then(partition_metadata::parse) {
            return Err(CreateError::Exists { directory: directory.to_owned(), topic_id });
        }
        make_place(&disk, directory, topic_id.0)?;
        disk.create_directory(directory).map_err(failed("make directory", directory))?;
        // The recovery points on the disk may still name an earlier topic's log of the same name: what they
        // say about this one is taken back as for a truncation.
        let truncation = write_new(&disk, directory, TRUNCATION, &offset_text(Offset(0)))?;
        if recovery_point > Offset(0) {
            // Before anything that a start after a crash could take for what that recovery point speaks of.
            let synced = truncation.sync().and_then(|()| disk.sync_directory(directory));
            synced.map_err(failed("sync", directory))?;
        }
        let segment = Segment::create(&disk, directory, Offset(0))?;
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            topic_id,
            config: config.clone(),
            segments: vec![segment],
            epochs: Epochs::default(),
            tracked: Tracked::new(Vec::new()),
            epoch_begun: false,
            log_start: Offset(0),
            flushed_end: Offset(0),
            pending: Pending {
                files: vec![truncation],
                metadata: Some(partition_metadata::render(topic_id)),
                names: true,
                parent: true,
                ..Pending::default()
            },
            running: None,
            next_sync: SyncNumber(0),
            promised: Offset(i64::MAX),
            truncation: Some(Offset(0)),
            own_point: None,
            names_owed: false,
            established: false,
            cuts: 0,
            failed: false,
        })
    }

    /// The name of its directory.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The topic it belongs to.
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// Its settings.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Gives it other settings, for what is appended from now on.
    pub fn configure(&mut self, config: &LogConfig) {
        self.config = config.clone();
    }

    /// The first offset that clients may read.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The first offset that lies on this disk; above the log start where older segments are kept elsewhere.
    pub fn local_log_start(&self) -> Offset {
        self.segments.first().map_or(self.log_start, |first| first.base.max(self.log_start))
    }

    /// The offset after the last record.
    pub fn log_end(&self) -> Offset {
        self.active().end
    }

    /// The offset up to which everything is durable, names and leader epochs included.
    pub fn flushed_end(&self) -> Offset {
        self.flushed_end
    }

    /// The length of all its files of batches.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.size)).sum()
    }

    /// Its segments, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = SegmentInfo> + '_ {
        self.segments.iter().map(|segment| SegmentInfo {
            base: segment.base,
            end: segment.end,
            size_bytes: segment.size,
            max_timestamp: segment.greatest.map_or(-1, |greatest| greatest.timestamp),
        })
    }

    /// The latest leader epoch, with or without records.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// The leader epoch of the last record; `None` without a record. A leader's epoch that has no record here is
    /// nothing that another replica could agree with.
    pub fn last_record_epoch(&self) -> Option<LeaderEpoch> {
        let last = self.log_end().0.checked_sub(1).map(Offset)?;
        (last >= self.log_start).then(|| self.epochs.epoch_at(last)).flatten()
    }

    /// Where the latest leader epoch begins.
    pub fn latest_epoch_start(&self) -> Option<Offset> {
        self.epochs.latest_start()
    }

    /// The leader epoch of the record at `offset`, or of the one that would follow the last.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.epoch_at(offset)
    }

    /// Where an epoch ends, as OffsetForLeaderEpoch wants it; `None` for one never heard of.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_of(epoch, self.log_end())
    }

    /// How often it was cut, or was to be: what was planned to be read before may be something else since.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Notes that a leader begins its epoch at the log's end. Ignored unless it is above all known ones. Its
    /// first batch makes it durable: an epoch without records may be forgotten, since whoever leads next has
    /// a later one, and a broker that returns would otherwise sync every log it leads.
    pub fn assign_epoch(&mut self, epoch: LeaderEpoch) {
        let log_end = self.log_end();
        self.epoch_begun |= self.epochs.assign(epoch, log_end);
    }

    /// Forgets an epoch that was begun here and has no record: whoever leads now may have another one's records there.
    pub fn forget_begun_epoch(&mut self) {
        let log_end = self.log_end();
        self.epoch_begun = false;
        self.pending.epochs |= self.epochs.cut_end(log_end);
    }

    /// Whether a start would find it. Until its first sync has ended a new log is an unfinished one, and is removed even
    /// if only the process dies.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether the disk has failed under this log. Nothing but reading what is flushed makes sense then.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Moves the log's directory out of the way, under a name that a start recognises as removed
    /// ([`removal_name`]), and returns that name: the caller syncs the parent and then removes it, on any thread. The log is no longer
    /// usable. It must not be under sync, whose files could then end up in a later log of the same name.
    pub fn remove(&mut self, unique: Uuid) -> Result<String, ChangeError> {
        if self.running.is_some() {
            return Err(ChangeError::SyncRunning(self.directory.clone()));
        }
        self.failed = true;
        Ok(move_aside(&self.disk, &self.directory, unique)?)
    }

    /// As [`Log::remove`], but nobody is to remove what it leaves ([`keep_aside`]).
    pub fn set_aside(&mut self, unique: Uuid) -> Result<String, ChangeError> {
        if self.running.is_some() {
            return Err(ChangeError::SyncRunning(self.directory.clone()));
        }
        self.failed = true;
        Ok(keep_aside(&self.disk, &self.directory, unique)?)
    }

    /// Whether there is any record on the disk, or was.
    pub fn holds_records(&self) -> bool {
        self.log_end() > Offset(0)
    }

    /// From where on a `truncation-checkpoint` takes back what checkpoints on the disk say: what they tell of beyond is of
    /// records that are gone, or of an earlier topic's log of the same name.
    pub fn taken_back_from(&self) -> Option<Offset> {
        self.truncation
    }

    /// Whether a `truncation-checkpoint` takes back what the recovery points say.
    pub fn takes_back(&self) -> bool {
        self.truncation.is_some()
    }

    pub(super) fn active(&self) -> &Segment<D::File> {
        self.segments.last().expect("a log has a segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut Segment<D::File> {
        self.segments.last_mut().expect("a log has a segment")
    }

    /// The segment that holds `offset`, or would: the last whose base is not above it.
    pub(super) fn segment_index(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    /// Notes that the disk failed.
    pub(super) fn fail<E>(&mut self, error: E) -> E {
        self.failed = true;
        error
    }

    pub(super) fn walk_error(&self, segment: Offset, error: WalkError) -> ReadError {
        match error {
            WalkError::Io(source) => {
                ReadError::Disk(DiskError { attempted: "read", path: self.directory.clone(), source })
            }
            WalkError::Flaw { position, flaw } => self.corrupt(segment, position, flaw),
        }
    }

    pub(super) fn corrupt(&self, segment: Offset, position: u32, flaw: BatchFlaw) -> ReadError {
        ReadError::Corrupt { directory: self.directory.clone(), segment, position, flaw }
    }
}

/// Takes away what has the name of a log that is to be: what an unfinished creation left is removed, what holds records is
/// kept aside ([`keep_aside`]), durably.
pub fn make_place<D: Disk>(disk: &D, directory: &str, unique: Uuid) -> Result<(), DiskError> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Not to be taken for one that is not there.
        Err(error) => return Err(failed("list", directory)(error)),
        Ok(_) => {}
    }
    match holding(disk, directory)? {
        Holding::Nothing => disk.remove(directory).map_err(failed("remove the unfinished log", directory)),
        Holding::Records => {
            keep_aside(disk, directory, unique)?;
            disk.sync_directory("").map_err(failed("sync directory", ""))
        }
    }
}

/// Moves the directory of a log that is not in use out of the way, and returns its new name: the caller makes
/// that durable before it removes it, on any thread.
pub fn move_aside<D: Disk>(disk: &D, directory: &str, unique: Uuid) -> Result<String, DiskError> {
    let name = removal_name(directory, unique);
    disk.rename(directory, &name).map_err(failed("rename", directory))?;
    Ok(name)
}

/// Gives the directory of a log that is not in use a name that no start touches,
/// `<topic>-<partition>.<unique>-stray`, and returns it: its records are for a person to look at. The caller makes it durable.
pub fn keep_aside<D: Disk>(disk: &D, directory: &str, unique: Uuid) -> Result<String, DiskError> {
    let taken = disk.list("").map_err(failed("list", ""))?;
    let numbers = (0..).map(|number| Uuid::from_u128(unique.as_u128().wrapping_add(number)));
    let mut names = numbers.map(|unique| stray_name(directory, unique));
    let name = names.find(|name| !taken.contains(name)).expect("there are more numbers than names");
    disk.rename(directory, &name).map_err(failed("keep aside", directory))?;
    Ok(name)
}

/// Gives the directory of a damaged log another name, durably, so that a new one can take its place, and returns it. A
/// start finds it, and how far it was durable ([`super::parse_damaged_name`]): nobody removes it before its partition is
/// in sync again. Without a descriptor nothing has happened.
pub fn keep_damaged<D: Disk>(
    disk: &D,
    directory: &str,
    topic: &TopicName,
    id: TopicPartition,
    recovery_point: Offset,
) -> Result<String, DiskError> {
    let name = damaged_name(topic, id, recovery_point);
    disk.rename(directory, &name).map_err(failed("keep the damaged log", directory))?;
    // Before anything has its old name: a crash must not leave the new log and neither name for this one.
    if let Err(error) = disk.sync_directory("") {
        if is_no_descriptor(&error) {
            disk.rename(&name, directory).map_err(failed("rename back", &name))?;
        }
        return Err(failed("sync directory", "")(error));
    }
    Ok(name)
}

/// Writes a new small file without syncing it.
fn write_new<D: Disk>(disk: &D, directory: &str, name: &str, text: &str) -> Result<D::File, DiskError> {
    let path = join(directory, name);
    let file = disk.open(&path, OpenMode::Create).map_err(failed("make", &path))?;
    file.write_at(text.as_bytes(), 0).map_err(failed("write", &path))?;
    Ok(file)
}

pub(super) fn offset_text(offset: Offset) -> String {
    format!("0\n{offset}\n")
}

/// What [`offset_text`] wrote; `None` if it is torn.
pub(super) fn parse_offset(text: &str) -> Option<Offset> {
    let complete = text.strip_prefix("0\n").and_then(|rest| rest.strip_suffix('\n'));
    complete.and_then(|offset| offset.parse().ok()).map(Offset)
}

/// A torn checkpoint says nothing, and so takes everything back.
pub(super) fn parse_truncation(text: &str) -> Offset {
    parse_offset(text).unwrap_or_default()
}
