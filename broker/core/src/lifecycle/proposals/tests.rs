use uuid::Uuid;

use super::*;
use crate::ids::{NodeId, PartitionIndex, TopicId};
use crate::metadata::image::LeaderRecoveryState;

const LATER: Monotonic = Monotonic(500);

fn id(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionIndex(partition) }
}

fn proposal(partition_epoch: i32) -> IsrProposal {
    IsrProposal {
        leader_epoch: LeaderEpoch(3),
        partition_epoch: PartitionEpoch(partition_epoch),
        isr: vec![(NodeId(1), Some(BrokerEpoch(10)))],
        recovery: LeaderRecoveryState::Recovered,
    }
}

fn config() -> LifecycleConfig {
    LifecycleConfig::new(crate::lifecycle::fixture::registration(), Vec::new())
}

/// The partitions of the request that is to be sent now.
fn asked(proposals: &mut Proposals, now: Monotonic) -> Vec<i32> {
    match proposals.next(now, &config(), Some(BrokerEpoch(10))) {
        None => Vec::new(),
        Some(Operation::AlterPartition(request)) => {
            proposals.line.sent(CallNumber(1), now);
            request.partitions.iter().map(|asked| asked.partition.partition.0).collect()
        }
        Some(other) => panic!("{other:?} is asked"),
    }
}

fn altered(partition: i32, partition_epoch: i32) -> AlteredPartition {
    AlteredPartition {
        partition: id(partition),
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(3),
        partition_epoch: PartitionEpoch(partition_epoch),
        isr: vec![NodeId(1)],
        recovery: LeaderRecoveryState::Recovered,
    }
}

fn outcomes(answers: &[ProposalAnswer]) -> Vec<(i32, ProposalOutcome)> {
    answers.iter().map(|answer| (answer.partition.partition.0, answer.outcome)).collect()
}

#[test]
fn each_word_of_the_controller_decides_a_proposal_or_leaves_it_to_be_asked_again() {
    let mut proposals = Proposals::default();
    (0..5).for_each(|partition| proposals.propose(id(partition), proposal(8)));
    assert_eq!(asked(&mut proposals, Monotonic(0)), [0, 1, 2, 3, 4]);
    let results = vec![
        Ok(altered(0, 9)),
        Ok(altered(1, 8)),
        Err(OperationError::InvalidUpdateVersion("newer".to_owned())),
        Err(OperationError::IneligibleReplica("fenced".to_owned())),
        Err(OperationError::NotController { leader: None }),
    ];
    let answers = proposals.replied(Ok(Reply::AlterPartition(results)), LATER).expect("it is an answer");
    let (superseded, unchanged) = (ProposalOutcome::Superseded, ProposalOutcome::Unchanged);
    assert_eq!(outcomes(&answers), [(0, superseded), (1, unchanged), (2, superseded), (3, unchanged)]);
    assert!(answers.iter().all(|answer| answer.made == (LeaderEpoch(3), PartitionEpoch(8))));
    assert_eq!(asked(&mut proposals, Monotonic(1)), [0; 0], "not at once");
    assert_eq!(asked(&mut proposals, LATER), [4]);
}

#[test]
fn what_nobody_answered_is_asked_again_unless_its_leader_wants_something_else_by_now() {
    let mut proposals = Proposals::default();
    proposals.propose(id(0), proposal(8));
    proposals.propose(id(1), proposal(8));
    assert_eq!(asked(&mut proposals, Monotonic(0)), [0, 1]);
    assert_eq!(asked(&mut proposals, Monotonic(1)), [0; 0], "one request at a time");
    proposals.propose(id(1), proposal(9));
    assert!(proposals.replied(Err(CallError::Unreachable), LATER).is_err());
    assert_eq!(proposals.waiting[&id(0)].partition_epoch, PartitionEpoch(8));
    assert_eq!(proposals.waiting[&id(1)].partition_epoch, PartitionEpoch(9));
    assert_eq!(asked(&mut proposals, Monotonic(2)), [0, 1]);
}

#[test]
fn a_request_that_takes_too_long_is_given_up_and_nothing_of_it_forgotten() {
    let mut proposals = Proposals::default();
    proposals.propose(id(0), proposal(8));
    asked(&mut proposals, Monotonic(0));
    assert_eq!(proposals.timed_out(Monotonic(1_999), &config()), None);
    assert_eq!(proposals.timed_out(Monotonic(2_000), &config()), Some(CallNumber(1)));
    assert_eq!(asked(&mut proposals, Monotonic(2_000)), [0]);
}

#[test]
fn a_broker_that_is_not_registered_proposes_nothing() {
    let mut proposals = Proposals::default();
    proposals.propose(id(0), proposal(8));
    assert_eq!(proposals.next(Monotonic(0), &config(), None), None);
    assert_eq!(proposals.wakes_at(&config(), None), None, "nor does it wake up for that");
    assert!(proposals.wakes_at(&config(), Some(BrokerEpoch(10))).is_some());
}

#[test]
fn a_request_has_no_more_than_so_many() {
    let mut proposals = Proposals::default();
    (0..1_500).for_each(|partition| proposals.propose(id(partition), proposal(8)));
    assert_eq!(asked(&mut proposals, Monotonic(0)).len(), PARTITIONS_PER_REQUEST_MAX);
}
