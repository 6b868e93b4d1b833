//! The long-running processes of a site: started in their network and control group, found again later.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::{Answer, wait_until};
use crate::control_group;
use crate::site::{Network, Site};

/// A process to keep running.
#[derive(Debug)]
pub struct Process<'a> {
    site: &'a Site,
    name: String,
    network: Network,
    words: Vec<String>,
}

impl<'a> Process<'a> {
    /// A process called `name` that runs `executable` in `network`.
    pub fn new(site: &'a Site, name: &str, network: Network, executable: &Path) -> Self {
        let words = vec![executable.display().to_string()];
        Self { site, name: name.to_owned(), network, words }
    }

    /// Adds `--name=value`.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.words.push(format!("--{name}={value}"));
        self
    }

    /// Adds one argument as it is.
    #[must_use]
    pub fn arg(mut self, argument: impl std::fmt::Display) -> Self {
        self.words.push(argument.to_string());
        self
    }

    /// Starts the process unless it is running already. Returns whether it was started.
    pub fn ensure(&self) -> Result<bool> {
        if is_running(self.site, &self.name) {
            return Ok(false);
        }
        let log_path = log_path(self.site, &self.name);
        let log = open_log(&log_path)?;
        // The shell joins the control group before anything else, so that no moment exists in which the
        // process could escape tear-down; then it becomes the process and keeps its id.
        let script = "set -e; for file in $1; do echo $$ > \"$file\"; done; net=$2; shift 2; \
                      exec nsenter --net=\"$net\" -- \"$@\"";
        let ids = self.site.path("processes");
        fs::create_dir_all(&ids).with_context(|| format!("create {}", ids.display()))?;
        let group = format!("{}/system", self.site.control_group());
        let files: Vec<String> =
            control_group::process_files(&group)?.iter().map(|file| file.display().to_string()).collect();
        let child = Command::new("setsid")
            .args(["sh", "-c", script, &self.name])
            .arg(files.join(" "))
            .arg(self.network.path())
            .args(&self.words)
            .env(MARK, mark(self.site, &self.name))
            .current_dir(self.site.directory())
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(|| format!("share {}", log_path.display()))?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        let place = id_path(self.site, &self.name);
        fs::write(&place, format!("{}\n", child.id()))
            .with_context(|| format!("write {}", place.display()))?;
        Ok(true)
    }
}

/// The environment variable by which a process is told from another that got its id later.
const MARK: &str = "OTTLA_PROCESS";

fn mark(site: &Site, name: &str) -> String {
    format!("{}/{name}", site.name())
}

fn id_path(site: &Site, name: &str) -> PathBuf {
    site.path(&format!("processes/{name}"))
}

/// The log of the process `name`.
#[must_use]
pub fn log_path(site: &Site, name: &str) -> PathBuf {
    site.logs().join(format!("{name}.log"))
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// The id of the process `name`, if it runs.
#[must_use]
pub fn running_id(site: &Site, name: &str) -> Option<u32> {
    let id: u32 = fs::read_to_string(id_path(site, name)).ok()?.trim().parse().ok()?;
    let wanted = format!("{MARK}={}", mark(site, name));
    let mut environment = fs::read(format!("/proc/{id}/environ")).ok()?;
    for _ in 0..EMPTY_ENVIRONMENT_READS_MAX {
        // Empty for the moment in which it becomes another program, and for one that has ended but was not
        // waited for.
        if !environment.is_empty() || is_zombie(id) {
            break;
        }
        thread::sleep(Duration::from_millis(5));
        environment = fs::read(format!("/proc/{id}/environ")).ok()?;
    }
    environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()).then_some(id)
}

/// A process is between two programs for microseconds; on a machine that has no time for it, for longer.
const EMPTY_ENVIRONMENT_READS_MAX: u32 = 400;

fn is_zombie(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}

/// Whether the process `name` runs.
#[must_use]
pub fn is_running(site: &Site, name: &str) -> bool {
    running_id(site, name).is_some()
}

/// A process is looked for so often in a row before it is said to have ended: while it becomes another program, it may
/// look as if it were not there.
const MISSED_MAX: u32 = 3;

/// Waits until the process `name` answers `question`; gives up at once when it has ended.
pub fn wait_until_it_answers(
    site: &Site,
    name: &str,
    limit: Duration,
    mut question: impl FnMut() -> Result<()>,
) -> Result<()> {
    let interval = Duration::from_millis(100);
    let mut missed = 0;
    wait_until(&format!("{name} answers"), limit, interval, || {
        if is_running(site, name) {
            missed = 0;
            return Answer::from(question());
        }
        missed += 1;
        let log = log_path(site, name);
        let ended = format!("it has ended; read {}", log.display());
        if missed < MISSED_MAX { Answer::NotYet(ended) } else { Answer::Never(ended) }
    })
}
