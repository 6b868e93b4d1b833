//! What a log stores, without failures.

use bytes::Bytes;
use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::Offset;
use ottla_core::log::{AppendError, BatchFlaw, Log, LogConfig, ReadError, RecoveryStart};
use ottla_core::time::Wall;
use ottla_sim::disk::SimDisk;

use crate::rig::{
    Batch, DIRECTORY, append, contents, crashed, create, disk, epoch, open, split, sync, topic_id,
};

/// Small enough that a few dozen batches make several segments and index entries.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() }
}

/// A log of `batches` batches of two records, 40 of them to a segment at most.
fn filled(disk: &SimDisk, batches: i64) -> (Log<SimDisk>, Vec<u8>) {
    let mut log = create(disk, &small());
    let mut bytes = Vec::new();
    for i in 0..batches {
        let batch = Batch { count: 2, ..Batch::at(2 * i) };
        append(&mut log, batch);
        bytes.extend(batch.bytes());
    }
    (log, bytes)
}

#[test]
fn what_was_appended_is_read_back_across_segments() {
    let (log, bytes) = filled(&disk(1), 100);
    assert!(log.segments().count() > 3, "{:?}", log.segments().collect::<Vec<_>>());
    assert_eq!(log.log_end(), Offset(200));
    assert_eq!(contents(&log), bytes);
    assert_eq!(log.size_bytes(), bytes.len() as u64);
}

#[test]
fn every_offset_is_found_in_its_batch() {
    let (mut log, _) = filled(&disk(1), 100);
    sync(&mut log);
    for from in 0..200 {
        let read = log.read(Offset(from), 1, log.log_end(), true).unwrap().run().unwrap();
        let batches = split(&read);
        assert_eq!(batches.len(), 1, "one batch, whatever the limit");
        assert_eq!(batches[0].0, from / 2 * 2 + 2, "offset {from}");
    }
}

#[test]
fn a_read_keeps_to_whole_batches_below_its_bounds() {
    let (log, _) = filled(&disk(1), 100);
    let batch_bytes = u32::try_from(Batch { count: 2, ..Batch::at(0) }.bytes().len()).unwrap();
    let end = |from: i64, max: u32, upper: i64| {
        let read = log.read(Offset(from), max, Offset(upper), false).unwrap().run().unwrap();
        split(&read).last().map(|(end, _)| *end)
    };
    assert_eq!(end(0, 3 * batch_bytes, 200), Some(6));
    assert_eq!(end(0, 3 * batch_bytes - 1, 200), Some(4));
    assert_eq!(end(0, batch_bytes - 1, 200), None, "the first batch is too large");
    assert_eq!(end(0, 1 << 20, 8), Some(8));
    assert_eq!(end(0, 1 << 20, 7), Some(6), "no batch that reaches to the bound");
    assert_eq!(end(4, 1 << 20, 4), None);
    for upper in (2..200).step_by(2) {
        let segment = log.segments().rev().find(|segment| segment.base.0 < upper).unwrap();
        let from = segment.base.0;
        assert_eq!(end(from, 1 << 20, upper), Some(upper.min(segment.end.0)), "upper {upper}");
    }
}

#[test]
fn offsets_outside_the_log_are_out_of_range_and_its_end_is_empty() {
    let (mut log, _) = filled(&disk(1), 100);
    assert_eq!(log.read(Offset(200), 100, Offset(200), true).unwrap().length, 0);
    assert!(matches!(log.read(Offset(201), 100, Offset(200), true), Err(ReadError::OutOfRange { .. })));
    log.advance_log_start(Offset(50));
    assert!(matches!(log.read(Offset(49), 100, Offset(200), true), Err(ReadError::OutOfRange { .. })));
    assert!(log.read(Offset(50), 100, Offset(200), true).is_ok());
}

#[test]
fn a_batch_that_does_not_follow_leaves_no_byte() {
    let (mut log, bytes) = filled(&disk(1), 3);
    let good = Batch { epoch: 4, ..Batch::at(6) };
    append(&mut log, good);
    let refuse = |log: &mut Log<SimDisk>, buffers: &[Bytes]| log.append(buffers, Wall(0)).unwrap_err();
    let behind = refuse(&mut log, &[Batch { epoch: 4, ..Batch::at(6) }.bytes()]);
    assert!(matches!(behind, AppendError::OffsetBehind { .. }));
    let older = refuse(&mut log, &[Batch { epoch: 3, ..Batch::at(7) }.bytes()]);
    assert!(matches!(older, AppendError::EpochBehind { .. }));
    let next = Batch { epoch: 4, ..Batch::at(7) }.bytes();
    let torn = refuse(&mut log, &[next.clone(), next.slice(..next.len() - 1)]);
    assert!(matches!(torn, AppendError::Flawed { .. }), "{torn}");
    let mut old = next.to_vec();
    old[16] = 1;
    let magic = refuse(&mut log, &[old.into()]);
    assert!(matches!(magic, AppendError::Flawed { flaw: BatchFlaw::Form(_), .. }));
    assert_eq!(log.log_end(), Offset(7));
    assert_eq!(contents(&log), [bytes, good.bytes().to_vec()].concat());
}

#[test]
fn segments_roll_by_size_by_age_and_by_a_full_index() {
    let segments = |config: LogConfig, step_ms: i64| {
        let mut log = create(&disk(1), &config);
        for i in 0..40 {
            append(&mut log, Batch { timestamp: i * step_ms, ..Batch::at(i) });
        }
        log.segments().map(|segment| segment.base.0).collect::<Vec<_>>()
    };
    let batch_bytes = u32::try_from(Batch::at(0).bytes().len()).unwrap();
    assert_eq!(segments(LogConfig::default(), 1), [0]);
    let by_size = LogConfig { segment_bytes: 15 * batch_bytes, ..LogConfig::default() };
    assert_eq!(segments(by_size, 1), [0, 15, 30]);
    let by_age = LogConfig { segment_ms: 190, ..LogConfig::default() };
    assert_eq!(segments(by_age, 10), [0, 20]);
    let by_index = LogConfig { segment_index_bytes: 60, index_interval_bytes: 0, ..LogConfig::default() };
    assert_eq!(segments(by_index, 1).len(), 40 / 5);
}

#[test]
fn a_gap_wider_than_a_relative_offset_rolls() {
    let mut log = create(&disk(1), &LogConfig::default());
    append(&mut log, Batch::at(0));
    let far = 1 << 40;
    append(&mut log, Batch::at(far));
    assert_eq!(log.segments().map(|segment| segment.base.0).collect::<Vec<_>>(), [0, far]);
    let read = log.read(Offset(1), 1000, log.log_end(), true).unwrap().run().unwrap();
    assert_eq!(split(&read)[0].0, far + 1, "the read goes on behind the gap");
}

#[test]
fn a_closed_log_opens_with_nothing_to_recover() {
    let disk = disk(1);
    let (mut log, bytes) = filled(&disk, 100);
    log.assign_epoch(epoch(0));
    log.prepare_close();
    assert_eq!(sync(&mut log), Offset(200));
    let recovery_point = log.take_recovery_point();
    log.recovery_point_written(recovery_point).unwrap();
    drop(log);
    let start = RecoveryStart { clean_shutdown: true, ..crashed(200) };
    let changes = disk.counts().changes;
    let (log, report) = Log::open(disk.clone(), DIRECTORY, &small(), start).unwrap();
    assert_eq!(report, Default::default());
    assert_eq!((log.log_end(), log.flushed_end()), (Offset(200), Offset(200)));
    assert_eq!(log.topic_id(), topic_id());
    assert_eq!(contents(&log), bytes);
    assert!(!log.needs_sync());
    assert_eq!(disk.counts().changes, changes, "opening wrote something");
}

#[test]
fn an_opened_log_makes_the_same_indexes_as_one_that_never_closed() {
    let disk = disk(1);
    let (mut log, _) = filled(&disk, 37);
    sync(&mut log);
    drop(log);
    let (mut log, _) = open(&disk, &small(), 60);
    let other = crate::rig::disk(2);
    let (mut unbroken, _) = filled(&other, 37);
    for log in [&mut log, &mut unbroken] {
        for i in 37..100 {
            append(log, Batch { count: 2, ..Batch::at(2 * i) });
        }
        log.prepare_close();
        sync(log);
    }
    let names = |disk: &SimDisk| {
        let names = disk.list(DIRECTORY).unwrap();
        names.into_iter().filter(|name| name != "truncation-checkpoint").collect::<Vec<_>>()
    };
    assert_eq!(names(&disk), names(&other));
    for name in names(&disk) {
        let read = |disk: &SimDisk| {
            let file = disk.open(&format!("{DIRECTORY}/{name}"), OpenMode::Existing).unwrap();
            let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert_eq!(read(&disk), read(&other), "{name}");
    }
}
