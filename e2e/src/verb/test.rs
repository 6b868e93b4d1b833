//! `cargo xtask test`: everything CI runs.

use anyhow::{Context, Result};

use crate::command::program;
use crate::images::Compilation;
use crate::kube::teardown;
use crate::repository;
use crate::site::{self, Site};
use crate::step::say;
use crate::verb::{check, down, faults, sim, suite};

/// A lane: the feature that turns its tests on and the site they leave behind, if they need one.
#[derive(Debug, Clone, Copy)]
struct Lane {
    feature: &'static str,
    site: Option<&'static str>,
    needs_images: bool,
}

/// In order of what they cost: what fails first is what is learnt soonest.
const LANES: [Lane; 4] = [
    Lane { feature: "api-lane", site: Some(site::API), needs_images: false },
    Lane { feature: "broker-lane", site: None, needs_images: false },
    Lane { feature: "process-lane", site: Some(site::PROCESS), needs_images: true },
    Lane { feature: "node-lane", site: Some(site::TEST), needs_images: true },
];

/// Checks the source, runs the simulator, then the lanes one after the other, a few faults, and a few of librdkafka's
/// tests.
pub fn run() -> Result<()> {
    let steps = super::steps();
    check::source(&steps)?;
    sim::step(&steps)?;
    site::require_root()?;
    // The first lanes wait more than they compute.
    let mut images = Some(Compilation::begin(&repository::target().join("xtask-logs"))?);
    for lane in LANES {
        if let Some(images) = images.take_if(|_| lane.needs_images) {
            steps.run("wait for the compilation of the images", |_| images.finish())?;
        }
        run_lane(lane)?;
    }
    faults::short()?;
    suite::short()?;
    say("everything passed");
    Ok(())
}

fn run_lane(lane: Lane) -> Result<()> {
    say(&format!("        {}", lane.feature));
    match lane.site {
        None => run_tests(lane),
        Some(site) => run_on_site(lane, &Site::new(site)),
    }
}

/// Runs a lane from nothing, and removes its site whatever came of it. After a failure the logs stay.
fn run_on_site(lane: Lane, site: &Site) -> Result<()> {
    down::remove(site)?;
    let before = teardown::traces()?;
    let tests = run_tests(lane);
    if tests.is_err() {
        keep_logs(site)?;
    }
    let removed = down::remove(site).and_then(|()| teardown::traces());
    tests?;
    let left: Vec<String> = removed?.difference(&before).cloned().collect();
    anyhow::ensure!(left.is_empty(), "the site {} is removed, but this is left: {left:#?}", site.name());
    Ok(())
}

fn run_tests(lane: Lane) -> Result<()> {
    program(repository::cargo())
        .args(["test", "--locked", "--package", "e2e", "--features", lane.feature])
        .args(tests_of(lane)?.iter().flat_map(|name| ["--test", name]))
        .directory(&repository::root())
        .show()
        .with_context(|| format!("{} failed", lane.feature))
}

/// The names of a lane's test files, in order: `api-lane` has those that begin with `api_`. Cargo refuses a
/// pattern that also matches tests of a lane that is not turned on.
fn tests_of(lane: Lane) -> Result<Vec<String>> {
    let prefix = format!("{}_", lane.feature.trim_end_matches("-lane"));
    let directory = repository::root().join("e2e/tests");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").filter(|name| name.starts_with(&prefix)).map(str::to_owned));
    }
    names.sort();
    anyhow::ensure!(!names.is_empty(), "no test of the {} in {}", lane.feature, directory.display());
    Ok(names)
}

fn keep_logs(site: &Site) -> Result<()> {
    let place = repository::target().join("xtask-logs").join(site.name());
    if place.exists() {
        std::fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
    }
    if site.logs().exists() {
        std::fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
        program("cp").arg("-r").arg(site.logs()).arg(&place).read()?;
        say(&format!("the logs of the site {} are kept in {}", site.name(), place.display()));
    }
    Ok(())
}
