//! Runs shards: one thread for each log directory, and a few that sync.
//!
//! Handlers send to a shard through [`Shards`] and wait on channels; the shard's thread owns every log and
//! partition of its directory, so that order needs no lock. Syncs, and reads that must wait for the disk, run
//! on threads beside it, so that it keeps appending meanwhile; what arrives during a sync round is covered by
//! the next.
//!
//! The queue to a shard has no bound of its own. A message of a client belongs to a request whose bytes are
//! reserved in the memory budget, and each connection has at most `PRODUCE_IN_FLIGHT_MAX` of them; what the
//! broker itself sends is one message for each replica that an image changes, and a tick each second.

mod copying;
mod handle;
mod pulse;
mod reader;
mod reading;
mod syncer;
#[cfg(test)]
mod tests;
mod thread;

pub(super) use copying::{CopyEnd, DirectoryFailed, HandedOver, NotAdopted};
pub(crate) use handle::{Contents, FetchItem, Fetched, Near, ReadBy, Shards, Stalls};
pub(crate) use thread::{Followed, ShardEvent, ShardReports, start};

pub(crate) use ottla_core::shard::{LogFound, OffsetFound, OffsetTarget};
