//! A site: one Kubernetes of ours on this machine, told apart from others by its name.
//!
//! Everything a site makes carries its name: its directory, network namespaces, control groups and
//! processes. So `down` finds all of it again, also after a crash half-way, without any list that could be
//! out of date; and two sites never clash, because each network is a world of its own.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{Program, program};

/// The site of `cargo xtask up` and `down`.
pub const DEVELOPMENT: &str = "dev";
/// The site of the node lane: a whole cluster.
pub const TEST: &str = "test";
/// The site of the API lane: etcd and the API server alone.
pub const API: &str = "api";
/// The site of the process lane: a control plane whose pods are processes of this machine.
pub const PROCESS: &str = "process";
/// The site that a test breaks off half-way.
pub const SCRATCH: &str = "scratch";
/// Every site there may be.
pub const ALL: [&str; 5] = [DEVELOPMENT, TEST, API, PROCESS, SCRATCH];

/// The names of one site. Nothing need exist of it.
#[derive(Debug, Clone)]
pub struct Site {
    name: String,
    directory: PathBuf,
}

/// One of a site's network namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    name: String,
}

impl Network {
    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that keeps it alive.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// A program to run inside it. `nsenter`, not `ip netns exec`: that one gives each process a mount
    /// namespace of its own, and containerd would not see kubelet's mounts.
    pub fn program(&self, name: impl AsRef<Path>) -> Program {
        let mut flag = std::ffi::OsString::from("--net=");
        flag.push(self.path());
        program("nsenter").arg(flag).arg("--").arg(name.as_ref())
    }
}

impl Site {
    /// The site called `name`, below `$OTTLA_STATE` or `/var/lib/ottla`.
    ///
    /// Not below `$XDG_STATE_HOME`: sockets have short names only (107 bytes), and a user's home may lie
    /// on a file system that containers cannot use.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let parent =
            env::var_os("OTTLA_STATE").map_or_else(|| PathBuf::from("/var/lib/ottla"), PathBuf::from);
        Self { name: name.to_owned(), directory: parent.join(name) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that holds all its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A path inside its directory.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.join(relative)
    }

    /// Where its processes and steps log.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path("logs")
    }

    /// The network of the control plane and of the tests.
    #[must_use]
    pub fn fabric(&self) -> Network {
        Network { name: format!("ottla-{}", self.name) }
    }

    /// The network of one node.
    #[must_use]
    pub fn node_network(&self, node: &str) -> Network {
        Network { name: format!("ottla-{}-{node}", self.name) }
    }

    /// The network of one pod of the process lane.
    #[must_use]
    pub fn pod_network(&self, number: u16) -> Network {
        Network { name: format!("ottla-{}-pod{number}", self.name) }
    }

    /// The name of the control group above all its processes and pods.
    #[must_use]
    pub fn control_group(&self) -> String {
        format!("ottla-{}", self.name)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// Makes its directory and takes the lock that keeps two runs of `up` or `down` apart; fails if another
    /// holds it.
    pub fn lock(&self) -> Result<File> {
        let (path, file) = self.lock_file()?;
        if file.try_lock().is_err() {
            bail!("another cargo xtask is at work on the site {:?} (it holds {})", self.name, path.display());
        }
        Ok(file)
    }

    /// The same for tests, which run side by side: waits for the lock.
    pub fn wait_for_lock(&self) -> Result<File> {
        let (path, file) = self.lock_file()?;
        file.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    }

    fn lock_file(&self) -> Result<(PathBuf, File)> {
        fs::create_dir_all(self.logs()).with_context(|| format!("create {}", self.logs().display()))?;
        // Beside the directory, so that removing the directory does not remove a lock that is held.
        let path = self.directory.with_extension("lock");
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        Ok((path, file))
    }
}

/// Fails unless the user may make network namespaces and control groups.
pub fn require_root() -> Result<()> {
    let id = program("id").arg("-u").read()?;
    if id.trim() != "0" {
        bail!(
            "a Kubernetes of our own takes root (network namespaces, control groups): run with sudo -E, or use --context NAME for a cluster you have"
        );
    }
    Ok(())
}
