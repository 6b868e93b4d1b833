//! What is built once and kept outside the checkout, by version.
//!
//! An entry is made in a directory beside its place and renamed into it, so that it is either whole or
//! not there. What makes an entry resumable is the tool that fills it (Go's and Cargo's own caches).

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the cache: `$OTTLA_CACHE`, else `$XDG_CACHE_HOME/ottla`, else `~/.cache/ottla`.
pub fn root() -> Result<PathBuf> {
    if let Some(directory) = env::var_os("OTTLA_CACHE") {
        return Ok(PathBuf::from(directory));
    }
    if let Some(directory) = env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(directory).join("ottla"));
    }
    let home = env::var_os("HOME").context("neither OTTLA_CACHE, XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/ottla"))
}

/// The directory `name/version` of the cache, made by `fill` if it is not there. Two that want the same entry at
/// once make it once: the second waits for the first.
pub fn entry(name: &str, version: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let parent = root()?.join(name);
    let place = parent.join(version);
    if place.is_dir() {
        return Ok(place);
    }
    fs::create_dir_all(&parent).with_context(|| format!("create {}", parent.display()))?;
    let lock = parent.join(format!("{version}.lock"));
    let held = File::create(&lock).with_context(|| format!("create {}", lock.display()))?;
    held.lock().with_context(|| format!("lock {}", lock.display()))?;
    if place.is_dir() {
        return Ok(place);
    }
    let unfinished = parent.join(format!("{version}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("remove {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("create {}", unfinished.display()))?;
    fill(&unfinished)?;
    fs::rename(&unfinished, &place).with_context(|| format!("move {} into place", place.display()))?;
    Ok(place)
}
