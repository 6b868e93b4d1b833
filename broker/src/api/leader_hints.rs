//! Who leads a partition now, told beside the error that it is not this broker (KIP-951): Produce and Fetch, whose
//! messages have types of their own for the same fields.

use ottla_core::ids::{LeaderEpoch, NodeId, TopicPartition};
use ottla_core::metadata::image::Endpoint;
use ottla_wire::messages::BrokerId;
use ottla_wire::protocol::StrBytes;

use super::Call;

/// The hints of one response.
pub(super) struct LeaderHints<'a> {
    call: &'a Call,
    /// Each leader that was hinted at and can be reached, once.
    reachable: Vec<(NodeId, Endpoint)>,
}

impl<'a> LeaderHints<'a> {
    pub(super) fn new(call: &'a Call) -> Self {
        Self { call, reachable: Vec::new() }
    }

    /// The leader of a partition and its epoch, for `current_leader`; `None` while nobody leads it.
    pub(super) fn of(&mut self, partition: TopicPartition) -> Option<(BrokerId, LeaderEpoch)> {
        let image = self.call.node.image();
        let hint = self.call.node.leader_hint(&image, partition, &self.call.context.listener.name)?;
        if let Some(endpoint) = hint.endpoint
            && !self.reachable.iter().any(|(known, _)| *known == hint.leader)
        {
            self.reachable.push((hint.leader, endpoint.clone()));
        }
        Some((BrokerId(hint.leader.0), hint.epoch))
    }

    /// Id, host and port of each leader hinted at, for `node_endpoints`.
    pub(super) fn endpoints(self) -> impl Iterator<Item = (BrokerId, StrBytes, i32)> {
        self.reachable.into_iter().map(|(leader, endpoint)| {
            (BrokerId(leader.0), StrBytes::from_string(endpoint.host), i32::from(endpoint.port))
        })
    }
}
