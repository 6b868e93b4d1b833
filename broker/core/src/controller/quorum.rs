//! Keeping the set of voters whole, and describing it.
//!
//! A controller whose volume was lost comes back with the same node id and a new directory id, and asks to join
//! (decision 3). Step by step, each a committed entry before the next: it becomes a learner; when it has the
//! log, the old voter is removed; then the learner votes. Removing first keeps one voter for a node id, and in a
//! group where the old voter is gone it needs no more votes than before.
//!
//! A node id that is not among the voters is never given a vote here: how many controllers vote is for an operator to
//! say (`node/voters.rs`). It becomes a learner that stays one, an observer, and is forgotten when it is silent for long.

use std::time::Duration;

use super::error::OperationError;
use super::operation::{QuorumDescription, QuorumReplica};
use crate::ids::{DirectoryId, MetadataOffset, NodeId};
use crate::metadata::image::{Image, Voter};
use crate::metadata::record::Voters;
use crate::quorum::identity::check_voters;
use crate::quorum::machine::MemberProgress;
use crate::quorum::{Peer, Quorum, RaftId};
use crate::time::Monotonic;

/// A learner may vote when it lacks no more than so many entries: the rest comes within a round trip.
pub(super) const LEARNER_LAG_MAX: u64 = 16;

/// Members in all: five voters, as many in waiting, and some to spare. The leader sends to each of them.
const MEMBERS_MAX: usize = 16;

/// An observer that was silent for so long is none any more, as in Kafka.
const OBSERVER_SILENCE_MAX: Duration = Duration::from_secs(300);

/// The next step towards a whole set of voters, if there is one to take now.
pub(super) fn next_voters(quorum: &Quorum, now: Monotonic, active_since: Monotonic) -> Option<Voters> {
    if !quorum.can_change_voters() {
        return None;
    }
    let members = quorum.progress();
    let next = promote(quorum, &members)
        .or_else(|| admit(quorum))
        .or_else(|| forget(quorum, &members, now, active_since))
        .or_else(|| relocate(quorum))?;
    check_voters(&next).is_ok().then_some(next)
}

/// Refuses one voter more than there may be members.
pub(super) fn within_limit(table: &Voters) -> Result<(), OperationError> {
    if table.voters.len() < MEMBERS_MAX {
        return Ok(());
    }
    Err(OperationError::InvalidRequest(format!("a quorum has {MEMBERS_MAX} voters at most")))
}

fn promote(quorum: &Quorum, members: &[MemberProgress]) -> Option<Voters> {
    let ready = |member: &&MemberProgress| {
        !member.votes
            && !quorum.voters().observers.contains(&member.voter.node_id)
            && member.log_end.0 > 0
            && member.log_end.0 + LEARNER_LAG_MAX >= quorum.last().0
            && heard(quorum, member.voter.directory_id)
    };
    let learner = Voter::clone(&members.iter().find(ready)?.voter);
    let mut table = quorum.voters().clone();
    if let Some(old) = table.voters.iter().position(|voter| voter.node_id == learner.node_id) {
        let old = table.voters.remove(old);
        if heard(quorum, old.directory_id) {
            return None;
        }
        // The others must be able to go on without the one that is removed, and without the learner.
        let alive = table.voters.iter().filter(|voter| heard(quorum, voter.directory_id)).count();
        return (alive > table.voters.len() / 2).then_some(table);
    }
    table.learners.retain(|other| other.directory_id != learner.directory_id);
    table.voters.push(learner);
    table.voters.sort_by_key(|voter| voter.node_id);
    Some(table)
}

fn admit(quorum: &Quorum) -> Option<Voters> {
    let mut table = quorum.voters().clone();
    for peer in quorum.joins() {
        let known = table.voters.iter().chain(&table.learners).any(|m| m.directory_id == peer.directory_id);
        let old = table.voters.iter().find(|voter| voter.node_id == peer.node_id);
        // Two live processes with one node id: whoever is a voter stays it.
        if known || old.is_some_and(|old| heard(quorum, old.directory_id)) {
            continue;
        }
        if let Some(stale) = table.learners.iter().position(|learner| learner.node_id == peer.node_id) {
            // And so does whoever follows.
            if old.is_none() && heard(quorum, table.learners[stale].directory_id) {
                continue;
            }
            take_learner(&mut table, stale);
            return Some(table);
        }
        if old.is_none() && table.voters.len() + table.learners.len() >= MEMBERS_MAX {
            continue;
        }
        if old.is_none() {
            table.observers.push(peer.node_id);
        }
        let model = old.or_else(|| table.voters.first())?;
        table.learners.push(learner(peer, model));
        return Some(table);
    }
    None
}

fn take_learner(table: &mut Voters, place: usize) {
    let gone = table.learners.remove(place);
    table.observers.retain(|id| *id != gone.node_id);
}

/// An observer that nobody has heard of for long.
fn forget(
    quorum: &Quorum,
    members: &[MemberProgress],
    now: Monotonic,
    active_since: Monotonic,
) -> Option<Voters> {
    let mut table = quorum.voters().clone();
    let silent = |member: &&MemberProgress| {
        // What this node heard before it led, if it led before, says nothing: observers talk to whoever leads.
        let heard = member.last_contact.map_or(active_since, |heard| heard.max(active_since));
        !member.votes
            && table.observers.contains(&member.voter.node_id)
            && now.since(heard) >= OBSERVER_SILENCE_MAX
    };
    let gone = members.iter().find(silent)?.voter.directory_id;
    let place = table.learners.iter().position(|learner| learner.directory_id == gone)?;
    take_learner(&mut table, place);
    Some(table)
}

/// A member that was restarted with another address.
fn relocate(quorum: &Quorum) -> Option<Voters> {
    let table = quorum.members_as_heard();
    (table != *quorum.voters()).then_some(table)
}

/// A learner with a listener like that of a voter, at its own address.
fn learner(peer: &Peer, model: &Voter) -> Voter {
    let mut endpoints = model.endpoints.clone();
    endpoints.truncate(1);
    if let Some(endpoint) = endpoints.first_mut() {
        endpoint.host.clone_from(&peer.address.host);
        endpoint.port = peer.address.port;
    }
    Voter { node_id: peer.node_id, directory_id: peer.directory_id, endpoints }
}

pub(super) fn heard(quorum: &Quorum, directory: DirectoryId) -> bool {
    RaftId::of(directory).is_ok_and(|id| quorum.heard_lately(id))
}

/// What the active controller knows of a broker that fetches metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Observer {
    pub(super) log_end: MetadataOffset,
    pub(super) last_contact: Monotonic,
    pub(super) last_caught_up: Option<Monotonic>,
}

/// DescribeQuorum. A broker keeps no metadata log in a directory of its own; it is known by the first of those
/// that it registered with.
pub(super) fn describe_quorum<'a>(
    me: NodeId,
    quorum: &Quorum,
    image: &Image,
    observers: impl Iterator<Item = (&'a NodeId, &'a Observer)>,
) -> QuorumDescription {
    let members = quorum.progress();
    let replica = |member: &MemberProgress| QuorumReplica {
        node_id: member.voter.node_id,
        directory_id: member.voter.directory_id,
        log_end: member.log_end,
        last_contact: member.last_contact,
        last_caught_up: member.last_caught_up,
    };
    let voters: Vec<QuorumReplica> = members.iter().filter(|member| member.votes).map(replica).collect();
    let mut others: Vec<QuorumReplica> = members.iter().filter(|member| !member.votes).map(replica).collect();
    // A combined node fetches as a broker and votes as a controller; it is shown as the voter that it is.
    let directory = |id: &NodeId| image.brokers.get(id)?.directories.first().copied();
    let known = |id: NodeId| members.iter().any(|member| member.voter.node_id == id);
    others.extend(observers.filter(|(id, _)| !known(**id)).map(|(id, observer)| QuorumReplica {
        node_id: *id,
        directory_id: directory(id).unwrap_or_default(),
        log_end: observer.log_end,
        last_contact: Some(observer.last_contact),
        last_caught_up: observer.last_caught_up,
    }));
    QuorumDescription {
        leader: me,
        term: quorum.term(),
        committed: quorum.committed(),
        voters,
        observers: others,
        nodes: members.iter().map(|member| Voter::clone(&member.voter)).collect(),
    }
}
