//! The operator, installed from the project's chart as a user would.

use std::time::Duration;

use anyhow::Result;

use crate::command::Program;
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

/// Installs the chart or brings it up to date. `helm` makes a fresh command line; `settings` are
/// `--set` pairs.
pub fn install(helm: impl Fn() -> Program, settings: &[String], log: &Log) -> Result<()> {
    let chart = repository::root().join("charts/ottla");
    let mut program = helm()
        .args(["upgrade", "--install", RELEASE])
        .arg(chart)
        .args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout"])
        .arg(format!("{}s", LIMIT.as_secs()));
    for setting in settings {
        program = program.args(["--set-string", setting]);
    }
    program.log(log)
}

/// Whether the release is installed and was not left half-way.
pub fn is_installed(helm: impl Fn() -> Program) -> bool {
    let status = helm().args(["status", RELEASE, "--namespace", NAMESPACE, "--output", "json"]).read();
    status.is_ok_and(|text| text.contains("\"status\":\"deployed\""))
}
