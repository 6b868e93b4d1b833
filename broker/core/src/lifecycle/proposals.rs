//! What leaders here propose about their ISRs, on its way to the controller (AlterPartition).
//!
//! One request at a time, with everything that is proposed by then; a proposal is repeated until the controller has
//! decided it. Whether it did is then in the metadata: the answer only says whether there will be any news of it.

use std::collections::BTreeMap;

use super::line::Line;
use super::{CallError, CallNumber, LifecycleConfig};
use crate::controller::OperationError;
use crate::controller::operation::{AlterIsr, AlterPartition, AlteredPartition, Operation, Reply};
use crate::ids::{BrokerEpoch, LeaderEpoch, PartitionEpoch, TopicPartition};
use crate::partition::{IsrProposal, ProposalOutcome};
use crate::time::Monotonic;

/// More than this many wait for the next request: a leader of thousands that lost a follower proposes for each.
const PARTITIONS_PER_REQUEST_MAX: usize = 1_000;

/// What came of one proposal, for [`crate::shard::Shard::proposal_answered`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposalAnswer {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The epochs that it was made in.
    pub made: (LeaderEpoch, PartitionEpoch),
    /// What came of it.
    pub outcome: ProposalOutcome,
}

#[derive(Debug, Default)]
pub(super) struct Proposals {
    waiting: BTreeMap<TopicPartition, IsrProposal>,
    asked: Vec<(TopicPartition, IsrProposal)>,
    pub(super) line: Line,
}

impl Proposals {
    /// A leader proposes, in place of what it proposed before.
    pub(super) fn propose(&mut self, partition: TopicPartition, proposal: IsrProposal) {
        self.waiting.insert(partition, proposal);
    }

    /// When something is to be done without any input, if anything is.
    pub(super) fn wakes_at(&self, config: &LifecycleConfig, epoch: Option<BrokerEpoch>) -> Option<Monotonic> {
        self.line.wakes_at(config, !self.waiting.is_empty() && epoch.is_some())
    }

    /// Gives up a call that takes too long, if there is one.
    pub(super) fn timed_out(&mut self, now: Monotonic, config: &LifecycleConfig) -> Option<CallNumber> {
        let late = self.line.timed_out(now, config);
        if late.is_some() {
            self.ask_again();
        }
        late
    }

    pub(super) fn next(
        &mut self,
        now: Monotonic,
        config: &LifecycleConfig,
        epoch: Option<BrokerEpoch>,
    ) -> Option<Operation> {
        let epoch = epoch.filter(|_| self.line.is_due(now))?;
        while self.asked.len() < PARTITIONS_PER_REQUEST_MAX {
            let Some(next) = self.waiting.pop_first() else { break };
            self.asked.push(next);
        }
        if self.asked.is_empty() {
            return None;
        }
        let partitions = self.asked.iter().map(|(partition, proposal)| AlterIsr {
            partition: *partition,
            leader_epoch: proposal.leader_epoch,
            partition_epoch: proposal.partition_epoch,
            isr: proposal.isr.clone(),
            recovery: proposal.recovery,
        });
        let node_id = config.registration.node_id;
        Some(Operation::AlterPartition(AlterPartition { node_id, epoch, partitions: partitions.collect() }))
    }

    /// Takes a reply, and gives what came of each proposal that was decided. The others are asked again at
    /// `undecided_at`.
    pub(super) fn replied(
        &mut self,
        result: Result<Reply, CallError>,
        undecided_at: Monotonic,
    ) -> Result<Vec<ProposalAnswer>, CallError> {
        self.line.replied();
        let results = match result {
            Ok(Reply::AlterPartition(results)) if results.len() == self.asked.len() => results,
            Ok(_) => {
                self.ask_again();
                return Err(CallError::Unreachable);
            }
            Err(error) => {
                self.ask_again();
                return Err(error);
            }
        };
        let mut answers = Vec::new();
        for ((partition, proposal), result) in std::mem::take(&mut self.asked).into_iter().zip(results) {
            let made = (proposal.leader_epoch, proposal.partition_epoch);
            match outcome(made, result) {
                Some(outcome) => answers.push(ProposalAnswer { partition, made, outcome }),
                None => {
                    self.line.next_at(undecided_at);
                    self.keep(partition, proposal);
                }
            }
        }
        Ok(answers)
    }

    fn ask_again(&mut self) {
        for (partition, proposal) in std::mem::take(&mut self.asked) {
            self.keep(partition, proposal);
        }
    }

    /// Keeps a proposal for the next request, unless its leader has made another since.
    fn keep(&mut self, partition: TopicPartition, proposal: IsrProposal) {
        self.waiting.entry(partition).or_insert(proposal);
    }
}

/// What the controller's word on a proposal means; none if it could not say.
fn outcome(
    made: (LeaderEpoch, PartitionEpoch),
    result: Result<AlteredPartition, OperationError>,
) -> Option<ProposalOutcome> {
    match result {
        Ok(altered) if (altered.leader_epoch, altered.partition_epoch) == made => {
            Some(ProposalOutcome::Unchanged)
        }
        Ok(_)
        | Err(
            OperationError::FencedLeaderEpoch(_)
            | OperationError::NewLeaderElected(_)
            | OperationError::InvalidUpdateVersion(_)
            | OperationError::UnknownTopicId(_)
            | OperationError::UnknownPartition(_),
        ) => Some(ProposalOutcome::Superseded),
        // It is behind this broker.
        Err(OperationError::NotController { .. }) => None,
        Err(_) => Some(ProposalOutcome::Unchanged),
    }
}

#[cfg(test)]
mod tests;
