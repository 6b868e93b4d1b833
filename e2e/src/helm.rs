//! The operator, installed from the project's chart as a user would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::command::{Program, program};
use crate::repository;
use crate::step::Log;

/// Where the operator lives.
pub const NAMESPACE: &str = "ottla-system";
/// The name of the release, and of the operator's ServiceAccount.
pub const RELEASE: &str = "ottla";
/// Its Deployment.
pub const OPERATOR: &str = "ottla-operator";
/// The operator is up in seconds; the first time its image is loaded already.
const LIMIT: Duration = Duration::from_secs(120);

/// The annotation of the operator's pod that tells one build from another: a tag stays the same from build to
/// build, so that Kubernetes would see no change by itself.
const BUILD_ANNOTATION: &str = "ottla.dev/build";

/// Installs the chart, or brings it up to date if what is installed was made from something else than the chart
/// of this checkout, `artifact` (the operator's image archive or binary) and `settings` (`--set` pairs). Returns
/// whether anything was done. `helm` makes a fresh command line. What the user set by hand stays.
pub fn ensure(helm: impl Fn() -> Program, artifact: &Path, settings: &[String], log: &Log) -> Result<bool> {
    let build = build(artifact, settings)?;
    if installed_build(&helm).as_deref() == Some(build.as_str()) {
        return Ok(false);
    }
    let mut program = helm()
        .args(["upgrade", "--install", RELEASE])
        .arg(chart())
        .args(["--namespace", NAMESPACE, "--create-namespace", "--reset-then-reuse-values"])
        .args(["--wait", "--timeout"])
        .arg(format!("{}s", LIMIT.as_secs()));
    let key = BUILD_ANNOTATION.replace('.', "\\.");
    for setting in settings.iter().chain([&format!("podAnnotations.{key}={build}")]) {
        program = program.args(["--set-string", setting]);
    }
    program.log(log)?;
    Ok(true)
}

/// The chart of this checkout.
#[must_use]
pub fn chart() -> PathBuf {
    repository::root().join("charts/ottla")
}

/// A digest of everything that `ensure` installs.
fn build(artifact: &Path, settings: &[String]) -> Result<String> {
    let files = program("find").arg(chart()).args(["-type", "f"]).read()?;
    let mut files: Vec<&str> = files.lines().collect();
    files.sort_unstable();
    let digests = program("sha256sum").arg(artifact).args(&files).read()?;
    // Without the names: another checkout of the same is the same.
    let mut text: String = digests.lines().filter_map(|line| line.split(' ').next()).collect();
    text.push_str(&settings.join(" "));
    let digest = program("sha256sum").stdin(text).read()?;
    Ok(digest.chars().take(16).collect())
}

/// The build that is deployed; `None` if there is none, or one that was left half-way.
fn installed_build(helm: impl Fn() -> Program) -> Option<String> {
    if !is_installed(&helm) {
        return None;
    }
    let values =
        helm().args(["get", "values", RELEASE, "--namespace", NAMESPACE, "--output", "json"]).read().ok()?;
    let values: serde_json::Value = serde_json::from_str(&values).ok()?;
    values["podAnnotations"][BUILD_ANNOTATION].as_str().map(str::to_owned)
}

/// Whether the release is installed and was not left half-way.
fn is_installed(helm: impl Fn() -> Program) -> bool {
    let status = helm().args(["status", RELEASE, "--namespace", NAMESPACE, "--output", "json"]).read();
    status.is_ok_and(|text| text.contains("\"status\":\"deployed\""))
}
