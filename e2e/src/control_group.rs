//! The control groups of a site, in version 1 (one tree per controller) or version 2 (one tree).
//!
//! Every process a site starts lives below `/<site>`; so everything that is left of it, whoever started
//! it, is found by walking that tree.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::kill;

const MOUNT_POINT: &str = "/sys/fs/cgroup";
/// How long processes may take to vanish after SIGKILL before tear-down gives up.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// The trees of this machine: one per controller in version 1, one in all in version 2.
fn trees() -> Result<Vec<PathBuf>> {
    let root = Path::new(MOUNT_POINT);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut trees = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("list {MOUNT_POINT}"))? {
        let path = entry?.path();
        // Links such as `cpu -> cpu,cpuacct` name a tree that is listed under its own name, too.
        if path.is_dir() && !path.is_symlink() && path.join("cgroup.procs").exists() {
            trees.push(path);
        }
    }
    if trees.is_empty() {
        bail!("no control groups are mounted at {MOUNT_POINT}");
    }
    Ok(trees)
}

/// Makes the group `name` (a path such as `ottla-dev/node1`) in every tree.
pub fn create(name: &str) -> Result<()> {
    for tree in trees()? {
        let mut path = tree.clone();
        for part in name.split('/') {
            delegate_controllers(&path);
            path = path.join(part);
            if !path.exists() {
                fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
            }
            inherit_cpuset(&path)?;
        }
    }
    Ok(())
}

/// Version 2 only: children get the controllers their parent passes on. A group that holds processes
/// cannot pass any on, which is the kubelet's matter, not ours.
fn delegate_controllers(path: &Path) {
    let Ok(controllers) = fs::read_to_string(path.join("cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        let _ = fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Version 1 only: a new cpuset has no processors and takes no process until it is given some.
fn inherit_cpuset(path: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = path.join(file);
        let Some(parent) = path.parent() else { continue };
        let Ok(current) = fs::read_to_string(&own) else { continue };
        if current.trim().is_empty() && !parent.join("cgroup.controllers").exists() {
            let inherited = fs::read_to_string(parent.join(file)).with_context(|| format!("read {file}"))?;
            fs::write(&own, inherited.trim()).with_context(|| format!("write {}", own.display()))?;
        }
    }
    Ok(())
}

/// The `cgroup.procs` files of the group `name`: a process that writes its id to each has moved there.
pub fn process_files(name: &str) -> Result<Vec<PathBuf>> {
    let files = trees()?.into_iter().map(|tree| tree.join(name).join("cgroup.procs"));
    Ok(files.filter(|file| file.exists()).collect())
}

/// Every process in the group `name` or below it.
pub fn processes(name: &str) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for tree in trees()? {
        for group in groups_below(&tree.join(name)) {
            let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|id| *id != 0));
        }
    }
    Ok(found)
}

/// Kills every process in the group `name` and below it, then removes the groups.
pub fn remove(name: &str) -> Result<()> {
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        let left = processes(name)?;
        // A group stays busy for a moment after its last process; and one that was just being started may still
        // come in. Then there is another round.
        let busy = if left.is_empty() { remove_empty(name)? } else { BTreeSet::new() };
        if left.is_empty() && busy.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "processes {left:?} of the control group {name} do not die, or its groups {busy:?} stay busy"
            );
        }
        // It fails if one ended in between; the next round tells.
        let _ = kill("KILL", left);
        thread::sleep(Duration::from_millis(50));
    }
}

/// Removes the group `name` and those below it; returns the ones that are busy.
fn remove_empty(name: &str) -> Result<BTreeSet<PathBuf>> {
    let mut busy = BTreeSet::new();
    for group in trees()?.into_iter().flat_map(|tree| groups_below(&tree.join(name))) {
        match fs::remove_dir(&group) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty) => {
                busy.insert(group);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("remove {}", group.display())),
        }
    }
    Ok(busy)
}

/// A group and all below it, the deepest first; empty if it is not there.
fn groups_below(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .flat_map(|entry| groups_below(&entry.path()))
        .collect();
    found.push(group.to_path_buf());
    found
}
