//! What is written down of a change, and whose the moves are that follow from it.

use super::*;

#[test]
fn a_change_is_written_down_then_begun_and_followed_to_its_end() {
    let mut world = World::new(3, &[&[0], &[1], &[2]]);
    world.declare(3);
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty(), "nothing is moved before it is written down: {plan:?}");
    told(verdict, Why::ChangingReplicas);
    let recorded = world.recorded.clone().unwrap();
    assert_eq!((recorded.state, recorded.target_replicas), (ReplicasChangeState::Pending, 3));

    let (plan, _) = world.pass();
    assert_eq!(plan.moves.len(), 3);
    assert_eq!(world.recorded.as_ref().unwrap().state, ReplicasChangeState::Ongoing);
    assert!(world.is_moving());

    world.layout[0].isr = world.layout[0].replicas.clone();
    World::end_where_in_sync(&mut world.layout[0]);
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty(), "what is on its way is left alone: {plan:?}");
    let message = told(verdict, Why::ChangingReplicas);
    assert_eq!(message, "1 of 3 partitions of topic \"t\" have 3 replicas, as declared; 2 are on their way");
    let recorded = world.recorded.clone().unwrap();
    assert_eq!((recorded.state, recorded.done, recorded.total), (ReplicasChangeState::Ongoing, 1, 3));

    world.settle();
    assert_eq!(world.replicas(), [[0, 1, 2], [1, 0, 2], [2, 0, 1]]);
    world.declare(1);
    assert_eq!(world.settle(), 3, "written down, begun, seen");
    assert_eq!(world.replicas(), [[0], [1], [2]]);
}

#[test]
fn another_mind_in_the_middle_leads_moves_elsewhere_or_back() {
    for (then, expected) in [(1, 1), (2, 2), (4, 4)] {
        let mut world = World::new(4, &[&[0], &[1], &[2]]);
        world.declare(3);
        world.pass();
        world.pass();
        // One partition is there already, the others are under way.
        world.layout[0].isr = world.layout[0].replicas.clone();
        World::end_where_in_sync(&mut world.layout[0]);
        world.declare(then);
        let (plan, _) = world.pass();
        assert!(plan.is_empty(), "the new number is written down first: {plan:?}");
        assert_eq!(world.own_targets(), [3, then]);
        let (plan, _) = world.pass();
        let moved: Vec<i32> = plan.moves.iter().map(|one| one.partition).collect();
        assert_eq!(moved, [0, 1, 2], "what is the operator's own is led elsewhere");
        world.settle();
        assert!(world.replicas().iter().all(|replicas| replicas.len() == expected), "{:?}", world.replicas());
    }
    let mut world = World::new(3, &[&[0, 1, 2]]);
    world.layout[0].isr = ids(&[0, 1]);
    world.declare(1);
    world.pass();
    world.pass();
    world.declare(3);
    world.settle();
    assert_eq!(world.replicas()[0][0], 0);
}

#[test]
fn another_operator_goes_on_where_one_was_killed() {
    let mut world = World::new(3, &[&[0], &[1]]);
    world.declare(3);
    world.pass();
    world.pass_and_die();
    assert_eq!(world.recorded.as_ref().unwrap().state, ReplicasChangeState::Pending);
    let (plan, _) = world.pass();
    assert!(plan.is_empty(), "the moves of the other one are its own: {plan:?}");
    // Killed again after it led the moves elsewhere, and yet another number is declared meanwhile.
    world.declare(2);
    world.pass();
    assert_eq!(world.pass_and_die().moves.len(), 2);
    world.declare(1);
    world.pass();
    assert_eq!(world.own_targets(), [2, 1]);
    assert_eq!(world.pass().0.moves.len(), 2, "the moves of the other one are its own");
    world.settle();
    assert!(world.replicas().iter().all(|replicas| replicas.len() == 1), "{:?}", world.replicas());
}

#[test]
fn a_number_that_cannot_be_reached_makes_no_stranger_of_what_is_under_way() {
    let mut world = World::new(3, &[&[0], &[1]]);
    world.declare(3);
    world.pass();
    world.pass();
    world.declare(5);
    for _ in 0..3 {
        let (plan, verdict) = world.pass();
        assert!(plan.is_empty());
        told(verdict, Why::NotEnoughBrokers);
        assert_eq!(world.own_targets(), [3, 5]);
    }
    world.declare(1);
    world.pass();
    let (plan, _) = world.pass();
    assert_eq!(plan.moves.len(), 2, "they are led back");
    assert_eq!(world.settle(), 1);
    assert_eq!(world.replicas(), [[0], [1]]);
}

#[test]
fn what_is_under_way_stays_written_down_while_the_declaration_asks_for_nothing() {
    for what in ["partitions", "replicas"] {
        let mut world = World::new(3, &[&[0], &[1]]);
        world.declare(3);
        world.pass();
        world.pass();
        let before = world.spec[what].clone();
        world.spec[what] = if what == "partitions" { json!(1) } else { Value::Null };
        world.pass();
        assert_eq!(world.own_targets(), [3], "{what}");
        world.spec[what] = before;
        world.declare(2);
        world.pass();
        assert_eq!(world.pass().0.moves.len(), 2, "{what}: they are the operator's own");
        world.settle();
        world.spec[what] = if what == "partitions" { json!(1) } else { Value::Null };
        world.pass();
        assert_eq!(world.recorded, None, "{what}");
    }
}

#[test]
fn the_controller_is_asked_while_a_change_is_recorded() {
    let mut world = World::new(3, &[&[0]]);
    world.declare(3);
    world.pass();
    world.pass();
    // One number and back again, seen through a broker that has not heard of the move.
    world.declare(1);
    let lagging = World::new(3, &[&[0]]).found().topics;
    assert!(asks_for_moves(&[world.object()], &lagging));
}

#[test]
fn a_record_goes_with_the_topic_it_is_about() {
    let mut world = World::new(3, &[&[0]]);
    world.declare(3);
    world.pass();
    let mut found = world.found();
    let Some(Ok(facts)) = found.topics.get_mut("t") else { panic!() };
    facts.id = Uuid::from_u128(8);
    assert_eq!(written_down(world.object(), &found), None, "somebody else's topic");
    let overruled = Declared { overruled_by: Some("older".to_owned()), ..world.object() };
    assert_eq!(written_down(overruled, &world.found()), None);
    found.topics.insert(
        "t".to_owned(),
        Err(Answer { error: ResponseError::TopicAuthorizationFailed, message: None }),
    );
    assert_eq!(written_down(world.object(), &found), world.recorded);
}
