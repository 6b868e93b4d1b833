//! Coordinators of groups: who is in a group, who consumes what, how far it came.
//!
//! A coordinator owns the groups of one partition of `__consumer_offsets`; a [`Host`] makes it from the log and leads it
//! through one leader epoch. They know nothing of files, sockets or clocks: they are asked, ticked and told what came of
//! their wishes; they answer, and want records read and written. Records are Kafka's, byte for byte ([`record`]).
//!
//! What must outlive a coordinator is in records, and holds from when they are committed; what need not (who is joining,
//! who was heard of when) is its own, and is lost with it, as in Kafka: members join again.
//!
//! Not done: the consumer protocol of KIP-848, share groups (KIP-932) and streams groups (KIP-1071); their records are
//! skipped. Offsets of transactions.

mod classic;
mod coordinator;
mod deadlines;
mod effects;
mod host;
pub mod ids;
mod offsets;
pub mod record;
pub mod request;
mod settings;
mod then;

pub use effects::{Answer, Write};
pub use host::{Appended, Host, Question, Unreadable, Wish};
pub use settings::GroupSettings;
