//! Notices when a thread of a shard does not come back from the disk.
//!
//! A read or a write can hang as a sync can, and then nobody takes in that time goes on. So another thread
//! looks: one that has been at one thing for longer than a sync round may take has lost its disk.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ottla_core::log::commit::STALL_MAX;
use ottla_core::time::{Monotonic, Stall};

/// The shard's own thread.
pub(super) const SHARD_LANE: usize = 0;

/// The threads that read. Two, so that one consumer that catches up does not hold up another.
pub(super) const READ_LANES: Range<usize> = 1..3;

const LANES: usize = 3;

/// For how long each thread has been at one thing, as whoever looks sees it.
pub(super) type PulseStalls = [Stall<u64>; LANES];

/// What the threads of a shard leave for others to see.
#[derive(Debug)]
pub(super) struct Pulse {
    pub(super) directory: PathBuf,
    /// Of each thread: rises with each thing it begins with and with each rest, and is odd while it is at one.
    beats: [AtomicU64; LANES],
    stuck: AtomicBool,
}

impl Pulse {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, beats: Default::default(), stuck: AtomicBool::new(false) }
    }

    /// A thread begins with something.
    pub(super) fn begin(&self, lane: usize) {
        // Only the thread itself writes.
        let beats = self.beats[lane].load(Ordering::Relaxed);
        self.beats[lane].store((beats + 1) | 1, Ordering::Relaxed);
    }

    /// It has nothing to do.
    pub(super) fn rest(&self, lane: usize) {
        let beats = self.beats[lane].load(Ordering::Relaxed);
        self.beats[lane].store((beats | 1) + 1, Ordering::Relaxed);
    }

    /// Whether the directory was given up because its thread did not come back.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    /// True, once, if a thread has been away for too long: the directory has failed for ever. `stalls` are the
    /// looker's own.
    pub(super) fn misses(&self, stalls: &mut PulseStalls, now: Monotonic) -> bool {
        let mut away = false;
        for (beats, stall) in self.beats.iter().zip(stalls) {
            let beats = beats.load(Ordering::Relaxed);
            away |= stall.tick(now, (beats % 2 == 1).then_some(beats)) > STALL_MAX;
        }
        away && !self.stuck.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In which second, of the next 30, it is missed.
    fn missed(pulse: &Pulse, mut meanwhile: impl FnMut()) -> Vec<u64> {
        let mut stalls = PulseStalls::default();
        (0..30)
            .filter(|second| {
                meanwhile();
                pulse.misses(&mut stalls, Monotonic(second * 1000))
            })
            .collect()
    }

    #[test]
    fn a_thread_that_does_not_come_back_is_missed_once() {
        let pulse = Pulse::new(PathBuf::from("a"));
        assert_eq!(missed(&pulse, || {}), Vec::<u64>::new(), "it has not begun with anything");
        for lane in 0..LANES {
            let pulse = Pulse::new(PathBuf::from("a"));
            pulse.begin(lane);
            assert_eq!(missed(&pulse, || {}), [11]);
            assert!(pulse.is_stuck());
        }
    }

    #[test]
    fn a_thread_that_works_or_rests_is_not_missed() {
        let pulse = Pulse::new(PathBuf::from("a"));
        assert_eq!(missed(&pulse, || pulse.begin(SHARD_LANE)), Vec::<u64>::new());
        pulse.rest(SHARD_LANE);
        assert_eq!(missed(&pulse, || {}), Vec::<u64>::new());
    }
}
