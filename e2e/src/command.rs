//! External programs: run to the end with their output in a log, or captured.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::step::Log;

/// A program to run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    stdin: Option<String>,
}

/// A program by name or path.
#[must_use]
pub fn program(name: impl AsRef<OsStr>) -> Program {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    Program { command, stdin: None }
}

/// Sends a signal (`TERM`, `KILL`, `STOP`, `CONT`) to processes; an error if one of them has ended. By the shell's own
/// `kill`: a Debian without procps has no program of that name.
pub fn kill(signal: &str, ids: impl IntoIterator<Item = u32>) -> Result<()> {
    let ids = ids.into_iter().map(|id| id.to_string());
    program("sh").args(["-c", "kill \"$@\"", "sh", &format!("-{signal}")]).args(ids).read().map(|_| ())
}

impl Program {
    /// Starts it, with both outputs in a file, and does not wait.
    pub fn spawn(mut self, output: File) -> Result<Child> {
        let errors = output.try_clone().context("share a log")?;
        self.command
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {}", self.describe()))
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Gives the program `text` on its standard input.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.command.stdin(Stdio::piped());
        self.stdin = Some(text.into());
        self
    }

    /// Runs the program to its end with both outputs in the log; anything but success is an error.
    pub fn log(mut self, log: &Log) -> Result<()> {
        log.line(&format!("$ {}", self.describe()));
        self.command.stdout(log.handle()?).stderr(log.handle()?);
        let output = self.execute()?;
        self.check(&output).map(|_| ())
    }

    /// Runs the program to its end in the foreground, on our own outputs.
    pub fn show(mut self) -> Result<()> {
        self.command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let output = self.execute()?;
        self.check(&output).map(|_| ())
    }

    /// Runs the program to its end and returns its standard output; anything but success is an error
    /// that carries its standard error.
    pub fn read(mut self) -> Result<String> {
        let output = self.run()?;
        self.check(&output)
    }

    /// Runs the program to its end and returns whatever came of it.
    pub fn output(mut self) -> Result<Output> {
        self.run()
    }

    /// Whether the program ran and succeeded.
    #[must_use]
    pub fn succeeds(mut self) -> bool {
        self.run().is_ok_and(|output| output.status.success())
    }

    fn run(&mut self) -> Result<Output> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.execute()
    }

    fn execute(&mut self) -> Result<Output> {
        let mut child = self.command.spawn().with_context(|| format!("start {}", self.describe()))?;
        let writer = match (self.stdin.take(), child.stdin.take()) {
            // On a thread of its own: a program that answers while it reads would otherwise block us.
            // A program that stops reading early has its own exit status to say so.
            (Some(text), Some(mut pipe)) => Some(thread::spawn(move || {
                let _ = pipe.write_all(text.as_bytes());
            })),
            (Some(_), None) | (None, Some(_)) | (None, None) => None,
        };
        let output = child.wait_with_output().with_context(|| format!("wait for {}", self.describe()))?;
        if let Some(writer) = writer {
            let _ = writer.join();
        }
        Ok(output)
    }

    fn check(&self, output: &Output) -> Result<String> {
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {} {}", self.describe(), output.status, stderr.trim());
        }
        String::from_utf8(output.stdout.clone()).with_context(|| format!("output of {}", self.describe()))
    }

    fn describe(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// What a question that is asked again and again is answered.
#[derive(Debug)]
pub enum Answer {
    /// It holds.
    Yes,
    /// Not yet, and why.
    NotYet(String),
    /// It will never hold, and why.
    Never(String),
}

impl From<Result<()>> for Answer {
    fn from(result: Result<()>) -> Self {
        match result {
            Ok(()) => Self::Yes,
            Err(error) => Self::NotYet(format!("{error:#}")),
        }
    }
}

/// Asks `question` every `interval` until it says yes or never; at the limit fails with what it said last.
pub fn wait_until(
    what: &str,
    limit: Duration,
    interval: Duration,
    mut question: impl FnMut() -> Answer,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        match question() {
            Answer::Yes => return Ok(()),
            Answer::Never(reason) => bail!("{what}: {reason}"),
            Answer::NotYet(reason) if Instant::now() > deadline => {
                bail!("{what}: not after {} s: {reason}", limit.as_secs());
            }
            Answer::NotYet(_) => thread::sleep(interval),
        }
    }
}
