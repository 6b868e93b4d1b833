use std::time::Duration;

use ottla_core::config::{Durability, Limit};
use ottla_core::disk::Disk;
use ottla_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use ottla_core::log::checkpoints::Checkpoint;
use ottla_core::partition::{AckLevel, PartitionError, ReadFrom};
use ottla_core::shard::{Effect, FetchPosition, OffsetFound, OffsetTarget, ReadsTo};
use ottla_core::time::Monotonic;
use ottla_sim::disk::CrashKind;
use uuid::Uuid;

use crate::rig::{ME, Rig, Seen, TOPIC, assignment};

#[test]
fn an_ack_leaves_after_the_sync_and_not_before() {
    let mut rig = Rig::leading();
    assert_eq!(rig.produce(&["a", "b"], AckLevel::All, 1), []);
    assert_eq!(rig.read(0), Ok(vec![]), "not durable, not visible");
    assert_eq!(rig.begin(), [], "the jobs are given, and nothing is acknowledged");
    assert_eq!(rig.finish(), [Seen::Answer(1, Ok(0))]);
    assert_eq!(rig.read(0), Ok(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn what_arrives_during_a_round_belongs_to_the_next() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.begin();
    assert_eq!(rig.produce(&["b"], AckLevel::All, 2), []);
    assert_eq!(rig.begin(), [], "one round at a time");
    assert_eq!(rig.finish(), [Seen::Answer(1, Ok(0))]);
    assert_eq!(rig.sync(), [Seen::Answer(2, Ok(1))]);
}

#[test]
fn a_failed_sync_refuses_every_ack_and_is_never_tried_again() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.begin();
    rig.produce(&["b"], AckLevel::Leader, 2);
    let (id, job) = rig.jobs.pop().expect("a job was given");
    rig.finish_one(id, job.number(), Err(std::io::Error::from_raw_os_error(5)));
    let refused = |token| Seen::Answer(token, Err(PartitionError::Storage));
    let seen = rig.effects();
    assert!(
        seen.contains(&refused(1)) && seen.contains(&refused(2)) && seen.contains(&Seen::Failed),
        "{seen:?}"
    );
    assert_eq!(rig.produce(&["c"], AckLevel::All, 3), [refused(3)]);
    assert_eq!(rig.sync(), []);
    assert!(rig.jobs.is_empty() && rig.shard.has_failed());
    assert_eq!(rig.read(0), Err(PartitionError::Storage));
}

#[test]
fn a_reader_is_woken_when_there_is_more_and_when_leadership_goes() {
    let mut rig = Rig::leading();
    rig.shard.watch(TOPIC, ReadsTo::HighWatermark(ReadFrom::Leader), Offset(0), 9, |_| true);
    assert_eq!(rig.produce(&["a"], AckLevel::Leader, 1), []);
    assert_eq!(rig.sync(), [Seen::Answer(1, Ok(0)), Seen::Wake(9)]);
    rig.shard.watch(TOPIC, ReadsTo::HighWatermark(ReadFrom::Leader), Offset(0), 10, |_| true);
    assert_eq!(rig.effects(), [Seen::Wake(10)], "there is more already");
    rig.shard.watch(TOPIC, ReadsTo::HighWatermark(ReadFrom::Leader), Offset(1), 11, |_| true);
    rig.shard.assign(assignment(TOPIC, None, 1));
    assert_eq!(rig.effects(), [Seen::Wake(11)]);
    assert_eq!(rig.read(0), Err(PartitionError::NotLeader));
}

#[test]
fn an_acknowledged_batch_survives_a_crash_and_the_log_goes_on() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    rig.produce(&["lost"], AckLevel::All, 2);
    let mut rig = Rig::open(rig.disk.crash(CrashKind::PowerAllLost));
    rig.shard.assign(assignment(TOPIC, Some(ME), 1));
    rig.sync();
    assert_eq!(rig.read(0), Ok(vec!["a".to_owned()]));
    rig.produce(&["b"], AckLevel::All, 3);
    assert_eq!(rig.sync(), [Seen::Answer(3, Ok(1))]);
    assert_eq!(rig.read(0), Ok(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_proper_stop_needs_no_recovery() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::Leader, 1);
    rig.sync();
    rig.shard.close(None).expect("closed");
    let opened =
        ottla_core::shard::Shard::<_, u32, u32>::open(ME, rig.disk.clone(), Monotonic(0)).expect("opened");
    assert!(opened.clean.is_some());
    let (_, report) = opened.logs[0].result.as_ref().expect("the log is good");
    assert_eq!(report.checked_batches, 0);
}

#[test]
fn a_stop_calls_nothing_clean_that_is_still_at_the_disk() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::Leader, 1);
    rig.begin();
    assert!(!rig.shard.is_idle());
    assert!(rig.shard.close(None).is_err(), "its sync may still fail");
    assert!(!rig.disk.list("").unwrap().contains(&".kafka_cleanshutdown".to_owned()));
    rig.finish();
    assert!(rig.shard.is_idle());
    rig.shard.close(None).unwrap();
    assert!(rig.disk.list("").unwrap().contains(&".kafka_cleanshutdown".to_owned()));
}

#[test]
fn a_new_leader_epoch_alone_is_not_worth_a_sync() {
    let mut rig = Rig::leading();
    rig.shard.assign(assignment(TOPIC, Some(ME), 7));
    rig.begin();
    assert!(rig.jobs.is_empty(), "a broker that returns has a new epoch for every log it leads");
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    let mut rig = Rig::open(rig.disk.crash(CrashKind::PowerAllLost));
    rig.shard.assign(assignment(TOPIC, Some(ME), 8));
    let epoch = |rig: &mut Rig, target| rig.shard.list_offset(TOPIC, None, target).unwrap().epoch;
    assert_eq!(
        epoch(&mut rig, OffsetTarget::Earliest),
        Some(LeaderEpoch(7)),
        "its first batch made it durable"
    );
}

#[test]
fn a_log_removed_between_its_sync_and_the_end_of_the_round_leaves_its_directory() {
    let mut rig = Rig::leading();
    let other = TopicPartition { partition: PartitionIndex(1), ..TOPIC };
    rig.shard.assign(assignment(other, Some(ME), 0));
    rig.produce(&["old"], AckLevel::All, 1);
    rig.begin();
    let at = rig.jobs.iter().position(|(id, _)| *id == TOPIC).expect("both are synced");
    let (id, job) = rig.jobs.remove(at);
    rig.finish_one(id, job.number(), job.run());
    rig.shard.remove(TOPIC);
    let again = TopicPartition { topic_id: TopicId(Uuid::from_u128(8)), ..TOPIC };
    rig.shard.assign(assignment(again, Some(ME), 0));
    rig.finish();
    rig.sync();
    assert!(rig.shard.partition(again).is_some(), "the directory is never free");
}

#[test]
fn a_topic_made_again_begins_empty() {
    let mut rig = Rig::leading();
    rig.produce(&["old"], AckLevel::All, 1);
    rig.sync();
    let again = TopicPartition { topic_id: TopicId(Uuid::from_u128(8)), ..TOPIC };
    rig.shard.assign(assignment(again, Some(ME), 0));
    let seen = rig.sync();
    assert!(seen.contains(&Seen::Removed), "{seen:?}");
    let found = rig.shard.list_offset(again, None, OffsetTarget::Latest).map(|found| found.offset);
    assert_eq!(found, Ok(Some(Offset(0))));
    assert_eq!(rig.read(0), Err(PartitionError::NotLeader), "the old one is gone");
    assert_eq!(
        rig.disk.list("").expect("listable").iter().filter(|name| name.starts_with("orders")).count(),
        1
    );
}

#[test]
fn a_replica_comes_and_goes_faster_than_what_it_leaves_is_removed() {
    let mut rig = Rig::leading();
    let mut removals = Vec::new();
    for round in 0..3 {
        rig.produce(&["a"], AckLevel::All, round);
        rig.sync();
        rig.shard.remove(TOPIC);
        removals.extend(rig.shard.take_effects());
        rig.shard.assign(assignment(TOPIC, Some(ME), 0));
        rig.sync();
        let found = rig.shard.list_offset(TOPIC, None, OffsetTarget::Latest).unwrap();
        assert_eq!(found.offset, Some(Offset(0)), "it begins with nothing");
    }
    assert!(!rig.shard.has_failed());
    for effect in removals {
        let Effect::Remove(job) = effect else { continue };
        job.sync().unwrap();
        job.remove().for_each(|(_, result)| result.unwrap());
    }
    let left = rig.disk.list("").unwrap();
    assert_eq!(left.iter().filter(|name| name.starts_with("orders")).count(), 1, "{left:?}");
}

#[test]
fn a_log_under_sync_is_removed_when_the_sync_ends() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.begin();
    rig.shard.remove(TOPIC);
    assert_eq!(rig.effects(), [Seen::Answer(1, Err(PartitionError::NotLeader))]);
    assert_eq!(rig.finish(), [Seen::Removed]);
    assert!(!rig.shard.has_failed());
}

#[test]
fn a_topic_made_again_waits_for_the_sync_of_the_log_before_it() {
    let mut rig = Rig::leading();
    rig.produce(&["old"], AckLevel::All, 1);
    rig.shard.begin_round(rig.now);
    assert_eq!(rig.effects(), []);
    let again = TopicPartition { topic_id: TopicId(Uuid::from_u128(8)), ..TOPIC };
    rig.shard.remove(TOPIC);
    rig.shard.assign(assignment(again, Some(ME), 0));
    assert!(!rig.effects().contains(&Seen::Failed), "its directory is only taken for a moment");
    rig.sync();
    assert!(!rig.shard.has_failed());
    let found = rig.shard.list_offset(again, None, OffsetTarget::Latest).unwrap();
    assert_eq!(found.offset, Some(Offset(0)));
}

#[test]
fn offsets_are_found_in_time_but_never_beyond_the_high_watermark() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    let latest = |rig: &mut Rig, target| rig.shard.list_offset(TOPIC, None, target);
    assert_eq!(latest(&mut rig, OffsetTarget::Timestamp(0)), Ok(OffsetFound::default()), "not durable yet");
    rig.sync();
    let found = latest(&mut rig, OffsetTarget::Timestamp(0)).expect("looked up");
    assert_eq!((found.offset, found.timestamp), (Some(Offset(0)), Some(1000)));
    let end = latest(&mut rig, OffsetTarget::Latest).expect("looked up");
    assert_eq!((end.offset, end.timestamp), (Some(Offset(1)), None));
    assert_eq!(latest(&mut rig, OffsetTarget::Timestamp(1001)), Ok(OffsetFound::default()));
}

#[test]
fn an_idle_directory_writes_no_checkpoints() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    for seconds in 1..=20 {
        rig.shard.tick(Monotonic(seconds * 1000));
        rig.effects();
    }
    let before = rig.disk.counts();
    for seconds in 21..=60 {
        rig.shard.tick(Monotonic(seconds * 1000));
        rig.effects();
    }
    assert_eq!(rig.disk.counts(), before);
}

#[test]
fn a_log_that_nobody_knows_is_kept_aside_if_it_holds_records() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.sync();
    let empty = TopicPartition { partition: PartitionIndex(1), ..TOPIC };
    rig.shard.assign(assignment(empty, Some(ME), 0));
    rig.sync();
    rig.shard.set_aside(TOPIC);
    rig.shard.set_aside(empty);
    let seen = rig.sync();
    assert!(seen.contains(&Seen::SetAside) && seen.contains(&Seen::Removed), "{seen:?}");
    let names = rig.disk.list("").unwrap();
    let [stray] = &names.iter().filter(|name| name.starts_with("orders")).collect::<Vec<_>>()[..] else {
        panic!("{names:?}")
    };
    assert!(stray.starts_with("orders-0.") && stray.ends_with("-stray"), "{stray}");
    let rig = Rig::open(rig.disk.crash(CrashKind::PowerAllLost));
    assert_eq!(rig.shard.partitions().count(), 0);
    assert!(rig.disk.list("").unwrap().contains(stray), "a start leaves it alone");
}

#[test]
fn a_consumer_that_has_records_of_a_log_that_went_another_way_is_told_where_they_part() {
    let mut rig = Rig::leading();
    for (epoch, value) in [(0, "a"), (0, "b"), (2, "c"), (2, "d")] {
        rig.shard.assign(assignment(TOPIC, Some(ME), epoch));
        rig.produce(&[value], AckLevel::All, 1);
        rig.sync();
    }
    let mut ask = |offset, last_fetched: i32| {
        let last_fetched_epoch = Some(LeaderEpoch(last_fetched));
        let from = FetchPosition { last_fetched_epoch, ..FetchPosition::at(Offset(offset)) };
        let located = rig.shard.locate(TOPIC, from, ReadFrom::Leader, 1_000, true)?;
        assert_eq!(located.plan.length == 0, located.diverging.is_some());
        Ok(located.diverging.map(|end| (end.epoch.0, end.end.0)))
    };
    let out_of_range = |asked| {
        let (log_start, log_end) = (Offset(0), Offset(4));
        Err(PartitionError::OffsetOutOfRange { asked: Offset(asked), log_start, log_end })
    };
    assert_eq!(ask(2, 0), Ok(None), "all of epoch 0");
    assert_eq!(ask(3, 2), Ok(None));
    assert_eq!(ask(3, 0), Ok(Some((0, 2))), "here epoch 0 ended earlier");
    assert_eq!(ask(2, 1), Ok(Some((0, 2))), "here epoch 1 had no records");
    assert_eq!(ask(9, 2), Ok(Some((2, 4))), "a tail that was lost");
    assert_eq!(ask(9, 3), out_of_range(9), "an epoch never heard of");
    assert_eq!(ask(-1, 2), out_of_range(-1), "out of range comes before divergence");
}

#[test]
fn a_deleted_topic_is_one_sync_whatever_its_partitions_and_it_comes_first() {
    let mut rig = Rig::leading();
    let others = (1..50).map(|index| TopicPartition { partition: PartitionIndex(index), ..TOPIC });
    let all: Vec<TopicPartition> = others.chain([TOPIC]).collect();
    all.iter().for_each(|id| rig.shard.assign(assignment(*id, Some(ME), 0)));
    rig.sync();
    let before = rig.disk.counts();
    all.iter().for_each(|id| rig.shard.remove(*id));
    assert_eq!(rig.disk.counts().syncs, before.syncs, "the shard's thread does not wait for the disk");
    let mut effects = rig.shard.take_effects();
    assert!(matches!(effects[..], [Effect::Remove(_)]));
    let Some(Effect::Remove(job)) = effects.pop() else { return };
    job.sync().unwrap();
    let names = rig.disk.crash(CrashKind::PowerAllLost).list("").unwrap();
    assert!(!names.contains(&"orders-0".to_owned()) && names.len() >= 50, "{names:?}");
}

#[test]
fn records_in_the_page_cache_wait_as_long_as_their_topic_says() {
    let at_most = |ms| Limit::AtMost(Duration::from_millis(ms));
    for (flush_wait, seconds) in [(at_most(100), 1), (at_most(3000), 3), (Limit::Unlimited, 5)] {
        let mut rig = Rig::leading();
        let mut cached = assignment(TOPIC, Some(ME), 0);
        cached.config.durability = Durability::PageCache { flush_records: Limit::Unlimited, flush_wait };
        rig.shard.assign(cached);
        rig.produce(&["a"], AckLevel::Leader, 1);
        let synced = (1..=10).find(|second| {
            rig.shard.tick(Monotonic(second * 1000));
            rig.effects();
            !rig.jobs.is_empty()
        });
        assert_eq!(synced, Some(seconds), "{flush_wait:?}");
    }
}

#[test]
fn a_new_leader_epoch_does_not_know_the_latest_offset_before_what_precedes_it_is_committed() {
    let mut rig = Rig::leading();
    rig.produce(&["a"], AckLevel::All, 1);
    rig.shard.assign(assignment(TOPIC, Some(ME), 1));
    let ask = |rig: &mut Rig, target| rig.shard.list_offset(TOPIC, None, target).map(|found| found.offset);
    let not_yet = Err(PartitionError::OffsetNotAvailable);
    assert_eq!(ask(&mut rig, OffsetTarget::Latest), not_yet);
    assert_eq!(ask(&mut rig, OffsetTarget::Timestamp(0)), not_yet);
    assert_eq!(ask(&mut rig, OffsetTarget::Earliest), Ok(Some(Offset(0))));
    rig.sync();
    assert_eq!(ask(&mut rig, OffsetTarget::Latest), Ok(Some(Offset(1))));
    assert_eq!(ask(&mut rig, OffsetTarget::Timestamp(0)), Ok(Some(Offset(0))));
    assert_eq!(ask(&mut rig, OffsetTarget::Timestamp(2_000)), Ok(None));
}

#[test]
fn nothing_in_a_new_log_is_acknowledged_before_a_start_would_find_it() {
    let mut rig = Rig::new();
    let mut assignment = assignment(TOPIC, Some(ME), 0);
    assignment.config.durability =
        Durability::PageCache { flush_records: Limit::Unlimited, flush_wait: Limit::Unlimited };
    rig.shard.assign(assignment);
    assert_eq!(rig.produce(&["a"], AckLevel::All, 1), []);
    assert_eq!(rig.produce(&["b"], AckLevel::Leader, 2), []);
    assert_eq!(rig.sync(), [Seen::Answer(2, Ok(1)), Seen::Answer(1, Ok(0))]);
    assert_eq!(rig.produce(&["c"], AckLevel::All, 3), [Seen::Answer(3, Ok(2))], "the page cache will do now");
}

#[test]
fn only_the_leader_says_where_an_epoch_ends_and_only_to_who_knows_its_own() {
    let mut rig = Rig::new();
    rig.shard.assign(assignment(TOPIC, Some(ME), 3));
    rig.produce(&["a", "b"], AckLevel::Leader, 1);
    rig.sync();
    rig.shard.assign(assignment(TOPIC, Some(ME), 5));
    rig.produce(&["c"], AckLevel::Leader, 2);
    let ends = |rig: &Rig, current: Option<i32>, asked: i32| {
        let end = rig.shard.end_of_epoch(TOPIC, current.map(LeaderEpoch), LeaderEpoch(asked));
        end.map(|end| end.map(|end| (end.epoch.0, end.end.0)))
    };
    assert_eq!(ends(&rig, None, 3), Ok(Some((3, 2))));
    assert_eq!(ends(&rig, Some(5), 4), Ok(Some((3, 2))), "the greatest that is not above");
    assert_eq!(ends(&rig, Some(5), 5), Ok(Some((5, 3))), "also what is not committed");
    assert_eq!(ends(&rig, Some(5), 6), Ok(None));
    let current = LeaderEpoch(5);
    let fenced = PartitionError::FencedLeaderEpoch { asked: LeaderEpoch(4), current };
    assert_eq!(ends(&rig, Some(4), 3), Err(fenced));
    let unknown = PartitionError::UnknownLeaderEpoch { asked: LeaderEpoch(6), current };
    assert_eq!(ends(&rig, Some(6), 3), Err(unknown));
    rig.shard.assign(assignment(TOPIC, None, 6));
    assert_eq!(ends(&rig, None, 3), Err(PartitionError::NotLeader));
}

/// A start after a crash trusts that the name of a log in a checkpoint, and whose it is, are durable.
#[test]
fn a_log_is_in_no_checkpoint_before_its_first_sync() {
    let mut rig = Rig::new();
    let named = |rig: &Rig| Checkpoint::RecoveryPoint.read(&rig.disk).unwrap().len();
    rig.shard.assign(assignment(TOPIC, Some(ME), 0));
    rig.begin();
    rig.shard.tick(Monotonic(6_000));
    rig.effects();
    assert_eq!(named(&rig), 0);
    rig.finish();
    rig.shard.tick(Monotonic(12_000));
    rig.effects();
    assert_eq!(named(&rig), 1);
}
