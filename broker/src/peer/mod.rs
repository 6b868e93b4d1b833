//! This node's way to the others.
//!
//! Owns: the connection to the active controller, over which admin requests are forwarded, and the senders
//! of raft messages. Everything here speaks through `ottla-client`; nothing here decides.

mod controller_client;
mod leader_connections;
mod raft_sender;

pub(crate) use controller_client::{ActiveController, ControllerClient};
pub(crate) use leader_connections::{LeaderConnection, LeaderConnections};
pub(crate) use raft_sender::RaftSenders;
