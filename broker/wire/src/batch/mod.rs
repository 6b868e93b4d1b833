//! Record batches, format 2 (magic 2): what producers send, disks hold and
//! consumers get.
//!
//! ```text
//! byte  0  base offset             i64   assigned by the broker, outside the CRC
//!       8  length                  i32   of everything after this field
//!      12  partition leader epoch  i32   assigned by the broker, outside the CRC
//!      16  magic                   i8    2
//!      17  CRC-32C                 u32   of everything after this field
//!      21  attributes              i16   bits 0-2 codec, 3 log append time, 4 transactional,
//!                                        5 control, 6 delete horizon
//!      23  last offset delta       i32
//!      27  base timestamp          i64   milliseconds
//!      35  max timestamp           i64
//!      43  producer id             i64   -1: none
//!      51  producer epoch          i16
//!      53  base sequence           i32
//!      57  record count            i32
//!      61  records, compressed as one block if there is a codec
//! ```
//!
//! [`BatchHeader`] reads and checks the fixed part, [`Batches`] walks a buffer,
//! [`records`] and [`Record`] look inside, [`compression`] wraps the codecs,
//! [`BatchBuilder`] writes, and [`validate`](mod@validate) decides whether a
//! producer's batch may enter a log.

pub mod compression;
pub mod validate;

mod builder;
mod header;
mod record;

pub use builder::{BatchBuilder, RecordHeader};
pub use header::{
    Attributes, Batch, BatchFlaw, BatchHeader, Batches, HEADER_BYTES, TimestampType, patch_base_offset,
    patch_leader_epoch,
};
pub use record::{Headers, Record, RecordFlaw, Records, records};

/// The only format there is since Kafka 4.0.
pub const MAGIC: i8 = 2;

/// Stands where no timestamp was set.
pub const NO_TIMESTAMP: i64 = -1;

/// Stands where a batch has no producer id.
pub const NO_PRODUCER_ID: i64 = -1;

/// Stands where a batch has no producer epoch.
pub const NO_PRODUCER_EPOCH: i16 = -1;

/// Stands where a batch has no sequence numbers.
pub const NO_SEQUENCE: i32 = -1;

#[cfg(test)]
mod tests;
