//! What a seed decides: times and victims, the same each time.

use std::ops::Range;
use std::time::Duration;

/// A stream of numbers from a seed (`SplitMix64`, Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The stream of a run: the same for the same name and seed, another for every other.
    #[must_use]
    pub fn new(name: &str, seed: u64) -> Self {
        let name = name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
        Self { state: name ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }

    /// A time from a range of milliseconds.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end.saturating_sub(range.start)))
    }

    /// One of two.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// One of several; none of none.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let index =
            usize::try_from(self.below(u64::try_from(choices.len()).unwrap_or(1))).unwrap_or_default();
        choices.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_each_time_and_another_decides_otherwise() {
        let numbers = |name: &str, seed: u64| {
            let mut chance = Chance::new(name, seed);
            [chance.number(), chance.number(), chance.number()]
        };
        assert_eq!(numbers("kill-all", 1), numbers("kill-all", 1));
        assert_ne!(numbers("kill-all", 1), numbers("kill-all", 2));
        assert_ne!(numbers("kill-all", 1), numbers("kill-leader", 1));
    }

    #[test]
    fn a_choice_lies_within_its_bounds() {
        let mut chance = Chance::new("x", 1);
        for _ in 0..100 {
            assert!((5..9).contains(&chance.millis(5..9).as_millis()));
            assert!(chance.one_of(&[1, 2, 3]).is_some_and(|one| (1..4).contains(&one)));
        }
        assert_eq!(chance.one_of::<u32>(&[]), None);
    }
}
