//! Topics of which nothing is asked, or which are spread with others.

use super::*;

#[test]
fn the_new_replicas_of_many_topics_are_spread_together() {
    let mut world = World::new(4, &[&[0]]);
    world.declare(2);
    world.pass();
    let one = world.object();
    let mut other = one.clone();
    other.topic.name = "u".to_owned();
    let facts = world.found().topics["t"].clone();
    let topics = Answers::from([("t".to_owned(), facts.clone()), ("u".to_owned(), facts)]);
    let found = Found { topics, ..world.found() };
    let plan = plan(&Asked::all(&[one, other], &found), &found);
    let added: Vec<NodeId> = plan.moves.iter().map(|one| one.replicas[1]).collect();
    assert_eq!(added, ids(&[1, 2]));
}

#[test]
fn topics_at_rest_are_judged_without_the_active_controller() {
    let mut world = World::new(3, &[&[0, 1], &[1, 2]]);
    world.declare(2);
    assert!(!asks_for_moves(&[world.object()], &world.found().topics));
    world.layout[1].isr = ids(&[1]);
    assert!(asks_for_moves(&[world.object()], &world.found().topics));
    world.spec["replicas"] = Value::Null;
    assert!(asks_for_moves(&[world.object()], &world.found().topics), "what is being added does not count");
    world.layout[1].isr = ids(&[1, 2]);
    assert!(!asks_for_moves(&[world.object()], &world.found().topics));
}

#[test]
fn a_topic_that_names_no_number_of_replicas_keeps_what_it_has() {
    let mut world = World::new(3, &[&[0, 1], &[1]]);
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty());
    assert!(matches!(verdict, Verdict::AsDeclared(_)));
}

#[test]
fn partitions_that_were_added_meanwhile_get_their_replicas_too() {
    let mut world = World::new(3, &[&[0]]);
    world.declare(3);
    world.pass();
    world.pass();
    world.add_partition(&[1]);
    world.settle();
    assert!(world.replicas().iter().all(|replicas| replicas.len() == 3), "{:?}", world.replicas());
}
