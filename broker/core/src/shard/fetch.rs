//! Reading: which bytes a consumer gets, and where an offset lies in time.

use std::collections::BTreeSet;
use std::io;

use super::Shard;
use super::replica::{Parked, ReadsTo, Watcher};
use crate::disk::Disk;
use crate::ids::{LeaderEpoch, NodeId, Offset, TopicPartition};
use crate::log::{EpochEnd, Log, LookupError, ReadError, ReadPlan, RottenBatch, TimestampOffset};
use crate::partition::{Partition, PartitionError, ReadFrom, Readable};

/// Where a consumer goes on reading, and what it believes of the log before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPosition {
    /// The next offset it wants.
    pub offset: Offset,
    /// The current leader epoch, if it knows one (rule 50).
    pub epoch: Option<LeaderEpoch>,
    /// The epoch of the last record it has, if it says so (rule 51).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

impl FetchPosition {
    /// For one who knows of no epochs.
    pub fn at(offset: Offset) -> Self {
        Self { offset, epoch: None, last_fetched_epoch: None }
    }
}

/// What a consumer can read, and where it lies. The plan is run by whoever asked.
#[derive(Debug)]
pub struct Located<F> {
    /// How far reading may go, and what to report with it.
    pub readable: Readable,
    /// The bytes; length 0 if there is nothing yet.
    pub plan: ReadPlan<F>,
    /// Where the log last agrees with what the consumer has, if it has something else (rule 51). There is nothing
    /// to read then.
    pub diverging: Option<EpochEnd>,
    /// Whether it is a follower's that is behind: see [`crate::partition::Partition::leaves_behind`].
    pub is_behind: bool,
    /// The replica that the consumer should read from instead (KIP-392). There is nothing to read then.
    pub preferred: Option<NodeId>,
}

/// Which offset is asked for (rule 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetTarget {
    /// The high watermark (−1).
    Latest,
    /// The log's start (−2).
    Earliest,
    /// The record with the greatest timestamp (−3).
    MaxTimestamp,
    /// The first offset on this broker's disk (−4).
    EarliestLocal,
    /// The first record at or after this time, milliseconds since 1970.
    Timestamp(i64),
    /// Something that does not exist without tiering (−5, −6).
    None,
}

/// What was found; all `None` if there is no such record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OffsetFound {
    /// The offset.
    pub offset: Option<Offset>,
    /// The record's timestamp, where a record was asked for.
    pub timestamp: Option<i64>,
    /// The leader epoch at that offset.
    pub epoch: Option<LeaderEpoch>,
}

impl OffsetFound {
    /// The same from a leader that may have been replaced without having heard of it, as
    /// [`PartitionError::of_doubtful_leader`]: that none of its records is so late means nothing, nor which of them has the
    /// greatest timestamp. Its high watermark it still tells, as Kafka does: while no controller answers every leader is in
    /// doubt, and consumers go on.
    ///
    /// # Errors
    /// [`PartitionError::NotLeader`] if it may be wrong.
    pub fn of_doubtful_leader(self, target: OffsetTarget) -> Result<Self, PartitionError> {
        let may_be_elsewhere = match target {
            OffsetTarget::MaxTimestamp => true,
            OffsetTarget::Timestamp(_) => self.offset.is_none(),
            OffsetTarget::Latest
            | OffsetTarget::Earliest
            | OffsetTarget::EarliestLocal
            | OffsetTarget::None => false,
        };
        if may_be_elsewhere { Err(PartitionError::NotLeader) } else { Ok(self) }
    }
}

/// Where a log last agrees with a consumer whose record before `offset` is of this epoch, if they differ. As in
/// Kafka an offset before the log's start is out of range whatever the epochs say (KAFKA-12996), and so is one
/// after an epoch that this log never heard of.
fn divergence<D: Disk>(
    log: &Log<D>,
    offset: Offset,
    epoch: LeaderEpoch,
) -> Result<Option<EpochEnd>, PartitionError> {
    let (log_start, log_end) = (log.log_start(), log.log_end());
    let out_of_range = PartitionError::OffsetOutOfRange { asked: offset, log_start, log_end };
    let end = log.end_offset_for_epoch(epoch).ok_or_else(|| out_of_range.clone())?;
    if offset < log_start {
        return Err(out_of_range);
    }
    Ok((end.epoch < epoch || end.end < offset).then_some(end))
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// Plans a consumer's read of at most `max_bytes`; with `at_least_one_batch` a first batch larger than
    /// that is given whole (rule 46).
    pub fn locate(
        &mut self,
        id: TopicPartition,
        from: FetchPosition,
        replicas: ReadFrom,
        max_bytes: u32,
        at_least_one_batch: bool,
    ) -> Result<Located<D::File>, PartitionError> {
        let check =
            |partition: &Partition<Parked<T>>| partition.check_fetch(from.offset, from.epoch, replicas);
        self.locate_checked(id, from, replicas, max_bytes, at_least_one_batch, check)
    }

    /// Sends a consumer to a replica on one of the brokers `near` it, if one of them has what it asks for and this is the
    /// leader. `None` if it is to read here, or to hear why it cannot: where logs part the leader says itself.
    pub fn locate_nearer(
        &self,
        id: TopicPartition,
        from: FetchPosition,
        near: &BTreeSet<NodeId>,
    ) -> Option<Located<D::File>> {
        let replica = self.replica(id).ok()?;
        let partition = replica.machine().ok()?;
        partition.check_leader(from.epoch).ok()?;
        let diverges = |epoch| !matches!(divergence(&replica.log, from.offset, epoch), Ok(None));
        if from.last_fetched_epoch.is_some_and(diverges) {
            return None;
        }
        let preferred = Some(partition.preferred_read_replica(from.offset, near, &self.peers)?);
        let (readable, plan) = (partition.readable(), replica.log.read_nothing());
        Some(Located { readable, plan, diverging: None, is_behind: false, preferred })
    }

    /// Plans a read as far as `check` allows, or says where the logs part (rule 51).
    pub(super) fn locate_checked(
        &mut self,
        id: TopicPartition,
        from: FetchPosition,
        replicas: ReadFrom,
        max_bytes: u32,
        at_least_one_batch: bool,
        check: impl FnOnce(&Partition<Parked<T>>) -> Result<Readable, PartitionError>,
    ) -> Result<Located<D::File>, PartitionError> {
        let replica = self.replica(id)?;
        let partition = replica.machine()?;
        if let Some(epoch) = from.last_fetched_epoch.filter(|_| partition.knows_epochs_at(from.offset)) {
            partition.check_reader(from.epoch, replicas)?;
            if let Some(end) = divergence(&replica.log, from.offset, epoch)? {
                let plan = replica.log.read_nothing();
                let readable = partition.readable();
                return Ok(Located {
                    readable,
                    plan,
                    diverging: Some(end),
                    is_behind: false,
                    preferred: None,
                });
            }
        }
        let readable = check(partition)?;
        match replica.log.read(from.offset, max_bytes, readable.end_exclusive, at_least_one_batch) {
            Ok(plan) => Ok(Located { readable, plan, diverging: None, is_behind: false, preferred: None }),
            Err(error) => Err(self.read_failed(id, &error)),
        }
    }

    /// Leaves a token that is woken when more than `beyond` can be read, or when the replica is not what it was.
    /// Tokens that are no longer `alive` are dropped: a poll that timed out leaves its own behind.
    pub fn watch(
        &mut self,
        id: TopicPartition,
        reads_to: ReadsTo,
        beyond: Offset,
        token: W,
        alive: impl Fn(&W) -> bool,
    ) {
        let replicas = match reads_to {
            ReadsTo::HighWatermark(replicas) => replicas,
            ReadsTo::LogEnd { .. } => ReadFrom::Leader,
        };
        let serves =
            self.partition(id).is_some_and(|partition| partition.check_reader(None, replicas).is_ok());
        let Some(replica) = self.replicas.get_mut(&id).filter(|_| serves) else {
            return self.effects.push(super::Effect::Wake(token));
        };
        replica.watchers.retain(|watcher| alive(&watcher.token));
        replica.watchers.push(Watcher { reads_to, beyond, token });
        self.wake(id);
    }

    /// Looks an offset up.
    pub fn list_offset(
        &mut self,
        id: TopicPartition,
        epoch: Option<LeaderEpoch>,
        target: OffsetTarget,
    ) -> Result<OffsetFound, PartitionError> {
        let replica = self.replica(id)?;
        let partition = replica.machine()?;
        partition.check_leader(epoch)?;
        let high_watermark = partition.high_watermark();
        let log = &replica.log;
        let at = |offset: Offset| OffsetFound {
            offset: Some(offset),
            timestamp: None,
            epoch: log.epoch_at(offset).or_else(|| log.latest_epoch()),
        };
        let record = |found: Option<TimestampOffset>| {
            let visible = found.filter(|found| found.offset < high_watermark);
            visible.map_or_else(OffsetFound::default, |found| OffsetFound {
                offset: Some(found.offset),
                timestamp: Some(found.timestamp),
                epoch: Some(found.epoch),
            })
        };
        // A leader that has just begun may not know yet how much of what came before it is committed.
        let lags = log.latest_epoch_start().is_some_and(|start| high_watermark < start);
        let looked_up = match target {
            OffsetTarget::Latest if lags => return Err(PartitionError::OffsetNotAvailable),
            OffsetTarget::Latest => Ok(at(high_watermark)),
            OffsetTarget::Earliest => Ok(at(log.log_start())),
            OffsetTarget::EarliestLocal => Ok(at(log.local_log_start())),
            OffsetTarget::None => Ok(OffsetFound::default()),
            OffsetTarget::MaxTimestamp => log.max_timestamp().map(record),
            OffsetTarget::Timestamp(timestamp) => log.offset_for_timestamp(timestamp).map(record),
        };
        let found = looked_up.map_err(|error| match error {
            LookupError::Read(error) => self.read_failed(id, &error),
            LookupError::Records { .. } => PartitionError::Storage,
        })?;
        let beyond = matches!(target, OffsetTarget::MaxTimestamp | OffsetTarget::Timestamp(_));
        if lags && beyond && found.offset.is_none() {
            return Err(PartitionError::OffsetNotAvailable);
        }
        Ok(found)
    }

    /// Where a leader epoch ends in the log of its partition, records that are not committed among it (KIP-101); `None`
    /// for an epoch that was never heard of. Only the leader says so, to who knows its epoch or none.
    pub fn end_of_epoch(
        &self,
        id: TopicPartition,
        current: Option<LeaderEpoch>,
        asked: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, PartitionError> {
        let replica = self.replica(id)?;
        replica.machine()?.check_leader(current)?;
        Ok(replica.log.end_offset_for_epoch(asked))
    }

    /// A read found the disk failing (the directory fails) or a batch rotten (see [`Shard::look_at_suspects`]).
    pub(super) fn read_failed(&mut self, id: TopicPartition, error: &ReadError) -> PartitionError {
        match error {
            // The driver asked the disk not to wait, and asks again.
            ReadError::Disk(error) if error.source.kind() == io::ErrorKind::WouldBlock => {}
            ReadError::Disk(_) => self.fail_if_asked(error),
            ReadError::Corrupt { segment, position, .. } => {
                self.suspects.insert(id, RottenBatch { segment: *segment, position: *position });
            }
            ReadError::OutOfRange { offset, log_start, log_end } => {
                return PartitionError::OffsetOutOfRange {
                    asked: *offset,
                    log_start: *log_start,
                    log_end: *log_end,
                };
            }
        }
        PartitionError::Storage
    }
}
