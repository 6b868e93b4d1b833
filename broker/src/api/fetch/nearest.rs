//! Consumers that read from the replica nearest to them (KIP-392).

use std::sync::Arc;
use std::time::Duration;

use ottla_core::config::ReplicaSelector;
use ottla_core::partition::{PartitionError, ReadFrom};

use super::asker::Asker;
use crate::api::Call;
use crate::drive::shard::{FetchItem, Fetched, Near, ReadBy};

/// The brokers that a consumer in this rack should rather read from; `None` if it is well served here. A leader that may
/// have been replaced sends nobody on: what it knows of the others is old.
pub(super) fn near(call: &Call, asker: Asker, rack: &str) -> Option<Near> {
    let node = &call.node;
    let chooses = match (node.config.replication.selector, asker) {
        (ReplicaSelector::RackAware, Asker::Consumer(ReadFrom::AnyReplica)) => !rack.is_empty(),
        (ReplicaSelector::Leader, _) | (_, Asker::Consumer(ReadFrom::Leader) | Asker::Follower { .. }) => {
            false
        }
    };
    if !chooses || node.shards.is_doubtful() {
        return None;
    }
    let near = node.image().live_in_rack(rack, &call.context.listener.name);
    (!near.is_empty() && !near.contains(&node.id)).then(|| Arc::new(near))
}

/// Whether a follower that waits is to be told of a high watermark. What is withheld from it, it cannot catch up with.
pub(super) fn is_to_be_told(item: &FetchItem, fetched: &Fetched) -> bool {
    match &item.read_by {
        ReadBy::Follower(fetch) => !item.withheld && fetch.lacks(fetched.readable.high_watermark),
        ReadBy::Consumer(_) => false,
    }
}

/// How long a consumer is kept, if a follower cannot say anything of what it asks for. Asked at once, its leader may know no
/// better place yet than this one.
const PATIENCE: Duration = Duration::from_millis(500);

/// See [`PATIENCE`].
pub(super) fn patience(results: &[Result<Fetched, PartitionError>]) -> Option<Duration> {
    let unknown =
        |result: &Result<_, PartitionError>| matches!(result, Err(PartitionError::OffsetNotAvailable));
    results.iter().any(unknown).then_some(PATIENCE)
}
