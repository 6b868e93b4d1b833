//! The two kinds of time. The core takes both as arguments and never asks a clock.

use std::time::Duration;

/// A point on a clock that never goes back, in milliseconds since some fixed start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The point `after` this one.
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Wall-clock time as Kafka writes it: milliseconds since 1970-01-01 UTC. It may jump both ways; only
/// timestamps of records and files use it, never a time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub i64);

/// For how long the same thing has been waited for, as far as this process ran.
///
/// A process that was stopped for a while (a paused virtual machine, SIGSTOP) finds that much time gone; what
/// it waits for had no chance to happen. So each look counts for [`STALL_STEP_MAX`] at most.
#[derive(Debug)]
pub struct Stall<K> {
    on: Option<K>,
    looked: Monotonic,
    waited: Duration,
}

/// Looks are about a second apart, or less.
pub const STALL_STEP_MAX: Duration = Duration::from_secs(2);

impl<K> Default for Stall<K> {
    fn default() -> Self {
        Self { on: None, looked: Monotonic(0), waited: Duration::ZERO }
    }
}

impl<K: PartialEq> Stall<K> {
    /// Looks: `on` is what is waited for now. Gives for how long that has been so.
    pub fn tick(&mut self, now: Monotonic, on: Option<K>) -> Duration {
        if on.is_some() && on == self.on {
            self.waited += now.since(self.looked).min(STALL_STEP_MAX);
        } else {
            self.waited = Duration::ZERO;
        }
        self.looked = now;
        self.on = on;
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_while_the_same_thing_is_waited_for() {
        let mut stall = Stall::default();
        let waited: Vec<u64> = [(0, None), (1, Some(7)), (2, Some(7)), (3, Some(7)), (4, Some(8)), (5, None)]
            .map(|(seconds, on)| stall.tick(Monotonic(seconds * 1000), on).as_secs())
            .into();
        assert_eq!(waited, [0, 0, 1, 2, 0, 0]);
    }

    #[test]
    fn a_pause_of_the_process_is_nobodys_fault() {
        let mut stall = Stall::default();
        stall.tick(Monotonic(0), Some(7));
        assert_eq!(stall.tick(Monotonic(60_000), Some(7)), STALL_STEP_MAX);
    }
}
