//! Following: what a replica takes over from its leader (rules 51, 54 and 57 of the protocol).
//!
//! The replica says with [`Effect::Follow`] from where it wants to go on; whoever fetches brings what the leader
//! gave with [`Shard::replicate`], and the replica says again from where. It says so only when everything before is
//! as durable as its topic's acknowledgements promise: so a fetch's offset never claims more than there is.
//!
//! A log is cut only where the epochs of leader and follower part (KIP-101, KIP-279), never at a high watermark.

use bytes::Bytes;
use ottla_wire::batch::Batch;

use super::Shard;
use super::effect::Effect;
use super::producers::ProducerCount;
use crate::config::Durability;
use crate::disk::Disk;
use crate::ids::{LeaderEpoch, NodeId, Offset, TopicPartition};
use crate::log::{AppendError, ChangeError, EpochEnd, Log, ReadError};
use crate::planted::{self, Bug};
use crate::time::Wall;

/// From where a replica follows its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowFrom {
    /// Whom.
    pub leader: NodeId,
    /// In which leadership.
    pub leader_epoch: LeaderEpoch,
    /// The next offset it wants: the end of its log.
    pub offset: Offset,
    /// The epoch of its last record.
    pub last_epoch: Option<LeaderEpoch>,
    /// The end of what is durable.
    pub flushed_end: Offset,
    /// Where its log starts.
    pub log_start: Offset,
    /// Its high watermark.
    pub high_watermark: Offset,
    /// There was no room for something that its leader gave, or a producer while it led, nor is there now.
    pub lacks_room: bool,
    /// Why it should not ask again at once.
    pub problem: Option<FollowProblem>,
}

/// Why what a leader gave was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FollowProblem {
    /// The batches are damaged, or do not follow what is here.
    #[error("the leader's batches are damaged or do not follow the log")]
    Flawed,
    /// There is no room for them.
    #[error("the log directory is full")]
    Full,
    /// There is no file descriptor for the next segment.
    #[error("there is no file descriptor left")]
    NoDescriptor,
    /// The leader says that the logs part where they do not.
    #[error("what the leader says of its log contradicts this one")]
    Contradiction,
    /// The log here cannot be cut, because it is damaged.
    #[error("the log is damaged")]
    Damaged,
}

/// A leader's answer about one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicatedPart {
    /// The leadership it was asked in.
    pub leader_epoch: LeaderEpoch,
    /// The offset it was asked for.
    pub from: Offset,
    /// What the leader gave.
    pub given: Replicated,
}

/// What a leader gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replicated {
    /// Whole batches, or none.
    Records {
        /// The batches.
        bytes: Bytes,
        /// The leader's high watermark.
        high_watermark: Offset,
        /// The leader's first offset.
        log_start: Offset,
    },
    /// The logs last agree here.
    Diverging(EpochEnd),
    /// The leader has nothing before this offset any more.
    BelowLogStart(Offset),
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// Says from where a replica follows its leader, now or when that is durable; or that it follows nobody.
    pub(super) fn follow(&mut self, id: TopicPartition) {
        self.follow_after(id, None);
    }

    fn follow_after(&mut self, id: TopicPartition, problem: Option<FollowProblem>) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let Some(partition) = &replica.partition else { return };
        let registration = partition.registration();
        let leader_epoch = registration.leader_epoch;
        let leader = registration.leader.filter(|leader| *leader != self.me);
        let Some(leader) = leader else {
            if replica.take_follows() {
                self.effects.push(Effect::Follow { partition: id, from: None });
            }
            return;
        };
        let must_be_durable = partition.durability() == Durability::Synced || !replica.log.is_established();
        let waits = must_be_durable && (replica.log.needs_sync() || replica.log.sync_running());
        replica.follows_after_sync = waits;
        if waits {
            return self.commit.want_sync(id);
        }
        let from = FollowFrom {
            leader,
            leader_epoch,
            offset: replica.log.log_end(),
            last_epoch: replica.log.last_record_epoch(),
            flushed_end: replica.log.flushed_end(),
            log_start: replica.serves_from.unwrap_or_else(|| replica.log.log_start()),
            high_watermark: partition.high_watermark(),
            lacks_room: replica.lacks_room(self.room),
            problem,
        };
        replica.follows = true;
        self.effects.push(Effect::Follow { partition: id, from: Some(from) });
    }

    /// Who had no room and has some now says so: where nobody sends anything no leader would hear of it otherwise.
    pub(super) fn notice_room(&mut self) {
        let room = self.room;
        let ids: Vec<TopicPartition> = self
            .replicas
            .iter_mut()
            .filter_map(|(id, replica)| replica.refused_bytes.take_if(|bytes| *bytes <= room).map(|_| *id))
            .collect();
        ids.into_iter().for_each(|id| self.follow(id));
    }

    /// Takes over what the leader gave. What was asked for before the leadership or the log changed is dropped: the
    /// replica has said from where it goes on since.
    pub fn replicate(&mut self, id: TopicPartition, part: ReplicatedPart, now: Wall) {
        let Some(replica) = self.replicas.get(&id) else { return };
        let Some(partition) = replica.partition.as_ref().filter(|_| !self.commit.has_failed()) else {
            return;
        };
        if partition.is_leader() || partition.registration().leader_epoch != part.leader_epoch {
            return;
        }
        if replica.log.log_end() != part.from {
            return self.follow(id);
        }
        let problem = match part.given {
            Replicated::Records { bytes, high_watermark, log_start } => {
                self.take_records(id, (&bytes, part.leader_epoch), high_watermark, log_start, now)
            }
            Replicated::Diverging(end) => self.cut(id, end),
            Replicated::BelowLogStart(log_start) => self.restart(id, log_start),
        };
        // A directory that has failed has said that it follows nobody.
        if let Ok(problem) = problem {
            self.follow_after(id, problem);
        }
        self.wake(id);
    }

    fn take_records(
        &mut self,
        id: TopicPartition,
        (records, leader_epoch): (&Bytes, LeaderEpoch),
        high_watermark: Offset,
        log_start: Offset,
        now: Wall,
    ) -> Result<Option<FollowProblem>, DirectoryFailed> {
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(None) };
        let size = records.len() as u64;
        let fits = size <= self.room;
        if fits && !are_good(records, leader_epoch) {
            return Ok(Some(FollowProblem::Flawed));
        }
        let appended = match records.is_empty() || !fits {
            true => Ok(()),
            false => {
                self.room -= size;
                let producers_before = ProducerCount::before(&mut replica.log, self.peers.now);
                let appended = replica.log.append(std::slice::from_ref(records), now);
                self.producers.added(producers_before, &replica.log);
                appended.map(|outcome| self.unflushed_bytes += outcome.bytes)
            }
        };
        if appended.is_ok() {
            // Also of one that is full: what its leader has dropped makes room.
            let dropped = replica.log.advance_log_start(log_start);
            if dropped > 0 && !fits {
                self.commit.want_sync(id);
            }
        }
        if !fits {
            replica.refused(size);
        }
        // Also where the log took only the first of them.
        let positions = replica.positions();
        if let Some(partition) = &mut replica.partition {
            partition.replicated(positions, high_watermark);
        }
        self.bound_producers();
        match appended {
            Ok(()) => Ok((!fits).then_some(FollowProblem::Full)),
            Err(
                AppendError::Flawed { .. }
                | AppendError::OffsetBehind { .. }
                | AppendError::EpochBehind { .. },
            ) => Ok(Some(FollowProblem::Flawed)),
            Err(error @ (AppendError::Disk(_) | AppendError::Failed(_))) => self.asked_too_much(&error),
        }
    }

    /// The disk failed, if it was asked at all.
    fn asked_too_much(
        &mut self,
        error: &(dyn std::error::Error + 'static),
    ) -> Result<Option<FollowProblem>, DirectoryFailed> {
        self.fail_if_asked(error);
        if self.has_failed() { Err(DirectoryFailed) } else { Ok(Some(FollowProblem::NoDescriptor)) }
    }

    /// Cuts the log where it parts from the leader's. The next fetch finds out whether they agree now.
    fn cut(
        &mut self,
        id: TopicPartition,
        leaders: EpochEnd,
    ) -> Result<Option<FollowProblem>, DirectoryFailed> {
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(None) };
        match cut_to(&mut replica.log, leaders) {
            Ok(Some(problem)) => Ok(Some(problem)),
            Ok(None) => self.changed(id, Ok(())),
            Err(error) => self.changed(id, Err(error)),
        }
    }

    /// Begins anew where the leader's log starts.
    fn restart(
        &mut self,
        id: TopicPartition,
        log_start: Offset,
    ) -> Result<Option<FollowProblem>, DirectoryFailed> {
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(None) };
        if log_start <= replica.log.log_end() {
            return Ok(Some(FollowProblem::Contradiction));
        }
        let restarted = replica.log.restart_at(log_start);
        self.changed(id, restarted)
    }

    fn changed(
        &mut self,
        id: TopicPartition,
        result: Result<(), ChangeError>,
    ) -> Result<Option<FollowProblem>, DirectoryFailed> {
        match result {
            Ok(()) => {}
            Err(ChangeError::Read(ReadError::Corrupt { .. })) => return Ok(Some(FollowProblem::Damaged)),
            Err(error) => {
                // One that stopped half-way is no log any more.
                if self.replicas.get(&id).is_some_and(|replica| replica.log.has_failed()) {
                    self.fail(&error);
                }
                return self.asked_too_much(&error);
            }
        }
        if let Some(replica) = self.replicas.get_mut(&id) {
            let positions = replica.positions();
            if let Some(partition) = &mut replica.partition {
                partition.truncated(positions);
            }
        }
        Ok(None)
    }

    /// The bug that [`Bug::ForgetProducersOnLeaderChange`] plants.
    pub(super) fn forget_producers_if_planted(&mut self, id: TopicPartition) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.log.forget_producers_if_planted();
        }
    }

    /// The bug of old Kafka that [`Bug::TruncateByHighWatermark`] plants.
    pub(super) fn cut_by_high_watermark_if_planted(&mut self, id: TopicPartition) {
        if !planted::is(Bug::TruncateByHighWatermark) {
            return;
        }
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let Some(partition) = replica.partition.as_ref().filter(|partition| !partition.is_leader()) else {
            return;
        };
        let cut = replica.log.truncate_to(partition.high_watermark()).map(|_| ());
        let _planted = self.changed(id, cut);
    }
}

/// Cuts a log where it parts from the one it copies: not above where that one's epoch ends, nor above where the same epoch
/// ends here.
pub(super) fn cut_to<D: Disk>(
    log: &mut Log<D>,
    theirs: EpochEnd,
) -> Result<Option<FollowProblem>, ChangeError> {
    let log_end = log.log_end();
    let ours = log.end_offset_for_epoch(theirs.epoch).map_or(log_end, |ours| ours.end);
    let target = theirs.end.min(ours);
    if target >= log_end {
        return Ok(Some(FollowProblem::Contradiction));
    }
    log.truncate_to(target).map(|_| None)
}

/// Nothing more is to be done about any replica.
struct DirectoryFailed;

/// Whether these are whole batches with good checksums, of a leadership no later than the one they were asked in: a leader
/// that was deposed between finding records and reading them may have its successor's in their place.
pub(super) fn are_good(mut bytes: &[u8], leader_epoch: LeaderEpoch) -> bool {
    while !bytes.is_empty() {
        let Ok((batch, rest)) = Batch::split(bytes) else { return false };
        if batch.verify_crc().is_err() || batch.header.leader_epoch > leader_epoch.0 {
            return false;
        }
        bytes = rest;
    }
    true
}
