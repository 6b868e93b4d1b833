//! The log of one partition replica, in Kafka's on-disk format.
//!
//! Owns: segments and their indexes, leader epochs, idempotent producers, recovery after a crash, what is durable and what must
//! be synced next, and the order of syncs and acknowledgements of a whole directory ([`commit`]). It does
//! not know followers, high watermarks or clients; it validates no batch beyond what it needs to place it.
//!
//! A [`Log`] belongs to one thread. It never syncs on that thread: [`Log::take_sync`] hands out a
//! [`SyncJob`] that any thread may run, and [`Log::sync_finished`] takes its result. The only exceptions
//! are opening, closing, a truncation with the small intent before it, and a log made where an earlier one of
//! its name may still be named by a checkpoint.
//!
//! Files of a log's directory, named by the segment's base offset in 20 digits:
//!
//! | file | content |
//! |---|---|
//! | `.log` | record batches as they came over the wire ([`ottla_wire::batch`]) |
//! | `.index` | 8 bytes an entry: offset of a batch's last record less the base, position of that batch |
//! | `.timeindex` | 12 bytes an entry: greatest timestamp so far, last offset of its batch less the base |
//! | `.snapshot` | idempotent producers as they were when the log ended at the offset in the name ([`producers`]) |
//! | `leader-epoch-checkpoint` | text: `0`, count, lines `epoch start_offset` |
//! | `partition.metadata` | text: `version: 0`, `topic_id: <id>` |
//! | `truncation-checkpoint` | text: `0`, offset; ours, there only between a truncation and the next checkpoint |
//! | `recovery-point` | text: `0`, offset; ours, of a log that is to take the place of one in another directory (`own_point`) |
//!
//! What may be assumed after a crash: everything below the *recovery point* was synced, with its names,
//! leader epochs and index entries. Nothing else may. So recovery trusts what lies below, and refuses the
//! replica if it is damaged (it was acknowledged, and silently cutting it would lose it); what lies above
//! is scanned with its checksums and cut at the first byte that is not a good batch (a torn tail looks the
//! same as rot there, and the replicas of the ISR hold what was acknowledged). What it has to walk below, up to an index
//! interval, is tested too; nothing looks for rot further down.

mod append;
pub mod checkpoints;
pub mod commit;
mod config;
mod epochs;
mod error;
mod header;
mod index;
mod lookup;
mod names;
mod open;
mod own_point;
mod partition_metadata;
mod producers;
mod read;
mod recovery;
mod rename;
mod replica_log;
mod rot;
mod scan;
mod segment;
mod sync;
mod text_file;
mod truncate;

pub use self::append::AppendOutcome;
pub use self::config::LogConfig;
pub use self::epochs::EpochEnd;
pub use self::error::{
    AppendError, BatchFlaw, ChangeError, CreateError, DiskError, LookupError, OpenError, ReadError,
};
pub use self::lookup::TimestampOffset;
pub use self::names::{
    directory_name, future_name, parse_damaged_name, parse_directory_name, parse_future_name, removal_name,
};
pub use self::open::{RecoveryReport, RecoveryStart};
pub use self::producers::{Duplicate, LastWrite, ProducerInfo, SequenceError};
pub use self::read::ReadPlan;
pub use self::replica_log::{Log, SegmentInfo, keep_aside, keep_damaged, make_place, move_aside};
pub use self::rot::{RottenBatch, find_rot};
pub use self::sync::{SyncJob, SyncNumber};
