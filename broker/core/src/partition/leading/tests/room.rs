//! Those that have no room, whoever they are (decisions 0048 and 0049).

use super::*;

fn full(node: i32, end: i64) -> FollowerFetch {
    FollowerFetch { lacks_room: true, ..fetch(node, end, end) }
}

#[test]
fn a_member_without_room_leaves_at_once_and_joins_when_it_has_had_room_for_a_while() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.follower_fetched(fetch(3, 10, 10), &at(1));
    partition.appended(Offset(11), AckLevel::All, 7, &at(2));
    partition.flushed(Offset(11), &at(2));
    assert_eq!(partition.follower_fetched(fetch(2, 11, 11), &at(3)), []);
    assert_eq!(partition.follower_fetched(full(3, 10), &at(4)), [], "the controller has yet to drop it");
    assert_eq!(proposed(&mut partition), Some(vec![1, 2]));
    let released = partition.register(registered(&[1, 2], 5, 51), SYNCED, &at(5));
    assert_eq!(released, [Released { waiting: 7, verdict: Ok(()) }]);
    partition.follower_fetched(fetch(3, 11, 11), &at(6));
    partition.follower_fetched(full(3, 11), &at(7));
    partition.follower_fetched(fetch(3, 11, 11), &at(8));
    assert_eq!(proposed(&mut partition), None, "it takes a batch now and then");
    partition.appended(Offset(12), AckLevel::All, 8, &at(9));
    partition.flushed(Offset(12), &at(9));
    assert_eq!(partition.follower_fetched(fetch(2, 12, 12), &at(10)).len(), 1, "nor is it waited for");
    partition.follower_fetched(fetch(3, 12, 12), &at(5_007));
    assert_eq!(proposed(&mut partition), None);
    partition.follower_fetched(fetch(3, 12, 12), &at(5_008));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2, 3]));
}

#[test]
fn a_member_without_room_is_given_its_time_where_it_is_needed() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    partition.appended(Offset(11), AckLevel::All, 7, &at(0));
    partition.follower_fetched(full(2, 10), &at(1));
    assert_eq!(proposed(&mut partition), None, "nobody has heard of the third");
    partition.follower_fetched(fetch(3, 10, 10), &at(2));
    partition.tick(&at(3));
    assert_eq!(proposed(&mut partition), Some(vec![1, 3]));
    partition.register(registered(&[1, 3], 5, 51), SYNCED, &at(4));
    partition.follower_fetched(full(3, 10), &at(5));
    partition.tick(&at(30_000));
    assert_eq!(proposed(&mut partition), None, "producers would be refused what they may only wait for");
    partition.tick(&at(30_001));
    assert_eq!(proposed(&mut partition), Some(vec![1]));
    // The other is silent: it may be dead, and the minimum is not kept with the dead.
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.appended(Offset(11), AckLevel::All, 7, &at(2));
    partition.follower_fetched(full(3, 10), &at(3_002));
    assert_eq!(proposed(&mut partition), None);
    partition.follower_fetched(fetch(2, 11, 11), &at(3_003));
    partition.tick(&at(3_004));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2]));
    // A leader is not left alone at once, though it would be enough.
    let mut partition = leader(&[1, 3], 10, AckSettings { min_insync_replicas: 1, ..SYNCED });
    partition.appended(Offset(11), AckLevel::All, 7, &at(0));
    partition.follower_fetched(full(3, 10), &at(1));
    assert_eq!(proposed(&mut partition), None);
}

#[test]
fn a_leader_without_room_makes_way_for_those_that_have_everything() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.make_way(&at(1));
    assert_eq!(proposed(&mut partition), None, "nobody has heard of the third");
    partition.follower_fetched(fetch(3, 10, 9), &at(2));
    partition.make_way(&at(2));
    assert_eq!(proposed(&mut partition), None, "what is not durable does not count");
    partition.follower_fetched(fetch(3, 10, 10), &at(3));
    partition.make_way(&at(3_002));
    assert_eq!(proposed(&mut partition), None, "the second may be dead");
    partition.follower_fetched(fetch(2, 10, 10), &at(3_003));
    partition.make_way(&at(3_003));
    assert_eq!(proposed(&mut partition), Some(vec![2, 3]));
    // Until it is known what came of that, each counts who may.
    partition.appended(Offset(11), AckLevel::All, 7, &at(3_004));
    partition.flushed(Offset(11), &at(3_004));
    assert_eq!(partition.follower_fetched(fetch(2, 11, 11), &at(3_005)), []);
    assert_eq!(partition.follower_fetched(fetch(3, 11, 11), &at(3_006)).len(), 1);
}

#[test]
fn a_leader_without_room_stays_where_too_few_others_have_room() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    partition.follower_fetched(full(3, 10), &at(2));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2]), "the third leaves");
    let made = (LeaderEpoch(5), PartitionEpoch(50));
    partition.proposal_answered(made, ProposalOutcome::Unchanged, &at(3));
    partition.make_way(&at(1_000));
    assert_eq!(proposed(&mut partition), None, "one is too few for two in sync");
    let one = AckSettings { min_insync_replicas: 1, ..SYNCED };
    partition.register(registered(&[1, 2], 5, 51), one, &at(1_001));
    partition.make_way(&at(1_001));
    assert_eq!(proposed(&mut partition), None, "nor is another to be alone");
}

#[test]
fn a_leader_that_was_refused_to_make_way_does_not_ask_at_once_and_its_isr_goes_on() {
    let mut partition = leader(&[1, 2, 3], 10, SYNCED);
    for node in [2, 3] {
        partition.follower_fetched(fetch(node, 10, 10), &at(1));
    }
    partition.make_way(&at(1));
    assert_eq!(proposed(&mut partition), Some(vec![2, 3]));
    let made = (LeaderEpoch(5), PartitionEpoch(50));
    partition.proposal_answered(made, ProposalOutcome::Unchanged, &at(2));
    let again = |partition: &mut Partition<u32>, now: u64| {
        for node in [2, 3] {
            partition.follower_fetched(fetch(node, 10, 10), &at(now));
        }
        partition.make_way(&at(now));
        proposed(partition)
    };
    assert_eq!(again(&mut partition, 5_001), None);
    assert_eq!(again(&mut partition, 5_002), Some(vec![2, 3]));
    partition.proposal_answered(made, ProposalOutcome::Unchanged, &at(5_003));
    partition.appended(Offset(11), AckLevel::Leader, 7, &at(5_004));
    partition.follower_fetched(fetch(2, 11, 11), &at(5_300));
    partition.follower_fetched(full(3, 10), &at(5_300));
    assert_eq!(proposed(&mut partition), Some(vec![1, 2]), "who else leaves does so as always");
}

#[test]
fn only_those_that_are_there_are_too_few() {
    let one = AckSettings { min_insync_replicas: 1, ..SYNCED };
    // The third is dead, and nobody waits for it.
    let mut partition = leader(&[1, 2], 10, one);
    partition.follower_fetched(fetch(2, 10, 10), &at(1));
    let mut without_third = at(2);
    Arc::make_mut(&mut without_third.eligible).remove(&NodeId(3));
    partition.make_way(&at(2));
    assert_eq!(proposed(&mut partition), None, "it may be full, too");
    partition.make_way(&without_third);
    assert_eq!(proposed(&mut partition), Some(vec![2]));
    // It is added by a move, and has yet to copy everything.
    let mut partition = leader(&[1, 2], 10, one);
    let moving = image::Partition { adding: vec![NodeId(3)], ..(*registered(&[1, 2], 5, 51)).clone() };
    partition.register(Arc::new(moving), one, &at(1));
    partition.follower_fetched(fetch(2, 10, 10), &at(2));
    partition.make_way(&at(2));
    assert_eq!(proposed(&mut partition), Some(vec![2]));
}
