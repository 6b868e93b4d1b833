//! A shard on its thread, with a real directory.

use std::fs::File;
use std::path::Path;

use std::sync::Arc;

use ottla_core::config::{Layers, Settings, TopicConfig};
use ottla_core::ids::{
    DirectoryId, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, TopicId, TopicName,
    TopicPartition,
};
use ottla_core::metadata::image::{LeaderRecoveryState, Partition};
use ottla_core::partition::{AckLevel, PartitionError, ReadFrom};
use ottla_core::replicas::{Held, Order, Routes};
use ottla_core::replication::recovery::Behind;
use ottla_core::shard::{Assignment, Batch, FetchPosition, OffsetTarget};
use ottla_core::time::Monotonic;
use ottla_wire::batch::BatchBuilder;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::handle::{FetchItem, Message, ReadBy, Shards};
use super::{ShardEvent, ShardReports, start};

const ME: NodeId = NodeId(1);
const TOPIC: TopicPartition =
    TopicPartition { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionIndex(0) };
const BATCHES: i64 = 500;
const CONSUMER: ReadBy = ReadBy::Consumer(ReadFrom::Leader);

fn assign() -> Order {
    let registration = Partition {
        replicas: vec![ME],
        directories: vec![DirectoryId::default()],
        isr: vec![ME],
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader: Some(ME),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        recovery: LeaderRecoveryState::Recovered,
    };
    let small: Settings = [("segment.bytes".to_owned(), "1048576".to_owned())].into_iter().collect();
    let assignment = Assignment {
        partition: TOPIC,
        topic: TopicName::parse("orders").unwrap(),
        registration: Arc::new(registration),
        config: TopicConfig::resolve(&small, &Layers::default()),
    };
    Order::Assign { shard: 0, assignment: Box::new(assignment) }
}

/// A shard that leads one partition with so many batches of a record each, of 10 KB.
async fn filled(directory: &Path) -> Shards {
    let held = Held { shard: 0, config: None, assigned: false };
    let (_, routes) = watch::channel(Routes::unit(TOPIC, held));
    let (events, mut reports) = mpsc::unbounded_channel();
    let (follows, _nobody_follows) = mpsc::unbounded_channel();
    let to = ShardReports { events, follows };
    let shards = start(ME, &[directory.to_owned()], 100, routes, &to).unwrap();
    assert!(matches!(reports.recv().await, Some(ShardEvent::Opened { .. })));
    shards.order(assign());
    let answers: Vec<_> = (0..BATCHES)
        .map(|number| {
            let value = vec![u8::try_from(number % 251).unwrap(); 10_000];
            let (bytes, header) = BatchBuilder::new().record(number, None, Some(&value)).build().unwrap();
            let record_count = header.record_count.unsigned_abs();
            let batch = Batch { bytes, record_count, log_append_time: None, only_in: None };
            shards.produce(TOPIC, batch, AckLevel::All)
        })
        .collect();
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    shards
}

/// Has the system forget what it keeps in memory of the files, as far as this file system lets it.
fn evict(directory: &Path) {
    for entry in std::fs::read_dir(directory.join("orders-0")).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

#[tokio::test]
async fn every_batch_is_read_whether_in_memory_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let shards = filled(directory.path()).await;
    for cold in [false, true] {
        for max_bytes in [1, 100_000, 10_000_000] {
            let mut offset = 0;
            while offset < BATCHES {
                if cold {
                    evict(directory.path());
                }
                let item = FetchItem {
                    partition: TOPIC,
                    from: FetchPosition::at(Offset(offset)),
                    max_bytes,
                    read_by: CONSUMER,
                    withheld: false,
                    behind: Behind::Served,
                };
                let fetched = shards.fetch(&[item], None, max_bytes).await.remove(0).unwrap();
                let mut rest = &fetched.records[..];
                assert!(!rest.is_empty());
                while !rest.is_empty() {
                    let (batch, after) = ottla_wire::batch::Batch::split(rest).unwrap();
                    assert_eq!(batch.header.base_offset, offset);
                    (rest, offset) = (after, offset + 1);
                }
            }
        }
        for timestamp in [0, 77, BATCHES - 1] {
            if cold {
                evict(directory.path());
            }
            let found = shards.list_offset(TOPIC, None, OffsetTarget::Timestamp(timestamp)).await.unwrap();
            assert_eq!(found.offset, Some(Offset(timestamp)));
        }
    }
    shards.close(None).await;
}

#[tokio::test]
async fn a_leader_that_may_have_been_replaced_does_not_say_what_it_does_not_have() {
    let directory = tempfile::tempdir().unwrap();
    let shards = filled(directory.path()).await;
    for (session_ends, known) in [(Monotonic(0), false), (Monotonic(u64::MAX), true)] {
        shards.session_ends(session_ends);
        let at = |offset| FetchItem {
            partition: TOPIC,
            from: FetchPosition::at(Offset(offset)),
            max_bytes: 1_000,
            read_by: CONSUMER,
            withheld: false,
            behind: Behind::Served,
        };
        let results = shards.fetch(&[at(BATCHES + 1), at(-1), at(0)], None, 1_000).await;
        let out_of_range =
            |result: &Result<_, _>| matches!(result, Err(PartitionError::OffsetOutOfRange { .. }));
        assert_eq!(out_of_range(&results[0]), known, "{:?}", results[0].as_ref().err());
        assert_eq!(matches!(results[0], Err(PartitionError::NotLeader)), !known);
        assert!(out_of_range(&results[1]), "where its log begins it knows");
        assert!(results[2].is_ok(), "what it has it has");
        let newer = shards.end_of_epoch(TOPIC, None, LeaderEpoch(9)).await;
        assert_eq!(newer, if known { Ok(None) } else { Err(PartitionError::NotLeader) });
    }
    shards.close(None).await;
}

#[tokio::test]
async fn a_leader_that_may_have_been_replaced_does_not_say_that_no_record_is_so_late() {
    let directory = tempfile::tempdir().unwrap();
    let shards = filled(directory.path()).await;
    let last = Offset(BATCHES - 1);
    for (target, offset, may_be_elsewhere) in [
        (OffsetTarget::Timestamp(BATCHES), None, true),
        (OffsetTarget::MaxTimestamp, Some(last), true),
        (OffsetTarget::Timestamp(BATCHES - 1), Some(last), false),
        (OffsetTarget::Earliest, Some(Offset(0)), false),
        (OffsetTarget::EarliestLocal, Some(Offset(0)), false),
        (OffsetTarget::Latest, Some(Offset(BATCHES)), false),
        (OffsetTarget::None, None, false),
    ] {
        let ask = || async { shards.list_offset(TOPIC, None, target).await.map(|found| found.offset) };
        let in_doubt = if may_be_elsewhere { Err(PartitionError::NotLeader) } else { Ok(offset) };
        shards.session_ends(Monotonic(0));
        assert_eq!(ask().await, in_doubt, "{target:?}");
        let hears = async { shards.session_ends(Monotonic(u64::MAX)) };
        let (asked_before, ()) = tokio::join!(biased; ask(), hears);
        assert_eq!(asked_before, in_doubt, "{target:?}, asked before it heard from a controller");
        assert_eq!(ask().await, Ok(offset), "{target:?}");
    }
    shards.close(None).await;
}

#[tokio::test]
async fn a_log_that_goes_while_it_is_read_fails_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let shards = filled(directory.path()).await;
    let item = FetchItem {
        partition: TOPIC,
        from: FetchPosition::at(Offset(0)),
        max_bytes: 1_000_000,
        read_by: CONSUMER,
        withheld: false,
        behind: Behind::Served,
    };
    let failed = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let report = |place| {
        let (answer, answered) = oneshot::channel();
        shards.send(0, Message::ReadFailed { item, place, error: failed(), answer });
        answered
    };
    let moved = report((1_234_567, 10)).await.unwrap();
    assert_eq!(moved, PartitionError::NotLeader, "the records are elsewhere by now");
    shards.order(Order::Remove { shard: 0, partition: TOPIC });
    assert_eq!(report((0, 10)).await.unwrap(), PartitionError::NotLeader, "the partition has gone");
    shards.order(assign());
    let found = shards.list_offset(TOPIC, None, OffsetTarget::Latest).await.unwrap();
    assert_eq!(found.offset, Some(Offset(0)), "the directory still works");
}

#[tokio::test]
async fn records_that_are_no_longer_where_they_must_be_fail_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let shards = filled(directory.path()).await;
    let item = FetchItem {
        partition: TOPIC,
        from: FetchPosition::at(Offset(0)),
        max_bytes: 1_000_000,
        read_by: CONSUMER,
        withheld: false,
        behind: Behind::Served,
    };
    let (answer, answered) = oneshot::channel();
    let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    shards.send(0, Message::ReadFailed { item, place: (0, 10), error, answer });
    assert_eq!(answered.await.unwrap(), PartitionError::Storage);
    assert!(matches!(shards.fetch(&[item], None, 10).await.remove(0), Err(PartitionError::Storage)));
}

#[tokio::test]
async fn a_read_ends_with_its_segment_and_says_whether_more_lies_in_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let shards = filled(directory.path()).await;
    let mut offset = 0;
    let mut reads = 0;
    loop {
        let item = FetchItem {
            partition: TOPIC,
            from: FetchPosition::at(Offset(offset)),
            max_bytes: 100 << 20,
            read_by: CONSUMER,
            withheld: false,
            behind: Behind::Served,
        };
        let fetched = shards.fetch(&[item], None, 100 << 20).await.remove(0).unwrap();
        reads += 1;
        let batches = ottla_wire::batch::Batches::new(&fetched.records);
        offset = batches.map(|batch| batch.unwrap().header.next_offset()).last().unwrap();
        assert_eq!(fetched.more_follows, offset < BATCHES);
        if !fetched.more_follows {
            break;
        }
    }
    assert!(reads > 1, "there is more than one segment");
    shards.close(None).await;
}
