//! Round trips, an independent reader, and bytes that are not what they claim.

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;

use super::compression::{Codec, Compression, MAX_DECOMPRESSED_BYTES};
use super::*;

type Field = Option<Vec<u8>>;

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Field,
    value: Field,
    headers: Vec<(String, Field)>,
}

fn field() -> impl Strategy<Value = Field> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..40))
}

prop_compose! {
    fn plain()(
        timestamp in 0i64..4_000_000_000_000,
        key in field(),
        value in field(),
        headers in prop::collection::vec(("[a-z]{0,8}", field()), 0..3),
    ) -> Plain {
        Plain { timestamp, key, value, headers }
    }
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

fn build(records: &[Plain], builder: BatchBuilder) -> (bytes::BytesMut, BatchHeader) {
    records
        .iter()
        .fold(builder, |builder, plain| {
            let headers: Vec<RecordHeader<'_>> =
                plain.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            builder.record_with_headers(
                plain.timestamp,
                plain.key.as_deref(),
                plain.value.as_deref(),
                &headers,
            )
        })
        .build()
        .unwrap()
}

fn read(batch: &Batch<'_>) -> Vec<Plain> {
    let payload = records(batch, MAX_DECOMPRESSED_BYTES).unwrap();
    Records::new(&payload, batch.header.record_count)
        .zip(0i32..)
        .map(|(record, index)| {
            let record = record.unwrap();
            assert_eq!(record.offset_delta, index);
            Plain {
                timestamp: batch.header.base_timestamp + record.timestamp_delta,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record
                    .headers()
                    .map(|(key, value)| (String::from_utf8(key.to_vec()).unwrap(), value.map(<[u8]>::to_vec)))
                    .collect(),
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_built_is_read_back(
        plain in prop::collection::vec(plain(), 1..12),
        codec in codec(),
        base_offset in 0i64..i64::MAX / 2,
        leader_epoch in any::<i32>(),
        producer in any::<(i64, i16, i32)>(),
    ) {
        let builder = BatchBuilder::new()
            .base_offset(base_offset)
            .leader_epoch(leader_epoch)
            .producer(producer.0, producer.1, producer.2)
            .compression(Compression::of(codec));
        let (bytes, header) = build(&plain, builder);
        let (batch, rest) = Batch::split(&bytes).unwrap();
        prop_assert!(rest.is_empty());
        batch.verify_crc().unwrap();
        prop_assert_eq!(batch.header, header);
        prop_assert_eq!(header.attributes.codec(), Ok(codec));
        prop_assert_eq!(header.next_offset(), base_offset + plain.len() as i64);
        prop_assert_eq!(header.max_timestamp, plain.iter().map(|one| one.timestamp).max().unwrap());
        prop_assert_eq!(read(&batch), plain);
    }

    #[test]
    fn another_implementation_reads_the_same(plain in prop::collection::vec(plain(), 1..6)) {
        // It reads only forwards-running base offsets and needs a producer; both are given.
        let (bytes, _) = build(&plain, BatchBuilder::new().base_offset(40).leader_epoch(3).producer(7, 1, 9));
        let set = RecordBatchDecoder::decode(&mut Bytes::from(bytes)).unwrap();
        prop_assert_eq!(set.records.len(), plain.len());
        for (index, (theirs, ours)) in set.records.iter().zip(&plain).enumerate() {
            prop_assert_eq!(theirs.offset, 40 + index as i64);
            prop_assert_eq!(theirs.timestamp, ours.timestamp);
            prop_assert_eq!(theirs.key.as_deref(), ours.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), ours.value.as_deref());
            prop_assert_eq!((theirs.producer_id, theirs.producer_epoch, theirs.partition_leader_epoch), (7, 1, 3));
        }
    }

    #[test]
    fn any_change_behind_the_checksum_is_noticed(
        plain in prop::collection::vec(plain(), 1..4),
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
    ) {
        let (mut bytes, _) = build(&plain, BatchBuilder::new());
        let at = 17 + at.index(bytes.len() - 17);
        bytes[at] ^= 1 << bit;
        let (batch, _) = Batch::split(&bytes).unwrap();
        let noticed = matches!(batch.verify_crc(), Err(BatchFlaw::Crc { .. }));
        prop_assert!(noticed);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), count in any::<i32>()) {
        for batch in Batches::new(&bytes) {
            let _ = batch.map(|batch| batch.verify_crc());
        }
        for record in Records::new(&bytes, count).flatten() {
            record.headers().for_each(drop);
        }
        for codec in Codec::ALL {
            let _ = compression::decompress(codec, &bytes, 1 << 16);
        }
    }
}

fn one(value: &[u8]) -> bytes::BytesMut {
    BatchBuilder::new().record(5, None, Some(value)).build().unwrap().0
}

#[test]
fn offset_and_leader_epoch_are_patched_without_touching_the_checksum() {
    let mut bytes = one(b"v");
    patch_base_offset(&mut bytes, 1 << 40);
    patch_leader_epoch(&mut bytes, 12);
    let (batch, _) = Batch::split(&bytes).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!((batch.header.base_offset, batch.header.leader_epoch), (1 << 40, 12));
    assert_eq!((batch.header.last_offset(), batch.header.next_offset()), (1 << 40, (1 << 40) + 1));
}

#[test]
fn a_buffer_is_walked_to_its_last_whole_batch() {
    let mut buffer = one(b"first").to_vec();
    buffer.extend(one(b"second"));
    let whole = buffer.len();
    buffer.extend(&one(b"third")[..70]);
    let mut batches = Batches::new(&buffer);
    assert_eq!(batches.by_ref().filter_map(Result::ok).count(), 2);
    assert_eq!(batches.rest(), &buffer[whole..]);
}

#[test]
fn flawed_headers_end_the_walk() {
    let good = one(b"v");
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let cases = [
        (with(16, &[1]), BatchFlaw::Magic { magic: 1 }),
        (with(16, &[3]), BatchFlaw::Magic { magic: 3 }),
        (with(8, &[0xff; 4]), BatchFlaw::Length { length: -1 }),
        (with(8, &[0, 0, 0, 48]), BatchFlaw::Length { length: 48 }),
    ];
    for (bytes, flaw) in cases {
        let walked: Vec<_> = Batches::new(&bytes).collect();
        assert_eq!(walked, [Err(flaw)]);
    }
    let long = with(8, &[0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(Batches::new(&long).count(), 0);
    assert!(matches!(Batch::split(&long), Err(BatchFlaw::Short { expected: 0x8000_000b, .. })));
    for cut in 0..good.len() {
        assert!(matches!(Batch::split(&good[..cut]), Err(BatchFlaw::Short { .. })), "cut at {cut}");
    }
}

#[test]
fn attributes_keep_their_bits_apart() {
    let all = Attributes(0)
        .with_codec(Codec::Zstd)
        .with_timestamp_type(TimestampType::LogAppendTime)
        .with_transactional(true)
        .with_control(true);
    assert_eq!(all.0, 0b11_1100);
    assert!(all.is_control() && all.is_transactional() && !all.has_delete_horizon());
    assert_eq!(all.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(all.with_codec(Codec::Gzip).codec(), Ok(Codec::Gzip));
    assert_eq!(all.with_transactional(false).with_control(false).0, 0b1100);
    assert_eq!(Attributes(6).codec(), Err(6));
    assert!(Attributes(1 << 6).has_delete_horizon());
}

#[test]
fn sequences_wrap_to_zero() {
    let builder = BatchBuilder::new().producer(1, 0, i32::MAX).record(1, None, None).record(1, None, None);
    assert_eq!(builder.build().unwrap().1.last_sequence(), 0);
    assert_eq!(BatchBuilder::new().record(1, None, None).build().unwrap().1.last_sequence(), NO_SEQUENCE);
}

#[test]
fn records_that_contradict_themselves_are_flaws() {
    let walk = |payload: &[u8], count| Records::new(payload, count).find_map(Result::err);
    // Length 6: attributes, two deltas, no key, no value, no headers.
    let good = [12, 0, 0, 0, 1, 1, 0];
    assert_eq!(walk(&good, 1), None);
    assert_eq!(walk(&good, 2), Some(RecordFlaw::Short { index: 1 }));
    assert_eq!(walk(&[good, good].concat(), 1), Some(RecordFlaw::Trailing { count: 7 }));
    assert_eq!(walk(&good[..5], 1), Some(RecordFlaw::Short { index: 0 }));
    let shape = Some(RecordFlaw::Shape { index: 0 });
    assert_eq!(walk(&[1, 0, 0, 0, 1, 1, 0], 1), shape, "negative length");
    assert_eq!(walk(&[12, 0, 0, 0, 8, 1, 0], 1), shape, "key beyond the record");
    assert_eq!(walk(&[12, 0, 0, 0, 1, 1, 1], 1), shape, "negative header count");
    assert_eq!(walk(&[12, 0, 0, 0, 1, 1, 2], 1), shape, "header beyond the record");
    assert_eq!(walk(&[14, 0, 0, 0, 1, 1, 0, 0], 1), shape, "bytes behind the headers");
    assert_eq!(walk(&[16, 0, 0, 0, 1, 1, 2, 1, 1], 1), shape, "header without a key");
}
