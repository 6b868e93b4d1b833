//! Voters that an administrator adds, removes and moves (KIP-853), one change at a time.
//!
//! Whoever is to vote follows the metadata log first: a controller that runs, formatted without first voters, is made
//! an observer by itself. A request waits here until the change can be proposed, then until it is committed, and no
//! longer than it says. A voter that is removed goes on as an observer, so that it hears of it. Only `decide` judges,
//! and it changes nothing.

use super::ControllerNode;
use crate::controller::error::OperationError;
use crate::controller::operation::{Reply, Ticket, VoterChange, VoterKey};
use crate::controller::quorum::{LEARNER_LAG_MAX, heard, within_limit};
use crate::ids::MetadataOffset;
use crate::metadata::image::Voter;
use crate::metadata::record::Voters;
use crate::quorum::identity::check_voters;
use crate::quorum::machine::{MemberProgress, SIGN_OF_LIFE};
use crate::quorum::{Quorum, RaftId};
use crate::time::Monotonic;

/// A change on its way.
#[derive(Debug)]
pub(super) struct PendingChange {
    ticket: Ticket,
    change: VoterChange,
    asked: Monotonic,
    /// The first read that all were asked since: who answers it, or a later one, was alive then.
    read: Option<u64>,
    ends: Monotonic,
    /// Where it is in the log, once it is.
    proposed: Option<MetadataOffset>,
}

/// What is to be done about a change now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    /// These are to be the members.
    Propose(Voters),
    /// Nothing: they are it.
    Nothing,
    /// It cannot be made yet, for this reason.
    Wait(String),
    /// Another voter must lead first.
    HandOver,
}

impl ControllerNode {
    pub(super) fn change_voters(
        &mut self,
        ticket: Ticket,
        change: VoterChange,
    ) -> Result<(), OperationError> {
        if !self.controller.is_active() {
            return Err(self.not_controller());
        }
        if self.voter_change.is_some() {
            let text = "another change of the voters is under way: ask again when it is done";
            return Err(OperationError::RequestTimedOut(text.to_owned()));
        }
        let ends = self.now.plus(change.wait_max());
        let asked = self.now;
        let pending = PendingChange { ticket, change, asked, read: None, ends, proposed: None };
        self.voter_change = Some(pending);
        self.ask_voters();
        self.go_on_with_voters();
        Ok(())
    }

    /// Asks the others whether they are alive, where the change takes a voter away; again at each tick, as messages are lost.
    pub(super) fn ask_voters(&mut self) {
        let Some(pending) = &mut self.voter_change else { return };
        let undecided = pending.proposed.is_none();
        if undecided
            && matches!(pending.change, VoterChange::Remove(_))
            && self.quorum.read_index(self.next_read).is_ok()
        {
            pending.read.get_or_insert(self.next_read);
            self.next_read += 1;
        }
    }

    /// Takes the change that is under way as far as it goes now.
    pub(super) fn go_on_with_voters(&mut self) {
        let Some(pending) = self.voter_change.take() else { return };
        match self.next_of(&pending) {
            Ok(Some(proposed)) => {
                self.voter_change = Some(PendingChange { proposed: Some(proposed), ..pending });
            }
            Ok(None) => self.reply(pending.ticket, Reply::ChangeVoters),
            Err(Some(error)) => self.refuse(pending.ticket, error),
            Err(None) => self.voter_change = Some(pending),
        }
    }

    /// Where the change is in the log, nothing if it is done, the error that ends it, or no error if it waits.
    fn next_of(&mut self, pending: &PendingChange) -> Result<Option<MetadataOffset>, Option<OperationError>> {
        let over = pending.ends <= self.now;
        let timed_out = |text: &str| over.then(|| OperationError::RequestTimedOut(text.to_owned()));
        if let Some(offset) = pending.proposed {
            if self.image.offset >= offset {
                return Ok(None);
            }
            return Err(timed_out(
                "the change of the voters was not committed in time; it may still happen: describe the quorum",
            ));
        }
        let patient = self.now.since(pending.asked) < SIGN_OF_LIFE;
        match decide(&self.quorum, &pending.change, (pending.read, patient)).map_err(Some)? {
            Decision::Nothing => Ok(None),
            Decision::Wait(why) => Err(timed_out(&why)),
            Decision::HandOver => {
                self.quorum.resign();
                Err(Some(OperationError::NotController { leader: None }))
            }
            Decision::Propose(table) => self.propose_voters(table).map(Some).map_err(|_| {
                timed_out("an earlier change of the voters was not committed in time: ask again")
            }),
        }
    }

    /// Whether somebody waits for another set of voters.
    pub fn changes_voters(&self) -> bool {
        self.voter_change.is_some()
    }

    pub(super) fn refuse_voter_change(&mut self) {
        if let Some(pending) = self.voter_change.take() {
            self.refuse(pending.ticket, OperationError::NotController { leader: None });
        }
    }
}

/// `read`: see [`PendingChange::read`]. `patient`: whether who does not answer it is waited for.
fn decide(
    quorum: &Quorum,
    change: &VoterChange,
    (read, patient): (Option<u64>, bool),
) -> Result<Decision, OperationError> {
    let next = match change {
        VoterChange::Add { voter, .. } => add(quorum, voter)?,
        VoterChange::Remove(key) => remove(quorum, *key, (read, patient))?,
        VoterChange::Update(voter) => update(quorum, voter)?,
    };
    if let Decision::Propose(table) = &next {
        check_voters(table).map_err(|error| OperationError::InvalidRequest(error.to_string()))?;
    }
    Ok(next)
}

fn add(quorum: &Quorum, voter: &Voter) -> Result<Decision, OperationError> {
    let mut table = quorum.voters().clone();
    let (id, directory) = (voter.node_id, voter.directory_id);
    if table.voters.iter().any(|known| known.node_id == id) {
        let text = format!("controller {id} is a voter already; {}", listed(&table));
        return Err(OperationError::DuplicateVoter(text));
    }
    within_limit(&table)?;
    RaftId::of(directory).map_err(|error| OperationError::InvalidRequest(error.to_string()))?;
    let members = quorum.progress();
    let learner = members.iter().find(|member| !member.votes && member.voter.directory_id == directory);
    let Some(learner) = learner.filter(|learner| learner.voter.node_id == id) else {
        return Ok(Decision::Wait(format!(
            "no controller {id} with directory {directory} follows the metadata log: start it, formatted with \
             --no-initial-controllers, with voters among its controller.quorum.bootstrap.servers"
        )));
    };
    if !has_the_log(quorum, learner) {
        return Ok(Decision::Wait(format!(
            "controller {id} does not have the whole metadata log yet: it has entry {} of {}",
            learner.log_end,
            quorum.last()
        )));
    }
    table.learners.retain(|other| other.directory_id != directory);
    table.observers.retain(|other| *other != id);
    table.voters.push(voter.clone());
    table.voters.sort_by_key(|voter| voter.node_id);
    Ok(Decision::Propose(table))
}

fn has_the_log(quorum: &Quorum, learner: &MemberProgress) -> bool {
    learner.log_end.0 > 0
        && learner.log_end.0 + LEARNER_LAG_MAX >= quorum.last().0
        && heard(quorum, learner.voter.directory_id)
}

fn remove(
    quorum: &Quorum,
    key: VoterKey,
    (read, patient): (Option<u64>, bool),
) -> Result<Decision, OperationError> {
    let mut table = quorum.voters().clone();
    let VoterKey { node_id, directory_id } = key;
    let is_it = |voter: &Voter| voter.node_id == node_id && voter.directory_id == directory_id;
    let Some(place) = table.voters.iter().position(is_it) else {
        return Err(OperationError::VoterNotFound(format!(
            "controller {node_id} with directory {directory_id} is no voter; {}",
            listed(&table)
        )));
    };
    let voter = table.voters.remove(place);
    if table.voters.is_empty() {
        return Err(OperationError::InvalidRequest(format!(
            "controller {node_id} is the only voter: without it the metadata would be lost; add another one first"
        )));
    }
    let rest = table.voters.iter();
    let silent: Vec<String> = rest
        .filter(|voter| {
            let id = RaftId::of(voter.directory_id).ok();
            // A sign of life from before says nothing of who died just now.
            !id.zip(read).is_some_and(|(id, read)| quorum.answered(id, read))
        })
        .map(|voter| voter.node_id.to_string())
        .collect();
    let (alive, majority) = (table.voters.len() - silent.len(), table.voters.len() / 2 + 1);
    if alive < majority {
        let silent = silent.join(", ");
        if patient {
            return Ok(Decision::Wait(format!("controllers {silent} did not answer")));
        }
        return Err(OperationError::InvalidRequest(format!(
            "without controller {node_id} the quorum would be lost: {majority} of the {} other voters are needed, and \
             these do not answer: {silent}; bring them back or remove them first",
            table.voters.len(),
        )));
    }
    if quorum.leader().is_some_and(|leader| leader.directory_id == directory_id) {
        return Ok(Decision::HandOver);
    }
    // It must hear that it does not vote any more. Who does not hear anything is told when it comes back.
    let replaced = table.learners.iter().any(|learner| learner.node_id == node_id);
    if !replaced && heard(quorum, directory_id) {
        table.learners.push(voter);
    }
    // Nor does one that was about to take its place.
    if table.learners.iter().any(|learner| learner.node_id == node_id) {
        table.observers.push(node_id);
    }
    Ok(Decision::Propose(table))
}

fn update(quorum: &Quorum, voter: &Voter) -> Result<Decision, OperationError> {
    let mut table = quorum.voters().clone();
    let is_it =
        |known: &&mut Voter| known.node_id == voter.node_id && known.directory_id == voter.directory_id;
    let Some(known) = table.voters.iter_mut().find(is_it) else {
        return Err(OperationError::VoterNotFound(format!(
            "controller {} with directory {} is no voter; {}",
            voter.node_id,
            voter.directory_id,
            listed(&table)
        )));
    };
    if known.endpoints == voter.endpoints {
        return Ok(Decision::Nothing);
    }
    known.endpoints.clone_from(&voter.endpoints);
    Ok(Decision::Propose(table))
}

fn listed(table: &Voters) -> String {
    let voters = table.voters.iter().map(|voter| format!("{} ({})", voter.node_id, voter.directory_id));
    format!("the voters are {}", voters.collect::<Vec<_>>().join(", "))
}
