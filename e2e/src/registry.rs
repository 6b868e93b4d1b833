//! A registry for images (Debian's docker-registry) in a site's network, as a user's cluster has one: what
//! `--image-prefix` is tried with. It speaks plain HTTP; the site's nodes know that ([`crate::kube::node`]), and who
//! pushes is told by [`PUSHER_CONFIG`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::kube::kubeconfig::write_if_changed;
use crate::packages;
use crate::process::{self, Process};
use crate::site::Site;
use crate::step::Steps;

/// Where it listens, on the control plane's address.
pub const ADDRESS: &str = "172.30.0.1:5000";
/// The environment variable that names buildah's list of registries.
pub const PUSHER_CONFIG: &str = "CONTAINERS_REGISTRIES_CONF";

/// The registry answers within a second.
const LIMIT: Duration = Duration::from_secs(30);

/// Starts it unless it runs, and returns the file for [`PUSHER_CONFIG`].
pub fn ensure(site: &Site, steps: &Steps) -> Result<PathBuf> {
    packages::ensure(steps, &[packages::REGISTRY])?;
    let config = site.path("registry.yaml");
    let storage = site.path("registry");
    write_if_changed(
        &config,
        &format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: \"{}\"}}}}\nhttp: {{addr: \"{ADDRESS}\"}}\n",
            storage.display()
        ),
    )?;
    Process::new(site, "registry", site.fabric(), Path::new("/usr/bin/docker-registry"))
        .arg("serve")
        .arg(config.display())
        .ensure()?;
    process::wait_until_it_answers(site, "registry", LIMIT, || {
        let question = format!("http://{ADDRESS}/v2/");
        site.fabric().program("busybox").args(["wget", "-q", "-O", "-", &question]).read().map(|_| ())
    })?;
    let pusher = site.path("registries.conf");
    write_if_changed(&pusher, &format!("[[registry]]\nlocation = \"{ADDRESS}\"\ninsecure = true\n"))?;
    Ok(pusher)
}
