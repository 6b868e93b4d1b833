//! `examples/quickstart.yaml`: applied, waited for, and proven with records.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::kcat::{self, Kcat};
use crate::kubectl::Kubectl;
use crate::repository;

/// The cluster of the example.
pub const CLUSTER: &str = "my";
/// Its topic.
pub const TOPIC: &str = "orders";
/// Where it is applied.
pub const NAMESPACE: &str = "default";
/// The port of the first client listener.
pub const CLIENT_PORT: u16 = 9092;
/// Ready within 8 s is the aim; a machine that compiles at the same time gets far more.
const READY_LIMIT: Duration = Duration::from_secs(180);
/// How many records `up` sends and reads back.
const RECORDS: usize = 1000;

/// What came of applying the example.
#[derive(Debug, Clone, Copy)]
pub struct Applied {
    /// From `kubectl apply` until both objects were Ready.
    pub ready_after: Duration,
}

/// Whether the example's objects are there.
#[must_use]
pub fn is_applied(kubectl: &Kubectl) -> bool {
    let words = ["get", "-n", NAMESPACE, &format!("kafkacluster/{CLUSTER}"), &format!("kafkatopic/{TOPIC}")];
    kubectl.program(&words).succeeds()
}

/// Applies the example and waits until both objects are Ready.
pub fn apply(kubectl: &Kubectl) -> Result<Applied> {
    let path = repository::root().join("examples/quickstart.yaml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let started = Instant::now();
    kubectl.program(&["apply", "-n", NAMESPACE, "-f", "-"]).stdin(manifest).read()?;
    wait(kubectl)?;
    Ok(Applied { ready_after: started.elapsed() })
}

/// Waits until the example's objects are Ready.
pub fn wait(kubectl: &Kubectl) -> Result<()> {
    kubectl.wait(NAMESPACE, &format!("kafkacluster/{CLUSTER}"), "condition=Ready", READY_LIMIT)?;
    kubectl.wait(NAMESPACE, &format!("kafkatopic/{TOPIC}"), "condition=Ready", READY_LIMIT)
}

/// The address of one broker's client listener, as the broker itself advertises it.
#[must_use]
pub fn broker_address(cluster: &str, namespace: &str, ordinal: u32) -> String {
    format!("{cluster}-nodes-{ordinal}.{cluster}-nodes.{namespace}.svc:{CLIENT_PORT}")
}

/// The address a client starts from.
#[must_use]
pub fn bootstrap_address(cluster: &str, namespace: &str) -> String {
    format!("{cluster}-bootstrap.{namespace}.svc:{CLIENT_PORT}")
}

/// Sends records through one broker, reads them back through another and compares them. Returns how many.
pub fn prove(kcat: &Kcat) -> Result<usize> {
    let written = kcat::records(RECORDS);
    kcat.produce(&broker_address(CLUSTER, NAMESPACE, 0), TOPIC, &written)
        .context("produce through broker 0")?;
    let read =
        kcat.consume(&broker_address(CLUSTER, NAMESPACE, 1), TOPIC).context("consume through broker 1")?;
    kcat::compare(&written, &read)?;
    Ok(read.len())
}
