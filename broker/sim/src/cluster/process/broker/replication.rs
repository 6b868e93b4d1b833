//! Followers and leaders: the requests between them, as the binary's connections carry them.

use bytes::Bytes;
use ottla_core::ids::{NodeId, TopicPartition};
use ottla_core::partition::{FollowerFetch, PartitionError};
use ottla_core::replication::recovery::{Behind, RecoveryBudget};
use ottla_core::replication::{FetchNumber, ReplicaFetch, ReplicaReply};
use ottla_core::shard::{FetchPosition, FollowFrom, ReadsTo, Replicated};
use ottla_core::time::Monotonic;

use super::super::{Now, Output};
use super::Broker;

/// So little a second that whoever catches up has to wait now and then, and enough for four at once to be done before a
/// run must end.
const RECOVERY_BYTES_PER_SECOND: u64 = 100_000;

/// A follower's request that waits for something new.
pub(crate) struct Parked {
    /// The node and its life.
    from: (NodeId, u64),
    fetch: ReplicaFetch,
    ends: Monotonic,
}

/// What a broker may serve followers that are behind.
pub(super) fn recovery_budget(now: Now) -> RecoveryBudget {
    let mut budget = RecoveryBudget::default();
    budget.set_rate(now.monotonic, Some(RECOVERY_BYTES_PER_SECOND));
    budget
}

impl Broker {
    /// A follower asks.
    pub(crate) fn replica_fetch(
        &mut self,
        now: Now,
        from: (NodeId, u64),
        fetch: ReplicaFetch,
        outputs: &mut Vec<Output>,
    ) {
        let ends = now.monotonic.plus(fetch.wait_max);
        self.answer_or_park(now, Parked { from, fetch, ends }, outputs);
    }

    /// A leader has answered, or not in time.
    pub(crate) fn replica_reply(&mut self, now: Now, number: FetchNumber, reply: Option<Vec<ReplicaReply>>) {
        self.fetchers.replied(now.monotonic, number, reply);
    }

    /// Hands on what leaders gave, and asks them for more. Gives whether anything was handed on.
    pub(super) fn fetch_as_follower(&mut self, now: Now, outputs: &mut Vec<Output>) -> bool {
        let effects = self.fetchers.ready(now.monotonic);
        let any = !effects.deliveries.is_empty();
        for fetch in effects.fetches {
            outputs.push(Output::ReplicaFetch { to: fetch.leader, fetch });
        }
        for delivery in effects.deliveries {
            if let Some(shard) = &mut self.shards[delivery.shard] {
                shard.replicate(delivery.partition, delivery.part, now.wall);
            }
        }
        any
    }

    /// Something is new for a request that waits.
    pub(super) fn woken(&mut self, now: Now, token: u64, outputs: &mut Vec<Output>) {
        if let Some(parked) = self.parked.remove(&token) {
            self.answer_or_park(now, parked, outputs);
        }
    }

    /// Answers the requests that have waited long enough.
    pub(super) fn end_waits(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let over = self.parked.extract_if(.., |_, parked| parked.ends <= now.monotonic);
        let over: Vec<Parked> = over.map(|(_, parked)| parked).collect();
        over.into_iter().for_each(|parked| self.answer_or_park(now, parked, outputs));
    }

    fn answer_or_park(&mut self, now: Now, parked: Parked, outputs: &mut Vec<Output>) {
        let mut left = parked.fetch.bytes_max;
        let mut reply = Vec::new();
        let mut has_news = parked.ends <= now.monotonic;
        let behind = self.recovery.behind(now.monotonic, self.written_bytes);
        for (partition, from) in &parked.fetch.partitions {
            let follower = self.follower(&parked.fetch, from);
            let given = self.give(now, behind, &parked.fetch, follower, (*partition, from), &mut left);
            has_news |= match &given {
                Some(Replicated::Records { bytes, high_watermark, .. }) => {
                    !bytes.is_empty() || follower.lacks(*high_watermark)
                }
                Some(Replicated::Diverging(_) | Replicated::BelowLogStart(_)) | None => true,
            };
            reply.push((*partition, given));
        }
        if has_news {
            let (to, life) = parked.from;
            return outputs.push(Output::ReplicaReply { to, life, number: parked.fetch.number, reply });
        }
        self.next_token += 1;
        let token = self.next_token;
        for ((partition, from), (_, given)) in parked.fetch.partitions.iter().zip(&reply) {
            let Some(held) = self.replicas.routes().get(partition) else { continue };
            let Some(shard) = &mut self.shards[held.shard] else { continue };
            let alive = |token: &u64| self.parked.contains_key(token);
            let told = match given {
                Some(Replicated::Records { high_watermark, .. }) if self.selects_by_rack => {
                    Some(*high_watermark)
                }
                Some(_) | None => None,
            };
            shard.watch(*partition, ReadsTo::LogEnd { told }, from.offset, token, alive);
        }
        self.parked.insert(token, parked);
    }

    fn follower(&self, fetch: &ReplicaFetch, from: &FollowFrom) -> FollowerFetch {
        FollowerFetch {
            node_id: fetch.replica,
            broker_epoch: fetch.broker_epoch,
            fetched_end: from.offset,
            flushed_end: from.flushed_end,
            log_start: from.log_start,
            lacks_room: from.lacks_room,
            high_watermark: self.selects_by_rack.then_some(from.high_watermark),
        }
    }

    fn give(
        &mut self,
        now: Now,
        behind: Behind,
        fetch: &ReplicaFetch,
        follower: FollowerFetch,
        (partition, from): (TopicPartition, &FollowFrom),
        left: &mut u32,
    ) -> Option<Replicated> {
        let position = FetchPosition {
            offset: from.offset,
            epoch: Some(from.leader_epoch),
            last_fetched_epoch: from.last_epoch,
        };
        let bytes_max = fetch.partition_bytes_max.min(*left);
        let first = *left == fetch.bytes_max;
        let located = self.shard(partition).and_then(|shard| {
            shard.locate_for_follower(partition, follower, position, bytes_max, first, behind)
        });
        let located = match located {
            Ok(located) => located,
            Err(PartitionError::OffsetOutOfRange { asked, log_start, .. }) if asked < log_start => {
                return Some(Replicated::BelowLogStart(log_start));
            }
            Err(_) => return None,
        };
        if let Some(end) = located.diverging {
            return Some(Replicated::Diverging(end));
        }
        let bytes = match located.plan.length {
            0 => Bytes::new(),
            _ => self.read_planned(partition, &located.plan).ok()?,
        };
        if located.is_behind {
            self.recovery.record(now.monotonic, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        *left = left.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let (high_watermark, log_start) = (located.readable.high_watermark, located.readable.log_start);
        Some(Replicated::Records { bytes, high_watermark, log_start })
    }
}
