//! The log on the simulated disk: what it stores, and what survives a crash at every step.

#![allow(
    clippy::panic,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

mod committing;
mod crashing;
mod damage;
mod futures;
mod looking;
mod model;
mod producers;
mod rig;
mod starving;
mod storing;
