//! Removal of a site: everything it made and nothing else, whatever state a crash left it in.
//!
//! Nothing is read from a list: processes are those in the site's control group, mounts those below its
//! directory, networks those that carry its name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::program;
use crate::control_group;
use crate::kube::{Node, network, shared};
use crate::site::Site;
use crate::step::Log;

/// Whether anything of the site is there.
pub fn is_present(site: &Site) -> Result<bool> {
    let directory_filled = fs::read_dir(site.directory()).is_ok_and(|mut entries| entries.next().is_some());
    Ok(directory_filled
        || !network::existing(site)?.is_empty()
        || !control_group::processes(&site.control_group())?.is_empty())
}

/// Removes the site.
pub fn remove(site: &Site, log: &Log) -> Result<()> {
    log.line("processes");
    control_group::remove(&site.control_group())?;
    for socket in shim_sockets(site) {
        log.line(&format!("socket {}", socket.display()));
        // A shim that ended by itself has removed its own.
        let _ = fs::remove_file(socket);
    }
    shared::remove(site)?;
    for mount in mounts_below(site.directory())? {
        log.line(&format!("unmount {mount}"));
        // Lazily: what a process of somebody else still looks at goes when they stop looking.
        program("umount").args(["--lazy", &mount]).log(log)?;
    }
    for network in network::existing(site)? {
        log.line(&format!("network {}", network.name()));
        network::remove(&network)?;
    }
    Ok(())
}

/// The sockets of containerd's shims. They lie in a directory that all containerds of the machine share;
/// which are ours stands in the notes each containerd keeps of its containers.
fn shim_sockets(site: &Site) -> Vec<PathBuf> {
    let notes =
        |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().filter_map(|entry| entry.ok());
    Node::first(u8::MAX)
        .map(|node| site.path(&node.name()))
        .take_while(|directory| directory.exists())
        .flat_map(|directory| notes(directory.join("run/io.containerd.runtime.v2.task/k8s.io")))
        .filter_map(|container| fs::read_to_string(container.path().join("address")).ok())
        .filter_map(|address| address.trim().strip_prefix("unix://").map(PathBuf::from))
        .collect()
}

/// Everything on this machine that a site could leave behind: compare before and after. Names of ours only, except
/// in the directories where names tell nothing; there, another Kubernetes that is at work meanwhile shows, too.
pub fn traces() -> Result<BTreeSet<String>> {
    let listed = |directory: &str, depth: &str| -> Vec<String> {
        let listed = program("find").arg(directory).args(["-mindepth", "1", "-maxdepth", depth]).read();
        listed.unwrap_or_default().lines().map(str::to_owned).collect()
    };
    let table = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let mut found: BTreeSet<String> = mount_points(&table, "/").into_iter().collect();
    found.extend(listed("/sys/fs/cgroup", "2"));
    found.extend(listed("/run/netns", "1"));
    found.retain(|name| name.contains("ottla"));
    for directory in ["/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods"] {
        found.extend(listed(directory, "2"));
    }
    found.extend(listed("/run/containerd", "3"));
    found.extend(listed("/var/lib/ottla", "1"));
    let limit =
        fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").context("read the watch limit")?;
    found.insert(format!("max_user_instances {}", limit.trim()));
    Ok(found)
}

/// Removes the site's directory, logs included.
pub fn remove_directory(site: &Site) -> Result<()> {
    if site.directory().exists() {
        fs::remove_dir_all(site.directory())
            .with_context(|| format!("remove {}", site.directory().display()))?;
    }
    let lock = site.directory().with_extension("lock");
    if lock.exists() {
        fs::remove_file(&lock).with_context(|| format!("remove {}", lock.display()))?;
    }
    Ok(())
}

/// Mount points below `directory`, the deepest first.
fn mounts_below(directory: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(mount_points(&table, &format!("{}/", directory.display())))
}

fn mount_points(table: &str, prefix: &str) -> Vec<String> {
    let mut points: Vec<String> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| point.replace("\\040", " "))
        .filter(|point| point.starts_with(prefix))
        .collect();
    // Later mounts may lie on top of or inside earlier ones.
    points.reverse();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_directory_are_found_and_the_newest_comes_first() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                     2 1 0:5 / /var/lib/ottla/dev/a rw - tmpfs t rw\n\
                     3 1 0:5 / /var/lib/ottla/dev/a/b rw - tmpfs t rw\n\
                     4 1 0:5 / /var/lib/ottla/dev2 rw - tmpfs t rw\n";
        let points = mount_points(table, "/var/lib/ottla/dev/");
        assert_eq!(points, ["/var/lib/ottla/dev/a/b", "/var/lib/ottla/dev/a"]);
    }
}
