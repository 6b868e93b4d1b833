//! A shard on the simulated disk: what is acknowledged, when, and what is left after a crash.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod rig;
mod stories;
