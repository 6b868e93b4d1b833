//! Putting the log together from its frames.

use super::LogEntry;
use crate::ids::Term;
use crate::quorum::frame::FrameBody;
use crate::quorum::snapshot::SnapshotId;

/// The entries after a snapshot, as frame after frame is read.
pub(super) struct Entries {
    snapshot: SnapshotId,
    /// The term of the entry at the snapshot's offset, if the log has one.
    term_at_snapshot: Option<Term>,
    entries: Vec<LogEntry>,
    /// One past the last entry read, if any was.
    end: Option<u64>,
}

impl Entries {
    pub(super) fn after(snapshot: SnapshotId) -> Self {
        Self { snapshot, term_at_snapshot: None, entries: Vec::new(), end: None }
    }

    pub(super) fn take(&mut self, frame: FrameBody) -> Result<(), String> {
        match frame {
            FrameBody::Start { replaced_by: None, .. } => {}
            FrameBody::Start { replaced_by: Some(id), .. } => {
                self.entries.clear();
                self.term_at_snapshot = (id.offset == self.snapshot.offset).then_some(id.term);
                self.end = Some(id.offset.0 + 1);
            }
            FrameBody::Append { entries, .. } => {
                for entry in entries {
                    self.push(entry)?;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, entry: LogEntry) -> Result<(), String> {
        let offset = entry.offset;
        if self.end.is_some_and(|end| offset.0 > end) {
            return Err(format!("entry {offset} leaves a gap"));
        }
        self.end = Some(offset.0 + 1);
        self.entries.retain(|kept| kept.offset < offset);
        if offset == self.snapshot.offset {
            self.term_at_snapshot = Some(entry.term);
        }
        if offset > self.snapshot.offset {
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Whether the log is of the snapshot's history and reaches up to it. If not, the snapshot came from a leader.
    pub(super) fn connects(&self) -> bool {
        let same_history = self.term_at_snapshot.is_none_or(|term| term == self.snapshot.term);
        same_history && self.end.is_none_or(|end| end > self.snapshot.offset.0)
    }

    pub(super) fn finish(self) -> Result<Vec<LogEntry>, String> {
        if !self.connects() {
            return Ok(Vec::new());
        }
        match self.entries.first() {
            Some(first) if first.offset.0 != self.snapshot.offset.0 + 1 => Err(format!(
                "the log begins at entry {}, but the last snapshot ends at {}",
                first.offset, self.snapshot.offset
            )),
            _ => Ok(self.entries),
        }
    }
}
