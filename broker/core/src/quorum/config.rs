//! How one member of the quorum behaves.

use std::time::Duration;

use super::identity::{Address, Peer};
use crate::ids::ClusterId;

/// How one voter behaves.
#[derive(Debug, Clone)]
pub struct QuorumConfig {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This controller, as it tells the others.
    pub me: Peer,
    /// Where controllers may be found by one that knows no voter table (`controller.quorum.bootstrap.servers`).
    pub bootstrap: Vec<Address>,
    /// The length of one tick.
    pub tick: Duration,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// What the random part of the time-outs of elections follows from. The binary draws it when it starts.
    pub seed: u64,
    /// How many bytes of entries stay in memory behind a snapshot, so that a follower that is only a little
    /// late gets entries and not a whole snapshot.
    pub kept_bytes: usize,
}

impl QuorumConfig {
    /// The defaults: heartbeats every 200 ms, elections after 1 s to 2 s (`patience.rs`).
    pub fn new(cluster_id: ClusterId, me: Peer, seed: u64) -> Self {
        Self {
            cluster_id,
            me,
            bootstrap: Vec::new(),
            tick: Duration::from_millis(100),
            heartbeat_ticks: 2,
            seed,
            kept_bytes: 1 << 20,
        }
    }
}
