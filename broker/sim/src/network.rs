//! A network that delays, loses, repeats, reorders and cuts.
//!
//! Owns: what becomes of a message between two peers. A message is a datagram here: what a broken
//! connection means to its two ends is decided by those who send (a request without a reply times out).

use std::collections::BTreeSet;
use std::fmt;

use ottla_core::ids::NodeId;

use crate::coverage::{Coverage, Happening};
use crate::rng::Rng;

/// An end of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// A node of the cluster.
    Node(NodeId),
    /// A client outside of it.
    Client(u32),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "node {id}"),
            Self::Client(id) => write!(f, "client {id}"),
        }
    }
}

/// How the network behaves now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// The least delay of a message.
    pub delay_micros_min: u64,
    /// The most, for all but slow messages.
    pub delay_micros_max: u64,
    /// How often in a thousand a message is slow.
    pub slow_permille: u32,
    /// The most a slow message is delayed.
    pub slow_micros_max: u64,
    /// How often in a thousand a message is lost.
    pub loss_permille: u32,
    /// How often in a thousand a message comes twice.
    pub duplicate_permille: u32,
}

impl Conditions {
    /// A data centre on a good day: nothing lost, nothing repeated.
    pub const CALM: Self = Self {
        delay_micros_min: 50,
        delay_micros_max: 500,
        slow_permille: 0,
        slow_micros_max: 500,
        loss_permille: 0,
        duplicate_permille: 0,
    };
}

/// See the module's text.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    conditions: Conditions,
    /// Directions in which nothing passes.
    cut: BTreeSet<(Peer, Peer)>,
    coverage: Coverage,
}

impl Network {
    /// A calm, whole network.
    pub fn new(rng: Rng) -> Self {
        Self { rng, conditions: Conditions::CALM, cut: BTreeSet::new(), coverage: Coverage::default() }
    }

    /// Sets how it behaves from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: Peer, to: Peer) {
        self.cut.insert((from, to));
    }

    /// Mends every cut.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// What it did to messages so far.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The delays after which copies of a message arrive: none if it is lost.
    pub fn send(&mut self, from: Peer, to: Peer) -> Vec<u64> {
        let conditions = self.conditions;
        if from == to {
            return vec![1];
        }
        if self.cut.contains(&(from, to)) {
            return Vec::new();
        }
        if self.rng.permille(conditions.loss_permille) {
            self.coverage.note(Happening::MessageLost);
            return Vec::new();
        }
        let copies = if self.rng.permille(conditions.duplicate_permille) { 2 } else { 1 };
        self.coverage.add(Happening::MessageRepeated, copies - 1);
        (0..copies)
            .map(|_| {
                let slow = self.rng.permille(conditions.slow_permille);
                self.coverage.add(Happening::MessageSlow, u64::from(slow));
                let max = if slow { conditions.slow_micros_max } else { conditions.delay_micros_max };
                self.rng.range(conditions.delay_micros_min..max + 1)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Peer = Peer::Node(NodeId(1));
    const B: Peer = Peer::Node(NodeId(2));

    #[test]
    fn a_cut_has_a_direction_and_heals() {
        let mut network = Network::new(Rng::new(1));
        network.cut(A, B);
        assert!(network.send(A, B).is_empty());
        assert_eq!(network.send(B, A).len(), 1);
        network.heal();
        assert_eq!(network.send(A, B).len(), 1);
    }

    #[test]
    fn bad_conditions_lose_repeat_and_reorder() {
        let mut network = Network::new(Rng::new(1));
        network.set_conditions(Conditions {
            loss_permille: 200,
            duplicate_permille: 200,
            ..Conditions::CALM
        });
        let sent: Vec<Vec<u64>> = (0..1000).map(|_| network.send(A, B)).collect();
        let copies = |n| sent.iter().filter(|delays| delays.len() == n).count();
        assert!(copies(0) > 100 && copies(1) > 400 && copies(2) > 100);
        assert!(sent.windows(2).any(|pair| pair[0].first() > pair[1].first()));
    }
}
