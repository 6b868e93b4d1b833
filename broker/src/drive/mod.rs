//! One driver for each machine of the core: feeds it inputs, does what it returns.

pub(crate) mod auto_topics;
pub(crate) mod broker;
pub(crate) mod controller;
pub(crate) mod directory_moves;
pub(crate) mod groups;
pub(crate) mod producer_ids;
pub(crate) mod replication;
pub(crate) mod shard;
