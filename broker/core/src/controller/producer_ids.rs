//! Producer ids, handed to brokers in blocks: AllocateProducerIds (KIP-730).
//!
//! A block is the broker's once the record that takes it is committed, and never anybody else's: the next block
//! begins where the last record says, whoever is the active controller then. Ids that a broker does not use, since
//! it stopped or the reply was lost, are not used at all.

use super::error::OperationError;
use super::operation::{AllocateProducerIds, ProducerIdBlock, Reply};
use super::state::{Outcome, State};
use crate::ids::ProducerId;
use crate::metadata::record::{ProducerIds, Record};

impl State {
    /// AllocateProducerIds.
    pub(super) fn allocate_producer_ids(
        &self,
        request: &AllocateProducerIds,
    ) -> Result<Outcome, OperationError> {
        let AllocateProducerIds { node_id, epoch } = *request;
        let broker = self.image.brokers.get(&node_id).ok_or(OperationError::StaleBrokerEpoch { node_id })?;
        if broker.epoch != epoch {
            return Err(OperationError::StaleBrokerEpoch { node_id });
        }
        let first = self.image.next_producer_id;
        let count = ProducerIdBlock::COUNT;
        let next = first.0.checked_add(i64::from(count)).ok_or(OperationError::ProducerIdsExhausted)?;
        let record = Record::ProducerIds(ProducerIds { node_id, epoch, next: ProducerId(next) });
        let reply = Reply::AllocateProducerIds(ProducerIdBlock { first, count });
        Ok(Outcome { records: vec![record], reply })
    }
}
