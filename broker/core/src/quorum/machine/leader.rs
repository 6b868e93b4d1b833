//! When a voter stands without waiting for the time-out of an election.

use super::{ELECTION_TICKS_MIN, Quorum, RaftId};
use crate::quorum::leader_watch::{Sight, Step};
use crate::quorum::machine::QuorumEvent;

impl Quorum {
    /// Takes what came of a probe of the leader: whether the connection was refused.
    pub fn leader_probed(&mut self, number: u64, refused: bool) {
        self.watch.probed(number, refused);
    }

    /// Sees whether the leader is alive, if this node votes and follows.
    pub(super) fn watch_leader(&mut self) {
        if self.leads() || !self.votes() {
            return;
        }
        let leader = Some(RaftId(self.raw.raft.leader_id)).filter(|id| id.0 != raft::INVALID_ID);
        self.followed = leader.or(self.followed);
        let me = self.config.me.directory_id;
        let others = self.table.voters.iter().filter(|voter| RaftId::of(voter.directory_id).ok() != leader);
        let rank = others.take_while(|voter| voter.directory_id != me).count();
        let step = self.watch.tick(Sight {
            leader,
            term: self.term(),
            silent: self.raw.raft.election_elapsed >= 2 * self.config.heartbeat_ticks,
            voters: self.table.voters.len(),
            rank,
        });
        match step {
            Step::Nothing => {}
            Step::Probe(number) => self.probe = self.leader().map(|leader| (number, leader)),
            Step::Wait => self.forget_promise(),
            Step::Stand => {
                let leader = self.leader().map(|leader| leader.node_id);
                self.events.extend(leader.map(|leader| QuorumEvent::LeaderDead { leader }));
                self.forget_promise();
                self.stand();
            }
        }
    }

    /// A leader that votes no more must not go on: the crate leaves that to whoever uses it, and counts on a leader being
    /// one of its members.
    pub(super) fn step_down_if_removed(&mut self) {
        if self.leads() && !self.votes() {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    /// Until the least time-out is over a voter promises its leader to vote for nobody else. Reads do not rest on
    /// that (`ReadOnlyOption::Safe`).
    fn forget_promise(&mut self) {
        let elapsed = &mut self.raw.raft.election_elapsed;
        *elapsed = ELECTION_TICKS_MIN.max(*elapsed);
    }

    /// A quorum of one has nobody to wait for.
    pub(super) fn stand_at_once_if_alone(&mut self) {
        let alone = self.table.voters.len() == 1 && self.votes();
        if alone {
            self.stand();
        }
    }

    /// In a cluster that never had a leader, nobody can be disturbed: the first voter stands every few ticks,
    /// so that a new cluster need not wait out an election time-out.
    pub(super) fn hasten_first_election(&mut self) {
        let never_led = self.raw.raft.leader_id == raft::INVALID_ID && self.last().0 <= 1 && self.votes();
        let first = self.table.voters.first().map(|voter| voter.directory_id);
        if never_led && first == Some(self.config.me.directory_id) && self.ticks.is_multiple_of(3) {
            self.stand();
        }
    }

    fn stand(&mut self) {
        let result = self.raw.campaign();
        debug_assert!(result.is_ok(), "standing for election only fails for what is not a voter");
    }
}
