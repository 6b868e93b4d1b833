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
    /// Ticks without a leader before this node stands for election. Each voter of a cluster needs another
    /// number, or they can split the vote for ever: see [`QuorumConfig::new`].
    pub election_ticks: usize,
    /// How many bytes of entries stay in memory behind a snapshot, so that a follower that is only a little
    /// late gets entries and not a whole snapshot.
    pub kept_bytes: usize,
}

impl QuorumConfig {
    /// The defaults: heartbeats every 200 ms, elections after 1 s to 1.8 s. Nodes whose ids follow each other,
    /// as a cluster's do, get different time-outs, so that two of them do not stand at the same moment again
    /// and again.
    pub fn new(cluster_id: ClusterId, me: Peer) -> Self {
        let rank = usize::try_from(me.node_id.0.rem_euclid(5)).expect("a remainder of 5 is small");
        Self {
            cluster_id,
            me,
            bootstrap: Vec::new(),
            tick: Duration::from_millis(100),
            heartbeat_ticks: 2,
            election_ticks: ELECTION_TICKS_MIN + 2 * rank,
            kept_bytes: 1 << 20,
        }
    }
}

/// The least time-out of an election, and how long a leader may hear of no quorum before it steps down.
pub const ELECTION_TICKS_MIN: usize = 10;
