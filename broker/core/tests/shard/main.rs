//! A shard on the simulated disk: what is acknowledged, when, and what is left after a crash.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "helpers of tests stand outside of test functions"
)]

mod consumers;
mod futures;
mod producers;
mod remembering;
mod repair;
mod replication;
mod rig;
mod rot;
mod stories;
mod trouble;
