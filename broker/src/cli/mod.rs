//! The verbs of the command line.

pub(crate) mod config_file;
pub(crate) mod format;
// Read by the server, which follows.
#[allow(dead_code)]
pub(crate) mod meta_properties;
#[allow(dead_code)]
pub(crate) mod pod;
pub(crate) mod storage;
