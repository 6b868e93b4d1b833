//! One run: a cluster, a load, a fault, and the verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::catalogue::{Durability, Fault};
use super::chance::Chance;
use super::check::{self, Counts, Evidence};
use super::cluster::{Cluster, NODES, TOPIC, Template};
use super::history;
use super::load::{self, LAST_READER, LIBRDKAFKA, Load, PARTITIONS, Releases};
use super::nemesis;
use super::replica::Replica;

/// How long the load runs before anything happens.
const CALM_MS: std::ops::Range<u64> = 500..2_500;
/// How long a cluster may take, after the fault is over, until every replica is in sync. Three JVMs that start together
/// on a small machine take most of that.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);
const RECOVERY_LIMIT_OF_KAFKA: Duration = Duration::from_secs(120);
/// And from then until each producer is answered.
const PROGRESS_LIMIT: Duration = Duration::from_secs(10);
/// How many errors of the logs are told.
const ERRORS_MAX: usize = 3;

/// What one run is to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The fault.
    pub fault: Fault,
    /// What decides the rest.
    pub seed: u64,
    /// Whether producers are idempotent.
    pub idempotent: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was done to the cluster.
    pub what: String,
    /// What was counted.
    pub counts: Counts,
    /// The longest time without an acknowledgement in a partition.
    pub gap_ms: u64,
    /// How long the whole run took.
    pub took_ms: u64,
    /// What was wrong; nothing in a clean run.
    pub problems: Vec<String>,
    /// Errors in the logs of the nodes, which a fault may well cause.
    pub errors: Vec<String>,
}

impl Plan {
    /// What its topic asks of acknowledgements.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.fault.durability(self.seed)
    }

    /// Does it in an empty directory. An error is the rig's own, not the cluster's.
    pub fn run(&self, template: &Template, releases: &Releases, directory: &Path) -> Result<Outcome> {
        let started = Instant::now();
        let mut chance = Chance::new(self.fault.name(), self.seed);
        let mut cluster = template.cluster(self.fault.storage(), self.fault.time(), directory)?;
        let flush = self.durability().flush_messages();
        let stamps = self.fault.timestamps();
        let configs =
            [("min.insync.replicas", "2"), ("flush.messages", flush), ("message.timestamp.type", stamps)];
        cluster.start(PARTITIONS, &configs).context("start the cluster")?;
        let mut load = Load::start(&cluster, releases, self.idempotent).context("start the load")?;
        thread::sleep(chance.millis(CALM_MS));
        let mut problems = Vec::new();
        let what = nemesis::strike(self.fault, &mut cluster, &mut chance)?;
        let limit = if template.is_kafka() { RECOVERY_LIMIT_OF_KAFKA } else { RECOVERY_LIMIT };
        let recovered = cluster
            .wait_until_whole(limit)
            .and_then(|()| load.wait_for_acknowledgements(PROGRESS_LIMIT))
            .context("after the fault");
        problems.extend(recovered.err().map(|error| format!("{error:#}")));
        let mut events = load.stop()?;
        // What nobody can read is a verdict, too.
        match load::read_everything(&cluster, releases) {
            Ok(read) => events.extend(read),
            Err(error) => problems.push(format!("{error:#}")),
        }
        let (panics, errors) = cluster.complaints()?;
        problems.extend(panics);
        cluster.kill_all()?;
        let evidence = Evidence {
            replicas: replicas(&mut cluster)?,
            events,
            last_reader: LAST_READER.to_owned(),
            replication_factor: NODES.len(),
            idempotent: self.idempotent,
            ordered: load::ordered(self.idempotent),
        };
        let (counts, violations) = check::check(&evidence);
        problems.extend(violations.iter().map(ToString::to_string));
        Ok(Outcome {
            what,
            counts,
            gap_ms: history::gaps_ms(&evidence.events, LIBRDKAFKA).into_values().max().unwrap_or_default(),
            took_ms: u64::try_from(started.elapsed().as_millis())?,
            problems,
            errors: errors.into_iter().take(ERRORS_MAX).collect(),
        })
    }
}

/// What lies on the disks of all nodes, by partition and node.
fn replicas(cluster: &mut Cluster) -> Result<BTreeMap<u32, BTreeMap<u32, Replica>>> {
    let mut replicas: BTreeMap<u32, BTreeMap<u32, Replica>> = BTreeMap::new();
    for id in NODES {
        let data = cluster.data(id)?;
        for partition in 0..PARTITIONS {
            let log = data.join(format!("{TOPIC}-{partition}"));
            if fs::exists(&log).with_context(|| format!("look for {}", log.display()))? {
                replicas.entry(partition).or_default().insert(id, Replica::read(&log)?);
            }
        }
    }
    Ok(replicas)
}
