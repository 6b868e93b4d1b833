//! What makes a client's producer idempotent (KIP-98): its sequence numbers, and the batch whose fate it does not know.
//!
//! One batch is on its way at a time. One that was not answered, or refused after it may have been written, is sent again
//! as it was, until it is acknowledged or the client gives it up; then the producer begins its next epoch (KIP-360).

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::ids::TopicPartition;

use crate::records;

/// A batch that may or may not be in the log.
#[derive(Debug, Clone)]
pub(super) struct Unknown {
    pub(super) partition: TopicPartition,
    pub(super) values: Vec<String>,
    pub(super) batch: Bytes,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Producer {
    id: i64,
    epoch: i16,
    /// The next sequence number of each partition.
    next: BTreeMap<TopicPartition, i32>,
    unknown: Option<Unknown>,
}

impl Producer {
    pub(super) fn new(id: i64) -> Self {
        Self { id, epoch: 0, next: BTreeMap::new(), unknown: None }
    }

    /// A new batch, to be sent now.
    pub(super) fn batch(&mut self, partition: TopicPartition, values: &[String], timestamp: i64) -> Bytes {
        let sequence = self.next.get(&partition).copied().unwrap_or(0);
        let batch = records::encode_sequenced(values, timestamp, (self.id, self.epoch, sequence));
        self.unknown = Some(Unknown { partition, values: values.to_vec(), batch: batch.clone() });
        batch
    }

    /// The batch that is to be sent again.
    pub(super) fn unknown(&self) -> Option<&Unknown> {
        self.unknown.as_ref()
    }

    /// The batch was acknowledged.
    pub(super) fn acknowledged(&mut self) {
        if let Some(Unknown { partition, values, .. }) = self.unknown.take() {
            let count = i32::try_from(values.len()).expect("batches are small");
            *self.next.entry(partition).or_default() += count;
        }
    }

    /// The batch will not be sent again. What may be in the log of it must not be followed by what comes next.
    pub(super) fn give_up(&mut self) -> Option<Unknown> {
        self.epoch += 1;
        self.next.clear();
        self.unknown.take()
    }
}

/// The padding of a value says nothing; the history goes without.
pub(crate) fn short(value: &str) -> String {
    value.trim_end_matches('x').to_owned()
}
