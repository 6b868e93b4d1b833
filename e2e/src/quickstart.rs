//! `examples/quickstart.yaml`: applied, waited for, and proven with records.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::kcat::{self, Kcat};
use crate::kubectl::Kubectl;
use crate::repository;
use crate::step::Steps;

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
/// What an object says of itself, a line for each condition.
const CONDITIONS: &str =
    "jsonpath={range .status.conditions[*]}  {.type}={.status} {.reason}: {.message}{\"\\n\"}{end}";
/// How many records `up` sends and reads back.
const RECORDS: usize = 1000;

/// What was shown with the example.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// From `kubectl apply` until both objects were Ready; `None` if somebody else had applied them.
    pub ready_after: Option<Duration>,
    /// How many records were sent and read back.
    pub records: usize,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(after) = self.ready_after {
            write!(f, "{:.1} s from apply to Ready; ", after.as_secs_f64())?;
        }
        write!(
            f,
            "{} records sent through broker 0, read back through broker 1 and found equal",
            self.records
        )
    }
}

/// Applies the example if it is not there, waits until it is Ready, and proves it with records unless its topic
/// holds some: an `up` that was interrupted is carried on, one that ended changes nothing. `kcat` is asked for
/// once the brokers are up.
pub fn ensure(
    kubectl: &Kubectl,
    kcat: impl FnOnce() -> Result<Kcat>,
    steps: &Steps,
) -> Result<Option<Proof>> {
    let ready_after = if is_applied(kubectl)? {
        steps.run("examples/quickstart.yaml: Ready", |_| wait(kubectl))?;
        None
    } else {
        Some(steps.run("examples/quickstart.yaml: apply until Ready", |_| apply(kubectl))?)
    };
    let kcat = kcat()?;
    if ready_after.is_none() && kcat.holds_records(&broker_address(CLUSTER, NAMESPACE, 0), TOPIC)? {
        return Ok(None);
    }
    let title = "send 1,000 records through broker 0, read them through broker 1";
    let records = steps.run(title, |_| prove(&kcat))?;
    Ok(Some(Proof { ready_after, records }))
}

/// Deletes the example, and waits until it is gone. Its volumes stay.
pub fn remove(kubectl: &Kubectl) -> Result<()> {
    let (topic, cluster) = (format!("kafkatopic/{TOPIC}"), format!("kafkacluster/{CLUSTER}"));
    let limit = format!("--timeout={}s", READY_LIMIT.as_secs());
    kubectl.read(&["delete", "-n", NAMESPACE, &topic, &cluster, "--ignore-not-found", &limit]).map(|_| ())
}

/// Whether the example's objects are there.
fn is_applied(kubectl: &Kubectl) -> Result<bool> {
    let names = [format!("kafkacluster/{CLUSTER}"), format!("kafkatopic/{TOPIC}")];
    let words = ["get", "-n", NAMESPACE, &names[0], &names[1], "--ignore-not-found", "-o", "name"];
    Ok(kubectl.read(&words)?.lines().count() == names.len())
}

/// Applies the example, waits until both objects are Ready and returns how long that took.
fn apply(kubectl: &Kubectl) -> Result<Duration> {
    let path = repository::root().join("examples/quickstart.yaml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let started = Instant::now();
    kubectl.program(&["apply", "-n", NAMESPACE, "-f", "-"]).stdin(manifest).read()?;
    wait(kubectl)?;
    Ok(started.elapsed())
}

/// Waits until the example's objects are Ready; a failure tells what their conditions say.
fn wait(kubectl: &Kubectl) -> Result<()> {
    for object in [format!("kafkacluster/{CLUSTER}"), format!("kafkatopic/{TOPIC}")] {
        kubectl.wait(NAMESPACE, &object, "condition=Ready", READY_LIMIT).map_err(|error| {
            let words = ["get", "-n", NAMESPACE, &object, "-o", CONDITIONS];
            let seen = kubectl.read(&words).unwrap_or_else(|error| format!("{error:#}"));
            error.context(format!("{object} is not Ready; it says:\n{seen}"))
        })?;
    }
    Ok(())
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

/// Sends records through one broker, reads them back through another and compares them. Returns how many. The
/// records name their run: those of an earlier one, which a volume may have kept, do not count.
fn prove(kcat: &Kcat) -> Result<usize> {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_millis();
    let mark = format!("run {run}:");
    let written = kcat::marked_records(RECORDS, &mark);
    kcat.produce(&broker_address(CLUSTER, NAMESPACE, 0), TOPIC, &written)
        .context("produce through broker 0")?;
    let mut read =
        kcat.consume(&broker_address(CLUSTER, NAMESPACE, 1), TOPIC).context("consume through broker 1")?;
    read.retain(|record| record.value.starts_with(&mark));
    kcat::compare(&written, &read)?;
    Ok(read.len())
}
