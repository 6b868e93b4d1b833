//! One connection that speaks Kafka's protocol, for peers, the operator and tests.
//!
//! [`Connection`] owns one socket: requests are pipelined, matched to responses by
//! correlation id, and written in the highest version both sides know. [`Admin`]
//! keeps one connection to any broker of a cluster. Neither knows about topics,
//! leaders or retries of operations: that is the caller's business.

mod address;
mod admin;
mod connection;
mod error;
mod negotiate;
mod stream;

pub use address::{AddressError, HostPort};
pub use admin::Admin;
pub use connection::{Answer, Connection, Options};
pub use error::{ClientError, CloseReason};
