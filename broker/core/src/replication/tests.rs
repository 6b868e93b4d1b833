use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::ids::{
    DirectoryId, LeaderEpoch, MetadataOffset, Offset, PartitionEpoch, PartitionIndex, TopicId, TopicName,
};
use crate::metadata::image::{ConfigResource, LeaderRecoveryState, Partition};
use crate::metadata::record::{ConfigRecord, PartitionRecord, Record, TopicRecord};
use crate::shard::FollowProblem;

const ME: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);

fn id(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionIndex(partition) }
}

fn from(offset: i64) -> FollowFrom {
    FollowFrom {
        leader: LEADER,
        leader_epoch: LeaderEpoch(3),
        offset: Offset(offset),
        last_epoch: None,
        flushed_end: Offset(offset),
        log_start: Offset(0),
        high_watermark: Offset(0),
        lacks_room: false,
        problem: None,
    }
}

fn records(bytes: &'static [u8], high_watermark: i64) -> Option<Replicated> {
    let (bytes, high_watermark) = (Bytes::from_static(bytes), Offset(high_watermark));
    Some(Replicated::Records { bytes, high_watermark, log_start: Offset(0) })
}

/// Fetchers that follow these partitions in shard 0.
fn following(partitions: &[i32]) -> Fetchers {
    let mut fetchers = Fetchers::new(ME, FetchLimits::default());
    fetchers.registered(Some(BrokerEpoch(9)));
    for partition in partitions {
        fetchers.follow(Monotonic(0), 0, id(*partition), Some(from(0)));
    }
    fetchers
}

/// The one request that is to be sent now, if there is one: its number and its partitions.
fn asked(fetchers: &mut Fetchers, now: u64) -> Option<(FetchNumber, Vec<i32>)> {
    let fetches = fetchers.ready(Monotonic(now)).fetches;
    assert!(fetches.len() <= 1, "{fetches:?}");
    let fetch = fetches.into_iter().next()?;
    Some((fetch.number, fetch.partitions.iter().map(|(id, _)| id.partition.0).collect()))
}

fn delivered(fetchers: &mut Fetchers, now: u64) -> Vec<i32> {
    let effects = fetchers.ready(Monotonic(now));
    assert!(effects.fetches.is_empty(), "a shard has yet to take in what came");
    effects.deliveries.iter().map(|delivery| delivery.partition.partition.0).collect()
}

#[test]
fn one_request_names_all_and_the_next_waits_for_what_it_brought() {
    let mut fetchers = following(&[0, 1]);
    let (number, partitions) = asked(&mut fetchers, 0).expect("there is something to ask for");
    assert_eq!(partitions, [0, 1]);
    assert_eq!(asked(&mut fetchers, 1), None, "one at a time");
    fetchers.replied(Monotonic(2), number, Some(vec![(id(0), records(b"x", 0)), (id(1), records(b"", 0))]));
    assert_eq!(delivered(&mut fetchers, 2), [0, 1], "the second learns the high watermark");
    fetchers.follow(Monotonic(3), 0, id(1), Some(from(0)));
    assert_eq!(asked(&mut fetchers, 3), None);
    fetchers.follow(Monotonic(4), 0, id(0), Some(from(1)));
    let (_, partitions) = asked(&mut fetchers, 4).expect("all is taken in");
    assert_eq!(partitions, [1, 0], "who got records goes to the end");
}

#[test]
fn an_empty_answer_that_says_nothing_new_goes_to_no_shard() {
    let mut fetchers = following(&[0]);
    let (number, _) = asked(&mut fetchers, 0).expect("it asks");
    fetchers.replied(Monotonic(1), number, Some(vec![(id(0), records(b"", 5))]));
    assert_eq!(delivered(&mut fetchers, 1), [0]);
    fetchers.follow(Monotonic(2), 0, id(0), Some(from(0)));
    let (number, _) = asked(&mut fetchers, 2).expect("it asks again");
    fetchers.replied(Monotonic(3), number, Some(vec![(id(0), records(b"", 5))]));
    let effects = fetchers.ready(Monotonic(3));
    assert_eq!((effects.deliveries.len(), effects.fetches.len()), (0, 1));
}

/// What is asked for now: which partitions of which leader, in which lane, and how many bytes.
fn asked_in_lanes(fetchers: &mut Fetchers, now: u64) -> Vec<(FetchNumber, Lane, Vec<i32>, u32)> {
    let of = |fetch: ReplicaFetch| {
        let partitions = fetch.partitions.iter().map(|(id, _)| id.partition.0).collect();
        (fetch.number, fetch.lane, partitions, fetch.bytes_max)
    };
    fetchers.ready(Monotonic(now)).fetches.into_iter().map(of).collect()
}

/// The one request that is to be sent now, which is to wait so long.
fn asked_for_at_most(fetchers: &mut Fetchers, wait_max: Duration) -> FetchNumber {
    let fetches = fetchers.ready(Monotonic(0)).fetches;
    assert_eq!((fetches.len(), fetches[0].wait_max), (1, wait_max));
    fetches[0].number
}

#[test]
fn replicas_that_lack_committed_records_are_asked_for_apart_and_hold_up_nobody() {
    let mut fetchers = following(&[0, 1]);
    let (number, _) = asked(&mut fetchers, 0).expect("it asks");
    let replies = vec![(id(0), records(b"x", 9)), (id(1), records(b"x", 1))];
    fetchers.replied(Monotonic(0), number, Some(replies));
    assert_eq!(delivered(&mut fetchers, 0), [0, 1]);
    fetchers.follow(Monotonic(0), 0, id(0), Some(from(1)));
    fetchers.follow(Monotonic(0), 0, id(1), Some(from(1)));
    let both = asked_in_lanes(&mut fetchers, 0);
    let [(current, Lane::Current, ahead, _), (behind, Lane::Behind, lacking, bytes_max)] = &both[..] else {
        panic!("{both:?}")
    };
    assert_eq!((&ahead[..], &lacking[..], *bytes_max), (&[1][..], &[0][..], BEHIND_BYTES_MAX));
    // The one in sync goes on while the other's answer is still on its way.
    for offset in 2..5 {
        let number = if offset == 2 { *current } else { asked(&mut fetchers, 0).expect("it goes on").0 };
        fetchers.replied(Monotonic(0), number, Some(vec![(id(1), records(b"x", offset))]));
        assert_eq!(delivered(&mut fetchers, 0), [1]);
        fetchers.follow(Monotonic(0), 0, id(1), Some(from(offset)));
    }
    // Who has caught up is asked for with the others, which do not wait for long meanwhile.
    let number = asked_for_at_most(&mut fetchers, JOIN_WAIT);
    fetchers.replied(Monotonic(0), *behind, Some(vec![(id(0), records(b"x", 9))]));
    assert_eq!(fetchers.ready(Monotonic(0)).deliveries.len(), 1);
    fetchers.follow(Monotonic(0), 0, id(0), Some(from(9)));
    assert_eq!(asked(&mut fetchers, 0), None, "the others' request is on its way");
    fetchers.replied(Monotonic(0), number, Some(Vec::new()));
    let one = fetchers.ready(Monotonic(0)).fetches;
    assert_eq!((one.len(), one[0].lane, one[0].partitions.len()), (1, Lane::Current, 2));
    assert_eq!(one[0].wait_max, FetchLimits::default().wait_max);
}

#[test]
fn what_is_asked_for_at_once_for_replicas_that_are_behind_is_bounded_over_all_leaders() {
    let mut fetchers = following(&[]);
    let leaders = 2..12;
    for leader in leaders.clone() {
        let from = FollowFrom { leader: NodeId(leader), ..from(0) };
        fetchers.follow(Monotonic(0), 0, id(leader), Some(from));
    }
    for fetch in fetchers.ready(Monotonic(0)).fetches {
        fetchers.replied(Monotonic(0), fetch.number, Some(vec![(fetch.partitions[0].0, records(b"", 9))]));
        let from = FollowFrom { leader: fetch.leader, ..from(0) };
        fetchers.follow(Monotonic(0), 0, fetch.partitions[0].0, Some(from));
    }
    let asked = asked_in_lanes(&mut fetchers, 0);
    assert_eq!(asked.len(), leaders.count());
    let bytes: u32 = asked.iter().map(|(_, _, _, bytes_max)| bytes_max).sum();
    assert!(bytes <= BEHIND_BYTES_MAX && bytes > BEHIND_BYTES_MAX / 2, "{bytes}");
}

#[test]
fn a_replica_is_in_one_request_at_a_time_whichever_lane_it_belongs_to() {
    let mut fetchers = following(&[0]);
    let (number, _) = asked(&mut fetchers, 0).expect("it asks");
    fetchers.replied(Monotonic(0), number, Some(vec![(id(0), records(b"x", 5))]));
    assert_eq!(delivered(&mut fetchers, 0), [0]);
    fetchers.follow(Monotonic(0), 0, id(0), Some(from(5)));
    let (number, _) = asked(&mut fetchers, 0).expect("it asks");
    // Its log was cut meanwhile.
    for _ in 0..2 {
        fetchers.follow(Monotonic(0), 0, id(0), Some(from(3)));
        assert_eq!(asked(&mut fetchers, 0), None, "what it said before is still on its way");
    }
    fetchers.replied(Monotonic(0), number, Some(vec![(id(0), records(b"x", 6))]));
    let effects = fetchers.ready(Monotonic(0));
    assert_eq!((effects.deliveries.len(), effects.fetches.len()), (0, 1), "it was asked from elsewhere");
}

#[test]
fn a_high_watermark_that_a_shard_did_not_take_in_is_given_to_it_again() {
    let mut fetchers = following(&[]);
    for (now, known, delivers) in [(0, 0, true), (10, 0, true), (20, 5, false)] {
        let follows = FollowFrom { high_watermark: Offset(known), ..from(5) };
        fetchers.follow(Monotonic(now), 0, id(0), Some(follows));
        let (number, _) = asked(&mut fetchers, now).expect("it asks");
        fetchers.replied(Monotonic(now), number, Some(vec![(id(0), records(b"", 5))]));
        assert_eq!(!fetchers.ready(Monotonic(now)).deliveries.is_empty(), delivers, "at {now}");
    }
}

#[test]
fn nothing_is_asked_before_the_broker_is_registered() {
    let mut fetchers = following(&[0]);
    fetchers.registered(None);
    assert_eq!(asked(&mut fetchers, 0), None);
    fetchers.registered(Some(BrokerEpoch(10)));
    assert_eq!(fetchers.ready(Monotonic(0)).fetches[0].broker_epoch, BrokerEpoch(10));
}

#[test]
fn a_refused_partition_pauses_and_the_others_go_on() {
    let mut fetchers = following(&[0, 1]);
    let (number, _) = asked(&mut fetchers, 0).expect("it asks");
    fetchers.replied(Monotonic(1), number, Some(vec![(id(0), None), (id(1), records(b"", 0))]));
    assert_eq!(delivered(&mut fetchers, 1), [1]);
    fetchers.follow(Monotonic(2), 0, id(1), Some(from(0)));
    let (number, partitions) = asked(&mut fetchers, 2).expect("the other goes on");
    assert_eq!(partitions, [1]);
    fetchers.replied(Monotonic(150), number, Some(vec![(id(1), records(b"", 0))]));
    assert_eq!(asked(&mut fetchers, 150).expect("both").1, [0, 1]);
}

#[test]
fn a_leader_that_cannot_be_reached_is_asked_again_after_the_backoff() {
    let mut fetchers = following(&[0]);
    let (number, _) = asked(&mut fetchers, 0).expect("it asks");
    fetchers.replied(Monotonic(10), number, None);
    assert_eq!(asked(&mut fetchers, 11), None);
    assert_eq!(fetchers.wakes_at(), Some(Monotonic(1010)));
    assert!(asked(&mut fetchers, 1010).is_some());
}

#[test]
fn directories_and_leaders_do_not_wait_for_each_other() {
    let mut fetchers = following(&[0]);
    fetchers.follow(Monotonic(0), 1, id(1), Some(from(0)));
    let elsewhere = FollowFrom { leader: NodeId(3), ..from(0) };
    fetchers.follow(Monotonic(0), 0, id(2), Some(elsewhere));
    let pairs: Vec<(usize, NodeId)> =
        fetchers.ready(Monotonic(0)).fetches.iter().map(|fetch| (fetch.shard, fetch.leader)).collect();
    assert_eq!(pairs, [(0, LEADER), (0, NodeId(3)), (1, LEADER)]);
}

#[test]
fn what_a_former_leader_answers_is_not_delivered() {
    let mut fetchers = following(&[0]);
    let (number, _) = asked(&mut fetchers, 0).expect("it asks");
    let elsewhere = FollowFrom { leader: NodeId(3), leader_epoch: LeaderEpoch(4), ..from(0) };
    fetchers.follow(Monotonic(1), 0, id(0), Some(elsewhere));
    assert_eq!(fetchers.ready(Monotonic(1)).fetches[0].leader, NodeId(3));
    fetchers.replied(Monotonic(2), number, Some(vec![(id(0), records(b"x", 0))]));
    assert!(fetchers.ready(Monotonic(2)).deliveries.is_empty());
    assert_eq!(
        fetchers.ways().collect::<Vec<_>>(),
        [(0, NodeId(3), Lane::Current)],
        "the former one is forgotten"
    );
}

#[test]
fn a_replica_that_follows_nobody_is_asked_for_no_more() {
    let mut fetchers = following(&[0, 1]);
    fetchers.follow(Monotonic(0), 0, id(0), None);
    assert_eq!(asked(&mut fetchers, 0).expect("the other").1, [1]);
    // A shard that once had it has no say.
    fetchers.follow(Monotonic(0), 5, id(1), None);
    assert!(!fetchers.pair_of.is_empty());
}

#[test]
fn what_a_shard_said_before_it_lost_a_replica_does_not_end_what_the_next_one_follows() {
    let newer = FollowFrom { leader_epoch: LeaderEpoch(4), ..from(0) };
    for leader in [LEADER, NodeId(3)] {
        let mut fetchers = following(&[]);
        // Shards report side by side: what shard 0 said first arrives after what shard 1 said.
        fetchers.follow(Monotonic(0), 1, id(0), Some(FollowFrom { leader, ..newer }));
        fetchers.follow(Monotonic(0), 0, id(0), Some(from(0)));
        assert_eq!(
            fetchers.ways().collect::<Vec<_>>(),
            [(1, leader, Lane::Current)],
            "an older epoch is of no more account"
        );
        fetchers.follow(Monotonic(0), 0, id(0), None);
        let fetches = fetchers.ready(Monotonic(0)).fetches;
        assert_eq!(fetches.len(), 1);
        assert_eq!((fetches[0].shard, &fetches[0].partitions[0].1.leader_epoch), (1, &LeaderEpoch(4)));
    }
    // In the order in which the shards were told, too, also within one epoch.
    let mut fetchers = following(&[0]);
    fetchers.follow(Monotonic(0), 1, id(0), Some(from(0)));
    fetchers.follow(Monotonic(0), 0, id(0), None);
    assert_eq!(fetchers.ways().collect::<Vec<_>>(), [(1, LEADER, Lane::Current)]);
}

#[test]
fn a_replica_that_could_not_take_what_it_got_pauses() {
    for problem in [FollowProblem::Full, FollowProblem::Flawed].map(Some) {
        let mut fetchers = following(&[]);
        fetchers.follow(Monotonic(0), 0, id(0), Some(FollowFrom { problem, ..from(0) }));
        assert_eq!(asked(&mut fetchers, 1_999), None);
        assert!(asked(&mut fetchers, 2_000).is_some());
    }
}

#[test]
fn a_leader_hears_at_once_that_there_is_no_room() {
    let answered = |problem: Option<FollowProblem>, now: u64, fetchers: &mut Fetchers| {
        let (number, _) = asked(fetchers, now).expect("it asks");
        fetchers.replied(Monotonic(now), number, Some(vec![(id(0), records(b"x", 0))]));
        assert_eq!(delivered(fetchers, now), [0]);
        let lacks_room = problem == Some(FollowProblem::Full);
        fetchers.follow(Monotonic(now), 0, id(0), Some(FollowFrom { lacks_room, problem, ..from(0) }));
    };
    let mut fetchers = following(&[0]);
    answered(Some(FollowProblem::Full), 0, &mut fetchers);
    answered(Some(FollowProblem::Full), 0, &mut fetchers);
    assert_eq!(asked(&mut fetchers, 1_999), None, "it has been told");
    answered(None, 2_000, &mut fetchers);
    answered(Some(FollowProblem::Flawed), 2_000, &mut fetchers);
    assert_eq!(asked(&mut fetchers, 3_999), None, "that is nothing that its leader must hear");
}

/// Partitions 0, with this broker in its ISR, and 1, without; both are throttled to 1,000 bytes a second.
fn throttled() -> Image {
    let partition = |isr: &[i32]| Partition {
        replicas: vec![ME, LEADER],
        directories: vec![DirectoryId::default(); 2],
        isr: isr.iter().copied().map(NodeId).collect(),
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader: Some(LEADER),
        leader_epoch: LeaderEpoch(3),
        partition_epoch: PartitionEpoch(3),
        recovery: LeaderRecoveryState::Recovered,
    };
    let (topic_id, name) = (id(0).topic_id, TopicName::parse("a").expect("a name"));
    let of = |index, isr| {
        let index = PartitionIndex(index);
        Record::Partition(PartitionRecord { topic_id, index, partition: partition(isr) })
    };
    let set = |resource, name: &str, value: &str| {
        Record::Config(ConfigRecord { resource, name: name.to_owned(), value: Some(value.to_owned()) })
    };
    let records = [
        Record::Topic(TopicRecord { id: topic_id, name: name.clone() }),
        of(0, &[1, 2]),
        of(1, &[2]),
        set(ConfigResource::Topic(name), "follower.replication.throttled.replicas", "0:1,1:1"),
        set(ConfigResource::Broker(ME), "follower.replication.throttled.rate", "1000"),
        set(ConfigResource::BrokerDefault, "follower.replication.throttled.rate", "1"),
    ];
    let mut image = Image::default();
    records.iter().for_each(|record| image.replay(MetadataOffset(1), record).expect("it fits"));
    image
}

#[test]
fn a_throttled_replica_that_is_not_in_sync_waits_until_its_debt_is_paid() {
    const BYTES: &[u8] = &[0; 3_000];
    let mut fetchers = following(&[0, 1]);
    fetchers.configured(Monotonic(0), &throttled(), &Settings::new());
    let (number, partitions) = asked(&mut fetchers, 0).expect("it asks");
    assert_eq!(partitions, [0, 1]);
    fetchers.replied(
        Monotonic(0),
        number,
        Some(vec![(id(0), records(BYTES, 9)), (id(1), records(BYTES, 9))]),
    );
    assert_eq!(delivered(&mut fetchers, 0), [0, 1]);
    fetchers.follow(Monotonic(0), 0, id(0), Some(from(9)));
    fetchers.follow(Monotonic(0), 0, id(1), Some(from(9)));
    let (number, partitions) = asked(&mut fetchers, 0).expect("it asks");
    assert_eq!(partitions, [0], "who is in sync goes on, and is not counted");
    fetchers.replied(Monotonic(2_000), number, Some(Vec::new()));
    let (number, partitions) = asked(&mut fetchers, 2_000).expect("it asks");
    assert_eq!(partitions, [0], "3 s are to be paid");
    fetchers.replied(Monotonic(3_500), number, Some(Vec::new()));
    let (_, partitions) = asked(&mut fetchers, 3_500).expect("it asks");
    assert_eq!(partitions, [0, 1]);
}
