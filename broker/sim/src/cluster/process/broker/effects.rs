//! What the shard wants done, and the work of its disk.

use std::io;

use ottla_core::ids::{Offset, TopicPartition};
use ottla_core::log::{SyncJob, SyncNumber};
use ottla_core::partition::PartitionError;
use ottla_core::shard::{CheckpointJob, Effect, RemovalJob};

use super::super::{Died, DiskWork, Now, Output};
use super::{Broker, Producer, refused};
use crate::cluster::client_messages::ClientReply;
use crate::disk::SimDisk;

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
    pub(crate) fn run(&self, work: &ShardWork) -> ShardDone {
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

    pub(crate) fn disk_done(&mut self, done: ShardDone) {
        match done {
            ShardDone::Synced(partition, number, result) => {
                self.shard.sync_finished(partition, number, result);
            }
            ShardDone::Checkpointed(logs, result) => self.shard.checkpoint_finished(logs, result),
            ShardDone::Removed(Ok(())) => {}
            ShardDone::Removed(Err(error)) => self.shard.disk_failed(&error),
        }
    }

    /// Does what the shard wants done.
    pub(super) fn perform(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), Died> {
        for effect in self.shard.take_effects() {
            match effect {
                Effect::Answer { waiting: Producer { client, number }, result } => {
                    let reply = match result {
                        Ok(produced) => ClientReply::Produced { base_offset: produced.base_offset },
                        Err(error) => {
                            let certain = never_written(&error);
                            refused(certain, &self.known(now, error).to_string())
                        }
                    };
                    outputs.push(Output::Client { client, number, reply });
                }
                Effect::AlterIsr { partition, proposal } => self.lifecycle.propose(partition, proposal),
                Effect::Follow { partition, from } => {
                    self.fetchers.follow(now.monotonic, 0, partition, from);
                }
                Effect::Wake(token) => self.woken(now, token, outputs),
                Effect::SetAside { .. } => {}
                Effect::Damage { .. } => self.lifecycle.damaged(self.shard.damaged().collect()),
                Effect::Sync(jobs) => {
                    for (partition, job) in jobs {
                        self.give_disk(ShardWork::Sync(partition, job), outputs);
                    }
                }
                Effect::Checkpoint(job) => self.give_disk(ShardWork::Checkpoint(job), outputs),
                Effect::Remove(job) => self.give_disk(ShardWork::Remove(job), outputs),
                Effect::Failed { error } => {
                    let end = self.replicas.failed(0).expect("the only directory is the last one");
                    return Err(Died(format!("{end}: {error}")));
                }
            }
        }
        Ok(())
    }

    fn give_disk(&mut self, work: ShardWork, outputs: &mut Vec<Output>) {
        outputs.push(Output::Disk(DiskWork::Shard(work)));
    }
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
