//! Damaged files, failing disks.

use bytes::Bytes;
use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::Offset;
use ottla_core::log::{
    AppendError, BatchFlaw, ChangeError, CreateError, Log, LogConfig, OpenError, RecoveryStart,
};
use ottla_core::time::Wall;
use ottla_sim::disk::{CrashKind, SimDisk, SimFile};

use crate::rig::{Batch, DIRECTORY, append, contents, crashed, create, disk, epoch, open, sync, topic_id};

fn file(disk: &SimDisk, name: &str) -> SimFile {
    disk.open(&format!("{DIRECTORY}/{name}"), OpenMode::Existing).unwrap()
}

const FIRST: &str = "00000000000000000000.log";

/// Ten batches of one record each, synced and closed; returns their bytes.
fn ten(disk: &SimDisk) -> Vec<Bytes> {
    let mut log = create(disk, &LogConfig::default());
    let batches: Vec<Bytes> = (0..10).map(|i| Batch::at(i).bytes()).collect();
    (0..10).for_each(|i| append(&mut log, Batch::at(i)));
    sync(&mut log);
    let recovery_point = log.take_recovery_point();
    log.recovery_point_written(recovery_point).unwrap();
    batches
}

fn open_error(disk: &SimDisk, recovery_point: i64) -> OpenError {
    Log::open(disk.clone(), DIRECTORY, &LogConfig::default(), crashed(recovery_point)).unwrap_err()
}

#[test]
fn any_flipped_byte_above_the_recovery_point_cuts_the_log_before_its_batch() {
    let bytes = Batch::at(0).bytes().len();
    for flipped in 0..bytes {
        // Base offset and leader epoch are outside the checksum, and higher ones are possible.
        let undetectable = (0..8).contains(&flipped) || (12..16).contains(&flipped);
        let disk = disk(1);
        let batches = ten(&disk);
        let at = (7 * bytes + flipped) as u64;
        file(&disk, FIRST).write_at(&[batches[7][flipped] ^ 0x40], at).unwrap();
        let (log, report) = open(&disk, &LogConfig::default(), 5);
        if undetectable && log.log_end() != Offset(7) {
            continue;
        }
        assert_eq!((log.log_end(), log.flushed_end()), (Offset(7), Offset(7)), "byte {flipped}");
        assert_eq!(report.cut_bytes, 3 * bytes as u64);
        assert!(report.flaw.is_some());
        assert_eq!(contents(&log), batches[..7].concat());
    }
}

#[test]
fn tails_of_zeros_and_of_garbage_are_cut() {
    let good = Batch::at(10).bytes();
    let garbage: Vec<u8> = (0..300u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for tail in [&[0; 5000][..], &garbage[..], &good[..60], &good[..12], &good[..good.len() - 1]] {
        let disk = disk(1);
        let batches = ten(&disk).concat();
        file(&disk, FIRST).write_at(tail, batches.len() as u64).unwrap();
        let (mut log, report) = open(&disk, &LogConfig::default(), 10);
        assert_eq!(report.cut_bytes, tail.len() as u64);
        assert_eq!(contents(&log), batches);
        append(&mut log, Batch::at(10));
        sync(&mut log);
        let (log, report) = open(&disk.crash(CrashKind::PowerAllLost), &LogConfig::default(), 10);
        assert_eq!((report.cut_bytes, log.log_end()), (0, Offset(11)), "the cut was durable");
    }
}

#[test]
fn damage_below_the_recovery_point_is_corruption_and_changes_nothing() {
    let bytes = Batch::at(0).bytes().len() as u64;
    let damage = |name: &str, file: &SimFile| match name {
        "short" => file.set_length(8 * bytes - 3),
        "ends at a batch" => file.set_length(8 * bytes),
        _ => file.write_at(&[0; 17], 6 * bytes),
    };
    for name in ["short", "ends at a batch", "a header is zeros"] {
        let disk = disk(1);
        ten(&disk);
        damage(name, &file(&disk, FIRST)).unwrap();
        let state = || {
            let file = file(&disk, FIRST);
            let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            (disk.list(DIRECTORY).unwrap(), bytes)
        };
        let before = state();
        let error = open_error(&disk, 9);
        assert!(matches!(error, OpenError::Corrupt { .. }), "{name}: {error}");
        assert!(state() == before, "{name}: the evidence was changed");
    }
}

#[test]
fn a_proper_shutdown_makes_no_flipped_byte_of_the_last_batch_good() {
    let bytes = Batch::at(0).bytes().len();
    // What the checksum covers, where the batch ends among it.
    for flipped in 17..bytes {
        let disk = disk(1);
        let batches = ten(&disk);
        file(&disk, FIRST).write_at(&[batches[9][flipped] ^ 0x40], (9 * bytes + flipped) as u64).unwrap();
        let start = RecoveryStart { clean_shutdown: true, ..crashed(10) };
        let error = Log::open(disk, DIRECTORY, &LogConfig::default(), start).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "byte {flipped}: {error}");
    }
}

#[test]
fn the_sync_after_a_recovery_point_makes_durable_that_rot_is_not_taken_for_a_torn_end_any_more() {
    let disk = disk(1);
    let mut log = create(&disk, &LogConfig::default());
    append(&mut log, Batch::at(0));
    sync(&mut log);
    let recovery_point = log.take_recovery_point();
    log.recovery_point_written(recovery_point).unwrap();
    assert!(!log.needs_sync(), "none is made for it");
    append(&mut log, Batch::at(1));
    sync(&mut log);
    let disk = disk.crash(CrashKind::PowerAllLost);
    file(&disk, FIRST).write_at(&[0xff], 30).unwrap();
    assert!(matches!(open_error(&disk, 1), OpenError::Corrupt { .. }));
}

#[test]
fn a_missing_index_or_epoch_file_is_made_again() {
    let disk = disk(1);
    let config = LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() };
    let mut log = create(&disk, &config);
    (0..60).for_each(|i| append(&mut log, Batch { epoch: i32::try_from(i / 7).unwrap(), ..Batch::at(i) }));
    sync(&mut log);
    let recovery_point = log.take_recovery_point();
    log.recovery_point_written(recovery_point).unwrap();
    let before = contents(&log);
    let names = disk.list(DIRECTORY).unwrap();
    for name in names.iter().filter(|name| name.contains("index") || name.contains("epoch")) {
        disk.remove(&format!("{DIRECTORY}/{name}")).unwrap();
    }
    let (log, _) = open(&disk, &config, 60);
    assert_eq!(contents(&log), before);
    for offset in 0..60 {
        assert_eq!(log.epoch_at(Offset(offset)), Some(epoch(i32::try_from(offset / 7).unwrap())));
        assert!(log.read(Offset(offset), 1, log.log_end(), true).unwrap().length > 0);
    }
}

#[test]
fn after_a_failed_sync_a_log_takes_nothing_more() {
    let disk = disk(1);
    let mut log = create(&disk, &LogConfig::default());
    append(&mut log, Batch::at(0));
    sync(&mut log);
    append(&mut log, Batch::at(1));
    disk.set_sync_error_permille(1000);
    let job = log.take_sync().unwrap();
    assert!(log.sync_finished(job.number(), job.run()).is_err());
    disk.set_sync_error_permille(0);
    assert!(log.has_failed());
    assert_eq!(log.flushed_end(), Offset(1));
    assert!(log.take_sync().is_none(), "syncing again would prove nothing");
    assert!(matches!(log.append(&[Batch::at(2).bytes()], Wall(0)), Err(AppendError::Failed(_))));
    assert!(matches!(log.truncate_to(Offset(0)), Err(ChangeError::Failed(_))));
}

#[test]
fn a_full_disk_fails_the_log_and_the_next_start_keeps_what_was_whole() {
    let disk = disk(1);
    let mut log = create(&disk, &LogConfig::default());
    append(&mut log, Batch::at(0));
    sync(&mut log);
    disk.set_capacity_bytes(disk.used_bytes());
    let large = Batch { value_bytes: 5000, ..Batch::at(1) };
    assert!(matches!(log.append(&[large.bytes()], Wall(0)), Err(AppendError::Disk(_))));
    assert!(log.has_failed());
    disk.set_capacity_bytes(u64::MAX);
    let (log, _) = open(&disk.crash(CrashKind::Process), &LogConfig::default(), 1);
    assert_eq!(log.log_end(), Offset(1));
}

#[test]
fn an_unfinished_log_is_made_anew_and_a_finished_one_is_not_touched() {
    let disk = disk(1);
    drop(create(&disk, &LogConfig::default()));
    assert!(matches!(open_error(&disk, 0), OpenError::Unfinished { .. }), "it was never synced");
    let mut log = create(&disk, &LogConfig::default());
    append(&mut log, Batch::at(0));
    sync(&mut log);
    let again = Log::create(disk.clone(), DIRECTORY, topic_id(), &LogConfig::default(), Offset(0));
    assert!(matches!(again, Err(CreateError::Exists { topic_id: found, .. }) if found == topic_id()));
    assert_eq!(open(&disk, &LogConfig::default(), 0).0.log_end(), Offset(1));
}

#[test]
fn a_recovery_point_of_an_earlier_topic_of_the_name_does_not_condemn_the_new_one() {
    let disk = disk(1);
    let mut log = create(&disk, &LogConfig::default());
    append(&mut log, Batch::at(0));
    sync(&mut log);
    let (log, _) = open(&disk.crash(CrashKind::PowerAllLost), &LogConfig::default(), 500);
    assert_eq!(log.log_end(), Offset(1));
}

#[test]
fn a_removed_log_is_out_of_the_way_and_not_while_it_is_synced() {
    let disk = disk(1);
    let mut log = create(&disk, &LogConfig::default());
    let job = log.take_sync().unwrap();
    assert!(matches!(log.remove(uuid::Uuid::nil()), Err(ChangeError::SyncRunning(_))));
    log.sync_finished(job.number(), job.run()).unwrap();
    let name = log.remove(uuid::Uuid::nil()).unwrap();
    disk.sync_directory("").unwrap();
    let disk = disk.crash(CrashKind::PowerAllLost);
    assert_eq!(disk.list("").unwrap(), [name]);
    assert_eq!(create(&disk, &LogConfig::default()).log_end(), Offset(0));
}

#[test]
fn a_batch_with_a_lower_epoch_behind_a_cut_is_not_taken_for_the_log() {
    let disk = disk(1);
    ten(&disk);
    // What an unsynced cut may leave: a later epoch's batch before an older one's.
    let bytes = Batch::at(0).bytes().len() as u64;
    let newer = Batch { epoch: 3, ..Batch::at(6) };
    file(&disk, FIRST).write_at(&newer.bytes(), 6 * bytes).unwrap();
    let (log, report) = open(&disk, &LogConfig::default(), 5);
    assert_eq!((log.log_end(), report.flaw), (Offset(7), Some(BatchFlaw::Epoch)));
}

#[test]
fn a_log_that_lost_its_metadata_is_corrupt_and_not_made_anew() {
    for rotten in ["", "version: 0\n", "missing"] {
        let disk = disk(1);
        let batches = ten(&disk).concat();
        let metadata = file(&disk, "partition.metadata");
        if rotten == "missing" {
            disk.remove(&format!("{DIRECTORY}/partition.metadata")).unwrap();
        } else {
            metadata.set_length(0).unwrap();
            metadata.write_at(rotten.as_bytes(), 0).unwrap();
        }
        let error = open_error(&disk, 10);
        assert!(matches!(error, OpenError::Corrupt { .. }), "{rotten:?}: {error}");
        assert_eq!(file(&disk, FIRST).length().unwrap(), batches.len() as u64);
    }
}

#[test]
fn records_without_metadata_and_recovery_point_are_kept_aside() {
    let disk = disk(1);
    let batches = ten(&disk).concat();
    disk.remove(&format!("{DIRECTORY}/partition.metadata")).unwrap();
    assert!(matches!(open_error(&disk, 0), OpenError::Unfinished { .. }), "it may never have been durable");
    // Twice, under the same topic id.
    drop(create(&disk, &LogConfig::default()));
    let mut log = create(&disk, &LogConfig::default());
    append(&mut log, Batch::at(0));
    sync(&mut log);
    let disk = disk.crash(CrashKind::PowerAllLost);
    let names = disk.list("").unwrap();
    let [own, stray] = &names[..] else { panic!("{names:?}") };
    assert_eq!(own, DIRECTORY);
    assert!(stray.ends_with("-stray") && ottla_core::log::parse_directory_name(stray).is_none(), "{stray}");
    let kept = disk.open(&format!("{stray}/{FIRST}"), OpenMode::Existing).unwrap();
    assert_eq!(kept.length().unwrap(), batches.len() as u64);
}

#[test]
fn a_log_made_over_an_old_recovery_point_is_never_taken_for_what_that_speaks_of() {
    for seed in 0..200 {
        let disk = disk(seed);
        let config = LogConfig::default();
        let mut log = Log::create(disk.clone(), DIRECTORY, topic_id(), &config, Offset(500)).unwrap();
        append(&mut log, Batch::at(0));
        // Nothing was synced, and any part of it may be found.
        let disk = disk.crash(CrashKind::PowerSomeLost);
        if disk.list("").unwrap().is_empty() {
            continue;
        }
        let error = open_error(&disk, 500);
        assert!(matches!(error, OpenError::Unfinished { .. }), "seed {seed}: {error}");
    }
}

#[test]
fn a_gap_in_what_was_durable_is_corruption_and_takes_nothing_behind_it() {
    let disk = disk(1);
    let config = LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() };
    let mut log = create(&disk, &config);
    (0..60).for_each(|i| append(&mut log, Batch::at(i)));
    sync(&mut log);
    let recovery_point = log.take_recovery_point();
    log.recovery_point_written(recovery_point).unwrap();
    let second = log.segments().nth(1).unwrap().base;
    disk.remove(&format!("{DIRECTORY}/{:020}.log", second.0)).unwrap();
    disk.remove(&format!("{DIRECTORY}/leader-epoch-checkpoint")).unwrap();
    let segments = || {
        let names = disk.list(DIRECTORY).unwrap();
        names.into_iter().filter(|name| name.ends_with(".log")).collect::<Vec<_>>()
    };
    let before = segments();
    let error = open_error(&disk, 60);
    assert!(matches!(error, OpenError::Corrupt { offset, .. } if offset == second), "{error}");
    assert_eq!(segments(), before);
}
