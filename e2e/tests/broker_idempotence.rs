//! Idempotent producers of others, Kafka's Java producer and librdkafka: while leaders are killed under them every record
//! that they send is written once, and in order.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kafka::Kafka;
use e2e::kcat::{self, Partition};
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::verifiable::VerifiableProducer;
use e2e::lane::broker::{self, Bench, story};

const TOPIC: &str = "orders";
const MIN_ISR: (&str, &str) = ("min.insync.replicas", "2");
/// How long something may take after a broker died or came back; its session lasts 9 s.
const LIMIT: Duration = Duration::from_secs(45);
const INTERVAL: Duration = Duration::from_millis(100);
/// How often a leader is killed under the Java producer.
const KILLS: usize = 2;

/// A cluster of three with a topic of one partition, so that there is one order.
fn start(bench: &Bench) -> Result<Vec<Node>> {
    let nodes = cluster::start(bench, &[Role::Combined; 3])?;
    broker::create_replicated_topic(nodes[0].server.address(), TOPIC, 1, 3, &[MIN_ISR])?;
    wait_for(bench, &nodes, "all are in sync", |partition| partition.isr.len() == 3)?;
    Ok(nodes)
}

/// Waits until the partition is as wanted.
fn wait_for(
    bench: &Bench,
    nodes: &[Node],
    what: &str,
    wanted: impl Fn(&Partition) -> bool,
) -> Result<Partition> {
    let wanted = |seen: &[Partition]| seen.first().is_some_and(&wanted);
    let seen = bench.kcat.wait_for_partitions(&cluster::bootstrap(nodes), TOPIC, what, LIMIT, wanted)?;
    seen.into_iter().next().context("it was just there")
}

/// Kills the leader, waits until another one leads, and starts it again.
fn kill_leader(bench: &Bench, nodes: &mut [Node]) -> Result<()> {
    let leader = wait_for(bench, nodes, "somebody leads", |partition| partition.leader.is_some())?.leader;
    let at = nodes.iter().position(|node| Some(node.id) == leader).context("a leader that is no node")?;
    nodes[at].server.kill()?;
    let led = |partition: &Partition| partition.leader.is_some() && partition.leader != leader;
    wait_for(bench, nodes, "another one leads", led)?;
    nodes[at].server.spawn()?;
    cluster::wait_until_ready(&mut nodes[at..=at])?;
    wait_for(bench, nodes, "all are in sync again", |partition| partition.isr.len() == 3).map(drop)
}

/// Each of these once, in this order.
fn ensure_same(read: &[String], written: &[String]) -> Result<()> {
    let differs = read.iter().zip(written).position(|(read, written)| read != written);
    let around = |at: usize| &read[at.saturating_sub(2)..read.len().min(at + 3)];
    ensure!(differs.is_none(), "not in order at {differs:?}: {:?}", differs.map(around));
    ensure!(read.len() == written.len(), "{} of {} records are read", read.len(), written.len());
    Ok(())
}

fn read_back(bench: &Bench, nodes: &[Node], written: &[String]) -> Result<()> {
    wait_until("every record is read once and in order", LIMIT, INTERVAL, || {
        let read = bench.kcat.consume_values(&cluster::bootstrap(nodes), TOPIC);
        Answer::from(read.and_then(|read| ensure_same(&read, written)))
    })
}

#[test]
fn the_java_producer_writes_every_record_once_and_in_order_while_leaders_die() -> Result<()> {
    story("idempotence-java", |bench| {
        let kafka = bench.kafka()?;
        let mut nodes = start(bench)?;
        // What clients have by default is given back to the tool.
        let settings = "retries=2147483647\nenable.idempotence=true\n";
        let bootstrap = cluster::bootstrap(&nodes);
        let mut producer = VerifiableProducer::start(bench, &kafka, (&bootstrap, TOPIC), 400, settings)?;
        for kill in 0..=KILLS {
            producer.wait_for_more_than(500)?;
            if kill < KILLS {
                kill_leader(bench, &mut nodes)?;
            }
        }
        let count = producer.finish()?.len();
        let written: Vec<String> = (0..count).map(|value| value.to_string()).collect();
        read_back(bench, &nodes, &written)?;
        cluster::stop_all(&mut nodes)
    })
}

#[test]
fn librdkafka_writes_every_record_once_and_in_order_while_its_leader_dies() -> Result<()> {
    const RECORDS: usize = 8_000;
    story("idempotence-kcat", |bench| {
        let mut nodes = start(bench)?;
        let written = kcat::records(RECORDS);
        let settings = ["enable.idempotence=true", "batch.num.messages=5", "linger.ms=0"];
        let kcat = settings.iter().fold(bench.kcat.clone(), |kcat, setting| kcat.with(setting));
        let bootstrap = cluster::bootstrap(&nodes);
        thread::scope(|scope| {
            let producing = scope.spawn(|| kcat.produce(&bootstrap, TOPIC, &written));
            wait_until("records are there", LIMIT, INTERVAL, || {
                let holds = bench.kcat.holds_records(&bootstrap, TOPIC);
                Answer::from(holds.and_then(|holds| holds.then_some(()).context("not yet")))
            })?;
            ensure!(!producing.is_finished(), "it was done before the leader died");
            kill_leader(bench, &mut nodes)?;
            producing.join().map_err(|_| anyhow!("the producer panicked"))?
        })?;
        let values: Vec<String> = written.into_iter().map(|record| record.value).collect();
        read_back(bench, &nodes, &values)?;
        cluster::stop_all(&mut nodes)
    })
}

#[test]
fn kafkas_own_tools_see_the_producers_of_a_partition_and_read_their_snapshots() -> Result<()> {
    story("idempotence-dump", |bench| {
        let kafka = bench.kafka()?;
        let mut server = bench.dev("data")?;
        server.start()?;
        broker::create_topic(server.address(), "log", 1, &[("segment.bytes", "1048576")])?;
        let kcat = bench.kcat.with("enable.idempotence=true").with("batch.num.messages=100");
        kcat.produce(server.address(), "log", &kcat::records(40_000))?;
        kcat.produce(server.address(), "log", &kcat::records(7))?;
        let described = kafka
            .tool("org.apache.kafka.tools.TransactionsCommand")
            .args(["--bootstrap-server", server.address()])
            .args(["describe-producers", "--topic", "log", "--partition", "0"])
            .read()?;
        // Id, epoch, coordinator epoch, last sequence number.
        for row in [["0", "0", "-1", "39999"], ["1", "0", "-1", "6"]] {
            let is_it = |line: &str| line.split_whitespace().take(4).eq(row);
            ensure!(described.lines().any(is_it), "no {row:?} in {described}");
        }
        server.stop()?;
        let files = |suffix: &str| -> Result<Vec<String>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(bench.path("data/log-0"))? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == suffix) {
                    found.push(path.display().to_string());
                }
            }
            found.sort();
            Ok(found)
        };
        let (segments, snapshots) = (files("log")?, files("snapshot")?);
        ensure!(segments.len() > 1, "the test shows little with one segment");
        ensure!(snapshots.len() == segments.len(), "where segments begin, and at the stop: {snapshots:?}");
        for snapshot in &snapshots {
            let said = dump(&kafka, snapshot)?;
            ensure!(said.contains("producerId: 0 producerEpoch: 0 "), "{snapshot}: {said}");
        }
        let last = dump(&kafka, snapshots.last().context("a snapshot")?)?;
        ensure!(last.contains("producerId: 1 producerEpoch: 0 "), "{last}");
        ensure!(last.contains("lastSequence: 39999 ") || last.contains("lastSequence=39999"), "{last}");
        ensure!(last.contains("lastSequence: 6 ") || last.contains("lastSequence=6"), "{last}");
        Ok(())
    })
}

fn dump(kafka: &Kafka, file: &str) -> Result<String> {
    kafka.tool("org.apache.kafka.tools.DumpLogSegments").args(["--files", file]).read()
}
