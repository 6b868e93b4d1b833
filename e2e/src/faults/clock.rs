//! A wall clock of a node's own, which can be set while the node runs: `libfaketime`, loaded before the C library.
//!
//! Only what asks for `CLOCK_REALTIME` sees it. The monotonic clock stays the machine's, as it does when a person or NTP
//! sets a clock. It takes a program that loads its C library, as cargo's builds do and images' do not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// How long a process believes what it has read of its clock, in s.
const READ_AGAIN_SECONDS: u32 = 1;

/// The clock of one node.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, and is set by way of a file of that name.
    pub fn make(file: &Path) -> Result<Self> {
        let clock = Self { file: file.to_owned() };
        clock.set(0)?;
        Ok(clock)
    }

    /// The words before a program that make it live by this clock.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={LIBRARY}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            format!("FAKETIME_CACHE_DURATION={READ_AGAIN_SECONDS}"),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            // No two processes share anything by it, and times of files are those of the disk.
            "FAKETIME_DISABLE_SHM=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ]
    }

    /// Sets it so many seconds ahead of the true time, or behind it.
    pub fn set(&self, ahead_seconds: i64) -> Result<()> {
        // By another name first: nobody reads half of it.
        let unfinished = self.file.with_extension("unfinished");
        fs::write(&unfinished, format!("{ahead_seconds:+}\n"))
            .and_then(|()| fs::rename(&unfinished, &self.file))
            .with_context(|| format!("set the clock {}", self.file.display()))
    }
}
