//! Stories of leaders and followers: what one gives and the other takes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_core::config::{Durability, Limit};
use ottla_core::ids::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicId, TopicPartition};
use ottla_core::log::EpochEnd;
use ottla_core::partition::{AckLevel, PartitionError, ProposalOutcome, ReadFrom};
use ottla_core::replication::recovery::Behind;
use ottla_core::shard::{
    Assignment, FetchPosition, FollowFrom, FollowProblem, ReadsTo, Replicated, ReplicatedPart,
};
use ottla_core::time::{Monotonic, Wall};
use ottla_sim::disk::{CrashKind, SimDisk};
use ottla_sim::rng::Rng;
use uuid::Uuid;

use crate::rig::{self, ME, OTHER, Rig, Seen, TOPIC, batch, fetch_of_other as fetch};

/// Both are replicas; the ISR is as given.
fn replicated(leader: NodeId, isr: &[NodeId], epoch: i32) -> Assignment {
    rig::replicated(TOPIC, leader, isr, epoch)
}

/// A batch as a leader of this epoch would give it.
fn led(values: &[&str], base: i64, epoch: i32) -> Bytes {
    let mut bytes: BytesMut = batch(values).bytes;
    ottla_wire::batch::patch_base_offset(&mut bytes, base);
    ottla_wire::batch::patch_leader_epoch(&mut bytes, epoch);
    bytes.freeze()
}

fn part(epoch: i32, from: i64, given: Replicated) -> ReplicatedPart {
    ReplicatedPart { leader_epoch: LeaderEpoch(epoch), from: Offset(from), given }
}

fn records(bytes: Bytes, high_watermark: i64) -> Replicated {
    Replicated::Records { bytes, high_watermark: Offset(high_watermark), log_start: Offset(0) }
}

fn position(offset: i64, epoch: i32, last: Option<i32>) -> FetchPosition {
    let last_fetched_epoch = last.map(LeaderEpoch);
    FetchPosition { offset: Offset(offset), epoch: Some(LeaderEpoch(epoch)), last_fetched_epoch }
}

fn leading(isr: &[NodeId]) -> Rig {
    let mut rig = Rig::new();
    rig.both_serve();
    rig.shard.assign(replicated(ME, isr, 3));
    rig.sync();
    rig
}

fn following(epoch: i32) -> Rig {
    let mut rig = Rig::new();
    rig.shard.assign(replicated(OTHER, &[ME, OTHER], epoch));
    rig.sync();
    rig
}

impl Rig {
    fn follows(&self) -> FollowFrom {
        self.follows[&TOPIC].expect("it follows somebody")
    }

    fn replicate(&mut self, part: ReplicatedPart) -> Vec<Seen> {
        self.follows.clear();
        self.shard.replicate(TOPIC, part, Wall(1000));
        self.effects()
    }

    fn high_watermark(&self) -> i64 {
        self.shard.partition(TOPIC).expect("it is there").high_watermark().0
    }
}

#[test]
fn a_follower_says_from_where_it_follows_and_again_when_what_it_took_is_durable() {
    let mut rig = following(3);
    let from = rig.follows();
    assert_eq!((from.leader, from.offset, from.last_epoch), (OTHER, Offset(0), None));
    rig.replicate(part(3, 0, records(led(&["a", "b"], 0, 2), 1)));
    assert!(rig.follows.is_empty(), "nothing is said before the sync");
    assert_eq!(rig.high_watermark(), 1);
    rig.sync();
    let from = rig.follows();
    assert_eq!((from.offset, from.flushed_end), (Offset(2), Offset(2)));
    assert_eq!(from.last_epoch, Some(LeaderEpoch(2)), "the epoch of its last record, not of its leader");
}

#[test]
fn a_leader_gives_its_followers_what_is_not_committed_and_answers_when_they_have_it() {
    let mut rig = leading(&[ME, OTHER]);
    rig.produce(&["a"], AckLevel::All, 7);
    assert_eq!(rig.sync(), [], "the follower has yet to come");
    let located = rig
        .shard
        .locate_for_follower(TOPIC, fetch(0, 0), position(0, 3, None), 1 << 20, true, Behind::Served)
        .unwrap();
    assert!(located.plan.length > 0);
    assert_eq!(rig.effects(), []);
    rig.shard
        .locate_for_follower(TOPIC, fetch(1, 0), position(1, 3, Some(3)), 1 << 20, true, Behind::Served)
        .unwrap();
    assert_eq!(rig.effects(), [], "it has it, but not durably");
    rig.shard
        .locate_for_follower(TOPIC, fetch(1, 1), position(1, 3, Some(3)), 1 << 20, true, Behind::Served)
        .unwrap();
    assert_eq!(rig.effects(), [Seen::Answer(7, Ok(0))]);
    assert_eq!(rig.read(0).unwrap(), ["a"]);
}

#[test]
fn a_follower_that_is_behind_gets_nothing_while_it_is_held_and_members_of_the_isr_always_do() {
    for (isr, is_behind) in [(&[ME][..], true), (&[ME, OTHER][..], false)] {
        let mut rig = leading(isr);
        rig.produce(&["a"], AckLevel::Leader, 7);
        rig.sync();
        for behind in [Behind::Held, Behind::Served] {
            let asked = position(0, 3, None);
            let located =
                rig.shard.locate_for_follower(TOPIC, fetch(0, 0), asked, 1 << 20, true, behind).unwrap();
            assert_eq!(located.is_behind, is_behind, "{isr:?}");
            assert_eq!(located.plan.length == 0, is_behind && behind == Behind::Held, "{isr:?} {behind:?}");
        }
        let asked = position(1, 3, Some(3));
        let located = rig.shard.locate_for_follower(TOPIC, fetch(1, 1), asked, 1 << 20, true, Behind::Held);
        assert!(!located.unwrap().is_behind, "it has all");
    }
}

#[test]
fn a_follower_that_waits_is_woken_by_records_and_a_consumer_by_their_commitment() {
    let mut rig = leading(&[ME, OTHER]);
    rig.shard.watch(TOPIC, ReadsTo::LogEnd { told: None }, Offset(0), 1, |_| true);
    rig.shard.watch(TOPIC, ReadsTo::HighWatermark(ReadFrom::Leader), Offset(0), 2, |_| true);
    assert_eq!(rig.produce(&["a"], AckLevel::Leader, 7), [Seen::Wake(1)]);
    rig.sync();
    rig.shard
        .locate_for_follower(TOPIC, fetch(1, 1), position(1, 3, Some(3)), 1 << 20, true, Behind::Served)
        .unwrap();
    assert_eq!(rig.effects(), [Seen::Wake(2)]);
}

#[test]
fn a_follower_that_caught_up_is_proposed_once_and_again_when_that_came_to_nothing() {
    let mut rig = leading(&[ME]);
    let catch_up = |rig: &mut Rig| {
        rig.shard
            .locate_for_follower(TOPIC, fetch(0, 0), position(0, 3, None), 1 << 20, true, Behind::Served)
            .unwrap();
        rig.effects()
    };
    assert_eq!(catch_up(&mut rig), [Seen::Proposed(vec![1, 2])]);
    assert_eq!(catch_up(&mut rig), []);
    let made = (LeaderEpoch(3), PartitionEpoch(3));
    rig.shard.proposal_answered(TOPIC, made, ProposalOutcome::Unchanged);
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.begin();
    assert_eq!(catch_up(&mut rig), [Seen::Proposed(vec![1, 2])]);
}

#[test]
fn a_leader_that_refuses_a_batch_for_want_of_room_makes_way() {
    let mut rig = leading(&[ME, OTHER]);
    rig.shard
        .locate_for_follower(TOPIC, fetch(0, 0), position(0, 3, None), 1 << 20, true, Behind::Served)
        .unwrap();
    rig.effects();
    rig.shard.set_room(10);
    let refused = Seen::Answer(1, Err(PartitionError::DirectoryFull));
    assert_eq!(rig.produce(&["a"], AckLevel::All, 1), [Seen::Proposed(vec![2]), refused]);
    let refused = Seen::Answer(2, Err(PartitionError::DirectoryFull));
    assert_eq!(rig.produce(&["a"], AckLevel::All, 2), [refused], "one at a time");
    // Who may lead already would lack it.
    rig.shard.set_room(1 << 20);
    let refused = Seen::Answer(3, Err(PartitionError::DirectoryFull));
    assert_eq!(rig.produce(&["a"], AckLevel::Leader, 3), [refused]);
    // The next leader hears that there was no room.
    rig.shard.set_room(10);
    rig.shard.assign(replicated(OTHER, &[OTHER], 4));
    rig.sync();
    assert!(rig.follows().lacks_room);
}

#[test]
fn a_leader_without_room_makes_way_as_soon_as_the_others_have_everything() {
    let fetches = |rig: &mut Rig, end| {
        let from = position(end, 3, (end > 0).then_some(3));
        rig.shard.locate_for_follower(TOPIC, fetch(end, end), from, 1 << 20, true, Behind::Served).unwrap();
        rig.effects()
    };
    let mut rig = leading(&[ME, OTHER]);
    rig.produce(&["a"], AckLevel::Leader, 1);
    rig.sync();
    rig.shard.set_room(10);
    let refused = Seen::Answer(2, Err(PartitionError::DirectoryFull));
    assert_eq!(rig.produce(&["b"], AckLevel::Leader, 2), [refused], "the other lacks what there is");
    assert_eq!(fetches(&mut rig, 1), [Seen::Proposed(vec![2])]);
    // Not while it has room again.
    let mut rig = leading(&[ME, OTHER]);
    rig.produce(&["a"], AckLevel::Leader, 1);
    rig.sync();
    rig.shard.set_room(10);
    rig.produce(&["b"], AckLevel::Leader, 2);
    rig.shard.set_room(1 << 20);
    assert_eq!(fetches(&mut rig, 1), []);
    // That it takes a smaller batch is no room for the larger one.
    let mut rig = leading(&[ME, OTHER]);
    rig.shard.set_room(500);
    rig.produce(&["a".repeat(1_000).as_str()], AckLevel::Leader, 1);
    rig.produce(&["b"], AckLevel::Leader, 2);
    rig.sync();
    assert_eq!(fetches(&mut rig, 1), [Seen::Proposed(vec![2])]);
}

#[test]
fn who_has_room_again_says_so_though_nobody_sends_anything() {
    let mut rig = leading(&[ME, OTHER]);
    rig.shard.set_room(10);
    rig.produce(&["a"], AckLevel::Leader, 1);
    rig.shard.assign(replicated(OTHER, &[OTHER], 4));
    rig.sync();
    assert!(rig.follows().lacks_room);
    rig.follows.clear();
    rig.shard.tick(rig.now);
    rig.effects();
    assert!(rig.follows.is_empty(), "nothing is new");
    rig.shard.set_room(1 << 20);
    rig.shard.tick(rig.now);
    rig.sync();
    assert!(!rig.follows().lacks_room);
}

#[test]
fn a_follower_whose_log_differs_is_told_where_and_has_not_come_any_way() {
    let mut rig = leading(&[ME, OTHER]);
    rig.produce(&["a"], AckLevel::All, 7);
    rig.sync();
    // It has two records of epoch 1, of which this leader knows nothing.
    let asked = position(2, 3, Some(1));
    let located =
        rig.shard.locate_for_follower(TOPIC, fetch(2, 2), asked, 1 << 20, true, Behind::Served).unwrap();
    assert_eq!(located.diverging, Some(EpochEnd { epoch: LeaderEpoch(1), end: Offset(0) }));
    assert_eq!((rig.effects(), rig.high_watermark()), (Vec::new(), 0));
}

#[test]
fn a_fetch_beyond_the_leaders_log_counts_for_nothing() {
    let mut rig = leading(&[ME, OTHER]);
    rig.produce(&["a"], AckLevel::All, 7);
    rig.sync();
    let beyond = rig.shard.locate_for_follower(
        TOPIC,
        fetch(9, 9),
        position(9, 3, None),
        1 << 20,
        true,
        Behind::Served,
    );
    assert!(matches!(beyond, Err(PartitionError::OffsetOutOfRange { .. })));
    assert_eq!(rig.effects(), []);
}

#[test]
fn a_follower_cuts_where_the_epochs_part_and_not_at_its_high_watermark() {
    let mut rig = following(3);
    rig.replicate(part(3, 0, records(led(&["a"], 0, 1), 0)));
    rig.sync();
    rig.replicate(part(3, 1, records(led(&["b"], 1, 2), 0)));
    rig.sync();
    // The new leader has the record of epoch 1 and nothing of epoch 2.
    rig.shard.assign(replicated(OTHER, &[ME, OTHER], 4));
    rig.effects();
    assert_eq!(rig.follows().offset, Offset(2), "it does not cut by itself");
    rig.replicate(part(4, 2, Replicated::Diverging(EpochEnd { epoch: LeaderEpoch(1), end: Offset(1) })));
    rig.sync();
    let from = rig.follows();
    assert_eq!((from.offset, from.last_epoch), (Offset(1), Some(LeaderEpoch(1))));
    rig.replicate(part(4, 1, records(led(&["c"], 1, 4), 2)));
    rig.sync();
    assert_eq!(rig.high_watermark(), 2);
}

#[test]
fn what_was_asked_for_in_another_leadership_is_dropped() {
    let mut rig = following(3);
    rig.shard.assign(replicated(OTHER, &[ME, OTHER], 4));
    rig.effects();
    assert_eq!(rig.replicate(part(3, 0, records(led(&["a"], 0, 3), 0))), []);
    assert!(rig.follows.is_empty(), "it has said since from where it goes on");
    rig.sync();
    assert!(rig.jobs.is_empty(), "nothing was written");
}

#[test]
fn damaged_batches_are_not_taken_and_asked_for_again_later() {
    let mut rig = following(3);
    let mut damaged = BytesMut::from(&led(&["a"], 0, 3)[..]);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    rig.replicate(part(3, 0, records(damaged.freeze(), 0)));
    rig.sync();
    let from = rig.follows();
    assert_eq!((from.offset, from.problem), (Offset(0), Some(FollowProblem::Flawed)));
    rig.replicate(part(3, 0, records(led(&["a"], 0, 3), 0)));
    rig.sync();
    assert_eq!(rig.follows().offset, Offset(1));
}

#[test]
fn a_full_directory_keeps_a_follower_where_it_is() {
    let mut rig = following(3);
    rig.shard.set_room(10);
    rig.replicate(part(3, 0, records(led(&["a"], 0, 3), 0)));
    rig.sync();
    assert_eq!((rig.follows().problem, rig.follows().lacks_room), (Some(FollowProblem::Full), true));
    assert!(!rig.shard.has_failed());
    // News without records takes nothing of that back.
    rig.replicate(part(3, 0, records(Bytes::new(), 5)));
    rig.sync();
    assert_eq!((rig.follows().problem, rig.follows().lacks_room), (None, true));
    rig.shard.set_room(1 << 20);
    rig.replicate(part(3, 0, records(led(&["a"], 0, 3), 0)));
    rig.sync();
    assert_eq!((rig.follows().offset, rig.follows().lacks_room), (Offset(1), false));
}

#[test]
fn a_full_follower_drops_what_its_leader_has_dropped() {
    let mut rig = following(3);
    rig.replicate(part(3, 0, records(led(&["a", "b"], 0, 3), 2)));
    rig.sync();
    rig.shard.set_room(10);
    let bytes = led(&["c"], 2, 3);
    rig.replicate(part(3, 2, Replicated::Records { bytes, high_watermark: Offset(2), log_start: Offset(1) }));
    rig.sync();
    let from = rig.follows();
    assert_eq!((from.offset, from.log_start, from.lacks_room), (Offset(2), Offset(1), true));
}

#[test]
fn a_follower_behind_its_leaders_log_start_begins_anew_there() {
    let mut rig = following(3);
    rig.replicate(part(3, 0, Replicated::BelowLogStart(Offset(50))));
    rig.sync();
    let from = rig.follows();
    assert_eq!((from.offset, from.log_start, from.last_epoch), (Offset(50), Offset(50), None));
    rig.replicate(part(3, 50, records(led(&["a"], 50, 3), 51)));
    rig.sync();
    assert_eq!((rig.follows().offset, rig.high_watermark()), (Offset(51), 51));
}

#[test]
fn a_follower_that_becomes_the_leader_follows_nobody() {
    let mut rig = following(3);
    rig.shard.assign(replicated(ME, &[ME], 4));
    rig.sync();
    assert_eq!(rig.follows[&TOPIC], None);
    assert_eq!(rig.produce(&["a"], AckLevel::All, 1), []);
    assert_eq!(rig.sync(), [Seen::Answer(1, Ok(0))]);
}

#[test]
fn what_was_committed_is_known_after_a_restart_before_anybody_is_heard() {
    let mut rig = Rig::open(SimDisk::new(Rng::new(1)));
    rig.shard.assign(replicated(OTHER, &[ME, OTHER], 3));
    rig.sync();
    rig.replicate(part(3, 0, records(led(&["a", "b"], 0, 3), 1)));
    rig.sync();
    rig.shard.close(None).unwrap();
    let mut rig = Rig::open(rig.disk.crash(CrashKind::PowerAllLost));
    rig.shard.assign(replicated(ME, &[ME, OTHER], 4));
    assert_eq!(rig.high_watermark(), 1);
}

#[test]
fn a_failed_directory_follows_nobody() {
    let mut rig = following(3);
    rig.replicate(part(3, 0, records(led(&["a"], 0, 3), 0)));
    rig.begin();
    let (id, job) = rig.jobs.pop().expect("a job was given");
    rig.finish_one(id, job.number(), Err(std::io::Error::from_raw_os_error(5)));
    assert!(rig.effects().contains(&Seen::Failed));
    assert_eq!(rig.follows[&TOPIC], None);
}

#[test]
fn a_follower_that_led_for_nothing_takes_records_of_epochs_before_its_own() {
    let mut rig = following(3);
    rig.replicate(part(3, 0, records(led(&["a"], 0, 3), 1)));
    rig.sync();
    rig.shard.assign(replicated(ME, &[ME, OTHER], 4));
    rig.sync();
    rig.shard.assign(replicated(OTHER, &[OTHER], 5));
    rig.sync();
    // The new leader has more of epoch 3 than this one ever had.
    rig.replicate(part(5, 1, records(led(&["b"], 1, 3), 1)));
    rig.sync();
    let from = rig.follows();
    assert_eq!((from.offset, from.problem), (Offset(2), None));
}

#[test]
fn what_a_deposed_leader_read_of_its_successors_is_not_taken() {
    let mut rig = following(3);
    rig.replicate(part(3, 0, records(led(&["a"], 0, 4), 0)));
    rig.sync();
    let from = rig.follows();
    assert_eq!((from.offset, from.problem), (Offset(0), Some(FollowProblem::Flawed)));
}

#[test]
fn a_follower_says_again_where_it_is_when_its_topic_begins_to_be_synced() {
    let mut rig = Rig::new();
    let cached = Durability::PageCache { flush_records: Limit::Unlimited, flush_wait: Limit::Unlimited };
    let mut assignment = replicated(OTHER, &[ME, OTHER], 3);
    assignment.config.durability = cached;
    rig.shard.assign(assignment);
    rig.sync();
    rig.replicate(part(3, 0, records(led(&["a"], 0, 3), 0)));
    assert_eq!(rig.follows().flushed_end, Offset(0), "the page cache will do");
    rig.follows.clear();
    rig.shard.assign(replicated(OTHER, &[ME, OTHER], 3));
    rig.sync();
    assert_eq!(rig.follows().flushed_end, Offset(1));
}

#[test]
fn a_log_that_is_closed_before_it_is_assigned_does_not_take_its_end_for_committed() {
    let mut rig = following(3);
    rig.replicate(part(3, 0, records(led(&["a", "b"], 0, 3), 0)));
    rig.sync();
    // It recovers after a crash, and stops without ever hearing of a controller.
    let mut idle = Rig::open(rig.disk.crash(CrashKind::Process));
    idle.shard.close(Some(BrokerEpoch(1))).unwrap();
    let mut rig = Rig::open(idle.disk.crash(CrashKind::Process));
    rig.shard.assign(replicated(OTHER, &[ME, OTHER], 3));
    let partition = rig.shard.partition(TOPIC).expect("the log was found");
    assert_eq!((partition.positions().log_end, partition.high_watermark()), (Offset(2), Offset(0)));
}

#[test]
fn the_high_watermark_of_an_earlier_topic_says_nothing_about_a_log_of_its_name() {
    let mut rig = leading(&[ME]);
    rig.produce(&["old", "older"], AckLevel::All, 7);
    rig.sync();
    rig.shard.tick(Monotonic(6_000));
    rig.sync();
    let again = TopicPartition { topic_id: TopicId(Uuid::from_u128(8)), ..TOPIC };
    rig.shard.assign(Assignment { partition: again, ..replicated(OTHER, &[ME, OTHER], 0) });
    rig.sync();
    rig.shard.replicate(again, part(0, 0, records(led(&["a", "b", "c"], 0, 0), 0)), Wall(1000));
    rig.sync();
    let mut rig = Rig::open(rig.disk.crash(CrashKind::Process));
    rig.shard.assign(Assignment { partition: again, ..replicated(OTHER, &[ME, OTHER], 0) });
    let partition = rig.shard.partition(again).expect("the log was found");
    assert_eq!((partition.positions().log_end, partition.high_watermark()), (Offset(3), Offset(0)));
}
