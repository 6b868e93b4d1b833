//! How long idempotent producers are remembered, and who is forgotten when there are too many.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_core::ids::{Offset, PartitionIndex, ProducerId, TopicPartition};
use ottla_core::partition::AckLevel;
use ottla_core::shard::{Batch, Replicated, ReplicatedPart};
use ottla_core::time::{Monotonic, Wall};
use ottla_sim::disk::CrashKind;
use ottla_wire::batch::BatchBuilder;

use crate::rig::{ME, OTHER, Rig, Seen, TOPIC, replicated};

/// What a log, a directory and one tick are bounded by.
const LOG_MAX: i64 = 10_000;
const DIRECTORY_MAX: usize = 200_000;
const TICK_MAX: usize = 10_000;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn sent(id: i64) -> BytesMut {
    let builder = BatchBuilder::new().producer(id, 0, 0);
    builder.record(1_000, None, Some(b"v")).build().unwrap().0
}

/// One batch of each of these producers, as a leader gives them.
fn of_each(ids: std::ops::Range<i64>) -> Bytes {
    let mut bytes = BytesMut::new();
    for (base, id) in (0..).zip(ids) {
        let mut batch = sent(id);
        ottla_wire::batch::patch_base_offset(&mut batch, base);
        ottla_wire::batch::patch_leader_epoch(&mut batch, 1);
        bytes.extend_from_slice(&batch);
    }
    bytes.freeze()
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition { partition: PartitionIndex(index), ..TOPIC }
}

impl Rig {
    /// A follower's log takes a batch of each of these producers.
    fn fill(&mut self, index: i32, ids: std::ops::Range<i64>) {
        self.shard.assign(replicated(partition(index), OTHER, &[ME, OTHER], 1));
        self.sync();
        let (bytes, from) = (of_each(ids), Offset(0));
        let given = Replicated::Records { bytes, high_watermark: from, log_start: from };
        let part = ReplicatedPart { leader_epoch: ottla_core::ids::LeaderEpoch(1), from, given };
        self.shard.replicate(partition(index), part, Wall(1_000));
        self.sync();
    }

    /// A producer's first batch, sent for the first time or again.
    fn first(&mut self, id: i64, now: Wall) -> Vec<Seen> {
        let batch = Batch { bytes: sent(id), record_count: 1, log_append_time: None, only_in: None };
        self.shard.produce(TOPIC, batch, AckLevel::Leader, 1, now);
        let mut seen = self.effects();
        seen.extend(self.sync());
        seen
    }

    fn ids(&self, index: i32) -> Vec<ProducerId> {
        self.shard.producers(partition(index)).unwrap().iter().map(|info| info.id).collect()
    }

    /// Ticks, a second apart, from this time on.
    fn ticks(&mut self, from: Duration, count: u64) {
        for second in 0..count {
            self.now = Monotonic(0).plus(from + Duration::from_secs(second));
            self.shard.tick(self.now);
            self.effects();
            self.finish();
        }
    }
}

#[test]
fn a_producer_of_a_partition_that_takes_nothing_more_is_forgotten_after_its_time() {
    let mut rig = Rig::leading();
    rig.first(7, Wall(1_000));
    rig.ticks(DAY - Duration::from_secs(1), 1);
    assert_eq!(rig.ids(0), [ProducerId(7)]);
    rig.ticks(DAY + Duration::from_secs(599), 1);
    assert_eq!(
        rig.ids(0),
        [],
        "ten minutes after the last look, as producer.id.expiration.check.interval.ms says"
    );
}

#[test]
fn neither_a_jump_of_the_wall_clock_nor_an_old_timestamp_makes_a_producer_idle() {
    let mut rig = Rig::leading();
    assert_eq!(rig.first(7, Wall(1_000)), [Seen::Answer(1, Ok(0))]);
    // Its records are of 1970, too.
    let year = Wall(365 * 86_400_000);
    rig.ticks(Duration::from_secs(600), 2);
    assert_eq!(rig.first(7, year), [Seen::Answer(1, Ok(0))], "it is recognised");
}

#[test]
fn idle_producers_are_forgotten_a_few_at_a_time() {
    let mut rig = Rig::new();
    for index in 0..3 {
        rig.fill(index, 0..LOG_MAX);
    }
    let all = 3 * usize::try_from(LOG_MAX).unwrap();
    let mut left = Vec::new();
    rig.ticks(DAY - Duration::from_secs(1), 1);
    for tick in 0..4 {
        rig.ticks(DAY + Duration::from_secs(600 + tick), 1);
        left.push(rig.shard.producer_count());
    }
    assert_eq!(left, [all - TICK_MAX, all - 2 * TICK_MAX, 0, 0]);
}

#[test]
fn when_a_directory_is_full_the_longest_idle_make_way_and_not_those_of_a_small_log() {
    let mut rig = Rig::leading();
    // One that wrote before all others, and then the directory fills up.
    rig.first(1_000_000, Wall(0));
    let logs = i32::try_from(DIRECTORY_MAX).unwrap() / i32::try_from(LOG_MAX).unwrap();
    for index in 1..=logs {
        rig.now = Monotonic(u64::from(index.unsigned_abs()) * 1000);
        rig.fill(index, 0..LOG_MAX);
    }
    assert!(rig.shard.producer_count() <= DIRECTORY_MAX);
    rig.now = Monotonic(100_000);
    rig.begin();
    let late: Vec<i64> = (0..50).collect();
    for (offset, id) in (1..).zip(&late) {
        assert_eq!(rig.first(*id, Wall(0)), [Seen::Answer(1, Ok(offset))]);
    }
    for (offset, id) in (1..).zip(&late) {
        assert_eq!(rig.first(*id, Wall(0)), [Seen::Answer(1, Ok(offset))], "{id} is recognised");
    }
    assert!(!rig.ids(0).contains(&ProducerId(1_000_000)), "it was the longest idle of all");
    assert!(rig.shard.producer_count() <= DIRECTORY_MAX);
    // A start reads no more from its logs than there may be.
    rig.fill(logs + 1, 0..LOG_MAX);
    rig.fill(logs + 2, 0..LOG_MAX);
    let rig = Rig::open(rig.disk.crash(CrashKind::Process));
    let count = rig.shard.producer_count();
    assert!((DIRECTORY_MAX * 9 / 10..=DIRECTORY_MAX).contains(&count), "{count}");
}
