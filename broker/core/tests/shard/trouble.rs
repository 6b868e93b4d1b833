//! Disks that are full, or cannot be asked for want of a descriptor, and logs that are no longer what they were.

use ottla_core::disk::{Disk, DiskFile, NoDescriptor, OpenMode, is_no_descriptor};
use ottla_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use ottla_core::partition::{AckLevel, PartitionError};
use ottla_core::shard::{OffsetTarget, Shard};
use ottla_core::time::Monotonic;
use ottla_sim::disk::{CrashKind, SimDisk};
use uuid::Uuid;

use crate::rig::{ME, Rig, Seen, TOPIC, assignment};

fn values(values: &[&str]) -> Result<Vec<String>, PartitionError> {
    Ok(values.iter().map(ToString::to_string).collect())
}

#[test]
fn without_room_producers_are_refused_and_readers_are_served() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    rig.shard.set_room(10);
    assert_eq!(rig.produce(&["b"], AckLevel::All, 2), [Seen::Answer(2, Err(PartitionError::DirectoryFull))]);
    assert_eq!(rig.sync(), []);
    assert_eq!(rig.read(0), values(&["a"]));
    rig.shard.set_room(1_000);
    rig.produce(&["c"], AckLevel::All, 3);
    assert_eq!(rig.sync(), [Seen::Answer(3, Ok(1))], "the refused batch left no gap");
}

#[test]
fn what_is_written_counts_until_the_room_is_measured_again() {
    let mut rig = Rig::leading();
    rig.shard.set_room(200);
    let taken = (0..10).filter(|token| rig.produce(&["a"], AckLevel::Leader, *token).is_empty()).count();
    assert!((1..=3).contains(&taken), "{taken}");
}

#[test]
fn a_disk_that_is_full_after_all_fails_and_keeps_what_was_acknowledged() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    rig.disk.set_capacity_bytes(rig.disk.used_bytes());
    let seen = rig.produce(&["b".repeat(100_000).as_str()], AckLevel::All, 2);
    assert!(seen.contains(&Seen::Answer(2, Err(PartitionError::Storage))), "{seen:?}");
    assert!(seen.contains(&Seen::Failed), "{seen:?}");
    rig.disk.set_capacity_bytes(u64::MAX);
    let mut rig = Rig::open(rig.disk.crash(CrashKind::Process));
    rig.shard.assign(assignment(TOPIC, Some(ME), 1));
    rig.sync();
    assert_eq!(rig.read(0), values(&["a"]));
    rig.produce(&["c"], AckLevel::All, 3);
    assert_eq!(rig.sync(), [Seen::Answer(3, Ok(1))]);
}

/// A directory with two logs, closed properly, of which one has lost what was durable.
fn damaged() -> (SimDisk, TopicPartition) {
    let mut rig = Rig::leading();
    rig.produce(&["gone"], AckLevel::All, 1);
    let other = TopicPartition { partition: PartitionIndex(1), ..TOPIC };
    rig.shard.assign(assignment(other, Some(ME), 0));
    rig.sync();
    for second in 1..=10 {
        rig.shard.tick(Monotonic(second * 1000));
        rig.effects();
    }
    let file = rig.disk.open("orders-0/00000000000000000000.log", OpenMode::Existing).unwrap();
    file.set_length(0).unwrap();
    (rig.disk.crash(CrashKind::Process), other)
}

#[test]
fn a_damaged_log_is_refused_and_its_neighbours_are_served() {
    let (disk, other) = damaged();
    let mut rig = Rig::open(disk);
    rig.shard.assign(assignment(TOPIC, Some(ME), 1));
    rig.shard.assign(assignment(other, Some(ME), 1));
    assert!(!rig.sync().contains(&Seen::Failed));
    assert_eq!(rig.read(0), Err(PartitionError::Storage));
    assert_eq!(rig.produce(&["x"], AckLevel::All, 1), [Seen::Answer(1, Err(PartitionError::Storage))]);
    let end = rig.shard.list_offset(other, None, OffsetTarget::Latest).unwrap();
    assert_eq!(end.offset, Some(Offset(0)));
    assert!(
        rig.disk.list("orders-0").is_ok_and(|files| !files.is_empty()),
        "it is left for whoever can save it"
    );
    rig.shard.remove(TOPIC);
    assert!(rig.effects().contains(&Seen::Removed), "it goes with its topic");
}

#[test]
fn a_damaged_log_of_an_earlier_topic_makes_way() {
    let (disk, _) = damaged();
    let mut rig = Rig::open(disk);
    let again = TopicPartition { topic_id: TopicId(Uuid::from_u128(8)), ..TOPIC };
    rig.shard.assign(assignment(again, Some(ME), 0));
    let seen = rig.sync();
    assert!(seen.contains(&Seen::Removed) && !seen.contains(&Seen::Failed), "{seen:?}");
    let end = rig.shard.list_offset(again, None, OffsetTarget::Latest).unwrap();
    assert_eq!(end.offset, Some(Offset(0)));
}

#[test]
fn a_disk_that_fails_while_a_log_is_opened_fails_the_directory() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    let disk = rig.disk.crash(CrashKind::Process);
    disk.set_sync_error_permille(1_000);
    assert!(Shard::<_, u32, u32>::open(ME, disk, Monotonic(0)).is_err());
}

/// Two logs, acknowledged, checkpointed and crashed; the first has lost what `damage` takes.
fn with_damage(damage: impl FnOnce(&SimDisk)) -> (Rig, TopicPartition) {
    let other = TopicPartition { partition: PartitionIndex(1), ..TOPIC };
    let mut rig = Rig::leading();
    rig.shard.assign(assignment(other, Some(ME), 0));
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    rig.shard.tick(Monotonic(6000));
    rig.effects();
    let disk = rig.disk.crash(CrashKind::Process);
    damage(&disk);
    (Rig::open(disk), other)
}

fn cut_the_records(disk: &SimDisk) {
    disk.open(SEGMENT, OpenMode::Existing).unwrap().set_length(3).unwrap();
}

const SEGMENT: &str = "orders-0/00000000000000000000.log";

#[test]
fn a_damaged_log_takes_its_partition_out_of_service_and_no_other() {
    let metadata = |disk: &SimDisk| disk.remove("orders-0/partition.metadata").unwrap();
    let binary = |disk: &SimDisk| {
        disk.open("orders-0/partition.metadata", OpenMode::Existing).unwrap().write_at(&[0xff], 0).unwrap();
    };
    for damage in [&cut_the_records as &dyn Fn(&SimDisk), &metadata, &binary] {
        let (mut rig, other) = with_damage(damage);
        let before = rig.disk.list("orders-0").unwrap();
        rig.shard.assign(assignment(TOPIC, Some(ME), 1));
        rig.shard.assign(assignment(other, Some(ME), 1));
        rig.sync();
        assert_eq!(rig.produce(&["b"], AckLevel::All, 2), [Seen::Answer(2, Err(PartitionError::Storage))]);
        assert_eq!(rig.read(0), Err(PartitionError::Storage));
        assert!(rig.shard.list_offset(other, None, OffsetTarget::Latest).is_ok());
        assert!(rig.shard.partitions().any(|id| id == TOPIC), "nobody else may make it");
        assert_eq!(rig.disk.list("orders-0").unwrap(), before, "it is left alone");
    }
}

#[test]
fn a_damaged_log_is_still_damaged_for_the_start_after_next() {
    let (mut rig, other) = with_damage(cut_the_records);
    rig.shard.assign(assignment(other, Some(ME), 1));
    rig.sync();
    // The checkpoints are written without it.
    rig.shard.tick(Monotonic(6000));
    rig.effects();
    rig.shard.close(None).unwrap();
    let mut rig = Rig::open(rig.disk.crash(CrashKind::Process));
    rig.shard.assign(assignment(TOPIC, Some(ME), 2));
    assert_eq!(rig.read(0), Err(PartitionError::Storage));
}

#[test]
fn a_damaged_log_that_nobody_knows_is_kept_aside() {
    let (mut rig, _) = with_damage(cut_the_records);
    rig.shard.set_aside(TOPIC);
    assert_eq!(rig.effects(), [Seen::SetAside]);
    let again = TopicPartition { topic_id: TopicId(Uuid::from_u128(8)), ..TOPIC };
    rig.shard.assign(assignment(again, Some(ME), 0));
    rig.sync();
    assert!(rig.shard.list_offset(again, None, OffsetTarget::Latest).is_ok());
}

#[test]
fn without_descriptors_requests_are_refused_and_nothing_fails() {
    let other = TopicPartition { partition: PartitionIndex(1), ..TOPIC };
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    rig.disk.set_descriptors(0);
    assert_eq!(rig.produce(&["b"], AckLevel::All, 2), [Seen::Answer(2, Err(PartitionError::Storage))]);
    let found = rig.shard.list_offset(TOPIC, None, OffsetTarget::Timestamp(0));
    assert_eq!(found, Err(PartitionError::Storage));
    rig.shard.disk_failed(&NoDescriptor.into());
    rig.shard.assign(assignment(other, Some(ME), 0));
    rig.shard.tick(Monotonic(1000));
    assert_eq!(rig.sync(), [], "the other log is not made yet");
    rig.disk.set_descriptors(u64::MAX);
    rig.shard.tick(Monotonic(2000));
    rig.effects();
    assert_eq!(rig.finish(), [], "the other log is made and synced");
    assert_eq!(rig.produce(&["c"], AckLevel::All, 3), []);
    assert_eq!(rig.sync(), [Seen::Answer(3, Ok(1))]);
    let end = rig.shard.list_offset(other, None, OffsetTarget::Latest).unwrap();
    assert_eq!(end.offset, Some(Offset(0)));
}

#[test]
fn an_assignment_that_had_to_wait_does_not_come_after_a_newer_one() {
    let mut rig = Rig::new();
    rig.disk.set_descriptors(0);
    rig.shard.assign(assignment(TOPIC, None, 1));
    rig.disk.set_descriptors(u64::MAX);
    rig.shard.assign(assignment(TOPIC, Some(ME), 2));
    rig.sync();
    rig.shard.tick(Monotonic(1000));
    rig.sync();
    assert_eq!(rig.produce(&["a"], AckLevel::All, 1), []);
    assert_eq!(rig.sync(), [Seen::Answer(1, Ok(0))], "it leads");
    let end = rig.shard.list_offset(TOPIC, Some(LeaderEpoch(2)), OffsetTarget::Latest).unwrap();
    assert_eq!((end.offset, end.epoch), (Some(Offset(1)), Some(LeaderEpoch(2))));
}

#[test]
fn a_sync_that_waits_for_a_descriptor_is_not_the_disks_fault() {
    let fails = |postponed: bool| {
        let mut rig = Rig::leading();
        rig.produce(&["a"], AckLevel::All, 1);
        rig.begin();
        for second in 1..=30 {
            if postponed {
                rig.shard.sync_postponed(TOPIC, rig.jobs[0].1.number());
            }
            rig.shard.tick(Monotonic(second * 1000));
        }
        let failed = rig.effects().contains(&Seen::Failed);
        (failed, rig.finish().contains(&Seen::Answer(1, Ok(0))))
    };
    assert_eq!(fails(true), (false, true));
    assert_eq!(fails(false), (true, false));
}

#[test]
fn a_directory_that_cannot_be_opened_for_want_of_a_descriptor_is_opened_later() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    let disk = rig.disk.crash(CrashKind::Process);
    for left in 0..40 {
        disk.set_descriptors(left);
        if let Err(error) = Shard::<_, u32, u32>::open(ME, disk.clone(), Monotonic(0)) {
            assert!(is_no_descriptor(&error), "{left}: {error}");
        }
    }
    disk.set_descriptors(u64::MAX);
    let mut rig = Rig::open(disk);
    rig.shard.assign(assignment(TOPIC, Some(ME), 1));
    rig.sync();
    assert_eq!(rig.read(0), values(&["a"]));
}
