//! Consumers that read from followers (KIP-392): who sends them there, what they get, and when they hear of more.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use ottla_core::ids::{LeaderEpoch, NodeId, Offset};
use ottla_core::log::EpochEnd;
use ottla_core::partition::{AckLevel, PartitionError, ReadFrom};
use ottla_core::shard::{FetchPosition, Located, OffsetTarget, ReadsTo, Replicated, ReplicatedPart};
use ottla_core::time::Wall;

use crate::rig::{ME, OTHER, Rig, Seen, TOPIC, batch, replicated};

const ANY: ReadFrom = ReadFrom::AnyReplica;
const EPOCH: LeaderEpoch = LeaderEpoch(3);

/// This broker follows the other one, and was given records "0", "1", … of this epoch, so many of which are committed.
fn following(records: i64, epoch: i32, committed: i64) -> Rig {
    let mut rig = Rig::new();
    rig.shard.assign(replicated(TOPIC, OTHER, &[ME, OTHER], EPOCH.0));
    rig.sync();
    for offset in 0..records {
        rig.given(Some(epoch), offset, committed);
    }
    rig
}

fn led(value: &str, base: i64, epoch: i32) -> Bytes {
    let mut bytes: BytesMut = batch(&[value]).bytes;
    ottla_wire::batch::patch_base_offset(&mut bytes, base);
    ottla_wire::batch::patch_leader_epoch(&mut bytes, epoch);
    bytes.freeze()
}

impl Rig {
    /// The leader gave a record at this offset, or only its high watermark.
    fn given(&mut self, record_of: Option<i32>, offset: i64, high_watermark: i64) -> Vec<Seen> {
        let bytes = record_of.map_or_else(Bytes::new, |epoch| led(&offset.to_string(), offset, epoch));
        let given =
            Replicated::Records { bytes, high_watermark: Offset(high_watermark), log_start: Offset(0) };
        self.shard.replicate(
            TOPIC,
            ReplicatedPart { leader_epoch: EPOCH, from: Offset(offset), given },
            Wall(1),
        );
        self.sync()
    }

    fn waits(&mut self, beyond: i64, token: u32) -> Vec<Seen> {
        self.shard.watch(TOPIC, ReadsTo::HighWatermark(ANY), Offset(beyond), token, |_| true);
        self.effects()
    }

    fn diverging(&mut self, offset: i64, last: i32) -> Result<Option<EpochEnd>, PartitionError> {
        let last_fetched_epoch = Some(LeaderEpoch(last));
        let from = FetchPosition { last_fetched_epoch, ..FetchPosition::at(Offset(offset)) };
        Ok(self.shard.locate(TOPIC, from, ANY, 1_000, true)?.diverging)
    }
}

#[test]
fn a_consumer_reads_from_a_follower_up_to_its_high_watermark() {
    let mut rig = following(3, 3, 2);
    assert_eq!(rig.read_from(ANY, 0).unwrap(), ["0", "1"]);
    assert_eq!(rig.read_from(ANY, 2).unwrap(), [""; 0], "there is more, and it may be cut yet");
    assert_eq!(rig.read_from(ANY, 4), Err(PartitionError::OffsetNotAvailable), "the leader may have it");
    assert_eq!(rig.read_from(ReadFrom::Leader, 0), Err(PartitionError::NotLeader));
}

#[test]
fn where_there_is_no_replica_nobody_reads_and_only_a_leader_says_where_the_log_ends() {
    let mut rig = following(3, 3, 3);
    let end = rig.shard.list_offset(TOPIC, None, OffsetTarget::Latest);
    assert_eq!(end, Err(PartitionError::NotLeader));
    rig.waits(3, 9);
    rig.shard.remove(TOPIC);
    assert_eq!(rig.effects(), [Seen::Wake(9), Seen::Removed], "its replica has gone elsewhere");
    assert_eq!(rig.read_from(ANY, 0), Err(PartitionError::NotLeader));
}

#[test]
fn a_consumer_that_waits_at_a_follower_is_woken_when_its_high_watermark_rises() {
    let mut rig = following(1, 3, 1);
    assert_eq!(rig.waits(1, 9), [], "it does not come again and again");
    assert_eq!(rig.given(Some(3), 1, 1), [], "what is not committed wakes nobody");
    assert_eq!(rig.given(None, 2, 2), [Seen::Wake(9)]);
    let follows = rig.follows[&TOPIC].expect("it follows the other");
    assert_eq!(follows.high_watermark, Offset(2), "its leader need not tell it again");
    assert_eq!(rig.read_from(ANY, 1).unwrap(), ["1"]);
}

#[test]
fn a_consumer_that_waits_at_a_follower_is_woken_when_another_leads_or_the_follower_falls_behind() {
    let mut rig = following(1, 3, 1);
    rig.waits(1, 9);
    rig.shard.assign(replicated(TOPIC, OTHER, &[ME, OTHER], EPOCH.0));
    assert_eq!(rig.effects(), [], "nothing has changed");
    rig.shard.assign(replicated(TOPIC, OTHER, &[OTHER], EPOCH.0));
    assert_eq!(rig.effects(), [Seen::Wake(9)]);
    assert_eq!(rig.read_from(ANY, 0).unwrap(), ["0"]);
    assert_eq!(rig.read_from(ANY, 1), Err(PartitionError::OffsetNotAvailable), "it may never have more");
    rig.waits(1, 10);
    rig.shard.assign(replicated(TOPIC, OTHER, &[OTHER], EPOCH.0 + 1));
    assert_eq!(rig.effects(), [Seen::Wake(10)]);
    rig.waits(1, 11);
    rig.shard.assign(replicated(TOPIC, ME, &[ME], EPOCH.0 + 2));
    assert_eq!(rig.effects(), [Seen::Wake(11)]);
}

#[test]
fn a_follower_says_where_logs_part_only_of_what_is_committed() {
    // Two records of epoch 1, of which one is committed.
    let mut rig = following(2, 1, 1);
    let parts = Some(EpochEnd { epoch: LeaderEpoch(1), end: Offset(2) });
    assert_eq!(rig.diverging(1, 1), Ok(None));
    assert_eq!(rig.diverging(2, 3), Ok(None), "the record of epoch 1 there is what the leader will have cut");
    rig.given(Some(3), 2, 3);
    assert_eq!(rig.diverging(2, 2), Ok(parts), "by now it is committed");
    let from = FetchPosition { last_fetched_epoch: Some(LeaderEpoch(2)), ..FetchPosition::at(Offset(2)) };
    let told = rig.shard.locate(TOPIC, from, ReadFrom::Leader, 1_000, true);
    assert_eq!(told.err(), Some(PartitionError::NotLeader), "who knows of leaders only hears nothing of it");
}

/// This broker leads, and the other has all of its one record.
fn leading() -> Rig {
    let mut rig = Rig::new();
    rig.both_serve();
    rig.shard.assign(replicated(TOPIC, ME, &[ME, OTHER], EPOCH.0));
    rig.sync();
    rig.produce(&["a"], AckLevel::All, 7);
    rig.sync();
    rig.follower_fetches(1);
    rig
}

impl Rig {
    fn follower_fetches(&mut self, end: i64) -> Offset {
        self.other_fetches(end, EPOCH.0).readable.high_watermark
    }

    fn sent_to(&self, from: FetchPosition, near: &[NodeId]) -> Option<NodeId> {
        let near: BTreeSet<NodeId> = near.iter().copied().collect();
        let Located { plan, preferred, .. } = self.shard.locate_nearer(TOPIC, from, &near)?;
        assert_eq!(plan.length, 0, "who is sent on gets nothing");
        preferred
    }
}

#[test]
fn a_leader_sends_a_consumer_to_a_follower_near_it() {
    let rig = leading();
    let at = |offset| FetchPosition::at(Offset(offset));
    assert_eq!(rig.sent_to(at(0), &[OTHER]), Some(OTHER));
    assert_eq!(rig.sent_to(at(1), &[OTHER]), Some(OTHER), "where it waits");
    assert_eq!(rig.sent_to(at(2), &[OTHER]), None, "to hear that there is no such offset");
    assert_eq!(rig.sent_to(at(0), &[ME, OTHER]), None);
    let stale = FetchPosition { epoch: Some(LeaderEpoch(2)), ..at(0) };
    assert_eq!(rig.sent_to(stale, &[OTHER]), None, "to hear that another epoch began");
    let agrees = FetchPosition { last_fetched_epoch: Some(EPOCH), ..at(1) };
    assert_eq!(rig.sent_to(agrees, &[OTHER]), Some(OTHER));
    let parts = FetchPosition { last_fetched_epoch: Some(LeaderEpoch(1)), ..at(1) };
    assert_eq!(rig.sent_to(parts, &[OTHER]), None, "to hear where the logs part");
    assert_eq!(following(1, 3, 1).sent_to(at(0), &[OTHER]), None, "a follower sends nobody on");
}

#[test]
fn a_follower_that_waits_is_woken_by_the_high_watermark_if_it_wants_to_know_it() {
    let mut rig = leading();
    rig.produce(&["b"], AckLevel::All, 8);
    rig.sync();
    let told = rig.follower_fetches(1);
    rig.effects();
    assert_eq!(told, Offset(1));
    rig.shard.watch(TOPIC, ReadsTo::LogEnd { told: Some(told) }, Offset(2), 1, |_| true);
    rig.shard.watch(TOPIC, ReadsTo::LogEnd { told: None }, Offset(2), 2, |_| true);
    assert_eq!(rig.effects(), []);
    rig.follower_fetches(2);
    assert_eq!(rig.effects(), [Seen::Answer(8, Ok(1)), Seen::Wake(1)]);
}
