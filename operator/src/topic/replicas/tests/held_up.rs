//! What a change waits for, or is refused for, and what is said of that.

use super::*;

#[test]
fn what_somebody_else_moves_is_waited_for() {
    let mut world = World::new(5, &[&[0, 1], &[1, 2]]);
    world.declare(3);
    let by_hand = Move { topic: "t".to_owned(), partition: 0, replicas: ids(&[3, 4]) };
    world.begin(&by_hand);
    world.pass();
    let (plan, verdict) = world.pass();
    assert_eq!(plan.moves.iter().map(|one| one.partition).collect::<Vec<_>>(), [1]);
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.contains("partitions 0: somebody else moves them"), "{message}");
    assert_eq!(world.layout[0].replicas, ids(&[3, 4, 0, 1]));
    world.settle();
    let replicas = world.replicas();
    assert_eq!(replicas[0][..2], [3, 4], "what was moved by hand stays there: {replicas:?}");
    assert_eq!(replicas[0].len(), 3);
}

#[test]
fn a_move_by_hand_that_keeps_the_number_is_nobodys_business() {
    let mut world = World::new(5, &[&[0, 1]]);
    world.declare(2);
    world.begin(&Move { topic: "t".to_owned(), partition: 0, replicas: ids(&[3, 4]) });
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty());
    assert!(matches!(verdict, Verdict::AsDeclared(_)), "{verdict:?}");
}

#[test]
fn more_replicas_than_brokers_are_told_with_the_remedy_and_hold_up_nothing_else() {
    let mut world = World::new(3, &[&[0], &[1]]);
    world.spec["config"] = json!({"retention.ms": 5});
    world.declare(5);
    world.pass();
    world.spec["partitions"] = json!(4);
    let (plan, _) = world.pass();
    assert_eq!((plan.moves.len(), plan.raise.len(), plan.change.len()), (0, 1, 1));
    world.spec["partitions"] = json!(2);
    world.spec["config"] = json!({});
    let (_, verdict) = world.pass();
    let message = told(verdict, Why::NotEnoughBrokers);
    assert!(message.contains("the cluster has 3 brokers"), "{message}");
    assert!(message.contains("set replicas to 3 at most, or raise spec.replicas of KafkaCluster \"my\""));
    assert_eq!(world.recorded.as_ref().unwrap().state, ReplicasChangeState::Pending);
    assert!(!world.is_moving(), "nothing comes of looking again at once");
    // The wrong value is mended.
    world.declare(3);
    world.settle();
    assert!(world.replicas().iter().all(|replicas| replicas.len() == 3));
}

#[test]
fn a_broker_out_of_service_is_waited_for() {
    let mut world = World::new(3, &[&[0], &[2]]);
    world.census.brokers.get_mut(&NodeId(2)).unwrap().in_service = false;
    world.declare(3);
    world.pass();
    let (plan, verdict) = world.pass();
    assert_eq!(plan.moves.iter().map(|one| one.partition).collect::<Vec<_>>(), [1], "what it has it keeps");
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.contains("partitions 0 wait for brokers 2, which are out of service"), "{message}");
    world.catch_up();
    let (_, verdict) = world.pass();
    told(verdict, Why::NotEnoughBrokers);
    world.census.brokers.get_mut(&NodeId(2)).unwrap().in_service = true;
    world.settle();
}

#[test]
fn nothing_is_removed_while_nobody_leads() {
    let mut world = World::new(3, &[&[0, 1, 2], &[0, 1, 2]]);
    world.layout[1].leader = None;
    world.declare(2);
    world.pass();
    let (plan, verdict) = world.pass();
    assert_eq!(plan.moves.iter().map(|one| one.partition).collect::<Vec<_>>(), [0]);
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.contains("partitions 1: no replica leads them"), "{message}");
}

#[test]
fn fewer_replicas_than_the_topics_own_minimum_in_sync_are_refused() {
    let mut world = World::new(3, &[&[0, 1, 2], &[0]]);
    world.spec["config"] = json!({"min.insync.replicas": 2});
    world.declare(1);
    for _ in 0..2 {
        let (plan, _) = world.pass();
        assert!(plan.moves.is_empty());
    }
    let found = world.found();
    let one = world.object();
    let survey = survey(&one, found.topics["t"].as_ref().unwrap(), &found.census).unwrap();
    let (why, message) = survey.told(&one, &found.census, 0);
    assert_eq!(why, Why::NotSupported);
    assert!(message.contains("asks for min.insync.replicas 2: set that to 1 at most"), "{message}");
    world.spec["config"] = json!({"min.insync.replicas": 1});
    assert_eq!(world.pass().0.moves.len(), 1);
}

#[test]
fn what_the_cluster_refuses_is_told_and_asked_again() {
    let mut world = World::new(3, &[&[0]]);
    world.declare(2);
    world.refuses = Some(ResponseError::InvalidReplicaAssignment);
    world.pass();
    let (_, outcome, _) = world.ask();
    assert!(!outcome.moved.is_empty() && !outcome.began_moves(), "{outcome:?}");
    let (_, verdict) = world.pass();
    assert_eq!(told(verdict, Why::RefusedByCluster), "InvalidReplicaAssignment: why");
    assert_eq!(world.recorded.as_ref().unwrap().state, ReplicasChangeState::Pending);
    world.refuses = None;
    world.settle();
}

#[test]
fn a_cordoned_broker_is_waited_for_and_named() {
    let mut world = World::new(4, &[&[0]]);
    world.broker(1).cordon = Cordon::Cordoned;
    world.broker(2).in_service = false;
    world.broker(3).cordon = Cordon::Unknown;
    world.declare(3);
    (0..2).for_each(|_| drop(world.pass()));
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty(), "{plan:?}");
    let message = told(verdict, Why::NotEnoughBrokers);
    assert_eq!(
        message,
        "spec.replicas: \"3\": partitions 0 wait for brokers 2, which are out of service, and brokers 1, which are \
         cordoned (cordoned.log.dirs), and brokers 3, which do not say whether they are cordoned"
    );
    world.broker(1).cordon = Cordon::Open;
    world.broker(3).cordon = Cordon::Open;
    world.settle();
    assert_eq!(world.replicas(), [[0, 1, 3]]);
}

#[test]
fn brokers_are_asked_whether_they_are_cordoned_while_any_are_to_be_chosen() {
    let mut world = World::new(3, &[&[0, 1]]);
    let asks = |world: &World| asks_for_cordons(&[world.object()], &world.found().topics);
    world.declare(2);
    assert!(!asks(&world));
    world.declare(3);
    assert!(asks(&world));
    (0..2).for_each(|_| drop(world.pass()));
    assert!(!asks(&world), "what is on its way is decided");
}
