//! What a member of the quorum keeps on disk: its vote, its log, its snapshots.
//!
//! In one directory:
//! - `<sequence 20>.log`: frames, appended only. A frame is
//!   ```text
//!   magic     4 bytes "OTTF"
//!   length    u32 big-endian, of the payload
//!   sequence  u64 big-endian, one more than the frame before, across files; a file is named after its first
//!   crc       u32 big-endian: CRC-32C of length, sequence, payload
//!   payload   uvarint kind, then
//!             0 start:  directory id, hard state, uvarint 0 or 1, and if 1 the id of the snapshot that replaces
//!                       what came before. The first frame of each file, and nowhere else
//!             1 append: hard state, list of entries
//!             and a tagged section
//!   ```
//!   A hard state is term, vote (0 is nobody) and commit, each a uvarint. The last one counts. An entry
//!   replaces what was at its index and takes everything after it away, so nothing is ever overwritten.
//! - `<offset 20>-<term 10>.checkpoint`: a snapshot (`snapshot.rs`), written beside, synced, renamed, and that
//!   while the log goes on ([`SnapshotWriter`]). The newest counts.
//!
//! One frame is one sync, and the next is written only after it, so a crash can tear the last frame only. A
//! broken frame with a whole one after it is damage, and the node refuses to start: to cut it there would take
//! back votes and acknowledgements.

mod checkpoints;
mod entries;
mod work;

use std::io;

pub use self::checkpoints::SnapshotWriter;
use self::checkpoints::{TEMPORARY, parse_checkpoint, write_checkpoint};
use self::entries::Entries;
pub use self::work::{HardState, LogEntry, Persist, PersistAction};
use super::frame::{Frame, FrameBody, find_frame, read_frame};
use super::snapshot::{self, SnapshotError, SnapshotId};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::ids::{ClusterId, DirectoryId, MetadataOffset, Term};
use crate::metadata::image::Image;
use crate::metadata::record::{Record, Voters};
use crate::planted::{self, Bug};

/// A file that is longer gets a successor. Small, so that a snapshot frees most of the log.
const SEGMENT_BYTES_MAX: u64 = 8 << 20;

/// What was found on disk.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    /// The last hard state.
    pub hard_state: HardState,
    /// The last snapshot; the empty image if there is none.
    pub image: Image,
    /// The entries after it.
    pub entries: Vec<LogEntry>,
}

/// A metadata log that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed.
    #[error("the metadata log cannot be read or written")]
    Io(#[from] io::Error),
    /// Something that was durable is damaged.
    #[error("file \"{file}\" of the metadata log is damaged at byte {position}: {problem}")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        position: u64,
        /// What is wrong.
        problem: String,
    },
    /// A snapshot is damaged, or that of a later release.
    #[error("snapshot \"{file}\" of the metadata log cannot be used")]
    Snapshot {
        /// The file.
        file: String,
        /// What is wrong.
        source: SnapshotError,
    },
}

#[derive(Debug)]
struct Segment<F> {
    name: String,
    file: F,
    length: u64,
    /// The highest offset of an entry ever written to it.
    highest: MetadataOffset,
}

/// The directory of one member. Used by one thread, that of its syncs.
#[derive(Debug)]
pub struct RaftStore<D: Disk> {
    disk: D,
    directory: String,
    directory_id: DirectoryId,
    segments: Vec<Segment<D::File>>,
    next_sequence: u64,
    hard_state: HardState,
    failed: bool,
}

impl<D: Disk> RaftStore<D> {
    /// Prepares an empty directory. The first voters of a cluster all begin with the same snapshot, which names
    /// them; whoever comes later begins with nothing and is told by the leader.
    pub fn format(
        disk: &D,
        directory: &str,
        cluster_id: ClusterId,
        first_voters: Option<&Voters>,
    ) -> io::Result<()> {
        disk.create_directory(directory)?;
        if let Some(voters) = first_voters {
            let mut image = Image::default();
            let records = [Record::ClusterId(cluster_id), Record::Voters(voters.clone())];
            image.replay_entry(MetadataOffset(1), Term(1), &records).map_err(io::Error::other)?;
            write_checkpoint(disk, directory, SnapshotId::of(&image), &snapshot::encode(&image))?;
        }
        disk.sync_directory(directory)?;
        disk.sync_directory(parent(directory))
    }

    /// Reads what is there and cuts off what a crash left unfinished.
    pub fn open(
        disk: D,
        directory: &str,
        directory_id: DirectoryId,
    ) -> Result<(Self, Recovered), StoreError> {
        let mut store = Self {
            disk,
            directory: directory.to_owned(),
            directory_id,
            segments: Vec::new(),
            next_sequence: 0,
            hard_state: HardState::default(),
            failed: false,
        };
        let names = store.disk.list(directory)?;
        for name in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
            store.disk.remove(&store.path(name))?;
        }
        let image = store.newest_snapshot(&names)?;
        let mut logs: Vec<&String> = names.iter().filter(|name| name.ends_with(LOG)).collect();
        logs.sort_unstable();
        let mut entries = Entries::after(SnapshotId::of(&image));
        for (position, name) in logs.iter().enumerate() {
            store.recover_segment(name, position + 1 == logs.len(), &mut entries)?;
        }
        let id = SnapshotId::of(&image);
        let connects = entries.connects() || store.segments.is_empty();
        let entries = entries.finish().map_err(|problem| StoreError::Damaged {
            file: logs.first().map_or_else(String::new, |name| (*name).clone()),
            position: 0,
            problem,
        })?;
        let last = entries.last().map_or(image.offset, |entry| entry.offset);
        if store.hard_state.commit > last {
            return Err(StoreError::Damaged {
                file: logs.last().map_or_else(String::new, |name| (*name).clone()),
                position: 0,
                problem: format!(
                    "entry {} was committed, but the log ends at {last}",
                    store.hard_state.commit
                ),
            });
        }
        // Names that an earlier life of this process made may not be durable yet either.
        store.disk.sync_directory(directory)?;
        store.hard_state.commit = store.hard_state.commit.max(image.offset);
        store.hard_state.term = store.hard_state.term.max(image.term);
        let hard_state = store.hard_state;
        if !connects {
            // A crash between the arrival of a snapshot and the note of it in the log.
            store.replace_log(id)?;
        }
        Ok((store, Recovered { hard_state, image, entries }))
    }

    /// What writes the snapshots of this directory.
    pub fn snapshot_writer(&self) -> SnapshotWriter<D> {
        SnapshotWriter { disk: self.disk.clone(), directory: self.directory.clone() }
    }

    /// Makes it durable. An error is final: what is on the disk is unknown, and the node must stop.
    pub fn persist(&mut self, work: &Persist) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write to the metadata log failed"));
        }
        self.failed = true;
        for action in &work.actions {
            match action {
                PersistAction::Append { hard_state, entries } => self.append(*hard_state, entries)?,
                PersistAction::Install { id, bytes } => self.install(*id, bytes)?,
                PersistAction::Compact { id } => self.compact(*id)?,
            }
        }
        self.failed = false;
        Ok(())
    }

    fn append(&mut self, hard_state: HardState, entries: &[LogEntry]) -> io::Result<()> {
        if self.segments.last().is_none_or(|segment| segment.length >= SEGMENT_BYTES_MAX) {
            // With the hard state as it was: the new one may know of a commit of the entries that follow.
            self.roll(None)?;
        }
        let hard_state = match planted::is(Bug::ForgetVote) {
            true => HardState { vote: None, ..hard_state },
            false => hard_state,
        };
        self.hard_state = hard_state;
        let body = FrameBody::Append { hard_state, entries: entries.to_vec() };
        self.write_frame(body)
    }

    fn install(&mut self, id: SnapshotId, bytes: &[u8]) -> io::Result<()> {
        write_checkpoint(&self.disk, &self.directory, id, bytes)?;
        self.replace_log(id)?;
        self.remove_checkpoints_before(id)
    }

    fn replace_log(&mut self, id: SnapshotId) -> io::Result<()> {
        self.roll(Some(id))?;
        self.remove_segments(self.segments.len() - 1)
    }

    fn compact(&mut self, id: SnapshotId) -> io::Result<()> {
        let names = self.disk.list(&self.directory)?;
        let newest = names.iter().filter_map(|name| parse_checkpoint(name)).max().unwrap_or(id);
        // A snapshot of the leader may have overtaken it, and the log before that one is gone already.
        if newest == id {
            self.roll(None)?;
            let covered = self.segments.iter().take_while(|segment| segment.highest <= id.offset).count();
            self.remove_segments(covered.min(self.segments.len() - 1))?;
        }
        self.remove_checkpoints_before(newest)
    }

    /// Begins a new file. It repeats the hard state, so that older ones can go.
    fn roll(&mut self, replaced_by: Option<SnapshotId>) -> io::Result<()> {
        let name = format!("{:020}{LOG}", self.next_sequence);
        let file = self.disk.open(&self.path(&name), OpenMode::Create)?;
        // A crash may have left a file of this name with a torn first frame.
        file.set_length(0)?;
        self.segments.push(Segment { name, file, length: 0, highest: MetadataOffset(0) });
        let (directory_id, hard_state) = (self.directory_id, self.hard_state);
        self.write_frame(FrameBody::Start { directory_id, hard_state, replaced_by })?;
        self.disk.sync_directory(&self.directory)
    }

    fn write_frame(&mut self, body: FrameBody) -> io::Result<()> {
        let highest = body.highest_offset();
        let frame = Frame { sequence: self.next_sequence, body };
        let bytes = frame.encode();
        let segment = self.segments.last_mut().expect("a file is open before a frame is written");
        segment.file.write_at(&bytes, segment.length)?;
        segment.file.sync()?;
        segment.length += bytes.len() as u64;
        segment.highest = segment.highest.max(highest);
        self.next_sequence += 1;
        Ok(())
    }

    /// Removes the oldest files, oldest first, so that a crash leaves no gap.
    fn remove_segments(&mut self, count: usize) -> io::Result<()> {
        for segment in self.segments.drain(..count) {
            self.disk.remove(&format!("{}/{}", self.directory, segment.name))?;
            self.disk.sync_directory(&self.directory)?;
        }
        Ok(())
    }

    fn remove_checkpoints_before(&self, newest: SnapshotId) -> io::Result<()> {
        for name in self.disk.list(&self.directory)? {
            if parse_checkpoint(&name).is_some_and(|id| id < newest) {
                self.disk.remove(&self.path(&name))?;
            }
        }
        self.disk.sync_directory(&self.directory)
    }

    fn newest_snapshot(&self, names: &[String]) -> Result<Image, StoreError> {
        let newest = names.iter().filter_map(|name| Some((parse_checkpoint(name)?, name))).max();
        let Some((id, name)) = newest else { return Ok(Image::default()) };
        let bytes = read_file(&self.disk.open(&self.path(name), OpenMode::Existing)?)?;
        let damaged = |source| StoreError::Snapshot { file: name.clone(), source };
        let image = snapshot::decode(&bytes).map_err(damaged)?;
        if SnapshotId::of(&image) != id {
            return Err(damaged(SnapshotError::Checksum));
        }
        Ok(image)
    }

    fn recover_segment(
        &mut self,
        name: &str,
        is_last: bool,
        entries: &mut Entries,
    ) -> Result<(), StoreError> {
        let damaged = |position: usize, problem: &str| StoreError::Damaged {
            file: name.to_owned(),
            position: position as u64,
            problem: problem.to_owned(),
        };
        let first = name.strip_suffix(LOG).and_then(|name| name.parse::<u64>().ok());
        let first = first.ok_or_else(|| damaged(0, "its name is no sequence number"))?;
        if self.segments.is_empty() {
            self.next_sequence = first;
        } else if self.next_sequence != first {
            return Err(damaged(0, "the file before it is missing or cut short"));
        }
        let file = self.disk.open(&self.path(name), OpenMode::Existing)?;
        let bytes = read_file(&file)?;
        let mut segment = Segment { name: name.to_owned(), file, length: 0, highest: MetadataOffset(0) };
        let (mut position, mut last_frame) = (0, 0);
        while position < bytes.len() {
            let Some((frame, length)) = read_frame(&bytes[position..], self.next_sequence) else {
                let later = find_frame(&bytes[position..], self.next_sequence);
                if !is_last || later.is_some() {
                    return Err(damaged(position, "its checksum is wrong, and it is not the last"));
                }
                segment.file.set_length(position as u64)?;
                segment.file.sync()?;
                break;
            };
            let frame = frame.map_err(|error| damaged(position, &error.to_string()))?;
            if (position == 0) != matches!(frame, FrameBody::Start { .. }) {
                return Err(damaged(position, "it begins in the middle"));
            }
            if frame.directory_id().is_some_and(|id| id != self.directory_id) {
                return Err(damaged(position, "it belongs to another directory"));
            }
            segment.highest = segment.highest.max(frame.highest_offset());
            self.hard_state = frame.hard_state();
            entries.take(frame).map_err(|problem| damaged(position, &problem))?;
            self.next_sequence += 1;
            last_frame = position;
            position += length;
        }
        if is_last && position > 0 {
            // The sync of the last frame may have failed, or never have begun, in an earlier life of this
            // process. After a failed one the kernel shows what it did not write and takes it for written,
            // so only writing again makes it durable.
            segment.file.write_at(&bytes[last_frame..position], last_frame as u64)?;
            segment.file.sync()?;
        }
        segment.length = position as u64;
        if position > 0 {
            self.segments.push(segment);
        } else if is_last {
            self.disk.remove(&self.path(name))?;
            self.disk.sync_directory(&self.directory)?;
        } else {
            return Err(damaged(0, "it is empty, and it is not the last"));
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }
}

const LOG: &str = ".log";

fn read_file<F: DiskFile>(file: &F) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn parent(directory: &str) -> &str {
    directory.rsplit_once('/').map_or("", |(parent, _)| parent)
}
