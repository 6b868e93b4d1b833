//! Kubeconfig files, and the administrator's way to the API server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::kube::API_SERVER;
use crate::kube::certificates::Certificates;

/// Writes a kubeconfig for the holder of the certificate `name` and returns its path.
pub fn write(place: &Path, certificates: &Certificates, name: &str) -> Result<PathBuf> {
    // JSON is YAML.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "ottla",
        "clusters": [{"name": "ottla", "cluster": {
            "server": API_SERVER,
            "certificate-authority": certificates.certificate("ca"),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": certificates.certificate(name),
            "client-key": certificates.key(name),
        }}],
        "contexts": [{"name": "ottla", "context": {"cluster": "ottla", "user": name}}],
    });
    write_if_changed(place, &format!("{config:#}\n"))?;
    Ok(place.to_path_buf())
}

/// Writes `text` to `place` unless it is there already.
pub fn write_if_changed(place: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(place).is_ok_and(|current| current == text) {
        return Ok(());
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    fs::write(place, text).with_context(|| format!("write {}", place.display()))
}
