//! `cargo xtask up --context NAME` does on a cluster that is there already what `up` does on one of its own.

use anyhow::{Context, Result};
use e2e::command::program;
use e2e::lane::node;
use e2e::{quickstart, shim};

#[test]
fn up_with_a_context_installs_and_proves_and_a_second_time_changes_nothing() -> Result<()> {
    let lane = node::ensure()?;
    // What another test left: with records in its topic there would be nothing to prove.
    quickstart::remove(&lane.kubectl)?;
    let context = lane.kubectl.read(&["config", "current-context"])?.trim().to_owned();
    // The API server can be reached from inside the site's network only.
    let up = || -> Result<String> {
        program(shim::path(&lane.site, "enter"))
            .arg(env!("CARGO_BIN_EXE_e2e"))
            .args(["up", "--context", &context])
            .env("KUBECONFIG", lane.site.kubeconfig())
            .read()
    };
    let revision = || -> Result<String> {
        let secrets = ["get", "secrets", "-n", "ottla-system", "-l", "owner=helm", "-o", "name"];
        lane.kubectl.read(&secrets)
    };
    let first = up()?;
    for promised in
        ["1000 records sent through broker 0, read back through broker 1 and found equal", "To go on:"]
    {
        anyhow::ensure!(first.contains(promised), "{promised:?} is not in\n{first}");
    }
    let before = revision()?;
    let second = up().context("a second time")?;
    anyhow::ensure!(!second.contains("records sent"), "the second run sent records:\n{second}");
    assert_eq!(revision()?, before);
    quickstart::remove(&lane.kubectl)
}

#[test]
fn images_prints_two_archives_that_docker_and_containerd_take() -> Result<()> {
    let _lane = node::ensure()?;
    let printed = program(env!("CARGO_BIN_EXE_e2e")).arg("images").read()?;
    let archives: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.ends_with(".tar")))
        .collect();
    assert_eq!(archives.len(), 2, "{printed}");
    for archive in archives {
        let files = program("tar").args(["-tf", archive]).read()?;
        // Docker reads the first; containerd takes either that or an `index.json`.
        anyhow::ensure!(files.lines().any(|file| file == "manifest.json"), "{archive}: {files}");
        let bytes = std::fs::metadata(archive)?.len();
        anyhow::ensure!(bytes < 20_000_000, "{archive} has {bytes} bytes; 20 MB are promised");
    }
    Ok(())
}

#[test]
fn a_context_that_is_not_there_is_named() -> Result<()> {
    let lane = node::ensure()?;
    let answer = program(shim::path(&lane.site, "enter"))
        .arg(env!("CARGO_BIN_EXE_e2e"))
        .args(["up", "--context", "nowhere"])
        .env("KUBECONFIG", lane.site.kubeconfig())
        .read();
    let text = answer.err().map(|error| format!("{error:#}")).unwrap_or_default();
    anyhow::ensure!(text.contains("nowhere"), "the answer does not name the context: {text}");
    Ok(())
}
