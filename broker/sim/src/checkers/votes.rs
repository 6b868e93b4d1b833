//! One vote per voter and term (Raft, section 5.2), where a voter is a directory (KIP-853).
//!
//! A vote counts from the moment its message is handed to the network, whether or not it arrives.

use std::collections::{BTreeMap, BTreeSet};

use ottla_core::ids::{DirectoryId, Term};

use super::{Rule, Violation};

/// Every vote ever cast.
#[derive(Debug, Default)]
pub struct Votes {
    cast: BTreeMap<(DirectoryId, Term), DirectoryId>,
    wiped: BTreeSet<DirectoryId>,
}

impl Votes {
    /// A voter told a candidate (or, asking for votes, everybody) that it votes for it in a term.
    pub fn voted(&mut self, voter: DirectoryId, term: Term, candidate: DirectoryId) -> Result<(), Violation> {
        if self.wiped.contains(&voter) {
            let text = format!("{voter} was wiped and votes for {candidate} in term {term}");
            return Err(Violation::new(Rule::OneVote, text));
        }
        let first = *self.cast.entry((voter, term)).or_insert(candidate);
        if first == candidate {
            return Ok(());
        }
        let text = format!("{voter} votes for {candidate} in term {term} and voted for {first} before");
        Err(Violation::new(Rule::OneVote, text))
    }

    /// A directory was lost for good: nobody may vote as it again.
    pub fn wiped(&mut self, directory: DirectoryId) {
        self.wiped.insert(directory);
    }

    /// How many votes were cast.
    pub fn cast(&self) -> usize {
        self.cast.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn directory(n: u128) -> DirectoryId {
        DirectoryId(Uuid::from_u128(n))
    }

    #[test]
    fn two_votes_in_one_term_are_seen_and_a_repeated_one_is_not() {
        let mut votes = Votes::default();
        votes.voted(directory(1), Term(4), directory(2)).unwrap();
        votes.voted(directory(1), Term(4), directory(2)).unwrap();
        votes.voted(directory(1), Term(5), directory(3)).unwrap();
        assert_eq!(votes.voted(directory(1), Term(4), directory(3)).unwrap_err().rule, Rule::OneVote);
    }

    #[test]
    fn a_wiped_directory_may_not_vote_at_all() {
        let mut votes = Votes::default();
        votes.wiped(directory(1));
        assert!(votes.voted(directory(1), Term(9), directory(1)).is_err());
        votes.voted(directory(2), Term(9), directory(2)).unwrap();
    }
}
