//! Three brokers of Ottla or of Apache Kafka, controllers too or beside three of these, each in its own network namespace.
//!
//! Both are configured alike, by the same keys. A series formats them once; each run begins with a copy of that.

mod product;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::product::{CLIENT_PORT, CONTROLLER_LISTENER, CONTROLLER_PORT, directory_id};
pub use self::product::{Controllers, Heap, Product};
use super::catalogue::{Storage, Time};
use super::clock::Clock;
use super::disk::Disk;
use super::network;
use crate::attached::Attached;
use crate::command::{Answer, kill, program, wait_until};
use crate::kcat::{Kcat, Partition};
use crate::lane::broker;
use crate::wire;

/// The ids of the brokers.
pub const NODES: [u32; 3] = [1, 2, 3];
/// All that a node may have.
pub const IDS: [u32; 6] = [1, 2, 3, 4, 5, 6];
/// The topic of a run.
pub const TOPIC: &str = "faults";
const INTERVAL: Duration = Duration::from_millis(100);
/// How long nodes may take to be in service: three JVMs on one core of a busy machine take more than a minute.
const START_LIMIT: Duration = Duration::from_secs(180);

/// A formatted directory for each node, to be copied.
#[derive(Debug)]
pub struct Template {
    product: Product,
    controllers: Controllers,
    directory: PathBuf,
    before: Vec<String>,
}

/// The nodes of one run.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    nodes: Vec<Node>,
    kcat: Kcat,
}

#[derive(Debug)]
struct Node {
    id: u32,
    process: Attached,
    disk: Disk,
    clock: Option<Clock>,
    runs: bool,
}

impl Template {
    /// Formats a directory for each node. The words `before` are put before the program that runs as a node.
    pub fn make(
        product: Product,
        controllers: Controllers,
        directory: &Path,
        before: &[&str],
    ) -> Result<Self> {
        for id in controllers.nodes() {
            let data = directory.join(format!("node-{id}"));
            fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
            let properties = directory.join(format!("node-{id}.properties"));
            write(&properties, &product.properties(controllers, id, &data))?;
            product.format(controllers, id, &properties)?;
        }
        let before = before.iter().map(|word| (*word).to_owned()).collect();
        Ok(Self { product, controllers, directory: directory.to_owned(), before })
    }

    /// Whether it is not ours.
    #[must_use]
    pub fn is_kafka(&self) -> bool {
        matches!(self.product, Product::Kafka(..))
    }

    /// The nodes of a run, on disks of that kind and by that time; none runs yet.
    pub fn cluster(&self, storage: Storage, time: Time, directory: &Path) -> Result<Cluster> {
        let nodes = self.controllers.nodes().into_iter().map(|id| self.node(id, storage, time, directory));
        let nodes = nodes.collect::<Result<_>>()?;
        Ok(Cluster { directory: directory.to_owned(), nodes, kcat: Kcat::new("kcat".into()) })
    }

    fn node(&self, id: u32, storage: Storage, time: Time, directory: &Path) -> Result<Node> {
        let disk = Disk::make(storage, &directory.join(format!("disk-{id}")))?;
        program("cp").arg("-r").arg(self.directory.join(format!("node-{id}"))).arg(disk.data()).read()?;
        // Formatting is not what is tested: no power is lost before it is on the disk.
        program("sync").read()?;
        let properties = directory.join(format!("node-{id}.properties"));
        write(&properties, &self.product.properties(self.controllers, id, &disk.data()))?;
        let (executable, arguments) = self.product.program(&properties);
        let clock = match time {
            Time::Machine => None,
            Time::Own => Some(Clock::make(&directory.join(format!("node-{id}.clock")))?),
        };
        let [enter, namespace] = network::inside(id);
        let before = self.before.iter().cloned().chain(clock.iter().flat_map(Clock::words));
        let words = [namespace, "--".to_owned()].into_iter().chain(before).map(OsString::from);
        let words = words.chain([executable.into()]).chain(arguments).collect();
        let log = directory.join(format!("node-{id}.log"));
        Ok(Node {
            id,
            process: Attached::new(&format!("node {id}"), enter.into(), words, log),
            disk,
            clock,
            runs: false,
        })
    }
}

impl Cluster {
    /// Where each node's clients reach it, joined as clients take them.
    #[must_use]
    pub fn bootstrap() -> String {
        NODES.map(address).join(",")
    }

    /// Starts every node and waits until each sees all of them.
    pub fn start_nodes(&mut self) -> Result<()> {
        let ids: Vec<u32> = self.nodes.iter().map(|node| node.id).collect();
        ids.into_iter().try_for_each(|id| self.spawn(id))?;
        wait_until("every broker is in service", START_LIMIT, INTERVAL, || {
            if let Err(error) = self.check_alive() {
                return Answer::Never(format!("{error:#}"));
            }
            let seen = NODES.iter().map(|id| Ok(self.kcat.metadata(&address(*id), None)?["brokers"].clone()));
            Answer::from(seen.collect::<Result<Vec<_>>>().and_then(|seen| {
                let all =
                    seen.iter().all(|brokers| brokers.as_array().is_some_and(|all| all.len() == NODES.len()));
                ensure!(all, "they see {seen:?}");
                Ok(())
            }))
        })
    }

    /// Starts every node, makes the topic, and waits until every replica is in sync.
    pub fn start(&mut self, partitions: u32, configs: &[(&str, &str)]) -> Result<()> {
        self.start_nodes()?;
        let (first, replicas) = (address(NODES[0]), u16::try_from(NODES.len())?);
        broker::create_replicated_topic(&first, TOPIC, partitions, replicas, configs)?;
        self.wait_until_whole(START_LIMIT)
    }

    /// Fails unless every node runs.
    pub fn check_alive(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.process.check_alive())
    }

    /// Waits until every broker that runs says of every partition that it has a leader and all replicas in its ISR.
    pub fn wait_until_whole(&self, limit: Duration) -> Result<()> {
        wait_until("every replica is in sync, as every broker sees it", limit, INTERVAL, || {
            let seen = self.brokers().map(|node| Ok((node.id, self.partitions_seen_by(node.id)?)));
            Answer::from(seen.collect::<Result<Vec<_>>>().and_then(|seen| {
                let is_whole =
                    |partition: &Partition| partition.leader.is_some() && partition.isr.len() == NODES.len();
                let all = |(_, partitions): &(u32, Vec<Partition>)| {
                    !partitions.is_empty() && partitions.iter().all(is_whole)
                };
                ensure!(seen.iter().all(all), "they see {seen:?}");
                Ok(())
            }))
        })
    }

    /// The partitions of the topic as a node tells them.
    pub fn partitions_seen_by(&self, id: u32) -> Result<Vec<Partition>> {
        self.kcat.partitions(&address(id), TOPIC)
    }

    /// Who leads a partition.
    pub fn leader(&self, partition: u32) -> Result<u32> {
        let index = usize::try_from(partition)?;
        let mut leader = None;
        wait_until(&format!("somebody leads partition {partition}"), START_LIMIT, INTERVAL, || {
            let seen = self.running().and_then(|node| self.partitions_seen_by(node));
            leader = seen.as_ref().ok().and_then(|seen| seen.get(index)?.leader);
            if leader.is_some() { Answer::Yes } else { Answer::NotYet(format!("{seen:?}")) }
        })?;
        leader.context("it has been waited for")
    }

    /// Who is the active controller.
    pub fn controller(&self) -> Result<u32> {
        let answer = wire::send(&address(self.running()?), &wire::describe_quorum())?;
        wire::quorum_leader(&answer)
    }

    /// Who is a voter of the metadata quorum.
    pub fn voters(&self) -> Result<BTreeSet<u32>> {
        let answer = wire::send(&address(self.running()?), &wire::describe_quorum())?;
        wire::quorum_voters(&answer)
    }

    /// Takes a node from the metadata quorum, which it then follows, and waits until it is none of the voters.
    pub fn remove_voter(&self, id: u32, limit: Duration) -> Result<()> {
        self.change_voters(&wire::remove_voter(id, directory_id(id)), limit, |voters| !voters.contains(&id))
            .with_context(|| format!("take voter {id} from the quorum"))
    }

    /// Gives the metadata quorum a node back and waits until it is one of the voters.
    pub fn add_voter(&self, id: u32, limit: Duration) -> Result<()> {
        let request = wire::add_voter(
            id,
            directory_id(id),
            CONTROLLER_LISTENER,
            &network::address(id),
            CONTROLLER_PORT,
        );
        self.change_voters(&request, limit, |voters| voters.contains(&id))
            .with_context(|| format!("make node {id} a voter"))
    }

    /// Asks until it is so: a controller that ends meanwhile answers nobody, and what it did may stand all the same.
    fn change_voters(
        &self,
        request: &wire::Request,
        limit: Duration,
        is_done: impl Fn(&BTreeSet<u32>) -> bool,
    ) -> Result<()> {
        let mut answered = None;
        wait_until("the quorum has changed", limit, INTERVAL, || {
            Answer::from(self.voters().and_then(|voters| {
                if is_done(&voters) {
                    return Ok(());
                }
                let answer = wire::send(&address(self.running()?), request);
                answered = Some(answer.and_then(|answer| wire::voters_changed(&answer)));
                bail!("the voters are {voters:?}, the last answer was {answered:?}")
            }))
        })
    }

    /// Sets the wall clock of a node so many seconds ahead of the true time, or behind it.
    pub fn set_clock(&mut self, id: u32, ahead_seconds: i64) -> Result<()> {
        self.node(id)?.clock.as_ref().context("the node lives by the machine's clock")?.set(ahead_seconds)
    }

    /// When the last record of a partition was stamped, in ms since 1970.
    pub fn last_timestamp(&self, partition: u32) -> Result<i64> {
        self.kcat.last_timestamp(&Self::bootstrap(), TOPIC, partition)
    }

    /// Asks for these replicas of a partition, in that order; the move is only begun then.
    pub fn reassign(&self, partition: u32, replicas: &[u32]) -> Result<()> {
        let request = wire::reassign(TOPIC, partition, replicas);
        wait_until(&format!("partition {partition} begins to move"), START_LIMIT, INTERVAL, || {
            let answer = self.running().and_then(|node| wire::send(&address(node), &request));
            Answer::from(answer.and_then(|answer| wire::reassigned(&answer, TOPIC)))
        })
    }

    /// Waits until every broker says that a partition has just these replicas, all of them in its ISR.
    pub fn wait_for_replicas(&self, partition: u32, replicas: &[u32], limit: Duration) -> Result<()> {
        let wanted = BTreeSet::from_iter(replicas.iter().copied());
        let index = usize::try_from(partition)?;
        wait_until(&format!("partition {partition} lies on {replicas:?}"), limit, INTERVAL, || {
            let seen = self
                .brokers()
                .map(|node| Ok((node.id, self.partitions_seen_by(node.id)?.into_iter().nth(index))));
            Answer::from(seen.collect::<Result<Vec<_>>>().and_then(|seen| {
                let there = |seen: &Option<Partition>| {
                    seen.as_ref().is_some_and(|seen| seen.replicas == wanted && seen.isr == wanted)
                };
                ensure!(seen.iter().all(|(_, seen)| there(seen)), "they see {seen:?}");
                Ok(())
            }))
        })
    }

    /// Waits until a node no longer has the log of a partition.
    pub fn wait_until_deleted(&mut self, id: u32, partition: u32, limit: Duration) -> Result<()> {
        let log = self.data(id)?.join(format!("{TOPIC}-{partition}"));
        wait_until(&format!("broker {id} has deleted partition {partition}"), limit, INTERVAL, || {
            let there = fs::exists(&log).with_context(|| format!("look for {}", log.display()));
            Answer::from(there.and_then(|there| {
                ensure!(!there, "{} is there", log.display());
                Ok(())
            }))
        })
    }

    /// The brokers that run.
    fn brokers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.runs && NODES.contains(&node.id))
    }

    /// One of them.
    fn running(&self) -> Result<u32> {
        self.brokers().next().map(|node| node.id).context("no broker runs")
    }

    /// Everybody but this node.
    #[must_use]
    pub fn others(id: u32) -> Vec<u32> {
        NODES.into_iter().filter(|other| *other != id).collect()
    }

    fn node(&mut self, id: u32) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))
    }

    /// The disk of a node.
    pub fn disk(&mut self, id: u32) -> Result<&mut Disk> {
        Ok(&mut self.node(id)?.disk)
    }

    /// Starts a node.
    pub fn spawn(&mut self, id: u32) -> Result<()> {
        let node = self.node(id)?;
        node.process.spawn()?;
        node.runs = true;
        Ok(())
    }

    /// Kills a node with SIGKILL. It must be running.
    pub fn kill(&mut self, id: u32) -> Result<()> {
        let node = self.node(id)?;
        node.runs = false;
        node.process.kill()
    }

    /// Kills nodes with SIGKILL at the same time.
    pub fn kill_all(&mut self) -> Result<()> {
        let ids: Vec<u32> = self
            .nodes
            .iter()
            .filter(|node| node.runs)
            .map(|node| node.process.id())
            .collect::<Result<_>>()?;
        kill("KILL", ids)?;
        self.nodes.iter_mut().try_for_each(|node| {
            if node.runs {
                node.process.wait_until_it_ends(START_LIMIT).map(drop)?
            }
            node.runs = false;
            Ok(())
        })
    }

    /// Stops a node as an operator does.
    pub fn stop(&mut self, id: u32) -> Result<()> {
        let node = self.node(id)?;
        node.runs = false;
        // A JVM that is told to end says so in its exit code.
        let status = node.process.signal_and_wait("TERM", START_LIMIT)?;
        ensure!(matches!(status.code(), Some(0 | 143)), "node {id} ended with {status}");
        Ok(())
    }

    /// Kills a node unless it has ended by itself, which is told.
    pub fn end(&mut self, id: u32) -> Result<bool> {
        let node = self.node(id)?;
        node.runs = false;
        node.process.end()
    }

    /// Sends a node a signal.
    pub fn signal(&mut self, id: u32, signal: &str) -> Result<()> {
        kill(signal, [self.process(id)?])
    }

    /// The memory that a node holds, in KiB.
    pub fn resident_kib(&mut self, id: u32) -> Result<u64> {
        Ok(self.node(id)?.process.memory()?.resident_kib)
    }

    /// The process of a node.
    pub fn process(&mut self, id: u32) -> Result<u32> {
        self.node(id)?.process.id()
    }

    /// Where the logs of a node's partitions lie.
    pub fn data(&mut self, id: u32) -> Result<PathBuf> {
        Ok(self.node(id)?.disk.data())
    }

    /// A path in the directory of the run.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Lines of the nodes' logs that tell of a panic, and those that are errors.
    pub fn complaints(&self) -> Result<(Vec<String>, Vec<String>)> {
        let (mut panics, mut errors) = (Vec::new(), Vec::new());
        for node in &self.nodes {
            let log = node.process.log()?;
            let lines = |words: &'static str| log.lines().filter(move |line| line.contains(words));
            panics.extend(lines("panicked at").map(|line| format!("node {}: {line}", node.id)));
            errors.extend(lines(" ERROR ").map(|line| format!("node {}: {line}", node.id)));
        }
        Ok((panics, errors))
    }
}

/// Where a node's clients reach it.
#[must_use]
pub fn address(id: u32) -> String {
    format!("{}:{CLIENT_PORT}", network::address(id))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
