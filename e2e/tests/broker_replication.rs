//! Three replicas of each partition: what was acknowledged to a producer that asks for all of them survives the death
//! of any broker and of all of them, and is never acknowledged where too few of them would hold it.
//!
//! Every wait asks again and again and has a limit. What a client could have sent twice is not produced: rounds begin
//! and end while nobody dies, so that everything is read back exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kafka::Kafka;
use e2e::kcat::{self, Partition, Record};
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::{self, Bench, story};
use e2e::wire;

const TOPIC: &str = "orders";
const MIN_ISR: (&str, &str) = ("min.insync.replicas", "2");
/// Of a round, and how they are sent: several batches for each partition, and no batch before the one ahead of it is
/// acknowledged. Without idempotence order over a retry is to be had in no other way.
const RECORDS: usize = 500;
const IN_ORDER: [&str; 2] = ["batch.num.messages=50", "max.in.flight.requests.per.connection=1"];
/// How long records may wait for their acknowledgement, and an ISR for the controller's word, after a broker died. Its
/// session lasts 4 s, for which it is waited where several die; where the active controller died with it, that is
/// counted from the election of the next one. The rest is for a busy machine.
const FAILOVER_LIMIT: Duration = Duration::from_secs(30);
/// How long a broker in service may take until it is in every ISR again: seconds, on a busy machine.
const REJOIN_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take after a failover until a new leader knows what was committed.
const READ_LIMIT: Duration = Duration::from_secs(20);
/// How long kcat tries what must not be acknowledged; longer than a healthy cluster needs by far.
const REFUSED_MS: u32 = 4_000;
const INTERVAL: Duration = Duration::from_millis(100);

/// A cluster, its topic, and everything that was ever acknowledged.
struct Cluster<'a> {
    bench: &'a Bench,
    nodes: Vec<Node>,
    dead: BTreeSet<u32>,
    acknowledged: Vec<Record>,
}

impl<'a> Cluster<'a> {
    fn start(bench: &'a Bench, roles: &[Role]) -> Result<Self> {
        let nodes = cluster::start(bench, roles)?;
        Ok(Self { bench, nodes, dead: BTreeSet::new(), acknowledged: Vec::new() })
    }

    /// A cluster with a topic of so many partitions, each on all of its three brokers.
    fn with_topic(bench: &'a Bench, roles: &[Role], partitions: u32) -> Result<Self> {
        let cluster = Self::start(bench, roles)?;
        broker::create_replicated_topic(cluster.address()?, TOPIC, partitions, 3, &[MIN_ISR])?;
        cluster.wait_for_isr(&cluster.brokers(), REJOIN_LIMIT)?;
        Ok(cluster)
    }

    fn brokers(&self) -> BTreeSet<u32> {
        self.nodes.iter().filter(|node| node.is_broker()).map(|node| node.id).collect()
    }

    fn live(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_broker() && !self.dead.contains(&node.id))
    }

    /// Of a broker that lives.
    fn address(&self) -> Result<&str> {
        self.live().next().map(|node| node.server.address()).context("no broker lives")
    }

    fn node(&mut self, id: u32) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))
    }

    /// Who leads partition 0.
    fn leader(&self) -> Result<u32> {
        let partitions = self.bench.kcat.partitions(self.address()?, TOPIC)?;
        partitions.first().and_then(|partition| partition.leader).context("nobody leads partition 0")
    }

    /// Waits until every live broker says of every partition that just these are in its ISR and one of them leads.
    fn wait_for_isr(&self, wanted: &BTreeSet<u32>, limit: Duration) -> Result<()> {
        let fine = |partition: &Partition| {
            partition.isr == *wanted && partition.leader.is_some_and(|leader| wanted.contains(&leader))
        };
        let all_fine = |seen: &[Partition]| !seen.is_empty() && seen.iter().all(fine);
        self.live().try_for_each(|node| {
            let what = format!("broker {} sees an ISR of {wanted:?} in all partitions", node.id);
            let address = node.server.address();
            self.bench.kcat.wait_for_partitions(address, TOPIC, &what, limit, all_fine).map(drop)
        })
    }

    /// Produces a round through whatever brokers live, as an application does; all of it must be acknowledged in time
    /// even if somebody died just now.
    fn produce(&mut self, round: &str) -> Result<()> {
        let records = kcat::marked_records(RECORDS, round);
        let kcat = self.bench.kcat.with(&format!("message.timeout.ms={}", FAILOVER_LIMIT.as_millis()));
        let kcat = IN_ORDER.iter().fold(kcat, |kcat, setting| kcat.with(setting));
        kcat.produce(&cluster::bootstrap(&self.nodes), TOPIC, &records)
            .with_context(|| format!("records are not acknowledged within {FAILOVER_LIMIT:?}: {round}"))?;
        self.acknowledged.extend(records);
        Ok(())
    }

    /// Offers one record, which must not be acknowledged.
    fn produce_in_vain(&self) -> Result<()> {
        let kcat = self.bench.kcat.with(&format!("message.timeout.ms={REFUSED_MS}"));
        let offered = kcat.produce(self.address()?, TOPIC, &kcat::marked_records(1, "refused"));
        ensure!(offered.is_err(), "a record was acknowledged by brokers {:?} alone", self.living());
        Ok(())
    }

    fn living(&self) -> BTreeSet<u32> {
        self.live().map(|node| node.id).collect()
    }

    /// Reads the topic until `judge` is content with what is there.
    fn read_until(&self, what: &str, judge: impl Fn(&[Record], &[Record]) -> Result<()>) -> Result<()> {
        let address = self.address()?;
        wait_until(what, READ_LIMIT, INTERVAL, || {
            let read = self.bench.kcat.consume(address, TOPIC);
            Answer::from(read.and_then(|read| judge(&self.acknowledged, &read)))
        })
    }

    /// Everything acknowledged is there once, and nothing else is. In which order is not said: a client without
    /// idempotence sends a batch that was refused again behind those that were not.
    fn read_back(&self) -> Result<()> {
        self.read_until("what was acknowledged is read back exactly once", |acknowledged, read| {
            ensure_nothing_lost(acknowledged, read)?;
            ensure!(acknowledged.len() == read.len(), "{} are read of {}", read.len(), acknowledged.len());
            Ok(())
        })
    }

    /// Everything acknowledged is there; what was not may be.
    fn find_all(&self) -> Result<()> {
        self.read_until("what was acknowledged is read back", ensure_nothing_lost)
    }

    fn kill(&mut self, ids: impl IntoIterator<Item = u32>) -> Result<()> {
        ids.into_iter().try_for_each(|id| {
            self.node(id)?.server.kill()?;
            self.dead.insert(id);
            Ok(())
        })
    }

    fn spawn(&mut self, id: u32) -> Result<()> {
        self.node(id)?.server.spawn()
    }

    fn wait_until_ready(&mut self, id: u32) -> Result<()> {
        cluster::wait_until_ready(slice::from_mut(self.node(id)?))?;
        self.dead.remove(&id);
        Ok(())
    }

    /// Starts a dead broker, which must get back into every ISR.
    fn revive(&mut self, id: u32) -> Result<()> {
        self.spawn(id)?;
        self.wait_until_ready(id)?;
        self.wait_for_isr(&self.living(), REJOIN_LIMIT)
    }

    /// Stops every node, after which the replicas of each partition must hold the same bytes.
    fn stop_and_compare_replicas(mut self, kafka: &Kafka) -> Result<()> {
        cluster::stop_all(&mut self.nodes)?;
        let dumps = dump(self.bench, kafka, &self.brokers())?;
        let mut offsets = 0;
        for (partition, replicas) in &dumps {
            ensure!(replicas.len() == self.brokers().len(), "{partition} lies on {:?}", replicas.keys());
            let (first, text) = replicas.first_key_value().context("no replica")?;
            offsets += check_offsets(text).with_context(|| format!("{first}: {partition}"))?;
            for (other, said) in replicas {
                let differs = text.lines().zip(said.lines()).find(|(mine, theirs)| mine != theirs);
                ensure!(differs.is_none(), "{partition} of {first} and of {other}: {differs:?}");
                ensure!(text.len() == said.len(), "{partition} of {first} and of {other}: one ends earlier");
            }
        }
        ensure!(offsets == self.acknowledged.len(), "{offsets} of {} are held", self.acknowledged.len());
        Ok(())
    }
}

/// What Kafka's DumpLogSegments says of the records of each partition's replicas, by partition and node.
fn dump(
    bench: &Bench,
    kafka: &Kafka,
    ids: &BTreeSet<u32>,
) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut segments = Vec::new();
    for id in ids {
        segments.extend(segments_of(&bench.path(&format!("node-{id}")))?);
    }
    let list = segments.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(",");
    let tool = kafka.tool("org.apache.kafka.tools.DumpLogSegments");
    let said = tool.args(["--deep-iteration", "--print-data-log", "--files", &list]).read()?;
    let mut dumps: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for section in said.split("Dumping ").skip(1) {
        let (file, text) = section.split_once('\n').context("a file without a line")?;
        let name = |path: Option<&Path>| Some(path?.file_name()?.to_string_lossy().into_owned());
        let log = Path::new(file).parent();
        let (log, node) = (name(log), name(log.and_then(Path::parent)));
        let (log, node) = log.zip(node).with_context(|| format!("a file of no log: {file}"))?;
        let before = dumps.entry(log).or_default().insert(node, text.to_owned());
        ensure!(before.is_none(), "a log of more than one segment, which this test does not write: {file}");
    }
    Ok(dumps)
}

fn ensure_nothing_lost(acknowledged: &[Record], read: &[Record]) -> Result<()> {
    let lost = kcat::lost(acknowledged, read);
    ensure!(lost.is_empty(), "{} of {} are lost: {:?}", lost.len(), acknowledged.len(), lost.first());
    Ok(())
}

/// The segments of the topic in a data directory.
fn segments_of(directory: &Path) -> Result<Vec<PathBuf>> {
    let list = |path: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(path).with_context(|| format!("list {}", path.display()))?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{TOPIC}-")))
    };
    let mut found = Vec::new();
    for log in list(directory)?.into_iter().filter(is_ours) {
        found.extend(list(&log)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")));
    }
    Ok(found)
}

/// How many records a dump tells of; their offsets must be those from 0 on.
fn check_offsets(dump: &str) -> Result<usize> {
    let offsets = dump.lines().filter_map(|line| line.strip_prefix("| offset: ")?.split(' ').next());
    let offsets: Vec<usize> = offsets.map(str::parse).collect::<Result<_, _>>()?;
    ensure!(offsets.iter().copied().eq(0..offsets.len()), "the offsets are not those from 0 on");
    Ok(offsets.len())
}

#[test]
fn a_topic_of_kafkas_tool_has_three_replicas_all_in_sync() -> Result<()> {
    story("replication-topic", |bench| {
        let kafka = bench.kafka()?;
        let cluster = Cluster::start(bench, &[Role::Combined; 3])?;
        let tool = |words: &str| {
            let tool = kafka.tool("org.apache.kafka.tools.TopicCommand");
            tool.args(["--bootstrap-server", cluster.address()?]).args(words.split(' ')).read()
        };
        let config = format!("{}={}", MIN_ISR.0, MIN_ISR.1);
        tool(&format!("--create --topic {TOPIC} --partitions 3 --replication-factor 3 --config {config}"))?;
        cluster.wait_for_isr(&cluster.brokers(), REJOIN_LIMIT)?;
        let described = tool(&format!("--describe --topic {TOPIC}"))?;
        let head = format!("PartitionCount: 3\tReplicationFactor: 3\tConfigs: {config}");
        ensure!(described.contains(&head), "not as it was made: {described}");
        let ids = |row: &str, of: &str| -> Result<BTreeSet<u32>> {
            let field = row.split('\t').find_map(|field| field.strip_prefix(of));
            let field = field.with_context(|| format!("no {of}in {row:?}"))?;
            Ok(field.trim().split(',').map(str::parse).collect::<Result<_, _>>()?)
        };
        let rows: Vec<&str> = described.lines().filter(|row| row.contains("\tPartition: ")).collect();
        let mut leaders = BTreeSet::new();
        for row in &rows {
            ensure!(ids(row, "Replicas: ")? == cluster.brokers(), "not on all brokers: {row}");
            ensure!(ids(row, "Isr: ")? == cluster.brokers(), "not all in sync: {row}");
            leaders.extend(ids(row, "Leader: ")?);
        }
        ensure!(rows.len() == 3 && leaders == cluster.brokers(), "not a leader each:\n{described}");
        Ok(())
    })
}

#[test]
fn acknowledged_records_outlive_one_leader_after_another() -> Result<()> {
    story("replication-leaders", |bench| {
        let kafka = bench.kafka()?;
        let mut cluster = Cluster::with_topic(bench, &[Role::Combined; 3], 3)?;
        cluster.produce("first")?;
        let first = cluster.leader()?;
        cluster.kill([first])?;
        cluster.produce("without the first leader")?;
        cluster.wait_for_isr(&cluster.living(), FAILOVER_LIMIT)?;
        cluster.read_back()?;
        cluster.revive(first)?;
        cluster.produce("with the first leader back")?;
        let second = cluster.leader()?;
        ensure!(second != first, "broker {first} leads again, though its successor lives");
        cluster.kill([second])?;
        cluster.produce("without the second leader")?;
        cluster.wait_for_isr(&cluster.living(), FAILOVER_LIMIT)?;
        cluster.read_back()?;
        cluster.revive(second)?;
        cluster.read_back()?;
        cluster.stop_and_compare_replicas(&kafka)
    })
}

#[test]
fn acknowledged_records_outlive_all_brokers_killed_at_once() -> Result<()> {
    story("replication-all", |bench| {
        let kafka = bench.kafka()?;
        let mut cluster = Cluster::with_topic(bench, &[Role::Combined; 3], 3)?;
        let all = cluster.brokers();
        for round in ["first", "second"] {
            cluster.produce(round)?;
            cluster.kill(all.clone())?;
            all.iter().try_for_each(|id| cluster.spawn(*id))?;
            all.iter().try_for_each(|id| cluster.wait_until_ready(*id))?;
            cluster.wait_for_isr(&all, REJOIN_LIMIT)?;
            cluster.read_back()?;
        }
        cluster.produce("after all of it")?;
        cluster.read_back()?;
        cluster.stop_and_compare_replicas(&kafka)
    })
}

#[test]
fn a_leader_alone_refuses_records_until_another_replica_is_in_sync() -> Result<()> {
    const NOT_ENOUGH_REPLICAS: &str = "error 19";
    story("replication-refused", |bench| {
        // The controller is a node of its own and lives on, so that the ISR does shrink below the minimum.
        let roles = [Role::Controller, Role::Broker, Role::Broker, Role::Broker];
        let mut cluster = Cluster::with_topic(bench, &roles, 1)?;
        cluster.produce("first")?;
        let leader = cluster.leader()?;
        let others: Vec<u32> = cluster.brokers().into_iter().filter(|id| *id != leader).collect();
        cluster.kill(others.clone())?;
        cluster.wait_for_isr(&BTreeSet::from([leader]), FAILOVER_LIMIT)?;
        let answer = wire::send(cluster.address()?, &wire::produce(TOPIC, b"refused"))?;
        let answer = format!("{:?}", wire::produced(&answer).map_err(|error| error.to_string()));
        ensure!(answer.contains(NOT_ENOUGH_REPLICAS), "one of three in sync, and the leader says {answer}");
        cluster.produce_in_vain()?;
        cluster.read_back()?;
        let back = *others.first().context("there are others")?;
        cluster.spawn(back)?;
        // The client is there before the replica is, and tries until it is.
        cluster.produce("with one back")?;
        cluster.wait_until_ready(back)?;
        cluster.wait_for_isr(&BTreeSet::from([leader, back]), REJOIN_LIMIT)?;
        cluster.read_back()
    })
}

#[test]
fn one_of_three_combined_nodes_acknowledges_nothing_and_two_do() -> Result<()> {
    story("replication-minority", |bench| {
        let mut cluster = Cluster::with_topic(bench, &[Role::Combined; 3], 1)?;
        cluster.produce("first")?;
        let leader = cluster.leader()?;
        let others: Vec<u32> = cluster.brokers().into_iter().filter(|id| *id != leader).collect();
        cluster.kill(others.clone())?;
        // Without a quorum the ISR stays as it is: a record waits for replicas that are dead, and may be there later.
        cluster.produce_in_vain()?;
        let back = *others.first().context("there are others")?;
        cluster.spawn(back)?;
        cluster.wait_until_ready(back)?;
        cluster.wait_for_isr(&BTreeSet::from([leader, back]), FAILOVER_LIMIT)?;
        cluster.produce("with one back")?;
        cluster.find_all()
    })
}

#[test]
fn replicas_hold_the_same_segments_after_leaders_changed() -> Result<()> {
    story("replication-segments", |bench| {
        let kafka = bench.kafka()?;
        let mut cluster = Cluster::with_topic(bench, &[Role::Combined; 3], 2)?;
        cluster.produce("first")?;
        let first = cluster.leader()?;
        cluster.node(first)?.server.stop()?;
        cluster.dead.insert(first);
        cluster.wait_for_isr(&cluster.living(), FAILOVER_LIMIT)?;
        cluster.produce("without the first leader")?;
        cluster.revive(first)?;
        cluster.produce("with all")?;
        cluster.stop_and_compare_replicas(&kafka)
    })
}
