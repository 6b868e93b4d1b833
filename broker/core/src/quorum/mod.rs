//! The metadata quorum: one raft group among the controllers (decisions 1 to 3).
//!
//! Owns: who the voters are and how they address each other ([`identity`], [`message`]); the raft machine
//! ([`machine::Quorum`], step/ready around the crate `raft`); what a voter keeps on its disk ([`store`]); and
//! snapshots ([`snapshot`]). It knows nothing of topics or brokers: an entry is a payload of bytes, and only a
//! change of voters is looked into. `controller` decides what to propose and composes everything into one
//! machine, `controller::node::ControllerNode`.
//!
//! Rules that hold here:
//! - A voter is a pair of node id and directory id. Its raft id is drawn from the directory id alone, so a disk
//!   that was wiped is another voter and can never vote as its old self.
//! - What a message promises is durable before the message leaves: a vote, an append's acknowledgement.
//! - The crate's protobuf never reads a byte that came from outside this process.

mod config;
mod effects;
mod frame;
mod guard;
pub mod identity;
mod leader_watch;
mod log;
pub mod machine;
mod members;
pub mod message;
mod patience;
pub mod snapshot;
pub mod store;
mod transfer;

pub use guard::Refusal;
pub use identity::{Peer, RaftId};
pub use machine::{Quorum, QuorumConfig};
pub use snapshot::SnapshotId;
pub use store::{RaftStore, Recovered};
