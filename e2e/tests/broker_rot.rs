//! A bit of a replica is another when its broker starts again: the replica is copied anew from the others, never leads
//! before, and what is left of the last one is not touched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::slice;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kcat::{self, Partition, Record};
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::{self, Bench, story};

const TOPIC: &str = "orders";
/// With synced acknowledgements a crash takes nothing, so that every replica counts after it.
const CONFIGS: &[(&str, &str)] = &[("min.insync.replicas", "2"), ("flush.messages", "1")];
const RECORDS: usize = 300;
/// A broker's session, an election, a copy of a small log, and the rest for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(100);
const DAMAGED: &str = "log is damaged";

/// A topic of one partition, and everything that was acknowledged.
struct Cluster<'a> {
    bench: &'a Bench,
    nodes: Vec<Node>,
    acknowledged: Vec<Record>,
}

impl<'a> Cluster<'a> {
    fn start(bench: &'a Bench, roles: &[Role], replicas: u16, configs: &[(&str, &str)]) -> Result<Self> {
        let nodes = cluster::start(bench, roles)?;
        bench.expect_error(DAMAGED);
        let cluster = Self { bench, nodes, acknowledged: Vec::new() };
        broker::create_replicated_topic(&cluster.bootstrap(), TOPIC, 1, replicas, configs)?;
        Ok(cluster)
    }

    fn brokers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_broker())
    }

    /// Of the first broker.
    fn bootstrap(&self) -> String {
        self.brokers().next().map(|node| node.server.address().to_owned()).unwrap_or_default()
    }

    fn node(&mut self, id: u32) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))
    }

    fn log(&self, id: u32) -> PathBuf {
        self.bench.path(&format!("node-{id}/{TOPIC}-0"))
    }

    fn segment(&self, id: u32) -> Result<Vec<u8>> {
        let path = self.log(id).join("00000000000000000000.log");
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    }

    fn leader(&self) -> Result<u32> {
        self.bench.kcat.partitions(&self.bootstrap(), TOPIC)?[0].leader.context("nobody leads")
    }

    /// Produces a round, and waits until it is below every recovery point, and none is taken back: of a log that was
    /// made just now a start believes nothing before.
    fn produce(&mut self, round: &str) -> Result<()> {
        let records = kcat::marked_records(RECORDS, round);
        self.bench.kcat.produce(&cluster::bootstrap(&self.nodes), TOPIC, &records)?;
        self.acknowledged.extend(records);
        let wanted = format!("{TOPIC} 0 {}", self.acknowledged.len());
        for node in self.brokers() {
            let path = self.bench.path(&format!("node-{}/recovery-point-offset-checkpoint", node.id));
            wait_until(&format!("the recovery point of broker {}", node.id), LIMIT, INTERVAL, || {
                Answer::from(fs::read_to_string(&path).context("read it").and_then(|text| {
                    ensure!(text.lines().any(|line| line == wanted), "{text:?}");
                    let names = broker::names(&self.log(node.id))?;
                    ensure!(!names.contains("truncation-checkpoint"), "{names:?}");
                    Ok(())
                }))
            })?;
        }
        Ok(())
    }

    /// In the last byte of the segment, which is a record's.
    fn flip_last(&self, id: u32) -> Result<()> {
        self.flip(id, self.segment(id)?.len().checked_sub(1).context("the segment is empty")?)
    }

    fn flip(&self, id: u32, position: usize) -> Result<()> {
        let byte = *self.segment(id)?.get(position).context("the segment is shorter")?;
        let path = self.log(id).join("00000000000000000000.log");
        let file = File::options().write(true).open(&path);
        file.and_then(|file| file.write_all_at(&[byte ^ 1], u64::try_from(position).unwrap_or(u64::MAX)))
            .with_context(|| format!("write {}", path.display()))
    }

    /// Kills brokers at once, flips a bit of one of them, and starts them.
    fn rot(&mut self, killed: &[u32], rotten: u32) -> Result<()> {
        for id in killed {
            self.node(*id)?.server.kill()?;
        }
        self.flip_last(rotten)?;
        for id in killed {
            self.node(*id)?.server.spawn()?;
        }
        for id in killed {
            cluster::wait_until_ready(slice::from_mut(self.node(*id)?))?;
        }
        Ok(())
    }

    /// Waits until all replicas are in sync and nothing damaged is left, and compares the replicas.
    fn ensure_repaired(&self, rotten: u32) -> Result<()> {
        let all: BTreeSet<u32> = self.brokers().map(|node| node.id).collect();
        let wanted = |seen: &Partition| seen.isr == all && seen.leader.is_some();
        self.wait_for("all are in sync again", wanted)?;
        let directory = self.bench.path(&format!("node-{rotten}"));
        wait_until("what was damaged is gone", LIMIT, INTERVAL, || {
            Answer::from(broker::names(&directory).and_then(|names| {
                ensure!(!names.iter().any(|name| name.contains("-damaged")), "{names:?}");
                Ok(())
            }))
        })?;
        self.read_back()?;
        let first = self.segment(rotten)?;
        for id in all {
            ensure!(self.segment(id)? == first, "the segments of {rotten} and {id} differ");
        }
        Ok(())
    }

    /// Waits until the partition is shown as it is wanted.
    fn wait_for(&self, what: &str, wanted: impl Fn(&Partition) -> bool) -> Result<()> {
        let wanted = |seen: &[Partition]| seen.first().is_some_and(&wanted);
        self.bench.kcat.wait_for_partitions(&self.bootstrap(), TOPIC, what, LIMIT, wanted).map(drop)
    }

    fn read_back(&self) -> Result<()> {
        wait_until("everything is read back", LIMIT, INTERVAL, || {
            let read = self.bench.kcat.consume(&self.bootstrap(), TOPIC);
            Answer::from(read.and_then(|read| kcat::compare(&self.acknowledged, &read)))
        })
    }

    fn says(&self, id: u32, words: &str) -> Result<usize> {
        let path = self.bench.path(&format!("node-{id}.log"));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.lines().filter(|line| line.contains(words)).count())
    }
}

#[test]
fn a_rotten_replica_is_copied_anew_whoever_it_was() -> Result<()> {
    story("rot", |bench| {
        let roles = [Role::Controller, Role::Broker, Role::Broker, Role::Broker];
        let mut cluster = Cluster::start(bench, &roles, 3, CONFIGS)?;
        cluster.produce("first")?;
        let leader = cluster.leader()?;
        let follower = 2 + (leader - 1) % 3;
        cluster.rot(&[follower], follower)?;
        cluster.ensure_repaired(follower)?;
        ensure!(cluster.says(follower, DAMAGED)? == 1, "broker {follower} has found nothing");

        cluster.produce("second")?;
        let leader = cluster.leader()?;
        cluster.rot(&[leader], leader)?;
        cluster.ensure_repaired(leader)?;

        cluster.produce("third")?;
        let leader = cluster.leader()?;
        let found = cluster.says(leader, DAMAGED)?;
        cluster.rot(&[2, 3, 4], leader)?;
        ensure!(cluster.says(leader, DAMAGED)? == found + 1, "broker {leader} has found nothing");
        cluster.ensure_repaired(leader)?;
        cluster.produce("fourth")?;
        cluster.read_back()
    })
}

#[test]
fn a_leader_that_finds_rot_by_a_read_makes_way_and_no_reader_sees_it() -> Result<()> {
    story("rot-read", |bench| {
        let roles = [Role::Controller, Role::Broker, Role::Broker, Role::Broker];
        let mut cluster = Cluster::start(bench, &roles, 3, CONFIGS)?;
        cluster.produce("first")?;
        cluster.produce("second")?;
        let leader = cluster.leader()?;
        // Of the first batch, while its broker runs: no start would look there.
        cluster.flip(leader, 100)?;
        cluster.read_back()?;
        ensure!(cluster.leader()? != leader, "broker {leader} still leads");
        ensure!(cluster.says(leader, "a read found a batch")? == 1, "broker {leader} does not say so");
        cluster.ensure_repaired(leader)?;
        cluster.produce("third")?;
        cluster.read_back()
    })
}

#[test]
fn the_last_replica_is_left_alone_and_says_what_to_do() -> Result<()> {
    story("rot-last", |bench| {
        let mut cluster = Cluster::start(bench, &[Role::Controller, Role::Broker], 1, &[])?;
        cluster.produce("first")?;
        let whole = cluster.segment(2)?;
        cluster.rot(&[2], 2)?;
        let rotten = cluster.segment(2)?;
        ensure!(whole != rotten, "no bit is another");
        ensure!(
            cluster.says(2, "restore it from a backup and restart this broker")? == 1,
            "it does not say what to do"
        );
        for _restarted in 0..2 {
            cluster.wait_for("nobody leads", |seen| seen.leader.is_none())?;
            let kcat = bench.kcat.with("message.timeout.ms=3000");
            let offered = kcat.produce(&cluster.bootstrap(), TOPIC, &kcat::marked_records(1, "refused"));
            ensure!(offered.is_err(), "a record was acknowledged");
            ensure!(cluster.segment(2)? == rotten, "the damaged segment was touched");
            cluster.node(2)?.server.stop()?;
            cluster.node(2)?.server.spawn()?;
            cluster::wait_until_ready(slice::from_mut(cluster.node(2)?))?;
        }
        // Somebody has a backup.
        cluster.node(2)?.server.stop()?;
        cluster.flip_last(2)?;
        ensure!(cluster.segment(2)? == whole, "a bit is still another");
        cluster.node(2)?.server.spawn()?;
        cluster::wait_until_ready(slice::from_mut(cluster.node(2)?))?;
        cluster.read_back()
    })
}
