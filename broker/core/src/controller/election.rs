//! Who leads a partition and who is in its ISR: the one place where a change of either is planned (plan: no memory,
//! no state). Rules 57 to 59 of the protocol; KIP-966 with its balanced recovery.
//!
//! A partition always says who holds everything that was committed. While the ISR has as many members as
//! `min.insync.replicas` asks for, that is the ISR. With fewer, nothing is committed any more, so that whoever leaves
//! from then on still holds everything: these are the eligible leader replicas (ELR). Where nobody leads, who led last is
//! noted too, for the case that no eligible replica is left; where that is nobody, the last that was eligible.

use super::replica_set::ReplicaSet;
use crate::config::{Durability, Layers, Settings, TopicConfig};
use crate::ids::{NodeId, TopicPartition};
use crate::metadata::image::{LeaderRecoveryState, Partition, isr_min};
use crate::metadata::record::{LeaderChange, PartitionChange};

/// What of a topic's configuration matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ElectionRules {
    /// `min.insync.replicas`
    pub(super) min_insync_replicas: usize,
    /// `unclean.leader.election.enable`
    pub(super) unclean_elections: bool,
    /// Whether what is acknowledged is durable (`flush.messages`).
    pub(super) acks_synced: bool,
}

impl ElectionRules {
    /// The rules of a topic with these overrides.
    pub(super) fn of(overrides: &Settings, layers: &Layers) -> Self {
        let config = TopicConfig::resolve(overrides, layers);
        Self {
            min_insync_replicas: usize::try_from(config.min_insync_replicas).unwrap_or(usize::MAX),
            unclean_elections: config.unclean_leader_election,
            acks_synced: config.durability == Durability::Synced,
        }
    }
}

/// Which leader is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Election {
    /// The one there is if it can stay, else another. One that lacks records only where the topic allows that.
    Online,
    /// The first replica if it is in sync, else as before, and never one that lacks records.
    Preferred,
    /// The one there is if it can stay, else another, at the price of records.
    Unclean,
}

/// What a replica no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Perhaps the end of its log.
    Tail,
    /// All of its log.
    Log,
}

/// What is to become of a partition, as far as it is not for the election to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// Who is in sync.
    pub(super) isr: Vec<NodeId>,
    /// A replica that lost something.
    pub(super) lost: Option<(NodeId, Loss)>,
    /// How to elect.
    pub(super) election: Election,
    /// Whether the leader has recovered.
    pub(super) recovery: LeaderRecoveryState,
    /// Who has a replica. One that is not among them is neither in sync nor eligible.
    pub(super) replica_set: ReplicaSet,
    /// Whether the leader is to begin another epoch, if it stays: what it knows of somebody is over.
    pub(super) new_epoch: bool,
}

impl Wish {
    /// That all stays as it is.
    pub(super) fn as_is(partition: &Partition) -> Self {
        Self {
            isr: partition.isr.clone(),
            lost: None,
            election: Election::Online,
            recovery: partition.recovery,
            replica_set: ReplicaSet::of(partition),
            new_epoch: false,
        }
    }

    /// That a replica is not in sync any more.
    pub(super) fn without(partition: &Partition, replica: NodeId) -> Self {
        let mut wish = Self::as_is(partition);
        wish.isr.retain(|id| *id != replica);
        wish
    }
}

/// A partition's part that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    leader: Option<NodeId>,
    isr: Vec<NodeId>,
    elr: Vec<NodeId>,
    last_known_elr: Vec<NodeId>,
    recovery: LeaderRecoveryState,
}

/// What it takes to fulfil a wish, with the leader that follows from it. `can_lead` says who could lead as far as its
/// broker is concerned. A move of replicas ends as soon as all that are to stay are in sync, in the same record that
/// makes them so: nobody ever waits for a replica that is no longer wanted.
pub(super) fn plan_change(
    at: TopicPartition,
    partition: &Partition,
    rules: ElectionRules,
    mut wish: Wish,
    can_lead: impl Fn(NodeId) -> bool,
) -> Option<PartitionChange> {
    wish.replica_set.complete_if(&wish.isr);
    let mut planned = plan(partition, rules, &wish, &can_lead);
    // An election may itself leave the ISR at those who are to stay, and then nothing would come that ends the move.
    if wish.replica_set.complete_if(&planned.isr) {
        wish.isr = planned.isr;
        wish.recovery = planned.recovery;
        planned = plan(partition, rules, &wish, &can_lead);
    }
    fn differs<T: PartialEq>(new: T, old: &T) -> Option<T> {
        (new != *old).then_some(new)
    }
    let set = wish.replica_set;
    // As in Kafka: who is no replica any more must notice that what it knows of the partition is over.
    let new_epoch = wish.new_epoch || partition.replicas.iter().any(|id| !set.replicas.contains(id));
    let change = PartitionChange {
        topic_id: at.topic_id,
        index: at.partition,
        isr: differs(planned.isr, &partition.isr),
        elr: differs(planned.elr, &partition.elr),
        last_known_elr: differs(planned.last_known_elr, &partition.last_known_elr),
        recovery: differs(planned.recovery, &partition.recovery),
        replicas: differs(set.replicas, &partition.replicas),
        directories: differs(set.directories, &partition.directories),
        adding: differs(set.adding, &partition.adding),
        removing: differs(set.removing, &partition.removing),
        leader: match planned.leader {
            leader if leader == partition.leader && !new_epoch => LeaderChange::Unchanged,
            None => LeaderChange::Nobody,
            Some(leader) => LeaderChange::Leader(leader),
        },
    };
    let nothing =
        PartitionChange { topic_id: at.topic_id, index: at.partition, ..PartitionChange::default() };
    (change != nothing).then_some(change)
}

fn plan(partition: &Partition, rules: ElectionRules, wish: &Wish, can_lead: impl Fn(NodeId) -> bool) -> Plan {
    let ReplicaSet { replicas, adding, .. } = &wish.replica_set;
    let isr_min = isr_min(replicas, adding, rules.min_insync_replicas);
    // A partition's only replica is taken back whatever it lost: nobody else has more, and nobody else could lead.
    let lost = wish.lost.filter(|_| partition.replicas.len() > 1);
    let trusted = |id: &NodeId| replicas.contains(id) && lost.is_none_or(|(loser, _)| loser != *id);
    let isr: Vec<NodeId> = wish.isr.iter().copied().filter(trusted).collect();
    let elr = eligible(partition, replicas, &isr, isr_min, trusted);
    let nobody_is_left = isr.is_empty() && elr.is_empty();
    let last_known_elr = last_known(partition, replicas, lost, nobody_is_left);

    let clean = |id: &NodeId| (isr.contains(id) || isr.is_empty() && elr.contains(id)) && can_lead(*id);
    let unclean = match wish.election {
        Election::Online => rules.unclean_elections,
        Election::Preferred => false,
        Election::Unclean => true,
    };
    let preferred = replicas.first().filter(|_| wish.election == Election::Preferred);
    let in_order = || replicas.iter();
    if let Some(leader) = preferred
        .filter(|id| clean(id))
        .or_else(|| partition.leader.as_ref().filter(|id| clean(id)))
        .or_else(|| in_order().find(|id| clean(id)))
    {
        let isr = if isr.contains(leader) { isr } else { vec![*leader] };
        let elr = eligible_beside(elr, &isr, isr_min);
        return Plan { leader: Some(*leader), isr, elr, last_known_elr: Vec::new(), recovery: wish.recovery };
    }
    let last_leader = match last_known_elr.as_slice() {
        [only] if nobody_is_left && can_lead(*only) => Some(*only),
        _ => None,
    };
    let any = || most_likely_complete(partition, &wish.replica_set, lost, &can_lead).filter(|_| unclean);
    if let Some(leader) = last_leader.or_else(any) {
        return Plan {
            leader: Some(leader),
            isr: vec![leader],
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            recovery: LeaderRecoveryState::Recovering,
        };
    }
    Plan { leader: None, isr, elr, last_known_elr, recovery: wish.recovery }
}

/// Of those who can lead, the one that lacks the least as far as anybody knows: the first in the order of the assignment of
/// those that were in sync last, else of those that were there before a move, which begins with nothing, else of all.
fn most_likely_complete(
    partition: &Partition,
    set: &ReplicaSet,
    lost: Option<(NodeId, Loss)>,
    can_lead: impl Fn(NodeId) -> bool,
) -> Option<NodeId> {
    let was_in_sync = |id: &NodeId| {
        [&partition.isr, &partition.elr, &partition.last_known_elr].iter().any(|those| those.contains(id))
    };
    let lacks = |id: &NodeId| (lost == Some((*id, Loss::Log)), !was_in_sync(id), set.adding.contains(id));
    set.replicas.iter().copied().filter(|id| can_lead(*id)).min_by_key(lacks)
}

/// Who is eligible beside an ISR: those who were, and those who leave it, as long as it is too small for anything to be
/// committed without them.
fn eligible(
    partition: &Partition,
    replicas: &[NodeId],
    isr: &[NodeId],
    isr_min: usize,
    trusted: impl Fn(&NodeId) -> bool,
) -> Vec<NodeId> {
    let held = |id: &&NodeId| partition.elr.contains(id) || partition.isr.contains(id);
    let eligible = replicas.iter().filter(held).filter(|id| trusted(id)).copied().collect();
    eligible_beside(eligible, isr, isr_min)
}

fn eligible_beside(mut eligible: Vec<NodeId>, isr: &[NodeId], isr_min: usize) -> Vec<NodeId> {
    if isr.len() >= isr_min {
        return Vec::new();
    }
    eligible.retain(|id| !isr.contains(id));
    eligible
}

/// The last leader, for when nobody leads. One that lost only the end of its log still has more than the
/// others, as far as anybody knows; one that lost all of it has nothing, and would take everybody else's with it. Where no
/// leader is known, be it lost or moved away, the same holds of the last that was eligible: without it nobody would ever
/// lead again.
fn last_known(
    partition: &Partition,
    replicas: &[NodeId],
    lost: Option<(NodeId, Loss)>,
    nobody_is_left: bool,
) -> Vec<NodeId> {
    let remains = |id: &NodeId| replicas.contains(id) && lost != Some((*id, Loss::Log));
    let last = partition.leader.or_else(|| partition.last_known_elr.first().copied()).filter(remains);
    let held_everything = |id: &NodeId| partition.isr.contains(id) || partition.elr.contains(id);
    let last_eligible =
        || lost.map(|(id, _)| id).filter(|id| nobody_is_left && held_everything(id)).filter(remains);
    last.or_else(last_eligible).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DirectoryId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId};
    use crate::metadata::image::LeaderRecoveryState::{Recovered, Recovering};

    const STRICT: ElectionRules =
        ElectionRules { min_insync_replicas: 2, unclean_elections: false, acks_synced: true };
    const LAX: ElectionRules =
        ElectionRules { min_insync_replicas: 1, unclean_elections: true, acks_synced: true };

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// A partition with replicas 1, 2 and 3.
    fn partition(leader: Option<i32>, isr: &[i32], elr: &[i32], last_known_elr: &[i32]) -> Partition {
        Partition {
            replicas: nodes(&[1, 2, 3]),
            directories: vec![DirectoryId::default(); 3],
            isr: nodes(isr),
            adding: Vec::new(),
            removing: Vec::new(),
            elr: nodes(elr),
            last_known_elr: nodes(last_known_elr),
            leader: leader.map(NodeId),
            leader_epoch: LeaderEpoch(4),
            partition_epoch: PartitionEpoch(7),
            recovery: Recovered,
        }
    }

    /// What is recorded if only these brokers can lead.
    fn change(
        partition: &Partition,
        rules: ElectionRules,
        wish: Wish,
        live: &[i32],
    ) -> Option<PartitionChange> {
        let at = TopicPartition { topic_id: TopicId::default(), partition: PartitionIndex(0) };
        plan_change(at, partition, rules, wish, |id| live.contains(&id.0))
    }

    fn becomes(
        isr: Option<&[i32]>,
        elr: Option<&[i32]>,
        last_known_elr: Option<&[i32]>,
        leader: LeaderChange,
    ) -> Option<PartitionChange> {
        Some(PartitionChange {
            isr: isr.map(nodes),
            elr: elr.map(nodes),
            last_known_elr: last_known_elr.map(nodes),
            leader,
            ..PartitionChange::default()
        })
    }

    const UNCHANGED: LeaderChange = LeaderChange::Unchanged;
    const NOBODY: LeaderChange = LeaderChange::Nobody;

    fn leader(id: i32) -> LeaderChange {
        LeaderChange::Leader(NodeId(id))
    }

    #[test]
    fn a_leader_that_can_stay_stays_and_another_comes_from_the_isr_in_order_of_assignment() {
        let led = partition(Some(2), &[3, 2, 1], &[], &[]);
        assert_eq!(change(&led, STRICT, Wish::as_is(&led), &[1, 2, 3]), None);
        let without = Wish::without(&led, NodeId(2));
        assert_eq!(
            change(&led, STRICT, without.clone(), &[1, 3]),
            becomes(Some(&[3, 1]), None, None, leader(1))
        );
        assert_eq!(change(&led, STRICT, without, &[3]), becomes(Some(&[3, 1]), None, None, leader(3)));
        let follower = Wish::without(&led, NodeId(1));
        assert_eq!(change(&led, STRICT, follower, &[2, 3]), becomes(Some(&[3, 2]), None, None, UNCHANGED));
    }

    #[test]
    fn who_leaves_an_isr_below_the_minimum_is_eligible_and_the_last_leader_is_known() {
        let two = partition(Some(1), &[1, 2], &[], &[]);
        let one = change(&two, STRICT, Wish::without(&two, NodeId(1)), &[2]);
        assert_eq!(one, becomes(Some(&[2]), Some(&[1]), None, leader(2)));
        let last = partition(Some(2), &[2], &[1], &[]);
        let none = change(&last, STRICT, Wish::without(&last, NodeId(2)), &[]);
        assert_eq!(none, becomes(Some(&[]), Some(&[1, 2]), Some(&[2]), NOBODY));
    }

    #[test]
    fn the_last_leader_is_known_although_others_are_still_in_sync() {
        let led = partition(Some(1), &[1, 2], &[], &[]);
        let none = change(&led, STRICT, Wish::without(&led, NodeId(1)), &[]);
        assert_eq!(none, becomes(Some(&[2]), Some(&[1]), Some(&[1]), NOBODY));
        let idle = partition(None, &[2], &[1], &[1]);
        let none = change(&idle, STRICT, Wish::without(&idle, NodeId(2)), &[]);
        assert_eq!(none, becomes(Some(&[]), Some(&[1, 2]), None, UNCHANGED));
    }

    #[test]
    fn an_isr_that_is_large_enough_ends_eligibility() {
        let small = partition(Some(1), &[1], &[2], &[]);
        let wish = Wish { isr: nodes(&[1, 3]), ..Wish::as_is(&small) };
        assert_eq!(
            change(&small, STRICT, wish, &[1, 2, 3]),
            becomes(Some(&[1, 3]), Some(&[]), None, UNCHANGED)
        );
    }

    #[test]
    fn an_eligible_replica_leads_alone_and_before_the_last_leader() {
        let idle = partition(None, &[], &[2, 3], &[3]);
        assert_eq!(
            change(&idle, STRICT, Wish::as_is(&idle), &[1, 3]),
            becomes(Some(&[3]), Some(&[2]), Some(&[]), leader(3))
        );
        assert_eq!(change(&idle, STRICT, Wish::as_is(&idle), &[1]), None, "1 lacks records");
        let alone = ElectionRules { min_insync_replicas: 1, ..STRICT };
        assert_eq!(
            change(&idle, alone, Wish::as_is(&idle), &[1, 2, 3]),
            becomes(Some(&[2]), Some(&[]), Some(&[]), leader(2)),
            "whoever leads alone may commit alone"
        );
    }

    #[test]
    fn the_last_leader_leads_where_nobody_is_eligible_and_recovers() {
        let idle = partition(None, &[], &[], &[3]);
        assert_eq!(change(&idle, STRICT, Wish::as_is(&idle), &[1, 2]), None);
        let mut expected = becomes(Some(&[3]), None, Some(&[]), leader(3));
        expected.as_mut().expect("a change").recovery = Some(Recovering);
        assert_eq!(change(&idle, STRICT, Wish::as_is(&idle), &[1, 2, 3]), expected);
    }

    #[test]
    fn a_replica_that_lacks_records_leads_only_where_that_is_allowed_or_asked_for() {
        let idle = partition(None, &[], &[3], &[3]);
        let mut unclean = becomes(Some(&[2]), Some(&[]), Some(&[]), leader(2));
        unclean.as_mut().expect("a change").recovery = Some(Recovering);
        assert_eq!(change(&idle, STRICT, Wish::as_is(&idle), &[2]), None);
        assert_eq!(change(&idle, LAX, Wish::as_is(&idle), &[2]), unclean);
        let asked = |election| Wish { election, ..Wish::as_is(&idle) };
        assert_eq!(change(&idle, STRICT, asked(Election::Unclean), &[2]), unclean);
        assert_eq!(change(&idle, LAX, asked(Election::Preferred), &[2]), None);
        assert_eq!(
            change(&idle, LAX, Wish::as_is(&idle), &[2, 3]),
            becomes(Some(&[3]), Some(&[]), Some(&[]), leader(3)),
            "there is one that lacks nothing"
        );
    }

    #[test]
    fn the_first_replica_gets_leadership_back_only_when_it_is_in_sync() {
        let led = partition(Some(2), &[2, 1], &[], &[]);
        let preferred = |partition| Wish { election: Election::Preferred, ..Wish::as_is(partition) };
        assert_eq!(change(&led, STRICT, preferred(&led), &[1, 2, 3]), becomes(None, None, None, leader(1)));
        assert_eq!(change(&led, STRICT, preferred(&led), &[2, 3]), None);
        let behind = partition(Some(2), &[2, 3], &[], &[]);
        assert_eq!(change(&behind, STRICT, preferred(&behind), &[1, 2, 3]), None);
    }

    #[test]
    fn a_replica_that_lost_something_is_not_eligible_and_with_its_log_no_last_leader_either() {
        let idle = partition(None, &[], &[2, 3], &[3]);
        let lost = |loss| Wish { lost: Some((NodeId(3), loss)), ..Wish::as_is(&idle) };
        assert_eq!(change(&idle, STRICT, lost(Loss::Tail), &[]), becomes(None, Some(&[2]), None, UNCHANGED));
        assert_eq!(
            change(&idle, STRICT, lost(Loss::Log), &[]),
            becomes(None, Some(&[2]), Some(&[]), UNCHANGED)
        );
        let led = partition(Some(3), &[3], &[2], &[]);
        let both = Wish { lost: Some((NodeId(3), Loss::Log)), ..Wish::without(&led, NodeId(3)) };
        assert_eq!(change(&led, STRICT, both, &[]), becomes(Some(&[]), None, None, NOBODY));
    }

    #[test]
    fn the_last_that_was_eligible_leads_in_the_end_where_no_last_leader_is_known() {
        let idle = partition(None, &[], &[2, 3], &[]);
        let lost = |partition: &Partition, id, loss| Wish {
            lost: Some((NodeId(id), loss)),
            ..Wish::as_is(partition)
        };
        let one_left = change(&idle, STRICT, lost(&idle, 2, Loss::Tail), &[]);
        assert_eq!(one_left, becomes(None, Some(&[3]), None, UNCHANGED), "3 is eligible yet");
        let idle = partition(None, &[], &[3], &[]);
        let none_left = change(&idle, STRICT, lost(&idle, 3, Loss::Tail), &[]);
        assert_eq!(none_left, becomes(None, Some(&[]), Some(&[3]), UNCHANGED));
        let without_log = change(&idle, STRICT, lost(&idle, 3, Loss::Log), &[]);
        assert_eq!(without_log, becomes(None, Some(&[]), None, UNCHANGED), "it has nothing");
        let never_eligible = change(&idle, STRICT, lost(&idle, 2, Loss::Tail), &[]);
        assert_eq!(never_eligible, None);
    }

    #[test]
    fn an_only_replica_is_trusted_whatever_it_lost() {
        let mut only = partition(Some(1), &[1], &[], &[]);
        only.replicas = nodes(&[1]);
        let wish = Wish { lost: Some((NodeId(1), Loss::Log)), ..Wish::without(&only, NodeId(1)) };
        let away = change(&only, STRICT, wish, &[]);
        assert_eq!(away, becomes(Some(&[]), Some(&[1]), Some(&[1]), NOBODY));
        only = Partition { replicas: nodes(&[1]), ..partition(None, &[], &[1], &[1]) };
        let back = change(&only, STRICT, Wish::as_is(&only), &[1]);
        assert_eq!(back, becomes(Some(&[1]), Some(&[]), Some(&[]), leader(1)));
    }

    #[test]
    fn a_move_ends_when_the_election_leaves_only_those_in_sync_who_are_to_stay() {
        let to_two = |isr: &[i32], elr: &[i32], last_known_elr: &[i32]| Partition {
            replicas: nodes(&[2, 1, 3]),
            removing: nodes(&[1, 3]),
            ..partition(None, isr, elr, last_known_elr)
        };
        let ended = PartitionChange {
            replicas: Some(nodes(&[2])),
            directories: Some(vec![DirectoryId::default()]),
            removing: Some(Vec::new()),
            ..becomes(Some(&[2]), Some(&[]), Some(&[]), leader(2)).expect("a change")
        };
        let eligible = to_two(&[], &[2, 3], &[3]);
        assert_eq!(change(&eligible, STRICT, Wish::as_is(&eligible), &[2]), Some(ended.clone()));
        let unclean = to_two(&[], &[3], &[3]);
        let ended = PartitionChange { recovery: Some(Recovering), ..ended };
        assert_eq!(change(&unclean, LAX, Wish::as_is(&unclean), &[2]), Some(ended), "it lacks records");
    }

    #[test]
    fn of_those_that_lack_records_one_that_a_move_adds_is_the_last_to_lead() {
        let moving = |isr: &[i32], elr: &[i32], last_known_elr: &[i32]| Partition {
            replicas: nodes(&[4, 2, 1, 3]),
            directories: vec![DirectoryId::default(); 4],
            adding: nodes(&[4]),
            removing: nodes(&[3]),
            ..partition(None, isr, elr, last_known_elr)
        };
        let elected = |partition: &Partition, wish: Wish, live: &[i32]| {
            change(partition, LAX, wish, live).map(|change| change.leader)
        };
        let idle = moving(&[], &[3], &[3]);
        assert_eq!(elected(&idle, Wish::as_is(&idle), &[4, 2, 1]), Some(leader(2)));
        assert_eq!(elected(&idle, Wish::as_is(&idle), &[4, 1]), Some(leader(1)));
        assert_eq!(elected(&idle, Wish::as_is(&idle), &[4]), Some(leader(4)));
        let lost = |id, loss| Wish { lost: Some((NodeId(id), loss)), ..Wish::as_is(&idle) };
        assert_eq!(elected(&idle, lost(3, Loss::Tail), &[4, 1, 3]), Some(leader(3)), "it was in sync last");
        assert_eq!(elected(&idle, lost(3, Loss::Log), &[4, 3]), Some(leader(4)), "it has nothing at all");
    }
}
