//! One case for each rule, then mutations.

use proptest::prelude::*;

use super::*;
use crate::batch::compression::compress;
use crate::batch::header::HEADER_BYTES;
use crate::error::ErrorCode;

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

fn builder() -> BatchBuilder {
    BatchBuilder::new().record(NOW - 5, Some(b"k1"), Some(b"v1")).record(NOW, Some(b"k2"), None).record(
        NOW - 9,
        Some(b"k3"),
        Some(b"v3"),
    )
}

fn bytes(builder: BatchBuilder) -> BytesMut {
    builder.build().unwrap().0
}

/// Writes over a field and, if asked, makes the checksum right again.
fn patched(mut bytes: BytesMut, at: usize, value: &[u8], seal: bool) -> BytesMut {
    bytes[at..at + value.len()].copy_from_slice(value);
    if seal {
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

/// A batch around a payload written by hand.
fn around(payload: &[u8], count: i32, codec: Codec) -> BytesMut {
    let mut bytes = bytes(builder());
    bytes.truncate(HEADER_BYTES);
    bytes.extend_from_slice(payload);
    let header = BatchHeader {
        record_count: count,
        last_offset_delta: count - 1,
        attributes: Attributes(0).with_codec(codec),
        ..BatchHeader::parse(&bytes).unwrap()
    };
    header.seal(&mut bytes);
    bytes
}

fn accept(bytes: &[u8], settings: &TopicSettings) -> ValidatedBatch {
    let valid = validate(bytes, 13, settings, NOW).unwrap();
    let (batch, rest) = Batch::split(&valid.bytes).unwrap();
    assert!(rest.is_empty());
    batch.verify_crc().unwrap();
    assert_eq!(batch.header, valid.header);
    valid
}

fn refuse(bytes: &[u8], version: i16, settings: &TopicSettings) -> ProduceError {
    validate(bytes, version, settings, NOW).unwrap_err()
}

fn code(bytes: &[u8]) -> ErrorCode {
    refuse(bytes, 13, &TopicSettings::default()).code()
}

fn deltas(valid: &ValidatedBatch) -> Vec<(i64, i32)> {
    let (batch, _) = Batch::split(&valid.bytes).unwrap();
    let payload = records(&batch, MAX_DECOMPRESSED_BYTES).unwrap();
    Records::new(&payload, batch.header.record_count)
        .map(|record| record.map(|one| (batch.header.base_timestamp + one.timestamp_delta, one.offset_delta)))
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn a_sound_batch_passes_untouched() {
    for codec in Codec::ALL {
        let sent = bytes(builder().compression(Compression::of(codec)).producer(4, 2, 30));
        let valid = accept(&sent, &TopicSettings::default());
        assert_eq!(valid.bytes, sent, "{codec:?}");
        assert_eq!((valid.header.record_count, valid.header.max_timestamp), (3, NOW));
        assert_eq!((valid.max_timestamp_delta, valid.log_append_time_ms, valid.rebuilt), (1, None, false));
        assert_eq!((valid.header.base_sequence, valid.header.last_sequence()), (30, 32));
    }
}

// Rule 21.
#[test]
fn exactly_one_batch_of_format_2() {
    let good = bytes(builder());
    assert_eq!(code(&[]), ErrorCode::InvalidRecord);
    assert_eq!(code(&good[..good.len() - 1]), ErrorCode::InvalidRecord);
    assert_eq!(code(&[&good[..], &good[..]].concat()), ErrorCode::InvalidRecord);
    for (magic, expected) in
        [(0, ErrorCode::InvalidRecord), (1, ErrorCode::InvalidRecord), (3, ErrorCode::CorruptMessage)]
    {
        assert_eq!(code(&patched(good.clone(), 16, &[magic], true)), expected, "magic {magic}");
    }
    // A torn end is no second batch, garbage of a batch's size is worse than none.
    accept(&[&good[..], &good[..30]].concat(), &TopicSettings::default());
    assert_eq!(code(&[&good[..], &[9; 70]].concat()), ErrorCode::CorruptMessage);
}

#[test]
fn zstd_needs_produce_7() {
    let zstd = bytes(builder().compression(Compression::of(Codec::Zstd)));
    let settings = TopicSettings::default();
    assert_eq!(refuse(&zstd, 6, &settings).code(), ErrorCode::UnsupportedCompressionType);
    validate(&zstd, 7, &settings, NOW).unwrap();
    let unknown = patched(bytes(builder()), 22, &[5], true);
    assert_eq!(code(&unknown), ErrorCode::UnsupportedCompressionType);
}

// Rule 22.
#[test]
fn a_wrong_checksum_is_corrupt() {
    let good = bytes(builder());
    assert_eq!(code(&patched(good.clone(), 17, &[0; 4], false)), ErrorCode::CorruptMessage);
    for at in 21..good.len() {
        let flipped = good[at] ^ 0x10;
        let error = refuse(&patched(good.clone(), at, &[flipped], false), 13, &TopicSettings::default());
        // The codec bits are looked at before the checksum, as in Kafka.
        assert!(matches!(error, ProduceError::Corrupt(BatchFlaw::Crc { .. })), "byte {at}: {error}");
    }
    for length in [i32::MIN, -1, 0, 13, 48] {
        let short = patched(good.clone(), 8, &length.to_be_bytes(), false);
        assert_eq!(code(&short), ErrorCode::CorruptMessage, "length {length}");
    }
    let long = patched(good, 8, &i32::MAX.to_be_bytes(), false);
    assert_eq!(code(&long), ErrorCode::InvalidRecord);
}

// Rule 23.
#[test]
fn counts_must_agree_and_be_positive() {
    let good = bytes(builder());
    for (delta, count) in [(1, 3), (3, 3), (2, 4), (2, 2), (-1, 0), (-2, -1), (i32::MAX, i32::MIN)] {
        let delta_set = patched(good.clone(), 23, &i32::to_be_bytes(delta), false);
        let both = patched(delta_set, 57, &i32::to_be_bytes(count), true);
        assert_eq!(code(&both), ErrorCode::InvalidRecord, "delta {delta}, count {count}");
    }
    // Fields that agree with each other but not with the records.
    for count in [2, 4, i32::MAX] {
        let delta_set = patched(good.clone(), 23, &i32::to_be_bytes(count - 1), false);
        let error =
            refuse(&patched(delta_set, 57, &count.to_be_bytes(), true), 13, &TopicSettings::default());
        assert!(matches!(error, ProduceError::Records(_)), "count {count}: {error}");
        assert_eq!(error.code(), ErrorCode::InvalidRecord);
    }
}

#[test]
fn producers_write_neither_offsets_nor_markers_nor_negative_sequences() {
    assert_eq!(code(&bytes(builder().base_offset(1))), ErrorCode::InvalidRecord);
    assert_eq!(code(&bytes(builder().control())), ErrorCode::InvalidRecord);
    assert_eq!(code(&bytes(builder().producer(7, 0, -1))), ErrorCode::InvalidRecord);
    accept(&bytes(builder().producer(7, 0, 0)), &TopicSettings::default());
    accept(&bytes(builder().producer(-1, -1, -1)), &TopicSettings::default());
}

#[test]
fn gaps_in_offset_deltas_are_repaired() {
    // Deltas 0, 5, 2, written by hand: length 6, no key, no value, no headers.
    let payload = [12, 0, 0, 0, 1, 1, 0, 12, 0, 2, 10, 1, 1, 0, 12, 0, 4, 4, 1, 1, 0];
    for codec in Codec::ALL {
        let packed = compress(Compression::of(codec), &payload).unwrap();
        let valid = accept(&around(&packed, 3, codec), &TopicSettings::default());
        assert!(valid.rebuilt);
        assert_eq!(valid.header.attributes.codec(), Ok(codec));
        assert_eq!(deltas(&valid), [(NOW - 5, 0), (NOW - 4, 1), (NOW - 3, 2)], "{codec:?}");
    }
}

// Rule 24.
#[test]
fn compressed_records_are_looked_at() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let packed = compress(Compression::of(codec), &[12, 0, 0, 0, 1, 1, 0]).unwrap();
        accept(&around(&packed, 1, codec), &TopicSettings::default());
        assert_eq!(code(&around(&packed, 2, codec)), ErrorCode::InvalidRecord, "{codec:?}: count");
        assert_eq!(code(&around(b"garbage!", 1, codec)), ErrorCode::InvalidRecord, "{codec:?}: garbage");
        let compacted = TopicSettings { compacted: true, ..TopicSettings::default() };
        let keyless = refuse(&around(&packed, 1, codec), 13, &compacted);
        assert_eq!(keyless.code(), ErrorCode::InvalidRecord);
        assert_eq!(keyless.record_errors().len(), 1, "{codec:?}: keys");
    }
}

#[test]
fn a_batch_that_swells_beyond_the_bound_is_too_large() {
    let bomb = vec![0; MAX_DECOMPRESSED_BYTES as usize + 1];
    let packed = compress(Compression::Zstd { level: 1 }, &bomb).unwrap();
    assert!(packed.len() < 100_000);
    assert_eq!(code(&around(&packed, 1, Codec::Zstd)), ErrorCode::MessageTooLarge);
    // Where batches may be large the bound is, too: this one is refused for what it holds.
    let large = TopicSettings { max_message_bytes: 10_000_000, ..TopicSettings::default() };
    let refused = refuse(&around(&packed, 1, Codec::Zstd), 13, &large);
    assert!(matches!(refused, ProduceError::Records(_)), "{refused}");
}

#[test]
fn another_codec_recompresses_and_the_same_passes() {
    for source in Codec::ALL {
        for target in Codec::ALL {
            let sent =
                bytes(builder().compression(Compression::of(source)).producer(9, 1, 5).transactional());
            let to = TargetCompression::To(Compression::of(target));
            let settings = TopicSettings { compression: to, ..TopicSettings::default() };
            let valid = accept(&sent, &settings);
            assert_eq!(valid.rebuilt, source != target);
            assert_eq!(valid.header.attributes.codec(), Ok(target));
            assert!(valid.header.attributes.is_transactional());
            let header = valid.header;
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (9, 1, 5));
            assert_eq!((header.record_count, header.max_timestamp, valid.max_timestamp_delta), (3, NOW, 1));
            assert_eq!(deltas(&valid), [(NOW - 5, 0), (NOW, 1), (NOW - 9, 2)]);
        }
    }
}

#[test]
fn the_size_is_checked_again_after_recompression() {
    let zeros = vec![0; 50_000];
    let sent = bytes(BatchBuilder::new().compression(Compression::of(Codec::Zstd)).record(
        NOW,
        Some(b"k"),
        Some(&zeros),
    ));
    let limit = TopicSettings { max_message_bytes: 10_000, ..TopicSettings::default() };
    accept(&sent, &limit);
    let plain = TopicSettings { compression: TargetCompression::To(Compression::None), ..limit };
    assert_eq!(refuse(&sent, 13, &plain).code(), ErrorCode::MessageTooLarge);
}

// Rule 25.
#[test]
fn create_times_must_lie_in_the_window() {
    let window = TopicSettings { before_max_ms: 1_000, ..TopicSettings::default() };
    let at = |timestamp| bytes(BatchBuilder::new().record(timestamp, None, None));
    for timestamp in [NOW - 1_000, NOW, NOW + HOUR, -1] {
        accept(&at(timestamp), &window);
    }
    for timestamp in [NOW - 1_001, NOW + HOUR + 1, i64::MIN, i64::MAX, -2, 0] {
        let error = refuse(&at(timestamp), 13, &window);
        assert_eq!(error.code(), ErrorCode::InvalidTimestamp, "{timestamp}");
        assert_eq!(error.record_errors()[0].batch_index, 0);
    }
    // By default there is no limit into the past.
    accept(&at(0), &TopicSettings::default());
    let open = TopicSettings { after_max_ms: i64::MAX, ..TopicSettings::default() };
    accept(&at(i64::MAX), &open);
}

#[test]
fn the_max_timestamp_becomes_the_true_one() {
    for codec in [Codec::None, Codec::Lz4] {
        let sent = bytes(builder().compression(Compression::of(codec)));
        let wrong = patched(sent.clone(), 35, &i64::to_be_bytes(NOW + 77), true);
        let valid = accept(&wrong, &TopicSettings::default());
        assert_eq!(valid.bytes, sent);
    }
    let none = accept(&bytes(BatchBuilder::new().record(-1, None, None)), &TopicSettings::default());
    assert_eq!((none.header.max_timestamp, none.max_timestamp_delta), (NO_TIMESTAMP, 0));
}

#[test]
fn log_append_time_overrides_what_came() {
    let settings = TopicSettings {
        timestamp_type: TimestampType::LogAppendTime,
        before_max_ms: 0,
        after_max_ms: 0,
        ..TopicSettings::default()
    };
    for compression in [TargetCompression::Producer, TargetCompression::To(Compression::Snappy)] {
        let settings = TopicSettings { compression, ..settings.clone() };
        let valid = accept(&bytes(builder()), &settings);
        assert_eq!(valid.header.attributes.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((valid.header.max_timestamp, valid.log_append_time_ms), (NOW, Some(NOW)));
        assert_eq!(valid.max_timestamp_delta, 0);
    }
}

#[test]
fn a_batch_flagged_log_append_time_is_refused_there_and_reset_elsewhere() {
    let flagged = bytes(builder().log_append_time(NOW + 1));
    let append = TopicSettings { timestamp_type: TimestampType::LogAppendTime, ..TopicSettings::default() };
    let error = refuse(&flagged, 13, &append);
    assert_eq!((error.code(), error.record_errors().len()), (ErrorCode::InvalidTimestamp, 3));
    let reset = accept(&flagged, &TopicSettings::default());
    assert_eq!(reset.header.attributes.timestamp_type(), TimestampType::CreateTime);
    assert_eq!(reset.header.max_timestamp, NOW);
    assert_eq!(reset.bytes, bytes(builder()));
}

// Rule 26.
#[test]
fn keyless_records_spoil_a_batch_for_a_compacted_topic() {
    let sent =
        bytes(builder().record(NOW, None, Some(b"v")).record(NOW, Some(b""), None).record(NOW, None, None));
    accept(&sent, &TopicSettings::default());
    let compacted = TopicSettings { compacted: true, ..TopicSettings::default() };
    let error = refuse(&sent, 13, &compacted);
    assert_eq!(error.code(), ErrorCode::InvalidRecord);
    let indexes: Vec<i32> = error.record_errors().iter().map(|record| record.batch_index).collect();
    assert_eq!(indexes, [3, 5]);
    assert!(error.to_string().starts_with("2 records have been rejected"), "{error}");
    // As in Kafka, one bad timestamp among them decides the code.
    let mixed = bytes(builder().record(NOW, None, None).record(NOW + 2 * HOUR, Some(b"k"), None));
    assert_eq!(refuse(&mixed, 13, &compacted).code(), ErrorCode::InvalidTimestamp);
}

#[test]
fn errors_of_very_many_records_are_bounded() {
    let payload = [12, 0, 0, 0, 1, 1, 0].repeat(5_000);
    let compacted = TopicSettings { compacted: true, ..TopicSettings::default() };
    let error = refuse(&around(&payload, 5_000, Codec::None), 13, &compacted);
    assert_eq!(error.record_errors().len(), 1_000);
    assert!(error.to_string().starts_with("5000 records"), "{error}");
}

// Rule 27.
#[test]
fn sizes_are_limited_to_the_byte() {
    let sent = bytes(builder());
    let size = u32::try_from(sent.len()).unwrap();
    let message = |max_message_bytes| TopicSettings { max_message_bytes, ..TopicSettings::default() };
    accept(&sent, &message(size));
    assert_eq!(refuse(&sent, 13, &message(size - 1)).code(), ErrorCode::MessageTooLarge);
    let segment = |segment_bytes| TopicSettings { segment_bytes, ..TopicSettings::default() };
    accept(&sent, &segment(size));
    assert_eq!(refuse(&sent, 13, &segment(size - 1)).code(), ErrorCode::RecordListTooLarge);
}

#[test]
fn bits_that_only_a_broker_may_set_are_cleared() {
    let sent = patched(bytes(builder()), 22, &[1 << 6], true);
    let valid = accept(&sent, &TopicSettings::default());
    assert_eq!(valid.bytes, bytes(builder()));
}

fn any_settings() -> impl Strategy<Value = TopicSettings> {
    (any::<bool>(), any::<bool>(), prop::option::of(prop::sample::select(Codec::ALL.to_vec()))).prop_map(
        |(compacted, append, codec)| TopicSettings {
            compacted,
            timestamp_type: if append { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            compression: codec
                .map_or(TargetCompression::Producer, |codec| TargetCompression::To(Compression::of(codec))),
            ..TopicSettings::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// Mutated batches, their checksums made right again so that the checks behind it
    /// are reached, never panic, and whatever is accepted is itself acceptable.
    #[test]
    fn mutations_never_panic_and_what_is_accepted_is_sound(
        codec in prop::sample::select(Codec::ALL.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        seal in prop::bool::weighted(0.9),
        settings in any_settings(),
        version in 3i16..=13,
    ) {
        let mut sent = bytes(builder().compression(Compression::of(codec)).producer(3, 0, 0));
        if let Some(cut) = cut {
            sent.truncate(cut.index(sent.len()));
        }
        for (at, value) in changes {
            if !sent.is_empty() {
                let at = at.index(sent.len());
                sent[at] = value;
            }
        }
        if seal && sent.len() > HEADER_BYTES {
            let length = u32::try_from(sent.len() - 12).unwrap();
            sent[8..12].copy_from_slice(&length.to_be_bytes());
            sent = patched(sent, 16, &[2], true);
        }
        if let Ok(valid) = validate(&sent, version, &settings, NOW) {
            let again = TopicSettings { timestamp_type: TimestampType::CreateTime, ..settings.clone() };
            let second = accept(&valid.bytes, &TopicSettings { after_max_ms: i64::MAX, ..again });
            prop_assert!(!second.rebuilt);
            if settings.timestamp_type == TimestampType::CreateTime {
                prop_assert_eq!(second.bytes, valid.bytes);
            }
        }
    }
}
