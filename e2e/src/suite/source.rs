//! librdkafka as released: its sources, fetched by cargo, and its test runner, built once and kept in the cache.
//!
//! `e2e/librdkafka/Cargo.lock` pins the crate that carries it, with a checksum.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::catalogue;
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
pub struct Source {
    directory: PathBuf,
}

impl Source {
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
        Ok(Self { directory: entry.join("librdkafka") })
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

    /// Where its libraries lie, as the dynamic linker takes it.
    #[must_use]
    pub fn libraries(&self) -> String {
        ["src", "src-cpp"].map(|folder| self.directory.join(folder).display().to_string()).join(":")
    }

    /// Fails unless our list has every test of the release that is not local, and no other.
    pub fn check(&self) -> Result<()> {
        let file = self.directory.join("tests/test.c");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let theirs = broker_tests(&text);
        let ours: BTreeSet<&str> = catalogue::ALL.iter().map(|test| test.name).collect();
        let missing: Vec<_> = theirs.difference(&ours).collect();
        let surplus: Vec<_> = ours.difference(&theirs).collect();
        ensure!(
            missing.is_empty() && surplus.is_empty(),
            "the list of tests is not that of the release: it lacks {missing:?} and has {surplus:?} too much"
        );
        Ok(())
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

/// The names of the tests in librdkafka's own table that need something outside of themselves.
fn broker_tests(text: &str) -> BTreeSet<&str> {
    let table = text.split_once("tests[] = {").map_or("", |(_, rest)| rest);
    let table = table.split_once("\n};").map_or(table, |(table, _)| table);
    let entries = table.split("_TEST(").skip(1).filter(|entry| !entry.contains("TEST_F_LOCAL"));
    entries.filter_map(|entry| entry.split(',').next()).map(str::trim).collect()
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

    #[test]
    fn tests_are_read_from_the_table_of_the_release_without_those_that_are_local() {
        let text = "_TEST_DECL(0001_a);\nstruct test tests[] = {\n    {.name = \"<MAIN>\", .flags = TEST_F_LOCAL},\n    \
                    _TEST(0001_a, 0),\n    _TEST(0002_b,\n          TEST_F_LOCAL,\n          _THRES(.ucpu = 1.0)),\n    \
                    /* Why. */\n    _TEST(0003_c, TEST_F_SOCKEM, TEST_BRKVER(0, 9, 0, 0)),\n    {NULL}\n};\n\
                    _TEST(0004_d, 0),";
        assert_eq!(broker_tests(text), BTreeSet::from(["0001_a", "0003_c"]));
    }
}
