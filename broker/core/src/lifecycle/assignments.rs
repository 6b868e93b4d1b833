//! Where replicas of this broker lie by now, on its way to the controller (AssignReplicasToDirs, KIP-858).
//!
//! One request at a time, with everything that is to be said by then, and of each partition only the newest. It is said
//! again until the controller has taken it, or has refused it for a reason that time does not heal. A registration of this
//! process that takes the place of another changes nothing about it: the logs lie where they lay.

use std::collections::BTreeMap;

use super::line::Line;
use super::{CallError, LifecycleConfig, LifecycleEvent};
use crate::controller::OperationError;
use crate::controller::operation::{AssignReplicasToDirs, AssignedReplica, Operation, Reply};
use crate::ids::{BrokerEpoch, DirectoryId, TopicPartition};
use crate::time::Monotonic;

/// More than this many wait for the next request. It is as many as of proposals: one of thousands would hold up all else
/// that the controller is asked for.
const ASSIGNMENTS_PER_REQUEST_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Assignments {
    /// What the controller has yet to take.
    wishes: BTreeMap<TopicPartition, DirectoryId>,
    /// What the request on its way says. A wish may be another by now, or be gone.
    asked: Vec<AssignedReplica>,
    pub(super) line: Line,
}

impl Assignments {
    /// A replica lies there, in place of what was to be said before.
    pub(super) fn assign(&mut self, partition: TopicPartition, directory: DirectoryId) {
        self.wishes.insert(partition, directory);
    }

    /// Nothing is to be said of a partition any more.
    pub(super) fn forget(&mut self, partition: TopicPartition) {
        self.wishes.remove(&partition);
    }

    /// When something is to be done without any input, if anything is.
    pub(super) fn wakes_at(&self, config: &LifecycleConfig, epoch: Option<BrokerEpoch>) -> Option<Monotonic> {
        self.line.wakes_at(config, !self.wishes.is_empty() && epoch.is_some())
    }

    pub(super) fn next(
        &mut self,
        now: Monotonic,
        config: &LifecycleConfig,
        epoch: Option<BrokerEpoch>,
    ) -> Option<Operation> {
        let epoch = epoch.filter(|_| self.line.is_due(now))?;
        if self.wishes.is_empty() {
            return None;
        }
        let wishes = self.wishes.iter().take(ASSIGNMENTS_PER_REQUEST_MAX);
        self.asked =
            wishes.map(|(at, directory)| AssignedReplica { directory: *directory, partition: *at }).collect();
        // The message names each directory once, with all that lies in it.
        self.asked.sort_unstable();
        let node_id = config.registration.node_id;
        let assignments = self.asked.clone();
        Some(Operation::AssignReplicasToDirs(AssignReplicasToDirs { node_id, epoch, assignments }))
    }

    /// Takes a reply, and reports what was taken and what was refused for good. What is undecided is asked again at `undecided_at`.
    pub(super) fn replied(
        &mut self,
        result: Result<Reply, CallError>,
        undecided_at: Monotonic,
    ) -> Result<Vec<LifecycleEvent>, CallError> {
        self.line.replied();
        let asked = std::mem::take(&mut self.asked);
        let results = match result {
            Ok(Reply::AssignReplicasToDirs(results)) if results.len() == asked.len() => results,
            Ok(_) => return Err(CallError::Unreachable),
            Err(error) => return Err(error),
        };
        let mut decided = Vec::new();
        for (AssignedReplica { partition, directory }, result) in asked.into_iter().zip(results) {
            if result.as_ref().is_err_and(|error| !is_for_good(error)) {
                self.line.next_at(undecided_at);
            } else if self.wishes.get(&partition) == Some(&directory) {
                self.wishes.remove(&partition);
                decided.push(match result {
                    Ok(()) => LifecycleEvent::AssignmentAccepted { partition, directory },
                    Err(reason) => LifecycleEvent::AssignmentRefused { partition, directory, reason },
                });
            }
        }
        Ok(decided)
    }
}

/// Whether the controller would say the same however often it is asked.
fn is_for_good(error: &OperationError) -> bool {
    matches!(
        error,
        OperationError::UnknownTopicId(_)
            | OperationError::UnknownPartition(_)
            | OperationError::NotLeaderOrFollower(_)
            | OperationError::InvalidReplicaAssignment(_)
            | OperationError::InvalidRequest(_)
    )
}

#[cfg(test)]
mod tests;
