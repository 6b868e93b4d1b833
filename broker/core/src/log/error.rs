//! What can go wrong with a log, one enum per operation.

use std::io;

use crate::ids::{LeaderEpoch, Offset, TopicId};

/// An operation on the disk failed. Its log, and by decision its whole directory, must not be used further.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempted} \"{path}\"")]
pub struct DiskError {
    /// What was attempted, such as "open".
    pub attempted: &'static str,
    /// On what, relative to the directory of logs.
    pub path: String,
    /// What the disk said.
    #[source]
    pub source: io::Error,
}

/// Gives an I/O error its context.
pub(super) fn failed(attempted: &'static str, path: &str) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError { attempted, path: path.to_owned(), source }
}

/// Why a log was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is a log of that name.
    #[error("log \"{directory}\" exists already, for topic id {topic_id}")]
    Exists {
        /// Its directory.
        directory: String,
        /// The topic it belongs to.
        topic_id: TopicId,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The node stopped while it made this log: its first sync never finished, so nothing in it was ever
    /// acknowledged. [`super::Log::create`] makes it anew.
    #[error("log \"{directory}\" was never finished: {detail}")]
    Unfinished {
        /// Its directory.
        directory: String,
        /// What is missing.
        detail: String,
    },
    /// What was durable is no longer there, or no longer whole. The replica must not serve: another one
    /// may hold the records, and this one must be repaired from it.
    #[error(
        "log \"{directory}\" is corrupt at offset {offset}, below its recovery point {recovery_point}: {detail}"
    )]
    Corrupt {
        /// Its directory.
        directory: String,
        /// The topic it belongs to, where it still says so.
        topic_id: Option<TopicId>,
        /// How far the log is whole.
        offset: Offset,
        /// Up to where it was known to be durable.
        recovery_point: Offset,
        /// What is wrong there.
        detail: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why bytes are no record batch that a log can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchFlaw {
    /// No batch of format 2.
    #[error(transparent)]
    Form(#[from] ottla_wire::batch::BatchFlaw),
    /// It ends beyond what a segment can hold.
    #[error("it lies beyond the end of a segment")]
    Position,
    /// The checksum is wrong.
    #[error("its checksum is wrong")]
    Checksum,
    /// Its offsets run backwards, or begin before the log's end.
    #[error("its offsets do not follow")]
    Offsets,
    /// It has no leader epoch, or one below that of the batch before it.
    #[error("its leader epoch does not follow")]
    Epoch,
}

/// Why an append changed nothing, or failed the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Not a whole batch of format 2. Nothing was written.
    #[error("batch at offset {offset} cannot be appended: {flaw}")]
    Flawed {
        /// The base offset it claims.
        offset: Offset,
        /// What is wrong.
        flaw: BatchFlaw,
    },
    /// The batch begins before the log's end. Nothing was written.
    #[error("batch at offset {found} does not follow the log's end {log_end}")]
    OffsetBehind {
        /// Where the log ends.
        log_end: Offset,
        /// Where the batch begins.
        found: Offset,
    },
    /// The batch has an epoch below the log's latest. Nothing was written.
    #[error("batch of leader epoch {found} cannot follow epoch {latest}")]
    EpochBehind {
        /// The log's latest.
        latest: LeaderEpoch,
        /// The batch's.
        found: LeaderEpoch,
    },
    /// An earlier failure of the disk has ended this log.
    #[error("log \"{0}\" has failed")]
    Failed(String),
    /// The disk failed; so has the log.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log.
    #[error("offset {offset} is out of range {log_start}..={log_end}")]
    OutOfRange {
        /// The one asked for.
        offset: Offset,
        /// The first offset.
        log_start: Offset,
        /// The offset after the last.
        log_end: Offset,
    },
    /// A batch that was good when it was written is no longer.
    #[error("log \"{directory}\" has a bad batch in segment {segment} at position {position}: {flaw}")]
    Corrupt {
        /// The log's directory.
        directory: String,
        /// The segment's base offset.
        segment: Offset,
        /// The position in its file.
        position: u32,
        /// What is wrong.
        flaw: BatchFlaw,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a timestamp could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The batches could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The records within a batch could not be read.
    #[error("batch at offset {offset} cannot be unpacked: {detail}")]
    Records {
        /// The batch's base offset.
        offset: Offset,
        /// What is wrong.
        detail: String,
    },
}

/// Why a log was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A sync is under way; ask again when it has finished.
    #[error("log \"{0}\" is being synced")]
    SyncRunning(String),
    /// An earlier failure of the disk has ended this log.
    #[error("log \"{0}\" has failed")]
    Failed(String),
    /// The log does not hold what it should.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed; so has the log.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
