//! What a broker asks for, so that it can name producers.

use std::ops::Range;

use crate::ids::{BrokerEpoch, NodeId, ProducerId};

/// A broker asks for producer ids (AllocateProducerIds, key 67: KIP-730).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocateProducerIds {
    /// Who asks.
    pub node_id: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
}

/// Reply to [`AllocateProducerIds`]: ids that nobody else is ever given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first of them.
    pub first: ProducerId,
    /// How many there are.
    pub count: u32,
}

impl ProducerIdBlock {
    /// How many ids a broker is given at once, as in Kafka.
    pub const COUNT: u32 = 1_000;

    /// All of them.
    pub fn ids(self) -> Range<i64> {
        self.first.0..self.first.0.saturating_add(i64::from(self.count))
    }
}
