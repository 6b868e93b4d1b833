use uuid::Uuid;

use super::*;
use crate::config::Address;
use crate::controller::operation::RegisteredBroker;
use crate::ids::{PartitionIndex, TopicId};
use crate::lifecycle::{CallNumber, Lifecycle};

const EPOCH: BrokerEpoch = BrokerEpoch(10);
const LATER: Monotonic = Monotonic(500);

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionIndex(partition) }
}

fn directory(number: u128) -> DirectoryId {
    DirectoryId(Uuid::from_u128(number))
}

fn config() -> LifecycleConfig {
    let controllers = ["a", "b"].map(|host| Address { host: host.to_owned(), port: 9090 });
    LifecycleConfig::new(crate::lifecycle::fixture::registration(), controllers.into())
}

fn named(operation: Operation) -> Vec<(i32, u128)> {
    let Operation::AssignReplicasToDirs(request) = operation else { panic!("{operation:?} is asked") };
    assert_eq!((request.node_id, request.epoch), (config().registration.node_id, EPOCH));
    let named = request.assignments.iter();
    named.map(|asked| (asked.partition.partition.0, asked.directory.0.as_u128())).collect()
}

/// The partitions of the request that is to be sent now, each with its directory.
fn asked(assignments: &mut Assignments, now: Monotonic) -> Vec<(i32, u128)> {
    let operation = assignments.next(now, &config(), Some(EPOCH));
    if operation.is_some() {
        assignments.line.sent(CallNumber(1), now);
    }
    operation.map(named).unwrap_or_default()
}

fn answered(assignments: &mut Assignments, results: Vec<Result<(), OperationError>>) -> Vec<(i32, i16)> {
    let decided = assignments.replied(Ok(Reply::AssignReplicasToDirs(results)), LATER).expect("an answer");
    let refused = decided.into_iter().filter_map(|event| {
        if let LifecycleEvent::AssignmentRefused { partition, reason, .. } = event {
            return Some((partition.partition.0, reason.code()));
        }
        assert!(matches!(event, LifecycleEvent::AssignmentAccepted { .. }), "{event:?} is reported");
        None
    });
    refused.collect()
}

#[test]
fn the_newest_wish_for_a_partition_is_told_and_those_of_a_directory_together() {
    let mut assignments = Assignments::default();
    for (partition, number) in [(0, 2), (1, 1), (2, 2), (0, 1), (3, 1), (3, 2)] {
        assignments.assign(at(partition), directory(number));
    }
    assert_eq!(asked(&mut assignments, Monotonic(0)), [(0, 1), (1, 1), (2, 2), (3, 2)]);
    assert_eq!(answered(&mut assignments, vec![Ok(()); 4]), []);
    assert_eq!(asked(&mut assignments, Monotonic(1)), [], "all is taken");
    assert_eq!(assignments.wakes_at(&config(), Some(EPOCH)), None);
}

#[test]
fn what_is_refused_for_good_is_dropped_and_told_and_the_rest_is_asked_again() {
    let mut assignments = Assignments::default();
    (0..7).for_each(|partition| assignments.assign(at(partition), directory(1)));
    assert_eq!(asked(&mut assignments, Monotonic(0)).len(), 7);
    let text = || "no".to_owned();
    let results = vec![
        Ok(()),
        Err(OperationError::UnknownTopicId(text())),
        Err(OperationError::UnknownPartition(text())),
        Err(OperationError::NotLeaderOrFollower(text())),
        Err(OperationError::InvalidReplicaAssignment(text())),
        Err(OperationError::InvalidRequest(text())),
        Err(OperationError::NotController { leader: None }),
    ];
    assert_eq!(answered(&mut assignments, results), [(1, 100), (2, 3), (3, 6), (4, 39), (5, 42)]);
    assert_eq!(assignments.wakes_at(&config(), Some(EPOCH)), Some(LATER));
    assert_eq!(asked(&mut assignments, Monotonic(1)), [], "not at once");
    assert_eq!(asked(&mut assignments, LATER), [(6, 1)]);
}

#[test]
fn a_wish_that_came_while_another_was_on_its_way_is_told_next_whatever_became_of_that_one() {
    let refused = Err(OperationError::InvalidReplicaAssignment("no".to_owned()));
    for result in [Ok(()), refused] {
        let mut assignments = Assignments::default();
        assignments.assign(at(0), directory(1));
        assert_eq!(asked(&mut assignments, Monotonic(0)), [(0, 1)]);
        assignments.assign(at(0), directory(2));
        assert_eq!(asked(&mut assignments, Monotonic(1)), [], "one request at a time");
        assert_eq!(answered(&mut assignments, vec![result]), [], "nobody wants that any more");
        assert_eq!(asked(&mut assignments, Monotonic(2)), [(0, 2)]);
    }
}

#[test]
fn what_is_forgotten_is_neither_told_again_nor_reported() {
    let mut assignments = Assignments::default();
    (0..2).for_each(|partition| assignments.assign(at(partition), directory(1)));
    assert_eq!(asked(&mut assignments, Monotonic(0)), [(0, 1), (1, 1)]);
    assignments.forget(at(0));
    assert!(assignments.replied(Err(CallError::Unreachable), LATER).is_err());
    assert_eq!(asked(&mut assignments, Monotonic(1)), [(1, 1)]);
    assignments.forget(at(1));
    assert_eq!(answered(&mut assignments, vec![Err(OperationError::UnknownTopicId("1".to_owned()))]), []);
    assert_eq!(asked(&mut assignments, Monotonic(2)), []);
}

#[test]
fn a_request_that_takes_too_long_or_is_answered_wrongly_is_made_again() {
    let mut assignments = Assignments::default();
    assignments.assign(at(0), directory(1));
    assert_eq!(asked(&mut assignments, Monotonic(0)), [(0, 1)]);
    assert_eq!(assignments.line.timed_out(Monotonic(1_999), &config()), None);
    assert_eq!(assignments.line.timed_out(Monotonic(2_000), &config()), Some(CallNumber(1)));
    for reply in [Reply::AssignReplicasToDirs(vec![]), Reply::UnregisterBroker] {
        assert_eq!(asked(&mut assignments, Monotonic(2_000)), [(0, 1)]);
        assert_eq!(assignments.replied(Ok(reply), LATER), Err(CallError::Unreachable));
    }
    assert_eq!(asked(&mut assignments, Monotonic(2_000)), [(0, 1)]);
}

#[test]
fn a_broker_that_is_not_registered_says_nothing() {
    let mut assignments = Assignments::default();
    assignments.assign(at(0), directory(1));
    assert_eq!(assignments.next(Monotonic(0), &config(), None), None);
    assert_eq!(assignments.wakes_at(&config(), None), None, "nor does it wake up for that");
    assert!(assignments.wakes_at(&config(), Some(EPOCH)).is_some());
}

#[test]
fn a_request_has_no_more_than_so_many_and_the_others_come_next() {
    let mut assignments = Assignments::default();
    (0..1_500).for_each(|partition| assignments.assign(at(partition), directory(1)));
    assert_eq!(asked(&mut assignments, Monotonic(0)).len(), ASSIGNMENTS_PER_REQUEST_MAX);
    assert_eq!(answered(&mut assignments, vec![Ok(()); ASSIGNMENTS_PER_REQUEST_MAX]), []);
    assert_eq!(asked(&mut assignments, Monotonic(1)).len(), 500);
}

/// A request: its number, whom it is for, and the partitions with their directories.
type Request = (CallNumber, String, Vec<(i32, u128)>);

/// A broker's life, and what it says of its replicas' directories in it.
struct Life {
    lifecycle: Lifecycle,
    events: Vec<LifecycleEvent>,
}

impl Life {
    fn begin() -> Self {
        Self { lifecycle: Lifecycle::new(config(), Monotonic(0)), events: Vec::new() }
    }

    /// Registers.
    fn register(&mut self) {
        let effects = self.lifecycle.ready();
        let mut calls = effects.calls.into_iter();
        let call = calls.find(|call| matches!(call.operation, Operation::RegisterBroker(_)));
        let number = call.expect("a registration").number;
        let registered = Reply::RegisterBroker(RegisteredBroker { epoch: EPOCH });
        self.lifecycle.replied(Monotonic(0), number, Ok(registered));
    }

    /// The request that is sent at a time.
    fn asks(&mut self, now: u64) -> Option<Request> {
        self.lifecycle.tick(Monotonic(now));
        let effects = self.lifecycle.ready();
        self.events.extend(effects.events);
        let mut calls = effects.calls.into_iter();
        let call = calls.find(|call| matches!(call.operation, Operation::AssignReplicasToDirs(_)))?;
        Some((call.number, call.to.host, named(call.operation)))
    }
}

#[test]
fn a_broker_asks_once_it_is_registered_and_again_where_the_active_controller_may_be() {
    let mut life = Life::begin();
    life.lifecycle.assign_directory(at(0), directory(1));
    life.register();
    let (first, host, named) = life.asks(0).expect("a request");
    assert_eq!((host.as_str(), named), ("a", vec![(0, 1)]));
    life.lifecycle.replied(Monotonic(1), first, Err(CallError::Unreachable));
    assert_eq!(life.asks(50), None, "after a pause");
    let (second, host, _) = life.asks(51).expect("a request");
    assert_eq!(host, "b");
    let elsewhere = OperationError::NotController { leader: None };
    life.lifecycle.replied(Monotonic(52), second, Err(CallError::Refused(elsewhere)));
    let (third, host, _) = life.asks(102).expect("a request");
    assert_eq!(host, "a");
    life.lifecycle.assign_directory(at(0), directory(2));
    assert_eq!(life.asks(103), None, "one request at a time");
    // The answer to one that was given up says nothing.
    life.lifecycle.replied(Monotonic(104), first, Ok(Reply::AssignReplicasToDirs(vec![Ok(())])));
    assert_eq!(life.asks(105), None);
    life.lifecycle.replied(Monotonic(106), third, Ok(Reply::AssignReplicasToDirs(vec![Ok(())])));
    assert_eq!(life.asks(107).expect("a request").2, [(0, 2)]);
}

#[test]
fn a_broker_reports_what_the_controller_refuses_for_good_and_wakes_up_for_what_it_does_not() {
    let mut life = Life::begin();
    life.register();
    (0..2).for_each(|partition| life.lifecycle.assign_directory(at(partition), directory(1)));
    let (number, ..) = life.asks(0).expect("a request");
    let reason = OperationError::InvalidReplicaAssignment("no such directory".to_owned());
    let results = vec![Err(reason.clone()), Err(OperationError::NotController { leader: None })];
    life.lifecycle.replied(Monotonic(1), number, Ok(Reply::AssignReplicasToDirs(results)));
    assert_eq!(life.asks(2), None);
    let refused = LifecycleEvent::AssignmentRefused { partition: at(0), directory: directory(1), reason };
    assert!(life.events.contains(&refused), "{:?}", life.events);
    assert!(life.lifecycle.wakes_at() <= Monotonic(51));
    assert_eq!(life.asks(51).expect("a request").2, [(1, 1)]);
    life.lifecycle.forget_assignment(at(1));
    assert_eq!(life.asks(2_051), None);
    assert_eq!(life.asks(3_000), None, "it was given up, and is wanted no more");
}
