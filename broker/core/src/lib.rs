//! Every decision of the broker and of the controller, without IO.
//!
//! Nothing here reads a clock, opens a socket, starts a thread or draws from the operating system's
//! randomness: time, identifiers and bytes are arguments, effects are return values. The same code runs
//! in the binary (`ottla`) and in the simulator (`ottla-sim`). Bytes reach a disk through one narrow
//! trait, [`disk::Disk`].

pub mod config;
pub mod controller;
pub mod disk;
pub mod group;
pub mod ids;
pub mod lifecycle;
pub mod log;
pub mod metadata;
pub mod partition;
pub mod planted;
pub mod producer_ids;
pub mod quorum;
mod refusals;
pub mod release;
pub mod replicas;
pub mod replication;
pub mod shard;
pub mod time;
