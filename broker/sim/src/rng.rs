//! The one source of chance in a simulation.
//!
//! xoshiro256** (Blackman and Vigna, 2018), seeded through splitmix64. It is our own forty lines because
//! a seed written down today must mean the same run after every upgrade of a dependency.
//!
//! Each subject (the network, one disk, one client) draws from its own fork, so that one more draw in one
//! subject does not shift what all others see: a failing seed stays failing while it is being studied.

use std::ops::Range;

use uuid::Uuid;

/// A seeded stream of numbers.
#[derive(Debug, Clone)]
pub struct Rng {
    seed: u64,
    state: [u64; 4],
}

impl Rng {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        let state = std::array::from_fn(|_| splitmix(&mut mix));
        Self { seed, state }
    }

    /// A stream for one subject. It depends on this stream's seed and the name alone, not on what was
    /// drawn before.
    pub fn fork(&self, subject: &str) -> Self {
        // FNV-1a over the name.
        let name = subject
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut mix = self.seed ^ name.rotate_left(17);
        Self::new(splitmix(&mut mix))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let result = self.state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = self.state[1] << 17;
        self.state[2] ^= self.state[0];
        self.state[3] ^= self.state[1];
        self.state[1] ^= self.state[2];
        self.state[0] ^= self.state[3];
        self.state[2] ^= shifted;
        self.state[3] = self.state[3].rotate_left(45);
        result
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below zero");
        // The high half of the product; its bias is below 2^-32 for every bound used here.
        let product = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the high half of a 128-bit product has 64 bits")
    }

    /// A number of a range, which must not be empty.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// An index of a slice of that length, which must not be zero.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("an index below a usize is a usize")
    }

    /// True that often in a thousand draws.
    pub fn permille(&mut self, often: u32) -> bool {
        self.below(1000) < u64::from(often)
    }

    /// One of a slice, which must not be empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// A random version 4 uuid, which is never nil.
    pub fn uuid(&mut self) -> Uuid {
        let bits = u128::from(self.bits()) << 64 | u128::from(self.bits());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        let mut rng = Rng::new(42);
        // Computed once by this code; a change here changes what every recorded seed means.
        assert_eq!(
            [rng.bits(), rng.bits(), rng.bits()],
            [1546998764402558742, 6990951692964543102, 12544586762248559009]
        );
    }

    #[test]
    fn a_fork_does_not_depend_on_earlier_draws_and_differs_by_name() {
        let mut drawn = Rng::new(7);
        drawn.bits();
        assert_eq!(drawn.fork("disk 1").bits(), Rng::new(7).fork("disk 1").bits());
        assert_ne!(drawn.fork("disk 1").bits(), drawn.fork("disk 2").bits());
        assert_ne!(Rng::new(7).fork("disk 1").bits(), Rng::new(8).fork("disk 1").bits());
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut rng = Rng::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| rng.range(3..6)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&5)));
        let often = (0..10_000).filter(|_| rng.permille(250)).count();
        assert!((2200..2800).contains(&often), "{often} of 10000");
    }
}
