//! Idempotent producers: what a leader answers to what comes again, comes too early, or comes too late.

use bytes::{Bytes, BytesMut};
use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::{LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId};
use ottla_core::log::{EpochEnd, SequenceError};
use ottla_core::partition::{AckLevel, PartitionError};
use ottla_core::shard::{Assignment, Batch, FollowFrom, FollowProblem, Replicated, ReplicatedPart};
use ottla_core::time::Wall;
use ottla_wire::batch::BatchBuilder;

use crate::rig::{self, ME, OTHER, Rig, Seen, TOPIC, assignment};

const ID: ProducerId = ProducerId(7);

/// One record of the producer.
fn sent(epoch: i16, sequence: i32, value: &str) -> Batch {
    let builder = BatchBuilder::new().producer(ID.0, epoch, sequence);
    let (bytes, _) = builder.record(1000, None, Some(value.as_bytes())).build().unwrap();
    Batch { bytes, record_count: 1, log_append_time: None, only_in: None }
}

fn led(epoch: i16, sequence: i32, base: i64, leader_epoch: i32) -> Bytes {
    let mut bytes: BytesMut = sent(epoch, sequence, "v").bytes;
    ottla_wire::batch::patch_base_offset(&mut bytes, base);
    ottla_wire::batch::patch_leader_epoch(&mut bytes, leader_epoch);
    bytes.freeze()
}

fn replicated(leader: NodeId, epoch: i32) -> Assignment {
    rig::replicated(TOPIC, leader, &[ME, OTHER], epoch)
}

impl Rig {
    fn send(&mut self, batch: Batch, acks: AckLevel, token: u32) -> Vec<Seen> {
        self.shard.produce(TOPIC, batch, acks, token, Wall(1_000));
        self.effects()
    }

    fn fetched(&mut self, end: i64) -> Vec<Seen> {
        self.other_fetches(end, 3);
        self.effects()
    }

    fn take(&mut self, epoch: i32, from: i64, bytes: Bytes) {
        let given = Replicated::Records { bytes, high_watermark: Offset(0), log_start: Offset(0) };
        let part = ReplicatedPart { leader_epoch: LeaderEpoch(epoch), from: Offset(from), given };
        self.shard.replicate(TOPIC, part, Wall(1_000));
        self.sync();
    }
}

/// A follower's log with a hundred batches of one producer.
fn a_hundred() -> Rig {
    let mut rig = Rig::new();
    rig.shard.assign(replicated(OTHER, 1));
    rig.sync();
    for at in 0..100 {
        rig.take(1, i64::from(at), led(0, at, i64::from(at), 1));
    }
    rig
}

impl Rig {
    /// Its leader says that the logs part before `end`, when so many descriptors are left; from where it follows then.
    fn diverges(&mut self, end: i64, descriptors: u64) -> (Vec<Seen>, FollowFrom) {
        let end = EpochEnd { epoch: LeaderEpoch(1), end: Offset(end) };
        let given = Replicated::Diverging(end);
        let part = ReplicatedPart { leader_epoch: LeaderEpoch(1), from: Offset(100), given };
        self.disk.set_descriptors(descriptors);
        self.shard.replicate(TOPIC, part, Wall(1_000));
        let mut seen = self.effects();
        self.disk.set_descriptors(u64::MAX);
        seen.extend(self.sync());
        (seen, self.follows[&TOPIC].expect("it follows"))
    }
}

fn leading_two() -> Rig {
    let mut rig = Rig::new();
    rig.both_serve();
    rig.shard.assign(replicated(ME, 3));
    rig.sync();
    rig
}

#[test]
fn what_comes_again_is_answered_with_its_first_offset_and_written_once() {
    let mut rig = Rig::leading();
    rig.send(sent(0, 0, "a"), AckLevel::All, 1);
    rig.send(sent(0, 1, "b"), AckLevel::All, 2);
    rig.sync();
    assert_eq!(rig.send(sent(0, 0, "a"), AckLevel::All, 3), [Seen::Answer(3, Ok(0))]);
    assert_eq!(rig.send(sent(0, 1, "b"), AckLevel::Leader, 4), [Seen::Answer(4, Ok(1))]);
    assert_eq!(rig.send(sent(0, 1, "b"), AckLevel::None, 5), [Seen::Answer(5, Ok(1))]);
    assert_eq!(rig.read(0), Ok(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn what_comes_again_waits_until_it_is_committed() {
    let mut rig = leading_two();
    rig.send(sent(0, 0, "a"), AckLevel::All, 1);
    rig.send(sent(0, 1, "b"), AckLevel::All, 2);
    rig.sync();
    assert_eq!(rig.send(sent(0, 0, "a"), AckLevel::All, 3), []);
    assert_eq!(rig.fetched(1), [Seen::Answer(1, Ok(0)), Seen::Answer(3, Ok(0))]);
    assert_eq!(rig.fetched(2), [Seen::Answer(2, Ok(1))]);
}

#[test]
fn gaps_and_epochs_that_are_over_are_refused_and_nothing_is_written() {
    let mut rig = Rig::leading();
    rig.send(sent(1, 0, "a"), AckLevel::All, 1);
    rig.sync();
    let gap = SequenceError::OutOfOrder { id: ID, expected: 1, found: 2 };
    assert_eq!(rig.send(sent(1, 2, "c"), AckLevel::All, 2), [Seen::Answer(2, Err(gap.into()))]);
    let (current, found) = (ProducerEpoch(1), ProducerEpoch(0));
    let stale = SequenceError::StaleEpoch { id: ID, current, found };
    let refused: PartitionError = stale.into();
    assert_eq!(rig.send(sent(0, 1, "b"), AckLevel::All, 3), [Seen::Answer(3, Err(refused))]);
    rig.sync();
    assert_eq!(rig.read(0), Ok(vec!["a".to_owned()]));
}

#[test]
fn a_follower_that_becomes_the_leader_knows_what_its_leader_knew() {
    let mut rig = Rig::new();
    rig.shard.assign(replicated(OTHER, 1));
    rig.sync();
    rig.take(1, 0, led(0, 0, 0, 1));
    rig.take(1, 1, led(0, 1, 1, 1));
    rig.shard.assign(assignment(TOPIC, Some(ME), 2));
    rig.sync();
    assert_eq!(rig.send(sent(0, 1, "v"), AckLevel::All, 1), [Seen::Answer(1, Ok(1))]);
    rig.send(sent(0, 2, "c"), AckLevel::All, 2);
    assert_eq!(rig.sync(), [Seen::Answer(2, Ok(2))]);
}

#[test]
fn a_follower_does_not_judge_what_its_leader_took() {
    let mut rig = Rig::new();
    rig.shard.assign(replicated(OTHER, 1));
    rig.sync();
    rig.take(1, 0, led(0, 5, 0, 1));
    rig.take(1, 1, led(0, 9, 1, 1));
    assert_eq!(rig.follows[&TOPIC].expect("it follows").offset, Offset(2));
}

#[test]
fn a_cut_that_must_read_a_rotten_batch_changes_nothing_and_fails_nothing() {
    let mut rig = a_hundred();
    let file = rig.disk.open("orders-0/00000000000000000000.log", OpenMode::Existing).unwrap();
    // The second batch says that it is of another format.
    let second = u64::try_from(led(0, 0, 0, 1).len()).unwrap();
    file.write_at(&[9], second + 16).unwrap();
    // Only five batches of the producer are remembered: what was before them must be read.
    for end in [1, 60, 90] {
        let (seen, follows) = rig.diverges(end, u64::MAX);
        assert_eq!(seen, [], "{end}: nothing has failed");
        assert_eq!((follows.problem, follows.offset), (Some(FollowProblem::Damaged), Offset(100)), "{end}");
    }
    let (_, follows) = rig.diverges(97, u64::MAX);
    assert_eq!((follows.problem, follows.offset), (None, Offset(97)), "what is remembered need not be read");
    assert!(!rig.shard.has_failed());
}

#[test]
fn a_cut_that_finds_no_descriptor_is_done_again() {
    let mut starved = 0;
    for left in 0..20 {
        let mut rig = a_hundred();
        let (seen, follows) = rig.diverges(90, left);
        assert_eq!(seen, [], "{left}: nothing has failed");
        if follows.problem.is_some() {
            starved += 1;
            let problem = Some(FollowProblem::NoDescriptor);
            assert_eq!((follows.problem, follows.offset), (problem, Offset(100)), "{left}");
            assert_eq!(rig.diverges(90, u64::MAX).0, [], "{left}");
        }
        assert_eq!(rig.follows[&TOPIC].expect("it follows").offset, Offset(90), "{left}");
        assert_eq!((rig.shard.has_failed(), rig.shard.producer_count()), (false, 1), "{left}");
    }
    assert!(starved > 0);
}
