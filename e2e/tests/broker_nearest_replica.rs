//! Consumers read from the replica in their own rack (KIP-392): kcat and Kafka's Java consumer, each of a partition that
//! it is given. When that replica dies the Java consumer reads from the leader again; kcat, with a librdkafka that does
//! not, when the replica is back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::attached::Attached;
use e2e::command::{Answer, wait_until};
use e2e::kcat::{self, Record};
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::{self, Bench, story};

const TOPIC: &str = "orders";
const RACKS: [&str; 3] = ["a", "b", "c"];
const SELECTOR: &str = "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";
const RECORDS: usize = 500;
/// A broker's session, an election of the controller, and the rest for a busy machine.
const FAILOVER_LIMIT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(100);

/// Three brokers in a rack each, and a topic of one partition on all of them.
struct Cluster<'a> {
    bench: &'a Bench,
    nodes: Vec<Node>,
    bootstrap: String,
    written: Vec<Record>,
}

impl<'a> Cluster<'a> {
    fn start(bench: &'a Bench) -> Result<Self> {
        let mut nodes = cluster::format(bench, &[Role::Combined; 3])?;
        for (node, rack) in nodes.iter().zip(RACKS) {
            let mut file = File::options().append(true).open(&node.properties).context("open properties")?;
            writeln!(file, "broker.rack={rack}\n{SELECTOR}").context("write properties")?;
        }
        cluster::spawn_all(&mut nodes)?;
        cluster::wait_until_ready(&mut nodes)?;
        let bootstrap = cluster::bootstrap(&nodes);
        let minimum = ("min.insync.replicas", "2");
        broker::create_replicated_topic(nodes[0].server.address(), TOPIC, 1, 3, &[minimum])?;
        let all: BTreeSet<u32> = nodes.iter().map(|node| node.id).collect();
        wait_until("all replicas are in sync", FAILOVER_LIMIT, INTERVAL, || {
            Answer::from(bench.kcat.partitions(&bootstrap, TOPIC).and_then(|partitions| {
                let isr = partitions.first().map(|partition| &partition.isr);
                ensure!(isr == Some(&all), "the ISR is {isr:?}");
                Ok(())
            }))
        })?;
        Ok(Self { bench, nodes, bootstrap, written: Vec::new() })
    }

    /// A follower, by its place among the nodes.
    fn follower(&self) -> Result<usize> {
        let partitions = self.bench.kcat.partitions(&self.bootstrap, TOPIC)?;
        let leader = partitions.first().and_then(|partition| partition.leader).context("nobody leads")?;
        self.nodes.iter().position(|node| node.id != leader).context("everybody leads")
    }

    /// How many bytes of batches a node has given to whoever fetched.
    fn given(&self, node: usize) -> Result<usize> {
        let metrics = broker::http(self.nodes[node].http(), "/metrics")?;
        let count = metrics.lines().find_map(|line| line.strip_prefix("ottla_fetched_bytes_total "));
        count.context("no such metric")?.parse().context("a count")
    }

    fn produce(&mut self, round: &str) -> Result<()> {
        let records = kcat::marked_records(RECORDS, round);
        let kcat = self.bench.kcat.with(&format!("message.timeout.ms={}", FAILOVER_LIMIT.as_millis()));
        kcat.with("max.in.flight.requests.per.connection=1").produce(&self.bootstrap, TOPIC, &records)?;
        self.written.extend(records);
        Ok(())
    }

    /// The bytes of all keys and values so far.
    fn written_bytes(&self) -> usize {
        self.written.iter().map(|record| record.key.len() + record.value.len()).sum()
    }

    /// Waits until the consumer has read everything.
    fn wait_for(&self, consumer: &mut Attached) -> Result<()> {
        consumer.wait_until("reads everything", || {
            let count = consumed(self.bench)?.len();
            ensure!(count >= self.written.len(), "{count} records of {}", self.written.len());
            Ok(())
        })
    }
}

/// What the consumer has shown so far, as whole lines.
fn consumed(bench: &Bench) -> Result<Vec<Record>> {
    let text = fs::read_to_string(bench.path("consumer.out")).context("read what the consumer shows")?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let records = whole.lines().map(|line| {
        let (key, value) = line.split_once('\t').with_context(|| format!("no key in {line:?}"))?;
        Ok(Record { key: key.to_owned(), value: value.to_owned() })
    });
    records.collect()
}

/// Starts a consumer in the rack of a follower, which reads from that follower as it is written; and says which it is.
fn reads_from_a_follower(
    cluster: &mut Cluster<'_>,
    consumer_in: impl FnOnce(&str, &str) -> Attached,
) -> Result<(Attached, usize)> {
    let bench = cluster.bench;
    cluster.produce("first")?;
    let follower = cluster.follower()?;
    kcat::compare(&cluster.written, &bench.kcat.consume(&cluster.bootstrap, TOPIC)?)?;
    ensure!(cluster.given(follower)? == 0, "a follower serves a consumer that is in no rack");
    let consumer = consumer_in(&cluster.bootstrap, RACKS[follower]);
    let mut consumer = consumer.with_errors_in(bench.path("consumer.err"));
    consumer.spawn()?;
    cluster.wait_for(&mut consumer)?;
    cluster.produce("second")?;
    cluster.wait_for(&mut consumer)?;
    let (given, written) = (cluster.given(follower)?, cluster.written_bytes());
    ensure!(given >= written, "of {written} bytes and more the follower in the consumer's rack gave {given}");
    Ok((consumer, follower))
}

/// Each record once, in order.
fn has_read_everything(cluster: &Cluster<'_>, mut consumer: Attached) -> Result<()> {
    cluster.wait_for(&mut consumer)?;
    consumer.kill()?;
    kcat::compare(&cluster.written, &consumed(cluster.bench)?)
}

#[test]
fn kcat_reads_from_the_follower_in_its_rack_and_goes_on_when_that_one_was_dead() -> Result<()> {
    story("nearest-kcat", |bench| {
        let mut cluster = Cluster::start(bench)?;
        let (consumer, follower) = reads_from_a_follower(&mut cluster, |bootstrap, rack| {
            let rack = format!("client.rack={rack}");
            let words = ["-b", bootstrap, "-C", "-E", "-t", TOPIC, "-o", "beginning", "-u", "-q", "-K", "\t"];
            let settings = ["-X", &rack, "-X", "reconnect.backoff.max.ms=1000"];
            let words = words.into_iter().chain(settings).map(Into::into).collect();
            bench.beside("consumer", "kcat", words)
        })?;
        cluster.nodes[follower].server.kill()?;
        cluster.produce("without the follower")?;
        // librdkafka 2.0.2 stays with a replica that it was sent to, for five minutes, whatever metadata say.
        cluster.nodes[follower].server.spawn()?;
        cluster::wait_until_ready(&mut cluster.nodes)?;
        cluster.produce("with it again")?;
        has_read_everything(&cluster, consumer)
    })
}

#[test]
fn the_java_consumer_reads_from_the_follower_in_its_rack_and_goes_back_to_the_leader_when_it_dies()
-> Result<()> {
    story("nearest-java", |bench| {
        let kafka = bench.kafka()?;
        let mut cluster = Cluster::start(bench)?;
        let (consumer, follower) = reads_from_a_follower(&mut cluster, |bootstrap, rack| {
            let mut words = kafka.tool_words("org.apache.kafka.tools.consumer.ConsoleConsumer");
            let rack = format!("client.rack={rack}");
            words.extend(
                ["--bootstrap-server", bootstrap, "--topic", TOPIC, "--partition", "0"].map(Into::into),
            );
            words.extend(["--offset", "earliest", "--formatter-property", "print.key=true"].map(Into::into));
            words.extend(["--command-property", &rack].map(Into::into));
            bench.beside("consumer", "java", words)
        })?;
        cluster.nodes[follower].server.kill()?;
        cluster.produce("without the follower")?;
        has_read_everything(&cluster, consumer)
    })
}
