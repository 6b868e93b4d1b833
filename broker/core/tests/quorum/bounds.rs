//! What a member holds is not for its peers to decide.

use std::time::Duration;

use bytes::Bytes;
use ottla_core::controller::operation::{FetchMetadata, FetchedMetadata, RestartSafety, Ticket};
use ottla_core::controller::{Operation, OperationError, Reply};
use ottla_core::ids::{DirectoryId, MetadataOffset, NodeId};
use ottla_core::metadata::feed::decode_feed;
use ottla_core::metadata::record::Voters;
use ottla_core::quorum::machine::{ENTRY_BYTES_MAX, UNPERSISTED_BYTES_MAX};
use ottla_core::quorum::message::{Body, Envelope, MESSAGE_BYTES_MAX};
use ottla_core::quorum::{Peer, Quorum, QuorumConfig, RaftId, RaftStore};
use ottla_core::time::Monotonic;
use ottla_sim::disk::SimDisk;
use ottla_sim::rng::Rng;
use raft::eraftpb::{Entry, Message, MessageType};

use crate::rig::{CLUSTER, Cluster, DIRECTORY, address, create, directory, voter};

const NOW: Monotonic = Monotonic(1_000);

fn directory_of(id: i32) -> DirectoryId {
    directory(u128::try_from(id).unwrap() + 1)
}

fn peer(id: i32) -> Peer {
    Peer { node_id: NodeId(id), directory_id: directory_of(id), address: address(NodeId(id)) }
}

/// Node 0 of a quorum.
fn member(voters: i32) -> Quorum {
    let voters = (0..voters).map(|id| voter(NodeId(id), directory_of(id))).collect();
    let disk = SimDisk::new(Rng::new(1));
    RaftStore::format(&disk, DIRECTORY, CLUSTER, Some(&Voters { voters, ..Voters::default() })).unwrap();
    let (_, recovered) = RaftStore::open(disk, DIRECTORY, directory_of(0)).unwrap();
    Quorum::open(recovered, QuorumConfig::new(CLUSTER, peer(0), 1), NOW).unwrap()
}

/// As it arrives: raft's ids of sender and receiver come from the envelope.
fn from(id: i32, body: Body) -> Envelope {
    let envelope = Envelope { cluster_id: CLUSTER, from: peer(id), to: directory_of(0), body };
    Envelope::decode(&envelope.encode()).unwrap()
}

fn raft(kind: MessageType) -> Message {
    let mut message = Message { term: 5, ..Message::default() };
    message.set_msg_type(kind);
    message
}

fn largest_entry() -> Bytes {
    Bytes::from(vec![0; ENTRY_BYTES_MAX])
}

#[test]
fn a_leader_whose_disk_hangs_refuses_proposals_at_a_limit() {
    let mut quorum = member(1);
    while let Some(persist) = quorum.ready().persist {
        quorum.persisted(persist.number);
    }
    assert!(quorum.leads());
    let (payload, mut taken, mut last) = (largest_entry(), 0, None);
    for number in 0..20 {
        taken += quorum.propose(payload.clone()).map_or(0, |_| payload.len());
        if number % 3 == 0 {
            last = quorum.ready().persist.map(|persist| persist.number).or(last);
        }
    }
    assert_eq!(taken, UNPERSISTED_BYTES_MAX);
    last = quorum.ready().persist.map(|persist| persist.number).or(last);
    quorum.persisted(last.unwrap());
    quorum.propose(payload).expect("there is room again");
}

#[test]
fn a_follower_whose_disk_hangs_takes_entries_up_to_a_limit() {
    let mut quorum = member(3);
    let (payload, mut last) = (largest_entry(), None);
    for index in 1..20 {
        let mut message = raft(MessageType::MsgAppend);
        (message.index, message.log_term) = (index, if index == 1 { 1 } else { 5 });
        let entry = Entry { term: 5, index: index + 1, data: payload.clone(), ..Entry::default() };
        message.set_entries(vec![entry].into());
        quorum.step(NOW, from(1, Body::Raft(Box::new(message))));
        last = quorum.ready().persist.map(|persist| persist.number).or(last);
    }
    let entries = UNPERSISTED_BYTES_MAX / ENTRY_BYTES_MAX;
    assert_eq!(quorum.last().0, 1 + entries as u64);
}

#[test]
fn strangers_are_not_counted_as_alive_and_get_no_snapshot() {
    let mut quorum = member(3);
    let id = quorum.latest_snapshot().unwrap();
    let request = || Body::SnapshotRequest { id, position: 0 };
    for stranger in 3..10 {
        quorum.step(NOW, from(stranger, Body::Raft(Box::new(raft(MessageType::MsgRequestPreVote)))));
        assert!(!quorum.heard_lately(RaftId::of(directory_of(stranger)).unwrap()));
        quorum.ready();
        quorum.step(NOW, from(stranger, request()));
        assert_eq!(quorum.ready().send, []);
    }
    quorum.step(NOW, from(1, Body::Raft(Box::new(raft(MessageType::MsgRequestPreVote)))));
    assert!(quorum.heard_lately(RaftId::of(directory_of(1)).unwrap()));
    quorum.step(NOW, from(1, request()));
    assert!(!quorum.ready().send.is_empty());
}

#[test]
fn a_message_that_no_peer_sends_is_not_read() {
    let error = Envelope::decode(&vec![0; MESSAGE_BYTES_MAX + 1]).unwrap_err();
    assert!(error.to_string().contains("message length"), "{error}");
}

fn observers(cluster: &mut Cluster) -> Vec<NodeId> {
    let Ok(Reply::DescribeQuorum(quorum)) = cluster.call(NodeId(0), Operation::DescribeQuorum) else {
        panic!("refused")
    };
    quorum.observers.iter().map(|observer| observer.node_id).collect()
}

#[test]
fn a_broker_that_is_long_gone_is_no_observer_any_more() {
    let mut cluster = Cluster::started(1);
    for broker in [7, 8] {
        cluster.start_broker(NodeId(broker), 1);
    }
    cluster.pass(1_000);
    assert_eq!(observers(&mut cluster), [NodeId(7), NodeId(8)]);
    cluster.brokers.remove(&NodeId(7));
    cluster.pass(290_000);
    assert_eq!(observers(&mut cluster), [NodeId(7), NodeId(8)]);
    cluster.pass(10_000);
    assert_eq!(observers(&mut cluster), [NodeId(8)]);
}

#[test]
fn reads_that_wait_for_the_quorum_have_a_limit() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    cluster.pass(1_000);
    cluster.isolate(active);
    let mut ask = || cluster.ask(active, Operation::RestartSafety(RestartSafety { nodes: Vec::new() }));
    let waiting: Vec<_> = (0..1_000).map(|_| ask()).collect();
    let refused = ask();
    assert!(waiting.iter().all(|ticket| cluster.reply(active, *ticket).is_none()));
    let reply = cluster.reply(active, refused);
    assert!(matches!(reply, Some(Err(OperationError::NotController { .. }))), "{reply:?}");
}

fn fetch(node_id: i32, after: MetadataOffset, wait_max: Duration) -> Operation {
    Operation::FetchMetadata(FetchMetadata {
        node_id: NodeId(node_id),
        after,
        wait_max,
        bytes_max: usize::MAX,
    })
}

/// As many fetches as may wait, by nobody that is registered, each for as long as it can ask for.
fn crowd(cluster: &mut Cluster, active: NodeId) -> Vec<Ticket> {
    let wait_max = Duration::from_millis(u32::MAX.into());
    let ids = 1_000..2_000;
    ids.map(|id| cluster.ask(active, fetch(id, MetadataOffset(1 << 60), wait_max))).collect()
}

#[test]
fn a_crowd_of_strangers_keeps_no_broker_from_the_metadata() {
    let mut cluster = Cluster::started(1);
    let active = cluster.wait_active();
    cluster.broker_up(active, NodeId(5));
    crowd(&mut cluster, active);
    let after = cluster.image(active).offset;
    let waiting = cluster.ask(active, fetch(5, after, Duration::from_millis(500)));
    assert_eq!(cluster.reply(active, waiting), None, "it waits for news");
    assert!(observers(&mut cluster).contains(&NodeId(5)));
    cluster.call(active, create("a", 1, 1)).unwrap();
    let heard = cluster.reply(active, waiting);
    let Some(Ok(Reply::FetchMetadata(FetchedMetadata::Entries { bytes, .. }))) = heard else {
        panic!("{heard:?}")
    };
    assert_eq!(decode_feed(bytes).unwrap()[0].offset.0, after.0 + 1);
}

#[test]
fn a_fetch_for_which_there_is_no_room_to_wait_is_answered_at_once() {
    let mut cluster = Cluster::started(1);
    let active = cluster.wait_active();
    crowd(&mut cluster, active);
    let after = cluster.image(active).offset;
    let stranger = cluster.ask(active, fetch(7, after, Duration::from_millis(500)));
    let reply = cluster.reply(active, stranger);
    assert!(matches!(reply, Some(Ok(Reply::FetchMetadata(_)))), "{reply:?}");
}

#[test]
fn a_fetch_waits_no_longer_than_a_broker_would() {
    let mut cluster = Cluster::started(1);
    let active = cluster.wait_active();
    let crowd = crowd(&mut cluster, active);
    assert!(crowd.iter().all(|ticket| cluster.reply(active, *ticket).is_none()));
    cluster.pass(550);
    assert!(crowd.iter().all(|ticket| cluster.reply(active, *ticket).is_some()));
}

#[test]
fn a_fetch_is_answered_with_no_more_than_a_broker_would_ask_for() {
    let mut cluster = Cluster::started(1);
    let active = cluster.wait_active();
    cluster.broker_up(active, NodeId(5));
    let (mut after, mut sizes) = (cluster.image(active).offset, Vec::new());
    for topic in 0..5 {
        cluster.call(active, create(&format!("topic-{topic}"), topic, 5_000)).unwrap();
    }
    while after < cluster.image(active).offset {
        let reply = cluster.call(active, fetch(5, after, Duration::ZERO));
        let Ok(Reply::FetchMetadata(FetchedMetadata::Entries { bytes, .. })) = reply else {
            panic!("{reply:?}")
        };
        sizes.push(bytes.len());
        after = decode_feed(&bytes).unwrap().last().unwrap().offset;
    }
    assert!(sizes.iter().sum::<usize>() > 1 << 20, "{sizes:?}");
    // What stands around the entries comes on top.
    assert!(sizes.iter().all(|size| *size <= (1 << 20) + 1_000), "{sizes:?}");
}
