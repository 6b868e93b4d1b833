//! Kafka's wire protocol: bytes in, bytes out.
//!
//! This crate owns frames, headers, the message types, the private RPCs between
//! Ottla's nodes and record batches. It does no I/O, keeps no clock and knows
//! nothing of brokers; everything in it is a function of its arguments. Whatever
//! arrives from a peer is treated as hostile: it is refused with a typed error,
//! never with a panic, and it never decides how much is allocated.
//!
//! Where to go next: [`frame`] cuts a byte stream into frames, [`request`] reads
//! what a client sent, [`response`] writes the answer, [`fetch_response`] writes
//! Fetch answers without copying records, [`private`] holds our own RPCs,
//! [`batch`] is about what Produce and Fetch carry.

pub mod batch;
pub mod broker_heartbeat;
pub mod error;
pub mod fetch_response;
pub mod frame;
pub mod private;
pub mod replica_fetch;
pub mod request;
pub mod response;
pub mod version;

mod guard;
mod varint;

pub use kafka_protocol::{ResponseError, messages, protocol};
