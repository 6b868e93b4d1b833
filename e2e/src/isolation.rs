//! Namespaces for a rig that starts processes, mounts disks and makes networks: when it ends, however it ends, nothing
//! of it is left on the machine.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repository;

/// The environment variable that tells a rig which network it must not touch.
const OUTSIDE: &str = "OTTLA_RIG_OUTSIDE";

/// A shell's script that runs the program on its standard input, with the shell's own arguments. The shell is the first
/// process of its namespace, which no signal ends that it does not wait for, and Ctrl-C has to.
const RUN_STANDARD_INPUT: &str =
    "exec 3<&0 </dev/null; trap 'exit 130' INT TERM; /proc/self/fd/3 \"$@\" & wait $!";

/// What runs this program with `words` in network, mount and process namespaces of its own.
///
/// The program is handed over open, not by its name: a build that went on meanwhile may have put another there.
pub fn command(words: &[String]) -> Result<Command> {
    let this = File::open("/proc/self/exe").context("open this program")?;
    let mut command = Command::new("unshare");
    // With the first process of the namespace all others end, and with the last all mounts and networks.
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.args(["sh", "-c", RUN_STANDARD_INPUT, "sh"]).args(words);
    command.stdin(this).env(OUTSIDE, network()?);
    Ok(command)
}

/// Becomes a command that [`command`] made. Returns only if it cannot be started.
pub fn exec(mut command: Command) -> Result<()> {
    Err(command.exec()).context("start unshare")
}

/// Fails unless this program runs as [`command`] runs it.
fn require() -> Result<()> {
    let outside = env::var_os(OUTSIDE);
    let is_inside = match outside {
        None => false,
        Some(outside) => outside != network()?,
    };
    ensure!(is_inside, "this runs only in namespaces of its own: `cargo xtask` starts it there");
    Ok(())
}

/// Enters the directory `name` of the target folder, where one rig works at a time. Fails unless this program runs as
/// [`command`] runs it, and while another rig works there.
pub fn enter(name: &str) -> Result<Place> {
    require()?;
    let directory = repository::target().join(name);
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let lock = File::create(directory.join("lock")).context("create the lock")?;
    lock.try_lock().with_context(|| format!("another rig works in {}", directory.display()))?;
    Ok(Place { directory, _lock: lock })
}

/// A directory that one rig has for itself until this is dropped.
#[derive(Debug)]
pub struct Place {
    /// Where it is.
    pub directory: PathBuf,
    _lock: File,
}

/// The network namespace of this process.
fn network() -> Result<OsString> {
    let link = fs::read_link("/proc/self/ns/net").context("read the network namespace of this process")?;
    Ok(link.into_os_string())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{File, RUN_STANDARD_INPUT, env, fs};

    #[test]
    fn a_program_whose_file_was_removed_is_run() {
        let program = env::temp_dir().join(format!("ottla-isolation-{}", std::process::id()));
        // Another process writes it: a child that another test starts meanwhile would keep it open for writing.
        assert!(Command::new("cp").arg("/bin/sh").arg(&program).status().unwrap().success());
        let open = File::open(&program).unwrap();
        fs::remove_file(&program).unwrap();
        let words = ["sh", "-c", "echo \"$1\"; exit 7", "program", "a b"];
        let output =
            Command::new("sh").args(["-c", RUN_STANDARD_INPUT]).args(words).stdin(open).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert_eq!(output.stdout, b"a b\n", "{output:?}");
    }
}
