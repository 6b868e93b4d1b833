//! What one side writes the other reads, through the bytes of every version that carries it.

use bytes::BytesMut;
use ottla_core::ids::BrokerEpoch;
use ottla_wire::protocol::{Encodable, Request};
use uuid::Uuid;

use super::*;
use crate::api::isr;

const SENDER: NodeId = NodeId(3);

fn at(topic: u128, partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId(Uuid::from_u128(topic)), partition: PartitionIndex(partition) }
}

fn asked(partition: TopicPartition) -> AlterIsr {
    AlterIsr {
        partition,
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(9),
        isr: vec![(SENDER, Some(BrokerEpoch(70))), (NodeId(5), None), (NodeId(4), Some(BrokerEpoch(0)))],
        recovery: LeaderRecoveryState::Recovered,
    }
}

fn operation(partitions: Vec<AlterIsr>) -> AlterPartition {
    AlterPartition { node_id: SENDER, epoch: BrokerEpoch(70), partitions }
}

fn about(partitions: &[TopicPartition]) -> AlterPartition {
    operation(partitions.iter().copied().map(asked).collect())
}

fn registered(partition: TopicPartition) -> AlteredPartition {
    AlteredPartition {
        partition,
        leader: Some(SENDER),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(10),
        isr: vec![NodeId(5), SENDER],
        recovery: LeaderRecoveryState::Recovered,
    }
}

fn received(request: &AlterPartition) -> AlterPartition {
    const NEWEST: i16 = 3;
    let mut body = BytesMut::new();
    message(request).encode(&mut body, NEWEST).expect("the newest version carries all");
    let read = ottla_wire::request::decode_body::<AlterPartitionRequest>(NEWEST, body.freeze());
    isr::operation(&read.expect("a request")).expect("an operation")
}

fn sent_back(response: &AlterPartitionResponse, version: i16) -> AlterPartitionResponse {
    let body = ottla_wire::response::encode_body::<AlterPartitionRequest>(version, response);
    ottla_wire::response::decode_body::<AlterPartitionRequest>(version, body.expect("a response"))
        .expect("the same response")
}

/// The answer to what the controller decided about these, as the broker reads it.
fn answered(
    decided: &[(TopicPartition, Result<AlteredPartition, OperationError>)],
    version: i16,
) -> Result<Vec<Result<AlteredPartition, OperationError>>, CallError> {
    let (partitions, decided): (Vec<_>, Vec<_>) = decided.iter().cloned().unzip();
    results(&about(&partitions), &sent_back(&isr::response(&partitions, &decided), version))
}

/// An answer as a controller of another release may give it.
fn answer(codes: &[(TopicPartition, i16)]) -> AlterPartitionResponse {
    let partitions: Vec<TopicPartition> = codes.iter().map(|(partition, _)| *partition).collect();
    let decided: Vec<_> = partitions.iter().map(|partition| Ok(registered(*partition))).collect();
    let mut response = isr::response(&partitions, &decided);
    let data = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for (data, (_, code)) in data.zip(codes) {
        data.error_code = *code;
    }
    response
}

#[test]
fn what_a_leader_asks_for_reaches_the_controller_whole_and_in_order() {
    let recovering =
        AlterIsr { recovery: LeaderRecoveryState::Recovering, isr: vec![(SENDER, None)], ..asked(at(1, 0)) };
    let nobody = AlterIsr { isr: Vec::new(), ..asked(at(1, 2)) };
    // Neither sorted nor with every topic in one piece.
    let all = [asked(at(2, 7)), recovering, nobody, asked(at(2, 1)), asked(at(3, 0)), asked(at(3, 0))];
    for partitions in [Vec::new(), vec![asked(at(1, 0))], all.to_vec()] {
        let operation = operation(partitions);
        assert_eq!(received(&operation), operation);
    }
    assert_eq!(message(&operation(all.to_vec())).topics.len(), 4);
}

#[test]
fn what_the_controller_decides_reaches_the_leader_whole_and_in_order() {
    let text = || "the controller says so".to_owned();
    let leaderless = AlteredPartition {
        leader: None,
        isr: Vec::new(),
        recovery: LeaderRecoveryState::Recovering,
        ..registered(at(2, 7))
    };
    let decided = [
        (at(2, 7), Ok(leaderless)),
        (at(1, 0), Err(OperationError::UnknownPartition(text()))),
        (at(1, 1), Err(OperationError::InvalidRequest(text()))),
        (at(1, 2), Err(OperationError::FencedLeaderEpoch(text()))),
        (at(1, 3), Err(OperationError::InvalidUpdateVersion(text()))),
        (at(2, 0), Err(OperationError::UnknownTopicId(at(2, 0).topic_id.to_string()))),
        (at(2, 1), Err(OperationError::IneligibleReplica(text()))),
        (at(2, 2), Err(OperationError::StaleBrokerEpoch { node_id: SENDER })),
        (at(2, 3), Err(OperationError::NewLeaderElected(text()))),
        (at(3, 0), Err(OperationError::NotController { leader: None })),
        (at(3, 1), Ok(registered(at(3, 1)))),
    ];
    let expected: Vec<_> = decided.iter().map(|(_, result)| result.clone()).collect();
    for version in 2..=3 {
        assert_eq!(answered(&decided, version), Ok(expected.clone()), "version {version}");
    }
}

#[test]
fn answers_are_matched_by_name_and_not_by_place() {
    let partitions = [at(1, 0), at(2, 0), at(1, 1)];
    let mut response = answer(&[(at(1, 1), 107), (at(2, 0), 95), (at(9, 9), 3), (at(1, 0), 0)]);
    for _ in 0..2 {
        let results = results(&about(&partitions), &response).expect("an answer for each");
        let codes: Vec<i16> =
            results.iter().map(|result| result.as_ref().map_or_else(OperationError::code, |_| 0)).collect();
        assert_eq!(codes, [0, 95, 107]);
        assert_eq!(results[0], Ok(registered(at(1, 0))));
        response.topics.reverse();
    }
}

#[test]
fn an_answer_that_leaves_a_partition_out_is_none() {
    let request = about(&[at(1, 0), at(1, 1)]);
    for left in [vec![], vec![(at(1, 0), 0)], vec![(at(1, 0), 0), (at(2, 1), 0)]] {
        assert_eq!(results(&request, &answer(&left)), Err(CallError::Unreachable), "{left:?}");
    }
}

#[test]
fn a_refusal_of_the_whole_decides_nothing() {
    let request = about(&[at(1, 0)]);
    let refused = |code| results(&request, &answer(&[(at(1, 0), 0)]).with_error_code(code));
    let stale = OperationError::StaleBrokerEpoch { node_id: SENDER };
    assert_eq!(refused(77), Err(CallError::Refused(stale)));
    assert_eq!(refused(41), Err(CallError::Refused(OperationError::NotController { leader: None })));
    assert_eq!(refused(31), Err(CallError::RefusedWithCode(31)));
}

#[test]
fn no_code_that_has_no_meaning_here_is_taken_for_a_decision() {
    const DECISIVE: [i16; 9] = [0, 3, 42, 74, 77, 95, 100, 107, 108];
    let request = about(&[at(1, 0), at(1, 1)]);
    let repeated = Err(OperationError::NotController { leader: None });
    for code in (-1..=200).filter(|code| !DECISIVE.contains(code)) {
        let beside = results(&request, &answer(&[(at(1, 0), code), (at(1, 1), 0)]));
        assert_eq!(beside, Ok(vec![repeated.clone(), Ok(registered(at(1, 1)))]), "{code}");
        let alone = results(&request, &answer(&[(at(1, 0), code), (at(1, 1), 41)]));
        let why = match code {
            41 => CallError::Refused(OperationError::NotController { leader: None }),
            other => CallError::RefusedWithCode(other),
        };
        assert_eq!(alone, Err(why), "{code}");
    }
    for code in DECISIVE.into_iter().filter(|code| *code != 0) {
        let results = results(&request, &answer(&[(at(1, 0), code), (at(1, 1), 0)])).expect("decisions");
        assert_eq!(results[0].as_ref().map_err(OperationError::code), Err(code));
    }
}

#[test]
fn a_recovery_state_of_a_later_release_is_no_decision() {
    let mut response = answer(&[(at(1, 0), 0), (at(1, 1), 0)]);
    response.topics[0].partitions[0].leader_recovery_state = 2;
    let results = results(&about(&[at(1, 0), at(1, 1)]), &response).expect("one is decided");
    assert_eq!(results[0], Err(OperationError::NotController { leader: None }));
    assert_eq!(results[1], Ok(registered(at(1, 1))));
}

/// A round trip would not notice if both sides had it wrong.
#[test]
fn what_has_no_type_on_the_wire_is_written_as_kafka_writes_it() {
    let recovering = AlterIsr { recovery: LeaderRecoveryState::Recovering, ..asked(at(1, 0)) };
    let request = message(&operation(vec![recovering, asked(at(1, 1))]));
    let partitions = &request.topics[0].partitions;
    assert_eq!([partitions[0].leader_recovery_state, partitions[1].leader_recovery_state], [1, 0]);
    let members = partitions[0].new_isr_with_epochs.iter();
    let members: Vec<_> = members.map(|member| (member.broker_id.0, member.broker_epoch)).collect();
    assert_eq!(members, [(3, 70), (5, -1), (4, 0)]);

    let leaderless =
        AlteredPartition { leader: None, recovery: LeaderRecoveryState::Recovering, ..registered(at(1, 0)) };
    let response = isr::response(&[at(1, 0), at(1, 1)], &[Ok(leaderless), Ok(registered(at(1, 1)))]);
    let partitions = response.topics[0].partitions.iter();
    let written: Vec<_> = partitions.map(|data| (data.leader_id.0, data.leader_recovery_state)).collect();
    assert_eq!(written, [(-1, 1), (3, 0)]);
}

#[test]
fn the_newest_version_is_the_one_that_carries_epochs() {
    let newest = ottla_wire::version::supported(AlterPartitionRequest::KEY).expect("a key of Kafka's").max;
    assert_eq!(newest, 3);
}
