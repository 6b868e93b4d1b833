//! How much a leader serves to replicas that catch up, so that they do not take what clients need.
//!
//! A replica that lacks committed records, and that the high watermark does not wait for, is *behind*
//! ([`crate::partition::Partition::leaves_behind`]): one on an empty volume, one of a broker that was away, one that a move
//! adds. All of them together are served `ottla.recovery.bytes.per.second`, and besides two bytes for each byte that
//! clients write to this leader. So a rate, however low, never keeps a replica from catching up with what is written: it
//! gains on its leader at the rate and a byte for each byte written, and one that was away is in sync again
//! in less time than it was away, if disks and network are up to it. Nobody else is ever held back.
//!
//! As with [`super::quota`], who takes more than there is runs up a debt that is paid off first.

use std::time::Duration;

use super::quota::ReplicationQuota;
use crate::config::{Settings, broker_key};
use crate::ids::NodeId;
use crate::metadata::image::Image;
use crate::time::Monotonic;

/// The rate's key.
pub const RATE_KEY: &str = "ottla.recovery.bytes.per.second";

/// How many bytes may be served for each that clients write: one to keep up, and one to gain.
const SHARE: u64 = 2;

/// How long whoever is held back waits at most until it looks again: clients' writes pay debts, too, and what they earn
/// is kept only up to a second's rate.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Whether replicas that are behind get records now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// As others do.
    Served,
    /// They are held back: what they may take now is used up.
    Held,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct RecoveryBudget {
    quota: ReplicationQuota,
    /// How much clients had written when last asked.
    written: u64,
}

impl RecoveryBudget {
    /// The rate of a broker, in bytes a second; none if there is no limit. `fixed` is what its properties file sets.
    pub fn rate(image: &Image, broker: NodeId, fixed: &Settings) -> Option<u64> {
        super::quota::rate(RATE_KEY, image, broker, fixed)
            .or_else(|| broker_key(RATE_KEY)?.default.text()?.parse().ok())
            .filter(|rate| *rate > 0)
    }

    /// Sets the rate from now on.
    pub fn set_rate(&mut self, now: Monotonic, rate: Option<u64>) {
        self.quota.set_rate(now, rate.unwrap_or(u64::MAX));
    }

    /// Whether anything may be served now. `written` is how many bytes clients have ever written to this broker.
    pub fn behind(&mut self, now: Monotonic, written: u64) -> Behind {
        let earned = written.saturating_sub(self.written).saturating_mul(SHARE);
        self.written = self.written.max(written);
        self.quota.earn(now, earned);
        if self.quota.is_exceeded(now) { Behind::Held } else { Behind::Served }
    }

    /// So many bytes were served.
    pub fn record(&mut self, now: Monotonic, bytes: u64) {
        self.quota.record(now, bytes);
    }

    /// When to ask again after [`Behind::Held`].
    pub fn look_again_in(&self) -> Duration {
        self.quota.paid_in().clamp(Duration::from_millis(1), LOOK_AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: u64 = 2 << 20;

    /// What is served in so many seconds to one that always wants more, each answer of which takes a millisecond, while
    /// clients write so many bytes a millisecond.
    fn served(rate: u64, written_per_ms: u64, seconds: u64) -> u64 {
        let mut budget = RecoveryBudget::default();
        budget.set_rate(Monotonic(0), Some(rate));
        let (mut served, mut look_at) = (0, 0);
        for now in (0..seconds * 1_000).map(Monotonic) {
            if now.0 < look_at {
                continue;
            }
            match budget.behind(now, now.0 * written_per_ms) {
                Behind::Served => {
                    budget.record(now, ANSWER);
                    served += ANSWER;
                }
                Behind::Held => look_at = now.plus(budget.look_again_in()).0,
            }
        }
        served
    }

    #[test]
    fn what_is_served_keeps_to_the_rate_and_to_twice_what_clients_write() {
        for (rate, written_per_ms) in [(1 << 20, 0), (100 << 20, 0), (1 << 20, 100_000), (50_000_000, 50_000)]
        {
            let wanted = 60 * (rate + 2_000 * written_per_ms);
            let served = served(rate, written_per_ms, 60);
            let spare = rate + 2 * ANSWER;
            assert!(served <= wanted + spare, "{served} of {wanted}");
            assert!(served + spare >= wanted, "{served} of {wanted}");
        }
    }

    #[test]
    fn what_was_written_while_nobody_was_behind_makes_no_great_burst() {
        let mut budget = RecoveryBudget::default();
        budget.set_rate(Monotonic(0), Some(1_000));
        assert_eq!(budget.behind(Monotonic(0), u64::MAX / 2), Behind::Served);
        budget.record(Monotonic(0), 1_001);
        assert_eq!(budget.behind(Monotonic(0), u64::MAX / 2), Behind::Held);
        assert_eq!(budget.look_again_in(), Duration::from_millis(1));
        budget.record(Monotonic(0), 1_000_000);
        assert_eq!(budget.look_again_in(), LOOK_AGAIN);
        assert_eq!(budget.behind(Monotonic(999_000), u64::MAX / 2), Behind::Held);
        assert_eq!(budget.behind(Monotonic(1_001_000), u64::MAX / 2), Behind::Served);
    }

    #[test]
    fn no_rate_holds_nobody_back() {
        let mut budget = RecoveryBudget::default();
        budget.set_rate(Monotonic(0), None);
        budget.record(Monotonic(0), u64::MAX);
        assert_eq!(budget.behind(Monotonic(0), 0), Behind::Served);
    }
}
