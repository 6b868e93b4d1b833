use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::ids::{BrokerEpoch, IncarnationId};
use crate::metadata::image::{Broker, Endpoint, Fencing};

const PEERS: &str = "REPLICATION";

fn broker(id: i32, fencing: Fencing) -> Broker {
    let endpoint = |listener: &str, port| Endpoint {
        listener: listener.to_owned(),
        host: format!("broker-{id}"),
        port,
        security_protocol: 0,
    };
    Broker {
        node_id: NodeId(id),
        epoch: BrokerEpoch(1),
        incarnation_id: IncarnationId(Uuid::from_u128(1)),
        endpoints: vec![endpoint("PLAIN", 9092), endpoint(PEERS, 9091)],
        rack: None,
        directories: Vec::new(),
        offline_directories: Vec::new(),
        features: Vec::new(),
        fencing,
    }
}

fn number(probe: &Probe) -> u64 {
    match probe.id {
        ProbeId::Broker(number) => number,
        ProbeId::Leader(_) => panic!("brokers are probed here"),
    }
}

fn image(fencings: &[Fencing]) -> Image {
    let mut image = Image::default();
    for (id, fencing) in (1..).zip(fencings) {
        image.brokers.insert(NodeId(id), Arc::new(broker(id, *fencing)));
    }
    image
}

fn serving(count: usize) -> Image {
    image(&vec![Fencing::Unfenced; count])
}

/// Lets time pass to `until`, with brokers of the first list heard and those of the second refusing. Gives who is
/// found dead, and when.
fn pass(
    detector: &mut FailureDetector,
    image: &Image,
    times: std::ops::Range<u64>,
    heard: &[i32],
    refusing: &[i32],
) -> Option<(u64, NodeId)> {
    for ms in times.step_by(100) {
        let now = Monotonic(ms);
        heard.iter().for_each(|id| detector.heard(now, NodeId(*id)));
        for probe in detector.probes(now, image, PEERS) {
            let refused = refusing.contains(&probe.node_id.0);
            let outcome = if refused { ProbeOutcome::Refused } else { ProbeOutcome::Unknown };
            detector.probed(now, number(&probe), outcome);
        }
        if let Some(id) = detector.dead(now, image) {
            return Some((ms, id));
        }
    }
    None
}

#[test]
fn a_broker_that_is_gone_is_found_within_a_second() {
    let (mut detector, image) = (FailureDetector::default(), serving(3));
    assert_eq!(pass(&mut detector, &image, 0..5_000, &[1, 2, 3], &[]), None);
    assert_eq!(pass(&mut detector, &image, 5_000..20_000, &[1, 3], &[2]), Some((5_800, NodeId(2))));
}

#[test]
fn a_broker_that_is_heard_is_never_probed() {
    let (mut detector, image) = (FailureDetector::default(), serving(1));
    for ms in (0..10_000).step_by(500) {
        detector.heard(Monotonic(ms), NodeId(1));
        assert_eq!(detector.probes(Monotonic(ms + 499), &image, PEERS), []);
    }
}

#[test]
fn silence_without_a_refusal_is_no_death() {
    let (mut detector, image) = (FailureDetector::default(), serving(2));
    assert_eq!(pass(&mut detector, &image, 0..60_000, &[1], &[]), None);
}

#[test]
fn one_refusal_is_not_enough_and_an_accepted_connection_begins_anew() {
    let (mut detector, image) = (FailureDetector::default(), serving(1));
    let mut outcomes = [ProbeOutcome::Refused, ProbeOutcome::Unknown].into_iter().cycle();
    for ms in (0..10_000).step_by(100) {
        let now = Monotonic(ms);
        for probe in detector.probes(now, &image, PEERS) {
            detector.probed(now, number(&probe), outcomes.next().expect("it goes round"));
        }
        assert_eq!(detector.dead(now, &image), None);
    }
}

#[test]
fn a_new_active_controller_finds_the_one_that_died_with_the_last_at_once() {
    let (mut detector, image) = (FailureDetector::default(), serving(3));
    assert_eq!(pass(&mut detector, &image, 7_000..8_000, &[1, 2], &[3]), Some((7_100, NodeId(3))));
}

#[test]
fn several_that_are_lost_at_once_have_the_whole_of_their_sessions() {
    let (mut detector, image) = (FailureDetector::default(), serving(3));
    assert_eq!(pass(&mut detector, &image, 0..60_000, &[1], &[2, 3]), None);
    // One of them is heard again: the other is alone now.
    assert_eq!(pass(&mut detector, &image, 60_000..61_000, &[1, 2], &[3]), Some((60_000, NodeId(3))));
}

#[test]
fn one_of_two_that_refuse_is_not_dead_because_it_was_asked_first() {
    let (mut detector, image) = (FailureDetector::default(), serving(3));
    detector.heard(Monotonic(0), NodeId(1));
    for ms in [0, 100, 200] {
        for probe in detector.probes(Monotonic(ms), &image, PEERS) {
            detector.probed(Monotonic(ms), number(&probe), ProbeOutcome::Refused);
            assert_eq!(detector.dead(Monotonic(ms), &image), None, "{ms}");
        }
    }
}

#[test]
fn of_several_that_die_one_after_the_other_only_the_first_is_hastened() {
    let mut detector = FailureDetector::default();
    assert_eq!(pass(&mut detector, &serving(3), 0..500, &[1, 2], &[3]), Some((100, NodeId(3))));
    detector.hastened(NodeId(3), Monotonic(4_000));
    let fenced = image(&[Fencing::Unfenced, Fencing::Unfenced, Fencing::Fenced]);
    assert_eq!(pass(&mut detector, &fenced, 500..8_000, &[1], &[2]), Some((4_000, NodeId(2))));
}

#[test]
fn a_broker_that_came_back_leaves_the_next_one_to_be_found() {
    let mut detector = FailureDetector::default();
    assert_eq!(pass(&mut detector, &serving(3), 0..500, &[1, 2], &[3]), Some((100, NodeId(3))));
    detector.hastened(NodeId(3), Monotonic(4_000));
    detector.heard(Monotonic(700), NodeId(3));
    assert_eq!(pass(&mut detector, &serving(3), 700..3_000, &[1, 3], &[2]), Some((1_000, NodeId(2))));
}

#[test]
fn a_broker_that_is_out_of_service_is_left_alone() {
    let (mut detector, image) = (FailureDetector::default(), image(&[Fencing::Fenced]));
    assert_eq!(detector.probes(Monotonic(10_000), &image, PEERS), []);
}

#[test]
fn an_answer_that_a_sign_of_life_overtook_means_nothing() {
    let (mut detector, image) = (FailureDetector::default(), serving(1));
    let probes = detector.probes(Monotonic(0), &image, PEERS);
    let [probe] = &probes[..] else { panic!("one broker") };
    assert_eq!(detector.probes(Monotonic(5_000), &image, PEERS), [], "one probe at a time");
    detector.heard(Monotonic(5_000), NodeId(1));
    detector.probed(Monotonic(5_001), number(probe), ProbeOutcome::Refused);
    let probes = detector.probes(Monotonic(6_000), &image, PEERS);
    detector.probed(Monotonic(6_000), number(&probes[0]), ProbeOutcome::Refused);
    assert_eq!(detector.dead(Monotonic(6_000), &image), None, "that was the first refusal");
}

#[test]
fn brokers_are_probed_where_they_meet_and_else_where_clients_are() {
    let image = serving(1);
    let port = |listener| FailureDetector::default().probes(Monotonic(0), &image, listener)[0].address.port;
    assert_eq!((port(PEERS), port("ELSEWHERE")), (9091, 9092));
}
