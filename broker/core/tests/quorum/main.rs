//! The metadata quorum and the active controller, several of them in one thread: messages are delivered by hand,
//! disks are the simulator's, time is a number.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod assignments;
mod bounds;
mod brokers;
mod chaos;
mod cordoned;
mod damaged;
mod directories;
mod elections;
mod isr;
mod leaders;
mod membership;
mod partitions;
mod producer_ids;
mod reassignment;
mod rig;
mod snapshots;
mod store;
mod topics;
mod voters;
mod walk;
