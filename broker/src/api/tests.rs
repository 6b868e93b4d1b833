//! Tests over the whole table: what must hold for every API, whichever handler serves it.

mod admin;
mod configs;
mod deny_all;
mod fetch;
mod groups;
mod list_offsets;
mod log_dirs;
mod memory;
mod metadata;
mod nearest;
pub(crate) mod rig;
mod table;
