//! Batches made by hand, and a log on a simulated disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::ids::{LeaderEpoch, Offset, TopicId};
use ottla_core::log::{Log, LogConfig, RecoveryReport, RecoveryStart};
use ottla_core::time::Wall;
use ottla_sim::disk::SimDisk;
use ottla_sim::rng::Rng;
use uuid::Uuid;

pub(crate) const DIRECTORY: &str = "topic-0";

/// A batch of records of one byte each, with timestamps `timestamp`, `timestamp + 1` and so on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) count: i32,
    pub(crate) epoch: i32,
    pub(crate) timestamp: i64,
    /// The length of the last record's value.
    pub(crate) value_bytes: usize,
}

impl Batch {
    pub(crate) fn at(base: i64) -> Self {
        Self { base, count: 1, epoch: 0, timestamp: 1000 + base, value_bytes: 10 }
    }

    /// The batch in format 2, uncompressed.
    pub(crate) fn bytes(self) -> Bytes {
        let mut records = Vec::new();
        for i in 0..self.count {
            let value = vec![b'v'; if i + 1 == self.count { self.value_bytes } else { 1 }];
            let mut record = vec![0];
            put_varint(&mut record, i64::from(i));
            put_varint(&mut record, i64::from(i));
            put_varint(&mut record, -1);
            put_varint(&mut record, value.len() as i64);
            record.extend(value);
            put_varint(&mut record, 0);
            put_varint(&mut records, record.len() as i64);
            records.extend(record);
        }
        let mut checked = Vec::new();
        checked.extend(0i16.to_be_bytes());
        checked.extend((self.count - 1).to_be_bytes());
        checked.extend(self.timestamp.to_be_bytes());
        checked.extend((self.timestamp + i64::from(self.count) - 1).to_be_bytes());
        // Of one of three idempotent producers, whose sequence numbers are the offsets.
        checked.extend((self.base % 3).to_be_bytes());
        checked.extend(0i16.to_be_bytes());
        checked.extend(i32::try_from(self.base).unwrap_or(0).to_be_bytes());
        checked.extend(self.count.to_be_bytes());
        checked.extend(records);
        let mut batch = Vec::new();
        batch.extend(self.base.to_be_bytes());
        batch.extend(i32::try_from(checked.len() + 9).unwrap().to_be_bytes());
        batch.extend(self.epoch.to_be_bytes());
        batch.push(2);
        batch.extend(crc32c::crc32c(&checked).to_be_bytes());
        batch.extend(checked);
        batch.into()
    }
}

fn put_varint(to: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        to.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    to.push(left as u8);
}

pub(crate) fn disk(seed: u64) -> SimDisk {
    SimDisk::new(Rng::new(seed))
}

pub(crate) fn topic_id() -> TopicId {
    TopicId(Uuid::from_u128(0xabcd))
}

pub(crate) fn create(disk: &SimDisk, config: &LogConfig) -> Log<SimDisk> {
    Log::create(disk.clone(), DIRECTORY, topic_id(), config, Offset(0)).unwrap()
}

/// What a start knows of a log after a crash: its recovery point, and that it begins at offset 0.
pub(crate) fn crashed(recovery_point: i64) -> RecoveryStart {
    RecoveryStart {
        clean_shutdown: false,
        established: recovery_point > 0,
        recovery_point: Offset(recovery_point),
        log_start: Offset(0),
    }
}

/// Opens the log after a crash, with this recovery point.
pub(crate) fn open(
    disk: &SimDisk,
    config: &LogConfig,
    recovery_point: i64,
) -> (Log<SimDisk>, RecoveryReport) {
    Log::open(disk.clone(), DIRECTORY, config, crashed(recovery_point)).unwrap()
}

pub(crate) fn append(log: &mut Log<SimDisk>, batch: Batch) {
    log.append(&[batch.bytes()], Wall(0)).unwrap();
}

pub(crate) fn sync(log: &mut Log<SimDisk>) -> Offset {
    let job = log.take_sync().unwrap();
    log.sync_finished(job.number(), job.run()).unwrap()
}

/// What the log knows of its producers is what its batches say, and what those said that are gone by its start.
pub(crate) fn check_producers(log: &Log<SimDisk>) {
    let mut expected = BTreeMap::new();
    for (end, batch) in split(&contents(log)) {
        let id = i64::from_be_bytes(batch[43..51].try_into().unwrap());
        expected.insert(id, i32::try_from(end - 1).unwrap());
    }
    for info in log.producers() {
        match expected.remove(&info.id.0) {
            Some(last) => assert_eq!(info.last_sequence, last, "producer {}", info.id),
            None => assert!(i64::from(info.last_sequence) < log.log_start().0, "{info:?} is not in the log"),
        }
    }
    assert!(expected.is_empty(), "unknown producers: {expected:?}");
}

/// All bytes of the log.
pub(crate) fn contents(log: &Log<SimDisk>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = log.log_start();
    while from < log.log_end() {
        let read = log.read(from, 1 << 20, log.log_end(), true).unwrap().run().unwrap();
        assert!(!read.is_empty(), "nothing at {from}");
        for (end, batch) in split(&read) {
            from = Offset(end);
            bytes.extend(batch);
        }
    }
    bytes
}

/// The batches of a read, each with the offset after it.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<(i64, &[u8])> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let base = i64::from_be_bytes(bytes[..8].try_into().unwrap());
        let length = 12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap());
        let delta = i32::from_be_bytes(bytes[23..27].try_into().unwrap());
        let (batch, rest) = bytes.split_at(length.try_into().unwrap());
        batches.push((base + i64::from(delta) + 1, batch));
        bytes = rest;
    }
    batches
}

pub(crate) fn epoch(epoch: i32) -> LeaderEpoch {
    LeaderEpoch(epoch)
}
