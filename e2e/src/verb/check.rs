//! `cargo xtask check`: what CI checks of the source, runnable on any laptop.

use anyhow::Result;

use crate::cache;
use crate::command::{Program, program};
use crate::repository;
use crate::step::{Log, Steps, say};

/// The release of cargo-deny that CI uses.
const CARGO_DENY: &str = "0.20.2";

/// Formatting, lints, dependencies and their licences, unit tests.
pub fn run() -> Result<()> {
    let steps = super::steps();
    source(&steps)?;
    say("everything is in order");
    Ok(())
}

/// The steps of `check`.
pub fn source(steps: &Steps) -> Result<()> {
    steps.run("cargo fmt --check", |log| cargo(&["fmt", "--all", "--check"]).log(log))?;
    steps.run("cargo clippy", |log| {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])
        .log(log)
    })?;
    deny(steps)?;
    say("        cargo test");
    cargo(&["test", "--workspace", "--locked"]).show()
}

fn cargo(words: &[&str]) -> Program {
    program(repository::cargo()).args(words).directory(&repository::root())
}

fn deny(steps: &Steps) -> Result<()> {
    if !repository::root().join("deny.toml").exists() {
        return Ok(());
    }
    let directory = cache::entry("cargo-deny", CARGO_DENY, |directory| {
        steps.run(&format!("install cargo-deny {CARGO_DENY} (some minutes the first time)"), |log| {
            install_deny(directory, log)
        })
    })?;
    // Advisories are left out: their database is a git repository that not every machine reaches.
    steps.run("cargo deny check bans licenses sources", |log| {
        let deny = program(directory.join("bin/cargo-deny")).args(["check", "bans", "licenses", "sources"]);
        deny.directory(&repository::root()).log(log)
    })
}

fn install_deny(directory: &std::path::Path, log: &Log) -> Result<()> {
    let target = cache::root()?.join("cargo-deny/target");
    program(repository::cargo())
        .args(["install", "--locked", "--version", CARGO_DENY, "cargo-deny", "--root"])
        .arg(directory)
        .env("CARGO_TARGET_DIR", target)
        .log(log)
}
