//! The log on the simulated disk: what it stores, and what survives a crash at every step.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod rig;
mod storing;
