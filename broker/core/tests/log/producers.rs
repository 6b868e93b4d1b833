//! Idempotent producers over restarts: what is written down, and what is not believed.

use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::Offset;
use ottla_core::log::{Duplicate, Log, LogConfig, RecoveryStart};
use ottla_core::time::Monotonic;
use ottla_sim::disk::{CrashKind, SimDisk};

use crate::rig::{Batch, DIRECTORY, append, check_producers, create, disk, open, sync};

fn config() -> LogConfig {
    LogConfig { segment_bytes: 2_000, ..LogConfig::default() }
}

fn filled(disk: &SimDisk, batches: i64) -> Log<SimDisk> {
    let mut log = create(disk, &config());
    (0..batches).for_each(|base| append(&mut log, Batch::at(base)));
    sync(&mut log);
    log
}

/// The offsets in the names of the snapshots on the disk.
fn snapshots(disk: &SimDisk) -> Vec<i64> {
    let names = disk.list(DIRECTORY).unwrap();
    names.iter().filter_map(|name| name.strip_suffix(".snapshot")?.parse().ok()).collect()
}

fn bases(log: &Log<SimDisk>) -> Vec<i64> {
    log.segments().map(|segment| segment.base.0).filter(|base| *base > 0).collect()
}

fn stop(log: &mut Log<SimDisk>) -> RecoveryStart {
    log.prepare_close();
    while let Some(job) = log.take_sync() {
        log.sync_finished(job.number(), job.run()).unwrap();
    }
    RecoveryStart {
        clean_shutdown: true,
        established: true,
        recovery_point: log.log_end(),
        log_start: log.log_start(),
    }
}

/// The last batch comes again.
fn repeat(log: &Log<SimDisk>) -> Option<Duplicate> {
    let last = Batch::at(log.log_end().0 - 1);
    log.check_producer(&last.bytes()).unwrap()
}

#[test]
fn producers_are_written_down_where_segments_begin_and_at_a_proper_stop() {
    let disk = disk(1);
    let mut log = filled(&disk, 100);
    let mut expected = bases(&log);
    assert!(expected.len() > 2);
    assert_eq!(snapshots(&disk), expected);
    let start = stop(&mut log);
    expected.push(100);
    assert_eq!(snapshots(&disk), expected);
    drop(log);
    let (mut log, _) = Log::open(disk.clone(), DIRECTORY, &config(), start).unwrap();
    check_producers(&log);
    let twice = repeat(&log).expect("it is recognised after a start");
    assert_eq!((twice.base_offset, twice.end_exclusive), (Offset(99), Offset(100)));
    // The one at the end of a full segment is that of the next one's beginning.
    append(&mut log, Batch::at(100));
    let start = stop(&mut log);
    Log::open(disk.clone(), DIRECTORY, &config(), start).unwrap();
    assert_eq!(snapshots(&disk), [bases(&log), vec![101]].concat());
}

#[test]
fn a_crash_loses_snapshots_and_no_producer() {
    for kind in [CrashKind::Process, CrashKind::PowerAllLost, CrashKind::PowerSomeLost] {
        let disk = disk(2);
        drop(filled(&disk, 100));
        let disk = disk.crash(kind);
        let (log, _) = open(&disk, &config(), 50);
        check_producers(&log);
        assert!(repeat(&log).is_some(), "{kind:?}");
    }
}

#[test]
fn a_damaged_snapshot_is_removed_and_the_batches_are_read_instead() {
    let disk = disk(3);
    let mut log = filled(&disk, 100);
    let start = stop(&mut log);
    drop(log);
    for at in snapshots(&disk) {
        let file = disk.open(&format!("{DIRECTORY}/{at:020}.snapshot"), OpenMode::Existing).unwrap();
        // The count, which says how much there is to read.
        file.write_at(&[0x7f], 6).unwrap();
    }
    let (log, _) = Log::open(disk.clone(), DIRECTORY, &config(), start).unwrap();
    assert_eq!(snapshots(&disk), bases(&log), "written again where segments begin");
    check_producers(&log);
    assert!(repeat(&log).is_some());
}

#[test]
fn what_speaks_of_a_tail_that_was_cut_is_removed() {
    let disk = disk(4);
    let mut log = filled(&disk, 100);
    let base = bases(&log)[1];
    log.truncate_to(Offset(base - 1)).unwrap();
    assert_eq!(snapshots(&disk), bases(&log));
    check_producers(&log);
    log.restart_at(Offset(500)).unwrap();
    assert_eq!((snapshots(&disk), log.producer_count()), (vec![], 0));
}

#[test]
fn snapshots_go_with_their_segments() {
    let disk = disk(5);
    let mut log = filled(&disk, 100);
    let kept = bases(&log)[2];
    log.advance_log_start(Offset(kept));
    sync(&mut log);
    assert_eq!(snapshots(&disk).first(), Some(&kept));
    assert_eq!(log.producer_count(), 3, "producers live on without their records");
}

/// A log of one segment, of batches of a MiB.
fn large(disk: &SimDisk, batches: i64) -> Log<SimDisk> {
    let mut log = create(disk, &LogConfig::default());
    (0..batches).for_each(|base| append(&mut log, Batch { value_bytes: 1 << 20, ..Batch::at(base) }));
    log
}

#[test]
fn a_cut_reads_no_more_than_what_lies_between_two_snapshots() {
    let disk = disk(6);
    let mut log = large(&disk, 140);
    assert_eq!(snapshots(&disk), [64, 128], "every 64 MiB");
    // Whoever reads the first batches would find this one rotten.
    let file = disk.open(&format!("{DIRECTORY}/00000000000000000000.log"), OpenMode::Existing).unwrap();
    file.write_at(&[9], 16).unwrap();
    assert_eq!(log.truncate_to(Offset(100)).unwrap(), Offset(100));
    assert_eq!(snapshots(&disk), [64]);
    assert_eq!(repeat(&log).map(|twice| twice.base_offset), Some(Offset(99)));
}

#[test]
fn snapshots_within_a_segment_stay_for_the_last_two_segments_and_are_no_more_than_32() {
    let disk = disk(7);
    let config = LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() };
    let mut log = create(&disk, &config);
    for base in 0..50 {
        append(&mut log, Batch::at(base));
        let start = stop(&mut log);
        log = Log::open(disk.clone(), DIRECTORY, &config, start).unwrap().0;
    }
    assert_eq!(snapshots(&disk), (19..=50).collect::<Vec<i64>>());
    for _ in 0..2 {
        let end = log.log_end().0;
        append(&mut log, Batch { value_bytes: (1 << 20) - 200, ..Batch::at(end) });
        append(&mut log, Batch::at(end + 1));
    }
    let kept = snapshots(&disk);
    assert!(kept.iter().all(|at| *at >= bases(&log)[0]), "{kept:?}, segments at {:?}", bases(&log));
}

/// The broker is up for so long, and every batch is of just now.
const NOW: Monotonic = Monotonic(10 * 86_400_000);

#[test]
fn a_cut_below_all_that_is_remembered_of_a_producer_does_not_make_it_idle() {
    let mut log = create(&disk(8), &config());
    log.tell_time(NOW);
    // Ten batches of each of the three.
    (0..30).for_each(|base| append(&mut log, Batch::at(base)));
    log.truncate_to(Offset(6)).unwrap();
    check_producers(&log);
    assert_eq!(log.expire_producers(Monotonic(NOW.0 + 1), usize::MAX), 0);
    assert!(repeat(&log).is_some(), "it is recognised");
    let idle_max = u64::try_from(config().producer_idle_max.as_millis()).unwrap();
    assert_eq!(log.expire_producers(Monotonic(NOW.0 + idle_max), usize::MAX), 3);
}

#[test]
fn one_that_was_forgotten_and_is_found_again_by_a_cut_has_its_time_from_then_on() {
    let mut log = create(&disk(9), &config());
    log.tell_time(NOW);
    (0..30).for_each(|base| append(&mut log, Batch::at(base)));
    // There were too many in the directory.
    log.forget_oldest_producer();
    assert_eq!(log.producer_count(), 2);
    log.truncate_to(Offset(6)).unwrap();
    check_producers(&log);
    assert_eq!(log.expire_producers(Monotonic(NOW.0 + 1), usize::MAX), 0);
    assert_eq!(log.producer_count(), 3);
}
