//! `cargo xtask faults`: real processes under real faults, and its part of CI.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::program;
use crate::faults::catalogue::Fault;
use crate::faults::load::Releases;
use crate::faults::series::Series;
use crate::repository;
use crate::step::{Steps, say};

/// What CI runs, a seed each that nobody has tried before: the deaths of one and of all, a leader that comes back as if
/// nothing had been, and replicas that move.
const SHORT: [Fault; 4] = [Fault::KillLeader, Fault::KillAll, Fault::PauseLeader, Fault::Reassign];

/// Does what the words say.
pub fn run(words: &[&str]) -> Result<()> {
    if words == ["--list"] {
        for (name, _, proves) in Fault::ALL {
            say(&format!("{name:<21} {proves}"));
        }
        return Ok(());
    }
    if words == ["--short"] {
        return short();
    }
    let series = Series::parse(words)?;
    prepare(series)?.enter()
}

/// Does the series; this process is in the namespaces already.
pub fn run_inside(words: &[&str]) -> Result<()> {
    Series::parse(words)?.run_inside()
}

/// The short set of CI: one seed of some faults.
pub fn short() -> Result<()> {
    let start = u64::from(std::process::id());
    let words = ["--seeds".to_owned(), "1".to_owned(), "--start".to_owned(), start.to_string()];
    let mut series = Series::parse(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    series.faults = SHORT.to_vec();
    let status = prepare(series)?.command()?.status().context("start unshare")?;
    ensure!(status.success(), "a run under faults was not clean");
    Ok(())
}

/// Brings everything that has to come from outside: inside there is no network.
fn prepare(mut series: Series) -> Result<Series> {
    let steps = super::prepare_rig()?;
    Releases::ensure(&steps)?;
    if series.binary.is_none() && !series.kafka {
        series.binary = Some(compile(&steps, series.planted.is_some())?);
    }
    Ok(series)
}

/// This checkout's broker, with planted bugs in it or without, in a place where the next compilation leaves it alone.
pub(super) fn compile(steps: &Steps, planted: bool) -> Result<PathBuf> {
    let name = if planted { "ottla-planted" } else { "ottla" };
    let place = repository::target().join("faults").join(name);
    steps.run(&format!("compile {name}"), |log| {
        // Without bugs with the workspace's features, so that what `cargo test` has compiled need not be compiled again.
        let what: &[&str] = if planted {
            &["--package", "ottla", "--features", "planted-bugs"]
        } else {
            &["--workspace", "--bin", "ottla"]
        };
        let cargo = program(repository::cargo()).args(["build", "--locked"]).args(what);
        cargo.env("CARGO_TARGET_DIR", repository::target()).directory(&repository::root()).log(log)
    })?;
    copy(&repository::target().join("debug/ottla"), &place)?;
    Ok(place)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let directory = to.parent().context("a file in a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    // By another name first: a binary that runs cannot be written to.
    let unfinished = to.with_extension("unfinished");
    fs::copy(from, &unfinished).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&unfinished, to).with_context(|| format!("move {} into place", to.display()))
}
