//! Whether nodes may be restarted (decision 9): asked by whoever rolls the cluster, node by node.

use std::collections::BTreeSet;

use super::operation::{RestartObstacle, RestartSafety, RestartVerdict};
use crate::ids::NodeId;
use crate::metadata::image::{Fencing, Image};
use crate::quorum::machine::MemberProgress;
use crate::time::Monotonic;

/// A voter counts as being there if it had the whole log within this time. Two heartbeats may be lost.
const CAUGHT_UP_WITHIN_MS: u64 = 2_000;

/// Checks it against the members of the quorum and the partitions.
pub(super) fn restart_safety(
    now: Monotonic,
    image: &Image,
    members: &[MemberProgress],
    request: &RestartSafety,
) -> RestartVerdict {
    let nodes: BTreeSet<NodeId> = request.nodes.iter().copied().collect();
    let mut reasons = Vec::new();
    reasons.extend(quorum_obstacle(now, members, &nodes));
    reasons.extend(partition_obstacle(image, &nodes));
    RestartVerdict { reasons }
}

fn quorum_obstacle(
    now: Monotonic,
    members: &[MemberProgress],
    nodes: &BTreeSet<NodeId>,
) -> Option<RestartObstacle> {
    let voters: Vec<&MemberProgress> = members.iter().filter(|member| member.votes).collect();
    // A quorum of one stops with its only voter, and so it must, or it could never be updated.
    if voters.len() <= 1 || !voters.iter().any(|voter| nodes.contains(&voter.voter.node_id)) {
        return None;
    }
    let majority = voters.len() / 2 + 1;
    let current = |voter: &&&MemberProgress| {
        let recent = |at: Monotonic| now.0.saturating_sub(at.0) <= CAUGHT_UP_WITHIN_MS;
        voter.last_caught_up.is_some_and(recent)
    };
    let remaining =
        voters.iter().filter(|voter| !nodes.contains(&voter.voter.node_id)).filter(current).count();
    let left_over: Vec<String> = voters
        .iter()
        .filter(|voter| !nodes.contains(&voter.voter.node_id) && !current(voter))
        .map(|voter| voter.voter.node_id.to_string())
        .collect();
    (remaining < majority).then(|| RestartObstacle {
        code: "QUORUM",
        message: format!(
            "{remaining} of {} controllers would be left with the whole metadata log, {majority} are needed{}",
            voters.len(),
            if left_over.is_empty() { String::new() } else { format!("; not there: {}", left_over.join(", ")) }
        ),
    })
}

/// A partition with more than one replica must keep one that can lead. One with a single replica stops with its
/// broker whenever that is restarted, and waiting does not help.
fn partition_obstacle(image: &Image, nodes: &BTreeSet<NodeId>) -> Option<RestartObstacle> {
    let live = |id: &NodeId| {
        !nodes.contains(id) && image.brokers.get(id).is_some_and(|broker| broker.fencing == Fencing::Unfenced)
    };
    let stranded = image.topics.values().flat_map(|topic| {
        topic.partitions.iter().filter_map(|(index, partition)| {
            let concerned = partition.isr.iter().any(|id| nodes.contains(id));
            let stranded = partition.replicas.len() > 1 && concerned && !partition.isr.iter().any(live);
            stranded.then(|| format!("{}-{index}", topic.name))
        })
    });
    let stranded: Vec<String> = stranded.take(5).collect();
    (!stranded.is_empty()).then(|| RestartObstacle {
        code: "LAST_REPLICA",
        message: format!("no replica in sync would be left of {}", stranded.join(", ")),
    })
}
