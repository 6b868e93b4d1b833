//! Another set of voters, while everything else goes wrong: controllers are given a vote and lose it again.
//!
//! Whoever is active is asked, as an administrator does, and nobody waits for the answer: what came of it shows in the
//! voters that the next fault finds. That there is one leader a term and that what was committed stays so is for the
//! same checkers as ever.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_core::controller::Operation;
use ottla_core::controller::operation::{VoterChange, VoterKey};
use ottla_core::ids::{DirectoryId, NodeId};
use ottla_core::metadata::image::Voter;

use super::Simulation;
use super::node::{Node, controller_endpoint};
use crate::checkers::Violation;
use crate::coverage::Happening;

/// How long a controller may take to have the log.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// No process has this life: the answer goes nowhere.
const NOBODYS_LIFE: u64 = u64::MAX;

impl Simulation {
    /// Has a voter vote no more, or a controller that does not vote do so.
    pub(super) fn change_voters(&mut self, id: NodeId) -> Result<(), Violation> {
        let active = self.nodes.values().find_map(|node| {
            let voters = node.process.as_ref()?.active_voters()?;
            Some((node.identity.node_id, voters))
        });
        let (Some((active, voters)), true) = (active, self.nodes[&id].identity.is_controller) else {
            return Ok(());
        };
        let directory_id = self.nodes[&id].identity.directory_id;
        let change = match voters.get(&id) {
            Some(directory_id) => {
                self.checks.coverage.note(Happening::VoterRemoved);
                VoterChange::Remove(VoterKey { node_id: id, directory_id: *directory_id })
            }
            None => {
                self.checks.coverage.note(Happening::VoterAdded);
                let endpoints = vec![controller_endpoint(id)];
                VoterChange::Add { voter: Voter { node_id: id, directory_id, endpoints }, wait_max: WAIT_MAX }
            }
        };
        self.trace.line(self.events.now(), format_args!("{active} is asked for {change:?}"));
        let operation = Operation::ChangeVoters(change);
        self.step(active, |process, now| process.rpc(now, active, NOBODYS_LIFE, 0, operation))
    }

    /// Nodes whose volume may be lost now: while every earlier loss has been made good, no change of the voters is on
    /// its way, and every controller has that on its disk, so that a majority of the voters always holds what was
    /// promised; and only where another replica in sync holds what was acknowledged. Brokers that are nothing else lose
    /// theirs where controllers have no replicas to lose.
    pub(super) fn expendable(&self) -> Vec<NodeId> {
        let controllers = || self.nodes.values().filter(|node| node.identity.is_controller);
        let is: BTreeMap<NodeId, DirectoryId> =
            controllers().map(|node| (node.identity.node_id, node.identity.directory_id)).collect();
        let voters = match self.options.faults.membership {
            false => is.clone(),
            true => match self.settled_voters() {
                Some(voters) => voters,
                None => return Vec::new(),
            },
        };
        let whole = voters.iter().all(|(id, directory)| is.get(id) == Some(directory));
        let knows = |node: &Node| node.process.as_ref().is_some_and(|process| process.has_voters(&voters));
        if !whole || !controllers().all(knows) || !self.all_know_the_newest_metadata() {
            return Vec::new();
        }
        // Of one or two voters each is needed.
        let spares_a_voter = voters.len() >= 3;
        let expendable = is.into_keys().filter(|id| spares_a_voter || !voters.contains_key(id));
        let brokers = self.nodes.values().filter(|_| self.options.controllers_alone);
        let brokers = brokers.filter(|node| node.identity.is_broker).map(|node| node.identity.node_id);
        expendable.chain(brokers).filter(|id| self.checks.committed.spares(*id)).collect()
    }

    /// The voters, if no log holds anything that is not committed and nobody waits for others.
    fn settled_voters(&self) -> Option<BTreeMap<NodeId, DirectoryId>> {
        let controllers = self.nodes.values().filter(|node| node.identity.is_controller);
        let mut settled = controllers.map(|node| node.process.as_ref().is_some_and(|p| p.is_settled()));
        if !settled.all(|settled| settled) {
            return None;
        }
        self.nodes.values().find_map(|node| node.process.as_ref()?.active_voters())
    }
}
