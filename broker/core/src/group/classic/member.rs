//! A member of a classic group.

use std::time::Duration;

use bytes::Bytes;

use crate::group::ids::InstanceId;

/// What is known of a member. `T` is whom an answer goes to.
#[derive(Debug)]
pub(super) struct Member<T> {
    pub(super) instance: Option<InstanceId>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// What it could agree on, the best first, each with what the leader is to know.
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    /// It was in no generation yet.
    pub(super) is_new: bool,
    /// Its JoinGroup, until everybody has joined.
    pub(super) joining: Option<T>,
    /// Its SyncGroup, until the leader's assignments hold.
    pub(super) syncing: Option<T>,
}

impl<T> Member<T> {
    /// Whether it waits for the others: then it sends no heartbeats that matter.
    pub(super) fn is_waiting(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = T> + use<T> {
        [self.joining.take(), self.syncing.take()].into_iter().flatten()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What it says under a protocol.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let said = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        said.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}
