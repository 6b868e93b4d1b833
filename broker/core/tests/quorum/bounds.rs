//! What a member holds is not for its peers to decide.

use bytes::Bytes;
use ottla_core::ids::{DirectoryId, NodeId};
use ottla_core::metadata::record::Voters;
use ottla_core::quorum::machine::{ENTRY_BYTES_MAX, UNPERSISTED_BYTES_MAX};
use ottla_core::quorum::message::{Body, Envelope};
use ottla_core::quorum::{Peer, Quorum, QuorumConfig, RaftStore};
use ottla_core::time::Monotonic;
use ottla_sim::disk::SimDisk;
use ottla_sim::rng::Rng;
use raft::eraftpb::{Entry, Message, MessageType};

use crate::rig::{CLUSTER, DIRECTORY, address, directory, voter};

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
    RaftStore::format(&disk, DIRECTORY, CLUSTER, Some(&Voters { voters, learners: Vec::new() })).unwrap();
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
