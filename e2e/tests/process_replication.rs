//! Three replicas of each partition, as a manifest asks for them: brokers crash and a changed configuration rolls
//! through them, and a producer that needs two replicas in sync gets every acknowledgement it asks for.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kcat::{self, Record};
use e2e::lane::Lane;
use e2e::lane::namespace::{LIMIT, Namespace, condition};
use e2e::lane::process;

const TOPIC: &str = "kept";
const INTERVAL: Duration = Duration::from_millis(100);

/// A topic that takes records only while two of its three replicas are in sync.
fn declare(namespace: &Namespace<'_>) -> Result<()> {
    namespace.apply(
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaTopic, metadata: {name: kept}, spec: {clusterRef: {name: my}, \
         partitions: 6, replicas: 3, config: {min.insync.replicas: 2}}}",
    )?;
    namespace.wait_ready("kafkatopic/kept")
}

/// Waits until every partition has all three replicas in sync.
fn wait_until_whole(lane: &Lane, namespace: &Namespace<'_>) -> Result<()> {
    wait_until("every replica is in sync", LIMIT, INTERVAL, || {
        let partitions = match lane.kcat.partitions(&namespace.bootstrap(), TOPIC) {
            Ok(partitions) => partitions,
            Err(error) => return Answer::NotYet(format!("{error:#}")),
        };
        let is_whole = partitions.len() == 6 && partitions.iter().all(|partition| partition.isr.len() == 3);
        if is_whole { Answer::Yes } else { Answer::NotYet(format!("{partitions:?}")) }
    })
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
