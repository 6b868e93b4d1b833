//! Small scripts in a site's `bin` folder, by which people (and tests) run programs inside its network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::kube::kubeconfig::write_if_changed;
use crate::kube::{Programs, dns};
use crate::site::Site;

/// Writes the scripts: `kubectl`, `helm`, and `enter`, which runs any program with the cluster's network and
/// name resolution.
pub fn ensure(site: &Site, programs: &Programs, helm: &Path) -> Result<()> {
    let network = format!("nsenter --net='{}' --", site.fabric().path().display());
    let kubeconfig = site.kubeconfig();
    let kubernetes_client = |executable: &Path| {
        format!("KUBECONFIG='{}' exec {network} '{}' \"$@\"", kubeconfig.display(), executable.display())
    };
    write(site, "kubectl", &kubernetes_client(&programs.kubernetes("kubectl")))?;
    write(site, "helm", &kubernetes_client(helm))?;
    // A mount namespace of its own, so that the host's files stay as they are for everybody else.
    let enter = format!(
        "exec nsenter --net='{}' -- unshare --mount -- sh -c '\n\
         mount --bind \"{}\" /etc/resolv.conf && mount --bind \"{}\" /etc/nsswitch.conf && exec \"$@\"' sh \"$@\"",
        site.fabric().path().display(),
        dns::resolver_file(site).display(),
        dns::switch_file(site).display(),
    );
    write(site, "enter", &enter)?;
    write(site, "kcat", &format!("exec '{}' kcat \"$@\"", path(site, "enter").display()))
}

/// The path of the script `name`.
#[must_use]
pub fn path(site: &Site, name: &str) -> PathBuf {
    site.path("bin").join(name)
}

fn write(site: &Site, name: &str, body: &str) -> Result<()> {
    let place = path(site, name);
    write_if_changed(&place, &format!("#!/bin/sh\n{body}\n"))?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&place, executable).with_context(|| format!("make {} executable", place.display()))
}
