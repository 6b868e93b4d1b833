//! Batches written by the Java client of Kafka 4.3.1, one for each codec.
//!
//! Each holds the same 40 records: `MemoryRecords.withRecords` with producer id 7,
//! epoch 1 and base sequence 3, every fifth key and every seventh value null, and two
//! headers on every third record, the second without a value.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use ottla_wire::batch::compression::{Codec, MAX_DECOMPRESSED_BYTES};
use ottla_wire::batch::validate::{TargetCompression, TopicSettings, validate};
use ottla_wire::batch::{Batch, Record, Records, records};

const NOW: i64 = 1_700_000_000_000;
const BATCHES: [(Codec, &[u8]); 5] = [
    (Codec::None, include_bytes!("fixtures/java-none.batch")),
    (Codec::Gzip, include_bytes!("fixtures/java-gzip.batch")),
    (Codec::Snappy, include_bytes!("fixtures/java-snappy.batch")),
    (Codec::Lz4, include_bytes!("fixtures/java-lz4.batch")),
    (Codec::Zstd, include_bytes!("fixtures/java-zstd.batch")),
];

fn check_record(index: i64, base_timestamp: i64, record: &Record<'_>) {
    let sign = if index % 2 == 0 { 1 } else { -1 };
    assert_eq!(base_timestamp + record.timestamp_delta, NOW + index * sign);
    assert_eq!(i64::from(record.offset_delta), index);
    let key = (index % 5 != 4).then(|| format!("key-{index}"));
    assert_eq!(record.key, key.as_deref().map(str::as_bytes));
    let filler = "x".repeat(usize::try_from(index).unwrap());
    let value = (index % 7 != 6).then(|| format!("value-{index}-{filler}"));
    assert_eq!(record.value, value.as_deref().map(str::as_bytes));
    let headers: Vec<_> = record.headers().collect();
    let first = format!("v{index}");
    let expected: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(first.as_bytes())), (b"n", None)];
    assert_eq!(headers, if index % 3 == 0 { expected } else { &[] });
}

fn check(bytes: &[u8], codec: Codec) {
    let (batch, rest) = Batch::split(bytes).unwrap();
    assert!(rest.is_empty());
    batch.verify_crc().unwrap();
    let header = batch.header;
    assert_eq!(header.attributes.codec(), Ok(codec));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 1, 3));
    assert_eq!((header.record_count, header.last_offset_delta), (40, 39));
    assert_eq!((header.base_timestamp, header.max_timestamp), (NOW, NOW + 38));
    let payload = records(&batch, MAX_DECOMPRESSED_BYTES).unwrap();
    let all: Vec<_> = Records::new(&payload, header.record_count).collect::<Result<_, _>>().unwrap();
    assert_eq!(all.len(), 40);
    (0..).zip(&all).for_each(|(index, record)| check_record(index, header.base_timestamp, record));
}

#[test]
fn batches_of_the_java_client_are_read_in_every_codec() {
    for (codec, bytes) in BATCHES {
        check(bytes, codec);
    }
}

#[test]
fn batches_of_the_java_client_pass_validation_untouched() {
    for (codec, bytes) in BATCHES {
        let valid = validate(bytes, 13, &TopicSettings::default(), NOW).unwrap();
        assert_eq!(&valid.bytes[..], bytes, "{codec:?}");
        assert_eq!(valid.max_timestamp_delta, 38);
    }
}

#[test]
fn batches_of_the_java_client_survive_recompression() {
    for (_, bytes) in BATCHES {
        for target in Codec::ALL {
            let to = TargetCompression::To(ottla_wire::batch::compression::Compression::of(target));
            let settings = TopicSettings { compression: to, ..TopicSettings::default() };
            check(&validate(bytes, 13, &settings, NOW).unwrap().bytes, target);
        }
    }
}

/// What both sides write without a choice of their own is the same to the byte.
#[test]
fn decompressed_records_are_written_as_java_writes_them() {
    let to = TargetCompression::To(ottla_wire::batch::compression::Compression::None);
    let settings = TopicSettings { compression: to, ..TopicSettings::default() };
    for (codec, bytes) in BATCHES {
        let valid = validate(bytes, 13, &settings, NOW).unwrap();
        assert_eq!(&valid.bytes[..], BATCHES[0].1, "{codec:?}");
    }
}
