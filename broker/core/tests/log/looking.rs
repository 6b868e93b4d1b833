//! Looking for records by timestamp.

use ottla_core::ids::Offset;
use ottla_core::log::{Log, LogConfig};
use ottla_core::time::Wall;
use ottla_sim::disk::SimDisk;
use ottla_wire::batch::BatchBuilder;
use ottla_wire::batch::compression::{Codec, Compression};

use crate::rig::{Batch, append, create, disk, open, sync};

/// Batches of three records in segments of a few; timestamps fall and rise as given.
fn log_of(disk: &SimDisk, timestamps: &[i64]) -> Log<SimDisk> {
    let mut log = create(disk, &config());
    for (i, timestamp) in (0..).zip(timestamps) {
        append(&mut log, Batch { count: 3, timestamp: *timestamp, ..Batch::at(3 * i) });
    }
    log
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 150, ..LogConfig::default() }
}

/// The answer by looking at every record.
fn expected(timestamps: &[i64], log_start: i64, target: i64) -> Option<(i64, i64)> {
    let records = (0..).zip(timestamps).flat_map(|(i, first)| (0..3).map(move |j| (first + j, 3 * i + j)));
    records.into_iter().find(|(timestamp, offset)| *timestamp >= target && *offset >= log_start)
}

fn found(log: &Log<SimDisk>, target: i64) -> Option<(i64, i64)> {
    log.offset_for_timestamp(target).unwrap().map(|found| (found.timestamp, found.offset.0))
}

#[test]
fn the_first_record_at_or_after_a_timestamp_is_found_whatever_order_they_came_in() {
    let rising: Vec<i64> = (0..60).map(|i| 1000 + 10 * i).collect();
    let mixed: Vec<i64> = (0..60).map(|i| 1000 + (i * 37) % 101 * 7).collect();
    let falling: Vec<i64> = (0..60).map(|i| 2000 - 10 * i).collect();
    for timestamps in [rising, mixed, falling] {
        let mut log = log_of(&disk(1), &timestamps);
        for log_start in [0, 40, 100] {
            log.advance_log_start(Offset(log_start));
            for target in 990..2010 {
                let expected = expected(&timestamps, log_start, target);
                assert_eq!(found(&log, target), expected, "timestamp {target}, start {log_start}");
            }
        }
    }
}

#[test]
fn it_is_found_the_same_after_a_crash() {
    let timestamps: Vec<i64> = (0..60).map(|i| 1000 + (i * 37) % 101 * 7).collect();
    let disk = disk(1);
    let mut log = log_of(&disk, &timestamps);
    sync(&mut log);
    drop(log);
    for recovery_point in [0, 50, 180] {
        let (log, _) = open(&disk, &config(), recovery_point);
        for target in 990..1710 {
            assert_eq!(found(&log, target), expected(&timestamps, 0, target), "timestamp {target}");
        }
    }
}

#[test]
fn the_greatest_timestamp_is_the_first_record_that_has_it() {
    let log = log_of(&disk(1), &[1000, 3000, 2000, 3000, 1000]);
    let greatest = log.max_timestamp().unwrap().unwrap();
    assert_eq!((greatest.timestamp, greatest.offset), (3002, Offset(5)));
    assert_eq!(create(&disk(1), &config()).max_timestamp().unwrap(), None);
}

#[test]
fn records_are_found_within_compressed_batches_and_those_of_append_time() {
    let mut log = create(&disk(1), &LogConfig::default());
    let batch = |base| BatchBuilder::new().base_offset(base).leader_epoch(0);
    let compression = Compression::of(Codec::Zstd);
    let packed = batch(0).compression(compression).record(10, None, Some(b"a")).record(20, None, Some(b"b"));
    let stamped = batch(2).log_append_time(50).record(30, None, Some(b"c")).record(40, None, Some(b"d"));
    for builder in [packed, stamped] {
        let (bytes, _) = builder.build().unwrap();
        log.append(&[bytes.freeze()], Wall(0)).unwrap();
    }
    assert_eq!(found(&log, 11), Some((20, 1)));
    assert_eq!(found(&log, 21), Some((50, 2)));
    assert_eq!(found(&log, 51), None);
}
