//! What one side writes the other reads, through the bytes of the one version that there is.

use bytes::BytesMut;
use ottla_core::ids::{BrokerEpoch, NodeId};
use ottla_wire::protocol::Encodable;
use uuid::Uuid;

use super::*;
use crate::api::assignments;

const SENDER: NodeId = NodeId(3);
const VERSION: i16 = 0;

fn said(directory: u128, topic: u128, partition: i32) -> AssignedReplica {
    AssignedReplica {
        directory: DirectoryId(Uuid::from_u128(directory)),
        partition: TopicPartition {
            topic_id: TopicId(Uuid::from_u128(topic)),
            partition: PartitionIndex(partition),
        },
    }
}

fn operation(assignments: &[AssignedReplica]) -> AssignReplicasToDirs {
    AssignReplicasToDirs { node_id: SENDER, epoch: BrokerEpoch(70), assignments: assignments.to_vec() }
}

fn received(request: &AssignReplicasToDirs) -> AssignReplicasToDirs {
    let mut body = BytesMut::new();
    message(request).encode(&mut body, VERSION).expect("the version carries all");
    let read = ottla_wire::request::decode_body::<AssignReplicasToDirsRequest>(VERSION, body.freeze());
    assignments::operation(&read.expect("a request"))
}

fn sent_back(response: &AssignReplicasToDirsResponse) -> AssignReplicasToDirsResponse {
    let body = ottla_wire::response::encode_body::<AssignReplicasToDirsRequest>(VERSION, response);
    ottla_wire::response::decode_body::<AssignReplicasToDirsRequest>(VERSION, body.expect("a response"))
        .expect("the same response")
}

/// An answer as a controller of another release may give it.
fn answer(codes: &[(AssignedReplica, i16)]) -> AssignReplicasToDirsResponse {
    let said: Vec<AssignedReplica> = codes.iter().map(|(said, _)| *said).collect();
    let mut response = assignments::response(&said, &vec![Ok(()); said.len()]);
    let topics = response.directories.iter_mut().flat_map(|directory| &mut directory.topics);
    let data = topics.flat_map(|topic| &mut topic.partitions);
    for (data, (_, code)) in data.zip(codes) {
        data.error_code = *code;
    }
    response
}

fn codes(results: Result<Vec<Result<(), OperationError>>, CallError>) -> Vec<i16> {
    let results = results.expect("an answer for each");
    results.iter().map(|result| result.as_ref().map_or_else(OperationError::code, |()| 0)).collect()
}

#[test]
fn what_a_broker_says_reaches_the_controller_whole_and_in_order() {
    // Neither sorted nor with every directory and topic in one piece.
    let all = [said(2, 7, 1), said(2, 7, 0), said(1, 7, 3), said(1, 8, 3), said(1, 7, 4), said(2, 7, 9)];
    for assignments in [&[][..], &all[..1], &all] {
        let operation = operation(assignments);
        assert_eq!(received(&operation), operation);
    }
    let message = message(&operation(&all));
    let topics: Vec<usize> = message.directories.iter().map(|directory| directory.topics.len()).collect();
    assert_eq!(topics, [1, 3, 1]);
}

#[test]
fn what_the_controller_decides_reaches_the_broker_whole_and_in_order() {
    let text = || "no".to_owned();
    let decided = [
        (said(2, 7, 1), Ok(())),
        (said(2, 7, 0), Err(OperationError::UnknownPartition(text()))),
        (said(1, 7, 3), Err(OperationError::NotLeaderOrFollower(text()))),
        (said(1, 8, 3), Err(OperationError::InvalidReplicaAssignment(text()))),
        (said(1, 7, 4), Err(OperationError::InvalidRequest(text()))),
        (said(2, 7, 9), Err(OperationError::UnknownTopicId(text()))),
    ];
    let (all, decided): (Vec<_>, Vec<_>) = decided.into_iter().unzip();
    let response = sent_back(&assignments::response(&all, &decided));
    assert_eq!(codes(results(&operation(&all), &response)), [0, 3, 6, 39, 42, 100]);
}

#[test]
fn answers_are_matched_by_name_and_not_by_place() {
    let all = [said(1, 7, 0), said(2, 7, 1), said(1, 8, 0)];
    let mut response =
        answer(&[(all[2], 39), (said(2, 7, 0), 3), (all[1], 6), (said(9, 9, 9), 3), (all[0], 0)]);
    for _ in 0..2 {
        assert_eq!(codes(results(&operation(&all), &response)), [0, 6, 39]);
        response.directories.reverse();
    }
}

#[test]
fn an_answer_that_leaves_a_replica_out_is_none() {
    let request = operation(&[said(1, 7, 0), said(1, 7, 1)]);
    for left in [vec![], vec![(said(1, 7, 0), 0)], vec![(said(1, 7, 0), 0), (said(2, 7, 1), 0)]] {
        assert_eq!(results(&request, &answer(&left)), Err(CallError::Unreachable), "{left:?}");
    }
}

#[test]
fn a_refusal_of_the_whole_decides_nothing() {
    let request = operation(&[said(1, 7, 0)]);
    let refused = |code| results(&request, &answer(&[(said(1, 7, 0), 0)]).with_error_code(code));
    let stale = OperationError::StaleBrokerEpoch { node_id: SENDER };
    assert_eq!(refused(77), Err(CallError::Refused(stale)));
    assert_eq!(refused(41), Err(CallError::Refused(OperationError::NotController { leader: None })));
    assert_eq!(refused(31), Err(CallError::RefusedWithCode(31)));
}

#[test]
fn no_code_that_has_no_meaning_here_is_taken_for_a_decision() {
    const DECISIVE: [i16; 6] = [0, 3, 6, 39, 42, 100];
    let (first, second) = (said(1, 7, 0), said(1, 7, 1));
    let request = operation(&[first, second]);
    for code in (-1..=200).filter(|code| !DECISIVE.contains(code)) {
        let beside = results(&request, &answer(&[(first, code), (second, 0)]));
        assert_eq!(beside, Ok(vec![Err(OperationError::NotController { leader: None }), Ok(())]), "{code}");
        let alone = results(&request, &answer(&[(first, code), (second, 41)]));
        let why = match code {
            41 => CallError::Refused(OperationError::NotController { leader: None }),
            other => CallError::RefusedWithCode(other),
        };
        assert_eq!(alone, Err(why), "{code}");
    }
    for code in DECISIVE {
        assert_eq!(codes(results(&request, &answer(&[(first, code), (second, 0)]))), [code, 0]);
    }
}

#[test]
fn a_controller_that_does_not_know_the_request_stays_the_one_that_is_asked() {
    let address = ottla_client::HostPort::new("controller".to_owned(), 9090);
    let unsupported = failed(ClientError::Unsupported { address, key: 73 });
    assert!(
        matches!(unsupported, CallError::Refused(OperationError::UnsupportedVersion(_))),
        "{unsupported:?}"
    );
    assert_eq!(failed(ClientError::NoAddress), CallError::Unreachable);
}

/// A round trip would not notice if both sides had it wrong.
#[test]
fn the_message_is_written_as_kafka_writes_it() {
    let mut body = BytesMut::new();
    message(&operation(&[said(1, 2, 5)])).encode(&mut body, VERSION).expect("the version carries all");
    let (directory, topic) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let expected = [
        // broker_id, broker_epoch, and one directory.
        &[0, 0, 0, 3][..],
        &[0, 0, 0, 0, 0, 0, 0, 70],
        &[2],
        directory.as_bytes(),
        // One topic of it.
        &[2],
        topic.as_bytes(),
        // One partition of that: partition_index. None of the four has tags.
        &[2, 0, 0, 0, 5, 0],
        &[0, 0, 0],
    ];
    assert_eq!(body[..], expected.concat());
}
