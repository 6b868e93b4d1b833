//! `cargo xtask test`: everything CI runs.

use anyhow::Result;

use crate::repository;
use crate::step::{Steps, say};
use crate::verb::check;

/// Checks the source.
pub fn run() -> Result<()> {
    let steps = Steps::new(repository::target().join("xtask-logs"));
    check::source(&steps)?;
    say("everything passed");
    Ok(())
}
