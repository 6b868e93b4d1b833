//! Where a client reads: from the leader, or from the replica that a leader sent it to (KIP-392).

use std::collections::BTreeMap;

use ottla_core::ids::{NodeId, TopicPartition};

/// The rack that a node stands in, where they stand in any.
pub(super) fn rack_of(node: NodeId) -> String {
    format!("rack-{node}")
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Nearest {
    /// Whether it says in which rack it stands.
    reads_near: bool,
    preferred: BTreeMap<TopicPartition, NodeId>,
}

impl Nearest {
    pub(super) fn new(reads_near: bool) -> Self {
        Self { reads_near, preferred: BTreeMap::new() }
    }

    /// Whom a client asks, and in which rack it says that it stands: that of the node of its number.
    pub(super) fn place(
        &self,
        (partition, leader): (TopicPartition, NodeId),
        client: u32,
        nodes: &[NodeId],
    ) -> (NodeId, Option<String>) {
        let place = usize::try_from(client).unwrap_or(0) % nodes.len();
        let rack = self.reads_near.then(|| rack_of(nodes[place]));
        (self.preferred.get(&partition).copied().unwrap_or(leader), rack)
    }

    /// A leader named this replica, or nobody named any.
    pub(super) fn told(&mut self, partition: TopicPartition, preferred: Option<NodeId>) {
        self.preferred.extend(preferred.map(|preferred| (partition, preferred)));
    }

    /// It did not answer, or not with records: the leader is asked again.
    pub(super) fn forget(&mut self, partition: TopicPartition) {
        self.preferred.remove(&partition);
    }
}
