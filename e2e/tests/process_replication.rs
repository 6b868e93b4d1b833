//! Three replicas of each partition, two of which must be in sync, as a cluster of three has them if nobody says
//! otherwise: brokers crash and a changed configuration rolls through them, and a producer gets every acknowledgement
//! it asks for. How many must be in sync is changed in the running cluster.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kcat::{self, Partition, Record};
use e2e::lane::Lane;
use e2e::lane::namespace::{LIMIT, Namespace, condition};
use e2e::lane::process;

const TOPIC: &str = "kept";
const INTERVAL: Duration = Duration::from_millis(100);

/// A topic that says nothing of its replicas.
fn declare(namespace: &Namespace<'_>) -> Result<()> {
    namespace.apply(
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaTopic, metadata: {name: kept}, spec: {clusterRef: {name: my}, \
         partitions: 6}}",
    )?;
    namespace.wait_ready("kafkatopic/kept")
}

/// Waits until every partition has all three replicas in sync.
fn wait_until_whole(lane: &Lane, namespace: &Namespace<'_>) -> Result<()> {
    let is_whole =
        |seen: &[Partition]| seen.len() == 6 && seen.iter().all(|partition| partition.isr.len() == 3);
    let bootstrap = namespace.bootstrap();
    lane.kcat.wait_for_partitions(&bootstrap, TOPIC, "every replica is in sync", LIMIT, is_whole).map(drop)
}

/// What the active controller holds against restarting two brokers at once.
fn against_two_restarts(namespace: &Namespace<'_>) -> Result<String> {
    let name = namespace.name();
    let path = "pods/my-nodes-0:8090/proxy/v1/restart-safety?brokers=0,1";
    namespace.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{name}/{path}")])
}

/// Waits until a topic with one of its replicas in sync is, or is not, short of them.
fn wait_until_two_are_needed(namespace: &Namespace<'_>, needed: bool) -> Result<()> {
    wait_until("min.insync.replicas is as declared", LIMIT, INTERVAL, || {
        match against_two_restarts(namespace) {
            Ok(answer) if answer.contains("QUORUM") && answer.contains("UNDER_MIN_ISR") == needed => {
                Answer::Yes
            }
            Ok(answer) => Answer::NotYet(answer),
            Err(error) => Answer::NotYet(format!("{error:#}")),
        }
    })
}

fn pods(namespace: &Namespace<'_>) -> Result<Vec<String>> {
    let list = namespace.object(&["pods", "-l", "ottla.dev/cluster=my"])?;
    let items = list["items"].as_array().context("a list has items")?;
    Ok(items.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect())
}

fn is_rolled(namespace: &Namespace<'_>) -> Answer {
    match namespace.object(&["kafkacluster/my"]) {
        Err(error) => Answer::NotYet(format!("{error:#}")),
        Ok(cluster) => {
            let current = cluster["status"]["observedGeneration"] == cluster["metadata"]["generation"];
            let over = condition(&cluster, "Ready") == "True" && condition(&cluster, "Progressing") != "True";
            if current && over { Answer::Yes } else { Answer::NotYet(cluster["status"].to_string()) }
        }
    }
}

#[test]
fn a_producer_that_needs_two_replicas_sees_neither_crashes_nor_a_roll() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-replication")?;
    namespace.start_cluster()?;
    declare(&namespace)?;
    wait_until_whole(&lane, &namespace)?;
    let bootstrap = namespace.brokers();
    let mut written: Vec<Record> = Vec::new();
    let mut produce = |round: &str| -> Result<()> {
        let records = kcat::marked_records(60, round);
        lane.kcat.produce(&bootstrap, TOPIC, &records).with_context(|| format!("round {round}"))?;
        written.extend(records);
        Ok(())
    };

    for (round, pod) in ["my-nodes-0", "my-nodes-1", "my-nodes-2"].into_iter().enumerate() {
        produce(&format!("before crash {round}"))?;
        namespace.crash(pod)?;
        produce(&format!("after crash {round}"))?;
        wait_until_whole(&lane, &namespace)?;
    }

    // Without a restart, and back again.
    let before = pods(&namespace)?;
    wait_until_two_are_needed(&namespace, true)?;
    namespace.apply_cluster("{replicas: 3, storage: {size: 1Gi}, config: {min.insync.replicas: 1}}")?;
    wait_until_two_are_needed(&namespace, false)?;
    namespace.apply_cluster("{replicas: 3, storage: {size: 1Gi}}")?;
    wait_until_two_are_needed(&namespace, true)?;
    ensure!(pods(&namespace)? == before, "a pod was restarted over min.insync.replicas");

    namespace.apply_cluster("{replicas: 3, storage: {size: 1Gi}, config: {log.retention.hours: 24}}")?;
    thread::scope(|scope| -> Result<()> {
        let rolled =
            scope.spawn(|| wait_until("the roll is over", LIMIT, INTERVAL, || is_rolled(&namespace)));
        let mut round = 0;
        while !rolled.is_finished() {
            round += 1;
            produce(&format!("roll {round}"))?;
        }
        rolled.join().map_err(|_| anyhow!("the watching thread panicked"))?
    })?;
    wait_until_whole(&lane, &namespace)?;

    let read = lane.kcat.consume(&namespace.bootstrap(), TOPIC)?;
    let lost = kcat::lost(&written, &read);
    ensure!(lost.is_empty(), "{} of {} acknowledged records are lost: {lost:?}", lost.len(), written.len());
    namespace.remove()
}
