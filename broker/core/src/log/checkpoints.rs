//! The files that speak of all logs of one directory.
//!
//! `recovery-point-offset-checkpoint`, `replication-offset-checkpoint` (high watermarks) and
//! `log-start-offset-checkpoint`, in Kafka's text:
//! ```text
//! 0
//! 2
//! my-topic 0 1200
//! my-topic 1 980
//! ```
//! and `.kafka_cleanshutdown`, JSON, there only after a proper shutdown. Each is replaced whole: written
//! beside, synced, renamed, and the directory synced.

use std::collections::BTreeMap;
use std::io;

use super::text_file;
use crate::disk::Disk;
use crate::ids::{BrokerEpoch, Offset, PartitionIndex, TopicName};

/// An offset for each replica.
pub type Offsets = BTreeMap<(TopicName, PartitionIndex), Offset>;

/// One of the checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// Up to where each log is durable.
    RecoveryPoint,
    /// The high watermarks.
    HighWatermark,
    /// Where each log begins, where that is above its first segment.
    LogStart,
}

impl Checkpoint {
    /// The file's name.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::RecoveryPoint => "recovery-point-offset-checkpoint",
            Self::HighWatermark => "replication-offset-checkpoint",
            Self::LogStart => "log-start-offset-checkpoint",
        }
    }

    /// Reads it; empty if there is none. One that is not of this form is an error and not empty: without a
    /// recovery point nothing tells rot from a torn tail. What was read is durable: a recovery acts on it, and
    /// a second crash must not bring back an older one.
    pub fn read<D: Disk>(self, disk: &D) -> io::Result<Offsets> {
        let text = text_file::read(disk, self.file_name())?;
        disk.sync_directory("")?;
        let Some(text) = text else { return Ok(Offsets::new()) };
        parse(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not in the form of a checkpoint"))
    }

    /// Replaces it, durably. Blocks on the disk.
    pub fn write<D: Disk>(self, disk: &D, offsets: &Offsets) -> io::Result<()> {
        text_file::replace_durably(disk, "", self.file_name(), &render(offsets))
    }
}

fn render(offsets: &Offsets) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        text.push_str(&format!("{topic} {partition} {offset}\n"));
    }
    text
}

fn parse(text: &str) -> Option<Offsets> {
    let mut lines = text.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut offsets = Offsets::new();
    for line in lines {
        let mut fields = line.split(' ');
        let topic = TopicName::parse(fields.next()?).ok()?;
        let partition = PartitionIndex(fields.next()?.parse().ok()?);
        let offset = Offset(fields.next()?.parse().ok()?);
        if fields.next().is_some() || offsets.insert((topic, partition), offset).is_some() {
            return None;
        }
    }
    (offsets.len() == count).then_some(offsets)
}

/// The file that says that all logs of a directory are whole.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// Says that all logs of the directory are whole: to be written last, after the recovery points.
pub fn write_clean_shutdown<D: Disk>(disk: &D, broker_epoch: BrokerEpoch) -> io::Result<()> {
    let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
    text_file::replace_durably(disk, "", CLEAN_SHUTDOWN, &text)
}

/// Whether the last shutdown was a proper one, and under which broker epoch. The mark is removed, durably,
/// before this returns: from here on a crash is a crash.
pub fn take_clean_shutdown<D: Disk>(disk: &D) -> io::Result<Option<BrokerEpoch>> {
    let Some(text) = text_file::read(disk, CLEAN_SHUTDOWN)? else { return Ok(None) };
    disk.remove(CLEAN_SHUTDOWN)?;
    disk.sync_directory("")?;
    Ok(parse_clean_shutdown(&text))
}

/// The broker epoch in that file; `None` if it is torn, or of a later version: then it was no proper shutdown of ours.
pub fn parse_clean_shutdown(text: &str) -> Option<BrokerEpoch> {
    let epoch = text.strip_prefix("{\"version\":0,\"brokerEpoch\":")?.strip_suffix('}')?;
    epoch.parse().ok().map(BrokerEpoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas_and_a_torn_one_is_refused() {
        let key = |name: &str, partition| (TopicName::parse(name).unwrap(), PartitionIndex(partition));
        let offsets = Offsets::from([(key("a-b", 0), Offset(12)), (key("a", 3), Offset(0))]);
        let text = render(&offsets);
        assert_eq!(text, "0\n2\na 3 0\na-b 0 12\n");
        assert_eq!(parse(&text), Some(offsets));
        for bad in ["", "0\n", "1\n0\n", "0\n1\n", "0\n1\na 0\n", "0\n1\na 0 x\n", "0\n2\na 0 1\na 0 2\n"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
