//! The voters of the metadata quorum, changed with Kafka's own tool while records are produced: one controller becomes
//! three, then five, then three again, none of them among the first. Nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kafka::Kafka;
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::verifiable::{VerifiableProducer, ensure_none_is_lost};
use e2e::lane::broker::{self, Bench, story};

const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";
const TOPIC: &str = "orders";
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `kafka-metadata-quorum` against the broker.
fn quorum(kafka: &Kafka, broker: &Node, words: &[&str]) -> Result<(bool, String)> {
    let output =
        kafka.tool(QUORUM).args(["--bootstrap-server", broker.server.address()]).args(words).output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), said.concat()))
}

/// The nodes of this status, as the tool lists them.
fn members(kafka: &Kafka, broker: &Node, status: &[&str]) -> Result<BTreeSet<u32>> {
    let (fine, said) = quorum(kafka, broker, &["describe", "--replication"])?;
    ensure!(fine, "{said}");
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.last().is_some_and(|last| status.contains(last)));
    rows.map(|row| row[0].parse().context("a node id")).collect()
}

fn voters(kafka: &Kafka, broker: &Node) -> Result<BTreeSet<u32>> {
    members(kafka, broker, &["Leader", "Follower"])
}

/// A controller runs and follows, then is given its vote from its own properties.
fn add(bench: &Bench, kafka: &Kafka, nodes: &mut Vec<Node>) -> Result<()> {
    let mut node = cluster::format_another(bench, nodes, Role::Controller)?;
    node.server.spawn()?;
    cluster::wait_until_ready(std::slice::from_mut(&mut node))?;
    wait_until(&format!("{} is an observer", node.id), LIMIT, LIMIT / 300, || {
        Answer::from(members(kafka, &nodes[1], &["Observer"]).and_then(|observers| {
            ensure!(observers.contains(&node.id), "observers: {observers:?}");
            Ok(())
        }))
    })?;
    let file = node.properties.display().to_string();
    let output = kafka
        .tool(QUORUM)
        .args(["--bootstrap-server", nodes[1].server.address(), "--command-config", &file, "add-controller"])
        .output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{} is not added: {}", node.id, said.concat());
    let wanted =
        format!("Added controller {} with directory id {}", node.id, cluster::directory_id(bench, &node)?);
    ensure!(said.concat().contains(&wanted), "not said: {wanted:?}, but {said:?}");
    ensure!(voters(kafka, &nodes[1])?.contains(&node.id), "{} does not vote", node.id);
    nodes.push(node);
    Ok(())
}

fn remove(bench: &Bench, kafka: &Kafka, nodes: &[Node], id: u32) -> Result<(bool, String)> {
    let node = nodes.iter().find(|node| node.id == id).context("no such node")?;
    let directory = cluster::directory_id(bench, node)?;
    let id = id.to_string();
    let words = ["remove-controller", "--controller-id", &id, "--controller-directory-id", &directory];
    quorum(kafka, &nodes[1], &words)
}

fn removed(bench: &Bench, kafka: &Kafka, nodes: &[Node], id: u32) -> Result<()> {
    let (fine, said) = remove(bench, kafka, nodes, id)?;
    ensure!(fine, "{id} is not removed: {said}");
    ensure!(!voters(kafka, &nodes[1])?.contains(&id), "{id} votes still");
    Ok(())
}

#[test]
fn one_controller_becomes_three_and_five_and_three_others_under_load() -> Result<()> {
    story("voters", |bench| {
        let kafka = bench.kafka()?;
        let mut nodes = cluster::start(bench, &[Role::Controller, Role::Broker])?;
        broker::create_topic(nodes[1].server.address(), TOPIC, 2, &[])?;
        let address = nodes[1].server.address().to_owned();
        let settings = "enable.idempotence=false\nlinger.ms=5\n";
        let mut producer = VerifiableProducer::start(bench, &kafka, (&address, TOPIC), 300, settings)?;

        let (fine, said) = remove(bench, &kafka, &nodes, 1)?;
        ensure!(!fine && said.contains("the only voter"), "the only voter is removed: {said}");
        for _ in 0..4 {
            add(bench, &kafka, &mut nodes)?;
        }
        ensure!(voters(&kafka, &nodes[1])? == [1, 3, 4, 5, 6].into(), "{:?}", voters(&kafka, &nodes[1])?);
        let file = nodes[2].properties.display().to_string();
        let again = kafka.tool(QUORUM).args(["--bootstrap-server", &address]);
        let again = again.args(["--command-config", &file, "add-controller"]).output()?;
        let said = [again.stdout, again.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(!again.status.success() && said.concat().contains("is a voter already"), "{said:?}");

        // Two of five may die, and a third must not be removed then; the dead may.
        for id in [3, 4] {
            let node = nodes.iter_mut().find(|node| node.id == id).context("no such node")?;
            node.server.kill()?;
        }
        wait_until("who is dead is missed", LIMIT, LIMIT / 60, || {
            Answer::from(remove(bench, &kafka, &nodes, 5).and_then(|(fine, said)| {
                ensure!(!fine && said.contains("the quorum would be lost"), "{fine}: {said}");
                Ok(())
            }))
        })?;
        for id in [3, 1] {
            removed(bench, &kafka, &nodes, id)?;
        }
        ensure!(voters(&kafka, &nodes[1])? == [4, 5, 6].into(), "{:?}", voters(&kafka, &nodes[1])?);
        for id in [3, 4] {
            let node = nodes.iter_mut().find(|node| node.id == id).context("no such node")?;
            node.server.spawn()?;
        }
        wait_until("who was removed follows", LIMIT, LIMIT / 300, || {
            Answer::from(members(&kafka, &nodes[1], &["Observer"]).and_then(|observers| {
                ensure!(observers == [1, 2, 3].into(), "observers: {observers:?}");
                Ok(())
            }))
        })?;
        // The cluster needs the first controller no more, and can make topics.
        nodes[0].server.stop()?;
        broker::create_topic(&address, "later", 1, &[])?;
        producer.wait_for_more_than(300)?;
        let acknowledged = producer.kill()?;
        ensure_none_is_lost(&acknowledged, &bench.kcat.consume_values(&address, TOPIC)?)
    })
}
