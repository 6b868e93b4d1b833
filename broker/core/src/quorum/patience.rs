//! How long a voter waits for a leader before it stands for election.
//!
//! Two voters that stand at the same moment can split the vote. So no two of a table ever wait equally many
//! ticks: what a voter draws, modulo the number of voters, is its position in the table. And each attempt draws
//! anew, so that two that meet all the same, over a network slower than the difference between them, soon part.

use crate::ids::DirectoryId;
use crate::metadata::record::Voters;

/// The least time-out of an election, and how long a leader may hear of no quorum before it steps down.
pub(super) const ELECTION_TICKS_MIN: usize = 10;

/// By how much time-outs differ, where so many ticks are enough for all voters: twice the least one is the most.
const SPREAD_TICKS: usize = 10;

/// Of how many numbers each voter draws at least. One would be no chance at all.
const CHOICES_MIN: usize = 2;

/// The time-out of the next election.
#[derive(Debug)]
pub(super) struct Patience {
    /// The state of a generator (splitmix64; Steele, Lea and Flood, 2014): a core draws from a seed only.
    state: u64,
    position: usize,
    voters: usize,
    ticks: usize,
}

impl Patience {
    /// That of one voter of a table. What it draws follows from the seed.
    pub(super) fn new(seed: u64, me: DirectoryId, table: &Voters) -> Self {
        let mut patience = Self { state: seed, position: 0, voters: 1, ticks: 0 };
        patience.follow(me, table);
        patience
    }

    /// Ticks without a leader before this voter stands.
    pub(super) fn ticks(&self) -> usize {
        self.ticks
    }

    /// Takes another voter table. Who is not in it does not stand.
    pub(super) fn follow(&mut self, me: DirectoryId, table: &Voters) {
        self.position = table.voters.iter().position(|voter| voter.directory_id == me).unwrap_or(0);
        self.voters = table.voters.len().max(1);
        self.draw();
    }

    /// Draws for the next attempt.
    pub(super) fn draw(&mut self) {
        let choices = (SPREAD_TICKS / self.voters).max(CHOICES_MIN);
        let choice = usize::try_from(self.bits() % choices as u64).expect("it is below a usize");
        self.ticks = ELECTION_TICKS_MIN + self.position + self.voters * choice;
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;
    use crate::ids::NodeId;
    use crate::metadata::image::Voter;

    fn table(count: usize) -> Voters {
        let voter = |number: usize| Voter {
            node_id: NodeId(i32::try_from(number * 10).unwrap()),
            directory_id: directory(number),
            endpoints: Vec::new(),
        };
        Voters { voters: (0..count).map(voter).collect(), ..Voters::default() }
    }

    fn directory(number: usize) -> DirectoryId {
        DirectoryId(Uuid::from_u64_pair(number as u64 + 1, 0))
    }

    fn drawn(mut patience: Patience) -> BTreeSet<usize> {
        (0..100)
            .map(|_| {
                patience.draw();
                patience.ticks()
            })
            .collect()
    }

    #[test]
    fn no_two_voters_ever_wait_equally_long() {
        for voters in [1, 2, 3, 4, 5, 7, 9] {
            let of = |number| drawn(Patience::new(7, directory(number), &table(voters)));
            let all: Vec<usize> = (0..voters).flat_map(of).collect();
            let different: BTreeSet<usize> = all.iter().copied().collect();
            assert_eq!(all.len(), different.len(), "{voters} voters");
            assert_eq!(different.first(), Some(&ELECTION_TICKS_MIN));
        }
    }

    #[test]
    fn each_attempt_draws_anew_up_to_twice_the_least() {
        for voters in 1..=5 {
            for number in 0..voters {
                let ticks = drawn(Patience::new(7, directory(number), &table(voters)));
                assert!(ticks.len() >= CHOICES_MIN, "{ticks:?}");
                assert!(ticks.iter().all(|ticks| (ELECTION_TICKS_MIN..20).contains(ticks)), "{ticks:?}");
            }
        }
    }

    #[test]
    fn another_table_is_another_position() {
        let mut patience = Patience::new(7, directory(2), &table(3));
        let mut fewer = table(3);
        fewer.voters.remove(0);
        patience.follow(directory(2), &fewer);
        assert!(drawn(patience).iter().all(|ticks| (ticks - ELECTION_TICKS_MIN) % 2 == 1));
    }

    #[test]
    fn a_seed_always_draws_the_same() {
        let draws = |seed| {
            let mut patience = Patience::new(seed, directory(0), &table(1));
            std::array::from_fn::<usize, 20, _>(|_| {
                patience.draw();
                patience.ticks()
            })
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}
