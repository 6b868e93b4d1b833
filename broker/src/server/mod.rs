//! Listeners and connections: bytes to requests and replies to bytes, in order, within limits.
//!
//! Owns sockets, frames, the order of replies, the memory budget and back-pressure. Knows of requests only
//! that the API table serves them.

pub(crate) mod connection;
mod frame_reader;
pub(crate) mod listener;
pub(crate) mod memory;
pub(crate) mod refusals;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
