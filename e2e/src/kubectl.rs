//! kubectl against one cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{Program, program};
use crate::kube::Programs;
use crate::site::{Network, Site};

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    network: Option<Network>,
    executable: PathBuf,
    flags: Vec<String>,
}

impl Kubectl {
    /// The administrator of a site, from inside its network.
    #[must_use]
    pub fn of_site(site: &Site, programs: &Programs) -> Self {
        Self {
            network: Some(site.fabric()),
            executable: programs.kubernetes("kubectl"),
            flags: vec![format!("--kubeconfig={}", site.kubeconfig().display())],
        }
    }

    /// A context of the user's own kubeconfig.
    #[must_use]
    pub fn of_context(executable: PathBuf, context: &str) -> Self {
        Self { network: None, executable, flags: vec![format!("--context={context}")] }
    }

    /// The program.
    #[must_use]
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// The flags that name the cluster.
    #[must_use]
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// kubectl with its flags and `words`.
    pub fn program(&self, words: &[&str]) -> Program {
        let base = match &self.network {
            Some(network) => network.program(&self.executable),
            None => program(&self.executable),
        };
        base.args(&self.flags).args(words)
    }

    /// The standard output of `kubectl words`.
    pub fn read(&self, words: &[&str]) -> Result<String> {
        self.program(words).read()
    }

    /// An object (or a list) as JSON.
    pub fn object(&self, words: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(words);
        serde_json::from_str(&self.read(&all)?)
            .with_context(|| format!("parse kubectl get {}", words.join(" ")))
    }

    /// Applies a manifest on the server's side, taking over fields that others manage.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let words = ["apply", "--server-side", "--force-conflicts", "--field-manager=ottla-xtask", "-f", "-"];
        self.program(&words).stdin(manifest).read()
    }

    /// Waits for a condition such as `condition=Ready` on `object` (`kind/name`).
    pub fn wait(&self, namespace: &str, object: &str, condition: &str, limit: Duration) -> Result<()> {
        let limit = format!("--timeout={}s", limit.as_secs());
        self.read(&["wait", "-n", namespace, object, &format!("--for={condition}"), &limit]).map(|_| ())
    }
}
