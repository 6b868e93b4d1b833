//! Notices when a shard's thread does not come back from its disk.
//!
//! A read or a write can hang as a sync can, and then nobody takes in that time goes on. So another thread
//! looks: a shard that has been at one message for longer than a sync round may take has lost its disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ottla_core::log::commit::ROUND_MAX;
use ottla_core::time::{Monotonic, Stall};

/// What a shard's thread leaves for others to see.
#[derive(Debug)]
pub(super) struct Pulse {
    pub(super) directory: PathBuf,
    /// Rises with each message it begins with and with each rest: odd while it is at one.
    beats: AtomicU64,
    stuck: AtomicBool,
}

impl Pulse {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, beats: AtomicU64::new(0), stuck: AtomicBool::new(false) }
    }

    /// The thread begins with a message.
    pub(super) fn begin(&self) {
        // Only the thread itself writes.
        let beats = self.beats.load(Ordering::Relaxed);
        self.beats.store((beats + 1) | 1, Ordering::Relaxed);
    }

    /// It has nothing to do.
    pub(super) fn rest(&self) {
        let beats = self.beats.load(Ordering::Relaxed);
        self.beats.store((beats | 1) + 1, Ordering::Relaxed);
    }

    /// Whether the directory was given up because its thread did not come back.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    /// True, once, if the thread has been away for too long: its directory has failed for ever. `stall` is the
    /// looker's own.
    pub(super) fn misses(&self, stall: &mut Stall<u64>, now: Monotonic) -> bool {
        let beats = self.beats.load(Ordering::Relaxed);
        let away = stall.tick(now, (beats % 2 == 1).then_some(beats)) > ROUND_MAX;
        away && !self.stuck.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In which second, of the next 30, it is missed.
    fn missed(pulse: &Pulse, mut meanwhile: impl FnMut()) -> Vec<u64> {
        let mut stall = Stall::default();
        (0..30)
            .filter(|second| {
                meanwhile();
                pulse.misses(&mut stall, Monotonic(second * 1000))
            })
            .collect()
    }

    #[test]
    fn a_thread_that_does_not_come_back_is_missed_once() {
        let pulse = Pulse::new(PathBuf::from("a"));
        assert_eq!(missed(&pulse, || {}), Vec::<u64>::new(), "it has not begun with anything");
        pulse.begin();
        assert_eq!(missed(&pulse, || {}), [11]);
        assert!(pulse.is_stuck());
    }

    #[test]
    fn a_thread_that_works_or_rests_is_not_missed() {
        let pulse = Pulse::new(PathBuf::from("a"));
        assert_eq!(missed(&pulse, || pulse.begin()), Vec::<u64>::new());
        pulse.rest();
        assert_eq!(missed(&pulse, || {}), Vec::<u64>::new());
    }
}
