//! What administrators do to a running cluster, done with Kafka's own tools: elections on demand,
//! brokers that are gone for good, and levels of features.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kafka::Kafka;
use e2e::kcat::Partition;
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::{self, Bench, story};

const ELECTIONS: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
/// A broker's session of 9 s, an election, and the rest for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(100);

/// Runs a tool against one broker. Whether it fails is for the caller to say.
fn run(kafka: &Kafka, class: &str, node: &Node, words: &[&str]) -> Result<(bool, String)> {
    let tool = kafka.tool(class).args(["--bootstrap-server", node.server.address()]).args(words);
    let output = tool.output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), said.concat()))
}

/// The same where the tool must not fail.
fn tool(kafka: &Kafka, class: &str, node: &Node, words: &str) -> Result<String> {
    let (fine, said) = run(kafka, class, node, &words.split(' ').collect::<Vec<_>>())?;
    ensure!(fine, "{words} fails:\n{said}");
    Ok(said)
}

fn ensure_says(text: &str, wanted: &str) -> Result<()> {
    ensure!(text.contains(wanted), "not said: {wanted:?}, but:\n{text}");
    Ok(())
}

/// Waits until a broker sees all partitions of a topic so.
fn wait_for(
    bench: &Bench,
    node: &Node,
    topic: &str,
    what: &str,
    fine: impl Fn(&Partition) -> bool,
) -> Result<()> {
    let wanted = |seen: &[Partition]| !seen.is_empty() && seen.iter().all(&fine);
    bench.kcat.wait_for_partitions(node.server.address(), topic, what, LIMIT, wanted).map(drop)
}

#[test]
fn preferred_leaders_come_back_on_demand_and_an_unclean_one_only_where_it_is_asked_for() -> Result<()> {
    story("admin-elections", |bench| {
        let kafka = bench.kafka()?;
        let roles = [Role::Controller, Role::Broker, Role::Broker, Role::Broker];
        let mut nodes = cluster::start(bench, &roles)?;
        broker::create_replicated_topic(nodes[1].server.address(), "orders", 6, 3, &[])?;
        broker::create_replicated_topic(nodes[1].server.address(), "others", 3, 3, &[])?;
        let all: BTreeSet<u32> = [2, 3, 4].into();
        wait_for(bench, &nodes[1], "orders", "all are in sync", |partition| partition.isr == all)?;

        // Node 2 goes and comes back; it leads nothing then.
        nodes[1].server.stop()?;
        wait_for(bench, &nodes[2], "orders", "others lead", |partition| {
            partition.leader.is_some_and(|leader| leader != 2)
        })?;
        nodes[1].server.spawn()?;
        cluster::wait_until_ready(&mut nodes[1..2])?;
        for topic in ["orders", "others"] {
            wait_for(bench, &nodes[2], topic, "all are in sync", |partition| partition.isr == all)?;
        }
        preferred(bench, &kafka, &nodes)?;
        unclean(bench, &kafka, &mut nodes)
    })
}

/// One partition from a file, then all: each is led by its first replica again.
fn preferred(bench: &Bench, kafka: &Kafka, nodes: &[Node]) -> Result<()> {
    let led = bench.kcat.partitions(nodes[2].server.address(), "orders")?;
    ensure!(led.iter().all(|partition| partition.leader != Some(2)), "node 2 leads already: {led:?}");
    let file = bench.path("partitions.json");
    let named: Vec<String> =
        (0..6).map(|index| format!("{{\"topic\":\"orders\",\"partition\":{index}}}")).collect();
    fs::write(&file, format!("{{\"partitions\":[{}]}}", named.join(","))).context("write the file")?;
    let words = format!("--election-type preferred --path-to-json-file {}", file.display());
    let said = tool(kafka, ELECTIONS, &nodes[2], &words)?;
    ensure_says(&said, "Successfully completed leader election (PREFERRED) for partitions orders-")?;
    ensure_says(&said, "Valid replica already elected for partitions orders-")?;
    let led = bench.kcat.partitions(nodes[2].server.address(), "orders")?;
    ensure!(led.iter().filter(|partition| partition.leader == Some(2)).count() == 2, "not spread: {led:?}");
    let said = tool(kafka, ELECTIONS, &nodes[3], "--election-type preferred --all-topic-partitions")?;
    ensure_says(&said, "Successfully completed leader election (PREFERRED) for partitions others-")?;
    ensure!(!said.contains("orders-"), "what needed no election is told of:\n{said}");
    let unknown = ["--election-type", "preferred", "--topic", "nothing", "--partition", "0"];
    let (fine, said) = run(kafka, ELECTIONS, &nodes[1], &unknown)?;
    ensure!(!fine, "an unknown partition elects:\n{said}");
    ensure_says(&said, "partition 0 of topic \"nothing\" does not exist")
}

/// The last replica in sync is dead: the preferred one cannot lead, and any may on demand.
fn unclean(bench: &Bench, kafka: &Kafka, nodes: &mut [Node]) -> Result<()> {
    nodes[1].server.kill()?;
    nodes[2].server.kill()?;
    wait_for(bench, &nodes[3], "orders", "broker 4 alone is in sync", |partition| {
        partition.isr == [4].into()
    })?;
    nodes[3].server.kill()?;
    nodes[1].server.spawn()?;
    cluster::wait_until_ready(&mut nodes[1..2])?;
    wait_for(bench, &nodes[1], "orders", "nobody leads", |partition| partition.leader.is_none())?;
    let one = ["--topic", "orders", "--partition", "0"];
    let (fine, said) =
        run(kafka, ELECTIONS, &nodes[1], &[&["--election-type", "preferred"], &one[..]].concat())?;
    ensure!(!fine, "a replica that lacks records leads:\n{said}");
    let (fine, said) =
        run(kafka, ELECTIONS, &nodes[1], &[&["--election-type", "unclean"], &one[..]].concat())?;
    ensure!(fine, "no unclean leader:\n{said}");
    ensure_says(&said, "Successfully completed leader election (UNCLEAN) for partitions orders-0")?;
    let led = bench.kcat.partitions(nodes[1].server.address(), "orders")?;
    let leaders: Vec<Option<u32>> = led.iter().map(|partition| partition.leader).collect();
    ensure!(leaders[0] == Some(2) && leaders[1..].iter().all(Option::is_none), "led by {leaders:?}");
    Ok(())
}

/// `kafka-cluster`, which wants the broker's address behind its command.
fn cluster_tool(kafka: &Kafka, node: &Node, words: &str) -> Result<(bool, String)> {
    let words = words.split(' ').chain(["--bootstrap-server", node.server.address()]);
    let output = kafka.tool(CLUSTER).args(words).output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), said.concat()))
}

#[test]
fn eligible_leaders_are_shown_and_a_dead_broker_is_unregistered_and_may_come_back() -> Result<()> {
    story("admin-unregister", |bench| {
        let kafka = bench.kafka()?;
        let roles = [Role::Controller, Role::Broker, Role::Broker, Role::Broker];
        let mut nodes = cluster::start(bench, &roles)?;
        let two = [("min.insync.replicas", "2")];
        broker::create_replicated_topic(nodes[1].server.address(), "orders", 3, 3, &two)?;
        let all: BTreeSet<u32> = [2, 3, 4].into();
        wait_for(bench, &nodes[1], "orders", "all are in sync", |partition| partition.isr == all)?;
        nodes[2].server.kill()?;
        wait_for(bench, &nodes[1], "orders", "3 is out", |partition| partition.isr == [2, 4].into())?;
        nodes[3].server.kill()?;
        wait_for(bench, &nodes[1], "orders", "2 is alone", |partition| partition.isr == [2].into())?;
        let described = tool(&kafka, TOPICS, &nodes[1], "--describe --topic orders")?;
        let shown = described.matches("Isr: 2\tElr: 4\tLastKnownElr: ").count();
        ensure!(shown == 3, "4 is eligible in 3 partitions, not {shown}:\n{described}");

        let (fine, listed) = cluster_tool(&kafka, &nodes[1], "list-endpoints --include-fenced-brokers")?;
        ensure!(fine, "{listed}");
        for (id, state) in [("2", "unfenced"), ("3", "fenced"), ("4", "fenced")] {
            let rows = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let found = rows.into_iter().any(|row| row.first() == Some(&id) && row.contains(&state));
            ensure!(found, "broker {id} is not {state}:\n{listed}");
        }
        let (fine, said) = cluster_tool(&kafka, &nodes[1], "unregister --id 3")?;
        ensure!(fine, "{said}");
        ensure_says(&said, "Broker 3 is no longer registered.")?;
        let (_, said) = cluster_tool(&kafka, &nodes[1], "unregister --id 3")?;
        ensure_says(&said, "broker 3 is not registered")?;
        wait_until("broker 2 knows of broker 3 no more", LIMIT, INTERVAL, || {
            let listed = cluster_tool(&kafka, &nodes[1], "list-endpoints --include-fenced-brokers");
            Answer::from(listed.and_then(|(_, listed)| {
                ensure!(!listed.lines().any(|line| line.starts_with("3 ")), "it is listed:\n{listed}");
                Ok(())
            }))
        })?;
        for node in [2, 3] {
            nodes[node].server.spawn()?;
        }
        cluster::wait_until_ready(&mut nodes)?;
        wait_for(bench, &nodes[1], "orders", "all are in sync again", |partition| partition.isr == all)
    })
}

#[test]
fn features_are_described_and_change_only_to_what_everybody_runs() -> Result<()> {
    story("admin-features", |bench| {
        let kafka = bench.kafka()?;
        let nodes = cluster::start(bench, &[Role::Combined; 3])?;
        let described = tool(&kafka, FEATURES, &nodes[0], "describe")?;
        for feature in
            ["eligible.leader.replicas.version", "kraft.version", "metadata.version", "ottla.version"]
        {
            ensure_says(&described, &format!("Feature: {feature} "))?;
        }
        ensure_says(&described, "FinalizedVersionLevel: 4.3-IV0")?;
        let said = tool(&kafka, FEATURES, &nodes[1], "upgrade --dry-run --feature ottla.version=1")?;
        ensure_says(&said, "ottla.version can be upgraded to 1.")?;
        let said = tool(&kafka, FEATURES, &nodes[1], "upgrade --feature ottla.version=1")?;
        ensure_says(&said, "ottla.version was upgraded to 1.")?;
        for (words, reason) in [
            ("upgrade --feature ottla.version=2", "The controllers only support versions 1-1."),
            ("downgrade --feature ottla.version=0", "The controllers only support versions 1-1."),
            ("upgrade --feature no.such.feature=1", "This release does not know the feature."),
        ] {
            let (fine, said) = run(&kafka, FEATURES, &nodes[2], &words.split(' ').collect::<Vec<_>>())?;
            ensure!(!fine, "{words} is done:\n{said}");
            ensure_says(&said, reason)?;
        }
        Ok(())
    })
}
