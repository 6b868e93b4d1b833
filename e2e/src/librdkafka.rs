//! librdkafka as released: its sources, fetched by cargo, its library and its test runner, built once and kept in the cache.
//!
//! `e2e/librdkafka/Cargo.lock` pins the crate that carries it, with a checksum.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};

use crate::cache;
use crate::command::program;
use crate::packages;
use crate::repository;
use crate::step::{Log, Steps};

/// Raised when what is built of the same release changes.
const BUILD: u32 = 1;

/// Without what no test uses here. Debian's zlib and zstd are used; LZ4 and Snappy are librdkafka's own.
const CONFIGURE: [&str; 6] = [
    "--disable-ssl",
    "--disable-gssapi",
    "--disable-curl",
    "--disable-lz4-ext",
    "--enable-zlib",
    "--enable-zstd",
];

/// The built release.
#[derive(Debug, Clone)]
pub struct Librdkafka {
    version: String,
    directory: PathBuf,
}

impl Librdkafka {
    /// The release that the lock file names; cargo fetches it, and it is built, if the cache does not hold it.
    pub fn ensure(steps: &Steps) -> Result<Self> {
        let version = version()?;
        let entry = cache::entry("librdkafka", &format!("{version}-{BUILD}"), |directory| {
            packages::ensure(steps, &[packages::LIBRDKAFKA])?;
            steps.run(&format!("fetch librdkafka {version} with cargo"), |log| fetch(directory, log))?;
            steps.run(&format!("build librdkafka {version} and its tests (about 2 minutes)"), |log| {
                build(&directory.join("librdkafka"), log)
            })
        })?;
        Ok(Self { version, directory: entry.join("librdkafka") })
    }

    /// The program that runs the tests.
    #[must_use]
    pub fn runner(&self) -> PathBuf {
        self.directory.join("tests/test-runner")
    }

    /// Where its library's sources lie: a test reads a schema from there, as `../src`.
    #[must_use]
    pub fn sources(&self) -> PathBuf {
        self.directory.join("src")
    }

    /// What runs a Python script whose bindings, Debian's, use this release in the place of Debian's older one. The script
    /// finds in the environment, as `LIBRDKAFKA`, which release that must be.
    #[must_use]
    pub fn python(&self, script: &Path) -> (&'static str, Vec<OsString>) {
        let libraries = format!("LD_LIBRARY_PATH={}", self.libraries());
        let release = format!("LIBRDKAFKA={}", self.version);
        ("/usr/bin/env", vec![libraries.into(), release.into(), "/usr/bin/python3".into(), script.into()])
    }

    /// Where the table of its tests lies.
    #[must_use]
    pub fn table_of_tests(&self) -> PathBuf {
        self.directory.join("tests/test.c")
    }

    /// Where its libraries lie, as the dynamic linker takes it.
    #[must_use]
    pub fn libraries(&self) -> String {
        ["src", "src-cpp"].map(|folder| self.directory.join(folder).display().to_string()).join(":")
    }
}

/// The version of librdkafka that the lock file asks for.
pub fn version() -> Result<String> {
    let file = manifest().join("Cargo.lock");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    version_in(&text).with_context(|| format!("{} names no rdkafka-sys", file.display()))
}

fn version_in(lock: &str) -> Option<String> {
    let (_, rest) = lock.split_once("name = \"rdkafka-sys\"\nversion = \"")?;
    let (version, _) = rest.split_once('"')?;
    // The crate's own version, then that of what it carries.
    version.split_once('+').map(|(_, carried)| carried.to_owned())
}

fn manifest() -> PathBuf {
    repository::root().join("e2e/librdkafka")
}

/// Cargo checks what it fetches against the lock file.
fn fetch(directory: &Path, log: &Log) -> Result<()> {
    let vendor = directory.join("vendor");
    program(repository::cargo())
        .args(["vendor", "--locked", "--manifest-path"])
        .arg(manifest().join("Cargo.toml"))
        .arg(&vendor)
        .log(log)?;
    let (from, to) = (vendor.join("rdkafka-sys/librdkafka"), directory.join("librdkafka"));
    fs::rename(&from, &to).with_context(|| format!("move {}", from.display()))?;
    fs::remove_dir_all(&vendor).with_context(|| format!("remove {}", vendor.display()))
}

fn build(directory: &Path, log: &Log) -> Result<()> {
    let jobs = format!("-j{}", thread::available_parallelism().map_or(1, usize::from));
    program("bash").arg("configure").args(CONFIGURE).directory(directory).log(log)?;
    program("make").args([&jobs, "libs"]).directory(directory).log(log)?;
    program("make").args([&jobs, "-C", "tests", "build"]).directory(directory).log(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_the_crate_carries() {
        let lock = "[[package]]\nname = \"rdkafka-sys\"\nversion = \"4.10.0+2.12.1\"\nsource";
        assert_eq!(version_in(lock).as_deref(), Some("2.12.1"));
        assert_eq!(version_in("name = \"rdkafka\""), None);
        assert!(version().unwrap().starts_with("2."));
    }
}
