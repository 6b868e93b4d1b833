//! A replica that goes from one log directory to another, each a shard with a disk of its own.

use ottla_core::config::{Durability, Limit};
use ottla_core::disk::Disk;
use ottla_core::ids::{LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};
use ottla_core::log::{EpochEnd, Log, LogConfig, RecoveryReport};
use ottla_core::partition::AckLevel;
use ottla_core::shard::{Assignment, Copied, CopyFrom, CopyPart, Damage, FollowProblem, OpenedLog};
use ottla_core::shard::{Replicated, ReplicatedPart, Shard};
use ottla_core::time::{Monotonic, Wall};
use ottla_sim::disk::{CrashKind, SimDisk};
use ottla_sim::rng::Rng;
use uuid::Uuid;

use crate::rig::{self, ME, OTHER, Rig, Seen, TOPIC, batch};

const ALL: [&str; 4] = ["a", "b", "c", "d"];

struct Pair {
    from: Rig,
    to: Rig,
}

fn assignment() -> Assignment {
    rig::assignment(TOPIC, Some(ME), 0)
}

impl Pair {
    /// A leader of four batches, and a copy that has nothing yet.
    fn new() -> Self {
        let (mut from, to) = (Rig::leading(), Rig::open(SimDisk::new(Rng::new(2))));
        for value in ALL {
            from.produce(&[value], AckLevel::All, 0);
            from.sync();
        }
        let mut pair = Self { from, to };
        pair.begin();
        pair
    }

    fn begin(&mut self) {
        let Assignment { topic, config, .. } = assignment();
        self.to.shard.begin_copy(TOPIC, &topic, &config);
        self.to.sync();
    }

    /// One piece; whether the copy has everything by now.
    fn piece(&mut self) -> (bool, CopyFrom) {
        self.piece_unless_failed().unwrap()
    }

    fn piece_unless_failed(&mut self) -> Option<(bool, CopyFrom)> {
        let goes_on = self.to.shard.copied(TOPIC, None, Wall(0))?;
        let given = match self.from.shard.locate_copy(TOPIC, goes_on, 1).unwrap() {
            CopyPart::Diverging(end) => Copied::Diverging(end),
            CopyPart::BelowLogStart(offset) => Copied::BelowLogStart(offset),
            CopyPart::Records { plan, log_start, .. } => {
                let bytes = if plan.length == 0 { bytes::Bytes::new() } else { plan.run().unwrap() };
                Copied::Records { bytes, log_start }
            }
        };
        let ends = matches!(&given, Copied::Records { bytes, .. } if bytes.is_empty());
        let goes_on = self.to.shard.copied(TOPIC, Some((goes_on.offset, given)), Wall(0))?;
        self.to.sync();
        Some((ends, goes_on))
    }

    /// Time for the copy to write its recovery point.
    fn tick(&mut self, at: u64) {
        self.to.shard.tick(Monotonic(at));
        self.to.sync();
    }

    /// The replica that is copied loses its last two records to another leader's "x".
    fn cut_source(&mut self) {
        // Another leads: it has only two of the records, and writes others.
        let led_by_other = |epoch| rig::replicated(TOPIC, OTHER, &[NodeId(2), ME], epoch);
        self.from.shard.assign(led_by_other(3));
        self.from.sync();
        let part = |from, given| ReplicatedPart { leader_epoch: LeaderEpoch(3), from: Offset(from), given };
        let end = EpochEnd { epoch: LeaderEpoch(0), end: Offset(2) };
        self.from.shard.replicate(TOPIC, part(4, Replicated::Diverging(end)), Wall(0));
        let mut other = batch(&["x"]).bytes.to_vec();
        other[..8].copy_from_slice(&2i64.to_be_bytes());
        other[12..16].copy_from_slice(&3i32.to_be_bytes());
        let given =
            Replicated::Records { bytes: other.into(), high_watermark: Offset(3), log_start: Offset(0) };
        self.from.shard.replicate(TOPIC, part(2, given), Wall(0));
        self.from.sync();
    }

    fn catch_up(&mut self) -> CopyFrom {
        let pieces = (0..100).map(|_| self.piece());
        let whole = |(ends, goes_on): (bool, CopyFrom)| (ends && goes_on.is_ready).then_some(goes_on);
        pieces.filter_map(whole).next().expect("it has everything at last")
    }

    fn switch(&mut self) -> Vec<Seen> {
        let handed = self.from.shard.hand_over(TOPIC).unwrap();
        let mut seen = self.from.effects();
        while !self.piece().0 {}
        self.to.shard.adopt(TOPIC, handed).unwrap();
        self.from.shard.remove_frozen(TOPIC);
        seen.extend(self.to.effects());
        seen.extend(self.from.effects());
        seen
    }
}

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list("").unwrap().into_iter().filter(|name| name.starts_with("orders")).collect()
}

#[test]
fn a_leader_goes_on_in_its_other_directory_with_everything_it_has() {
    let mut pair = Pair::new();
    assert_eq!(pair.to.shard.futures().collect::<Vec<_>>(), [TOPIC]);
    assert_eq!(pair.to.shard.partitions().count(), 0, "nobody takes it for a replica");
    assert_eq!(pair.catch_up().offset, Offset(4));
    // What comes while it is copied, and what waits for its sync as the replica is handed over.
    pair.from.produce(&["e"], AckLevel::All, 1);
    pair.from.sync();
    assert_eq!(pair.from.produce(&["f"], AckLevel::All, 2), []);
    let seen = pair.switch();
    assert!(seen.contains(&Seen::Answer(2, Ok(5))), "durable in its new place: {seen:?}");
    assert!(seen.contains(&Seen::Removed), "{seen:?}");
    assert_eq!(pair.to.read(0).unwrap(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!((names(&pair.from.disk), names(&pair.to.disk)), (vec![], vec!["orders-0".to_owned()]));
    pair.to.produce(&["g"], AckLevel::All, 3);
    assert_eq!(pair.to.sync(), [Seen::Answer(3, Ok(6))]);
    pair.to.shard.tick(Monotonic(6_000));
    pair.to.sync();
    // Power goes: it is there under its name, and nothing has to be looked at twice.
    let mut after = Rig::open(pair.to.disk.crash(CrashKind::PowerAllLost));
    after.shard.assign(rig::assignment(TOPIC, Some(ME), 1));
    assert_eq!(after.read(0).unwrap().len(), 7);
}

#[test]
fn power_may_go_at_any_time_and_all_is_there_in_one_of_the_two() {
    for pieces in 0..12 {
        let mut pair = Pair::new();
        for _ in 0..pieces {
            pair.piece();
        }
        let adopted = pair.piece().1.is_ready && pieces > 6;
        if adopted {
            pair.switch();
        }
        let from = Rig::open(pair.from.disk.crash(CrashKind::PowerAllLost));
        let mut to = Rig::open(pair.to.disk.crash(CrashKind::PowerAllLost));
        if adopted {
            to.shard.assign(rig::assignment(TOPIC, Some(ME), 1));
            assert_eq!(to.read(0).unwrap(), ALL);
            continue;
        }
        // It goes on where it was.
        let mut pair = Pair { from, to };
        pair.from.shard.assign(rig::assignment(TOPIC, Some(ME), 1));
        pair.begin();
        assert_eq!(pair.catch_up().offset, Offset(4));
        pair.switch();
        assert_eq!(pair.to.read(0).unwrap(), ALL);
    }
}

#[test]
fn a_start_knows_a_copy_that_was_closed_and_goes_on_with_it() {
    let mut pair = Pair::new();
    pair.piece();
    pair.piece();
    pair.to.shard.close(None).unwrap();
    let to = Rig::open(pair.to.disk.crash(CrashKind::PowerAllLost));
    let mut pair = Pair { to, ..pair };
    pair.begin();
    assert_eq!(pair.to.shard.copied(TOPIC, None, Wall(0)).unwrap().offset, Offset(2));
    pair.catch_up();
    pair.switch();
    assert_eq!(pair.to.read(0).unwrap(), ALL);
}

/// What a start does to the copy in a directory.
fn looked_at(disk: &SimDisk) -> RecoveryReport {
    let opened = Shard::<SimDisk, u32, u32>::open(ME, disk.clone(), Monotonic(0)).unwrap();
    assert_eq!(opened.futures.len(), 1, "{:?}", opened.futures);
    let OpenedLog { result, .. } = opened.futures.into_iter().next().unwrap();
    let (id, report) = result.unwrap();
    assert_eq!(id, TOPIC);
    report
}

#[test]
fn of_two_copies_a_start_keeps_the_longer_one() {
    for unique in ["0", "f"] {
        let name = &format!("orders-0.{}-future", unique.repeat(32));
        let mut pair = Pair::new();
        pair.piece();
        pair.piece();
        pair.to.sync();
        let disk = pair.to.disk.crash(CrashKind::Process);
        let empty = Log::create_future(disk.clone(), name, TOPIC.topic_id, &LogConfig::default());
        empty.unwrap().take_sync().unwrap().run().unwrap();
        assert_eq!(names(&disk).len(), 2);
        let to = Rig::open(disk);
        let mut pair = Pair { to, ..pair };
        pair.begin();
        assert_eq!(pair.to.shard.copied(TOPIC, None, Wall(0)).unwrap().offset, Offset(2), "{name}");
        assert_eq!(names(&pair.to.disk).len(), 1, "{name}");
    }
}

#[test]
fn a_start_looks_at_nothing_of_a_copy_that_was_closed() {
    // Also if it was never long enough under way to say how far it is durable, and if it was cut meanwhile.
    for (ticks, is_cut) in [(false, false), (true, false), (true, true)] {
        let mut pair = Pair::new();
        pair.catch_up();
        if ticks {
            pair.tick(6_000);
        }
        if is_cut {
            pair.cut_source();
            pair.catch_up();
        }
        pair.to.shard.close(None).unwrap();
        let disk = pair.to.disk.crash(CrashKind::PowerAllLost);
        let before = disk.counts().changes;
        assert_eq!(looked_at(&disk), RecoveryReport::default(), "{ticks} {is_cut}");
        let changes = disk.counts().changes - before;
        // The mark and the checkpoints are five; the copy's names and its last segment are synced.
        assert!(changes <= 8, "{changes} changes");
    }
}

#[test]
fn a_start_after_a_crash_looks_at_what_was_copied_last() {
    for kind in [CrashKind::Process, CrashKind::PowerAllLost] {
        let mut pair = Pair::new();
        // The first time what its creation took back is given again, which is durable the second time.
        for pieces in 0..3 {
            pair.piece();
            pair.tick(6_000 * pieces);
        }
        pair.piece();
        let disk = pair.to.disk.crash(kind);
        // The last piece was not synced yet.
        let above = if kind == CrashKind::Process { batch(&["d"]).bytes.len() as u64 } else { 0 };
        assert_eq!(looked_at(&disk).recovered_bytes, above);
        // What it found then is durable, and need not be looked at once more.
        let disk = disk.crash(kind);
        assert_eq!(looked_at(&disk), RecoveryReport::default());
        let mut pair = Pair { from: pair.from, to: Rig::open(disk.crash(kind)) };
        pair.begin();
        pair.catch_up();
        pair.switch();
        assert_eq!(pair.to.read(0).unwrap(), ALL);
    }
}

#[test]
fn a_copy_that_is_cut_believes_nothing_that_a_power_cut_took() {
    for kind in [CrashKind::Process, CrashKind::PowerAllLost, CrashKind::PowerSomeLost] {
        for operations in 0.. {
            let mut pair = Pair::new();
            pair.catch_up();
            pair.tick(6_000);
            pair.cut_source();
            pair.to.disk.crash_after(operations);
            for at in 0..6 {
                if pair.piece_unless_failed().is_none() {
                    break;
                }
                pair.tick(12_000 + 6_000 * at);
            }
            let is_over = !pair.to.disk.is_stopped();
            let mut pair = Pair { from: pair.from, to: Rig::open(pair.to.disk.crash(kind)) };
            pair.begin();
            assert_eq!(pair.catch_up().offset, Offset(3), "{kind:?}, crash after {operations}");
            pair.switch();
            pair.to.shard.assign(rig::assignment(TOPIC, Some(ME), 4));
            pair.to.sync();
            assert_eq!(pair.to.read(0).unwrap(), ["a", "b", "x"], "{kind:?}, crash after {operations}");
            if is_over {
                assert!(operations > 20, "{operations}");
                break;
            }
        }
    }
}

#[test]
fn an_adoption_that_a_crash_ends_leaves_all_in_one_of_the_two() {
    for kind in [CrashKind::Process, CrashKind::PowerAllLost, CrashKind::PowerSomeLost] {
        for operations in 0.. {
            let mut pair = Pair::new();
            pair.catch_up();
            pair.tick(6_000);
            pair.from.produce(&["e"], AckLevel::All, 5);
            let handed = pair.from.shard.hand_over(TOPIC).unwrap();
            while !pair.piece().0 {}
            pair.to.disk.crash_after(operations);
            let is_adopted = pair.to.shard.adopt(TOPIC, handed).is_ok();
            let mut to = Rig::open(pair.to.disk.crash(kind));
            let has_name = names(&to.disk) == ["orders-0"];
            assert!(has_name || !is_adopted, "{kind:?}, crash after {operations}");
            if has_name {
                to.shard.assign(rig::assignment(TOPIC, Some(ME), 1));
                assert_eq!(to.read(0).unwrap().len(), 5, "{kind:?}, crash after {operations}");
                assert!(!to.disk.list("orders-0").unwrap().contains(&"recovery-point".to_owned()));
            } else {
                let mut pair = Pair { from: Rig::open(pair.from.disk.crash(kind)), to };
                pair.from.shard.assign(rig::assignment(TOPIC, Some(ME), 1));
                pair.begin();
                pair.catch_up();
                pair.switch();
                assert_eq!(pair.to.read(0).unwrap()[..4], ALL, "{kind:?}, crash after {operations}");
            }
            if is_adopted {
                assert!(operations > 3, "{operations}");
                break;
            }
        }
    }
}

#[test]
fn a_copy_is_cut_where_its_replica_was_cut() {
    let mut pair = Pair::new();
    pair.catch_up();
    pair.cut_source();
    assert_eq!(pair.catch_up().offset, Offset(3));
    let handed = pair.from.shard.hand_over(TOPIC).unwrap();
    pair.to.shard.adopt(TOPIC, handed).unwrap();
    pair.from.effects();
    pair.to.effects();
    assert_eq!(pair.from.follows[&TOPIC], None, "here it follows no more");
    let follows = pair.to.follows[&TOPIC].unwrap();
    assert_eq!((follows.offset, follows.last_epoch), (Offset(3), Some(LeaderEpoch(3))));
    pair.to.shard.assign(rig::assignment(TOPIC, Some(ME), 4));
    pair.to.sync();
    assert_eq!(pair.to.read(0).unwrap(), ["a", "b", "x"]);
}

#[test]
fn a_copy_takes_nothing_damaged_and_nothing_that_has_no_room() {
    let mut pair = Pair::new();
    let mut bytes = batch(&["a"]).bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let given =
        |bytes: Vec<u8>| Some((Offset(0), Copied::Records { bytes: bytes.into(), log_start: Offset(0) }));
    let goes_on = pair.to.shard.copied(TOPIC, given(bytes), Wall(0)).unwrap();
    assert_eq!((goes_on.offset, goes_on.problem), (Offset(0), Some(FollowProblem::Flawed)));
    pair.to.shard.set_room(10);
    let goes_on = pair.to.shard.copied(TOPIC, given(batch(&["a"]).bytes.to_vec()), Wall(0)).unwrap();
    assert_eq!(goes_on.problem, Some(FollowProblem::Full));
}

#[test]
fn a_copy_that_is_given_up_leaves_nothing_and_its_replica_alone() {
    let mut pair = Pair::new();
    pair.piece();
    pair.to.shard.end_copy(TOPIC);
    assert_eq!(pair.to.effects(), [Seen::Removed]);
    assert_eq!((names(&pair.to.disk).len(), pair.to.shard.copied(TOPIC, None, Wall(0))), (0, None));
    assert_eq!(pair.from.read(0).unwrap(), ALL);
    // And again, from the beginning.
    pair.begin();
    pair.catch_up();
    pair.switch();
    assert_eq!(pair.to.read(0).unwrap(), ALL);
}

#[test]
fn a_copy_whose_original_is_gone_never_leads_and_is_copied_anew() {
    let mut pair = Pair::new();
    pair.piece();
    let mut to = Rig::open(pair.to.disk.crash(CrashKind::PowerAllLost));
    // The controller knows of the new directory already, and the other has failed for good.
    to.shard.assign(rig::replicated(TOPIC, ME, &[ME, OTHER], 1));
    to.sync();
    assert_eq!(to.damage, [(TOPIC, Damage::Orphan)]);
    assert_eq!(to.shard.damaged().collect::<Vec<_>>(), [TOPIC]);
    assert!(to.read(0).is_err(), "it does not serve");
    to.damage.clear();
    to.shard.assign(rig::replicated(TOPIC, OTHER, &[OTHER], 2));
    to.sync();
    assert!(matches!(&to.damage[..], [(TOPIC, Damage::Replaced { .. })]), "{:?}", to.damage);
    assert_eq!(to.follows[&TOPIC].unwrap().offset, Offset(0));
}

#[test]
fn a_copy_that_becomes_an_orphan_while_it_is_under_sync_is_moved_by_nobody_before() {
    let mut pair = Pair::new();
    pair.catch_up();
    pair.to.shard.tick(Monotonic(6_000));
    pair.to.begin();
    assert_eq!(pair.to.jobs.len(), 1, "its recovery point is due");
    pair.to.shard.orphan(TOPIC, LeaderEpoch(1));
    pair.to.shard.assign(rig::replicated(TOPIC, OTHER, &[OTHER], 2));
    pair.to.effects();
    assert_eq!(pair.to.damage, [(TOPIC, Damage::Orphan)]);
    pair.to.finish();
    pair.to.effects();
    assert!(!pair.to.shard.has_failed());
    assert!(matches!(&pair.to.damage[1..], [(TOPIC, Damage::Replaced { .. })]), "{:?}", pair.to.damage);
}

#[test]
fn an_orphan_makes_way_only_in_an_epoch_whose_leader_knows_nothing_of_what_it_copied() {
    let mut pair = Pair::new();
    pair.catch_up();
    pair.to.shard.orphan(TOPIC, LeaderEpoch(2));
    // It does not count, and that leader knows how far its broker had fetched.
    pair.to.shard.assign(rig::replicated(TOPIC, OTHER, &[OTHER], 2));
    pair.to.sync();
    assert_eq!(pair.to.damage, [(TOPIC, Damage::Orphan)]);
    assert!(!pair.to.follows.contains_key(&TOPIC));
    pair.to.shard.assign(rig::replicated(TOPIC, OTHER, &[OTHER], 3));
    pair.to.sync();
    assert!(matches!(&pair.to.damage[1..], [(TOPIC, Damage::Replaced { .. })]), "{:?}", pair.to.damage);
    assert_eq!(pair.to.follows[&TOPIC].unwrap().offset, Offset(0));
}

#[test]
fn producers_that_wait_in_a_replica_that_is_lost_hear_of_it() {
    let mut pair = Pair::new();
    pair.catch_up();
    assert_eq!(pair.from.produce(&["e"], AckLevel::All, 5), []);
    let handed = pair.from.shard.hand_over(TOPIC).unwrap();
    assert!(pair.from.read(0).is_err(), "it is frozen");
    assert!(pair.from.shard.hand_over(TOPIC).is_none());
    pair.from.shard.give_up(handed);
    pair.to.shard.orphan(TOPIC, LeaderEpoch(1));
    let seen = pair.from.effects();
    assert!(seen.iter().any(|seen| matches!(seen, Seen::Answer(5, Err(_)))), "{seen:?}");
    pair.to.effects();
    assert_eq!(pair.to.damage, [(TOPIC, Damage::Orphan)]);
}

#[test]
fn the_name_of_an_earlier_log_is_free_before_a_copy_takes_it() {
    let mut pair = Pair::new();
    // It was here before, and its recovery point is on the disk still.
    pair.to.shard.end_copy(TOPIC);
    pair.to.shard.assign(rig::assignment(TOPIC, Some(ME), 0));
    pair.to.sync();
    pair.to.produce(&["long", "gone"], AckLevel::All, 1);
    pair.to.sync();
    pair.to.shard.tick(Monotonic(6_000));
    pair.to.sync();
    pair.to.shard.remove(TOPIC);
    pair.to.effects();
    pair.begin();
    for _ in 0..10 {
        assert!(!pair.piece().1.is_ready, "a start would miss what that recovery point speaks of");
    }
    pair.to.shard.tick(Monotonic(12_000));
    pair.to.sync();
    assert_eq!(pair.catch_up().offset, Offset(4));
}

#[test]
fn a_topic_whose_records_stay_in_the_page_cache_is_durable_where_it_comes_to() {
    let mut pair = Pair::new();
    let mut settings = assignment();
    settings.config.durability =
        Durability::PageCache { flush_records: Limit::Unlimited, flush_wait: Limit::Unlimited };
    pair.from.shard.assign(settings);
    pair.catch_up();
    pair.from.produce(&["e"], AckLevel::All, 1);
    pair.switch();
    let mut after = Rig::open(pair.to.disk.crash(CrashKind::PowerAllLost));
    after.shard.assign(rig::assignment(TOPIC, Some(ME), 1));
    assert_eq!(after.read(0).unwrap().len(), 5);
}

#[test]
fn what_was_asked_for_another_copy_is_not_taken() {
    let mut pair = Pair::new();
    pair.piece();
    pair.piece();
    let stale = Copied::Records { bytes: batch(&["c"]).bytes.into(), log_start: Offset(0) };
    pair.to.shard.end_copy(TOPIC);
    pair.begin();
    let goes_on = pair.to.shard.copied(TOPIC, Some((Offset(2), stale)), Wall(0)).unwrap();
    assert_eq!(goes_on.offset, Offset(0), "it would leave a hole");
}

#[test]
fn a_replica_that_cannot_go_over_goes_on_where_it_was() {
    let mut pair = Pair::new();
    pair.catch_up();
    assert_eq!(pair.from.produce(&["e"], AckLevel::All, 5), []);
    let handed = pair.from.shard.hand_over(TOPIC).unwrap();
    pair.from.shard.take_back(TOPIC, handed).unwrap();
    assert_eq!(pair.from.sync(), [Seen::Answer(5, Ok(4))]);
    assert_eq!(pair.from.read(0).unwrap().len(), 5);
    // A sync that ends while it is away is heard of.
    assert_eq!(pair.from.produce(&["f"], AckLevel::All, 6), []);
    let handed = pair.from.shard.hand_over(TOPIC).unwrap();
    assert!(!pair.from.sync().contains(&Seen::Answer(6, Ok(5))));
    pair.from.shard.take_back(TOPIC, handed).unwrap();
    assert!(pair.from.effects().contains(&Seen::Answer(6, Ok(5))));
    assert_eq!(pair.from.read(0).unwrap().len(), 6);
    pair.from.shard.remove_frozen(TOPIC);
    assert_eq!(pair.from.read(0).unwrap().len(), 6, "it is not frozen");
    // Taken from this broker and given back while it was on its way: it begins anew.
    let handed = pair.from.shard.hand_over(TOPIC).unwrap();
    pair.from.shard.assign(rig::assignment(TOPIC, Some(ME), 2));
    pair.from.sync();
    assert!(pair.from.shard.take_back(TOPIC, handed).is_err());
    assert_eq!(pair.from.read(0).unwrap().len(), 0);
}

#[test]
fn a_later_topic_of_that_name_keeps_its_place_and_what_nobody_knows_makes_way() {
    let mut pair = Pair::new();
    pair.catch_up();
    // What a creation left that never finished.
    pair.to.disk.create_directory("orders-0").unwrap();
    pair.switch();
    assert_eq!(pair.to.read(0).unwrap(), ALL);

    let mut pair = Pair::new();
    pair.catch_up();
    let handed = pair.from.shard.hand_over(TOPIC).unwrap();
    let later = TopicPartition { topic_id: TopicId(Uuid::from_u128(8)), ..TOPIC };
    pair.to.shard.assign(rig::assignment(later, Some(ME), 0));
    let handed = pair.to.shard.adopt(TOPIC, handed).unwrap_err();
    assert!(!pair.to.shard.may_adopt(TOPIC) && !pair.to.shard.has_failed());
    pair.from.shard.give_up(handed);
    pair.to.shard.orphan(TOPIC, LeaderEpoch(1));
    pair.to.shard.remove(TOPIC);
    pair.to.sync();
    assert_eq!(names(&pair.to.disk), ["orders-0"]);
}

#[test]
fn an_adoption_that_finds_no_descriptor_is_done_again() {
    for left in 0..40 {
        let mut pair = Pair::new();
        pair.catch_up();
        pair.from.produce(&["e"], AckLevel::All, 5);
        let mut handed = pair.from.shard.hand_over(TOPIC).unwrap();
        while !pair.piece().0 {}
        pair.to.disk.set_descriptors(left);
        for _ in 0..2 {
            let Err(back) = pair.to.shard.adopt(TOPIC, handed) else { break };
            handed = back;
            assert!(pair.to.shard.may_adopt(TOPIC) && !pair.to.shard.has_failed(), "{left}");
            pair.to.disk.set_descriptors(u64::MAX);
        }
        pair.to.disk.set_descriptors(u64::MAX);
        assert_eq!(pair.to.read(0).unwrap().len(), 5, "{left}");
        assert!(pair.to.effects().contains(&Seen::Answer(5, Ok(4))), "{left}");
        let mut after = Rig::open(pair.to.disk.crash(CrashKind::PowerAllLost));
        after.shard.assign(rig::assignment(TOPIC, Some(ME), 1));
        assert_eq!(after.read(0).unwrap().len(), 5, "{left}");
    }
}
