//! `cargo xtask bench cluster`: three brokers measured beside three of Apache Kafka's.

use std::path::PathBuf;

use anyhow::Result;

use crate::bench::turns::Turns;
use crate::command::program;
use crate::faults::load::Releases;
use crate::repository;
use crate::step::Steps;

/// Does what the words say.
pub fn run(words: &[&str]) -> Result<()> {
    let mut turns = Turns::parse(words)?;
    let steps = super::prepare_rig()?;
    Releases::ensure(&steps)?;
    if turns.binary.is_none() {
        turns.binary = Some(compile(&steps)?);
    }
    turns.enter()
}

/// Does it; this process is in the namespaces already.
pub fn run_inside(words: &[&str]) -> Result<()> {
    Turns::parse(words)?.run_inside()
}

fn compile(steps: &Steps) -> Result<PathBuf> {
    steps.run("compile a release of the broker", |log| {
        program(repository::cargo())
            .args(["build", "--locked", "--release", "--package", "ottla"])
            .env("CARGO_TARGET_DIR", repository::target())
            .directory(&repository::root())
            .log(log)
    })?;
    Ok(repository::target().join("release/ottla"))
}
