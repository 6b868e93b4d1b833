//! A Java consumer that reads on through a change of leader asks the new one whether it is still on the same log
//! (KIP-320).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::kcat::{self, Partition, Record};
use e2e::lane::broker::cluster::{self, Role};
use e2e::lane::broker::{self, story};

const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const TOPIC: &str = "orders";
const RECORDS: usize = 300;
/// A broker's session of 9 s, an election, and the rest for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_java_consumer_validates_its_position_with_each_new_leader_and_reads_on() -> Result<()> {
    story("epochs", |bench| {
        let kafka = bench.kafka()?;
        let mut nodes = cluster::start(bench, &[Role::Controller, Role::Broker, Role::Broker])?;
        let bootstrap = cluster::bootstrap(&nodes);
        broker::create_replicated_topic(nodes[1].server.address(), TOPIC, 1, 2, &[])?;
        let mut words = kafka.tool_words(CONSUMER);
        words
            .extend(["--bootstrap-server", &bootstrap, "--topic", TOPIC, "--partition", "0"].map(Into::into));
        words.extend(["--offset", "earliest", "--formatter-property", "print.key=true"].map(Into::into));
        words.extend(["--command-property", "metadata.max.age.ms=1000"].map(Into::into));
        let mut consumer = bench.beside("consumer", "java", words);
        consumer.spawn()?;
        let mut written: Vec<Record> = Vec::new();
        for round in ["first", "second", "third"] {
            let records = kcat::marked_records(RECORDS, round);
            bench.kcat.produce(&bootstrap, TOPIC, &records)?;
            written.extend(records);
            let expected = written.len();
            let out = bench.path("consumer.out");
            consumer.wait_until("reads on", || {
                let text = fs::read_to_string(&out).context("read what the consumer said")?;
                let count = text.lines().count();
                ensure!(count >= expected, "{count} lines of {expected}");
                Ok(())
            })?;
            let leader = bench.kcat.partitions(&bootstrap, TOPIC)?[0].leader.context("nobody leads")?;
            // In order: the other one leads before this one is gone.
            let node = nodes.iter_mut().find(|node| node.id == leader).context("no such node")?;
            node.server.stop()?;
            let at = node.server.address().to_owned();
            node.server.spawn()?;
            cluster::wait_until_ready(&mut nodes)?;
            let what = "both replicas are in sync, and the other one leads";
            let moved = |seen: &[Partition]| seen[0].isr.len() == 2 && seen[0].leader != Some(leader);
            bench.kcat.wait_for_partitions(&at, TOPIC, what, LIMIT, moved)?;
        }
        consumer.kill()?;
        let text = consumer.log()?;
        let read: Vec<Record> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(key, value)| Record { key: key.to_owned(), value: value.to_owned() })
            .collect();
        kcat::compare(&written, &read)?;
        let asked = nodes.iter().filter(|node| node.is_broker()).map(|node| {
            let metrics = broker::http(node.http(), "/metrics")?;
            Ok(metrics.lines().any(|line| {
                line.strip_prefix("ottla_requests_total{api=\"OffsetForLeaderEpoch\"} ")
                    .is_some_and(|count| count != "0")
            }))
        });
        ensure!(asked.collect::<Result<Vec<bool>>>()?.contains(&true), "no leader was asked for its epochs");
        Ok(())
    })
}
