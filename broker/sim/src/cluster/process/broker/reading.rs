//! What consumers are given, as the binary's handlers give it.

use bytes::Bytes;
use ottla_core::ids::{NodeId, Offset, TopicPartition};
use ottla_core::log::{ReadPlan, find_rot};
use ottla_core::partition::{PartitionError, ReadFrom, Role};
use ottla_core::shard::{FetchPosition, OffsetTarget};
use ottla_wire::batch::{Batch, Batches};

use super::super::{Now, Observation};
use super::{Broker, LISTENER, refused};
use crate::cluster::client_messages::ClientReply;
use crate::coverage::Happening;
use crate::disk::SimFile;

impl Broker {
    /// Whether it may have been replaced as a leader without having heard of it.
    pub(super) fn is_doubtful(&self, now: Now) -> bool {
        now.monotonic >= self.lifecycle.session_ends()
    }

    /// What this broker may say of an error, as the binary does.
    pub(super) fn known(&self, now: Now, error: PartitionError) -> PartitionError {
        if self.is_doubtful(now) { error.of_doubtful_leader() } else { error }
    }

    pub(super) fn fetch(
        &mut self,
        now: Now,
        partition: TopicPartition,
        from: FetchPosition,
        rack: Option<&str>,
        observations: &mut Vec<Observation>,
    ) -> ClientReply {
        if let Some(preferred) = self.nearer(now, partition, from, rack) {
            let (records, preferred) = (Bytes::new(), Some(preferred));
            return ClientReply::Fetched { records, high_watermark: None, preferred };
        }
        let replicas = rack.map_or(ReadFrom::Leader, |_| ReadFrom::AnyReplica);
        let located =
            self.shard(partition).and_then(|shard| shard.locate(partition, from, replicas, 4_000, true));
        let located = match located {
            Ok(located) => located,
            Err(error) => return refused(true, &self.known(now, error).to_string()),
        };
        self.observe_leadership(partition, observations);
        let latest = self.shard(partition);
        let latest = latest.and_then(|shard| shard.list_offset(partition, None, OffsetTarget::Latest));
        let high_watermark = latest.is_ok().then_some(located.readable.high_watermark);
        if located.plan.length == 0 {
            return match located.readable.of_doubtful_replica() {
                Err(error) if self.is_doubtful(now) => refused(true, &error.to_string()),
                Ok(_) | Err(_) => {
                    ClientReply::Fetched { records: Bytes::new(), high_watermark, preferred: None }
                }
            };
        }
        if located.readable.role == Role::Follower {
            observations.push(Observation::Happened(Happening::ReadFromFollower));
        }
        match self.read_planned(partition, &located.plan) {
            Ok(records) => {
                // What a leader that is alone gives of a rotten batch says nothing, its header included.
                let sound = |batch: &Batch<'_>| batch.verify_crc().is_ok();
                let last = Batches::new(&records).filter_map(Result::ok).filter(sound).last();
                let end = last.map(|batch| Offset(batch.header.next_offset()));
                observations.extend(end.map(|end| Observation::Gave { partition, end }));
                ClientReply::Fetched { records, high_watermark, preferred: None }
            }
            Err(error) => refused(true, &self.known(now, error).to_string()),
        }
    }

    /// Reads what was planned. What the disk and the batches say of themselves is for the shard to judge.
    pub(super) fn read_planned(
        &mut self,
        partition: TopicPartition,
        plan: &ReadPlan<SimFile>,
    ) -> Result<Bytes, PartitionError> {
        let shard = self.shard(partition)?;
        let bytes = plan.run().map_err(|error| {
            shard.disk_failed(&error);
            PartitionError::Storage
        })?;
        if let Some(at) = find_rot(plan.segment, plan.position, &bytes) {
            shard.found_rot(partition, at)?;
        }
        Ok(bytes)
    }

    /// Where a consumer in this rack should rather read, as the binary decides it.
    fn nearer(
        &mut self,
        now: Now,
        partition: TopicPartition,
        from: FetchPosition,
        rack: Option<&str>,
    ) -> Option<NodeId> {
        let rack = rack.filter(|_| !self.is_doubtful(now))?;
        let near = self.image().live_in_rack(rack, LISTENER);
        self.shard(partition).ok()?.locate_nearer(partition, from, &near)?.preferred
    }

    pub(super) fn observe_leadership(
        &mut self,
        partition: TopicPartition,
        observations: &mut Vec<Observation>,
    ) {
        let Ok(shard) = self.shard(partition) else { return };
        if let Some(machine) = shard.partition(partition).filter(|machine| machine.is_leader()) {
            let epoch = machine.registration().leader_epoch;
            observations.push(Observation::LeadsPartition { partition, epoch });
        }
    }
}
