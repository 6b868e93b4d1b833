//! What images come to for the log directories of one broker.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may give up")]

mod moves;

use ottla_core::config::Settings;
use ottla_core::ids::{
    BrokerEpoch, DirectoryId, IncarnationId, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch,
    PartitionIndex, Term, TopicId, TopicName, TopicPartition,
};
use ottla_core::metadata::image::{ConfigResource, Fencing, Image, LeaderRecoveryState, Partition};
use ottla_core::metadata::record::{
    ConfigRecord, PartitionRecord, Record, RegisterBroker, RemoveTopic, TopicRecord,
};
use ottla_core::replicas::{End, LogDirectory, Order, Replicas};
use uuid::Uuid;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const EPOCH: Option<BrokerEpoch> = Some(BrokerEpoch(4));

fn directory(number: u128) -> DirectoryId {
    DirectoryId(Uuid::from_u128(number << 64))
}

fn id(topic: u128, partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId(Uuid::from_u128(topic)), partition: PartitionIndex(partition) }
}

fn name(topic: u128) -> TopicName {
    TopicName::parse(&format!("t{topic}")).unwrap()
}

/// Metadata, entry by entry.
struct World(Image);

impl World {
    /// This broker is registered.
    fn new() -> Self {
        let mut world = Self(Image::default());
        world.add(Record::RegisterBroker(RegisterBroker {
            node_id: ME,
            incarnation_id: IncarnationId(Uuid::from_u128(1)),
            endpoints: Vec::new(),
            rack: None,
            directories: vec![directory(1), directory(2)],
            features: Vec::new(),
            fencing: Fencing::Fenced,
            epoch: EPOCH,
            offline_directories: Vec::new(),
        }));
        world
    }

    fn add(&mut self, record: Record) {
        let offset = MetadataOffset(self.0.offset.0 + 1);
        self.0.replay_entry(offset, Term(1), &[record]).unwrap();
    }

    fn topic(&mut self, topic: u128) {
        self.add(Record::Topic(TopicRecord { id: id(topic, 0).topic_id, name: name(topic) }));
    }

    /// A partition with one replica.
    fn partition(&mut self, id: TopicPartition, on: NodeId, directory: DirectoryId) {
        self.replicas(id, &[on], directory, Some(on), &[on], &[]);
    }

    /// A partition whose first replica is to be in this directory.
    fn replicas(
        &mut self,
        id: TopicPartition,
        replicas: &[NodeId],
        directory: DirectoryId,
        leader: Option<NodeId>,
        isr: &[NodeId],
        elr: &[NodeId],
    ) {
        let mut directories = vec![DirectoryId::default(); replicas.len()];
        directories[0] = directory;
        let partition = Partition {
            replicas: replicas.to_vec(),
            directories,
            isr: isr.to_vec(),
            adding: Vec::new(),
            removing: Vec::new(),
            elr: elr.to_vec(),
            last_known_elr: Vec::new(),
            leader,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            recovery: LeaderRecoveryState::Recovered,
        };
        let (topic_id, index) = (id.topic_id, id.partition);
        self.add(Record::Partition(PartitionRecord { topic_id, index, partition }));
    }

    fn set(&mut self, resource: ConfigResource, key: &str, value: &str) {
        let (name, value) = (key.to_owned(), Some(value.to_owned()));
        self.add(Record::Config(ConfigRecord { resource, name, value }));
    }
}

/// A broker with two directories, both open, with these logs in the first.
fn replicas(found: &[TopicPartition]) -> Replicas {
    replicas_of(2, found)
}

/// The same with so many directories.
fn replicas_of(directories: u8, found: &[TopicPartition]) -> Replicas {
    let known = (1..=directories)
        .map(|number| LogDirectory { id: directory(number.into()), holds_metadata_log: number == 2 });
    let mut replicas = Replicas::new(ME, known.collect(), Settings::default());
    replicas.opened(0, found.iter().copied());
    (1..directories).for_each(|shard| replicas.opened(shard.into(), []));
    replicas
}

/// What one image comes to: each order as shard and partition, with the setting of interest of those assigned.
fn orders(replicas: &mut Replicas, world: &World) -> Vec<(usize, TopicPartition, Option<u32>)> {
    replicas.follow(world.0.clone());
    let step = replicas.step(EPOCH).unwrap();
    assert_eq!(step.image, world.0);
    step.orders.iter().map(seen).collect()
}

/// What one image comes to, in full.
fn full_orders(replicas: &mut Replicas, world: &World) -> Vec<Order> {
    replicas.follow(world.0.clone());
    replicas.step(EPOCH).unwrap().orders
}

fn seen(order: &Order) -> (usize, TopicPartition, Option<u32>) {
    match order {
        Order::Assign { shard, assignment } => {
            (*shard, assignment.partition, Some(assignment.config.min_insync_replicas))
        }
        Order::Remove { shard, partition }
        | Order::SetAside { shard, partition }
        | Order::Orphan { shard, partition, .. }
        | Order::EndCopy { shard, partition } => (*shard, *partition, None),
    }
}

#[test]
fn nothing_is_acted_on_before_the_own_registration_is_seen_and_all_directories_are_known() {
    let directories = vec![
        LogDirectory { id: directory(1), holds_metadata_log: false },
        LogDirectory { id: directory(2), holds_metadata_log: false },
    ];
    let mut replicas = Replicas::new(ME, directories, Settings::default());
    let world = World::new();
    replicas.follow(world.0);
    assert!(replicas.step(EPOCH).is_none(), "no directory is open");
    replicas.opened(0, []);
    assert!(replicas.step(EPOCH).is_none(), "one directory is not open");
    assert_eq!(replicas.failed(1), None);
    assert!(replicas.step(None).is_none(), "not registered");
    assert!(replicas.step(Some(BrokerEpoch(5))).is_none(), "registered again since");
    assert!(replicas.step(EPOCH).is_some());
    assert!(replicas.step(EPOCH).is_none(), "the same image again");
}

#[test]
fn a_replica_goes_where_the_controller_chose_and_else_to_the_emptiest_working_directory() {
    let mut replicas = replicas(&[id(9, 0)]);
    let mut world = World::new();
    world.topic(1);
    world.partition(id(1, 0), ME, directory(1));
    world.partition(id(1, 1), ME, directory(7));
    world.partition(id(1, 2), NodeId(2), directory(1));
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 0), Some(1)), (1, id(1, 1), Some(1))]);
    assert_eq!(replicas.led(), 2);

    assert_eq!(replicas.failed(0), None);
    world.partition(id(1, 3), ME, directory(1));
    world.partition(id(1, 4), ME, directory(7));
    let after = orders(&mut replicas, &world);
    assert_eq!(after, [(0, id(1, 3), Some(1)), (1, id(1, 4), Some(1))], "its records are in the failed one");
}

#[test]
fn a_log_that_was_found_stays_where_it_is_and_a_stray_one_goes() {
    let mut replicas = replicas(&[id(1, 0), id(8, 0)]);
    let mut world = World::new();
    world.topic(1);
    world.partition(id(1, 0), ME, directory(2));
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 0), Some(1))]);
    let orders = replicas.set_aside_stray();
    assert!(matches!(orders[..], [Order::SetAside { .. }]), "nobody said that its topic was deleted");
    let stray: Vec<_> = orders.iter().map(seen).collect();
    assert_eq!(stray, [(0, id(8, 0), None)]);
    assert_eq!(replicas.routes().keys().copied().collect::<Vec<_>>(), [id(1, 0)]);
}

#[test]
fn a_log_elsewhere_than_the_controller_chose_makes_way_unless_it_may_be_the_best_there_is() {
    let stays: [(Option<NodeId>, &[NodeId], &[NodeId]); 5] = [
        (Some(ME), &[ME], &[]),
        (Some(OTHER), &[OTHER, ME], &[]),
        (Some(OTHER), &[OTHER], &[ME]),
        (None, &[], &[ME]),
        (None, &[OTHER], &[]),
    ];
    for (leader, isr, elr) in stays {
        let mut replicas = replicas(&[id(1, 0)]);
        let mut world = World::new();
        world.topic(1);
        world.replicas(id(1, 0), &[ME, OTHER], directory(2), leader, isr, elr);
        let orders = orders(&mut replicas, &world);
        assert_eq!(orders, [(0, id(1, 0), Some(1))], "{leader:?} {isr:?} {elr:?}");
    }

    // Taken from this broker and given back while it was away.
    let mut replicas = replicas(&[id(1, 0)]);
    let mut world = World::new();
    world.topic(1);
    world.replicas(id(1, 0), &[ME, OTHER], directory(2), Some(OTHER), &[OTHER], &[]);
    let anew = [(0, id(1, 0), None), (1, id(1, 0), Some(1))];
    assert_eq!(orders(&mut replicas, &world), anew);
    assert_eq!(replicas.routes()[&id(1, 0)].shard, 1);
    // What this process serves stays, whatever is registered: what an ISR is about to be changed for rests on it.
    world.replicas(id(1, 0), &[ME, OTHER], directory(1), Some(OTHER), &[OTHER, ME], &[]);
    assert_eq!(orders(&mut replicas, &world), [(1, id(1, 0), Some(1))]);
    world.replicas(id(1, 0), &[ME, OTHER], directory(1), Some(OTHER), &[OTHER], &[]);
    assert_eq!(orders(&mut replicas, &world), [(1, id(1, 0), Some(1))]);
    // Also when its settings are about to be resolved anew.
    world.set(ConfigResource::Topic(name(1)), "min.insync.replicas", "2");
    world.replicas(id(1, 0), &[ME, OTHER], directory(1), Some(OTHER), &[OTHER], &[OTHER]);
    let after = orders(&mut replicas, &world);
    assert!(after.iter().all(|order| *order == (1, id(1, 0), Some(2))) && !after.is_empty(), "{after:?}");
}

#[test]
fn a_replica_that_was_found_and_follows_is_never_made_anew_elsewhere() {
    let mut replicas = replicas(&[id(1, 0)]);
    let mut world = World::new();
    world.topic(1);
    world.replicas(id(1, 0), &[ME, OTHER], directory(2), Some(OTHER), &[OTHER, ME], &[]);
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 0), Some(1))]);
    // It leaves the ISR, follows on, and a proposal that takes it back is on its way.
    world.replicas(id(1, 0), &[ME, OTHER], directory(2), Some(OTHER), &[OTHER], &[]);
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 0), Some(1))]);
    // Only when it was taken from this broker, and is given back, it begins anew.
    world.replicas(id(1, 0), &[OTHER], directory(2), Some(OTHER), &[OTHER], &[]);
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 0), None)]);
    world.replicas(id(1, 0), &[ME, OTHER], directory(2), Some(OTHER), &[OTHER], &[]);
    assert_eq!(orders(&mut replicas, &world), [(1, id(1, 0), Some(1))]);
}

#[test]
fn a_log_elsewhere_is_kept_while_the_directory_that_the_controller_chose_cannot_be_used() {
    let mut replicas = replicas(&[id(1, 0), id(1, 1)]);
    let mut world = World::new();
    world.topic(1);
    world.replicas(id(1, 0), &[ME, OTHER], directory(2), Some(OTHER), &[OTHER], &[]);
    // What makes way may hold the records that somebody misses: nobody said that it is not wanted.
    let mut aside = full_orders(&mut replicas, &world);
    assert!(matches!(aside.remove(0), Order::SetAside { shard: 0, .. }));
    let _metadata_log_lost = replicas.failed(1);
    world.replicas(id(1, 1), &[ME, OTHER], directory(2), Some(OTHER), &[OTHER], &[]);
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 1), Some(1))]);
}

#[test]
fn a_setting_reaches_the_replicas_that_it_is_for() {
    let mut replicas = replicas(&[]);
    let mut world = World::new();
    for topic in [1, 2] {
        world.topic(topic);
        world.partition(id(topic, 0), ME, directory(1));
    }
    assert_eq!(orders(&mut replicas, &world).len(), 2);
    const KEY: &str = "min.insync.replicas";
    world.set(ConfigResource::Topic(name(1)), KEY, "2");
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 0), Some(2))]);
    world.set(ConfigResource::BrokerDefault, KEY, "3");
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 0), Some(2)), (0, id(2, 0), Some(3))]);
    world.set(ConfigResource::Broker(NodeId(2)), KEY, "4");
    assert_eq!(orders(&mut replicas, &world), []);
}

#[test]
fn a_broker_ends_with_its_last_directory_or_with_that_of_the_metadata_log() {
    assert_eq!(replicas(&[]).failed(1), Some(End::MetadataLogLost));
    let mut replicas = replicas(&[]);
    assert_eq!(replicas.failed(0), None);
    assert_eq!(replicas.failed(1), Some(End::NoDirectoryLeft));
}

#[test]
fn of_two_copies_the_one_in_the_directory_that_the_controller_named_counts() {
    for (named, shard) in [(1, 0), (2, 1), (7, 0)] {
        let mut replicas = replicas(&[id(1, 0)]);
        replicas.opened(1, [id(1, 0)]);
        let mut world = World::new();
        world.topic(1);
        world.partition(id(1, 0), ME, directory(named));
        let set_aside = (named != 7).then_some((1 - shard, id(1, 0), None));
        let expected: Vec<_> = set_aside.into_iter().chain([(shard, id(1, 0), Some(1))]).collect();
        assert_eq!(orders(&mut replicas, &world), expected, "{named}");
    }
}

#[test]
fn both_copies_go_when_neither_is_wanted() {
    let mut replicas = replicas(&[id(1, 0), id(8, 0)]);
    replicas.opened(1, [id(1, 0), id(8, 0)]);
    let mut world = World::new();
    world.topic(1);
    world.partition(id(1, 0), OTHER, directory(1));
    let removed = full_orders(&mut replicas, &world);
    assert!(removed.iter().all(|order| matches!(order, Order::Remove { .. })), "{removed:?}");
    let both = |topic| [(0, id(topic, 0), None), (1, id(topic, 0), None)];
    assert_eq!(removed.iter().map(seen).collect::<Vec<_>>(), both(1));
    let stray = replicas.set_aside_stray();
    assert!(stray.iter().all(|order| matches!(order, Order::SetAside { .. })), "{stray:?}");
    assert_eq!(stray.iter().map(seen).collect::<Vec<_>>(), both(8));
    // Neither comes back when the replica does.
    world.partition(id(1, 0), ME, directory(1));
    assert_eq!(orders(&mut replicas, &world), [(0, id(1, 0), Some(1))]);
}

#[test]
fn partitions_of_a_topic_share_its_settings() {
    let mut replicas = replicas(&[]);
    let mut world = World::new();
    world.topic(1);
    world.partition(id(1, 0), ME, directory(1));
    world.partition(id(1, 1), ME, directory(2));
    orders(&mut replicas, &world);
    world.set(ConfigResource::Topic(name(1)), "min.insync.replicas", "2");
    orders(&mut replicas, &world);
    let config = |partition| replicas.routes()[&id(1, partition)].config.clone().unwrap();
    assert!(std::sync::Arc::ptr_eq(&config(0), &config(1)));
    assert_eq!(config(0).min_insync_replicas, 2);
}

#[test]
fn what_is_led_and_held_is_counted_as_it_changes() {
    let mut replicas = replicas(&[]);
    let mut world = World::new();
    world.topic(1);
    world.partition(id(1, 0), ME, directory(7));
    world.partition(id(1, 1), ME, directory(7));
    orders(&mut replicas, &world);
    assert_eq!(replicas.led(), 2);
    world.add(Record::RemoveTopic(RemoveTopic { id: id(1, 0).topic_id }));
    orders(&mut replicas, &world);
    assert_eq!((replicas.led(), replicas.routes().len()), (0, 0));
    world.topic(2);
    world.partition(id(2, 0), ME, directory(1));
    world.partition(id(2, 1), ME, directory(7));
    assert_eq!(orders(&mut replicas, &world), [(0, id(2, 0), Some(1)), (1, id(2, 1), Some(1))]);
}

#[test]
fn what_is_registered_and_what_is_set_arrive_together() {
    let mut replicas = replicas(&[]);
    let mut world = World::new();
    world.topic(1);
    world.partition(id(1, 0), ME, directory(1));
    orders(&mut replicas, &world);
    // The minimum rises, and then the ISR changes: neither is to be acted on without the other.
    world.set(ConfigResource::Topic(name(1)), "min.insync.replicas", "2");
    world.partition(id(1, 0), ME, directory(2));
    let after = orders(&mut replicas, &world);
    assert!(after.iter().all(|(_, _, min)| *min == Some(2)) && !after.is_empty(), "{after:?}");
    world.set(ConfigResource::BrokerDefault, "min.insync.replicas", "3");
    world.topic(2);
    world.partition(id(2, 0), ME, directory(1));
    let after = orders(&mut replicas, &world);
    let of_second = after.iter().filter(|(_, partition, _)| *partition == id(2, 0));
    assert!(of_second.clone().count() > 0 && of_second.into_iter().all(|(_, _, min)| *min == Some(3)));
}
