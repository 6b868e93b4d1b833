//! Leading: what followers read, what their reads say of them, and what is proposed to the controller.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use super::effect::Effect;
use super::fetch::{FetchPosition, Located};
use super::replica::Parked;
use crate::disk::Disk;
use crate::ids::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, TopicPartition};
use crate::partition::{
    FollowerFetch, Partition, PartitionError, Peers, ProposalOutcome, ReadFrom, Readable, Released,
};
use crate::replication::recovery::Behind;
use crate::time::Monotonic;

impl<D: Disk, T, W> Shard<D, T, W> {
    /// Takes over which brokers may enter an ISR, and after how long one that lags leaves it
    /// (`replica.lag.time.max.ms`). Say so before what is registered with the same image is assigned.
    pub fn set_peers(&mut self, eligible: Arc<BTreeMap<NodeId, BrokerEpoch>>, lag_time_max: Duration) {
        self.peers.eligible = eligible;
        self.peers.lag_time_max = lag_time_max;
    }

    /// Plans a follower's read of at most `max_bytes`, and takes from it how far the follower has come. A follower
    /// reads to the end of the log. One whose log differs from this one's is told where they last agree, and has not
    /// come any way. If it is behind, `behind` says whether it gets anything.
    pub fn locate_for_follower(
        &mut self,
        id: TopicPartition,
        fetch: FollowerFetch,
        from: FetchPosition,
        max_bytes: u32,
        at_least_one_batch: bool,
        behind: Behind,
    ) -> Result<Located<D::File>, PartitionError> {
        let is_allowed = Cell::new(false);
        let check = |partition: &Partition<Parked<T>>| {
            let readable = partition.check_replica_fetch(&fetch, from.epoch);
            is_allowed.set(readable.is_ok());
            readable
        };
        let leader = ReadFrom::Leader;
        let located = match self.locate_checked(id, from, leader, max_bytes, at_least_one_batch, check) {
            Ok(located) => located,
            Err(error) => {
                // What it has it has, also where the log here is rotten: it may be the one to lead.
                if is_allowed.get() && self.suspects.contains_key(&id) {
                    self.count_fetch(id, fetch);
                }
                return Err(error);
            }
        };
        if located.diverging.is_some() {
            return Ok(located);
        }
        self.count_fetch(id, fetch);
        let replica = self.replica(id)?;
        let partition = replica.machine()?;
        let is_behind = partition.leaves_behind(&fetch, &self.peers);
        let is_held = is_behind && behind == Behind::Held;
        let plan = if is_held { replica.log.read_nothing() } else { located.plan };
        // The high watermark may have moved with this.
        let readable = Readable { end_exclusive: located.readable.end_exclusive, ..partition.readable() };
        Ok(Located { readable, plan, diverging: None, is_behind, preferred: None })
    }

    /// Takes what a follower says of itself.
    fn count_fetch(&mut self, id: TopicPartition, fetch: FollowerFetch) {
        self.tell_leader(id, |partition, peers| partition.follower_fetched(fetch, peers));
    }

    /// What came of an [`Effect::AlterIsr`] that was made in these epochs.
    pub fn proposal_answered(
        &mut self,
        id: TopicPartition,
        made: (LeaderEpoch, PartitionEpoch),
        outcome: ProposalOutcome,
    ) {
        self.tell_leader(id, |partition, peers| partition.proposal_answered(made, outcome, peers));
    }

    /// Time goes on: who does not keep up leaves the ISR.
    pub(super) fn check_lag(&mut self, now: Monotonic) {
        self.peers.now = self.peers.now.max(now);
        for (id, replica) in &mut self.replicas {
            let lacks_room = replica.lacks_room(self.room);
            let Some(partition) = &mut replica.partition else { continue };
            partition.tick(&self.peers);
            if lacks_room {
                partition.make_way(&self.peers);
            }
            self.effects.extend(proposal(*id, partition));
        }
    }

    /// Has a leader take something, and hands out what comes of it. Where it has no room for what producers send, somebody
    /// else is to lead, if there is somebody.
    pub(super) fn tell_leader(
        &mut self,
        id: TopicPartition,
        take: impl FnOnce(&mut Partition<Parked<T>>, &Peers) -> Vec<Released<Parked<T>>>,
    ) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let lacks_room = replica.lacks_room(self.room);
        let Some(partition) = &mut replica.partition else { return };
        let released = take(partition, &self.peers);
        if lacks_room {
            partition.make_way(&self.peers);
        }
        let proposal = proposal(id, partition);
        self.answer(released);
        self.effects.extend(proposal);
        self.wake(id);
    }

    /// Hands out what this leader wants of the controller.
    pub(super) fn propose(&mut self, id: TopicPartition) {
        if let Some(partition) = self.replicas.get_mut(&id).and_then(|replica| replica.partition.as_mut()) {
            self.effects.extend(proposal(id, partition));
        }
    }
}

/// What a leader wants of the controller, if that was not handed out before.
fn proposal<D: Disk, T, W>(
    id: TopicPartition,
    partition: &mut Partition<Parked<T>>,
) -> Option<Effect<D, T, W>> {
    partition.take_proposal().map(|proposal| Effect::AlterIsr { partition: id, proposal })
}
