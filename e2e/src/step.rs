//! Named steps: each shows its name and the elapsed time while it runs, writes a log of its own, and a
//! failing one names that log.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often a step without a terminal says that it is still running: often enough that a CI log shows
/// life, seldom enough that it stays readable.
const PLAIN_PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// How often the elapsed time is redrawn on a terminal.
const TERMINAL_PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// How many lines of a failed step's log are shown.
const LOG_TAIL_LINES: usize = 20;

/// Prints one line for the person in front of the program.
pub fn say(line: &str) {
    // A closed pipe on the other side is no reason to stop half-way through a cluster.
    let _ = writeln!(io::stdout(), "{line}");
}

/// The log of one step; external programs write to it.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn create(directory: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let slug: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let path = directory.join(format!("step-{slug}.log"));
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// A handle for the output of a child process.
    pub fn handle(&self) -> Result<File> {
        self.file.try_clone().with_context(|| format!("share {}", self.path.display()))
    }

    /// Writes one line.
    pub fn line(&self, text: &str) {
        // The log is a help for people; failing to write it must not fail the step.
        let _ = writeln!(&self.file, "{text}");
    }

    /// The last line that was written.
    #[must_use]
    pub fn last_line(&self) -> String {
        self.text().lines().last().unwrap_or_default().to_owned()
    }

    fn text(&self) -> String {
        let text = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..]
            .iter()
            .map(|line| format!("    | {line}\n"))
            .collect()
    }
}

/// Runs steps one after the other and reports them.
#[derive(Debug)]
pub struct Steps {
    log_directory: PathBuf,
    terminal: bool,
}

impl Steps {
    /// Steps that log into `log_directory`.
    #[must_use]
    pub fn new(log_directory: PathBuf) -> Self {
        Self { log_directory, terminal: io::stdout().is_terminal() }
    }

    /// Runs `action` under `name`; the elapsed time is shown while it runs and when it is over.
    pub fn run<T>(&self, name: &str, action: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
        let log = Log::create(&self.log_directory, name)?;
        let started = Instant::now();
        let terminal = self.terminal;
        if terminal {
            draw(name, started);
        } else {
            say(&format!("   ... {name}"));
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let result = thread::scope(|scope| {
            scope.spawn(move || show_progress(name, started, terminal, &stopped));
            let result = action(&log);
            drop(stop);
            result
        });
        let line_start = if terminal { "\r\x1b[K" } else { "" };
        let elapsed = started.elapsed().as_secs_f64();
        match result {
            Ok(value) => {
                say(&format!("{line_start}{elapsed:6.1} s  {name}"));
                Ok(value)
            }
            Err(error) => {
                log.line(&format!("{error:#}"));
                say(&format!("{line_start}FAILED after {elapsed:.1} s: {name}"));
                say(&log.tail());
                Err(error.context(format!("{name} failed; read {}", log.path.display())))
            }
        }
    }
}

fn draw(name: &str, started: Instant) {
    let mut out = io::stdout();
    let _ = write!(out, "\r\x1b[K{:6.1} s  {name} ...", started.elapsed().as_secs_f64());
    let _ = out.flush();
}

fn show_progress(name: &str, started: Instant, terminal: bool, stopped: &mpsc::Receiver<()>) {
    let interval = if terminal { TERMINAL_PROGRESS_INTERVAL } else { PLAIN_PROGRESS_INTERVAL };
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        if terminal {
            draw(name, started);
        } else {
            say(&format!("   ... {name}: {} s", started.elapsed().as_secs()));
        }
    }
}
