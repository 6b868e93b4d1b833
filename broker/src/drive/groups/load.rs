//! What a coordinator's host wants to know of its partition.

use bytes::Bytes;
use ottla_core::group::Unreadable;
use ottla_core::group::record::GroupRecord;
use ottla_core::ids::{LeaderEpoch, Offset, TopicPartition};
use ottla_core::partition::{PartitionError, ReadFrom};
use ottla_core::replication::recovery::Behind;
use ottla_core::shard::FetchPosition;
use ottla_wire::batch::{Batches, HEADER_BYTES, Records, records};
use tokio::sync::watch;
use tracing::{debug, error};

use crate::drive::shard::{FetchItem, OffsetTarget, ReadBy, Shards};

/// So much is read at once.
const READ_BYTES: u32 = 1 << 20;

/// A batch holds no more than this, whatever its codec makes of it: what a coordinator writes is a hundredth of that.
const DECOMPRESSED_BYTES_MAX: u32 = 128 << 20;

/// A partition of `__consumer_offsets`, as its leader sees it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) partition: TopicPartition,
    /// It goes on while this broker leads in one epoch after the other.
    pub(super) epochs: watch::Receiver<LeaderEpoch>,
    pub(super) shards: Shards,
}

impl Source {
    /// In which epoch this broker leads it.
    pub(super) fn epoch(&self) -> LeaderEpoch {
        *self.epochs.borrow()
    }

    /// Where its log begins and ends.
    pub(super) async fn bounds(&self) -> Result<(Offset, Offset), Unreadable> {
        let (partition, epoch, shards) = (self.partition, self.epoch(), &self.shards);
        let end = shards.end_of_epoch(partition, Some(epoch), epoch).await;
        let start = shards.list_offset(partition, Some(epoch), OffsetTarget::Earliest).await;
        let end = self.known(end)?.map(|end| end.end);
        let start = self.known(start)?.offset;
        // Nobody has written in any epoch: there is nothing to read.
        Ok((start.unwrap_or_default(), end.or(start).unwrap_or_default()))
    }

    /// Up to where records are committed.
    pub(super) async fn committed(&self) -> Result<Option<Offset>, Unreadable> {
        let found = self.shards.list_offset(self.partition, Some(self.epoch()), OffsetTarget::Latest).await;
        match found {
            Err(PartitionError::OffsetNotAvailable) => Ok(None),
            found => self.known(found).map(|found| found.offset),
        }
    }

    /// Records from here on, and where it goes on after them.
    pub(super) async fn read(&self, from: Offset) -> Result<(Vec<GroupRecord>, Option<Offset>), Unreadable> {
        let item = FetchItem {
            partition: self.partition,
            from: FetchPosition { offset: from, epoch: Some(self.epoch()), last_fetched_epoch: None },
            max_bytes: READ_BYTES,
            read_by: ReadBy::Consumer(ReadFrom::Leader),
            withheld: false,
            behind: Behind::Served,
        };
        let fetched = self.shards.fetch(&[item], None, READ_BYTES).await.pop();
        let fetched = self.known(fetched.unwrap_or(Err(PartitionError::NotLeader)))?;
        decode(&fetched.records, from)
    }

    /// The largest batch that may be written to it.
    pub(super) fn batch_bytes_max(&self) -> usize {
        let config = self.shards.config(self.partition);
        let bytes = config.map_or(u64::MAX, |config| config.batch_size_max.0.min(config.segment_size_max.0));
        usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(HEADER_BYTES)
    }

    fn known<R>(&self, found: Result<R, PartitionError>) -> Result<R, Unreadable> {
        found.map_err(|error| {
            debug!(partition = self.partition.partition.0, %error, "groups cannot be read yet");
            Unreadable
        })
    }
}

/// The records of whole batches from an offset on, and where it goes on after them. A record of groups that says nothing is
/// passed over: nobody can mend it, and the groups beside it are needed.
///
/// # Errors
/// If a batch cannot be read: what is in it may be anybody's.
fn decode(bytes: &Bytes, from: Offset) -> Result<(Vec<GroupRecord>, Option<Offset>), Unreadable> {
    let (mut found, mut next) = (Vec::new(), None);
    for batch in Batches::new(bytes) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(flaw) => {
                error!(%flaw, from = from.0, "a batch of groups cannot be read");
                return Err(Unreadable);
            }
        };
        let header = &batch.header;
        next = Some(Offset(header.base_offset + i64::from(header.last_offset_delta) + 1));
        if header.attributes.is_control() {
            continue;
        }
        let payload = match records(&batch, DECOMPRESSED_BYTES_MAX) {
            Ok(payload) => payload,
            Err(flaw) => {
                error!(%flaw, offset = header.base_offset, "a batch of groups cannot be decompressed");
                return Err(Unreadable);
            }
        };
        for record in Records::new(&payload, header.record_count) {
            let Ok(record) = record else {
                error!(offset = header.base_offset, "a batch of groups ends inside a record");
                return Err(Unreadable);
            };
            let offset = Offset(header.base_offset + i64::from(record.offset_delta));
            let Some(key) = record.key.filter(|_| offset >= from) else { continue };
            match GroupRecord::decode(key, record.value) {
                Ok(Some(record)) => found.push(record),
                // Of a protocol that this release does not know.
                Ok(None) => {}
                Err(error) => error!(%error, offset = offset.0, "a record of groups cannot be read"),
            }
        }
    }
    Ok((found, next))
}
