//! Three processes from edited copies of one properties file are a cluster: Kafka's own tools run it through any
//! of its brokers, and killing all of it loses nothing that was acknowledged.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kafka::Kafka;
use e2e::kcat;
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::verifiable::{VerifiableProducer, ensure_none_is_lost};
use e2e::lane::broker::{self, Bench, story};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";
const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// One of Kafka's tools against one broker; what it prints.
fn tool(kafka: &Kafka, class: &str, node: &Node, words: &str) -> Result<String> {
    let tool = kafka.tool(class).args(["--bootstrap-server", node.server.address()]);
    tool.args(words.split(' ')).read()
}

/// The same where the tool must fail; all that it says.
fn refused(kafka: &Kafka, class: &str, node: &Node, words: &str) -> Result<String> {
    let tool = kafka.tool(class).args(["--bootstrap-server", node.server.address()]);
    let output = tool.args(words.split(' ')).output()?;
    ensure!(output.status.code() == Some(1), "{words}: {}", output.status);
    Ok([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

fn ensure_says(text: &str, wanted: &str) -> Result<()> {
    ensure!(text.contains(wanted), "not said: {wanted:?}, but:\n{text}");
    Ok(())
}

#[test]
fn kafkas_tools_make_change_and_delete_topics_through_any_broker() -> Result<()> {
    story("quorum-topics", |bench| {
        let kafka = bench.kafka()?;
        let nodes = cluster::start(bench, &[Role::Combined; 3])?;
        let [a, b, c] = &nodes[..] else { unreachable!("three were asked for") };
        let made =
            tool(&kafka, TOPICS, a, "--create --topic orders --partitions 3 --config retention.ms=60000")?;
        ensure_says(&made, "Created topic orders.")?;
        let again = refused(&kafka, TOPICS, b, "--create --topic orders --partitions 3")?;
        ensure_says(&again, "topic \"orders\" already exists")?;
        let wide = refused(&kafka, TOPICS, c, "--create --topic wide --partitions 1 --replication-factor 4")?;
        ensure_says(&wide, "replication factor 4 is larger than the number of registered brokers, 3")?;
        tool(&kafka, TOPICS, b, "--alter --topic orders --partitions 6")?;
        let fewer = refused(&kafka, TOPICS, a, "--alter --topic orders --partitions 2")?;
        ensure_says(&fewer, "6")?;
        broker::wait_for_leaders(c.server.address(), "orders")?;
        let described = tool(&kafka, TOPICS, c, "--describe --topic orders")?;
        ensure_says(&described, "PartitionCount: 6\tReplicationFactor: 1\tConfigs: retention.ms=60000")?;
        for node in &nodes {
            // Leaders are spread over the brokers: two of six partitions each.
            let led = described.matches(&format!("Leader: {}\t", node.id)).count();
            ensure!(led == 2, "node {} leads {led} of 6 partitions:\n{described}", node.id);
        }
        let written = kcat::records(300);
        bench.kcat.produce(a.server.address(), "orders", &written)?;
        kcat::compare(&written, &bench.kcat.consume(c.server.address(), "orders")?)?;
        tool(&kafka, TOPICS, c, "--delete --topic orders")?;
        for node in &nodes {
            wait_until_gone(bench, node, "orders")?;
        }
        let gone = refused(&kafka, TOPICS, a, "--describe --topic orders")?;
        ensure_says(&gone, "Topic 'orders' does not exist as expected")
    })
}

/// Each broker learns of a deletion in its own time.
fn wait_until_gone(bench: &Bench, node: &Node, topic: &str) -> Result<()> {
    let what = format!("node {} forgets {topic}", node.id);
    wait_until(&what, Duration::from_secs(30), Duration::from_millis(50), || {
        let metadata = bench.kcat.metadata(node.server.address(), None);
        Answer::from(metadata.and_then(|metadata| {
            let topics = metadata["topics"].as_array().cloned().unwrap_or_default();
            ensure!(topics.iter().all(|found| found["topic"] != topic), "it is there: {metadata}");
            Ok(())
        }))
    })
}

#[test]
fn a_topic_of_three_replicas_is_made_while_one_of_three_brokers_is_away() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(30);
    const INTERVAL: Duration = Duration::from_millis(100);
    story("quorum-away", |bench| {
        let kafka = bench.kafka()?;
        let mut nodes = cluster::start(bench, &[Role::Combined; 3])?;
        nodes[2].server.kill()?;
        wait_until("the broker is out of service", LIMIT, INTERVAL, || {
            Answer::from(bench.kcat.metadata(nodes[0].server.address(), None).and_then(|metadata| {
                let brokers = metadata["brokers"].as_array().map_or(0, Vec::len);
                ensure!(brokers == 2, "there are {brokers} brokers");
                Ok(())
            }))
        })?;
        tool(&kafka, TOPICS, &nodes[0], "--create --topic away --partitions 3 --replication-factor 3")?;
        let written = kcat::records(300);
        bench.kcat.produce(nodes[1].server.address(), "away", &written)?;
        nodes[2].server.spawn()?;
        cluster::wait_until_ready(&mut nodes[2..])?;
        wait_until("all replicas are in sync", LIMIT, INTERVAL, || {
            let behind =
                tool(&kafka, TOPICS, &nodes[2], "--describe --topic away --under-replicated-partitions");
            Answer::from(behind.and_then(|behind| {
                ensure!(behind.trim().is_empty(), "{behind}");
                Ok(())
            }))
        })?;
        kcat::compare(&written, &bench.kcat.consume(nodes[2].server.address(), "away")?)
    })
}

#[test]
fn kafkas_tools_describe_the_quorum_and_change_configs_through_any_broker() -> Result<()> {
    story("quorum-configs", |bench| {
        let kafka = bench.kafka()?;
        // A controller alone and two brokers alone: the brokers forward what only the controller decides.
        let nodes = cluster::start(bench, &[Role::Controller, Role::Broker, Role::Broker])?;
        let [a, b, c] = &nodes[..] else { unreachable!("three were asked for") };
        let status = tool(&kafka, QUORUM, b, "describe --status")?;
        ensure_says(&status, "LeaderId:               1\n")?;
        ensure_says(&status, "CurrentVoters:          [{\"id\": 1, \"directoryId\": ")?;
        let observers = status.lines().find(|line| line.starts_with("CurrentObservers:"));
        let observers = observers.context("no line of observers")?;
        for node in [b, c] {
            let directory = cluster::directory_id(bench, node)?;
            ensure_says(observers, &format!("{{\"id\": {}, \"directoryId\": \"{directory}\"}}", node.id))?;
        }
        // Controllers are asked directly, too.
        let status =
            kafka.tool(QUORUM).args(["--bootstrap-controller", a.controller(), "describe", "--status"]);
        ensure_says(&status.read()?, "LeaderId:               1\n")?;
        let listed = kafka.tool(CLUSTER).args(["list-endpoints", "--bootstrap-controller", a.controller()]);
        let listed = listed.read()?;
        let (host, port) = a.controller().split_once(':').context("an address has a port")?;
        let row = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = row.into_iter().any(|row| row.starts_with(&["1", host, port]));
        ensure!(found, "no row of controller 1:\n{listed}");
        let replication = tool(&kafka, QUORUM, c, "describe --replication")?;
        for (id, status) in [("1", "Leader"), ("2", "Observer"), ("3", "Observer")] {
            let row = replication.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let found = row.into_iter().any(|row| row.first() == Some(&id) && row.last() == Some(&status));
            ensure!(found, "no row of node {id} as {status}:\n{replication}");
        }

        broker::create_topic(b.server.address(), "orders", 2, &[])?;
        let topic = "--entity-type topics --entity-name orders";
        tool(
            &kafka,
            CONFIGS,
            b,
            &format!("{topic} --alter --add-config retention.ms=60000,segment.ms=70000"),
        )?;
        tool(&kafka, CONFIGS, c, &format!("{topic} --alter --delete-config segment.ms"))?;
        let described = wait_until_described(&kafka, b, topic, "retention.ms=60000", "segment.ms")?;
        ensure_says(&described, "synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=60000, DEFAULT_CONFIG:")?;
        let unknown = refused(&kafka, CONFIGS, b, &format!("{topic} --alter --add-config retention.mss=1"))?;
        ensure_says(&unknown, "unknown topic config \"retention.mss\"")?;
        let many = refused(&kafka, CONFIGS, c, &format!("{topic} --alter --add-config retention.ms=many"))?;
        ensure_says(&many, "retention.ms")?;

        let broker = "--entity-type brokers --entity-name 3";
        tool(&kafka, CONFIGS, b, &format!("{broker} --alter --add-config message.max.bytes=2000000"))?;
        wait_until_described(
            &kafka,
            c,
            broker,
            "DYNAMIC_BROKER_CONFIG:message.max.bytes=2000000",
            "log.dirs",
        )?;
        tool(&kafka, CONFIGS, c, &format!("{broker} --alter --delete-config message.max.bytes"))?;
        wait_until_described(&kafka, c, broker, "Dynamic configs for broker 3 are:", "message.max.bytes")?;
        Ok(())
    })
}

/// Describes until one text is there and another is not: a broker learns of a change in its own time.
fn wait_until_described(kafka: &Kafka, node: &Node, what: &str, there: &str, gone: &str) -> Result<String> {
    let mut described = String::new();
    wait_until(&format!("{what}: {there}"), Duration::from_secs(60), Duration::from_millis(50), || {
        Answer::from(tool(kafka, CONFIGS, node, &format!("{what} --describe")).and_then(|text| {
            described.clone_from(&text);
            ensure!(text.contains(there) && !text.contains(gone), "described as {text}");
            Ok(())
        }))
    })?;
    Ok(described)
}

#[test]
fn killing_all_three_while_records_are_produced_loses_none_that_was_acknowledged() -> Result<()> {
    const PER_SECOND: u32 = 600;
    const KILLS: usize = 2;
    story("quorum-kill", |bench| {
        let kafka = bench.kafka()?;
        let mut nodes = cluster::start(bench, &[Role::Combined; 3])?;
        let bootstrap = cluster::bootstrap(&nodes);
        broker::create_topic(nodes[0].server.address(), "orders", 6, &[])?;
        // So that what is not answered is soon given up; `broker_idempotence` is about those that never do.
        let settings =
            "enable.idempotence=false\nlinger.ms=5\nrequest.timeout.ms=5000\ndelivery.timeout.ms=10000\n";
        let to = (bootstrap.as_str(), "orders");
        let mut producer = VerifiableProducer::start(bench, &kafka, to, PER_SECOND, settings)?;
        // It goes on and on: before each kill, and after the last, some hundred records are acknowledged.
        for kill in 0..=KILLS {
            producer.wait_for_more_than(500)?;
            if kill < KILLS {
                nodes.iter_mut().try_for_each(|node| node.server.kill())?;
                cluster::spawn_all(&mut nodes)?;
                cluster::wait_until_ready(&mut nodes)?;
            }
        }
        let acknowledged = producer.kill()?;
        ensure_none_is_lost(&acknowledged, &bench.kcat.consume_values(&bootstrap, "orders")?)?;
        nodes.iter_mut().try_for_each(|node| node.server.stop())
    })
}
