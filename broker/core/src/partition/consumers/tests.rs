use std::sync::Arc;

use super::*;
use crate::config::Durability;
use crate::ids::{BrokerEpoch, DirectoryId, PartitionEpoch};
use crate::metadata::image::{self, LeaderRecoveryState};
use crate::partition::{AckSettings, FollowerFetch};
use crate::time::Monotonic;

const ME: NodeId = NodeId(1);
const SETTINGS: AckSettings = AckSettings { durability: Durability::Synced, min_insync_replicas: 1 };

/// A partition of brokers 1 to 4, in epoch 5.
fn registered(leader: i32, isr: &[i32]) -> Arc<image::Partition> {
    Arc::new(image::Partition {
        replicas: [1, 2, 3, 4].map(NodeId).to_vec(),
        directories: vec![DirectoryId::default(); 4],
        isr: isr.iter().map(|id| NodeId(*id)).collect(),
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader: Some(NodeId(leader)),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(50),
        recovery: LeaderRecoveryState::Recovered,
    })
}

/// Brokers 1 to 4 in service; broker N registered with epoch 10·N.
fn at(ms: u64) -> Peers {
    let eligible = [1, 2, 3, 4].map(|id| (NodeId(id), BrokerEpoch(i64::from(id) * 10)));
    Peers { now: Monotonic(ms), eligible: Arc::new(eligible.into_iter().collect()), ..Peers::default() }
}

fn positions(log_start: i64, log_end: i64) -> Positions {
    Positions {
        log_start: Offset(log_start),
        log_end: Offset(log_end),
        flushed_end: Offset(log_end),
        established: true,
    }
}

/// One follower: who it is, where its log starts and ends, and when it fetched.
type Fetched = (i32, i64, i64, u64);

/// This broker leads, with a log up to 100 and these fetches behind it.
fn leader(isr: &[i32], fetched: &[Fetched]) -> Partition<u32> {
    let mut partition =
        Partition::new(ME, registered(1, isr), positions(0, 100), Offset(0), SETTINGS, &at(0));
    for (node, log_start, end, ms) in fetched {
        let fetch = FollowerFetch {
            node_id: NodeId(*node),
            broker_epoch: BrokerEpoch(i64::from(*node) * 10),
            fetched_end: Offset(*end),
            flushed_end: Offset(*end),
            log_start: Offset(*log_start),
            lacks_room: false,
            high_watermark: None,
        };
        partition.follower_fetched(fetch, &at(*ms));
    }
    partition
}

#[test]
fn a_leader_prefers_of_the_replicas_near_a_consumer_the_one_that_has_come_furthest() {
    const ALL: &[i32] = &[1, 2, 3, 4];
    let three = &[(2, 0, 100, 9), (3, 0, 90, 9), (4, 20, 100, 8)];
    type Case<'a> = (&'a str, &'a [i32], &'a [Fetched], &'a [i32], i64, Option<i32>);
    let cases: &[Case<'_>] = &[
        ("the only one near it", ALL, three, &[3], 50, Some(3)),
        ("nobody is near it", ALL, three, &[], 50, None),
        ("this leader is as near", ALL, three, &[1, 2], 50, None),
        ("the one with the longer log", ALL, three, &[2, 3], 50, Some(2)),
        ("also where none has everything", ALL, &[(2, 0, 95, 9), (3, 0, 90, 9)], &[2, 3], 50, Some(2)),
        ("of equals the one that caught up last", ALL, three, &[2, 4], 50, Some(2)),
        ("of equals in all the greatest id", ALL, &[(2, 0, 100, 9), (4, 0, 100, 9)], &[2, 4], 50, Some(4)),
        ("not one that is not in sync", &[1, 3, 4], three, &[2, 3], 50, Some(3)),
        ("not one that has not fetched in this leadership", ALL, &[(3, 0, 90, 9)], &[2], 50, None),
        ("at the end of its log it waits", ALL, three, &[3], 90, Some(3)),
        ("not beyond the end of its log", ALL, three, &[3], 91, None),
        ("nor before its start", ALL, three, &[4], 19, None),
        ("but at its start", ALL, three, &[4], 20, Some(4)),
        ("a broker that has no replica", ALL, three, &[7], 50, None),
    ];
    for (what, isr, fetched, near, offset, expected) in cases {
        let near = near.iter().map(|id| NodeId(*id)).collect();
        let preferred = leader(isr, fetched).preferred_read_replica(Offset(*offset), &near, &at(10));
        assert_eq!(preferred, expected.map(NodeId), "{what}");
    }
}

#[test]
fn what_a_broker_had_before_it_registered_anew_sends_nobody_there() {
    let partition = leader(&[1, 2], &[(2, 0, 100, 9)]);
    let mut peers = at(10);
    let preferred = |peers: &Peers| partition.preferred_read_replica(Offset(5), &[NodeId(2)].into(), peers);
    assert_eq!(preferred(&peers), Some(NodeId(2)));
    peers.eligible = Arc::new([(NodeId(2), BrokerEpoch(21))].into());
    assert_eq!(preferred(&peers), None);
}

#[test]
fn a_follower_sends_nobody_anywhere() {
    let follower: Partition<u32> =
        Partition::new(ME, registered(2, &[1, 2]), positions(0, 100), Offset(0), SETTINGS, &at(0));
    assert_eq!(follower.preferred_read_replica(Offset(5), &[NodeId(3)].into(), &at(1)), None);
}

/// Broker 2 leads; this one has a log from 10 to 100 and a high watermark of 60.
fn follower(isr: &[i32]) -> Partition<u32> {
    Partition::new(ME, registered(2, isr), positions(10, 100), Offset(60), SETTINGS, &at(0))
}

#[test]
fn a_follower_gives_what_is_committed_and_does_not_judge_what_lies_beyond_it() {
    let out_of_range =
        |asked| Err(PartitionError::OffsetOutOfRange { asked, log_start: Offset(10), log_end: Offset(100) });
    let not_available = Err(PartitionError::OffsetNotAvailable);
    let asks = |isr: &[i32], offset| {
        let readable = follower(isr).check_fetch(Offset(offset), None, ReadFrom::AnyReplica);
        readable.map(|readable| (readable.end_exclusive.0, readable.role))
    };
    let readable = Ok((60, Role::Follower));
    for (offset, in_sync, lagging) in [
        (9, out_of_range(Offset(9)), out_of_range(Offset(9))),
        (10, readable.clone(), readable.clone()),
        (59, readable.clone(), readable.clone()),
        (60, readable.clone(), not_available.clone()),
        (100, readable, not_available.clone()),
        (101, not_available.clone(), not_available),
    ] {
        assert_eq!(asks(&[1, 2], offset), in_sync, "in sync, at {offset}");
        assert_eq!(asks(&[2], offset), lagging, "not in sync, at {offset}");
    }
}

#[test]
fn a_follower_serves_those_who_ask_for_it_in_its_own_epoch() {
    let asks = |epoch, from| {
        follower(&[1, 2]).check_fetch(Offset(20), Some(LeaderEpoch(epoch)), from).map(|_| ()).map_err(
            |error| {
                matches!(
                    error,
                    PartitionError::FencedLeaderEpoch { .. } | PartitionError::UnknownLeaderEpoch { .. }
                )
            },
        )
    };
    assert_eq!(asks(5, ReadFrom::AnyReplica), Ok(()));
    assert_eq!(asks(4, ReadFrom::AnyReplica), Err(true));
    assert_eq!(asks(6, ReadFrom::AnyReplica), Err(true));
    assert_eq!(
        follower(&[1, 2]).check_fetch(Offset(20), None, ReadFrom::Leader),
        Err(PartitionError::NotLeader)
    );
    let mut failed = follower(&[1, 2]);
    failed.fail();
    assert_eq!(failed.check_fetch(Offset(20), None, ReadFrom::AnyReplica), Err(PartitionError::Storage));
}

#[test]
fn a_follower_in_doubt_keeps_nobody_waiting_and_a_leader_does() {
    let (at_follower, at_leader) = (follower(&[1, 2]).readable(), leader(&[1], &[]).readable());
    assert_eq!(at_follower.of_doubtful_replica(), Err(PartitionError::OffsetNotAvailable));
    assert_eq!(at_leader.of_doubtful_replica(), Ok(at_leader));
}

#[test]
fn a_follower_lacks_a_high_watermark_that_its_log_reaches() {
    let fetch = |end, high_watermark| FollowerFetch {
        node_id: NodeId(2),
        broker_epoch: BrokerEpoch(20),
        fetched_end: Offset(end),
        flushed_end: Offset(end),
        log_start: Offset(0),
        lacks_room: false,
        high_watermark,
    };
    for (end, known, leaders, lacks) in [
        (10, Some(9), 10, true),
        (10, Some(10), 10, false),
        (10, Some(10), 20, false),
        (10, Some(5), 20, true),
        (10, Some(-1), 0, true),
        (10, None, 20, false),
    ] {
        assert_eq!(fetch(end, known.map(Offset)).lacks(Offset(leaders)), lacks, "{end} {known:?} {leaders}");
    }
}
