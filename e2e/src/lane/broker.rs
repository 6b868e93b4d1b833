//! The broker lane: real `ottla` processes on this machine, without Kubernetes, driven by software nobody here wrote.
//!
//! A test tells a [`story`] on a [`Bench`]: a directory of its own for properties files, data and logs, the
//! `ottla` of this checkout, kcat, and Kafka's tools where it asks for them. When the story ends its processes are
//! killed; when it ends well its directory is removed, else the error names it.

pub mod cluster;
pub mod verifiable;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::attached::{Attached, tail};
use crate::command::{Answer, Program, program, wait_until};
use crate::kafka::Kafka;
use crate::kcat::{Kcat, Partition};
use crate::packages;
use crate::ports;
use crate::repository;
use crate::server::Server;
use crate::step::{Steps, say};
use crate::wire;

/// How long a topic may take until it is there: a cluster that has just started elects a controller first.
const TOPIC_LIMIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(50);
/// How many lines of each log a failed story shows.
const LOG_TAIL_LINES: usize = 15;

/// Packages, compilation and downloads are one test's business at a time.
static PREPARING: Mutex<()> = Mutex::new(());

/// What a story stands on.
#[derive(Debug)]
pub struct Bench {
    directory: PathBuf,
    ottla: PathBuf,
    steps: Steps,
    expected: RefCell<Vec<String>>,
    /// A client.
    pub kcat: Kcat,
}

/// Tells the story `name`, which must be like no other's of this lane.
pub fn story(name: &str, tell: impl FnOnce(&Bench) -> Result<()>) -> Result<()> {
    let bench = Bench::prepare(name)?;
    let told = tell(&bench).and_then(|()| bench.check_logs());
    match told {
        Ok(()) => {
            let directory = bench.directory.clone();
            fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))
        }
        Err(error) => {
            let logs = bench.log_tails();
            Err(error.context(format!("files are kept in {}\n{logs}", bench.directory.display())))
        }
    }
}

impl Bench {
    fn prepare(name: &str) -> Result<Self> {
        // Another story that panicked while it prepared leaves nothing half-done that matters to this one.
        let _one_at_a_time = PREPARING.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = repository::target().join("broker-lane").join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
        }
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let steps = Steps::new(directory.join("steps"));
        packages::ensure(&steps, &[packages::CLIENTS, packages::TRACING])?;
        steps.run("compile the broker", |log| {
            // The workspace's features, so that what `cargo test` has compiled need not be compiled again.
            program(repository::cargo())
                .args(["build", "--locked", "--workspace", "--bin", "ottla"])
                .env("CARGO_TARGET_DIR", repository::target())
                .directory(&repository::root())
                .log(log)
        })?;
        let ottla = repository::target().join("debug/ottla");
        Ok(Self {
            directory,
            ottla,
            steps,
            expected: RefCell::default(),
            kcat: Kcat::new(PathBuf::from("kcat")),
        })
    }

    /// A path in the story's own directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// `ottla` with arguments, to be run to its end.
    #[must_use]
    pub fn ottla(&self, arguments: &[&str]) -> Program {
        program(&self.ottla).args(arguments)
    }

    /// The same, killed if it still runs after so many seconds.
    #[must_use]
    pub fn ottla_within(&self, seconds: u32, arguments: &[&str]) -> Program {
        program("timeout").args(["--signal=KILL", &seconds.to_string()]).arg(&self.ottla).args(arguments)
    }

    /// Kafka's own tools.
    pub fn kafka(&self) -> Result<Kafka> {
        let _one_at_a_time = PREPARING.lock().unwrap_or_else(PoisonError::into_inner);
        Kafka::ensure(&self.steps)
    }

    /// `ottla dev` on the directory `data` of this story and a free port; it does not run yet.
    pub fn dev(&self, name: &str) -> Result<Server> {
        let address = format!("127.0.0.1:{}", ports::free()?);
        let arguments = ["dev".into(), "--listen".into(), OsString::from(&address), "--data".into()];
        let arguments = arguments.into_iter().chain([self.path(name).into()]).collect();
        Ok(self.server(name, arguments, address))
    }

    /// `ottla server` on a properties file; it does not run yet.
    #[must_use]
    pub fn node(&self, name: &str, properties: &Path, address: &str) -> Server {
        self.server(name, vec!["server".into(), properties.into()], address.to_owned())
    }

    /// A program that works beside the story and writes what it says to `<name>.out`; it does not run yet.
    #[must_use]
    pub fn beside(&self, name: &str, program: &str, arguments: Vec<OsString>) -> Attached {
        Attached::new(name, PathBuf::from(program), arguments, self.path(&format!("{name}.out")))
    }

    fn server(&self, name: &str, arguments: Vec<OsString>, address: String) -> Server {
        let log = self.path(&format!("{name}.log"));
        Server::new(name, self.ottla.clone(), arguments, address, log)
    }

    /// An error with these words belongs to the story.
    pub fn expect_error(&self, words: &str) {
        self.expected.borrow_mut().push(words.to_owned());
    }

    /// Every log of a server must be free of errors, however often the server was killed.
    fn check_logs(&self) -> Result<()> {
        for log in self.logs() {
            let text = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
            let text = String::from_utf8_lossy(&text);
            let expected = self.expected.borrow();
            let mut errors =
                text.lines().filter(|line| line.contains(" ERROR ") || line.contains("panicked at"));
            let bad = errors.find(|line| !expected.iter().any(|words| line.contains(words)));
            ensure!(bad.is_none(), "{} says: {}", log.display(), bad.unwrap_or_default());
        }
        Ok(())
    }

    fn log_tails(&self) -> String {
        self.logs().iter().map(|log| format!("{}:\n{}\n", log.display(), tail(log, LOG_TAIL_LINES))).collect()
    }

    fn logs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let mut logs: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        logs
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if thread::panicking() {
            say(&format!("files are kept in {}\n{}", self.directory.display(), self.log_tails()));
        }
    }
}

/// Makes a topic with one replica of each partition and waits until every partition has a leader.
pub fn create_topic(address: &str, name: &str, partitions: u32, configs: &[(&str, &str)]) -> Result<()> {
    create_replicated_topic(address, name, partitions, 1, configs)
}

/// The same with so many replicas. Where fewer brokers are in service the others join the ISR later.
pub fn create_replicated_topic(
    address: &str,
    name: &str,
    partitions: u32,
    replication_factor: u16,
    configs: &[(&str, &str)],
) -> Result<()> {
    const ALREADY_EXISTS: &str = "error 36:";
    const INVALID_REPLICATION_FACTOR: &str = "error 38:";
    let request = wire::create_topic(name, partitions, replication_factor, configs);
    wait_until(&format!("topic {name} is made"), TOPIC_LIMIT, INTERVAL, || {
        match wire::send(address, &request).and_then(|answer| wire::created(&answer)) {
            // An earlier try whose answer was lost.
            Err(error) if error.to_string().starts_with(ALREADY_EXISTS) => Answer::Yes,
            // One replica is refused only until the first broker is in service.
            Err(error)
                if replication_factor > 1 && error.to_string().starts_with(INVALID_REPLICATION_FACTOR) =>
            {
                Answer::Never(error.to_string())
            }
            other => Answer::from(other),
        }
    })?;
    wait_for_leaders(address, name)
}

/// Waits until every partition of a topic has a leader.
pub fn wait_for_leaders(address: &str, topic: &str) -> Result<()> {
    let led = |seen: &[Partition]| !seen.is_empty() && seen.iter().all(|one| one.leader.is_some());
    let kcat = Kcat::new(PathBuf::from("kcat"));
    kcat.wait_for_partitions(address, topic, "every partition has a leader", TOPIC_LIMIT, led).map(drop)
}

/// What is in a directory.
pub fn names(directory: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Asks a node over HTTP; the answer's body if its status is 200.
pub fn http(address: &str, path: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).context("limit the wait for an answer")?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .context("ask")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("read the answer")?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| anyhow!("no answer of HTTP: {text:?}"))?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "{status}: {}", body.trim());
    Ok(body.to_owned())
}
