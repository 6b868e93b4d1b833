//! Frames that are wrong in ways that a seed decides.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::step::say;

use super::requests::Real;

/// A stream of numbers that one seed repeats (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From `OTTLA_SEED`, else from the clock; says which.
    pub(crate) fn seeded() -> Self {
        let given = env::var("OTTLA_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let seed = given.unwrap_or_else(clock);
        say(&format!("seed {seed}; OTTLA_SEED={seed} repeats it"));
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).expect("a length fits");
        usize::try_from(self.number() % limit).expect("it is below a length")
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.number() & 0xff).expect("one byte")).collect()
    }
}

/// With its length before it.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).expect("a frame's length fits").to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

/// The request, wrong in one of several ways, as it goes over the wire.
pub(crate) fn mutated(real: &Real, random: &mut Random) -> Vec<u8> {
    /// Key, version and correlation id stay, so that the mutation reaches the code of its API.
    const KEPT: usize = 8;
    let mut body = real.frame.clone();
    match random.below(10) {
        0 => {
            body.truncate(KEPT + random.below(body.len() - KEPT));
        }
        1 => {
            let more = random.below(40);
            body.extend(random.bytes(more));
        }
        2 => {
            // A length or a count somewhere in it becomes huge.
            let at = KEPT + random.below(body.len() - KEPT);
            body[at] = [0x7f, 0xff, 0x80][random.below(3)];
        }
        3 => {
            let count = random.below(300);
            body.truncate(KEPT);
            body.extend(random.bytes(count));
        }
        4 => {
            let at = KEPT + random.below(body.len() - KEPT);
            body.remove(at);
        }
        _ => {
            for _ in 0..=random.below(8) {
                let at = KEPT + random.below(body.len() - KEPT);
                body[at] ^= 1 << random.below(8);
            }
        }
    }
    framed(&body)
}

/// Any key, any version, any bytes.
pub(crate) fn nonsense(random: &mut Random) -> Vec<u8> {
    const PRIVATE: usize = 10_000;
    let key = if random.below(3) == 0 { PRIVATE + random.below(8) } else { random.below(100) };
    let mut body = u16::try_from(key).expect("a key fits").to_be_bytes().to_vec();
    body.extend(u16::try_from(random.below(20)).expect("a version fits").to_be_bytes());
    let count = random.below(400);
    body.extend(random.bytes(count));
    framed(&body)
}
