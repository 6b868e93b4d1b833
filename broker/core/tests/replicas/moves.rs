//! Replicas that change their log directory.

use ottla_core::replicas::{CaughtUp, MoveRefusal, Relocated};

use super::*;

const ID: u128 = 1;

/// A broker that has a replica in its first directory, where the controller wants it.
fn settled() -> (Replicas, World) {
    settled_of(2)
}

/// The same with so many directories.
fn settled_of(directories: u8) -> (Replicas, World) {
    let mut replicas = replicas_of(directories, &[id(ID, 0)]);
    let mut world = World::new();
    world.topic(ID);
    world.partition(id(ID, 0), ME, directory(1));
    orders(&mut replicas, &world);
    (replicas, world)
}

fn in_second(world: &mut World) {
    world.partition(id(ID, 0), ME, directory(2));
}

/// The copy in the second directory has everything: the controller is told, and takes it.
fn told(replicas: &mut Replicas) {
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Assign(directory(2)));
    assert!(replicas.assignment_accepted(id(ID, 0), directory(2)).is_empty());
}

#[test]
fn the_controller_knows_of_a_directory_before_the_replica_is_there() {
    let (mut replicas, mut world) = settled();
    assert_eq!(replicas.relocate(id(ID, 0), 1), Ok(Relocated::default()));
    let moves = replicas.take_moves();
    let seen: Vec<_> = moves.iter().map(|made| (made.partition, made.from, made.to)).collect();
    assert_eq!(seen, [(id(ID, 0), 0, 1)]);
    assert_eq!(replicas.take_moves(), [], "each is begun once");
    assert_eq!(replicas.relocate(id(ID, 0), 1), Ok(Relocated::default()), "it goes there already");
    assert_eq!(replicas.take_moves(), []);
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Assign(directory(2)));
    assert_eq!(replicas.routes()[&id(ID, 0)].shard, 0);
    in_second(&mut world);
    assert_eq!(orders(&mut replicas, &world), [(0, id(ID, 0), Some(1))], "it is where it was");
    told(&mut replicas);
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Switch);
    assert_eq!(replicas.routes()[&id(ID, 0)].shard, 1);
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::End, "once");
    world.partition(id(ID, 0), ME, directory(2));
    world.set(ConfigResource::Topic(name(ID)), "min.insync.replicas", "2");
    assert_eq!(orders(&mut replicas, &world), [(1, id(ID, 0), Some(2))]);
}

#[test]
fn a_change_of_mind_ends_the_copy_and_tells_the_controller_what_it_believed_too_early() {
    let (mut replicas, mut world) = settled();
    assert_eq!(replicas.relocate(id(ID, 0), 0), Ok(Relocated::default()), "it is there");
    replicas.relocate(id(ID, 0), 1).unwrap();
    let ended = Relocated { is_stopped: true, ended: Some(1), ..Relocated::default() };
    assert_eq!(replicas.relocate(id(ID, 0), 0), Ok(ended));
    assert_eq!(replicas.take_moves(), []);
    replicas.relocate(id(ID, 0), 1).unwrap();
    in_second(&mut world);
    orders(&mut replicas, &world);
    let kept = Relocated { is_stopped: true, assign: Some(directory(1)), ..Relocated::default() };
    assert_eq!(
        replicas.relocate(id(ID, 0), 0),
        Ok(kept),
        "the copy stays while the controller believes in it"
    );
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::End);
    assert!(replicas.assignment_accepted(id(ID, 0), directory(2)).is_empty());
    let ended: Vec<_> = replicas.assignment_accepted(id(ID, 0), directory(1)).iter().map(seen).collect();
    assert_eq!(ended, [(1, id(ID, 0), None)]);
}

#[test]
fn another_change_of_mind_does_not_forget_what_the_controller_is_to_be_told() {
    let (mut replicas, _) = settled_of(3);
    replicas.relocate(id(ID, 0), 1).unwrap();
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Assign(directory(2)));
    let back = Relocated { is_stopped: true, assign: Some(directory(1)), ..Relocated::default() };
    assert_eq!(replicas.relocate(id(ID, 0), 0), Ok(back));
    assert_eq!(replicas.relocate(id(ID, 0), 2), Ok(Relocated::default()));
    let again = Relocated { is_stopped: true, ended: Some(2), assign: Some(directory(1)), orphaned: None };
    assert_eq!(replicas.relocate(id(ID, 0), 0), Ok(again), "the second directory may yet be believed in");
}

#[test]
fn a_copy_that_cannot_be_made_is_given_up_once() {
    let (mut replicas, _) = settled();
    replicas.relocate(id(ID, 0), 1).unwrap();
    let ended = Relocated { is_stopped: true, ended: Some(1), ..Relocated::default() };
    assert_eq!(replicas.give_up(id(ID, 0), 1), ended);
    assert_eq!(replicas.give_up(id(ID, 0), 1), Relocated::default());
}

#[test]
fn what_is_not_here_does_not_move_and_nothing_moves_from_or_to_a_failed_directory() {
    let (mut replicas, _) = settled();
    assert_eq!(replicas.relocate(id(9, 0), 1), Err(MoveRefusal::NotHere));
    replicas.relocate(id(ID, 0), 1).unwrap();
    replicas.failed(1);
    assert_eq!(replicas.take_moves(), []);
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::End);
    assert_eq!(replicas.relocate(id(ID, 0), 1), Err(MoveRefusal::Storage));
}

#[test]
fn a_start_goes_on_with_a_copy_it_finds_and_ends_one_of_a_replica_it_has_not() {
    let mut replicas = replicas(&[id(ID, 0)]);
    replicas.found_futures(1, [id(ID, 0), id(8, 0)]);
    let mut world = World::new();
    world.topic(ID);
    world.partition(id(ID, 0), ME, directory(2));
    assert_eq!(orders(&mut replicas, &world), [(0, id(ID, 0), Some(1))], "not to the copy");
    assert_eq!(replicas.take_moves().len(), 1);
    told(&mut replicas);
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Switch);
    let ended: Vec<_> = replicas.set_aside_stray().iter().map(seen).collect();
    assert_eq!(ended, [(1, id(8, 0), None)]);
}

#[test]
fn a_copy_goes_with_its_replica() {
    let (mut replicas, _) = settled();
    replicas.relocate(id(ID, 0), 1).unwrap();
    let world = World::new();
    assert_eq!(orders(&mut replicas, &world), [(0, id(ID, 0), None), (1, id(ID, 0), None)]);
    assert_eq!(replicas.take_moves(), []);
}

#[test]
fn a_copy_whose_replica_is_gone_goes_to_the_shard_that_has_it() {
    let mut replicas = replicas(&[]);
    replicas.found_futures(1, [id(ID, 0)]);
    let mut world = World::new();
    world.topic(ID);
    world.partition(id(ID, 0), ME, directory(2));
    assert_eq!(orders(&mut replicas, &world), [(1, id(ID, 0), Some(1))]);
    assert_eq!(replicas.take_moves(), [], "it is no copy any more");
}

#[test]
fn the_controller_is_told_where_a_replica_is_unless_the_directory_that_it_believes_in_has_failed() {
    let (mut replicas, mut world) = settled();
    // A request that came late says so.
    in_second(&mut world);
    replicas.follow(world.0.clone());
    assert_eq!(replicas.step(EPOCH).unwrap().misplaced, [(id(ID, 0), directory(1))]);
    in_second(&mut world);
    replicas.relocate(id(ID, 0), 1).unwrap();
    replicas.follow(world.0.clone());
    assert_eq!(replicas.step(EPOCH).unwrap().misplaced, [], "it will be there soon");
    replicas.failed(1);
    in_second(&mut world);
    replicas.follow(world.0.clone());
    assert_eq!(replicas.step(EPOCH).unwrap().misplaced, [], "what has failed may have more");
}

#[test]
fn a_replica_whose_new_directory_fails_is_where_it_was_and_the_controller_hears_of_it() {
    let (mut replicas, mut world) = settled();
    replicas.relocate(id(ID, 0), 1).unwrap();
    replicas.take_moves();
    in_second(&mut world);
    orders(&mut replicas, &world);
    replicas.failed(1);
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::End);
    let back = Relocated { is_stopped: true, assign: Some(directory(1)), ..Relocated::default() };
    assert_eq!(replicas.give_up(id(ID, 0), 1), back);
}

#[test]
fn a_replica_that_could_not_go_over_is_where_it_was_and_what_was_wanted_meanwhile_is_copied_from_there() {
    for meanwhile in [None, Some(0), Some(2)] {
        let (mut replicas, mut world) = settled_of(3);
        replicas.relocate(id(ID, 0), 1).unwrap();
        replicas.take_moves();
        in_second(&mut world);
        orders(&mut replicas, &world);
        told(&mut replicas);
        assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Switch);
        if let Some(to) = meanwhile {
            replicas.relocate(id(ID, 0), to).unwrap();
            assert_eq!(replicas.take_moves().len(), 1);
        }
        let (order, relocated) = replicas.moved_back(id(ID, 0), 0, 1).unwrap();
        assert_eq!(seen(&order), (0, id(ID, 0), Some(1)));
        assert_eq!((relocated.assign, relocated.ended), (Some(directory(1)), None), "{meanwhile:?}");
        assert_eq!(replicas.is_known_in(id(ID, 0), 0), Some(false));
        assert_eq!(replicas.is_known_in(id(ID, 0), 1), None);
        let moves: Vec<_> = replicas.take_moves().iter().map(|made| (made.from, made.to)).collect();
        assert_eq!(moves, Vec::from_iter(meanwhile.filter(|to| *to == 2).map(|to| (0, to))), "{meanwhile:?}");
        world.partition(id(ID, 0), ME, directory(1));
        orders(&mut replicas, &world);
        assert_eq!(replicas.is_known_in(id(ID, 0), 0), Some(true));
        replicas.failed(0);
        assert_eq!(replicas.is_known_in(id(ID, 0), 0), None, "nobody waits for it any more");
    }
}

#[test]
fn an_image_from_before_the_controller_took_another_directory_lets_nothing_go_over() {
    let (mut replicas, mut world) = settled();
    replicas.relocate(id(ID, 0), 1).unwrap();
    told(&mut replicas);
    in_second(&mut world);
    orders(&mut replicas, &world);
    // A change of mind, which the controller takes; the image that says so is late.
    replicas.relocate(id(ID, 0), 0).unwrap();
    let ended: Vec<_> = replicas.assignment_accepted(id(ID, 0), directory(1)).iter().map(seen).collect();
    assert_eq!(ended, [(1, id(ID, 0), None)]);
    replicas.relocate(id(ID, 0), 1).unwrap();
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Assign(directory(2)), "it is in the first now");
    assert!(replicas.assignment_accepted(id(ID, 0), directory(1)).is_empty());
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Assign(directory(2)));
    assert!(replicas.assignment_accepted(id(ID, 0), directory(2)).is_empty());
    assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Switch);
}

#[test]
fn a_copy_of_what_is_gone_is_kept_and_damaged_where_the_controller_believes_in_it() {
    for knows in [false, true] {
        // The directory that fails is not that of the metadata log.
        let (mut replicas, mut world) = settled();
        replicas.relocate(id(ID, 0), 1).unwrap();
        if knows {
            in_second(&mut world);
            orders(&mut replicas, &world);
        }
        assert_eq!(replicas.failed(0), None);
        let gone = Relocated { orphaned: knows.then_some(1), ..Relocated::default() };
        assert_eq!(replicas.give_up(id(ID, 0), 1), gone);
    }
}

#[test]
fn a_replica_that_is_taken_and_given_back_on_its_way_is_made_anew_only_when_the_way_is_over() {
    for is_deleted_again in [false, true] {
        let (mut replicas, mut world) = settled();
        replicas.relocate(id(ID, 0), 1).unwrap();
        replicas.take_moves();
        told(&mut replicas);
        in_second(&mut world);
        orders(&mut replicas, &world);
        assert_eq!(replicas.caught_up(id(ID, 0), 1), CaughtUp::Switch);
        // Two shards are at it: what the metadata says waits in the second.
        world.partition(id(ID, 0), OTHER, directory(1));
        assert_eq!(orders(&mut replicas, &world), [(1, id(ID, 0), None)]);
        world.partition(id(ID, 0), ME, directory(1));
        assert_eq!(orders(&mut replicas, &world), [], "neither has room for another one yet");
        world.set(ConfigResource::Topic(name(ID)), "min.insync.replicas", "2");
        assert_eq!(orders(&mut replicas, &world), []);
        assert!(!replicas.routes().contains_key(&id(ID, 0)));
        assert_eq!(replicas.relocate(id(ID, 0), 1), Err(MoveRefusal::NotHere));
        if is_deleted_again {
            world.partition(id(ID, 0), OTHER, directory(1));
            assert_eq!(orders(&mut replicas, &world), []);
        }
        let made: Vec<_> = replicas.switch_ended(id(ID, 0)).iter().map(seen).collect();
        let anew = (0, id(ID, 0), Some(2));
        assert_eq!(made, if is_deleted_again { vec![] } else { vec![anew] });
        assert_eq!(replicas.routes().contains_key(&id(ID, 0)), !is_deleted_again);
        assert!(replicas.switch_ended(id(ID, 0)).is_empty());
    }
}
