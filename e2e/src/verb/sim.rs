//! `cargo xtask sim`: the simulator, on as many seeds as one likes, and its part of CI.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::program;
use crate::repository;
use crate::step::{Steps, say};

/// How many seeds that nobody has tried before CI tries.
const FRESH_SEEDS: u64 = 200;

/// Fresh seeds begin below this, so that a person can type them.
const FRESH_START_MAX: u64 = 1_000_000_000;

/// Becomes the simulator, which reads its own arguments and says itself what is wrong with them.
pub fn run(options: &[&str]) -> Result<()> {
    let mut simulator = Command::new(repository::cargo());
    simulator.args(words("sim")).args(options).current_dir(repository::root());
    Err(simulator.exec()).context("start the simulator")
}

/// The fixed seeds and some fresh ones, as CI runs them: built as the tests are, so that nothing is compiled twice.
pub fn step(steps: &Steps) -> Result<()> {
    let start = RandomState::new().build_hasher().finish() % FRESH_START_MAX;
    say(&format!(
        "        the fresh seeds are those of: cargo xtask sim --seeds {FRESH_SEEDS} --start {start}"
    ));
    let (seeds, start) = (FRESH_SEEDS.to_string(), start.to_string());
    let summary = steps.run(&format!("simulator: the fixed seeds and {FRESH_SEEDS} fresh ones"), |log| {
        program(repository::cargo())
            .args(words("dev"))
            .args(["--seeds", &seeds, "--start", &start])
            .directory(&repository::root())
            .log(log)?;
        Ok(log.last_line())
    })?;
    say(&format!("          {summary}"));
    Ok(())
}

/// What makes cargo run the simulator, up to its own arguments.
fn words(profile: &str) -> [&str; 9] {
    ["run", "--locked", "--profile", profile, "--package", "ottla-sim", "--features", "planted-bugs", "--"]
}
