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

#[test]
fn a_broker_lost_in_the_middle_is_named_and_holds_up_no_other_moves() {
    for is_gone in [false, true] {
        let mut world = World::new(4, &[&[0][..]; MOVING_MAX + 7]);
        (1..4).for_each(|id| {
            world.census.brokers.get_mut(&NodeId(id)).unwrap().replicas = i64::from(id) * 1000
        });
        world.declare(2);
        world.pass();
        assert_eq!(world.pass().0.moves.len(), MOVING_MAX);
        assert_eq!(world.layout[0].adding, ids(&[1]));
        match is_gone {
            true => drop(world.census.brokers.remove(&NodeId(1))),
            false => world.census.brokers.get_mut(&NodeId(1)).unwrap().in_service = false,
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
