use std::sync::Arc;

use super::*;
use crate::config::{Durability, Limit};
use crate::ids::DirectoryId;
use crate::partition::{AckLevel, AckSettings, Positions};

const ME: NodeId = NodeId(1);
const SYNCED: AckSettings = AckSettings { durability: Durability::Synced, min_insync_replicas: 2 };
const CACHED: AckSettings = AckSettings {
    durability: Durability::PageCache { flush_records: Limit::Unlimited, flush_wait: Limit::Unlimited },
    min_insync_replicas: 2,
};

/// A partition of brokers 1, 2 and 3 that this one leads, in these epochs.
fn registered(isr: &[i32], leader_epoch: i32, partition_epoch: i32) -> Arc<image::Partition> {
    Arc::new(image::Partition {
        replicas: [1, 2, 3].map(NodeId).to_vec(),
        directories: vec![DirectoryId::default(); 3],
        isr: isr.iter().map(|id| NodeId(*id)).collect(),
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader: Some(ME),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        recovery: LeaderRecoveryState::Recovered,
    })
}

/// All three brokers in service, at this time; broker N registered with epoch 10·N.
fn at(ms: u64) -> Peers {
    let eligible = [1, 2, 3].map(|id| (NodeId(id), BrokerEpoch(i64::from(id) * 10)));
    Peers { now: Monotonic(ms), eligible: Arc::new(eligible.into_iter().collect()), ..Peers::default() }
}

fn fetch(node: i32, fetched_end: i64, flushed_end: i64) -> FollowerFetch {
    FollowerFetch {
        node_id: NodeId(node),
        broker_epoch: BrokerEpoch(i64::from(node) * 10),
        fetched_end: Offset(fetched_end),
        flushed_end: Offset(flushed_end),
        log_start: Offset(0),
        lacks_room: false,
        high_watermark: None,
    }
}

fn leader(isr: &[i32], log_end: i64, settings: AckSettings) -> Partition<u32> {
    let positions = Positions {
        log_start: Offset(0),
        log_end: Offset(log_end),
        flushed_end: Offset(log_end),
        established: true,
    };
    Partition::new(ME, registered(isr, 5, 50), positions, Offset(0), settings, &at(0))
}

fn partition_positions() -> Positions {
    Positions { log_start: Offset(0), log_end: Offset(0), flushed_end: Offset(0), established: true }
}

fn proposed(partition: &mut Partition<u32>) -> Option<Vec<i32>> {
    Some(partition.take_proposal()?.isr.into_iter().map(|(id, _)| id.0).collect())
}

#[test]
fn only_a_follower_that_nobody_waits_for_is_left_behind() {
    let mut partition = leader(&[1, 2], 10, CACHED);
    let mut comes = |node, end, now: &Peers| {
        partition.follower_fetched(fetch(node, end, end), now);
        partition.leaves_behind(&fetch(node, end, end), now)
    };
    assert!(!comes(3, 0, &at(0)), "nothing is committed yet");
    assert!(!comes(2, 10, &at(1)), "a member");
    assert!(comes(3, 0, &at(2)) && comes(3, 5, &at(3)));
    assert!(!comes(2, 5, &at(4)), "a member holds up producers however far it has come");
    assert!(!comes(3, 10, &at(5)), "it has all");
    assert!(!comes(3, 9, &at(6)), "the high watermark waits for who kept up lately");
    let mut partition = leader(&[1, 2], 10, CACHED);
    assert!(!partition.leaves_behind(&fetch(9, 0, 0), &at(0)), "no replica");
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    assert!(partition.leaves_behind(&fetch(3, 0, 0), &at(1)), "it has not come before");
    assert!(partition.has_successor(&at(1)) && partition.has_successor(&at(3_001)));
    assert!(!partition.has_successor(&at(3_002)), "it may be dead");
    let ten = Positions { log_end: Offset(10), flushed_end: Offset(10), ..partition_positions() };
    for (minimum, is_left) in [(1, true), (2, false)] {
        let settings = AckSettings { min_insync_replicas: minimum, ..CACHED };
        let mut partition =
            Partition::<u32>::new(ME, registered(&[1], 5, 50), ten, Offset(8), settings, &at(0));
        partition.follower_fetched(fetch(3, 0, 0), &at(1));
        assert_eq!(partition.leaves_behind(&fetch(3, 0, 0), &at(1)), is_left, "producers wait for it");
    }
}

#[test]
fn an_acknowledgement_waits_for_every_member_of_the_isr_to_be_durable() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    assert_eq!(partition.high_watermark(), Offset(0), "nobody was heard in this leadership");
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    assert_eq!(partition.high_watermark(), Offset(10));

    assert_eq!(partition.appended(Offset(11), AckLevel::All, 7, &at(2)), []);
    assert_eq!(partition.flushed(Offset(11), &at(2)), []);
    assert_eq!(partition.follower_fetched(fetch(2, 11, 11), &at(3)), [], "a majority is not the ISR");
    assert_eq!(partition.follower_fetched(fetch(3, 11, 10), &at(3)), [], "fetched is not durable");
    let released = partition.follower_fetched(fetch(3, 11, 11), &at(4));
    assert_eq!(released, [Released { waiting: 7, verdict: Ok(()) }]);
}

#[test]
fn in_the_page_cache_what_was_fetched_counts() {
    let mut partition = leader(&[1, 2], 0, CACHED);
    assert_eq!(partition.appended(Offset(1), AckLevel::All, 7, &at(1)), []);
    let released = partition.follower_fetched(fetch(2, 1, 0), &at(2));
    assert_eq!(released, [Released { waiting: 7, verdict: Ok(()) }]);
}

#[test]
fn the_high_watermark_never_falls() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    assert_eq!(partition.high_watermark(), Offset(10));
    // It came back with less, as one that lost its volume does.
    partition.follower_fetched(fetch(2, 0, 0), &at(2));
    assert_eq!(partition.high_watermark(), Offset(10));
}

#[test]
fn a_fetch_from_an_earlier_life_says_nothing() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    let later = FollowerFetch { broker_epoch: BrokerEpoch(21), ..fetch(2, 3, 3) };
    partition.follower_fetched(later, &at(1));
    let refused = Err(PartitionError::UnknownReplica(NodeId(2)));
    assert_eq!(partition.check_replica_fetch(&fetch(2, 10, 10), None), refused);
    assert_eq!(
        partition.check_replica_fetch(&fetch(4, 10, 10), None),
        Err(PartitionError::UnknownReplica(NodeId(4)))
    );
}

#[test]
fn a_follower_reads_to_the_log_end_and_no_further() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.appended(Offset(12), AckLevel::Leader, 1, &at(0));
    let readable = partition.check_replica_fetch(&fetch(2, 4, 4), Some(LeaderEpoch(5))).expect("it may");
    assert_eq!((readable.end_exclusive, readable.high_watermark), (Offset(12), Offset(0)));
    let beyond = partition.check_replica_fetch(&fetch(2, 13, 13), None);
    assert!(matches!(beyond, Err(PartitionError::OffsetOutOfRange { .. })), "{beyond:?}");
    let old = partition.check_replica_fetch(&fetch(2, 4, 4), Some(LeaderEpoch(4)));
    assert!(matches!(old, Err(PartitionError::FencedLeaderEpoch { .. })), "{old:?}");
}

#[test]
fn a_follower_joins_once_it_has_reached_the_beginning_of_the_leadership() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.follower_fetched(fetch(3, 9, 9), &at(1));
    assert_eq!(proposed(&mut partition), None);
    partition.follower_fetched(fetch(3, 10, 9), &at(2));
    assert_eq!(proposed(&mut partition), None, "what is not durable does not count");
    partition.follower_fetched(fetch(3, 10, 10), &at(3));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2, 3]));
    assert_eq!(proposed(&mut partition), None, "it is handed out once");
    partition.follower_fetched(fetch(3, 10, 10), &at(4));
    assert_eq!(proposed(&mut partition), None, "and one at a time");
}

#[test]
fn nobody_joins_who_is_not_in_service_in_the_life_that_fetches() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    let mut peers = at(1);
    peers.eligible = Arc::new([(NodeId(3), BrokerEpoch(31))].into_iter().collect());
    partition.follower_fetched(fetch(3, 10, 10), &peers);
    assert_eq!(proposed(&mut partition), None);
}

#[test]
fn whoever_may_have_joined_holds_the_high_watermark_until_the_controller_says_otherwise() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2, 3]));
    partition.appended(Offset(11), AckLevel::All, 7, &at(2));
    partition.flushed(Offset(11), &at(2));
    // Much later, so that the third counts for nothing but the proposal.
    assert_eq!(partition.follower_fetched(fetch(2, 11, 11), &at(60_000)), []);
    let made = (LeaderEpoch(5), PartitionEpoch(50));
    assert_eq!(partition.proposal_answered(made, ProposalOutcome::Superseded, &at(60_001)), []);
    let released = partition.proposal_answered(made, ProposalOutcome::Unchanged, &at(60_002));
    assert_eq!(released, [Released { waiting: 7, verdict: Ok(()) }]);
}

#[test]
fn one_that_left_the_isr_is_not_waited_for_before_it_is_back() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    partition.appended(Offset(11), AckLevel::All, 7, &at(2));
    partition.flushed(Offset(11), &at(2));
    assert_eq!(partition.follower_fetched(fetch(2, 11, 11), &at(3)), []);
    // The controller has dropped it, whose broker lives on: its log directory failed.
    let released = partition.register(registered(&[1, 2], 5, 51), SYNCED, &at(4));
    assert_eq!(released, [Released { waiting: 7, verdict: Ok(()) }]);
}

#[test]
fn one_that_was_away_for_less_than_it_may_lag_is_not_waited_for_before_it_has_caught_up() {
    for second_life in [true, false] {
        let mut partition = leader(&[1, 2, 3], 10, CACHED);
        partition.follower_fetched(fetch(2, 10, 10), &at(1));
        partition.follower_fetched(fetch(3, 10, 10), &at(4));
        partition.register(registered(&[1, 2], 5, 51), CACHED, &at(5));
        let gone = |ms| {
            let mut peers = at(ms);
            Arc::make_mut(&mut peers.eligible).remove(&NodeId(3));
            peers
        };
        // On its way out it fetches once more.
        partition.follower_fetched(fetch(3, 10, 10), &gone(6));
        partition.appended(Offset(1_000), AckLevel::All, 7, &gone(7));
        assert_eq!(partition.follower_fetched(fetch(2, 1_000, 0), &gone(8)).len(), 1);

        let mut now = at(20_000);
        let epoch = BrokerEpoch(if second_life { 31 } else { 30 });
        Arc::make_mut(&mut now.eligible).insert(NodeId(3), epoch);
        let back = |end| FollowerFetch { broker_epoch: epoch, ..fetch(3, end, end) };
        for end in [10, 500] {
            partition.follower_fetched(back(end), &now);
            assert!(partition.leaves_behind(&back(end), &now), "a second life: {second_life}");
            partition.appended(Offset(1_000 + end), AckLevel::All, 8, &now);
            let released = partition.follower_fetched(fetch(2, 1_000 + end, 0), &now);
            assert_eq!(released.len(), 1, "a second life: {second_life}");
        }
        assert_eq!(proposed(&mut partition), None);
        partition.follower_fetched(back(1_500), &now);
        assert_eq!(proposed(&mut partition), Some(vec![1, 2, 3]));
    }
}

#[test]
fn a_member_in_another_life_keeps_its_time() {
    let mut partition = leader(&[1, 2, 3], 10, CACHED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    partition.appended(Offset(20), AckLevel::All, 7, &at(2));
    let mut now = at(3);
    Arc::make_mut(&mut now.eligible).insert(NodeId(3), BrokerEpoch(31));
    partition.follower_fetched(FollowerFetch { broker_epoch: BrokerEpoch(31), ..fetch(3, 10, 10) }, &now);
    assert_eq!(partition.follower_fetched(fetch(2, 20, 20), &now), [], "a member is waited for");
    partition.tick(&now);
    assert_eq!(proposed(&mut partition), None);
}

#[test]
fn settings_and_the_isr_that_goes_with_them_are_taken_over_together() {
    let mut partition = leader(&[1, 2], 10, AckSettings { min_insync_replicas: 1, ..SYNCED });
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.appended(Offset(11), AckLevel::All, 7, &at(2));
    partition.flushed(Offset(11), &at(2));
    // The minimum rose, and then the ISR shrank: alone it may commit nothing any more.
    let released = partition.register(registered(&[1], 5, 51), SYNCED, &at(3));
    let error = PartitionError::NotEnoughReplicasAfterAppend { isr: 1, min: 2 };
    assert_eq!(released, [Released { waiting: 7, verdict: Err(error) }]);
    assert_eq!(partition.high_watermark(), Offset(10));
}

#[test]
fn an_answer_to_another_proposal_changes_nothing() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    partition.proposal_answered((LeaderEpoch(5), PartitionEpoch(49)), ProposalOutcome::Unchanged, &at(2));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2, 3]));
}

#[test]
fn what_the_controller_registers_decides_a_proposal() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2, 3]));
    partition.register(registered(&[1, 2], 5, 51), SYNCED, &at(2));
    partition.follower_fetched(fetch(3, 10, 10), &at(3));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2, 3]), "it is proposed again in the new epoch");
}

#[test]
fn a_refused_proposal_is_not_repeated_at_once() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    let made = (LeaderEpoch(5), PartitionEpoch(50));
    partition.proposal_answered(made, ProposalOutcome::Unchanged, &at(1));
    partition.follower_fetched(fetch(3, 10, 10), &at(2));
    assert_eq!(proposed(&mut partition), None);
    partition.follower_fetched(fetch(3, 10, 10), &at(300));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2, 3]));
}

#[test]
fn a_member_that_does_not_keep_up_for_the_time_allowed_leaves() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1_000));
    partition.tick(&at(30_000));
    assert_eq!(proposed(&mut partition), None, "the third is given its time from when it was made");
    partition.appended(Offset(11), AckLevel::All, 7, &at(30_000));
    partition.follower_fetched(fetch(2, 11, 11), &at(30_500));
    partition.tick(&at(30_501));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2]));
}

#[test]
fn a_member_that_is_always_a_little_behind_keeps_up() {
    let mut partition = leader(&[1, 2, 3], 0, SYNCED);
    for round in 0..100u64 {
        let (now, end) = (round * 1_000, i64::try_from(round).expect("few") + 1);
        partition.appended(Offset(end), AckLevel::None, 0, &at(now));
        partition.follower_fetched(fetch(2, end, end), &at(now));
        partition.follower_fetched(fetch(3, end - 1, end - 1), &at(now));
        partition.tick(&at(now));
        assert_eq!(proposed(&mut partition), None, "round {round}");
    }
}

#[test]
fn one_that_joins_far_behind_is_given_its_time() {
    // The ISR was below its minimum: the high watermark stood still while acks=1 went on.
    let mut partition = leader(&[1], 0, SYNCED);
    partition.appended(Offset(1_000), AckLevel::None, 0, &at(60_000));
    partition.follower_fetched(fetch(2, 5, 5), &at(60_000));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2]));
    partition.register(registered(&[1, 2], 5, 51), SYNCED, &at(60_100));
    partition.follower_fetched(fetch(2, 10, 10), &at(90_000));
    partition.tick(&at(90_000));
    assert_eq!(proposed(&mut partition), None);
    partition.tick(&at(90_101));
    assert_eq!(proposed(&mut partition), Some(vec![1]), "and no more than its time");
}

#[test]
fn an_idle_partition_loses_nobody() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    partition.tick(&at(3_600_000));
    assert_eq!(proposed(&mut partition), None);
}

#[test]
fn a_follower_about_to_join_is_not_outrun() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    let made = (LeaderEpoch(5), PartitionEpoch(50));
    partition.proposal_answered(made, ProposalOutcome::Unchanged, &at(1));
    partition.appended(Offset(11), AckLevel::All, 7, &at(2));
    partition.flushed(Offset(11), &at(2));
    assert_eq!(partition.follower_fetched(fetch(2, 11, 11), &at(3)), [], "rule 54: the third is waited for");
    assert_eq!(partition.follower_fetched(fetch(3, 11, 11), &at(4)).len(), 1);
    // One that went silent is waited for no longer than it may lag.
    partition.appended(Offset(12), AckLevel::All, 8, &at(5));
    partition.flushed(Offset(12), &at(5));
    assert_eq!(partition.follower_fetched(fetch(2, 12, 12), &at(40_000)).len(), 1);
}

#[test]
fn a_new_leadership_knows_nothing_of_what_followers_had() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.appended(Offset(11), AckLevel::All, 7, &at(2));
    partition.flushed(Offset(11), &at(2));
    assert_eq!(
        partition.register(registered(&[1, 2], 6, 51), SYNCED, &at(3)),
        [],
        "what is parked stays parked"
    );
    assert_eq!(partition.high_watermark(), Offset(10));
    let released = partition.follower_fetched(fetch(2, 11, 11), &at(4));
    assert_eq!(released, [Released { waiting: 7, verdict: Ok(()) }]);
}

#[test]
fn a_leader_from_outside_the_isr_says_that_it_has_recovered() {
    let mut partition = leader(&[1], 10, SYNCED);
    let recovering =
        image::Partition { recovery: LeaderRecoveryState::Recovering, ..(*registered(&[1], 6, 51)).clone() };
    partition.register(Arc::new(recovering), SYNCED, &at(1));
    let proposal = partition.take_proposal().expect("it proposes");
    assert_eq!(proposal.recovery, LeaderRecoveryState::Recovered);
    assert_eq!(proposal.isr, [(ME, Some(BrokerEpoch(10)))]);
}

#[test]
fn a_follower_knows_as_committed_what_its_leader_does_and_it_has() {
    let mut partition = leader(&[1, 2], 10, SYNCED);
    let led_by_2 = image::Partition { leader: Some(NodeId(2)), ..(*registered(&[1, 2], 6, 51)).clone() };
    partition.register(Arc::new(led_by_2), SYNCED, &at(1));
    let upto = |log_end| Positions { log_end: Offset(log_end), ..partition_positions() };
    partition.replicated(upto(12), Offset(11));
    assert_eq!(partition.high_watermark(), Offset(11));
    partition.replicated(upto(12), Offset(9));
    assert_eq!(partition.high_watermark(), Offset(11), "it never falls");
    partition.replicated(upto(13), Offset(20));
    assert_eq!(partition.high_watermark(), Offset(13), "and is never above the log");
}

mod room;
