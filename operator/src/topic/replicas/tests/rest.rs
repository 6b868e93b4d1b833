//! Topics that get no further, of which nothing is asked, or which are spread with others.

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

/// Worlds in which a topic gets no further by itself.
fn stuck() -> Vec<(&'static str, World)> {
    let world = |replicas: i16, layout: &[&[i32]]| {
        let mut world = World::new(4, layout);
        world.declare(replicas);
        world
    };
    let mut below_minimum = world(1, &[&[0, 1, 2]]);
    below_minimum.spec["config"] = json!({"min.insync.replicas": 2});
    let mut out_of_service = world(4, &[&[0], &[1]]);
    out_of_service.broker(2).in_service = false;
    let mut cordoned = world(4, &[&[0], &[1]]);
    cordoned.broker(2).cordon = Cordon::Cordoned;
    let mut leaderless = world(2, &[&[0, 1, 2], &[0, 1, 2]]);
    leaderless.layout[0].leader = None;
    let mut by_others = world(3, &[&[0, 1]]);
    by_others.begin(&Move { topic: "t".to_owned(), partition: 0, replicas: ids(&[2, 3]) });
    let mut lost_in_the_middle = world(4, &[&[0], &[1]]);
    (0..2).for_each(|_| drop(lost_in_the_middle.pass()));
    lost_in_the_middle.broker(3).in_service = false;
    let mut refused = world(3, &[&[0], &[1]]);
    refused.refuses = Some(ResponseError::InvalidReplicaAssignment);
    let mut put_off = world(3, &[&[0], &[1]]);
    put_off.refuses = Some(ResponseError::RequestTimedOut);
    vec![
        ("too few brokers", world(5, &[&[0]])),
        ("no room", world(2, &[&[0][..]; MOVING_MAX + 9])),
        ("slow", world(3, &[&[0], &[1]])),
        ("below its minimum", below_minimum),
        ("a broker out of service", out_of_service),
        ("a cordoned broker", cordoned),
        ("a broker lost in the middle", lost_in_the_middle),
        ("without a leader", leaderless),
        ("moved by others", by_others),
        ("refused", refused),
        ("put off", put_off),
    ]
}

#[test]
fn where_nothing_happens_nothing_is_written() {
    for (name, mut world) in stuck() {
        (0..4).for_each(|_| drop(world.pass()));
        assert!(world.writes > 0, "{name}: it is told once");
        let (told, writes) = (world.status.clone(), world.writes);
        for _ in 0..10 {
            let (plan, _) = world.pass();
            assert!(plan.moves.is_empty() || world.refuses.is_some(), "{name}: {plan:?}");
            assert_eq!((&world.status, world.writes), (&told, writes), "{name}");
        }
    }
}
