//! One of each thing that has bytes, always the same.

use bytes::Bytes;
use ottla_core::config::Address;
use ottla_core::ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch,
    PartitionIndex, ProducerId, Term, TopicId, TopicName,
};
use ottla_core::metadata::image::{
    ConfigResource, Endpoint, FeatureRange, Fencing, Image, LeaderRecoveryState, Partition, Voter,
};
use ottla_core::metadata::record::{
    BrokerRegistrationChange, ConfigRecord, FeatureLevel, LeaderChange, PartitionChange, PartitionRecord,
    ProducerIds, Record, RegisterBroker, RemoveTopic, TopicRecord, UnregisterBroker, Voters,
};
use ottla_core::quorum::message::{Body, Chunk, Envelope};
use ottla_core::quorum::{Peer, SnapshotId};
use uuid::Uuid;

fn endpoint(listener: &str, port: u16) -> Endpoint {
    Endpoint { listener: listener.to_owned(), host: "pod-0.example".to_owned(), port, security_protocol: 0 }
}

fn directory(number: u128) -> DirectoryId {
    DirectoryId(Uuid::from_u128(number << 64))
}

fn topic() -> TopicId {
    TopicId(Uuid::from_u128(0x1234))
}

fn voters() -> Voters {
    let voter = |id: i32, number| Voter {
        node_id: NodeId(id),
        directory_id: directory(number),
        endpoints: vec![endpoint("CONTROLLER", 9090)],
    };
    Voters { voters: vec![voter(0, 10), voter(1, 11)], learners: vec![voter(1, 12)], ..Voters::default() }
}

fn partition() -> Partition {
    Partition {
        replicas: vec![NodeId(1), NodeId(2)],
        directories: vec![directory(1), DirectoryId::default()],
        isr: vec![NodeId(1)],
        adding: vec![NodeId(2)],
        removing: vec![NodeId(3)],
        elr: vec![NodeId(4)],
        last_known_elr: vec![NodeId(5)],
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(7),
        partition_epoch: PartitionEpoch(300),
        recovery: LeaderRecoveryState::Recovering,
    }
}

/// Records that can be replayed in this order, each kind at least once.
#[expect(clippy::too_many_lines, reason = "one sample for each kind of record")]
pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let name = TopicName::parse("orders.eu").unwrap();
    let broker = RegisterBroker {
        node_id: NodeId(1),
        incarnation_id: IncarnationId(Uuid::from_u128(77)),
        endpoints: vec![endpoint("PLAIN", 9092)],
        rack: Some("zone-a".to_owned()),
        directories: vec![directory(1)],
        features: vec![FeatureRange { name: "metadata.version".to_owned(), level_min: 7, level_max: 30 }],
        fencing: Fencing::Fenced,
        epoch: None,
        offline_directories: Vec::new(),
    };
    let change = PartitionChange {
        topic_id: topic(),
        index: PartitionIndex(0),
        replicas: Some(vec![NodeId(2), NodeId(1)]),
        directories: Some(vec![directory(2), directory(1)]),
        isr: Some(vec![NodeId(2)]),
        adding: Some(vec![]),
        removing: Some(vec![]),
        elr: Some(vec![NodeId(1)]),
        last_known_elr: Some(vec![]),
        leader: LeaderChange::Leader(NodeId(2)),
        recovery: Some(LeaderRecoveryState::Recovered),
    };
    let leaderless = PartitionChange {
        topic_id: topic(),
        index: PartitionIndex(0),
        leader: LeaderChange::Nobody,
        ..PartitionChange::default()
    };
    let config = |resource, value: Option<&str>| {
        let name = "retention.ms".to_owned();
        Record::Config(ConfigRecord { resource, name, value: value.map(str::to_owned) })
    };
    vec![
        ("ClusterId", Record::ClusterId(ClusterId(Uuid::from_u128(0xc0ffee)))),
        ("Voters", Record::Voters(voters())),
        (
            "FeatureLevel",
            Record::FeatureLevel(FeatureLevel { name: "metadata.version".to_owned(), level: 30 }),
        ),
        ("RegisterBroker", Record::RegisterBroker(broker.clone())),
        (
            "RegisterBroker-in-snapshot",
            Record::RegisterBroker(RegisterBroker {
                epoch: Some(BrokerEpoch(9)),
                fencing: Fencing::InControlledShutdown,
                rack: None,
                ..broker.clone()
            }),
        ),
        (
            "BrokerRegistrationChange",
            Record::BrokerRegistrationChange(BrokerRegistrationChange {
                node_id: NodeId(1),
                epoch: BrokerEpoch(9),
                fencing: Fencing::Unfenced,
                offline_directories: None,
            }),
        ),
        ("Topic", Record::Topic(TopicRecord { id: topic(), name: name.clone() })),
        (
            "Partition",
            Record::Partition(PartitionRecord {
                topic_id: topic(),
                index: PartitionIndex(0),
                partition: partition(),
            }),
        ),
        ("PartitionChange", Record::PartitionChange(change)),
        ("PartitionChange-without-leader", Record::PartitionChange(leaderless)),
        ("Config-topic", config(ConfigResource::Topic(name), Some("86400000"))),
        ("Config-broker", config(ConfigResource::Broker(NodeId(3)), Some("1"))),
        ("Config-brokers", config(ConfigResource::BrokerDefault, None)),
        (
            "ProducerIds",
            Record::ProducerIds(ProducerIds {
                node_id: NodeId(1),
                epoch: BrokerEpoch(9),
                next: ProducerId(3_000),
            }),
        ),
        ("NoOp", Record::NoOp),
        (
            "UnregisterBroker",
            Record::UnregisterBroker(UnregisterBroker { node_id: NodeId(1), epoch: BrokerEpoch(9) }),
        ),
        ("RemoveTopic", Record::RemoveTopic(RemoveTopic { id: topic() })),
        (
            "BrokerRegistrationChange-offline",
            Record::BrokerRegistrationChange(BrokerRegistrationChange {
                node_id: NodeId(1),
                epoch: BrokerEpoch(9),
                fencing: Fencing::Unfenced,
                offline_directories: Some(vec![directory(1)]),
            }),
        ),
        (
            "RegisterBroker-offline-in-snapshot",
            Record::RegisterBroker(RegisterBroker {
                epoch: Some(BrokerEpoch(9)),
                fencing: Fencing::Unfenced,
                offline_directories: vec![directory(1)],
                ..broker
            }),
        ),
    ]
}

/// An image of all of them but the removals.
pub(crate) fn image() -> Image {
    let mut image = Image::default();
    let records: Vec<Record> = records().into_iter().map(|(_, record)| record).take(14).collect();
    image.replay_entry(MetadataOffset(300), Term(4), &records).unwrap();
    image
}

/// Messages between controllers.
pub(crate) fn messages() -> Vec<(&'static str, Envelope)> {
    let envelope = |to, body| Envelope {
        cluster_id: ClusterId(Uuid::from_u128(0xc0ffee)),
        from: Peer {
            node_id: NodeId(0),
            directory_id: directory(10),
            address: Address { host: "pod-0.example".to_owned(), port: 9090 },
        },
        to,
        body,
    };
    let id = SnapshotId { offset: MetadataOffset(300), term: Term(4) };
    let chunk = Chunk { id, size: 5_000, position: 1_000, bytes: Bytes::from_static(b"part") };
    vec![
        ("Join", envelope(DirectoryId::default(), Body::Join)),
        ("SnapshotRequest", envelope(directory(11), Body::SnapshotRequest { id, position: 1_000 })),
        ("SnapshotChunk", envelope(directory(11), Body::SnapshotChunk(chunk))),
        ("Append", envelope(directory(11), Body::Raft(Box::new(raft::append())))),
        ("Snapshot", envelope(directory(11), Body::Raft(Box::new(raft::snapshot())))),
        ("VoteResponse", envelope(directory(11), Body::Raft(Box::new(raft::vote_response())))),
    ]
}

mod raft {
    use ::raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};
    use bytes::Bytes;

    fn message(kind: MessageType) -> Message {
        // Sender and receiver follow from the directories of the envelope.
        let mut message = Message { from: 10, to: 11, term: 5, ..Message::default() };
        message.set_msg_type(kind);
        message
    }

    pub(super) fn append() -> Message {
        let mut message = message(MessageType::MsgAppend);
        (message.index, message.log_term, message.commit) = (41, 4, 41);
        let plain = Entry { term: 5, index: 42, data: Bytes::from_static(b"batch"), ..Entry::default() };
        let mut voters =
            Entry { term: 5, index: 43, context: Bytes::from_static(b"voters"), ..Entry::default() };
        voters.set_entry_type(EntryType::EntryConfChangeV2);
        message.set_entries(vec![plain, voters].into());
        message
    }

    pub(super) fn snapshot() -> Message {
        let mut message = message(MessageType::MsgSnapshot);
        let mut snapshot = Snapshot::default();
        (snapshot.mut_metadata().index, snapshot.mut_metadata().term) = (300, 4);
        snapshot.mut_metadata().set_conf_state(ConfState::from((vec![10, 11], vec![12])));
        message.set_snapshot(snapshot);
        message
    }

    pub(super) fn vote_response() -> Message {
        let mut message = message(MessageType::MsgRequestVoteResponse);
        message.reject = true;
        (message.commit, message.commit_term) = (41, 4);
        message
    }
}
