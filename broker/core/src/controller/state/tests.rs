use std::sync::Arc;

use imbl::OrdMap;

use super::*;
use crate::controller::failures::ProbeId;
use crate::ids::{LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId, TopicName};
use crate::metadata::image::{Broker, Endpoint, LeaderRecoveryState, Partition, Topic};

const BROKER: NodeId = NodeId(1);

/// Of a hundred partitions, in the place of some hundred thousand.
const ENTRY_SIZE_MAX: usize = 1_000;

/// A cluster whose broker 1 leads so many partitions that changing them all takes more than one entry.
fn crowded_image() -> Image {
    let broker = Broker {
        node_id: BROKER,
        epoch: BrokerEpoch(1),
        incarnation_id: crate::ids::IncarnationId(uuid::Uuid::from_u128(1)),
        endpoints: vec![Endpoint {
            listener: "PLAIN".to_owned(),
            host: "broker".to_owned(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: None,
        directories: Vec::new(),
        offline_directories: Vec::new(),
        features: Vec::new(),
        fencing: Fencing::Unfenced,
    };
    let replicas = vec![BROKER, NodeId(2), NodeId(3)];
    let partition = Arc::new(Partition {
        isr: replicas.clone(),
        replicas,
        directories: Vec::new(),
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader: Some(BROKER),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        recovery: LeaderRecoveryState::Recovered,
    });
    let partitions: OrdMap<_, _> =
        (0..100).map(|index| (PartitionIndex(index), Arc::clone(&partition))).collect();
    let topic = Topic {
        id: TopicId(uuid::Uuid::from_u128(1_000)),
        name: TopicName::parse("a").expect("a name"),
        partitions,
    };
    let mut image = Image { offset: MetadataOffset(1), ..Image::default() };
    image.brokers.insert(BROKER, Arc::new(broker));
    image.topic_ids.insert(topic.name.clone(), topic.id);
    image.topics.insert(topic.id, Arc::new(topic));
    image
}

/// An active controller over that cluster, whose first tick has passed.
fn crowded_controller() -> Controller {
    let mut controller = Controller::new(ControllerConfig::new(NodeId(0)));
    controller.entry_bytes_max = ENTRY_SIZE_MAX;
    controller.state = Some(State::new(crowded_image(), &controller.config, Monotonic(0)));
    controller.tick(Monotonic(50), &mut |_| panic!("nothing is to be done yet"));
    controller
}

/// Lets the controller's broker fall silent. Only so many entries are taken. Returns their sizes.
fn silence(controller: &mut Controller, entries_max: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    // In steps, since a controller that did not run for long does not hold it against the broker.
    for ms in (1..=100).map(|step| step * 100) {
        controller.tick(Monotonic(ms), &mut |entry| {
            if sizes.len() == entries_max {
                return Err(NotLeader);
            }
            sizes.push(entry.len());
            Ok(MetadataOffset(1 + u64::try_from(sizes.len()).expect("few entries")))
        });
    }
    sizes
}

fn led(controller: &Controller) -> usize {
    let image = controller.image().expect("it is active");
    let partitions = image.topics.values().flat_map(|topic| topic.partitions.values());
    partitions.filter(|partition| partition.isr.contains(&BROKER)).count()
}

#[test]
fn what_one_broker_leaves_behind_may_take_several_entries() {
    let mut controller = crowded_controller();
    let sizes = silence(&mut controller, usize::MAX);
    assert!(sizes.len() > 1 && sizes.iter().all(|size| *size <= ENTRY_SIZE_MAX), "{sizes:?}");
    assert_eq!(led(&controller), 0);
    let image = controller.image().expect("it is active");
    assert_eq!(image.brokers[&BROKER].fencing, Fencing::Fenced);
}

#[test]
fn what_was_cut_short_is_done_by_the_next_active_controller() {
    let mut controller = crowded_controller();
    assert_eq!(silence(&mut controller, 1).len(), 1);
    let image = controller.image().expect("it is active").clone();
    assert!(led(&controller) > 0);
    assert_eq!(image.brokers[&BROKER].fencing, Fencing::Unfenced, "it is fenced last");
    let mut next = Controller::new(ControllerConfig::new(NodeId(0)));
    next.entry_bytes_max = ENTRY_SIZE_MAX;
    next.state = Some(State::new(image, &next.config, Monotonic(0)));
    silence(&mut next, usize::MAX);
    assert_eq!(led(&next), 0);
    assert_eq!(next.image().expect("it is active").brokers[&BROKER].fencing, Fencing::Fenced);
}

#[test]
fn a_broker_where_nobody_listens_is_out_of_service_before_its_session_is_over() {
    let mut controller = crowded_controller();
    let mut offset = 1;
    let mut events = Vec::new();
    for ms in [100, 200, 300] {
        controller.tick(Monotonic(ms), &mut |_| {
            offset += 1;
            Ok(MetadataOffset(offset))
        });
        for probe in controller.probes() {
            assert_eq!(probe.node_id, BROKER);
            let ProbeId::Broker(number) = probe.id else { panic!("not of a broker") };
            controller.probed(Monotonic(ms), number, ProbeOutcome::Refused);
        }
        events.extend(controller.events());
    }
    let expected = [
        ControllerEvent::ConnectionRefused { node_id: BROKER },
        ControllerEvent::SessionOver { node_id: BROKER },
    ];
    assert_eq!(events, expected);
    assert_eq!(led(&controller), 0);
}
