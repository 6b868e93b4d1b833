//! The API lane: etcd and the API server alone, with our custom resource definitions.

use anyhow::{Result, bail};

use crate::control_group;
use crate::kube::certificates::Certificates;
use crate::kube::{Programs, control_plane, network};
use crate::kubectl::Kubectl;
use crate::lane;
use crate::packages;
use crate::site::{self, Site};
use crate::step::Steps;

/// An API server that knows our resources.
#[derive(Debug)]
pub struct ApiLane {
    /// Its site.
    pub site: Site,
    /// Its administrator.
    pub kubectl: Kubectl,
}

/// What came of an attempt to apply a manifest.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The API server took it.
    Accepted,
    /// It did not, and said why.
    Refused(String),
}

impl ApiLane {
    /// Starts the lane's site if it does not run and brings the definitions up to date.
    pub fn ensure() -> Result<Self> {
        site::require_root()?;
        let site = Site::new(site::API);
        let _lock = site.wait_for_lock()?;
        let steps = Steps::new(site.logs());
        packages::ensure(&steps, &[packages::KUBERNETES])?;
        let programs = Programs::ensure(&steps)?;
        let kubectl = Kubectl::of_site(&site, &programs);
        steps.run("API server", |log| {
            control_group::create(&format!("{}/system", site.control_group()))?;
            network::ensure_fabric(&site, log)?;
            let certificates = Certificates::ensure(&site, 0, log)?;
            control_plane::ensure_api_server(&site, &programs, &certificates)?;
            kubectl.apply(&lane::definitions()?)?;
            kubectl.read(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])
        })?;
        Ok(Self { site, kubectl })
    }

    /// Asks the API server what it thinks of a manifest, without keeping it.
    pub fn judge(&self, manifest: &str) -> Result<Verdict> {
        self.apply(manifest, &["--dry-run=server"])
    }

    /// Applies a manifest for good.
    pub fn keep(&self, manifest: &str) -> Result<Verdict> {
        self.apply(manifest, &[])
    }

    fn apply(&self, manifest: &str, flags: &[&str]) -> Result<Verdict> {
        let output = self.kubectl.program(&["apply", "-f", "-"]).args(flags).stdin(manifest).output()?;
        if output.status.success() {
            return Ok(Verdict::Accepted);
        }
        match String::from_utf8(output.stderr) {
            Ok(text) => Ok(Verdict::Refused(text.trim().to_owned())),
            Err(error) => bail!("kubectl says something that is not text: {error}"),
        }
    }
}
