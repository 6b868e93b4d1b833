//! What lies outside a site's directory, because containerd, libcni and kubelet let nobody choose the place. All
//! sites of the machine and any other Kubernetes on it share these places: only what is a site's own is removed.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::site::{self, Site};

/// Where libcni notes the networks it made.
const CNI_NOTES: &str = "/var/lib/cni/results";
/// Where runc keeps the state of the containers that containerd has it run for Kubernetes.
const RUNC_STATES: &str = "/run/containerd/runc/k8s.io";
/// Where containerd's shims listen.
const SHIM_SOCKETS: &str = "/run/containerd/s";
/// Where kubelet links the logs of containers.
const LOG_LINKS: &str = "/var/log/containers";
/// Where kubelet listens for device plugins, whatever its root directory is.
const PLUGIN_SOCKET: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";
/// How many directory watchers one user may have.
const WATCH_LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Three kubelets and containerds need more than the default of 128.
const WATCHERS: u32 = 1024;

/// Raises the limit of watchers, and notes in the site what it was.
pub(super) fn raise_watch_limit(site: &Site) -> Result<()> {
    let current = fs::read_to_string(WATCH_LIMIT).with_context(|| format!("read {WATCH_LIMIT}"))?;
    if current.trim().parse::<u32>().is_ok_and(|current| current < WATCHERS) {
        let note = note_of(site);
        fs::write(&note, current.trim()).with_context(|| format!("write {}", note.display()))?;
        fs::write(WATCH_LIMIT, WATCHERS.to_string()).with_context(|| format!("write {WATCH_LIMIT}"))?;
    }
    Ok(())
}

fn note_of(site: &Site) -> PathBuf {
    site.path("max_user_instances")
}

/// Removes what the site has there. Its processes have ended, its directory is still there.
pub(super) fn remove(site: &Site) -> Result<()> {
    let inside = format!("{}/", site.directory().display());
    for path in entries(CNI_NOTES) {
        // Each note names the network namespace, and those of a site lie below its directory.
        if fs::read_to_string(&path).is_ok_and(|note| note.contains(&inside)) {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    remove_runc_states(Path::new(RUNC_STATES), &inside)?;
    for directory in [CNI_NOTES, RUNC_STATES, SHIM_SOCKETS] {
        remove_empty(Path::new(directory));
    }
    for path in entries(LOG_LINKS) {
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(site.directory())) {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    remove_dead_socket(Path::new(PLUGIN_SOCKET));
    restore_watch_limit(site)
}

/// A container whose shim was killed leaves its state behind; that names where the container lay.
fn remove_runc_states(states: &Path, inside: &str) -> Result<()> {
    for path in entries(states) {
        if fs::read_to_string(path.join("state.json")).is_ok_and(|state| state.contains(inside)) {
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Removes a directory and those around it, up to one of the system's own, as far as nothing is in them: whoever uses
/// them has something there.
fn remove_empty(directory: &Path) {
    let is_systems = |directory: &&Path| [Path::new("/run"), Path::new("/var/lib")].contains(directory);
    let mut ours = directory.ancestors().take_while(|directory| !is_systems(directory));
    // Not empty, or not there.
    let _ = ours.try_for_each(fs::remove_dir);
}

/// Of several kubelets the last one has the socket: if nobody answers, it was that of one which has ended.
fn remove_dead_socket(socket: &Path) {
    if UnixStream::connect(socket).is_err() && fs::remove_file(socket).is_ok() {
        // Not empty means that somebody else uses them.
        let _ = socket.ancestors().skip(1).take(2).try_for_each(fs::remove_dir);
    }
}

/// The limit goes back to what it was once no site is left that may need it; until then the note moves on.
fn restore_watch_limit(site: &Site) -> Result<()> {
    let Ok(before) = fs::read_to_string(note_of(site)) else { return Ok(()) };
    let other = site::ALL
        .iter()
        .map(|name| Site::new(name))
        .find(|other| other.name() != site.name() && other.directory().is_dir());
    match other {
        Some(other) => fs::write(note_of(&other), before).context("hand on the note of the watch limit"),
        None => fs::write(WATCH_LIMIT, before).with_context(|| format!("write {WATCH_LIMIT}")),
    }
}

fn entries(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_states_of_containers_of_the_site_go_and_those_of_others_stay() {
        let directory = std::env::temp_dir().join(format!("ottla-runc-{}", std::process::id()));
        for (container, bundle) in [("a", "/var/lib/ottla/test/node1/x"), ("b", "/var/lib/ottla/test2/y")] {
            fs::create_dir_all(directory.join(container)).unwrap();
            let state = format!("{{\"bundle\":\"{bundle}\"}}");
            fs::write(directory.join(container).join("state.json"), state).unwrap();
        }
        fs::create_dir_all(directory.join("c")).unwrap();
        remove_runc_states(&directory, "/var/lib/ottla/test/").unwrap();
        assert!(!directory.join("a").exists());
        assert!(directory.join("b").exists() && directory.join("c").exists());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_socket_that_nobody_listens_on_goes_and_one_in_use_stays() {
        let directory = std::env::temp_dir().join(format!("ottla-shared-{}", std::process::id()));
        let (outer, inner) = (directory.join("kubelet"), directory.join("kubelet/device-plugins"));
        fs::create_dir_all(&inner).unwrap();
        fs::write(directory.join("of somebody else"), "").unwrap();
        let socket = inner.join("kubelet.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        remove_dead_socket(&socket);
        assert!(socket.exists());
        drop(listener);
        remove_dead_socket(&socket);
        assert!(!outer.exists());
        assert!(directory.exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
