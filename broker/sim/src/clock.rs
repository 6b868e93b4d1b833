//! Simulated time, and the clocks that nodes read.

use std::fmt;
use std::time::Duration;

use ottla_core::time::{Monotonic, Wall};

/// A point of simulated time, in microseconds since the start of the simulation. No node sees it: each
/// reads its own [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SimTime(pub u64);

impl SimTime {
    /// The point `micros` later.
    pub fn plus_micros(self, micros: u64) -> Self {
        Self(self.0 + micros)
    }

    /// The point `millis` later.
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0 + millis * 1000)
    }

    /// How long it is since the start.
    pub fn since_start(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// One node's two clocks. The monotonic one runs a little fast or slow; the wall clock may be wrong by
/// any amount, since nothing but the timestamps of records may depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: SimTime,
    drift_per_million: i64,
    wall_at_start: i64,
}

impl Clock {
    /// A clock that starts with its node at `started`.
    pub fn new(started: SimTime, drift_per_million: i64, wall_at_start: i64) -> Self {
        Self { started, drift_per_million, wall_at_start }
    }

    /// What the node's monotonic clock shows at a point of simulated time.
    pub fn monotonic(&self, now: SimTime) -> Monotonic {
        let elapsed = i64::try_from(now.0.saturating_sub(self.started.0)).expect("simulations are short");
        let shown = elapsed + elapsed / 1_000_000 * self.drift_per_million;
        // Kept away from zero, so that code which takes 0 for "never" shows itself.
        Monotonic(10_000 + u64::try_from(shown / 1000).expect("a clock does not run backwards"))
    }

    /// Somebody sets the wall clock, forward or back.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_at_start += by_ms;
    }

    /// What its wall clock shows.
    pub fn wall(&self, now: SimTime) -> Wall {
        Wall(self.wall_at_start + i64::try_from(now.0 / 1000).expect("simulations are short"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_clock_never_goes_back() {
        let clock = Clock::new(SimTime(500), -300, 0);
        let mut last = clock.monotonic(SimTime(500));
        for micros in (500..30_000_000).step_by(7_919) {
            let now = clock.monotonic(SimTime(micros));
            assert!(now >= last);
            last = now;
        }
        assert!(last < Monotonic(10_000 + 30_000), "it runs slow");
    }

    #[test]
    fn a_wall_clock_jumps_and_the_monotonic_one_stays() {
        let mut clock = Clock::new(SimTime(500), 0, 70_000);
        let (time, before) = (SimTime(1_000_500), clock.monotonic(SimTime(1_000_500)));
        clock.jump(-5_000);
        assert_eq!((clock.wall(time), clock.monotonic(time)), (Wall(66_000), before));
    }
}
