//! A batch on its way into a log.

use bytes::BytesMut;

use super::Shard;
use super::effect::{Effect, Produced};
use super::producers::ProducerCount;
use super::replica::Parked;
use crate::config::{Durability, Limit};
use crate::disk::Disk;
use crate::ids::{LeaderEpoch, TopicPartition};
use crate::log::{AppendError, ProducerInfo};
use crate::partition::{AckLevel, PartitionError};
use crate::time::Wall;

/// One record batch, validated, without its place in the log.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The whole batch; base offset and leader epoch are set here, in place: the checksum covers neither.
    pub bytes: BytesMut,
    /// How many offsets it takes.
    pub record_count: u32,
    /// The time the broker gave it, on topics with LogAppendTime.
    pub log_append_time: Option<i64>,
    /// It is appended by the leader of this epoch only, if one is named.
    pub only_in: Option<LeaderEpoch>,
}

/// A batch that is in the log.
enum Appended {
    /// It was appended just now.
    Now(Produced),
    /// Its producer had sent it before (rule 33).
    Before(Produced),
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// Appends a batch, unless its producer has sent it before, and parks `waiting` until what `acks` asks for is true. With `acks=0` the answer
    /// comes as soon as the batch is in the log.
    pub fn produce(&mut self, id: TopicPartition, batch: Batch, acks: AckLevel, waiting: T, now: Wall) {
        match self.append(id, batch, acks, now) {
            Ok(Appended::Now(produced)) => self.park(id, acks, Parked { waiting, produced }),
            Ok(Appended::Before(produced)) => self.park_repeated(id, acks, Parked { waiting, produced }),
            Err(error) => {
                if error == PartitionError::DirectoryFull {
                    // It has nothing new to take, and may have to make way.
                    self.tell_leader(id, |_, _| Vec::new());
                }
                self.effects.push(Effect::Answer { waiting, result: Err(error) });
            }
        }
    }

    fn append(
        &mut self,
        id: TopicPartition,
        mut batch: Batch,
        acks: AckLevel,
        now: Wall,
    ) -> Result<Appended, PartitionError> {
        let (epoch, base_offset) = self.replica(id)?.machine()?.check_produce(acks, batch.only_in)?;
        let replica = self.replicas.get_mut(&id).ok_or(PartitionError::NotLeader)?;
        if let Some(duplicate) = replica.log.check_producer(&batch.bytes)? {
            return Ok(Appended::Before(Produced {
                base_offset: duplicate.base_offset,
                end_exclusive: duplicate.end_exclusive,
                // As in Kafka, whoever sets the topic's timestamps.
                log_append_time: Some(duplicate.timestamp),
                log_start: replica.log.log_start(),
            }));
        }
        let bytes = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
        if bytes > self.room {
            // Should somebody else lead from here on, that one is to know.
            replica.refused(bytes);
            return Err(PartitionError::DirectoryFull);
        }
        self.room -= bytes;
        let producers_before = ProducerCount::before(&mut replica.log, self.peers.now);
        ottla_wire::batch::patch_base_offset(&mut batch.bytes, base_offset.0);
        ottla_wire::batch::patch_leader_epoch(&mut batch.bytes, epoch.0);
        match replica.log.append(&[batch.bytes.freeze()], now) {
            Ok(outcome) => {
                debug_assert_eq!(outcome.log_end, base_offset.plus(i64::from(batch.record_count)));
                self.unflushed_bytes += outcome.bytes;
                self.producers.added(producers_before, &replica.log);
                let log_start = replica.log.log_start();
                self.bound_producers();
                Ok(Appended::Now(Produced {
                    base_offset,
                    end_exclusive: outcome.log_end,
                    log_append_time: batch.log_append_time,
                    log_start,
                }))
            }
            Err(error @ (AppendError::Disk(_) | AppendError::Failed(_))) => {
                self.fail_if_asked(&error);
                Err(PartitionError::Storage)
            }
            // The log knows a later leader than this broker does: its own knowledge is old.
            Err(AppendError::EpochBehind { .. }) => Err(PartitionError::NotLeader),
            Err(error @ (AppendError::Flawed { .. } | AppendError::OffsetBehind { .. })) => {
                unreachable!("a validated batch with offsets of this log is taken: {error}")
            }
        }
    }

    fn park(&mut self, id: TopicPartition, acks: AckLevel, parked: Parked<T>) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let Some(partition) = &mut replica.partition else { return };
        let end = parked.produced.end_exclusive;
        // Nothing is parked for acks=0: it is answered here.
        let released = if acks == AckLevel::None {
            let (waiting, produced) = (parked.waiting, parked.produced);
            self.effects.push(Effect::Answer { waiting, result: Ok(produced) });
            partition.advanced(end, &self.peers)
        } else {
            partition.appended(end, acks, parked, &self.peers)
        };
        let wants_sync = match partition.durability() {
            Durability::Synced => true,
            Durability::PageCache { flush_records, .. } => {
                let positions = partition.positions();
                let unflushed = positions.log_end.0.abs_diff(positions.flushed_end.0);
                matches!(flush_records, Limit::AtMost(records) if unflushed >= records)
            }
        };
        if wants_sync {
            self.commit.want_sync(id);
        }
        self.answer(released);
        self.wake(id);
    }

    /// A batch came again: its sender waits as for the first time, and is told where it went then.
    fn park_repeated(&mut self, id: TopicPartition, acks: AckLevel, parked: Parked<T>) {
        if acks == AckLevel::None {
            let (waiting, produced) = (parked.waiting, parked.produced);
            return self.effects.push(Effect::Answer { waiting, result: Ok(produced) });
        }
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let Some(partition) = &mut replica.partition else { return };
        let released = partition.repeated(parked.produced.end_exclusive, acks, parked, &self.peers);
        self.answer(released);
        self.wake(id);
    }

    /// The idempotent producers that a leader remembers, by id.
    pub fn producers(&self, id: TopicPartition) -> Result<Vec<ProducerInfo>, PartitionError> {
        let replica = self.replica(id)?;
        replica.machine()?.check_leader(None)?;
        Ok(replica.log.producers().collect())
    }
}
