//! What the log says of connections that are refused: at a limit a peer can bring one a millisecond.

use std::time::{Duration, Instant};

/// A listener has at most one line in this time.
const PERIOD: Duration = Duration::from_secs(10);

/// The refusals of one listener.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    last_line: Option<Instant>,
    since: u64,
}

impl Refusals {
    /// Takes note of one more. Returns how many there were since the last line if it is time for another.
    pub(crate) fn another(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.last_line.is_some_and(|last| now.saturating_duration_since(last) < PERIOD) {
            return None;
        }
        self.last_line = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let (mut refusals, begun) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.another(begun), Some(1));
        for _ in 0..1000 {
            assert_eq!(refusals.another(begun + PERIOD / 2), None);
        }
        assert_eq!(refusals.another(begun + PERIOD), Some(1001));
    }
}
