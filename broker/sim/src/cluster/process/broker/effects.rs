//! What the shards want done, and the work of its disk.

use std::io;

use ottla_core::ids::{Offset, TopicPartition};
use ottla_core::log::{SyncJob, SyncNumber};
use ottla_core::partition::PartitionError;
use ottla_core::shard::{CheckpointJob, Effect, RemovalJob};

use super::super::{Died, DiskWork, Now, Observation, Output};
use super::{Broker, Producer, SimShard, refused};
use crate::cluster::client_messages::ClientReply;
use crate::coverage::Happening;
use crate::disk::SimDisk;

type SimEffect = Effect<SimDisk, Producer, u64>;

/// Work for the threads that sync a log directory.
pub(crate) enum ShardWork {
    Sync(TopicPartition, SyncJob<SimDisk>),
    Checkpoint(CheckpointJob<SimDisk>),
    Remove(RemovalJob<SimDisk>),
}

/// That it was done.
#[derive(Debug)]
pub(crate) enum ShardDone {
    Synced(TopicPartition, SyncNumber, io::Result<()>),
    Checkpointed(Vec<(TopicPartition, Offset)>, io::Result<()>),
    Removed(io::Result<()>),
}

impl Broker {
    pub(crate) fn run(work: &ShardWork) -> ShardDone {
        match work {
            ShardWork::Sync(partition, job) => ShardDone::Synced(*partition, job.number(), job.run()),
            ShardWork::Checkpoint(job) => ShardDone::Checkpointed(job.logs(), job.run()),
            ShardWork::Remove(job) => {
                let synced = job.sync();
                if synced.is_ok() {
                    job.remove().for_each(|(_, _may_fail)| ());
                }
                ShardDone::Removed(synced)
            }
        }
    }

    pub(crate) fn disk_done(&mut self, shard: usize, done: ShardDone) {
        let shard = self.shards[shard].as_mut().expect("only a shard that is there has work");
        match done {
            ShardDone::Synced(partition, number, result) => {
                shard.sync_finished(partition, number, result);
            }
            ShardDone::Checkpointed(logs, result) => shard.checkpoint_finished(logs, result),
            ShardDone::Removed(Ok(())) => {}
            ShardDone::Removed(Err(error)) => shard.disk_failed(&error),
        }
    }

    pub(super) fn refused_produce(&self, now: Now, error: PartitionError) -> ClientReply {
        let certain = never_written(&error);
        refused(certain, &self.known(now, error).to_string())
    }

    /// Does what the shards want done.
    pub(super) fn perform(
        &mut self,
        now: Now,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Died> {
        for shard in 0..self.shards.len() {
            let effects = self.shards[shard].as_mut().map(SimShard::take_effects).unwrap_or_default();
            self.perform_of(shard, effects, now, outputs, observations)?;
        }
        Ok(())
    }

    fn perform_of(
        &mut self,
        shard: usize,
        effects: Vec<SimEffect>,
        now: Now,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Died> {
        for effect in effects {
            match effect {
                Effect::Answer { waiting: Producer { client, number }, result } => {
                    let reply = match result {
                        Ok(produced) => ClientReply::Produced { base_offset: produced.base_offset },
                        Err(error) => self.refused_produce(now, error),
                    };
                    outputs.push(Output::Client { client, number, reply });
                }
                Effect::AlterIsr { partition, proposal } => {
                    if proposal.makes_way(self.me) {
                        observations.push(Observation::Happened(Happening::WayMadeForRoom));
                    }
                    self.lifecycle.propose(partition, proposal);
                }
                Effect::Follow { partition, from } => {
                    if from.is_some_and(|from| from.lacks_room) {
                        observations.push(Observation::Happened(Happening::NoRoomToFollow));
                    }
                    self.fetchers.follow(now.monotonic, shard, partition, from);
                }
                Effect::Wake(token) => self.woken(now, token, outputs),
                Effect::SetAside { .. } => {}
                Effect::Damage { partition, what } => {
                    observations.push(Observation::Damage { partition, what });
                    let damaged = self.open_shards().flat_map(SimShard::damaged).collect();
                    self.lifecycle.damaged(damaged);
                }
                Effect::Sync(jobs) => {
                    for (partition, job) in jobs {
                        give_disk(shard, ShardWork::Sync(partition, job), outputs);
                    }
                }
                Effect::Checkpoint(job) => give_disk(shard, ShardWork::Checkpoint(job), outputs),
                Effect::Remove(job) => give_disk(shard, ShardWork::Remove(job), outputs),
                Effect::Failed { error } => {
                    self.directory_failed(shard).map_err(|end| Died(format!("{end}: {error}")))?;
                }
            }
        }
        Ok(())
    }
}

fn give_disk(shard: usize, work: ShardWork, outputs: &mut Vec<Output>) {
    outputs.push(Output::Disk(DiskWork::Shard(shard, work)));
}

/// Whether a refused produce certainly left nothing in the log. `NotLeader` and `Storage` may come before
/// the append or after it.
fn never_written(error: &PartitionError) -> bool {
    match error {
        PartitionError::FencedLeaderEpoch { .. }
        | PartitionError::UnknownLeaderEpoch { .. }
        | PartitionError::OffsetOutOfRange { .. }
        | PartitionError::OffsetNotAvailable
        | PartitionError::UnknownReplica(_)
        | PartitionError::NotEnoughReplicas { .. }
        | PartitionError::DirectoryFull => true,
        // An earlier copy of it may be there.
        PartitionError::Sequence(_)
        | PartitionError::NotLeader
        | PartitionError::NotEnoughReplicasAfterAppend { .. }
        | PartitionError::Storage => false,
    }
}
