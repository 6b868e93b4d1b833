//! Namespaces for a rig that starts processes, mounts disks and makes networks: when it ends, however it ends, nothing
//! of it is left on the machine.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The environment variable that tells a rig which network it must not touch.
const OUTSIDE: &str = "OTTLA_RIG_OUTSIDE";

/// What runs this program with `words` in network, mount and process namespaces of its own.
pub fn command(words: &[String]) -> Result<Command> {
    let this = env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    // With the first process of the namespace all others end, and with the last all mounts and networks. The first is
    // a shell, since no signal that it does not wait for ends it, and Ctrl-C has to.
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.args(["sh", "-c", "trap 'exit 130' INT TERM; \"$@\" & wait $!", "sh"]);
    command.arg(this).args(words).env(OUTSIDE, network()?);
    Ok(command)
}

/// Fails unless this program runs as [`command`] runs it.
pub fn require() -> Result<()> {
    let outside = env::var_os(OUTSIDE);
    let is_inside = match outside {
        None => false,
        Some(outside) => outside != network()?,
    };
    ensure!(is_inside, "this runs only in namespaces of its own: `cargo xtask` starts it there");
    Ok(())
}

/// The network namespace of this process.
fn network() -> Result<OsString> {
    let link = fs::read_link("/proc/self/ns/net").context("read the network namespace of this process")?;
    Ok(link.into_os_string())
}
