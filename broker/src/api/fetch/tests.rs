use ottla_core::config::ReplicaSelector;
use ottla_core::ids::BrokerEpoch;
use ottla_core::log::EpochEnd;
use ottla_core::partition::{FollowerFetch, ReadFrom, Readable, Role};
use ottla_wire::replica_fetch::{with_flushed_offset, without_room};

use super::*;

fn fetched(bytes: usize) -> Fetched {
    let end = Offset(100);
    let readable =
        Readable { log_start: Offset(0), end_exclusive: end, high_watermark: end, role: Role::Leader };
    let records = vec![0; bytes].into();
    Fetched { readable, records, more_follows: false, diverging: None, is_behind: false, preferred: None }
}

fn item(read_by: ReadBy) -> FetchItem {
    super::item(TopicId::default(), read_by, &FetchPartition::default())
}

#[test]
fn a_poll_ends_when_waiting_brings_nothing_more() {
    let items = [item(ReadBy::Consumer(ReadFrom::AnyReplica))];
    let ends = |fetched| is_answer(&items, &[Ok(fetched)], 1_000, 1);
    assert!(!ends(fetched(999)));
    assert!(ends(fetched(1_000)));
    assert!(ends(Fetched { more_follows: true, ..fetched(10) }), "the rest of an old segment");
    assert!(!ends(Fetched { more_follows: true, ..fetched(0) }));
    let end = EpochEnd { epoch: LeaderEpoch(1), end: Offset(5) };
    assert!(ends(Fetched { diverging: Some(end), ..fetched(0) }));
    assert!(ends(Fetched { preferred: Some(NodeId(2)), ..fetched(0) }), "it is to ask another");
    assert!(is_answer(&items, &[Err(PartitionError::NotLeader)], 1_000, 1));
    assert!(is_answer(&[], &[], 1_000, 0), "nothing is asked for");
}

#[test]
fn a_follower_wants_to_know_the_high_watermark_where_consumers_may_read_from_it() {
    let asker = Asker::Follower { node_id: NodeId(2), broker_epoch: BrokerEpoch(5) };
    let partition = FetchPartition::default().with_high_watermark(7);
    for (selector, wanted) in [(ReplicaSelector::RackAware, Some(Offset(7))), (ReplicaSelector::Leader, None)]
    {
        let ReadBy::Follower(fetch) = asker.read_by(&partition, selector) else { panic!("a follower") };
        assert_eq!(fetch.high_watermark, wanted, "{selector:?}");
    }
}

#[test]
fn a_follower_is_taken_at_its_word_about_its_disk() {
    let asker = Asker::Follower { node_id: NodeId(2), broker_epoch: BrokerEpoch(5) };
    let partition = with_flushed_offset(FetchPartition::default(), 7);
    for (partition, wanted) in [(partition.clone(), false), (without_room(partition), true)] {
        let ReadBy::Follower(fetch) = asker.read_by(&partition, ReplicaSelector::Leader) else {
            panic!("a follower")
        };
        assert_eq!((fetch.flushed_end, fetch.lacks_room), (Offset(7), wanted));
    }
}

#[test]
fn a_follower_that_waits_is_answered_when_the_high_watermark_passes_the_one_it_knows() {
    let ends = |high_watermark: Option<i64>, withheld| {
        let fetch = FollowerFetch {
            node_id: NodeId(2),
            broker_epoch: BrokerEpoch(5),
            fetched_end: Offset(100),
            flushed_end: Offset(100),
            log_start: Offset(0),
            lacks_room: false,
            high_watermark: high_watermark.map(Offset),
        };
        let item = FetchItem { withheld, ..item(ReadBy::Follower(fetch)) };
        is_answer(&[item], &[Ok(fetched(0))], 1, 1)
    };
    assert!(ends(Some(99), false));
    assert!(!ends(Some(100), false));
    assert!(!ends(None, false), "nobody reads there");
    assert!(!ends(Some(99), true), "a throttled one would ask again and again");
}
