//! What a leader answers, what a cut takes back, what a snapshot keeps.

use super::*;

const ID: ProducerId = ProducerId(7);
const NOW: Option<Monotonic> = Some(Monotonic(1_000));

fn batch(epoch: i16, first: i32, last: i32) -> Sequenced {
    Sequenced { id: ID, epoch: ProducerEpoch(epoch), first, last }
}

/// A producer's batches, one after the other from offset 100 on.
fn producers(batches: &[Sequenced]) -> Producers {
    let mut producers = Producers::default();
    let mut offset = Offset(100);
    for batch in batches {
        let last = offset.plus(i64::from(batch.last.wrapping_sub(batch.first) & i32::MAX));
        producers.note(batch, (offset, last), offset.0 * 10, NOW);
        offset = last.plus(1);
    }
    producers
}

fn tens(epoch: i16, batches: std::ops::Range<i32>) -> Vec<Sequenced> {
    batches.map(|at| batch(epoch, at * 10, at * 10 + 9)).collect()
}

fn at(base: i64, end: i64, timestamp: i64) -> Result<Option<Duplicate>, SequenceError> {
    let (base_offset, end_exclusive) = (Offset(base), Offset(end));
    Ok(Some(Duplicate { base_offset, end_exclusive, timestamp }))
}

fn out_of_order(expected: i32, found: i32) -> Result<Option<Duplicate>, SequenceError> {
    Err(SequenceError::OutOfOrder { id: ID, expected, found })
}

#[test]
fn one_of_whom_nothing_is_known_may_begin_anywhere() {
    assert_eq!(Producers::default().check(&batch(3, 42, 50)), Ok(None));
}

#[test]
fn the_next_number_follows_and_nothing_else_does() {
    let known = producers(&tens(0, 0..2));
    assert_eq!(known.check(&batch(0, 20, 25)), Ok(None));
    for found in [21, 19, 0] {
        assert_eq!(known.check(&batch(0, found, found + 3)), out_of_order(20, found));
    }
}

#[test]
fn the_last_five_are_recognised_by_both_their_numbers() {
    let known = producers(&tens(0, 0..6));
    for old in 1..6 {
        let base = 100 + i64::from(old) * 10;
        assert_eq!(known.check(&batch(0, old * 10, old * 10 + 9)), at(base, base + 10, base * 10));
    }
    assert_eq!(known.check(&batch(0, 0, 9)), out_of_order(60, 0), "a sixth");
    assert_eq!(known.check(&batch(0, 50, 58)), out_of_order(60, 50), "another end");
}

#[test]
fn numbers_go_on_at_0_after_the_greatest() {
    let across = batch(0, i32::MAX - 1, 1);
    let known = producers(&[batch(0, i32::MAX - 3, i32::MAX - 2), across]);
    assert_eq!(known.check(&batch(0, 2, 2)), Ok(None));
    assert_eq!(known.check(&across), at(102, 106, 1_020));
    let full = producers(&[batch(0, 5, i32::MAX)]);
    assert_eq!(full.check(&batch(0, 0, 4)), Ok(None));
}

#[test]
fn a_later_epoch_begins_at_0_and_ends_the_one_before() {
    let mut known = producers(&tens(4, 0..1));
    assert_eq!(known.check(&batch(5, 10, 12)), out_of_order(0, 10));
    assert_eq!(known.check(&batch(5, 0, 9)), Ok(None));
    known.note(&batch(5, 0, 9), (Offset(110), Offset(119)), 0, NOW);
    let stale = SequenceError::StaleEpoch { id: ID, current: ProducerEpoch(5), found: ProducerEpoch(4) };
    assert_eq!(known.check(&batch(4, 0, 9)), Err(stale), "also one that was in the log before");
}

#[test]
fn a_cut_takes_back_what_was_noted() {
    let mut known = producers(&tens(0, 0..6));
    assert_eq!(known.truncate(Offset(140)), AfterCut::Known);
    assert_eq!(known.check(&batch(0, 40, 45)), Ok(None));
    assert_eq!(known.check(&batch(0, 30, 39)), at(130, 140, 1_300));
    assert_eq!(known.truncate(Offset(110)), AfterCut::Unknown, "there were others before the five");
    let mut young = producers(&tens(0, 0..3));
    assert_eq!(young.truncate(Offset(100)), AfterCut::Known);
    assert_eq!(young, Producers::default());
}

#[test]
fn a_cut_before_an_epoch_needs_the_log() {
    let mut known = producers(&[batch(0, 0, 9), batch(1, 0, 9)]);
    assert_eq!(known.truncate(Offset(110)), AfterCut::Unknown);
}

#[test]
fn who_wrote_longest_ago_is_forgotten_first() {
    let mut known = Producers::default();
    let sent = |id| Sequenced { id: ProducerId(id), ..batch(0, 0, 0) };
    for (offset, id) in (0..).zip([1, 2, 3, 1]) {
        known.note(&sent(id), (Offset(offset), Offset(offset)), 0, NOW);
    }
    known.shrink(2);
    let left: Vec<i64> = known.infos().map(|info| info.id.0).collect();
    assert_eq!(left, [1, 3]);
    assert_eq!(known.by_age.len(), 2);
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_MS: u64 = 86_400_000;

#[test]
fn an_idle_producer_is_forgotten_after_its_time_by_the_brokers_clock() {
    let mut known = producers(&tens(0, 0..1));
    assert_eq!(known.expire(Monotonic(1_000 + DAY_MS - 1), DAY, 9), 0);
    assert_eq!(known.expire(Monotonic(1_000 + DAY_MS), DAY, 9), 1);
    assert_eq!(known, Producers::default());
}

#[test]
fn one_that_was_found_at_a_start_has_its_time_from_then_on_whatever_its_records_say() {
    let mut found = Producers { counted_from: Monotonic(500), ..Producers::default() };
    found.note(&batch(0, 0, 9), (Offset(0), Offset(9)), 5, None);
    assert_eq!(found.oldest(), Some(LastWrite::Before(5)));
    assert_eq!(found.expire(Monotonic(499 + DAY_MS), DAY, 9), 0);
    found.note(&batch(0, 10, 19), (Offset(10), Offset(19)), 6, NOW);
    assert_eq!(found.expire(Monotonic(500 + DAY_MS), DAY, 9), 0, "it wrote since");
    assert_eq!(found.expire(Monotonic(1_000 + DAY_MS), DAY, 9), 1);
}

#[test]
fn no_more_are_forgotten_at_once_than_was_said() {
    let mut known = Producers::default();
    for id in 0..5 {
        known.note(&Sequenced { id: ProducerId(id), ..batch(0, 0, 0) }, (Offset(id), Offset(id)), 0, NOW);
    }
    let late = Monotonic(1_000 + DAY_MS);
    assert_eq!([(); 3].map(|()| known.expire(late, DAY, 2)), [2, 2, 1]);
}

#[test]
fn a_snapshot_keeps_the_last_batch_of_each() {
    let mut known = producers(&tens(3, 0..6));
    let other = Sequenced { id: ProducerId(9), epoch: ProducerEpoch(0), first: i32::MAX, last: 1 };
    known.note(&other, (Offset(160), Offset(162)), -1, NOW);
    let bytes = known.to_snapshot();
    assert_eq!(bytes.len(), 10 + 2 * 46);
    let back = Producers::from_snapshot(&bytes, Offset(163)).expect("it is whole");
    assert_eq!(back.check(&batch(3, 50, 59)), at(150, 160, 1_500));
    assert_eq!(back.check(&batch(3, 40, 49)), out_of_order(60, 40));
    assert_eq!(back.check(&other), at(160, 163, -1));
    assert_eq!(back.clone().truncate(Offset(160)), AfterCut::Unknown);
    assert_eq!(back.to_snapshot(), bytes);
}

#[test]
fn the_bytes_are_kafkas() {
    // As Kafka 4.3.1's DumpLogSegments reads it; see the broker lane.
    let bytes = producers(&[batch(2, 5, 6)]).to_snapshot();
    let hex: String = bytes[6..].iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = "0000000000000007000200000006000000000000006500000001";
    assert_eq!(hex, format!("00000001{entry}00000000000003e8ffffffffffffffffffffffff"));
    assert_eq!(bytes[..2], [0, 1]);
    assert_eq!(bytes[2..6], crc32c::crc32c(&bytes[6..]).to_be_bytes());
}

#[test]
fn a_damaged_snapshot_is_none() {
    let bytes = producers(&tens(0, 0..2)).to_snapshot();
    assert!(Producers::from_snapshot(&bytes, Offset(120)).is_some());
    assert_eq!(Producers::from_snapshot(&bytes, Offset(119)), None, "it speaks of what is not there");
    for length in 0..bytes.len() {
        assert_eq!(Producers::from_snapshot(&bytes[..length], Offset(120)), None, "{length}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert_eq!(Producers::from_snapshot(&flipped, Offset(120)), None, "{at}");
    }
    assert_eq!(Producers::from_snapshot(&[bytes, vec![0]].concat(), Offset(120)), None);
}
