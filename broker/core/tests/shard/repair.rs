//! Damaged logs whose partitions others hold: copied anew, and what is left of them kept until the copy is in sync.

use std::sync::Arc;

use bytes::BytesMut;
use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicPartition};
use ottla_core::log::parse_damaged_name;
use ottla_core::partition::{AckLevel, PartitionError};
use ottla_core::shard::{Assignment, Damage, Replicated, ReplicatedPart};
use ottla_core::time::{Monotonic, Wall};
use ottla_sim::disk::{CrashKind, SimDisk};

use crate::rig::{self, ME, OTHER, Rig, Seen, TOPIC, assignment, batch};

const SECOND: TopicPartition = TopicPartition { partition: PartitionIndex(1), ..TOPIC };

const KEPT: &str = "orders-0.00000000000000000000000000000007.00000000000000000001-damaged";

/// The other broker leads; the ISR is as given.
fn led(id: TopicPartition, isr: &[NodeId]) -> Assignment {
    rig::replicated(id, OTHER, isr, 1)
}

pub(crate) fn segment(partition: i32) -> String {
    format!("orders-{partition}/00000000000000000000.log")
}

pub(crate) fn flip(disk: &SimDisk, path: &str, position: u64) {
    let file = disk.open(path, OpenMode::Existing).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[byte[0] ^ 4], position).unwrap();
}

pub(crate) fn bytes(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(path, OpenMode::Existing).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// Logs of two partitions with a record each, acknowledged and checkpointed; after a crash a bit of each is another.
fn rotten() -> SimDisk {
    let mut rig = Rig::leading();
    rig.shard.assign(assignment(SECOND, Some(ME), 0));
    rig.produce(&["a"], AckLevel::All, 1);
    rig.shard.produce(SECOND, batch(&["b"]), AckLevel::All, 2, Wall(1000));
    rig.sync();
    rig.shard.tick(Monotonic(6000));
    rig.effects();
    let disk = rig.disk.crash(CrashKind::Process);
    for partition in [0, 1] {
        flip(&disk, &segment(partition), 65);
        disk.open(&segment(partition), OpenMode::Existing).unwrap().sync().unwrap();
    }
    disk
}

fn copy(rig: &mut Rig, id: TopicPartition) {
    copy_values(rig, id, 1, &["a"]);
}

/// A leader of this epoch gives a follower that has nothing a batch with these values.
pub(crate) fn copy_values(rig: &mut Rig, id: TopicPartition, leader_epoch: i32, values: &[&str]) {
    let mut bytes: BytesMut = batch(values).bytes;
    ottla_wire::batch::patch_leader_epoch(&mut bytes, 0);
    let high_watermark = Offset(i64::try_from(values.len()).unwrap());
    let given = Replicated::Records { bytes: bytes.freeze(), high_watermark, log_start: Offset(0) };
    let part = ReplicatedPart { leader_epoch: LeaderEpoch(leader_epoch), from: Offset(0), given };
    rig.shard.replicate(id, part, Wall(1000));
    rig.sync();
}

#[test]
fn a_flipped_bit_below_the_recovery_point_is_damage() {
    let rig = Rig::open(rotten());
    assert_eq!(rig.shard.damaged().collect::<Vec<_>>(), [TOPIC, SECOND]);
}

#[test]
fn a_damaged_log_is_copied_anew_and_kept_until_the_copy_is_in_sync() {
    let disk = rotten();
    let before = bytes(&disk, &segment(0));
    let mut rig = Rig::open(disk);
    rig.shard.assign(led(TOPIC, &[OTHER]));
    rig.sync();
    assert_eq!(rig.follows[&TOPIC].unwrap().offset, Offset(0), "an empty log follows the leader");
    assert_eq!(rig.damage, [(TOPIC, Damage::Replaced { kept_as: KEPT.to_owned() })]);
    assert_eq!(rig.shard.damaged().collect::<Vec<_>>(), [SECOND]);
    copy(&mut rig, TOPIC);
    rig.shard.assign(led(TOPIC, &[OTHER]));
    rig.effects();
    assert_eq!(
        bytes(&rig.disk, &format!("{KEPT}/00000000000000000000.log")),
        before,
        "it is not in sync yet"
    );
    rig.damage.clear();
    rig.shard.assign(led(TOPIC, &[ME, OTHER]));
    assert_eq!(rig.effects(), [Seen::Removed]);
    assert_eq!(rig.damage, [(TOPIC, Damage::Repaired { kept_as: KEPT.to_owned() })]);
    assert!(rig.disk.list(KEPT).is_err());
}

#[test]
fn a_damaged_log_stays_in_its_place_while_its_partition_counts_on_it() {
    let eligible = |mut assignment: Assignment| {
        Arc::make_mut(&mut assignment.registration).elr = vec![ME];
        assignment
    };
    let mut nobody = led(TOPIC, &[]);
    Arc::make_mut(&mut nobody.registration).leader = None;
    let wanted = [
        led(TOPIC, &[ME, OTHER]),
        eligible(led(TOPIC, &[OTHER])),
        nobody,
        rig::replicated(TOPIC, ME, &[ME], 1),
        assignment(TOPIC, Some(ME), 1),
    ];
    for wanted in wanted {
        let mut rig = Rig::open(rotten());
        let before = bytes(&rig.disk, &segment(0));
        rig.shard.assign(wanted);
        rig.sync();
        rig.shard.tick(Monotonic(20_000));
        rig.effects();
        assert_eq!((bytes(&rig.disk, &segment(0)), &rig.damage[..]), (before, &[][..]));
        assert_eq!(rig.read(0), Err(PartitionError::Storage));
        rig.shard.assign(rig::replicated(TOPIC, OTHER, &[OTHER], 2));
        rig.effects();
        assert!(bytes(&rig.disk, &format!("{KEPT}/00000000000000000000.log")).is_some(), "now it need not");
    }
}

#[test]
fn whatever_a_crash_interrupts_no_record_goes_before_the_copy_is_in_sync() {
    for operations in 0..60 {
        let disk = rotten();
        let before = bytes(&disk, &segment(0));
        let mut rig = Rig::open(disk);
        rig.disk.crash_after(operations);
        rig.shard.assign(led(TOPIC, &[OTHER]));
        rig.sync();
        if !rig.disk.is_stopped() {
            assert!(operations > 4, "nothing was interrupted");
            return;
        }
        let mut rig = Rig::open(rig.disk.crash(CrashKind::PowerSomeLost));
        let in_place = bytes(&rig.disk, &segment(0));
        let kept = bytes(&rig.disk, &format!("{KEPT}/00000000000000000000.log"));
        assert!(in_place == before || kept == before, "after {operations} operations");
        rig.shard.assign(led(TOPIC, &[OTHER]));
        rig.sync();
        assert_eq!(rig.follows[&TOPIC].unwrap().offset, Offset(0));
        copy(&mut rig, TOPIC);
        rig.shard.assign(led(TOPIC, &[ME, OTHER]));
        rig.sync();
        rig.shard.assign(rig::replicated(TOPIC, ME, &[ME, OTHER], 2));
        rig.sync();
        assert_eq!(
            rig.disk.list("").unwrap().iter().filter(|name| parse_damaged_name(name).is_some()).count(),
            0
        );
    }
    panic!("the repair takes more operations than that");
}

#[test]
fn a_start_finds_what_was_kept_and_removes_it_when_its_copy_is_in_sync() {
    let mut rig = Rig::open(rotten());
    rig.shard.assign(led(TOPIC, &[OTHER]));
    rig.sync();
    copy(&mut rig, TOPIC);
    let mut rig = Rig::open(rig.disk.crash(CrashKind::PowerAllLost));
    assert_eq!(rig.shard.partitions().filter(|id| *id == TOPIC).count(), 1);
    rig.shard.assign(led(TOPIC, &[OTHER]));
    assert_eq!(rig.sync(), []);
    rig.shard.assign(led(TOPIC, &[ME, OTHER]));
    assert_eq!(rig.effects(), [Seen::Removed]);
}

#[test]
fn what_was_kept_goes_with_its_partition_or_is_kept_aside_with_it() {
    for stray in [false, true] {
        for restarted in [false, true] {
            let mut rig = Rig::open(rotten());
            rig.shard.assign(led(TOPIC, &[OTHER]));
            rig.sync();
            if restarted {
                let disk = rig.disk.crash(CrashKind::Process);
                disk.remove("orders-0").unwrap();
                rig = Rig::open(disk);
                assert!(
                    rig.shard.partitions().any(|id| id == TOPIC),
                    "or nobody would say that it is unwanted"
                );
            }
            if stray {
                rig.shard.set_aside(TOPIC)
            } else {
                rig.shard.remove(TOPIC)
            }
            let seen = rig.effects();
            assert_eq!(seen.contains(&Seen::SetAside), stray, "{seen:?}");
            let left: Vec<String> = rig.disk.list("").unwrap();
            assert!(!left.iter().any(|name| name == KEPT), "{left:?}");
            assert_eq!(left.iter().any(|name| name.starts_with(KEPT) && name.ends_with("-stray")), stray);
        }
    }
}

#[test]
fn one_log_is_copied_anew_after_the_other() {
    let mut rig = Rig::open(rotten());
    rig.shard.assign(led(TOPIC, &[OTHER]));
    rig.shard.assign(led(SECOND, &[OTHER]));
    rig.sync();
    rig.shard.tick(Monotonic(1000));
    rig.effects();
    assert_eq!(rig.shard.damaged().collect::<Vec<_>>(), [SECOND]);
    rig.shard.assign(led(TOPIC, &[ME, OTHER]));
    rig.shard.tick(Monotonic(2000));
    rig.effects();
    assert_eq!(rig.shard.damaged().count(), 0);
}

#[test]
fn without_a_descriptor_a_damaged_log_stays_and_its_turn_comes_later() {
    for left in 0..8 {
        let mut rig = Rig::open(rotten());
        rig.disk.set_descriptors(left);
        rig.shard.assign(led(TOPIC, &[OTHER]));
        rig.disk.set_descriptors(u64::MAX);
        rig.shard.tick(Monotonic(1000));
        assert!(!rig.sync().contains(&Seen::Failed), "{left} descriptors");
        rig.sync();
        assert_eq!(rig.follows[&TOPIC].unwrap().offset, Offset(0), "{left} descriptors");
        assert!(rig.disk.list(KEPT).is_ok());
    }
}

#[test]
fn a_log_that_has_nobody_to_copy_from_holds_up_no_other() {
    let mut rig = Rig::open(rotten());
    rig.shard.assign(led(TOPIC, &[OTHER]));
    rig.shard.assign(led(SECOND, &[OTHER]));
    let mut nobody = led(TOPIC, &[]);
    Arc::make_mut(&mut nobody.registration).leader = None;
    rig.shard.assign(nobody);
    rig.sync();
    rig.shard.tick(Monotonic(1000));
    rig.effects();
    assert_eq!(rig.shard.damaged().count(), 0);
}

#[test]
fn a_copy_that_is_damaged_in_turn_does_not_take_the_place_of_what_is_kept() {
    let mut rig = Rig::open(rotten());
    rig.shard.assign(led(TOPIC, &[OTHER]));
    rig.sync();
    copy(&mut rig, TOPIC);
    for second in 6..=20 {
        rig.shard.tick(Monotonic(second * 1000));
        rig.sync();
    }
    let kept = bytes(&rig.disk, &format!("{KEPT}/00000000000000000000.log"));
    let disk = rig.disk.crash(CrashKind::Process);
    flip(&disk, &segment(0), 66);
    let mut rig = Rig::open(disk);
    rig.shard.assign(led(TOPIC, &[OTHER]));
    assert!(rig.sync().contains(&Seen::SetAside), "it may have been in sync, and led");
    assert_eq!(rig.follows[&TOPIC].unwrap().offset, Offset(0));
    assert_eq!(bytes(&rig.disk, &format!("{KEPT}/00000000000000000000.log")), kept);
}

#[test]
fn a_copy_that_ends_before_what_it_replaces_does_not_cost_it() {
    let mut rig = Rig::open(rotten());
    let before = bytes(&rig.disk, &segment(0));
    rig.shard.assign(led(TOPIC, &[OTHER]));
    rig.sync();
    rig.damage.clear();
    // Who leads was elected uncleanly and has nothing, with which this replica is soon in sync.
    rig.shard.assign(led(TOPIC, &[ME, OTHER]));
    rig.sync();
    let [(TOPIC, Damage::Longer { kept_as })] = &rig.damage[..] else { panic!("{:?}", rig.damage) };
    assert!(kept_as.ends_with("-stray"), "no start looks at it");
    assert_eq!(bytes(&rig.disk, &format!("{kept_as}/00000000000000000000.log")), before);
}

#[test]
fn a_copy_that_takes_for_ever_holds_up_no_other_for_ever() {
    let mut rig = Rig::open(rotten());
    rig.shard.assign(led(TOPIC, &[OTHER]));
    rig.shard.assign(led(SECOND, &[OTHER]));
    rig.sync();
    rig.shard.tick(Monotonic(599_000));
    rig.sync();
    assert_eq!(rig.shard.damaged().collect::<Vec<_>>(), [SECOND]);
    rig.shard.tick(Monotonic(601_000));
    rig.sync();
    rig.shard.tick(Monotonic(602_000));
    assert_eq!(rig.shard.damaged().count(), 0);
}
