//! Logs that are to take the place of others, and keep their own recovery points.

use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::Offset;
use ottla_core::log::{Log, LogConfig, RecoveryReport, RecoveryStart};
use ottla_sim::disk::{CrashKind, SimDisk};

use crate::model::own_point;
use crate::rig::{Batch, DIRECTORY, append, contents, crashed, disk, sync, topic_id};

const KINDS: [CrashKind; 3] = [CrashKind::Process, CrashKind::PowerAllLost, CrashKind::PowerSomeLost];
const FINAL: &str = "topic-1";

/// About eight batches to a segment.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 700, index_interval_bytes: 200, ..LogConfig::default() }
}

/// A log of so many batches of one record, all durable, with its recovery point behind the first `pointed`.
fn filled(disk: &SimDisk, pointed: i64, batches: i64) -> Log<SimDisk> {
    let mut log = Log::create_future(disk.clone(), DIRECTORY, topic_id(), &small()).unwrap();
    (0..pointed).for_each(|at| append(&mut log, Batch::at(at)));
    assert!(log.owe_recovery_point());
    sync(&mut log);
    (pointed..batches).for_each(|at| append(&mut log, Batch::at(at)));
    if batches > pointed {
        sync(&mut log);
    }
    log
}

fn reopen(disk: &SimDisk) -> (Log<SimDisk>, RecoveryReport) {
    Log::open_future(disk.clone(), DIRECTORY, &small()).unwrap()
}

#[test]
fn one_that_was_closed_opens_with_nothing_to_recover() {
    for batches in [0, 1, 7, 8, 9, 100] {
        let disk = disk(1);
        let mut log = filled(&disk, batches / 2, batches);
        log.prepare_close();
        log.owe_recovery_point();
        sync(&mut log);
        assert!(!log.owe_recovery_point() && !log.takes_back());
        let bytes = contents(&log);
        let before = disk.counts().changes;
        let disk = disk.crash(CrashKind::Process);
        let (log, report) = reopen(&disk);
        assert_eq!(report, RecoveryReport::default(), "{batches}");
        assert_eq!(contents(&log), bytes);
        assert!(!log.needs_sync());
        // The names, and at most the last two segments, of which a cut may not have been durable.
        let changes = disk.counts().changes - before;
        assert!(changes <= 3, "opening {batches} batches made {changes} changes");
    }
}

#[test]
fn after_a_crash_only_what_lies_above_the_recovery_point_is_looked_at() {
    for kind in KINDS {
        let disk = disk(2);
        let log = filled(&disk, 90, 100);
        let above: u64 = (90..100).map(|at| Batch::at(at).bytes().len() as u64).sum();
        let bytes = contents(&log);
        let disk = disk.crash(kind);
        let (log, report) = reopen(&disk);
        assert_eq!(contents(&log), bytes);
        assert_eq!((report.checked_batches, report.recovered_bytes), (10, above), "{kind:?}");
        drop(log);
        // And now nothing any more.
        let (log, report) = reopen(&disk.crash(kind));
        assert_eq!((report, log.log_end()), (RecoveryReport::default(), Offset(100)));
    }
}

#[test]
fn a_cut_takes_the_recovery_point_back_until_it_is_written_again() {
    for kind in KINDS {
        let disk = disk(3);
        let mut log = filled(&disk, 100, 100);
        log.truncate_to(Offset(50)).unwrap();
        (50..60).for_each(|at| append(&mut log, Batch { epoch: 1, ..Batch::at(at) }));
        sync(&mut log);
        let bytes = contents(&log);
        let (mut log, report) = reopen(&disk.crash(kind));
        assert_eq!((contents(&log) == bytes, report.cut_bytes), (true, 0));
        assert!(!log.takes_back() && !log.owe_recovery_point());
        append(&mut log, Batch { epoch: 1, ..Batch::at(60) });
        assert!(log.owe_recovery_point());
    }
}

#[test]
fn one_that_is_damaged_below_its_recovery_point_is_cut_there() {
    for kind in KINDS {
        let disk = disk(4);
        drop(filled(&disk, 100, 100));
        let (log, _) = reopen(&disk);
        let last = log.segments().last().unwrap().base;
        let bytes = contents(&log);
        drop(log);
        let path = format!("{DIRECTORY}/{:020}.log", last.0);
        let file = disk.open(&path, OpenMode::Existing).unwrap();
        file.set_length(1).unwrap();
        let (mut log, report) = reopen(&disk);
        assert_eq!((log.log_end(), report.cut_bytes), (last, 1));
        assert!(bytes.starts_with(&contents(&log)));
        append(&mut log, Batch { epoch: 1, ..Batch::at(last.0) });
        sync(&mut log);
        let (log, _) = reopen(&disk.crash(kind));
        assert_eq!(log.log_end(), last.plus(1), "{kind:?}");
    }
}

#[test]
fn a_crash_while_it_gets_its_name_leaves_it_whole_under_one_of_them() {
    // With a recovery point that is right, and with one that was taken back.
    for (kind, is_cut) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut is_over = false;
        for operations in 0.. {
            let disk = disk(operations);
            let mut log = filled(&disk, 20, 20);
            if is_cut {
                log.truncate_to(Offset(10)).unwrap();
            }
            let end = log.log_end().0;
            (end..end + 3).for_each(|at| append(&mut log, Batch { epoch: 1, ..Batch::at(at) }));
            let bytes = contents(&log);
            sync(&mut log);
            disk.crash_after(operations);
            let renamed = log.rename(FINAL, &mut None);
            let disk = disk.crash(kind);
            let has_name = disk.list("").unwrap().contains(&FINAL.to_owned());
            let log = if has_name {
                let names = disk.list(FINAL).unwrap();
                assert!(names.iter().all(|name| name != "recovery-point"), "{names:?}");
                assert!(names.iter().all(|name| name != "truncation-checkpoint"), "{names:?}");
                Log::open(disk.clone(), FINAL, &small(), crashed(0)).unwrap().0
            } else {
                assert!(renamed.is_err(), "{kind:?}: it had the name");
                assert!(own_point(&disk) <= end + 3);
                reopen(&disk).0
            };
            assert_eq!(contents(&log), bytes, "{kind:?}, crash after {operations}");
            if renamed.is_ok() {
                is_over = true;
                break;
            }
        }
        assert!(is_over);
    }
}

#[test]
fn what_a_log_under_its_final_name_finds_of_a_recovery_point_is_nothing_to_it() {
    let disk = disk(5);
    let mut log = filled(&disk, 20, 20);
    log.rename(FINAL, &mut None).unwrap();
    let mut log = log.reopen().unwrap();
    assert!(!log.owe_recovery_point());
    log.truncate_to(Offset(10)).unwrap();
    let path = format!("{FINAL}/recovery-point");
    disk.open(&path, OpenMode::Create).unwrap().write_at(b"0\n20\n", 0).unwrap();
    let start = RecoveryStart { clean_shutdown: false, ..crashed(0) };
    let (log, _) = Log::open(disk, FINAL, &small(), start).unwrap();
    assert_eq!(log.log_end(), Offset(10));
}
