//! Keeping the set of voters whole, and describing it.
//!
//! A controller whose volume was lost comes back with the same node id and a new directory id, and asks to join
//! (decision 3). Step by step, each a committed entry before the next: it becomes a learner; when it has the
//! log, the old voter is removed; then the learner votes. Removing first keeps one voter for a node id, and in a
//! group where the old voter is gone it needs no more votes than before. A node id that is not among the voters
//! is never added here: how many controllers there are is for an operator to say.

use super::operation::{QuorumDescription, QuorumReplica};
use crate::ids::{DirectoryId, MetadataOffset, NodeId};
use crate::metadata::image::{Image, Voter};
use crate::metadata::record::Voters;
use crate::quorum::identity::check_voters;
use crate::quorum::machine::MemberProgress;
use crate::quorum::{Peer, Quorum, RaftId};
use crate::time::Monotonic;

/// A learner may vote when it lacks no more than so many entries: the rest comes within a round trip.
const LEARNER_LAG_MAX: u64 = 16;

/// The next step towards a whole set of voters, if there is one to take now.
pub(super) fn next_voters(quorum: &Quorum) -> Option<Voters> {
    if !quorum.can_change_voters() {
        return None;
    }
    let members = quorum.progress();
    let next = promote(quorum, &members).or_else(|| admit(quorum)).or_else(|| relocate(quorum))?;
    check_voters(&next).is_ok().then_some(next)
}

fn promote(quorum: &Quorum, members: &[MemberProgress]) -> Option<Voters> {
    let ready = |member: &&MemberProgress| {
        !member.votes
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
        let Some(old) = table.voters.iter().find(|voter| voter.node_id == peer.node_id) else { continue };
        // Two live processes with one node id: whoever is a voter stays it.
        if known || heard(quorum, old.directory_id) {
            continue;
        }
        if let Some(stale) = table.learners.iter().position(|learner| learner.node_id == peer.node_id) {
            table.learners.remove(stale);
            return Some(table);
        }
        table.learners.push(learner(peer, old));
        return Some(table);
    }
    None
}

/// A member that was restarted with another address.
fn relocate(quorum: &Quorum) -> Option<Voters> {
    let table = quorum.members_as_heard();
    (table != *quorum.voters()).then_some(table)
}

fn learner(peer: &Peer, old: &Voter) -> Voter {
    let mut endpoints = old.endpoints.clone();
    if let Some(endpoint) = endpoints.first_mut() {
        endpoint.host.clone_from(&peer.address.host);
        endpoint.port = peer.address.port;
    }
    Voter { node_id: peer.node_id, directory_id: peer.directory_id, endpoints }
}

fn heard(quorum: &Quorum, directory: DirectoryId) -> bool {
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
