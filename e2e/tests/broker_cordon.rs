//! A broker that is cordoned with Kafka's own tool gets no new replicas, keeps what it has, and gets some again when that
//! is taken back (KIP-1066).

use anyhow::{Result, ensure};
use e2e::kafka::Kafka;
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::{Bench, story};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// What a tool says, and whether it succeeds.
fn run(kafka: &Kafka, class: &str, node: &Node, words: &str) -> Result<(bool, String)> {
    let tool = kafka.tool(class).args(["--bootstrap-server", node.server.address()]).args(words.split(' '));
    let output = tool.output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), said.concat()))
}

/// What a tool says that must succeed.
fn tool(kafka: &Kafka, class: &str, node: &Node, words: &str) -> Result<String> {
    let (fine, said) = run(kafka, class, node, words)?;
    ensure!(fine, "{words} fails:\n{said}");
    Ok(said)
}

/// How many partitions of a topic have a replica on broker 2.
fn on_broker_2(bench: &Bench, node: &Node, topic: &str) -> Result<usize> {
    let partitions = bench.kcat.partitions(node.server.address(), topic)?;
    ensure!(!partitions.is_empty(), "there is no topic {topic}");
    Ok(partitions.iter().filter(|partition| partition.replicas.contains(&2)).count())
}

#[test]
fn a_cordoned_broker_gets_no_new_replicas_until_that_is_taken_back() -> Result<()> {
    story("cordon", |bench| {
        let kafka = bench.kafka()?;
        let nodes = cluster::start(bench, &[Role::Combined, Role::Broker, Role::Broker])?;
        let node = &nodes[0];
        let create = |topic: &str, factor: u32| {
            let words = format!("--create --topic {topic} --partitions 6 --replication-factor {factor}");
            run(&kafka, TOPICS, node, &words)
        };
        let made = create("before", 2)?;
        ensure!(made.0, "{}", made.1);
        let before = on_broker_2(bench, node, "before")?;
        ensure!(before > 0, "nothing lies on broker 2");

        let alter = "--alter --entity-type brokers --entity-name 2";
        let (fine, said) =
            run(&kafka, CONFIGS, node, &format!("{alter} --add-config cordoned.log.dirs=/data"))?;
        ensure!(!fine && said.contains("single ones cannot be cordoned"), "{said}");
        tool(&kafka, CONFIGS, node, &format!("{alter} --add-config cordoned.log.dirs=*"))?;
        let made = create("after", 2)?;
        ensure!(made.0, "{}", made.1);
        let (fine, said) = create("wide", 3)?;
        ensure!(!fine && said.contains("have all their log directories cordoned"), "{said}");
        tool(&kafka, TOPICS, node, "--alter --topic before --partitions 12")?;
        ensure!(on_broker_2(bench, node, "after")? == 0, "a new topic lies on the cordoned broker");
        ensure!(on_broker_2(bench, node, "before")? == before, "what lies on the cordoned broker changed");
        let described = tool(&kafka, CONFIGS, &nodes[1], "--describe --entity-type brokers --entity-name 2")?;
        ensure!(described.contains("cordoned.log.dirs=*"), "{described}");

        tool(&kafka, CONFIGS, node, &format!("{alter} --delete-config cordoned.log.dirs"))?;
        let made = create("again", 3)?;
        ensure!(made.0, "{}", made.1);
        ensure!(on_broker_2(bench, node, "again")? == 6, "it gets none although it is not cordoned any more");
        Ok(())
    })
}
