//! The leader's side: what is committed, and who is in sync (rules 28 to 30, 54 to 56 of the protocol).
//!
//! The ISR is the controller's to change. The leader proposes; until it knows what came of that, whoever it asked to
//! add counts as a member already, and whoever it asked to drop counts still (KIP-497): whichever of the two the
//! controller has written, nothing is committed that a member of the true ISR lacks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::followers::{Follower, FollowerFetch, Peers};
use super::{Partition, PartitionError, Readable, Released};
use crate::ids::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use crate::metadata::image::{self, LeaderRecoveryState};
use crate::planted::{self, Bug};
use crate::time::Monotonic;

/// The pause after a proposal that the controller refused: its view of the brokers may reach this one a little later.
const REFUSED_BACKOFF: Duration = Duration::from_millis(200);

/// The pause where it refused to have another leader: it knows of a reason that does not pass in a moment.
const STAYS_FOR: Duration = Duration::from_secs(5);

/// Another ISR, as a leader asks the controller for it (AlterPartition, key 56).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrProposal {
    /// In this leadership.
    pub leader_epoch: LeaderEpoch,
    /// In the place of what was registered with this epoch.
    pub partition_epoch: PartitionEpoch,
    /// The members, in order of assignment, each with the life in which it fetches, where it has (KIP-903).
    pub isr: Vec<(NodeId, Option<BrokerEpoch>)>,
    /// A leader from outside the ISR has recovered once it leads.
    pub recovery: LeaderRecoveryState,
}

impl IsrProposal {
    /// Whether its leader asks that another leads.
    pub fn makes_way(&self, leader: NodeId) -> bool {
        !self.names(leader)
    }

    fn names(&self, member: NodeId) -> bool {
        self.isr.iter().any(|(id, _)| *id == member)
    }
}

/// What came of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalOutcome {
    /// The controller wrote it, or has newer metadata than the proposal was made from, which will come here, too.
    Superseded,
    /// What is registered stays as it was: it was refused, or there was nothing to change.
    Unchanged,
}

/// What a leader has besides its log.
#[derive(Debug)]
pub(super) struct Leading {
    /// Where its log ended when it became the leader.
    epoch_start: Offset,
    /// Every other replica.
    followers: BTreeMap<NodeId, Follower>,
    /// What was proposed and is not decided yet, as far as is known here.
    pending: Option<IsrProposal>,
    /// Whether it was handed out.
    proposed: bool,
    /// Nothing is proposed before.
    quiet_until: Monotonic,
    /// Nor that another leads.
    stays_until: Monotonic,
}

impl Leading {
    pub(super) fn new(me: NodeId, registration: &image::Partition, log_end: Offset, peers: &Peers) -> Self {
        let mut leading = Self {
            epoch_start: log_end,
            followers: BTreeMap::new(),
            pending: None,
            proposed: false,
            quiet_until: peers.now,
            stays_until: peers.now,
        };
        leading.follow(me, registration, &[], peers);
        leading
    }

    /// Takes over who the replicas are. A change of the registration decides what was proposed before it.
    pub(super) fn follow(
        &mut self,
        me: NodeId,
        registration: &image::Partition,
        isr_before: &[NodeId],
        peers: &Peers,
    ) {
        let is_replica = |id: &NodeId| *id != me && registration.replicas.contains(id);
        self.followers.retain(|id, _| is_replica(id));
        for id in registration.replicas.iter().filter(|id| is_replica(id)) {
            let follower = self.followers.entry(*id).or_default();
            match (isr_before.contains(id), registration.isr.contains(id)) {
                (false, true) => follower.joined(peers.now),
                (true, false) => follower.left(),
                (true, true) | (false, false) => {}
            }
        }
        self.pending = self.pending.take().filter(|pending| {
            pending.partition_epoch == registration.partition_epoch
                && pending.leader_epoch == registration.leader_epoch
        });
    }

    pub(super) fn follower(&self, id: NodeId) -> Option<&Follower> {
        self.followers.get(&id)
    }

    fn is_added(&self, id: NodeId) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.names(id))
    }
}

impl<T> Partition<T> {
    /// May a follower read at `offset`, and how far: up to the end of the log, committed or not.
    pub fn check_replica_fetch(
        &self,
        fetch: &FollowerFetch,
        epoch: Option<LeaderEpoch>,
    ) -> Result<Readable, PartitionError> {
        self.check_leader(epoch)?;
        let unknown = PartitionError::UnknownReplica(fetch.node_id);
        let leading = self.leading.as_ref().ok_or(PartitionError::NotLeader)?;
        let follower = leading.followers.get(&fetch.node_id).ok_or_else(|| unknown.clone())?;
        if follower.is_past(fetch) {
            return Err(unknown);
        }
        self.check_in_log(fetch.fetched_end)?;
        Ok(Readable { end_exclusive: self.positions.log_end, ..self.readable() })
    }

    /// Whether nobody waits for a follower: it lacks committed records, and the high watermark does not wait for it, nor
    /// do producers for one more member of the ISR.
    pub fn leaves_behind(&self, fetch: &FollowerFetch, peers: &Peers) -> bool {
        let Some(leading) = &self.leading else { return false };
        let id = fetch.node_id;
        let Some(follower) = leading.followers.get(&id) else { return false };
        let is_member = self.registration.isr.contains(&id) || leading.is_added(id);
        fetch.fetched_end < self.high_watermark
            && !is_member
            && self.registration.isr.len() >= self.isr_min()
            && !self.is_about_to_join(id, follower, peers)
    }

    /// Whoever is about to join must not be outrun for ever by what only the others have (rule 54).
    fn is_about_to_join(&self, id: NodeId, follower: &Follower, peers: &Peers) -> bool {
        follower.keeps_up(self.positions.log_end, self.durability, peers) && may_join(id, follower, peers)
    }

    /// Whether another replica can lead with all that is committed if this leader goes now: a member of the ISR that the
    /// controller may elect, that fetched lately, and that no proposal under way drops. What is registered alone says too
    /// little: it may be as old as a session.
    pub fn has_successor(&self, peers: &Peers) -> bool {
        let Some(leading) = &self.leading else { return false };
        let dropped = |id: &NodeId| leading.pending.as_ref().is_some_and(|pending| !pending.names(*id));
        self.registration.isr.iter().filter(|id| !dropped(id)).any(|id| {
            let follower = leading.followers.get(id);
            follower.is_some_and(|follower| is_alive(*id, follower, peers))
        })
    }

    /// A follower fetches, as [`Partition::check_replica_fetch`] allowed: all below is on its side.
    pub fn follower_fetched(&mut self, fetch: FollowerFetch, peers: &Peers) -> Vec<Released<T>> {
        let (log_end, durability) = (self.positions.log_end, self.durability);
        let Some(leading) = &mut self.leading else { return Vec::new() };
        let Some(follower) = leading.followers.get_mut(&fetch.node_id) else { return Vec::new() };
        let is_member = self.registration.isr.contains(&fetch.node_id);
        if follower.is_back(&fetch) && !is_member {
            follower.left();
        }
        follower.fetched(fetch, log_end, durability, peers.now);
        // Whoever may not join now has to come again before it is waited for: it may be away in between.
        if !is_member && !is_eligible(fetch.node_id, follower, peers) {
            follower.left();
        }
        if fetch.lacks_room {
            self.propose_leaving(peers);
        } else {
            self.propose_joining(fetch.node_id, peers);
        }
        self.release(peers)
    }

    /// Time goes on: members of the ISR that do not keep up, or have no room, leave it (rule 55).
    pub fn tick(&mut self, peers: &Peers) {
        self.propose_leaving(peers);
        if self.registration.recovery == LeaderRecoveryState::Recovering {
            self.propose(self.registration.isr.clone(), peers);
        }
    }

    /// What is to be sent to the controller. It is handed out once; whoever sends it repeats it until it is answered.
    pub fn take_proposal(&mut self) -> Option<IsrProposal> {
        let leading = self.leading.as_mut()?;
        let proposal = leading.pending.as_ref().filter(|_| !leading.proposed)?;
        leading.proposed = true;
        Some(proposal.clone())
    }

    /// What came of a proposal made in these epochs.
    pub fn proposal_answered(
        &mut self,
        made: (LeaderEpoch, PartitionEpoch),
        outcome: ProposalOutcome,
        peers: &Peers,
    ) -> Vec<Released<T>> {
        let Some(leading) = &mut self.leading else { return Vec::new() };
        let is_it = |pending: &IsrProposal| (pending.leader_epoch, pending.partition_epoch) == made;
        match outcome {
            // Until the newer metadata is here, either may be true.
            ProposalOutcome::Superseded => return Vec::new(),
            ProposalOutcome::Unchanged => {
                if let Some(refused) = leading.pending.take_if(|pending| is_it(pending)) {
                    leading.quiet_until = peers.now.plus(REFUSED_BACKOFF);
                    if refused.makes_way(self.me) {
                        leading.stays_until = peers.now.plus(STAYS_FOR);
                    }
                }
            }
        }
        self.release(peers)
    }

    /// The least position over all whose word counts, or `None` while none may be committed: when not leading, when
    /// the ISR is below its minimum (rule 29), or while one of them has not been heard in this leadership.
    pub(super) fn committable(&self, peers: &Peers) -> Option<Offset> {
        let leading = self.leading.as_ref()?;
        if self.registration.isr.len() < self.isr_min() {
            return None;
        }
        let mut least = self.own_position();
        if planted::is(Bug::AckBeforeFollowers) {
            return Some(least);
        }
        for (id, follower) in &leading.followers {
            let is_member = self.registration.isr.contains(id) || leading.is_added(*id);
            if is_member || self.is_about_to_join(*id, follower, peers) {
                least = least.min(follower.position(self.durability)?);
            }
        }
        Some(least)
    }

    /// Members that do not keep up leave; and those that say themselves that they have no room, at once, where enough stay
    /// without them: else producers would be refused what they may only have to wait for. At least one stays besides the
    /// leader, whatever the minimum: disks of one size fill together, and it is not to be left alone for that.
    fn propose_leaving(&mut self, peers: &Peers) {
        let (log_end, durability) = (self.positions.log_end, self.durability);
        let Some(leading) = &self.leading else { return };
        let members = |stays: &dyn Fn(NodeId, &Follower) -> bool| -> Vec<NodeId> {
            let stays =
                |id: &NodeId| *id == self.me || leading.followers.get(id).is_some_and(|one| stays(*id, one));
            self.registration.isr.iter().copied().filter(stays).collect()
        };
        let keeps_up = |follower: &Follower| follower.keeps_up(log_end, durability, peers);
        let has_room = |follower: &Follower| keeps_up(follower) && !follower.lacks_room();
        let sure = members(&|id, one| has_room(one) && is_alive(id, one, peers));
        let isr = if sure.len() >= self.isr_min().max(2) {
            members(&|_, one| has_room(one))
        } else {
            members(&|_, one| keeps_up(one))
        };
        if isr.len() < self.registration.isr.len() {
            self.propose(isr, peers);
        }
    }

    /// There is no room here for what producers send: another leads if every other member that has room is sure to have
    /// everything, and there are enough of them. Say it again with whatever may have changed that. What is only
    /// acknowledged by this leader (`acks=1`) is theirs, too, by then.
    pub fn make_way(&mut self, peers: &Peers) {
        let (log_end, durability) = (self.positions.log_end, self.durability);
        let Some(leading) = self.leading.as_ref().filter(|leading| peers.now >= leading.stays_until) else {
            return;
        };
        let others = self.registration.isr.iter().filter_map(|id| Some((*id, leading.followers.get(id)?)));
        let others: Vec<(NodeId, &Follower)> =
            others.filter(|(_, other)| !other.lacked_room_lately(peers.now)).collect();
        let has_all = |(id, other): &(NodeId, &Follower)| {
            let position = other.position(durability);
            position.is_some_and(|position| position >= log_end) && is_alive(*id, other, peers)
        };
        // Two where there are two: a leader with room is not to be left alone for want of room elsewhere. Those that a
        // move adds have yet to catch up.
        let is_there =
            |id: &&NodeId| peers.eligible.contains_key(id) && !self.registration.adding.contains(id);
        let enough = self.isr_min().max(2.min(leading.followers.keys().filter(is_there).count()));
        if others.len() >= enough && others.iter().all(has_all) {
            self.propose(others.into_iter().map(|(id, _)| id).collect(), peers);
        }
    }

    /// Whether it asked that another leads, and does not know yet what came of that.
    pub(super) fn is_making_way(&self) -> bool {
        let pending = self.leading.as_ref().and_then(|leading| leading.pending.as_ref());
        pending.is_some_and(|pending| pending.makes_way(self.me))
    }

    /// A follower that has reached the high watermark and the beginning of this leadership may join.
    fn propose_joining(&mut self, id: NodeId, peers: &Peers) {
        let Some(leading) = &self.leading else { return };
        let Some(follower) = leading.followers.get(&id) else { return };
        if self.registration.isr.contains(&id) || !may_join(id, follower, peers) {
            return;
        }
        let reached = match planted::is(Bug::IsrBeforeEpochStart) {
            true => self.high_watermark,
            false => self.high_watermark.max(leading.epoch_start),
        };
        if follower.position(self.durability).is_some_and(|position| position >= reached) {
            let joined = |replica: &NodeId| *replica == id || self.registration.isr.contains(replica);
            let isr = self.registration.replicas.iter().copied().filter(joined).collect();
            self.propose(isr, peers);
        }
    }

    /// Proposes another ISR unless a proposal is on its way: one at a time (rule 56).
    fn propose(&mut self, isr: Vec<NodeId>, peers: &Peers) {
        let (me, registration) = (self.me, &self.registration);
        let Some(leading) = &mut self.leading else { return };
        if leading.pending.is_some() || peers.now < leading.quiet_until {
            return;
        }
        let epoch_of = |id: NodeId| match id == me {
            true => peers.eligible.get(&me).copied(),
            false => leading.followers.get(&id).and_then(Follower::broker_epoch),
        };
        leading.pending = Some(IsrProposal {
            leader_epoch: registration.leader_epoch,
            partition_epoch: registration.partition_epoch,
            isr: isr.into_iter().map(|id| (id, epoch_of(id))).collect(),
            recovery: LeaderRecoveryState::Recovered,
        });
        leading.proposed = false;
    }
}

/// Whether it may be proposed for the ISR once it has enough.
fn may_join(id: NodeId, follower: &Follower, peers: &Peers) -> bool {
    is_eligible(id, follower, peers) && !follower.lacked_room_lately(peers.now)
}

/// Whether it lives, as far as can be known here: in service, in the life in which it fetched lately.
fn is_alive(id: NodeId, follower: &Follower, peers: &Peers) -> bool {
    is_eligible(id, follower, peers) && follower.is_heard(peers.now)
}

pub(super) fn is_eligible(id: NodeId, follower: &Follower, peers: &Peers) -> bool {
    let epoch = peers.eligible.get(&id);
    epoch.is_some() && epoch.copied() == follower.broker_epoch()
}

#[cfg(test)]
mod tests;
