//! Rot that a leader's read finds far below the recovery point, where no start looks.

use ottla_core::config::ByteCount;
use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::{LeaderEpoch, NodeId, Offset};
use ottla_core::log::{RottenBatch, find_rot};
use ottla_core::partition::{AckLevel, PartitionError, ReadFrom};
use ottla_core::replication::recovery::Behind;
use ottla_core::shard::{Assignment, Damage, FetchPosition, Located};
use ottla_core::time::Monotonic;
use ottla_sim::disk::{CrashKind, SimDisk, SimFile};

use crate::repair::{bytes, copy_values, flip};
use crate::rig::{self, ME, OTHER, Rig, Seen, TOPIC, batch, fetch_of_other};

const KEPT: &str = "orders-0.00000000000000000000000000000007.00000000000000000004-damaged";
const ROTTEN: &str = "orders-0/00000000000000000001.log";
/// Of a batch.
const LONG: usize = 10_000;
const AT: RottenBatch = RottenBatch { segment: Offset(1), position: 0 };

/// A segment for each batch: of sealed ones a start looks at nothing.
fn led_by(leader: NodeId, isr: &[NodeId], epoch: i32) -> Assignment {
    let mut assignment = rig::replicated(TOPIC, leader, isr, epoch);
    assignment.config.segment_size_max = ByteCount(15_000);
    assignment
}

fn values() -> [String; 4] {
    ["a", "b", "c", "d"].map(|value| value.repeat(LONG))
}

/// A leader of four batches, committed and checkpointed, the second of which is not any more what was written.
fn leading_rot(isr: &[NodeId]) -> Rig {
    let mut rig = Rig::new();
    rig.shard.assign(led_by(ME, &[ME], 1));
    rig.sync();
    for (number, value) in (0..).zip(values()) {
        rig.produce(&[&value], AckLevel::All, number);
        rig.sync();
    }
    rig.shard.tick(Monotonic(6000));
    rig.effects();
    // Also that nothing of it is taken back.
    rig.disk.sync_directory("orders-0").unwrap();
    rig.shard.assign(led_by(ME, isr, 1));
    if isr.contains(&OTHER) {
        other_comes(&mut rig, 1);
    }
    rig.effects();
    rot(&rig.disk);
    rig
}

/// The other replica has all, and says so.
fn other_comes(rig: &mut Rig, leader_epoch: i32) {
    rig.both_serve();
    rig.other_fetches(4, leader_epoch);
}

/// A bit of what is durable is another.
fn rot(disk: &SimDisk) {
    flip(disk, ROTTEN, 1_000);
    disk.open(ROTTEN, OpenMode::Existing).unwrap().sync().unwrap();
}

fn rot_in(located: &Located<SimFile>) -> Option<RottenBatch> {
    let plan = &located.plan;
    find_rot(plan.segment, plan.position, &plan.run().unwrap())
}

/// Reads as the driver does: what is not what was appended is said to the shard.
fn read(rig: &mut Rig, offset: i64) -> Result<bool, PartitionError> {
    let located =
        rig.shard.locate(TOPIC, FetchPosition::at(Offset(offset)), ReadFrom::Leader, 1 << 20, true)?;
    let found = rot_in(&located);
    found.map_or(Ok(()), |at| rig.shard.found_rot(TOPIC, at))?;
    Ok(found.is_some())
}

fn reopened(rig: &Rig) -> Rig {
    Rig::open(rig.disk.crash(CrashKind::Process))
}

#[test]
fn a_leader_that_reads_rot_makes_way_and_is_copied_anew() {
    let mut rig = leading_rot(&[ME, OTHER]);
    let before = bytes(&rig.disk, ROTTEN);
    assert_eq!(read(&mut rig, 2), Ok(false), "what is whole is read");
    assert_eq!(read(&mut rig, 1), Err(PartitionError::Storage));
    rig.effects();
    assert_eq!(rig.damage, [(TOPIC, Damage::Read { at: AT })]);
    assert_eq!(rig.shard.damaged().collect::<Vec<_>>(), [TOPIC]);
    assert_eq!(read(&mut rig, 2), Err(PartitionError::Storage), "it serves nothing now");
    let refused = rig.produce(&["e"], AckLevel::All, 9);
    assert_eq!(refused, [Seen::Answer(9, Err(PartitionError::Storage))]);
    // The controller has not heard of it yet.
    rig.shard.assign(led_by(ME, &[ME, OTHER], 2));
    rig.sync();
    assert_eq!((bytes(&rig.disk, ROTTEN), read(&mut rig, 2)), (before, Err(PartitionError::Storage)));
    // Now it has.
    rig.damage.clear();
    rig.shard.assign(led_by(OTHER, &[OTHER], 3));
    rig.sync();
    assert_eq!(rig.damage, [(TOPIC, Damage::Replaced { kept_as: KEPT.to_owned() })]);
    assert_eq!(rig.follows[&TOPIC].unwrap().offset, Offset(0), "an empty log follows the leader");
    rig.damage.clear();
    let values = values();
    copy_values(&mut rig, TOPIC, 3, &values.each_ref().map(String::as_str));
    rig.shard.assign(led_by(OTHER, &[ME, OTHER], 3));
    assert_eq!(rig.effects(), [Seen::Removed]);
    assert_eq!(rig.damage, [(TOPIC, Damage::Repaired { kept_as: KEPT.to_owned() })]);
    assert_eq!(reopened(&rig).shard.damaged().count(), 0);
}

#[test]
fn a_start_refuses_what_a_read_found_rotten_until_somebody_restores_it() {
    let rig = leading_rot(&[ME, OTHER]);
    assert_eq!(reopened(&rig).shard.damaged().count(), 0, "nobody looks so far down");
    let mut rig = leading_rot(&[ME, OTHER]);
    assert_eq!(read(&mut rig, 1), Err(PartitionError::Storage));
    let again = reopened(&rig);
    assert_eq!(again.shard.damaged().collect::<Vec<_>>(), [TOPIC]);
    let mut again = reopened(&again);
    assert_eq!(again.shard.damaged().collect::<Vec<_>>(), [TOPIC]);
    rot(&again.disk);
    again = reopened(&again);
    again.shard.assign(led_by(ME, &[ME], 4));
    again.sync();
    assert_eq!((again.shard.damaged().count(), read(&mut again, 1)), (0, Ok(false)));
    assert!(!again.disk.list("orders-0").unwrap().iter().any(|name| name == "damage-checkpoint"));
}

#[test]
fn a_leader_that_nobody_can_replace_goes_on_and_says_so_once() {
    let mut rig = leading_rot(&[ME]);
    assert_eq!((read(&mut rig, 1), read(&mut rig, 1)), (Ok(true), Ok(true)));
    assert_eq!(read(&mut rig, 2), Ok(false));
    rig.effects();
    assert_eq!(rig.damage, [(TOPIC, Damage::Alone { at: AT })]);
    assert_eq!(rig.shard.damaged().count(), 0);
    rig.produce(&["e"], AckLevel::All, 9);
    rig.sync();
    assert_eq!(rig.read(4), Ok(vec!["e".to_owned()]));
    // A member of which nothing was heard may be dead.
    rig.shard.assign(led_by(ME, &[ME, OTHER], 1));
    assert_eq!(read(&mut rig, 1), Ok(true));
    // As soon as there is one who can, it makes way; unless that was long ago.
    other_comes(&mut rig, 1);
    rig.shard.tick(Monotonic(9_001));
    assert_eq!(read(&mut rig, 1), Ok(true));
    other_comes(&mut rig, 1);
    assert_eq!(read(&mut rig, 1), Err(PartitionError::Storage));
}

#[test]
fn a_follower_that_reads_rot_leaves_consumers_to_its_leader() {
    let mut rig = leading_rot(&[ME, OTHER]);
    rig.shard.assign(led_by(OTHER, &[ME, OTHER], 2));
    rig.effects();
    assert_eq!(rig.follows[&TOPIC].unwrap().log_start, Offset(0));
    let from = FetchPosition::at(Offset(1));
    let located = rig.shard.locate(TOPIC, from, ReadFrom::AnyReplica, 1 << 20, true).unwrap();
    let at = rot_in(&located).unwrap();
    for _ in 0..2 {
        assert_eq!(rig.shard.found_rot(TOPIC, at), Err(PartitionError::NotLeader));
    }
    rig.effects();
    assert_eq!(rig.damage, [(TOPIC, Damage::AtFollower { at: AT })]);
    assert_eq!(rig.follows[&TOPIC].unwrap().log_start, Offset(4), "what its leader sends nobody for");
    assert_eq!(rig.shard.damaged().count(), 0, "it goes on as a follower");
}

#[test]
fn a_header_that_a_lookup_cannot_read_is_looked_at_again_by_the_next_tick() {
    let mut rig = leading_rot(&[ME, OTHER]);
    rot(&rig.disk);
    // The format's version.
    flip(&rig.disk, ROTTEN, 16);
    assert_eq!(read(&mut rig, 1), Err(PartitionError::Storage));
    assert_eq!(rig.shard.damaged().count(), 0, "perhaps it was told not to wait for the disk");
    rig.shard.tick(Monotonic(6_500));
    rig.effects();
    assert_eq!(rig.damage, [(TOPIC, Damage::Read { at: AT })]);
    // Of a header that is sound after all nothing comes.
    let mut rig = leading_rot(&[ME, OTHER]);
    rot(&rig.disk);
    flip(&rig.disk, ROTTEN, 16);
    assert_eq!(read(&mut rig, 1), Err(PartitionError::Storage));
    flip(&rig.disk, ROTTEN, 16);
    rig.shard.tick(Monotonic(6_500));
    rig.effects();
    assert_eq!((rig.damage.len(), read(&mut rig, 1)), (0, Ok(false)));
}

#[test]
fn a_follower_is_heard_also_where_its_leader_cannot_read_for_it() {
    let mut rig = leading_rot(&[ME, OTHER]);
    rot(&rig.disk);
    for value in ["e", "f"] {
        rig.produce(&[&value.repeat(LONG)], AckLevel::All, 9);
        rig.sync();
    }
    flip(&rig.disk, "orders-0/00000000000000000004.log", 16);
    // It was away for longer than one that lives is silent.
    rig.shard.tick(Monotonic(9_500));
    rig.effects();
    let from = FetchPosition { epoch: Some(LeaderEpoch(1)), ..FetchPosition::at(Offset(4)) };
    let refused =
        rig.shard.locate_for_follower(TOPIC, fetch_of_other(4, 4), from, 1 << 20, true, Behind::Served);
    assert_eq!(refused.map(|_| ()), Err(PartitionError::Storage));
    rig.shard.tick(Monotonic(9_900));
    rig.effects();
    let at = RottenBatch { segment: Offset(4), position: 0 };
    assert_eq!(rig.damage, [(TOPIC, Damage::Read { at })], "it makes way for who has all that is committed");
}

#[test]
fn what_a_disk_that_failed_gives_back_is_no_rot() {
    for isr in [&[ME][..], &[ME, OTHER]] {
        let mut rig = leading_rot(isr);
        rig.produce(&["e"], AckLevel::All, 9);
        rig.begin();
        rig.disk.set_sync_error_permille(1_000);
        rig.finish();
        rig.disk.set_sync_error_permille(0);
        assert!(rig.shard.has_failed());
        assert_eq!(rig.shard.found_rot(TOPIC, AT), Err(PartitionError::Storage));
        rig.effects();
        assert_eq!((rig.damage.len(), rig.shard.damaged().count()), (0, 0));
    }
}

#[test]
fn a_batch_that_seems_to_end_beyond_what_is_committed_is_not_waited_for() {
    // The lowest byte of the last offset delta.
    const LAST_OFFSET_DELTA: u64 = 26;
    let mut rig = leading_rot(&[ME, OTHER]);
    rot(&rig.disk);
    flip(&rig.disk, ROTTEN, LAST_OFFSET_DELTA);
    let from = FetchPosition::at(Offset(1));
    let read = |rig: &mut Rig| {
        let located = rig.shard.locate(TOPIC, from, ReadFrom::Leader, 1_000, true);
        located.map(|located| located.plan.length > 0)
    };
    assert_eq!(read(&mut rig), Err(PartitionError::Storage));
    flip(&rig.disk, ROTTEN, LAST_OFFSET_DELTA);
    assert_eq!(read(&mut rig), Ok(true));
    flip(&rig.disk, ROTTEN, LAST_OFFSET_DELTA);
    rig.shard.tick(Monotonic(6_500));
    rig.effects();
    assert_eq!(rig.damage, [(TOPIC, Damage::Read { at: AT })]);
}

#[test]
fn a_log_that_makes_way_while_it_is_under_sync_is_touched_by_nobody_before() {
    let mut rig = leading_rot(&[ME, OTHER]);
    rig.produce(&["e"], AckLevel::All, 9);
    rig.begin();
    assert_eq!(read(&mut rig, 1), Err(PartitionError::Storage));
    rig.shard.assign(led_by(OTHER, &[OTHER], 3));
    rig.effects();
    assert!(rig.disk.list("orders-0").is_ok() && rig.disk.list(KEPT).is_err(), "it is under sync");
    rig.finish();
    assert!(rig.disk.list(KEPT).is_ok());
    // And one that is deleted meanwhile goes when the sync is over.
    let mut rig = leading_rot(&[ME, OTHER]);
    rig.produce(&["e"], AckLevel::All, 9);
    rig.begin();
    assert_eq!(read(&mut rig, 1), Err(PartitionError::Storage));
    rig.shard.remove(TOPIC);
    assert_eq!(rig.effects().iter().filter(|seen| **seen == Seen::Removed).count(), 0);
    assert_eq!(rig.shard.damaged().count(), 0);
    assert!(rig.finish().contains(&Seen::Removed));
    assert_eq!(rig.disk.list("").unwrap().iter().filter(|name| name.starts_with("orders")).count(), 0);
}

#[test]
fn whatever_a_crash_interrupts_it_is_found_again() {
    for operations in 0..40 {
        let mut rig = leading_rot(&[ME, OTHER]);
        rig.disk.crash_after(operations);
        let seen = read(&mut rig, 1);
        if !rig.disk.is_stopped() {
            assert!(operations > 3 && seen == Err(PartitionError::Storage), "nothing was interrupted");
            return;
        }
        let mut again = Rig::open(rig.disk.crash(CrashKind::PowerSomeLost));
        // Alone it commits all it has.
        again.shard.assign(led_by(ME, &[ME], 2));
        again.sync();
        again.shard.assign(led_by(ME, &[ME, OTHER], 2));
        if again.shard.damaged().count() == 0 {
            other_comes(&mut again, 2);
        }
        assert_eq!(read(&mut again, 1), Err(PartitionError::Storage), "after {operations} operations");
        assert_eq!(again.shard.damaged().collect::<Vec<_>>(), [TOPIC], "after {operations} operations");
    }
    panic!("it never ends");
}

#[test]
fn each_way_in_which_a_batch_can_rot_is_found() {
    let mut whole = Vec::new();
    for (base, value) in (0_i64..).zip(["a", "b", "c"]) {
        let mut bytes = batch(&[value]).bytes;
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        ottla_wire::batch::patch_leader_epoch(&mut bytes, 3);
        whole.extend_from_slice(&bytes);
    }
    assert_eq!(find_rot(Offset(0), 0, &whole), None);
    let length = whole.len() / 3;
    // The leader epoch (12 to 15) is covered by no checksum, and a sound one may be any.
    for byte in (0..12).chain(16..length) {
        for bit in 0..8 {
            let mut rotten = whole.clone();
            rotten[length + byte] ^= 1 << bit;
            let found = find_rot(Offset(0), 0, &rotten).map(|at| at.position as usize);
            // A base offset that is too high shows at the next batch.
            assert!(found == Some(length) || found == Some(2 * length), "byte {byte}, bit {bit}: {found:?}");
        }
    }
}
