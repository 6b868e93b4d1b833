//! Followers that are behind are served no more than `ottla.recovery.bytes.per.second` and twice what clients write.
//!
//! What is held back from them is as if there were no records for it yet, until there is room for it again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ottla_core::partition::PartitionError;
use ottla_core::replication::recovery::{Behind, RecoveryBudget};

use super::asker::Asker;
use crate::api::Call;
use crate::clock;
use crate::drive::shard::{FetchItem, Fetched};

/// The broker's budget. It is locked for as long as it takes to look at a few numbers, and never across an await.
#[derive(Debug, Default)]
pub(crate) struct Recovery(Mutex<RecoveryBudget>);

impl Recovery {
    fn budget(&self) -> MutexGuard<'_, RecoveryBudget> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a follower that is behind may have now.
fn behind(call: &Call) -> Behind {
    call.node.recovery.budget().behind(clock::monotonic(), call.node.metrics.produced_bytes.get())
}

/// Says of a follower's items what they get if they are behind.
pub(super) fn mark(call: &Call, asker: Asker, items: &mut [FetchItem]) {
    if !asker.is_follower() {
        return;
    }
    let rate = RecoveryBudget::rate(&call.node.image(), call.node.id, &call.node.config.fixed);
    call.node.recovery.budget().set_rate(clock::monotonic(), rate);
    let behind = behind(call);
    items.iter_mut().for_each(|item| item.behind = behind);
}

/// Whether any of them is held back.
pub(super) fn is_any_held(items: &[FetchItem], results: &[Result<Fetched, PartitionError>]) -> bool {
    let mut both = items.iter().zip(results);
    both.any(|(item, result)| result.as_ref().is_ok_and(|fetched| item.is_held(fetched)))
}

/// Returns when followers that are behind may have something again.
pub(super) async fn room(call: &Call) {
    loop {
        let wait = call.node.recovery.budget().look_again_in();
        tokio::time::sleep(wait).await;
        if behind(call) == Behind::Served {
            return;
        }
    }
}

/// These are served.
pub(super) fn record(call: &Call, results: &[Result<Fetched, PartitionError>]) {
    let behind = results.iter().flatten().filter(|fetched| fetched.is_behind);
    let bytes: usize = behind.map(|fetched| fetched.records.len()).sum();
    if bytes > 0 {
        call.node.recovery.budget().record(clock::monotonic(), u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}
