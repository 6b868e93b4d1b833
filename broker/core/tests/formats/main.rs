//! The bytes of metadata records, snapshots, feeds and messages between controllers: they come back as they
//! went, the bytes of every release can still be read, and rubbish is refused without a panic.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fixtures;
mod hostile;
mod round_trips;
mod samples;
