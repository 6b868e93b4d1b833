//! Replicas are moved with Kafka's own tool, under load: nothing acknowledged is lost, no producer sees an error, the
//! new replicas hold the same bytes, and the old ones leave nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::command::{Answer, Program, wait_until};
use e2e::kafka::Kafka;
use e2e::kcat::{self, Kcat, Partition, Record};
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::{self, Bench, story};
use e2e::wire;
use serde_json::Value;

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 2;
const ROLES: [Role; 4] = [Role::Combined, Role::Combined, Role::Combined, Role::Broker];
/// How long a move of a few thousand records may take on a busy machine.
const MOVE_LIMIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(200);
const RECORDS_PER_ROUND: usize = 200;

/// A running cluster and Kafka's tools.
struct Cluster<'a> {
    bench: &'a Bench,
    kafka: Kafka,
    nodes: Vec<Node>,
}

impl<'a> Cluster<'a> {
    fn start(bench: &'a Bench) -> Result<Self> {
        Ok(Self { bench, kafka: bench.kafka()?, nodes: cluster::start(bench, &ROLES)? })
    }

    fn address(&self) -> &str {
        self.nodes[0].server.address()
    }

    /// What ReassignPartitionsCommand says.
    fn reassign(&self, arguments: &[&str]) -> Result<String> {
        let tool = self.kafka.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand");
        said(tool.args(["--bootstrap-server", self.address()]).args(arguments))
    }

    fn topics(&self, arguments: &[&str]) -> Result<String> {
        let tool = self.kafka.tool("org.apache.kafka.tools.TopicCommand");
        tool.args(["--bootstrap-server", self.address()]).args(arguments).read()
    }

    /// What LogDirsCommand says, without its headings.
    fn log_dirs(&self, arguments: &[&str]) -> Result<Value> {
        let tool = self.kafka.tool("org.apache.kafka.tools.LogDirsCommand");
        let said = tool.args(["--bootstrap-server", self.address(), "--describe"]).args(arguments).read()?;
        let json = said.lines().find(|line| line.starts_with('{')).context("no JSON is said")?;
        serde_json::from_str(json).with_context(|| format!("read {json}"))
    }

    /// How many bytes of the topic a broker has.
    fn held(&self, broker: u32) -> Result<usize> {
        let logs = self.log_dirs(&["--broker-list", &broker.to_string(), "--topic-list", TOPIC])?;
        Ok(usize::try_from(partition_sizes(&logs, broker)?.iter().sum::<u64>())?)
    }

    fn configs(&self, arguments: &[&str]) -> Result<String> {
        self.kafka
            .tool("kafka.admin.ConfigCommand")
            .args(["--bootstrap-server", self.address()])
            .args(arguments)
            .read()
    }

    /// Writes a plan that gives partitions 0, 1, … these replicas.
    fn plan(&self, name: &str, replicas: &[&[u32]]) -> Result<String> {
        let partitions = (0..).zip(replicas).map(|(index, replicas): (u32, _)| {
            format!(r#"{{"topic":"{TOPIC}","partition":{index},"replicas":{replicas:?}}}"#)
        });
        let text = format!(r#"{{"version":1,"partitions":[{}]}}"#, partitions.collect::<Vec<_>>().join(","));
        let path = self.bench.path(&format!("{name}.json"));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// Begins a move; that the tool says so is checked.
    fn execute(&self, plan: &str, more: &[&str]) -> Result<()> {
        let said = self.reassign(&[&["--reassignment-json-file", plan, "--execute"], more].concat())?;
        ensure!(said.contains("Successfully started partition reassignment"), "{said}");
        Ok(())
    }

    /// Begins a move as the protocol allows and the tool does not: to brokers of which one is out of service.
    fn begin(&self, replicas: &[&[u32]]) -> Result<()> {
        (0..).zip(replicas).try_for_each(|(partition, replicas)| {
            let answer = wire::send(self.address(), &wire::reassign(TOPIC, partition, replicas))?;
            wire::reassigned(&answer, TOPIC)
        })
    }

    /// Asks the tool until it says that every partition is where the plan says.
    fn verify(&self, plan: &str) -> Result<()> {
        wait_until("Kafka's tool says that the move is complete", MOVE_LIMIT, INTERVAL, || {
            Answer::from(self.reassign(&["--reassignment-json-file", plan, "--verify"]).and_then(|said| {
                let done = said.matches("is completed").count();
                ensure!(done == PARTITIONS as usize && !said.contains("in progress"), "{said}");
                Ok(())
            }))
        })
    }

    /// Waits until no move is under way.
    fn wait_until_listed_nowhere(&self) -> Result<()> {
        wait_until("no move is under way", MOVE_LIMIT, INTERVAL, || {
            Answer::from(self.reassign(&["--list"]).and_then(|said| {
                ensure!(said.contains("No partition reassignments found."), "{said}");
                Ok(())
            }))
        })
    }

    fn move_to(&self, name: &str, replicas: &[&[u32]]) -> Result<()> {
        let plan = self.plan(name, replicas)?;
        self.execute(&plan, &[])?;
        self.verify(&plan)?;
        self.wait_for_replicas(replicas)
    }

    /// Waits until every broker says that these are the replicas, all in sync and led by one of them.
    fn wait_for_replicas(&self, replicas: &[&[u32]]) -> Result<()> {
        let wanted: Vec<BTreeSet<u32>> = replicas.iter().map(|of| of.iter().copied().collect()).collect();
        let fine = |(partition, wanted): (&Partition, &BTreeSet<u32>)| {
            partition.isr == *wanted && partition.leader.is_some_and(|leader| wanted.contains(&leader))
        };
        let all_fine = |seen: &[Partition]| seen.len() == wanted.len() && seen.iter().zip(&wanted).all(fine);
        self.nodes.iter().try_for_each(|node| {
            let (what, address) = (format!("broker {} sees {wanted:?}", node.id), node.server.address());
            self.bench.kcat.wait_for_partitions(address, TOPIC, &what, MOVE_LIMIT, all_fine).map(drop)
        })
    }

    /// Waits until each node's volume has just these partitions of the topic, and nothing on its way out.
    fn wait_for_directories(&self, replicas: &[&[u32]]) -> Result<()> {
        for node in &self.nodes {
            let holds = |(_, of): &(usize, &&[u32])| of.contains(&node.id);
            let wanted: BTreeSet<String> = replicas
                .iter()
                .enumerate()
                .filter(holds)
                .map(|(index, _)| format!("{TOPIC}-{index}"))
                .collect();
            wait_until(&format!("node {} has the logs {wanted:?}", node.id), MOVE_LIMIT, INTERVAL, || {
                Answer::from(self.directories(node.id).and_then(|found| {
                    ensure!(found == wanted, "it has {found:?}");
                    Ok(())
                }))
            })?;
        }
        Ok(())
    }

    /// Whatever is named after the topic.
    fn directories(&self, node: u32) -> Result<BTreeSet<String>> {
        let names = broker::names(&self.bench.path(&format!("node-{node}")))?;
        Ok(names.into_iter().filter(|name| name.starts_with(TOPIC)).collect())
    }

    fn under_load(&self, act: impl FnOnce() -> Result<()>) -> Result<Vec<Record>> {
        let over = AtomicBool::new(false);
        let (kcat, bootstrap) = (self.bench.kcat.clone(), cluster::bootstrap(&self.nodes));
        thread::scope(|scope| {
            let producer = scope.spawn(|| produce_until(&over, &kcat, &bootstrap));
            let acted = act();
            over.store(true, Ordering::Relaxed);
            let acknowledged = producer.join().map_err(|_| anyhow!("the producer panicked"))??;
            acted.map(|()| acknowledged)
        })
    }

    /// Everything acknowledged is there. What was sent again may be there twice: this producer is not idempotent.
    fn read_back(&self, acknowledged: &[Record]) -> Result<()> {
        let read = self.bench.kcat.consume(self.address(), TOPIC)?;
        let lost = kcat::lost(acknowledged, &read);
        ensure!(lost.is_empty(), "{} of {} are lost: {:?}", lost.len(), acknowledged.len(), lost.first());
        Ok(())
    }

    /// Stops all, after which Kafka's DumpLogSegments must read the same of each partition's replicas.
    fn stop_and_compare(mut self, replicas: &[&[u32]]) -> Result<()> {
        cluster::stop_all(&mut self.nodes)?;
        let mut dumps: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (index, of) in replicas.iter().enumerate() {
            for node in *of {
                let file = format!("node-{node}/{TOPIC}-{index}/00000000000000000000.log");
                let file = self.bench.path(&file).display().to_string();
                let tool = self.kafka.tool("org.apache.kafka.tools.DumpLogSegments");
                let said = tool.args(["--deep-iteration", "--print-data-log", "--files", &file]).read()?;
                let (_, records) = said.split_once('\n').context("nothing is told of a log")?;
                ensure!(records.contains("payload: "), "{file} holds no records");
                dumps.entry(index).or_default().insert(records.to_owned());
            }
        }
        ensure!(dumps.values().all(|of| of.len() == 1), "replicas of a partition differ");
        Ok(())
    }
}

/// The sizes of the logs that a broker has.
fn partition_sizes(logs: &Value, broker: u32) -> Result<Vec<u64>> {
    let brokers = logs["brokers"].as_array().context("no brokers")?;
    let found = brokers.iter().find(|one| one["broker"] == broker).context("no such broker")?;
    let directories = found["logDirs"].as_array().context("no directories")?;
    ensure!(directories.iter().all(|one| one["error"].is_null()), "{logs}");
    let partitions = directories.iter().filter_map(|one| one["partitions"].as_array()).flatten();
    Ok(partitions.filter_map(|partition| partition["size"].as_u64()).collect())
}

/// What a tool says. This one writes why it fails where others write what they have done.
fn said(tool: Program) -> Result<String> {
    let output = tool.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "the tool fails: {said} {complained}");
    Ok(said)
}

/// Produces rounds until `over`; every record must be acknowledged.
fn produce_until(over: &AtomicBool, kcat: &Kcat, bootstrap: &str) -> Result<Vec<Record>> {
    let mut acknowledged = Vec::new();
    let kcat = kcat.with("message.timeout.ms=30000");
    while !over.load(Ordering::Relaxed) {
        let round = format!("round {}", acknowledged.len() / RECORDS_PER_ROUND);
        let records = kcat::marked_records(RECORDS_PER_ROUND, &round);
        kcat.produce(bootstrap, TOPIC, &records).context("a record was not acknowledged")?;
        acknowledged.extend(records);
    }
    Ok(acknowledged)
}

#[test]
fn replicas_grow_move_and_shrink_under_load_and_nothing_is_lost_or_left() -> Result<()> {
    story("reassignment", |bench| {
        let cluster = Cluster::start(bench)?;
        broker::create_replicated_topic(
            cluster.address(),
            TOPIC,
            PARTITIONS,
            1,
            &[("min.insync.replicas", "2")],
        )?;
        let grown: [&[u32]; 2] = [&[1, 2, 3], &[4, 3, 2]];
        let shrunk: [&[u32]; 2] = [&[4, 1], &[1, 2]];
        let acknowledged = cluster.under_load(|| {
            cluster.move_to("grow", &grown)?;
            cluster.wait_for_directories(&grown)?;
            // Each partition also goes to a broker that had none of it.
            cluster.move_to("shrink", &shrunk)?;
            cluster.wait_for_directories(&shrunk)
        })?;
        ensure!(acknowledged.len() >= 2 * RECORDS_PER_ROUND, "hardly any load: {}", acknowledged.len());
        cluster.read_back(&acknowledged)?;
        cluster.stop_and_compare(&shrunk)
    })
}

#[test]
fn kafkas_tools_propose_show_and_take_back_a_move_that_waits_for_a_broker() -> Result<()> {
    story("reassignment-cancelled", |bench| {
        let mut cluster = Cluster::start(bench)?;
        broker::create_replicated_topic(cluster.address(), TOPIC, PARTITIONS, 1, &[])?;
        let before: [&[u32]; 2] = [&[1], &[2, 3]];
        cluster.move_to("before", &before)?;
        let acknowledged = kcat::marked_records(RECORDS_PER_ROUND, "before");
        bench.kcat.produce(cluster.address(), TOPIC, &acknowledged)?;

        let topics = bench.path("topics.json");
        fs::write(&topics, format!(r#"{{"version":1,"topics":[{{"topic":"{TOPIC}"}}]}}"#))?;
        let topics = topics.display().to_string();
        let said = cluster.reassign(&[
            "--topics-to-move-json-file",
            &topics,
            "--broker-list",
            "3,4",
            "--generate",
        ])?;
        ensure!(said.contains("Proposed partition reassignment configuration"), "{said}");

        // Broker 4 is registered and down, so the move cannot end.
        cluster.nodes[3].server.kill()?;
        let away: [&[u32]; 2] = [&[4, 1], &[4]];
        let plan = cluster.plan("away", &away)?;
        cluster.begin(&away)?;
        let said = cluster.reassign(&["--list"])?;
        ensure!(
            said.contains("orders-0: replicas: 4,1. adding: 4.")
                && said.contains("orders-1: replicas: 4,2,3. adding: 4. removing: 2,3."),
            "{said}"
        );
        let said = cluster.topics(&["--describe", "--topic", TOPIC])?;
        ensure!(said.contains("Adding Replicas: 4") && said.contains("Removing Replicas: 2,3"), "{said}");
        let said = cluster.reassign(&["--reassignment-json-file", &plan, "--verify"])?;
        ensure!(said.matches("is still in progress").count() == 2, "{said}");
        // No replica of before is missing, though more are wanted.
        let said = cluster.topics(&["--describe", "--under-replicated-partitions"])?;
        ensure!(said.trim().is_empty(), "{said}");
        let again = kcat::marked_records(RECORDS_PER_ROUND, "meanwhile");
        bench.kcat.produce(cluster.address(), TOPIC, &again)?;

        // The throttles of a broker are its own to take away, and this one is down.
        let cancel = ["--reassignment-json-file", &plan, "--cancel", "--preserve-throttles"];
        let said = cluster.reassign(&cancel)?;
        ensure!(said.contains("Successfully cancelled partition reassignments"), "{said}");
        let said = cluster.reassign(&["--list"])?;
        ensure!(said.contains("No partition reassignments found."), "{said}");
        let said = cluster.reassign(&cancel)?;
        ensure!(said.contains("None of the specified partition reassignments are active."), "{said}");
        let acknowledged = [acknowledged, again].concat();
        cluster.read_back(&acknowledged)?;

        // A broker whose replica was moved away while it was down has nothing left of it when it is back.
        cluster.nodes[3].server.spawn()?;
        cluster::wait_until_ready(std::slice::from_mut(&mut cluster.nodes[3]))?;
        let there: [&[u32]; 2] = [&[4, 1], &[2, 4]];
        cluster.move_to("there", &there)?;
        cluster.nodes[2].server.kill()?;
        let last: [&[u32]; 2] = [&[1, 3], &[2, 3]];
        cluster.begin(&last)?;
        cluster.nodes[3].server.kill()?;
        for node in [2, 3] {
            cluster.nodes[node].server.spawn()?;
            cluster::wait_until_ready(std::slice::from_mut(&mut cluster.nodes[node]))?;
            if node == 2 {
                cluster.wait_until_listed_nowhere()?;
            }
        }
        cluster.wait_for_replicas(&last)?;
        cluster.wait_for_directories(&last)?;
        cluster.read_back(&acknowledged)?;
        cluster.stop_and_compare(&last)
    })
}

#[test]
fn a_plan_that_cannot_be_is_refused_with_a_reason() -> Result<()> {
    story("reassignment-refused", |bench| {
        let cluster = Cluster::start(bench)?;
        broker::create_replicated_topic(cluster.address(), TOPIC, PARTITIONS, 2, &[])?;
        let refused = |name: &str, replicas: &[&[u32]], more: &[&str], wanted: &str| -> Result<()> {
            let plan = cluster.plan(name, replicas)?;
            let said = match cluster.execute(&plan, more) {
                Ok(()) => String::new(),
                Err(error) => format!("{error:#}"),
            };
            ensure!(said.contains(wanted), "{name}: {said}");
            Ok(())
        };
        refused("unknown", &[&[1, 9]], &[], "Unknown broker id 9")?;
        let forbidden = ["--disallow-replication-factor-change"];
        refused("fewer", &[&[1]], &forbidden, "forbids to change the replication factor")?;
        Ok(())
    })
}

#[test]
fn a_throttled_move_keeps_its_rate_and_replicas_in_sync_are_never_held_back() -> Result<()> {
    const RATE: usize = 1_000_000;
    const VALUE_BYTES: usize = 10_000;
    const VALUES: usize = 700;
    story("reassignment-throttled", |bench| {
        let cluster = Cluster::start(bench)?;
        broker::create_replicated_topic(cluster.address(), TOPIC, PARTITIONS, 1, &[])?;
        cluster.move_to("before", &[&[1], &[1]])?;
        let value = |number: usize| format!("{number} {}", "x".repeat(VALUE_BYTES));
        let acknowledged: Vec<Record> =
            (0..VALUES).map(|number| Record { key: format!("{number}"), value: value(number) }).collect();
        bench.kcat.produce(cluster.address(), TOPIC, &acknowledged)?;

        let logs = cluster.log_dirs(&["--broker-list", "1,4", "--topic-list", TOPIC])?;
        let held: u64 = partition_sizes(&logs, 1)?.iter().sum();
        ensure!(
            held >= u64::try_from(VALUES * VALUE_BYTES)?,
            "{held} bytes are said to be on broker 1: {logs}"
        );
        ensure!(partition_sizes(&logs, 4)?.is_empty(), "{logs}");

        let there: [&[u32]; 2] = [&[2, 3], &[3, 2]];
        let plan = cluster.plan("throttled", &there)?;
        let begun = Instant::now();
        cluster.execute(&plan, &["--throttle", &RATE.to_string()])?;
        let said = cluster.configs(&["--describe", "--entity-type", "topics", "--entity-name", TOPIC])?;
        ensure!(said.contains("follower.replication.throttled.replicas=") && said.contains("0:2"), "{said}");
        cluster.wait_for_replicas(&there)?;
        let took = begun.elapsed();
        // Both followers copy all of it from the one leader, which serves both at this rate. A second of the rate may have
        // been saved up, and the last answers, of 1 MiB a partition, may be too much.
        let least = Duration::from_secs(8);
        ensure!(
            took >= least,
            "{} MB at {RATE} bytes a second took only {took:?}",
            VALUES * VALUE_BYTES / 1_000_000
        );
        let said = cluster.reassign(&["--reassignment-json-file", &plan, "--verify"])?;
        ensure!(said.contains("Clearing topic-level throttles"), "{said}");
        let said = cluster.configs(&["--describe", "--entity-type", "topics", "--entity-name", TOPIC])?;
        ensure!(!said.contains("throttled.replicas"), "{said}");

        for (kind, name, setting) in [
            (
                "topics",
                TOPIC,
                "leader.replication.throttled.replicas=*,follower.replication.throttled.replicas=*",
            ),
            ("brokers", "2", "leader.replication.throttled.rate=1,follower.replication.throttled.rate=1"),
            ("brokers", "3", "leader.replication.throttled.rate=1,follower.replication.throttled.rate=1"),
        ] {
            cluster.configs(&[
                "--alter",
                "--entity-type",
                kind,
                "--entity-name",
                name,
                "--add-config",
                setting,
            ])?;
        }
        let more = kcat::marked_records(RECORDS_PER_ROUND, "in sync");
        bench.kcat.with("message.timeout.ms=10000").produce(cluster.address(), TOPIC, &more)?;
        cluster.read_back(&[acknowledged, more].concat())?;
        cluster.stop_and_compare(&there)
    })
}

#[test]
fn what_catches_up_keeps_to_its_rate_without_a_throttle_and_producers_do_not_wait_for_it() -> Result<()> {
    const KEY: &str = "ottla.recovery.bytes.per.second";
    const VALUE_BYTES: usize = 10_000;
    const VALUES: usize = 1_000;
    story("reassignment-bounded", |bench| {
        let cluster = Cluster::start(bench)?;
        broker::create_replicated_topic(cluster.address(), TOPIC, PARTITIONS, 1, &[])?;
        cluster.move_to("before", &[&[1, 4], &[1, 4]])?;
        let value = |number: usize| format!("{number} {}", "x".repeat(VALUE_BYTES));
        let acknowledged: Vec<Record> =
            (0..VALUES).map(|number| Record { key: format!("{number}"), value: value(number) }).collect();
        bench.kcat.produce(cluster.address(), TOPIC, &acknowledged)?;
        let set_rate = |rate: &str| {
            let setting = format!("{KEY}={rate}");
            let broker = ["--alter", "--entity-type", "brokers", "--entity-name", "1"];
            cluster.configs(&[&broker[..], &["--add-config", &setting]].concat())
        };

        // One answer, of 1 MiB a partition at most, may always leave; what comes after it waits for hours.
        set_rate("1")?;
        let there: [&[u32]; 2] = [&[1, 4, 2], &[1, 4, 3]];
        let plan = cluster.plan("bounded", &there)?;
        cluster.execute(&plan, &[])?;
        // Members of the ISR are served as ever.
        let more = kcat::marked_records(RECORDS_PER_ROUND, "meanwhile");
        bench.kcat.with("message.timeout.ms=10000").produce(cluster.address(), TOPIC, &more)?;
        // What one of them got the other has to wait for.
        wait_until("one of them has got an answer", MOVE_LIMIT, INTERVAL, || {
            let held = cluster.held(2).and_then(|second| Ok(second + cluster.held(3)?));
            Answer::from(held.and_then(|held| {
                ensure!(held > 0, "they have nothing");
                Ok(())
            }))
        })?;
        // The tool takes longer to start than the rest would take to be copied.
        for broker in [2, 3] {
            let held = cluster.held(broker)?;
            ensure!(held < VALUES * VALUE_BYTES / 3, "broker {broker} has got {held} bytes");
        }
        let said = cluster.reassign(&["--list"])?;
        ensure!(said.contains("adding: 2.") && said.contains("adding: 3."), "{said}");

        // The key is obeyed while the move goes on.
        set_rate("0")?;
        cluster.verify(&plan)?;
        cluster.wait_for_replicas(&there)?;
        cluster.read_back(&[acknowledged, more].concat())?;
        cluster.stop_and_compare(&there)
    })
}
