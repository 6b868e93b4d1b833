//! `cargo xtask figures`: measures what the project promises and prints it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::figures::beside_kafka::{self, Broker};
use crate::figures::{self, mebi};
use crate::images;
use crate::kafka::Kafka;
use crate::lane::node;
use crate::packages;
use crate::step::say;

/// How long the operator is watched at rest.
const REST: Duration = Duration::from_secs(300);
/// How often a start is measured.
const RUNS: usize = 3;

/// Measures everything: a broker beside Apache Kafka's, then a cluster.
pub fn run() -> Result<()> {
    broker(None)?;
    cluster()
}

/// Measures a broker alone, without Kubernetes, beside Apache Kafka's: `binary`, or what this checkout makes.
pub fn broker(binary: Option<&str>) -> Result<()> {
    let steps = super::steps();
    let ottla = match binary {
        Some(path) => PathBuf::from(path),
        None => {
            packages::ensure(&steps, &[packages::IMAGES])?;
            images::broker(&steps)?
        }
    };
    let kafka = Kafka::ensure(&steps)?;
    let mut figures = Vec::new();
    for broker in [Broker::Ottla(ottla), Broker::Kafka(kafka)] {
        figures.extend(broker.measure(&steps)?);
    }
    say(&format!("\n{}", beside_kafka::table(&figures)));
    Ok(())
}

/// Measures on the site of the node lane, which it starts if it does not run.
fn cluster() -> Result<()> {
    let steps = super::steps();
    let made = images::ensure(&steps, images::LOCAL_PREFIX)?;
    for image in [&made.broker, &made.operator] {
        say(&format!("{}: {:.1} MB", image.name, mega(figures::file_bytes(&image.archive)?)));
    }
    let lane = node::ensure()?;
    for _ in 0..RUNS {
        let took = steps.run("apply three brokers until Ready", |_| figures::apply_until_ready(&lane))?;
        say(&format!("apply to Ready, 3 brokers: {:.1} s", took.as_secs_f64()));
    }
    let operator = steps.run("one cluster and 100 topics", |_| figures::operator_kib(&lane))?;
    say(&format!("operator VmRSS with 1 cluster and 100 topics: {:.1} MiB", mebi(operator)));
    let namespace = lane.namespace("figures-rest")?;
    namespace.start_cluster()?;
    let writes = steps.run("the operator at rest for 5 min", |_| figures::writes_at_rest(&lane, REST))?;
    say(&format!("API writes by the operator in 5 min at rest: {}", writes.len()));
    writes.iter().for_each(|write| say(&format!("    {write}")));
    namespace.remove()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
