//! Measurements: how quick, how small, how quiet. Each says what it did, so that a number can be repeated.

pub mod beside_kafka;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{Answer, program, wait_until};
use crate::control_group;
use crate::helm;
use crate::lane::Lane;
use crate::lane::namespace::THREE_BROKERS;
use crate::site::Site;

/// How many topics the operator's memory is measured with.
const TOPICS: usize = 100;

/// The annotation of a namespace by which a measurement shows that writes are noted.
const AUDITED: &str = "ottla.dev/audited";

/// From `kubectl apply` of three brokers until the cluster is Ready.
pub fn apply_until_ready(lane: &Lane) -> Result<Duration> {
    let namespace = lane.namespace("figures")?;
    let started = Instant::now();
    namespace.apply_cluster(THREE_BROKERS)?;
    namespace.wait_ready("kafkacluster/my")?;
    let elapsed = started.elapsed();
    namespace.remove()?;
    Ok(elapsed)
}

/// The operator's memory with one cluster and a hundred topics, in KiB.
pub fn operator_kib(lane: &Lane) -> Result<u64> {
    let namespace = lane.namespace("figures-topics")?;
    namespace.apply_cluster(THREE_BROKERS)?;
    namespace.wait_ready("kafkacluster/my")?;
    let topics: String = (0..TOPICS)
        .map(|number| {
            format!(
                "---\n{{apiVersion: ottla.dev/v1alpha1, kind: KafkaTopic, metadata: {{name: topic-{number}}}, \
                 spec: {{clusterRef: {{name: my}}, partitions: 1, replicas: 1}}}}\n"
            )
        })
        .collect();
    namespace.apply(&topics)?;
    namespace.kubectl(&["wait", "kafkatopic", "--all", "--for=condition=Ready", "--timeout=180s"])?;
    let resident = resident_kib(operator_process(&lane.site)?)?;
    namespace.remove()?;
    Ok(resident)
}

/// The operator's writes to the API server in `window`, its Lease included, as the audit log has them.
pub fn writes_at_rest(lane: &Lane, window: Duration) -> Result<Vec<String>> {
    let log = lane.site.logs().join("audit.log");
    let read = || fs::read(&log).with_context(|| format!("read {}", log.display()));
    let before = read()?.len();
    thread::sleep(window);
    // Without a line from anybody the log would prove nothing: this one must be in it.
    lane.kubectl.read(&["annotate", "namespace", "default", "--overwrite", &format!("{AUDITED}=")])?;
    let text = read()?;
    let new = text.get(before..).context("the audit log was begun anew meanwhile: measure again")?;
    let new = String::from_utf8_lossy(new);
    anyhow::ensure!(new.contains("/namespaces/default?"), "no write at all is noted in {}", log.display());
    Ok(operator_writes(&new))
}

fn operator_writes(audit: &str) -> Vec<String> {
    let user = format!("system:serviceaccount:{}:{}", helm::NAMESPACE, helm::RELEASE);
    audit
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["user"]["username"] == user.as_str())
        .map(|event| format!("{} {}", event["verb"], event["requestURI"]))
        .collect()
}

fn operator_process(site: &Site) -> Result<u32> {
    let mut found = None;
    wait_until("the operator runs", Duration::from_secs(30), Duration::from_millis(200), || {
        let processes = control_group::processes(&site.control_group()).unwrap_or_default();
        found = processes.into_iter().find(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.starts_with(b"/ottla-operator")
        });
        if found.is_some() { Answer::Yes } else { Answer::NotYet("no such process".to_owned()) }
    })?;
    found.context("the operator runs")
}

fn resident_kib(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without memory")?;
    line.trim().trim_end_matches(" kB").parse().context("a size that is no number")
}

/// KiB as MiB.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub fn mebi(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The size of a file in bytes.
pub fn file_bytes(path: &Path) -> Result<u64> {
    let text = program("stat").args(["-c", "%s"]).arg(path).read()?;
    text.trim().parse().context("a size that is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operators_writes_count() {
        let event = |user: &str| {
            format!("{{\"user\":{{\"username\":\"{user}\"}},\"verb\":\"patch\",\"requestURI\":\"/x\"}}\n")
        };
        let audit = event("system:serviceaccount:ottla-system:ottla") + &event("admin");
        assert_eq!(operator_writes(&audit), ["\"patch\" \"/x\""]);
    }
}
