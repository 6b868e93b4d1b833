//! Where each leader epoch begins in a log (KIP-101, KIP-279).
//!
//! Kept in `leader-epoch-checkpoint`:
//! ```text
//! 0
//! 2
//! 0 0
//! 3 1200
//! ```
//! (version, count, then `epoch start_offset`, both rising).

use crate::ids::{LeaderEpoch, Offset};

/// Where an epoch ends, as OffsetForLeaderEpoch answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The greatest known epoch that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// Where the next known epoch begins, or the log's end.
    pub end: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    epoch: LeaderEpoch,
    offset: Offset,
}

/// The epochs of one log, each with the offset of its first record. Both rise strictly with one exception:
/// the last epoch may begin at the log's end, while its leader has appended nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Epochs {
    starts: Vec<Start>,
}

impl Epochs {
    pub(super) fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|start| start.epoch)
    }

    /// Where the latest epoch begins.
    pub(super) fn latest_start(&self) -> Option<Offset> {
        self.starts.last().map(|start| start.offset)
    }

    /// Where the first known epoch begins: the log start, when it was last written.
    pub(super) fn first_start(&self) -> Option<Offset> {
        self.starts.first().map(|start| start.offset)
    }

    /// Notes that `epoch` begins at `offset`. Returns whether that was news. An epoch that turns out to
    /// have no record (a later one begins at the same offset) is forgotten.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, offset: Offset) -> bool {
        if let Some(last) = self.starts.last()
            && last.epoch >= epoch
        {
            return false;
        }
        self.cut_end(offset);
        self.starts.push(Start { epoch, offset });
        true
    }

    /// Drops the epochs that begin at or after `end`. Returns whether there were any.
    pub(super) fn cut_end(&mut self, end: Offset) -> bool {
        let kept = self.starts.partition_point(|start| start.offset < end);
        let any = kept < self.starts.len();
        self.starts.truncate(kept);
        any
    }

    /// Drops the epochs that end at or before the new log start; the one that holds it begins there.
    pub(super) fn cut_start(&mut self, log_start: Offset) -> bool {
        let after = self.starts.partition_point(|start| start.offset <= log_start);
        let Some(holding) = after.checked_sub(1) else { return false };
        if holding == 0 && self.starts[0].offset == log_start {
            return false;
        }
        self.starts.drain(..holding);
        self.starts[0].offset = log_start;
        true
    }

    /// Rule: an epoch above all known ones is unknown; one below all known ones ends where the first known
    /// one begins; else the answer names the greatest known epoch not above it.
    pub(super) fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let above = self.starts.partition_point(|start| start.epoch <= epoch);
        let Some(next) = self.starts.get(above) else {
            let latest = self.latest()?;
            return (latest == epoch).then_some(EpochEnd { epoch, end: log_end });
        };
        let known = above.checked_sub(1).map_or(epoch, |at| self.starts[at].epoch);
        Some(EpochEnd { epoch: known, end: next.offset })
    }

    /// The epoch of the record at `offset`.
    pub(super) fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|start| start.offset <= offset);
        after.checked_sub(1).map(|at| self.starts[at].epoch)
    }

    pub(super) fn render(&self) -> String {
        let mut text = format!("0\n{}\n", self.starts.len());
        for start in &self.starts {
            text.push_str(&format!("{} {}\n", start.epoch, start.offset));
        }
        text
    }

    /// `None` if the text is not of this form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()?.trim() != "0" {
            return None;
        }
        let count: usize = lines.next()?.trim().parse().ok()?;
        let mut starts: Vec<Start> = Vec::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let (epoch, offset) = line.trim().split_once(' ')?;
            let start =
                Start { epoch: LeaderEpoch(epoch.parse().ok()?), offset: Offset(offset.parse().ok()?) };
            if starts.last().is_some_and(|last| last.epoch >= start.epoch || last.offset >= start.offset) {
                return None;
            }
            starts.push(start);
        }
        (starts.len() == count).then_some(Self { starts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(starts: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, offset) in starts {
            epochs.assign(LeaderEpoch(*epoch), Offset(*offset));
        }
        epochs
    }

    fn end(epochs: &Epochs, epoch: i32) -> Option<(i32, i64)> {
        epochs.end_of(LeaderEpoch(epoch), Offset(100)).map(|end| (end.epoch.0, end.end.0))
    }

    #[test]
    fn the_end_of_an_epoch_is_where_the_next_known_one_begins() {
        let known = epochs(&[(2, 10), (5, 40), (6, 70)]);
        assert_eq!(end(&known, 6), Some((6, 100)), "the latest ends with the log");
        assert_eq!(end(&known, 5), Some((5, 70)));
        assert_eq!(end(&known, 4), Some((2, 40)), "an epoch without records");
        assert_eq!(end(&known, 1), Some((1, 10)), "older than the log");
        assert_eq!(end(&known, 7), None, "never heard of");
        assert_eq!(end(&Epochs::default(), 0), None);
    }

    #[test]
    fn an_epoch_without_records_is_forgotten_when_the_next_begins() {
        let mut known = epochs(&[(1, 0)]);
        assert!(known.assign(LeaderEpoch(2), Offset(30)));
        assert!(known.assign(LeaderEpoch(3), Offset(30)));
        assert_eq!(known, epochs(&[(1, 0), (3, 30)]));
        assert!(!known.assign(LeaderEpoch(3), Offset(50)), "known already");
        assert!(!known.assign(LeaderEpoch(2), Offset(50)), "epochs do not fall");
    }

    #[test]
    fn cutting_keeps_what_still_has_records() {
        let known = epochs(&[(2, 10), (5, 40), (6, 70)]);
        let mut cut = known.clone();
        assert!(cut.cut_end(Offset(40)));
        assert_eq!(cut, epochs(&[(2, 10)]));
        let mut cut = known.clone();
        assert!(cut.cut_start(Offset(45)));
        assert_eq!(cut, epochs(&[(5, 45), (6, 70)]));
        assert!(!cut.cut_start(Offset(45)));
        assert!(!known.clone().cut_start(Offset(5)), "nothing lies below");
    }

    #[test]
    fn the_text_round_trips_and_a_torn_one_is_refused() {
        let known = epochs(&[(0, 0), (3, 1200)]);
        assert_eq!(known.render(), "0\n2\n0 0\n3 1200\n");
        assert_eq!(Epochs::parse(&known.render()), Some(known));
        for bad in ["", "0\n", "0\n2\n0 0\n", "1\n0\n", "0\n2\n3 0\n1 5\n", "0\n1\nx 0\n"] {
            assert_eq!(Epochs::parse(bad), None, "{bad:?}");
        }
    }
}
