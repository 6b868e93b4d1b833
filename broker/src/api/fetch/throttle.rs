//! Followers that are served no more than `leader.replication.throttled.rate` allows.
//!
//! What is withheld from a follower is as if there were no records for it yet: its request waits as any other does, and what
//! it says of its log counts all the same.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ottla_core::ids::NodeId;
use ottla_core::metadata::image::Image;
use ottla_core::partition::PartitionError;
use ottla_core::replication::quota::{LEADER, ReplicationQuota};

use super::asker::Asker;
use crate::api::Call;
use crate::clock;
use crate::drive::shard::{FetchItem, Fetched};

/// The broker's quota. It is locked for as long as it takes to look at a few numbers, and never across an await.
#[derive(Debug, Default)]
pub(crate) struct LeaderThrottle(Mutex<ReplicationQuota>);

impl LeaderThrottle {
    fn quota(&self) -> MutexGuard<'_, ReplicationQuota> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether more was served than that allows; nothing if it allows everything.
    fn exceeded(&self, bytes_per_second: u64) -> Option<bool> {
        let mut quota = self.quota();
        let now = clock::monotonic();
        quota.set_rate(now, bytes_per_second);
        quota.is_limited().then(|| quota.is_exceeded(now))
    }
}

/// Whose records of a request are counted, by place among its items.
#[derive(Debug, Default)]
pub(super) struct Counted(Vec<bool>);

/// Withholds records from those whose quota is exceeded.
pub(super) fn withhold(call: &Call, image: &Image, asker: Asker, items: &mut [FetchItem]) -> Counted {
    let Asker::Follower { node_id: follower, .. } = asker else { return Counted::default() };
    let me: NodeId = call.node.id;
    let Some(exceeded) = call.node.leader_throttle.exceeded(LEADER.rate(image, me, &call.node.config.fixed))
    else {
        return Counted::default();
    };
    let throttled = items.iter().map(|item| LEADER.throttles(image, item.partition, me, follower));
    let throttled: Vec<bool> = throttled.collect();
    for (item, throttled) in items.iter_mut().zip(&throttled) {
        item.withheld = exceeded && *throttled;
    }
    Counted(throttled)
}

impl Counted {
    /// These are served.
    pub(super) fn record(&self, call: &Call, results: &[Result<Fetched, PartitionError>]) {
        let served = self.0.iter().zip(results).filter(|(counted, _)| **counted);
        let bytes: usize =
            served.filter_map(|(_, result)| result.as_ref().ok()).map(|read| read.records.len()).sum();
        if bytes > 0 {
            call.node
                .leader_throttle
                .quota()
                .record(clock::monotonic(), u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }
}
