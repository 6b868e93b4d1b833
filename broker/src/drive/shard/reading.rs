//! Fetching: the shard says where the records lie, whoever asked reads them.
//!
//! A plan is made on the shard's thread without waiting for the disk: if an index or a batch's header is not in
//! the page cache, a thread that reads brings it there and the shard is asked again. The records themselves are
//! read by the connection's task, or by that thread. Between the plan and the read a log may be removed with
//! its topic; so before a read that finds nothing fails the directory, the shard looks again. So it does where the
//! checksums of what was read are wrong: a leader with such a batch makes way for another replica.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use ottla_core::log::find_rot;
use ottla_core::partition::PartitionError;
use ottla_core::shard::Located;
use tokio::sync::oneshot;

use super::handle::{FetchItem, FetchResult, Fetched, Message, Near, Shards};
use crate::disk::{Missed, RealFile, without_waiting};

/// Where the records of one partition lie.
pub(super) type LocateResult = Result<Located<RealFile>, PartitionError>;

/// What one Fetch may still take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) bytes: u32,
    /// Whether the next partition with data yields a whole batch, however large (rule 46).
    pub(super) first: bool,
}

/// How often a shard was asked the same without waiting. What was brought into the page cache may be pushed out
/// again before it is looked at; a lookup of a few reads that misses so often waits in the end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tries(u8);

const TRIES_MAX: u8 = 16;

impl Tries {
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Looks something up.
    pub(super) fn read<R>(self, reads: impl FnOnce() -> R) -> (R, Option<Missed>) {
        if self.0 < TRIES_MAX { without_waiting(reads) } else { (reads(), None) }
    }
}

impl Allowance {
    /// Takes what a partition yields off.
    pub(super) fn spend(&mut self, length: u32) {
        self.bytes = self.bytes.saturating_sub(length);
        self.first &= length == 0;
    }
}

impl Shards {
    /// Reads every item, in order, `max_bytes` in all; one result for each item. Of a consumer's items those are not read
    /// here that one of the brokers `near` it has, too.
    pub(crate) async fn fetch(
        &self,
        items: &[FetchItem],
        near: Option<&Near>,
        max_bytes: u32,
    ) -> Vec<FetchResult> {
        // Newer metadata may arrive while the answer to older is on its way, and the process may stand still.
        let doubtful = self.is_doubtful();
        let results = self.fetch_as_known(items, near, max_bytes).await;
        if !doubtful && !self.is_doubtful() {
            return results;
        }
        let in_doubt = |result: FetchResult| match result {
            Ok(fetched) => fetched.of_doubtful_replica(),
            Err(error) => Err(error.of_doubtful_leader()),
        };
        results.into_iter().map(in_doubt).collect()
    }

    async fn fetch_as_known(
        &self,
        items: &[FetchItem],
        near: Option<&Near>,
        max_bytes: u32,
    ) -> Vec<FetchResult> {
        let mut results: Vec<FetchResult> = Vec::with_capacity(items.len());
        results.resize_with(items.len(), || Err(PartitionError::NotLeader));
        let mut by_shard: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let routes: Vec<Option<usize>> = items.iter().map(|item| self.route(item.partition)).collect();
        for (place, route) in routes.iter().enumerate() {
            if let Some(shard) = route {
                by_shard.entry(*shard).or_default().push(place);
            }
        }
        let mut allowance = Allowance { bytes: max_bytes, first: true };
        // Who stands first in the request is read first: followers put those there that went away empty.
        let mut by_shard: Vec<(usize, Vec<usize>)> = by_shard.into_iter().collect();
        by_shard.sort_by_key(|(_, places)| places.first().copied());
        for (shard, places) in by_shard {
            let wanted = places.iter().map(|place| items[*place]).collect();
            let (answer, answered) = oneshot::channel();
            let (near, tries) = (near.cloned(), Tries::default());
            self.send(shard, Message::Locate { items: wanted, near, allowance, tries, answer });
            let Ok(located) = answered.await else {
                places.iter().for_each(|place| results[*place] = Err(PartitionError::Storage));
                continue;
            };
            for (place, located) in places.into_iter().zip(located) {
                results[place] = match located {
                    Ok(located) => {
                        allowance.spend(located.plan.length);
                        self.read(shard, items[place], located).await
                    }
                    Err(error) => Err(error),
                };
            }
        }
        for (place, item) in items.iter().enumerate() {
            // It was on its way to another directory.
            let moved = || routes[place].is_some() && self.route(item.partition) != routes[place];
            if matches!(results[place], Err(PartitionError::NotLeader)) && moved() {
                let again = Box::pin(self.fetch_as_known(std::slice::from_ref(item), near, max_bytes)).await;
                again.into_iter().for_each(|result| results[place] = result);
            }
        }
        results
    }

    async fn read(&self, shard: usize, item: FetchItem, located: Located<RealFile>) -> FetchResult {
        let Located { readable, plan, diverging, is_behind, preferred } = located;
        let more_follows = plan.more_follows;
        let nothing =
            Fetched { readable, records: Bytes::new(), more_follows, diverging, is_behind, preferred };
        if plan.length == 0 {
            return Ok(nothing);
        }
        let (segment, place) = (plan.segment, (plan.position, plan.length));
        let records = match self.readers[shard].read(plan).await {
            Ok(records) => records,
            Err(error) => {
                let (answer, answered) = oneshot::channel();
                self.send(shard, Message::ReadFailed { item, place, error, answer });
                return Err(answered.await.unwrap_or(PartitionError::Storage));
            }
        };
        if let Some(at) = find_rot(segment, place.0, &records) {
            let (answer, answered) = oneshot::channel();
            self.send(shard, Message::FoundRot { partition: item.partition, at, answer });
            answered.await.unwrap_or(Err(PartitionError::Storage))?;
        }
        Ok(Fetched { records, ..nothing })
    }
}

/// Whether a read may have failed only because its log was removed in between.
pub(super) fn may_be_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}
