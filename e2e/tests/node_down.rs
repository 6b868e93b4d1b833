//! `cargo xtask down` removes everything also after `up` was killed half-way, and touches nothing else.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::command::{Answer, wait_until};
use e2e::kube::teardown;
use e2e::lane::node;
use e2e::process;
use e2e::site::{self, Site};
use e2e::verb::down;

/// The moments at which `up` is killed: the process that has just been started.
const MOMENTS: [&str; 2] = ["kube-apiserver", "node2-containerd"];

#[test]
fn down_after_a_crash_half_way_leaves_nothing_behind_and_other_clusters_alone() -> Result<()> {
    let lane = node::ensure()?;
    let site = Site::new(site::SCRATCH);
    down::remove(&site)?;
    let before = teardown::traces()?;
    for moment in MOMENTS {
        let mut up = Command::new(env!("CARGO_BIN_EXE_e2e"))
            .args(["start", site.name()])
            .stdout(Stdio::null())
            .spawn()
            .context("start the scratch site")?;
        let started = wait_until(moment, Duration::from_secs(120), Duration::from_millis(20), || {
            match process::running_id(&site, moment) {
                Some(_) => Answer::Yes,
                None => Answer::NotYet("it does not run".to_owned()),
            }
        });
        up.kill().context("kill it half-way")?;
        up.wait().context("wait for its end")?;
        started?;
        down::remove(&site)?;
        let left: Vec<String> = teardown::traces()?.difference(&before).cloned().collect();
        assert!(left.is_empty(), "after a crash at {moment} this is left: {left:#?}");
    }
    assert!(!teardown::is_present(&site)?);
    down::remove(&site)?;
    assert_eq!(lane.kubectl.read(&["get", "--raw", "/readyz"])?, "ok");
    Ok(())
}
