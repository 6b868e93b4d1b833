//! How many partitions move at the same time.

use super::*;

#[test]
fn only_so_many_partitions_move_at_the_same_time() {
    let mut world = World::new(3, &[&[0][..]; MOVING_MAX * 2 + 7]);
    world.declare(2);
    world.pass();
    assert_eq!(world.pass().0.moves.len(), MOVING_MAX);
    let (plan, verdict) = world.pass();
    assert_eq!(plan.moves.len(), 0);
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.ends_with("107 wait until others have moved (at most 100 at a time)"), "{message}");
    for _ in 0..7 {
        let partition = world.layout.iter_mut().find(|partition| partition.is_moving()).unwrap();
        partition.isr = partition.replicas.clone();
        World::end_where_in_sync(partition);
    }
    assert_eq!(world.pass().0.moves.len(), 7);
    // All that is under way can be led back at once.
    world.declare(1);
    world.pass();
    assert_eq!(world.pass().0.moves.len(), MOVING_MAX);
    world.settle();
}

impl World {
    /// As many partitions as may move are led to broker 1, which is then out of service, and others come.
    fn fill_up_and_lose_broker_1(&mut self) {
        (2..4).for_each(|id| self.broker(id).in_service = false);
        self.declare(2);
        self.pass();
        assert_eq!(self.pass().0.moves.len(), MOVING_MAX);
        assert_eq!(self.layout[0].adding, ids(&[1]));
        (1..4).for_each(|id| self.broker(id).in_service = id != 1);
    }

    /// Partitions that are led to a broker that is there.
    fn copied(&self) -> usize {
        let arrives = |id| self.census.brokers.get(id).is_some_and(|broker| broker.in_service);
        self.layout.iter().filter(|partition| partition.adding.iter().any(arrives)).count()
    }
}

#[test]
fn what_people_move_of_other_topics_takes_room_unless_it_waits() {
    let mut world = World::new(4, &[&[0][..]; MOVING_MAX]);
    world.broker(3).in_service = false;
    let to =
        |id: i32| PartitionFacts { replicas: ids(&[0, id]), adding: ids(&[id]), ..PartitionFacts::default() };
    world.elsewhere = [vec![to(2); 60], vec![to(3); 500]].concat();
    world.declare(2);
    world.pass();
    assert_eq!(world.pass().0.moves.len(), MOVING_MAX - 60);
    let (plan, verdict) = world.pass();
    assert!(plan.moves.is_empty());
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.contains("60 wait until others have moved"), "{message}");
    world.elsewhere.clear();
    assert_eq!(world.pass().0.moves.len(), 60);
}

#[test]
fn many_topics_share_the_room() {
    let mut world = World::new(3, &[&[0][..]; MOVING_MAX - 1]);
    world.declare(2);
    world.pass();
    let objects = ["t", "u", "v"].map(|name| {
        let mut one = world.object();
        one.topic.name = name.to_owned();
        one
    });
    let facts = world.found().topics["t"].clone();
    let topics = objects.iter().map(|one| (one.topic.name.clone(), facts.clone())).collect();
    let found = Found { topics, ..world.found() };
    assert_eq!(plan(&Asked::all(&objects, &found), &found).moves.len(), MOVING_MAX);
}

#[test]
fn moves_that_waited_and_are_led_elsewhere_take_room_again() {
    let mut world = World::new(4, &[&[0][..]; MOVING_MAX * 2]);
    world.fill_up_and_lose_broker_1();
    world.census.brokers.remove(&NodeId(1));
    assert_eq!(world.pass().0.moves.len(), MOVING_MAX, "what waits takes none");
    world.declare(3);
    for _ in 0..3 {
        world.pass();
        assert_eq!(world.copied(), MOVING_MAX);
    }
    world.settle();
}

#[test]
fn a_broker_lost_in_the_middle_is_named_and_holds_up_no_other_moves() {
    for is_gone in [false, true] {
        let mut world = World::new(4, &[&[0][..]; MOVING_MAX + 7]);
        world.fill_up_and_lose_broker_1();
        if is_gone {
            world.census.brokers.remove(&NodeId(1));
        }
        let (plan, verdict) = world.pass();
        assert_eq!(plan.moves.len(), 7);
        let message = told(verdict, Why::ChangingReplicas);
        assert!(message.contains("waits for broker 1, which is out of service"), "{message}");
        // The way out: the old number takes the moves back.
        world.declare(1);
        world.settle();
        assert!(world.replicas().iter().all(|replicas| *replicas == [0]));
    }
}
