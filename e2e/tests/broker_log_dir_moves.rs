//! Replicas are moved between the log directories of their brokers with Kafka's own tools (KIP-113), under load: no client
//! sees an error, each record is there once and in its place, nothing is left in the old directory, and a move goes on
//! after a crash and can be taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::attached::Attached;
use e2e::command::{Answer, wait_until};
use e2e::kafka::Kafka;
use e2e::kcat::{self, Kcat, Partition, Record};
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::verifiable::VerifiableProducer;
use e2e::lane::broker::{self, Bench, story};
use e2e::strace;
use serde_json::{Value, json};

/// Has a replica on every broker.
const TOPIC: &str = "orders";
/// Has one replica.
const SINGLE: &str = "single";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";
const RATE_KEY: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
/// A broker's session, an election, a copy of a few megabytes, and the rest for a busy machine.
const LIMIT: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(200);
const RECORDS_PER_ROUND: usize = 200;
/// So much that a move at [`SLOW`] bytes a second is over only when somebody allows more.
const LARGE_VALUES: usize = 1_500;
const LARGE_VALUE_BYTES: usize = 10_000;
const SLOW: usize = 20_000;

/// A replica: its topic, of which there is partition 0 alone, and its broker.
type Replica = (&'static str, u32);

/// A log in a directory, as Kafka's tool tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    directory: PathBuf,
    lag: i64,
    is_future: bool,
}

/// A running cluster, Kafka's tools, and one partition of each topic.
struct Cluster<'a> {
    bench: &'a Bench,
    kafka: Kafka,
    nodes: Vec<Node>,
}

impl<'a> Cluster<'a> {
    fn start(bench: &'a Bench) -> Result<Self> {
        let kafka = bench.kafka()?;
        let mut nodes = cluster::format_with_directories(bench, &[Role::Combined; 3], 2)?;
        cluster::spawn_all(&mut nodes)?;
        cluster::wait_until_ready(&mut nodes)?;
        let cluster = Self { bench, kafka, nodes };
        let configs = [("min.insync.replicas", "2")];
        broker::create_replicated_topic(cluster.address(), TOPIC, 1, 3, &configs)?;
        broker::create_topic(cluster.address(), SINGLE, 1, &[])?;
        cluster.wait_until_in_sync()?;
        Ok(cluster)
    }

    fn address(&self) -> &str {
        self.nodes[0].server.address()
    }

    fn node(&self, id: u32) -> Result<&Node> {
        self.nodes.iter().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))
    }

    fn wait_until_in_sync(&self) -> Result<()> {
        let fine = |seen: &[Partition]| {
            seen.first().is_some_and(|one| one.leader.is_some() && one.isr == one.replicas)
        };
        [TOPIC, SINGLE].into_iter().try_for_each(|topic| {
            self.bench
                .kcat
                .wait_for_partitions(self.address(), topic, "all are in sync", LIMIT, fine)
                .map(drop)
        })
    }

    fn leader(&self, topic: &str) -> Result<u32> {
        let partitions = self.bench.kcat.partitions(self.address(), topic)?;
        partitions.first().and_then(|partition| partition.leader).context("nobody leads")
    }

    /// The brokers of a topic's partition, the preferred leader first.
    fn brokers(&self, topic: &str) -> Result<Vec<u32>> {
        let metadata = self.bench.kcat.metadata(self.address(), Some(topic))?;
        let replicas =
            metadata["topics"][0]["partitions"][0]["replicas"].as_array().context("no replicas")?;
        replicas.iter().map(|replica| Ok(serde_json::from_value(replica["id"].clone())?)).collect()
    }

    /// Every replica of both topics.
    fn replicas(&self) -> Result<Vec<Replica>> {
        let mut replicas = Vec::new();
        for topic in [TOPIC, SINGLE] {
            replicas.extend(self.brokers(topic)?.into_iter().map(|broker| (topic, broker)));
        }
        Ok(replicas)
    }

    fn tool(&self, class: &str, arguments: &[&str]) -> Result<String> {
        let tool = self.kafka.tool(class).args(["--bootstrap-server", self.address()]).args(arguments);
        let output = tool.output()?;
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        ensure!(output.status.success(), "{class} {arguments:?} fails: {}", said.concat());
        Ok(said.concat())
    }

    /// The logs of a replica, as LogDirsCommand shows them.
    fn found(&self, (topic, broker): Replica) -> Result<Vec<Found>> {
        let said = self
            .tool(LOG_DIRS, &["--describe", "--broker-list", &broker.to_string(), "--topic-list", topic])?;
        let json = said.lines().find(|line| line.starts_with('{')).context("no JSON is said")?;
        let told: Value = serde_json::from_str(json).with_context(|| format!("read {json}"))?;
        let mut found = Vec::new();
        for directory in told["brokers"][0]["logDirs"].as_array().context("no directories")? {
            ensure!(directory["error"].is_null(), "{told}");
            for log in directory["partitions"].as_array().into_iter().flatten() {
                found.push(Found {
                    directory: directory["logDir"].as_str().context("no path")?.into(),
                    lag: log["offsetLag"].as_i64().context("no lag")?,
                    is_future: log["isFuture"].as_bool().context("not said whether it is a future one")?,
                });
            }
        }
        Ok(found)
    }

    /// The directory of a replica that does not move.
    fn directory(&self, replica: Replica) -> Result<PathBuf> {
        let found = self.found(replica)?;
        let [Found { directory, is_future: false, .. }] = &found[..] else {
            return Err(anyhow!("{replica:?} has not just one log: {found:?}"));
        };
        Ok(directory.clone())
    }

    /// For each of these replicas the directory where it is not.
    fn elsewhere(&self, replicas: &[Replica]) -> Result<BTreeMap<Replica, PathBuf>> {
        let other = |replica: &Replica| {
            let now = self.directory(*replica)?;
            let mut others = self.node(replica.1)?.directories.iter().filter(|directory| **directory != now);
            let other = others.next().context("there is one directory alone")?;
            Ok((*replica, other.clone()))
        };
        replicas.iter().map(other).collect()
    }

    /// Writes a plan that moves these replicas to these directories, and none to another broker.
    fn plan(&self, name: &str, wanted: &BTreeMap<Replica, PathBuf>) -> Result<String> {
        let topics: BTreeSet<&str> = wanted.keys().map(|(topic, _)| *topic).collect();
        let mut partitions = Vec::new();
        for topic in topics {
            let brokers = self.brokers(topic)?;
            let directories = wanted.iter().filter(|((of, _), _)| *of == topic);
            let directories: BTreeMap<u32, String> =
                directories.map(|((_, broker), path)| (*broker, path.display().to_string())).collect();
            let directory = |broker| directories.get(broker).map_or("any", String::as_str);
            let directories: Vec<&str> = brokers.iter().map(directory).collect();
            partitions
                .push(json!({"topic": topic, "partition": 0, "replicas": brokers, "log_dirs": directories}));
        }
        let path = self.bench.path(&format!("{name}.json"));
        let text = json!({"version": 1, "partitions": partitions}).to_string();
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// Begins moves, and waits until the tool says that each is under way.
    fn execute(&self, plan: &str, wanted: &BTreeMap<Replica, PathBuf>, more: &[&str]) -> Result<()> {
        let said = self.tool(REASSIGN, &[&["--reassignment-json-file", plan, "--execute"], more].concat())?;
        for ((topic, broker), directory) in wanted {
            let begun = format!(
                "Successfully started moving log directory to {} for replica {topic}-0 with broker {broker}",
                directory.display()
            );
            ensure!(said.contains(&begun), "{said}");
        }
        Ok(())
    }

    fn verify(&self, plan: &str) -> Result<String> {
        self.tool(REASSIGN, &["--reassignment-json-file", plan, "--verify"])
    }

    /// Asks the tool until it says that each of these moves is over, and looks for the logs in the directories.
    fn wait_until_moved(&self, plan: &str, wanted: &BTreeMap<Replica, PathBuf>) -> Result<()> {
        wait_until("Kafka's tool says that the moves are complete", LIMIT, INTERVAL, || {
            Answer::from(self.verify(plan).and_then(|said| {
                for (topic, broker) in wanted.keys() {
                    let done = format!("Reassignment of replica {topic}-0-{broker} completed successfully.");
                    ensure!(said.contains(&done), "{said}");
                }
                Ok(())
            }))
        })?;
        for (replica, directory) in wanted {
            ensure!(self.directory(*replica)? == *directory, "{replica:?} is not in {}", directory.display());
            self.wait_for_files(*replica, directory)?;
        }
        Ok(())
    }

    /// Waits until the replica's log is in this directory, under its own name, and nothing is left of it in the other.
    fn wait_for_files(&self, (topic, broker): Replica, there: &Path) -> Result<()> {
        let log = format!("{topic}-0");
        for directory in &self.node(broker)?.directories {
            let wanted =
                if directory.as_path() == there { BTreeSet::from([log.clone()]) } else { BTreeSet::new() };
            wait_until(&format!("{} holds {wanted:?}", directory.display()), LIMIT, INTERVAL, || {
                Answer::from(broker::names(directory).and_then(|names| {
                    let names: BTreeSet<String> =
                        names.into_iter().filter(|name| name.starts_with(&log)).collect();
                    ensure!(names == wanted, "it holds {names:?}");
                    Ok(())
                }))
            })?;
        }
        Ok(())
    }

    /// Waits until a replica is shown with the log that serves and the one that is to take its place.
    fn wait_until_moving(&self, replica: Replica, to: &Path) -> Result<()> {
        wait_until(&format!("{replica:?} is shown as moving"), LIMIT, INTERVAL, || {
            Answer::from(self.found(replica).and_then(|found| {
                let future = found.iter().find(|log| log.is_future).context("no future log is shown")?;
                ensure!(found.len() == 2 && future.directory.as_path() == to && future.lag > 0, "{found:?}");
                Ok(())
            }))
        })
    }

    /// Sets how fast every broker moves replicas.
    fn set_rate(&self, rate: usize) -> Result<()> {
        self.nodes.iter().try_for_each(|node| {
            let (id, setting) = (node.id.to_string(), format!("{RATE_KEY}={rate}"));
            let broker = ["--alter", "--entity-type", "brokers", "--entity-name", &id];
            self.tool(CONFIGS, &[&broker[..], &["--add-config", &setting]].concat()).map(drop)
        })
    }

    /// Each of these records once and in order, and no other.
    fn read_back(&self, topic: &str, written: &[Record]) -> Result<()> {
        wait_until(&format!("every record of {topic} is read once"), LIMIT, INTERVAL, || {
            let read = self.bench.kcat.consume(self.address(), topic);
            Answer::from(read.and_then(|read| kcat::compare(written, &read)))
        })
    }

    /// Offset and value of each record of a replica, as Kafka's tool reads them from its one segment. Nothing may write to
    /// it.
    fn dump(&self, replica: Replica, directory: &Path) -> Result<Vec<(u64, String)>> {
        let file = directory.join(format!("{}-0/00000000000000000000.log", replica.0)).display().to_string();
        let tool = self.kafka.tool(DUMP).args(["--print-data-log", "--files", &file]);
        let said = tool.read()?;
        let mut records = Vec::new();
        for line in said.lines().filter_map(|line| line.strip_prefix("| offset: ")) {
            let (offset, rest) = line.split_once(' ').context("nothing follows an offset")?;
            let (_, value) = rest.split_once("payload: ").context("a record without a value")?;
            records.push((offset.parse().with_context(|| format!("read {line}"))?, value.to_owned()));
        }
        Ok(records)
    }

    /// Stops all and compares what the replicas hold: the same, and without a gap.
    fn stop_and_compare(
        mut self,
        directories: &BTreeMap<Replica, PathBuf>,
        counts: &BTreeMap<&str, usize>,
    ) -> Result<()> {
        cluster::stop_all(&mut self.nodes)?;
        let mut dumps: BTreeMap<&str, Vec<(u64, String)>> = BTreeMap::new();
        for (replica, directory) in directories {
            let records = self.dump(*replica, directory)?;
            let dense = (0..).zip(&records).all(|(wanted, (offset, _))| *offset == wanted);
            ensure!(dense, "the offsets of {replica:?} have a gap");
            let count = counts[replica.0];
            ensure!(records.len() == count, "{replica:?} has {} of {count} records", records.len());
            let first = dumps.entry(replica.0).or_insert_with(|| records.clone());
            ensure!(*first == records, "the replicas of {} differ", replica.0);
        }
        Ok(())
    }
}

/// Produces rounds until `over` without ever writing a record twice; every record must be acknowledged.
fn produce_until(over: &AtomicBool, kcat: &Kcat, bootstrap: &str) -> Result<Vec<Record>> {
    let mut acknowledged = Vec::new();
    let kcat = kcat.with("enable.idempotence=true").with("message.timeout.ms=30000");
    while !over.load(Ordering::Relaxed) {
        let round = format!("round {}", acknowledged.len() / RECORDS_PER_ROUND);
        let records = kcat::marked_records(RECORDS_PER_ROUND, &round);
        kcat.produce(bootstrap, SINGLE, &records).context("a record was not acknowledged")?;
        acknowledged.extend(records);
    }
    Ok(acknowledged)
}

/// A consumer that reads a topic from its beginning and goes on until it is stopped; any error ends it.
fn consumer(bench: &Bench, bootstrap: &str) -> Result<Attached> {
    let words = ["-b", bootstrap, "-C", "-t", TOPIC, "-o", "beginning", "-q", "-u"];
    let words = words.into_iter().map(Into::into).collect();
    let mut consumer = bench.beside("consumer", "kcat", words).with_errors_in(bench.path("consumer.err"));
    consumer.spawn()?;
    Ok(consumer)
}

fn large_records() -> Vec<Record> {
    let value = |number: usize| format!("{number} {}", "x".repeat(LARGE_VALUE_BYTES));
    (0..LARGE_VALUES).map(|number| Record { key: format!("{number}"), value: value(number) }).collect()
}

/// A cluster whose topics both hold [`large_records`].
fn filled(bench: &Bench) -> Result<Cluster<'_>> {
    let cluster = Cluster::start(bench)?;
    let kcat = bench.kcat.with("enable.idempotence=true");
    for topic in [TOPIC, SINGLE] {
        kcat.produce(cluster.address(), topic, &large_records())?;
    }
    Ok(cluster)
}

#[test]
fn leaders_and_followers_move_under_load_and_no_client_notices() -> Result<()> {
    story("log-dir-moves", |bench| {
        let cluster = Cluster::start(bench)?;
        let (kcat, bootstrap) = (bench.kcat.clone(), cluster::bootstrap(&cluster.nodes));
        let replicas = cluster.replicas()?;
        ensure!(replicas.len() == 4, "{replicas:?}");
        // What clients have by default is given back to the tool.
        let settings = "retries=2147483647\nenable.idempotence=true\n";
        let mut producer =
            VerifiableProducer::start(bench, &cluster.kafka, (&bootstrap, TOPIC), 400, settings)?;
        let mut consumer = consumer(bench, &bootstrap)?;
        let over = AtomicBool::new(false);
        let directories = cluster.elsewhere(&replicas)?;
        let plan = cluster.plan("move", &directories)?;
        let single = thread::scope(|scope| {
            let single = scope.spawn(|| produce_until(&over, &kcat, &bootstrap));
            let moved = producer
                .wait_for_more_than(500)
                .and_then(|_| cluster.execute(&plan, &directories, &[]))
                .and_then(|_| cluster.wait_until_moved(&plan, &directories));
            over.store(true, Ordering::Relaxed);
            let single = single.join().map_err(|_| anyhow!("the producer panicked"))?;
            moved.and(single)
        })?;
        producer.wait_for_more_than(500)?;
        let written = producer.finish()?.len();
        let wanted: Vec<String> = (0..written).map(|value| value.to_string()).collect();
        consumer.wait_until("has read every record once and in order", || {
            let text = fs::read_to_string(bench.path("consumer.out")).context("read what it read")?;
            ensure!(text.lines().eq(&wanted), "{} of {written} lines", text.lines().count());
            Ok(())
        })?;
        consumer.kill()?;
        cluster.wait_until_in_sync()?;
        cluster.read_back(SINGLE, &single)?;
        let read = bench.kcat.consume_values(&bootstrap, TOPIC)?;
        ensure!(read == wanted, "{} of {written} records are read", read.len());
        cluster.stop_and_compare(&directories, &BTreeMap::from([(TOPIC, written), (SINGLE, single.len())]))
    })
}

#[test]
fn a_move_goes_on_after_its_broker_was_killed() -> Result<()> {
    story("log-dir-moves-crash", |bench| {
        let mut cluster = filled(bench)?;
        let replicas = cluster.replicas()?;
        let wanted = cluster.elsewhere(&replicas)?;
        let plan = cluster.plan("slow", &wanted)?;
        let rate = SLOW.to_string();
        cluster.execute(&plan, &wanted, &["--replica-alter-log-dirs-throttle", &rate])?;
        for (replica, directory) in &wanted {
            cluster.wait_until_moving(*replica, directory)?;
        }
        let said = cluster.verify(&plan)?;
        ensure!(said.matches("is still in progress").count() == wanted.len(), "{said}");

        // The one that has the only replica of a topic, and the one that leads the other topic.
        let killed: BTreeSet<u32> = [cluster.leader(SINGLE)?, cluster.leader(TOPIC)?].into();
        for id in killed {
            let at =
                cluster.nodes.iter().position(|node| node.id == id).context("a leader that is no node")?;
            cluster.nodes[at].server.kill()?;
            cluster.nodes[at].server.spawn()?;
            cluster::wait_until_ready(slice::from_mut(&mut cluster.nodes[at]))?;
            cluster.wait_until_in_sync()?;
            for (replica, directory) in wanted.iter().filter(|((_, broker), _)| *broker == id) {
                cluster.wait_until_moving(*replica, directory)?;
            }
        }
        let more = kcat::marked_records(RECORDS_PER_ROUND, "meanwhile");
        let kcat = bench.kcat.with("enable.idempotence=true");
        for topic in [TOPIC, SINGLE] {
            kcat.produce(cluster.address(), topic, &more)?;
        }

        // The key is obeyed while moves go on.
        cluster.set_rate(1_000_000_000)?;
        cluster.wait_until_moved(&plan, &wanted)?;
        let written = [large_records(), more].concat();
        for topic in [TOPIC, SINGLE] {
            cluster.read_back(topic, &written)?;
        }
        let said =
            cluster.tool(CONFIGS, &["--describe", "--entity-type", "brokers", "--entity-name", "1"])?;
        ensure!(!said.contains(RATE_KEY), "the tool leaves its throttle: {said}");
        let counts = BTreeMap::from([(TOPIC, written.len()), (SINGLE, written.len())]);
        cluster.stop_and_compare(&wanted, &counts)
    })
}

#[test]
fn a_replica_whose_copy_cannot_take_its_place_goes_on_where_it_was() -> Result<()> {
    story("log-dir-moves-fails", |bench| {
        bench.expect_error("log directory has failed");
        let mut cluster = Cluster::start(bench)?;
        let replica = (SINGLE, cluster.leader(SINGLE)?);
        let node = cluster.node(replica.1)?;
        // A broker does not go on without the directory that has its metadata log: that is the first.
        let [first, second] = [0, 1].map(|at| node.directories[at].clone());
        if cluster.directory(replica)? != first {
            let there = BTreeMap::from([(replica, first)]);
            let plan = cluster.plan("there", &there)?;
            cluster.execute(&plan, &there, &[])?;
            cluster.wait_until_moved(&plan, &there)?;
        }
        let mut written = large_records();
        bench.kcat.produce(cluster.address(), SINGLE, &written)?;
        let wanted = BTreeMap::from([(replica, second.clone())]);
        let plan = cluster.plan("fails", &wanted)?;
        let rate = SLOW.to_string();
        cluster.execute(&plan, &wanted, &["--replica-alter-log-dirs-throttle", &rate])?;
        cluster.wait_until_moving(replica, &second)?;
        let is_copy = |name: &String| name.starts_with(SINGLE) && name.ends_with("-future");
        let copy = broker::names(&second)?.into_iter().find(is_copy).context("there is no copy")?;
        let process = cluster.node(replica.1)?.server.id()?;
        let tracer =
            strace::inject(process, "rename", "error=EIO", Some(&second.join(copy)), &bench.path(""))?;

        let over = AtomicBool::new(false);
        let (kcat, bootstrap) = (bench.kcat.clone(), cluster.address().to_owned());
        written.extend(thread::scope(|scope| {
            let producer = scope.spawn(|| produce_until(&over, &kcat, &bootstrap));
            let failed = cluster.set_rate(1_000_000_000).and_then(|()| {
                let said = "replica could not go to its other log directory, and is where it was";
                wait_until("the replica is where it was", LIMIT, INTERVAL, || {
                    Answer::from(cluster.node(replica.1).and_then(|node| {
                        ensure!(node.server.log()?.contains(said), "{}", node.server.tail());
                        Ok(())
                    }))
                })?;
                // What comes now lies in the first directory alone.
                thread::sleep(Duration::from_secs(2));
                Ok(())
            });
            over.store(true, Ordering::Relaxed);
            let written = producer.join().map_err(|_| anyhow!("the producer panicked"))?;
            failed.and(written)
        })?);
        cluster.read_back(SINGLE, &written)?;
        drop(tracer);

        // The disk is well again: whichever log the start takes has everything, and the move goes on.
        let at = cluster.nodes.iter().position(|node| node.id == replica.1).context("no such node")?;
        cluster.nodes[at].server.kill()?;
        cluster.nodes[at].server.spawn()?;
        cluster::wait_until_ready(slice::from_mut(&mut cluster.nodes[at]))?;
        cluster.wait_until_in_sync()?;
        cluster.wait_until_moved(&plan, &wanted)?;
        let more = kcat::marked_records(RECORDS_PER_ROUND, "afterwards");
        bench.kcat.produce(cluster.address(), SINGLE, &more)?;
        written.extend(more);
        cluster.read_back(SINGLE, &written)?;
        let counts = BTreeMap::from([(SINGLE, written.len())]);
        cluster.stop_and_compare(&wanted, &counts)
    })
}

#[test]
fn a_move_back_ends_a_move_that_is_under_way() -> Result<()> {
    story("log-dir-moves-back", |bench| {
        let cluster = filled(bench)?;
        let replicas = cluster.replicas()?;
        let before = replicas.iter().map(|replica| Ok((*replica, cluster.directory(*replica)?)));
        let before: BTreeMap<Replica, PathBuf> = before.collect::<Result<_>>()?;
        let wanted = cluster.elsewhere(&replicas)?;
        let plan = cluster.plan("slow", &wanted)?;
        let rate = SLOW.to_string();
        let slowly = ["--replica-alter-log-dirs-throttle", &rate];
        let stays = || {
            for (replica, directory) in &before {
                cluster.wait_for_files(*replica, directory)?;
                ensure!(cluster.directory(*replica)? == *directory, "{replica:?} has moved");
            }
            let said = cluster.verify(&plan)?;
            ensure!(said.matches("is not being moved from log dir").count() == before.len(), "{said}");
            Ok(())
        };

        cluster.execute(&plan, &wanted, &slowly)?;
        for (replica, directory) in &wanted {
            cluster.wait_until_moving(*replica, directory)?;
        }
        // This takes the throttle away, too: what is not taken back is over in a moment.
        cluster.tool(REASSIGN, &["--reassignment-json-file", &plan, "--cancel"])?;
        stays()?;

        // Another plan does the same.
        cluster.execute(&plan, &wanted, &slowly)?;
        for (replica, directory) in &wanted {
            cluster.wait_until_moving(*replica, directory)?;
        }
        let back = cluster.plan("back", &before)?;
        cluster.execute(&back, &before, &[])?;
        cluster.wait_until_moved(&back, &before)?;
        stays()?;
        for topic in [TOPIC, SINGLE] {
            cluster.read_back(topic, &large_records())?;
        }
        let counts = BTreeMap::from([(TOPIC, LARGE_VALUES), (SINGLE, LARGE_VALUES)]);
        cluster.stop_and_compare(&before, &counts)
    })
}

#[test]
fn a_directory_that_the_broker_does_not_have_is_refused() -> Result<()> {
    story("log-dir-moves-refused", |bench| {
        let cluster = Cluster::start(bench)?;
        let replica = (SINGLE, cluster.leader(SINGLE)?);
        let stays = cluster.directory(replica)?;
        let wanted = BTreeMap::from([(replica, PathBuf::from("/nowhere"))]);
        let plan = cluster.plan("nowhere", &wanted)?;
        let Err(refused) = cluster.execute(&plan, &wanted, &[]) else {
            return Err(anyhow!("it is said to go to /nowhere"));
        };
        let said = format!("{refused:#}");
        ensure!(said.contains("LogDirNotFoundException"), "{said}");
        ensure!(cluster.directory(replica)? == stays, "it has moved");
        Ok(())
    })
}
