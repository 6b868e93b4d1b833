//! The active controller: what a request to change the cluster's metadata leads to.
//!
//! Owns: the decisions, one file per noun (decide: `&self` in, records and a reply out); [`state::Controller`],
//! which runs them against a speculative image and keeps the soft state that dies with leadership (sessions,
//! parked replies); [`node::ControllerNode`], which composes it with the metadata quorum into the one machine
//! that a driver runs. It knows nothing of Kafka's wire structs: `api/` of the binary maps them to
//! [`operation`]. Metadata changes only by `metadata/replay.rs`.
//!
//! An idle cluster writes nothing: there is no NoOp every 500 ms as in KRaft. Lag is measured by the offsets
//! that brokers report in their heartbeats and fetches, and liveness by raft's own heartbeats, so the records
//! would only wear out disks.

mod assignments;
mod brokers;
mod configs;
mod damaged;
mod directories;
mod draft;
mod elect_leaders;
mod election;
mod error;
mod failures;
mod features;
mod isr;
pub mod node;
pub mod operation;
mod partitions;
mod placement;
mod producer_ids;
mod quorum;
mod reassignment;
mod repeated;
mod replica_set;
mod safety;
mod schedule;
mod sessions;
pub mod state;
mod topics;

pub use error::OperationError;
pub use failures::{Probe, ProbeId, ProbeOutcome};
pub use features::supported_features;
pub use node::{ControllerNode, Effects, NodeConfig, NodeEvent, PersistOutcome};
pub use operation::{Operation, Reply, Ticket};
pub use state::{Controller, ControllerConfig};
