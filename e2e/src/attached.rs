//! A plain process of this machine that never outlives its owner: dropping it kills it, and the kernel does where
//! nothing is dropped. It can be killed and started again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{Answer, kill, wait_until};

/// How long a start may take; a debug build on a busy machine is far from the second's fraction it should be.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a stop may take that hands over leaders and closes logs.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);
/// How many of its last lines an error shows.
const TAIL_LINES: usize = 5;

/// A process and how to start it.
#[derive(Debug)]
pub struct Attached {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    /// Where it complains, if not in its log.
    errors: Option<PathBuf>,
    child: Option<Child>,
}

/// What `/proc` says of a process's memory.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// VmRSS in KiB: what it holds now.
    pub resident_kib: u64,
    /// VmHWM in KiB: the most it has held.
    pub peak_kib: u64,
}

impl Attached {
    /// A process that will write both outputs to `log`; it does not run yet.
    #[must_use]
    pub fn new(name: &str, program: PathBuf, arguments: Vec<OsString>, log: PathBuf) -> Self {
        Self { name: name.to_owned(), program, arguments, log, errors: None, child: None }
    }

    /// The same, but what it writes to its standard error goes elsewhere, so that no line of the log is broken by it.
    #[must_use]
    pub fn with_errors_in(mut self, path: PathBuf) -> Self {
        self.errors = Some(path);
        self
    }

    /// What it has written since its first start.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last lines it has written, for an error's text.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log, TAIL_LINES)
    }

    /// Starts it.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let open = |path: &PathBuf| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        let log = open(&self.log)?;
        let errors = match &self.errors {
            Some(path) => open(path)?,
            None => log.try_clone().context("share the log")?,
        };
        // setpriv: if this process dies without a chance to clean up, the kernel kills this one.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `question` has an answer; gives up at once when the process has ended.
    pub fn wait_until(&mut self, what: &str, mut question: impl FnMut() -> Result<()>) -> Result<()> {
        let name = self.name.clone();
        let log = self.log.display().to_string();
        let child = self.child.as_mut().with_context(|| format!("{name} was not started"))?;
        wait_until(&format!("{name} {what}"), START_LIMIT, INTERVAL, || match child.try_wait() {
            Ok(Some(status)) => Answer::Never(format!("it has ended ({status}); read {log}")),
            Ok(None) => Answer::from(question()),
            Err(error) => Answer::Never(error.to_string()),
        })
    }

    /// Kills it with SIGKILL. It must be running: a story that kills what is dead already tells nothing.
    pub fn kill(&mut self) -> Result<()> {
        let status = self.kill_and_wait()?;
        ensure!(status.signal() == Some(9), "{} had ended before it was killed: {status}", self.name);
        Ok(())
    }

    /// Kills it with SIGKILL unless it has ended by itself; whether it has.
    pub fn end(&mut self) -> Result<bool> {
        Ok(self.kill_and_wait()?.signal() != Some(9))
    }

    fn kill_and_wait(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.kill().with_context(|| format!("kill {}", self.name))?;
        child.wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Asks it to stop with SIGTERM and waits until it has; anything but exit code 0 is an error.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.signal_and_wait("TERM", STOP_LIMIT)?;
        ensure!(status.success(), "{} ended with {status}; read {}", self.name, self.log.display());
        Ok(())
    }

    /// Sends it a signal and waits until it has ended, however it does.
    pub fn signal_and_wait(&mut self, signal: &str, limit: Duration) -> Result<ExitStatus> {
        kill(signal, [self.id()?])?;
        self.wait_until_it_ends(limit)
    }

    /// Waits until it ends by itself.
    pub fn wait_until_it_ends(&mut self, limit: Duration) -> Result<ExitStatus> {
        let child = self.child.as_mut().with_context(|| format!("{} does not run", self.name))?;
        let mut ended = None;
        wait_until(&format!("{} ends", self.name), limit, INTERVAL, || match child.try_wait() {
            Ok(Some(status)) => {
                ended = Some(status);
                Answer::Yes
            }
            Ok(None) => Answer::NotYet("it still runs".to_owned()),
            Err(error) => Answer::Never(error.to_string()),
        })?;
        self.child = None;
        ended.context("it has ended")
    }

    /// Fails unless it runs.
    pub fn check_alive(&mut self) -> Result<()> {
        let child = self.child.as_mut().with_context(|| format!("{} does not run", self.name))?;
        match child.try_wait().with_context(|| format!("look at {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}; read {}", self.name, self.log.display()),
        }
    }

    /// The memory it holds and has held.
    pub fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.id()?);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        Ok(Memory { resident_kib: kib(&text, "VmRSS:")?, peak_kib: kib(&text, "VmHWM:")? })
    }

    /// Its id as a process, while it runs.
    pub fn id(&self) -> Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("{} does not run", self.name))?.id())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It has ended already, or it is ours and cannot refuse.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn kib(status: &str, field: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let line = line.with_context(|| format!("a process without {field}"))?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} is no number"))
}

/// The last lines of a log, for an error's text.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_lines_of_its_fields() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kib(status, "VmRSS:").unwrap(), 1024);
        assert_eq!(kib(status, "VmHWM:").unwrap(), 2048);
        assert!(kib("Name:\tx\n", "VmRSS:").is_err());
    }
}
