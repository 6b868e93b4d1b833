//! What surrounds a pod's process: a network on the site's bridge and a directory as its root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::api::Api;
use super::volume::{self, Content};
use crate::command::program;
use crate::kube::{FABRIC_ADDRESS, dns, network};
use crate::site::{Network, Site};

/// A pod's surroundings.
#[derive(Debug)]
pub(super) struct Sandbox {
    site: Site,
    number: u16,
    directory: PathBuf,
    cabled: bool,
}

/// A directory of this machine and where the process sees it.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) place: PathBuf,
}

impl Sandbox {
    pub(super) fn new(site: &Site, number: u16) -> Self {
        let directory = site.path(&format!("pods/{number}"));
        Self { site: site.clone(), number, directory, cabled: false }
    }

    pub(super) fn network(&self) -> Network {
        self.site.pod_network(self.number)
    }

    /// Addresses are not used again: a client that still knows an old one must not reach another pod.
    pub(super) fn address(&self) -> String {
        const PER_BLOCK: u16 = 250;
        format!("172.30.{}.{}", 1 + self.number / PER_BLOCK, 1 + self.number % PER_BLOCK)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Makes the network, once.
    pub(super) fn ensure_network(&mut self) -> Result<()> {
        if self.cabled {
            return Ok(());
        }
        let (network, fabric) = (self.network(), self.site.fabric());
        network::remove(&network)?;
        let cable = format!("q{}", self.number);
        let (inside, outside) = (network.name(), fabric.name());
        let commands = [
            format!("netns add {inside}"),
            format!("-n {inside} link set lo up"),
            format!("-n {outside} link add {cable} type veth peer name eth0 netns {inside}"),
            format!("-n {outside} link set {cable} master br0 up"),
            format!("-n {inside} addr add {}/16 dev eth0", self.address()),
            format!("-n {inside} link set eth0 up"),
            format!("-n {inside} route add default via {FABRIC_ADDRESS}"),
        ];
        for command in commands {
            program("ip").args(command.split(' ')).read()?;
        }
        self.cabled = true;
        Ok(())
    }

    /// Makes the root directory anew: the binary of the image, a resolver, and what the volumes hold.
    pub(super) fn fill_root(&self, api: &Api, pod: &Value, container: &Value) -> Result<Vec<Mount>> {
        let root = self.root();
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
        }
        for directory in ["dev", "etc", "proc", "tmp"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        let (binary, entrypoint) = image(&self.site, container["image"].as_str().unwrap_or_default())?;
        fs::hard_link(&binary, root.join(entrypoint.trim_start_matches('/')))
            .with_context(|| format!("link {}", binary.display()))?;
        self.write_resolver(pod)?;
        let of_machine = |name: &str| Mount { source: Path::new("/").join(name), place: root.join(name) };
        let mut mounts = vec![of_machine("proc"), of_machine("dev")];
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let name = mount["name"].as_str().context("a mount without a name")?;
            let path = mount["mountPath"].as_str().context("a mount without a path")?;
            let place = root.join(path.trim_start_matches('/'));
            match volume::provide(api, pod, name, &place)? {
                Content::Written => {}
                Content::Directory(source) => mounts.push(Mount { source, place }),
            }
        }
        Ok(mounts)
    }

    fn write_resolver(&self, pod: &Value) -> Result<()> {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default");
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let resolver = format!(
            "nameserver {FABRIC_ADDRESS}\nsearch {namespace}.svc.cluster.local svc.cluster.local cluster.local\n\
             options ndots:5\n"
        );
        let hosts = format!("127.0.0.1 localhost\n{} {name}\n", self.address());
        let switch = fs::read_to_string(dns::switch_file(&self.site)).context("read nsswitch.conf")?;
        for (file, text) in [("resolv.conf", resolver), ("hosts", hosts), ("nsswitch.conf", switch)] {
            let path = self.root().join("etc").join(file);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes network and root.
    pub(super) fn remove(&self) -> Result<()> {
        network::remove(&self.network())?;
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory)
                .with_context(|| format!("remove {}", self.directory.display()))?;
        }
        Ok(())
    }
}

/// The binary that stands for an image, and where the image has it.
fn image(site: &Site, name: &str) -> Result<(PathBuf, &'static str)> {
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    match Path::new(repository).file_name().and_then(|name| name.to_str()) {
        Some("broker") => Ok((site.path("binaries/ottla"), "/ottla")),
        Some("operator") => Ok((site.path("binaries/ottla-operator"), "/ottla-operator")),
        Some(_) | None => bail!("the process lane has no binary for the image {name:?}"),
    }
}

/// The program an image starts.
pub(super) fn entrypoint(name: &str) -> &'static str {
    if name.contains("/operator:") { "/ottla-operator" } else { "/ottla" }
}
