//! Whether the leader's process has died, which is known sooner than an election's time-out says.
//!
//! A voter that has not heard its leader for two heartbeats probes it: the driver opens a connection. Where that is
//! refused several times in a row no process listens any more, and the voter stands at once. It disturbs nobody: it
//! asks first (pre-vote), and a voter that still hears the leader, or has not been refused itself, says no. So a
//! leader falls early only where a majority finds it dead, and a voter that is merely kept from it by a firewall
//! that refuses is in the same place as one whose messages are lost. Whatever is not a refusal says nothing, as in
//! `controller/failures.rs`; then the time-out decides.

use super::identity::RaftId;
use crate::ids::Term;
use crate::refusals::Refusals;

/// By so many ticks the voters let each other go first: an election takes less than one.
const TURN_TICKS: usize = 2;

/// What a voter sees of its leader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// The leader of this term, if one is known.
    pub(super) leader: Option<RaftId>,
    pub(super) term: Term,
    /// Whether nothing came from it for too long.
    pub(super) silent: bool,
    /// How many voters there are.
    pub(super) voters: usize,
    /// How many of those that are not the leader come before this one.
    pub(super) rank: usize,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// The leader is to be probed, under this number.
    Probe(u64),
    /// It is dead: no promise to it holds any more.
    Wait,
    /// It is dead, and it is this voter's turn to stand.
    Stand,
}

#[derive(Debug)]
struct Suspect {
    leader: RaftId,
    term: Term,
    refusals: Refusals,
    /// Ticks until this voter stands.
    turn: Option<usize>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct LeaderWatch {
    suspect: Option<Suspect>,
    numbers: u64,
}

impl LeaderWatch {
    /// Lets a tick pass.
    pub(super) fn tick(&mut self, sight: Sight) -> Step {
        // A voter that stands follows nobody.
        self.suspect.take_if(|suspect| match sight.leader {
            Some(leader) => leader != suspect.leader || suspect.term != sight.term || !sight.silent,
            None => suspect.term != sight.term,
        });
        if self.suspect.is_none() && sight.silent {
            let new =
                |leader| Suspect { leader, term: sight.term, refusals: Refusals::default(), turn: None };
            self.suspect = sight.leader.map(new);
        }
        let Some(suspect) = &mut self.suspect else { return Step::Nothing };
        if suspect.refusals.are_enough() {
            let turn = suspect.turn.unwrap_or(sight.rank * TURN_TICKS);
            suspect.turn = Some(turn.checked_sub(1).unwrap_or(sight.voters * TURN_TICKS));
            return if turn == 0 { Step::Stand } else { Step::Wait };
        }
        if suspect.refusals.is_asking() {
            return Step::Nothing;
        }
        self.numbers += 1;
        suspect.refusals.ask(self.numbers);
        Step::Probe(self.numbers)
    }

    /// Takes what came of a probe.
    pub(super) fn probed(&mut self, number: u64, refused: bool) {
        if let Some(suspect) = self.suspect.as_mut().filter(|suspect| suspect.refusals.awaits(number)) {
            suspect.refusals.answered(refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: RaftId = RaftId(7);

    fn sight(rank: usize) -> Sight {
        Sight { leader: Some(LEADER), term: Term(3), silent: true, voters: 3, rank }
    }

    /// A watch that knows its leader dead.
    fn refused(rank: usize) -> LeaderWatch {
        let mut watch = LeaderWatch::default();
        for _ in 0..2 {
            let Step::Probe(number) = watch.tick(sight(rank)) else { panic!("no probe") };
            watch.probed(number, true);
        }
        watch
    }

    #[test]
    fn a_leader_that_is_heard_is_not_probed() {
        let mut watch = LeaderWatch::default();
        assert_eq!(watch.tick(Sight { silent: false, ..sight(0) }), Step::Nothing);
        assert_eq!(watch.tick(Sight { leader: None, ..sight(0) }), Step::Nothing);
    }

    #[test]
    fn the_first_voter_stands_at_once_and_the_next_lets_it_go_first() {
        let steps = |rank: usize| -> Vec<Step> {
            let mut watch = refused(rank);
            // It follows nobody once it has stood.
            let standing = Sight { leader: None, ..sight(rank) };
            let first = watch.tick(sight(rank));
            std::iter::once(first).chain((0..8).map(|_| watch.tick(standing))).collect()
        };
        let stands = |rank| -> Vec<usize> {
            let steps = steps(rank);
            (0..steps.len()).filter(|at| steps[*at] == Step::Stand).collect()
        };
        assert_eq!((stands(0), stands(1)), (vec![0, 7], vec![2]));
    }

    #[test]
    fn one_probe_at_a_time_and_one_refusal_is_not_enough() {
        let mut watch = LeaderWatch::default();
        for refuse in [true, false].into_iter().cycle().take(20) {
            let Step::Probe(number) = watch.tick(sight(0)) else { panic!("no probe") };
            assert_eq!(watch.tick(sight(0)), Step::Nothing);
            watch.probed(number + 1, true);
            watch.probed(number, refuse);
        }
    }

    #[test]
    fn a_sign_of_life_or_another_term_ends_it() {
        for other in [
            Sight { silent: false, ..sight(0) },
            Sight { term: Term(4), leader: None, ..sight(0) },
            Sight { term: Term(4), leader: Some(RaftId(8)), silent: false, ..sight(0) },
        ] {
            let mut watch = refused(0);
            assert_eq!(watch.tick(sight(0)), Step::Stand);
            assert_eq!(watch.tick(other), Step::Nothing, "{other:?}");
            assert!(matches!(watch.tick(sight(0)), Step::Probe(_)), "it begins anew");
        }
    }
}
