//! How each group of figures is measured on one product.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::figure::Figure;
use super::producer;
use crate::command::{Answer, wait_until};
use crate::faults::catalogue::{Durability, Storage, Time};
use crate::faults::cluster::{self, Cluster, Controllers, NODES, TOPIC, Template};
use crate::faults::history::{self, Event, What};
use crate::faults::load::{JAVA, LIBRDKAFKA, Load, PARTITIONS, Releases};
use crate::faults::network::{self, Cut, From};
use crate::figures::mebi;
use crate::kcat::Kcat;

/// How long the load runs before and after what is measured.
const CALM: Duration = Duration::from_secs(3);
/// What belongs to a restart before it: the last acknowledgement there is where its stall may begin.
const BEFORE_MS: u64 = 1_000;
/// How long an acknowledgement may be on its way.
const GRACE: Duration = Duration::from_millis(500);
/// How long it may take until every partition acknowledges again.
const LIMIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(50);
/// How often a start of many partitions is asked whether it is over: each question is some megabyte.
const COLD_INTERVAL: Duration = Duration::from_millis(200);
/// Of the topic that throughput is measured with: every broker leads some.
const LOAD_PARTITIONS: u32 = 12;
/// How long a cold start may take: Kafka recovers each log after a kill.
const COLD_LIMIT: Duration = Duration::from_secs(300);
/// How long a cluster has lived before its cold start: Ottla writes its checkpoints every five seconds.
const COLD_REST: Duration = Duration::from_secs(10);
/// Of a cold start.
const MANY_PARTITIONS: u32 = 3_000;
/// How many records one piece of a warm-up has, and a measurement at least.
const PIECE: u64 = 20_000;
/// How long a measurement of throughput and of latency takes, about.
const MEASURED_SECONDS: u64 = 10;
/// What clients send a second while a broker recovers: little, so that what they wait for is its recovery.
const STEADY_PER_SECOND: u64 = 2_000;
/// How many records a broker misses: 2 GB.
const MISSED: u64 = 2_000_000;
/// What a process's processor time is told in; Linux has no other.
const TICKS_PER_SECOND: f64 = 100.0;

/// A group of figures that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A leader is killed and stays away.
    Leader,
    /// A leader falls silent.
    Silent,
    /// The active controller is killed.
    Controller,
    /// The same where controllers are no brokers.
    ControllerApart,
    /// Each broker is restarted as an operator does.
    Restart,
    /// As many records as go, then half of what the slower product takes.
    Produce(Durability),
    /// A broker fetches what it missed while clients go on.
    Recovery,
    /// Many partitions are started.
    Cold,
}

/// What measuring takes.
#[derive(Debug)]
pub struct Stand<'a> {
    /// The product.
    pub template: &'a Template,
    /// Where the client comes from.
    pub releases: &'a Releases,
    /// A directory with nothing in it.
    pub directory: &'a Path,
    /// How long the client and Kafka's brokers are run before anything is measured.
    pub warm_up: Duration,
    /// Records a second at which latency is measured; without it only the throughput is.
    pub half_load: Option<u64>,
}

impl Measure {
    /// All, by the names a person types.
    pub const ALL: [(&'static str, Self); 9] = [
        ("leader", Self::Leader),
        ("silent", Self::Silent),
        ("controller", Self::Controller),
        ("controller-apart", Self::ControllerApart),
        ("restart", Self::Restart),
        ("produce", Self::Produce(Durability::PageCache)),
        ("produce-synced", Self::Produce(Durability::Synced)),
        ("recovery", Self::Recovery),
        ("cold", Self::Cold),
    ];

    /// Which nodes are controllers in it.
    #[must_use]
    pub fn controllers(self) -> Controllers {
        if self == Self::ControllerApart { Controllers::Apart } else { Controllers::Combined }
    }

    /// Measures.
    pub fn run(self, stand: &Stand<'_>) -> Result<Vec<(Figure, f64)>> {
        match self {
            Self::Leader => stand.gap_of_leader(),
            Self::Silent => stand.gap_of_silence(),
            Self::Controller => stand.gap_of_controller(Figure::ControllerGap),
            Self::ControllerApart => stand.gap_of_controller(Figure::ControllerApartGap),
            Self::Restart => stand.restarts(),
            Self::Produce(durability) => stand.produce(durability),
            Self::Recovery => stand.recovery(),
            Self::Cold => stand.cold_start(),
        }
    }
}

impl Stand<'_> {
    fn cluster(&self, partitions: u32, durability: Durability) -> Result<Cluster> {
        let mut cluster = self.template.cluster(Storage::Directory, Time::Machine, self.directory)?;
        let configs = [("min.insync.replicas", "2"), ("flush.messages", durability.flush_messages())];
        cluster.start(partitions, &configs)?;
        Ok(cluster)
    }

    /// A cluster under a load of one producer, some seconds after its start.
    fn under_load(&self) -> Result<(Cluster, Load)> {
        let cluster = self.cluster(PARTITIONS, Durability::PageCache)?;
        let load = Load::start_alone(&cluster, self.releases, false)?;
        thread::sleep(CALM);
        Ok((cluster, load))
    }

    fn gap_of_leader(&self) -> Result<Vec<(Figure, f64)>> {
        let (mut cluster, load) = self.under_load()?;
        let controller = cluster.controller()?;
        // Another than the controller: that one has a figure of its own.
        let victim = leader_other_than(&cluster, controller)?;
        cluster.kill(victim)?;
        Ok(vec![(Figure::LeaderGap, longest_gap(load)?)])
    }

    fn gap_of_controller(&self, figure: Figure) -> Result<Vec<(Figure, f64)>> {
        let (mut cluster, load) = self.under_load()?;
        let controller = cluster.controller()?;
        cluster.kill(controller)?;
        Ok(vec![(figure, longest_gap(load)?)])
    }

    fn gap_of_silence(&self) -> Result<Vec<(Figure, f64)>> {
        let (cluster, load) = self.under_load()?;
        let victim = leader_other_than(&cluster, cluster.controller()?)?;
        let started = Instant::now();
        network::cut(victim, Cut::Both, From::All, &Cluster::others(victim))?;
        let fresh = reach_every_partition(victim, started);
        let gap = fresh.and_then(|fresh| Ok((fresh, longest_gap(load)?)));
        network::mend(victim)?;
        let (fresh, gap) = gap?;
        Ok(vec![(Figure::SilentFresh, fresh), (Figure::SilentGap, gap)])
    }

    fn restarts(&self) -> Result<Vec<(Figure, f64)>> {
        let mut figures = Vec::new();
        let mut cluster = self.cluster(PARTITIONS, Durability::PageCache)?;
        let mut load = Load::start(&cluster, self.releases, false)?;
        thread::sleep(CALM);
        for id in NODES {
            let stopped_ms = now_ms()?;
            cluster.stop(id)?;
            cluster.spawn(id)?;
            cluster.wait_until_whole(LIMIT)?;
            load.wait_for_acknowledgements(LIMIT)?;
            thread::sleep(CALM);
            let mut events = load.events()?;
            events.retain(|event| event.time_ms + BEFORE_MS >= stopped_ms);
            figures.push((Figure::RestartStall, seconds(gap_ms(&events))));
            figures.push((Figure::RestartStallOfJava, seconds(pause_ms(&events, JAVA))));
            let errors = events.iter().filter(|event| matches!(event.what, What::Unknown { .. })).count();
            figures.push((Figure::RestartErrors, f64::from(u32::try_from(errors)?)));
        }
        load.stop()?;
        Ok(figures)
    }

    fn produce(&self, durability: Durability) -> Result<Vec<(Figure, f64)>> {
        let mut cluster = self.cluster(LOAD_PARTITIONS, durability)?;
        let per_second = self.warm()?;
        let records = (whole(per_second) * MEASURED_SECONDS).max(PIECE);
        let before = processor_seconds(&mut cluster)?;
        let performance = producer::run(&self.releases.kafka, records, 0, None)?;
        let spent = processor_seconds(&mut cluster)? - before;
        let gigabytes = producer::gigabytes(records);
        let mut figures = vec![
            (Figure::Throughput(durability), performance.records_per_second),
            (Figure::CpuPerGigabyte(durability), spent / gigabytes),
        ];
        if let Some(rate) = self.half_load {
            // Two seconds of it do not count: connections and the client's own warm-up.
            let performance =
                producer::run(&self.releases.kafka, rate * MEASURED_SECONDS, rate * 2, Some(rate))?;
            figures.push((Figure::Latency(durability), performance.p99_ms));
        }
        figures.push((Figure::Memory(durability), largest_mebi(&mut cluster)?));
        Ok(figures)
    }

    /// Runs the client until the warm-up is over; records a second at its end.
    fn warm(&self) -> Result<f64> {
        let started = Instant::now();
        let mut records = PIECE;
        loop {
            let performance = producer::run(&self.releases.kafka, records, 0, None)?;
            if started.elapsed() >= self.warm_up {
                return Ok(performance.records_per_second);
            }
            records = (whole(performance.records_per_second) * MEASURED_SECONDS).max(PIECE);
        }
    }

    /// A broker is stopped, misses records, and fetches them while clients go on as they did before it was.
    fn recovery(&self) -> Result<Vec<(Figure, f64)>> {
        let mut cluster = self.cluster(LOAD_PARTITIONS, Durability::PageCache)?;
        self.warm()?;
        let steadily = || {
            let records = STEADY_PER_SECOND * MEASURED_SECONDS;
            producer::run(&self.releases.kafka, records, STEADY_PER_SECOND, Some(STEADY_PER_SECOND))
        };
        let calm = steadily()?;
        // Not the controller: nobody is to be elected here.
        let victim = leader_other_than(&cluster, cluster.controller()?)?;
        cluster.stop(victim)?;
        producer::run(&self.releases.kafka, MISSED, 0, None)?;
        let started = Instant::now();
        cluster.spawn(victim)?;
        let (took, meanwhile) = thread::scope(|scope| {
            let meanwhile = scope.spawn(steadily);
            cluster.wait_until_whole(COLD_LIMIT)?;
            let took = started.elapsed().as_secs_f64();
            let meanwhile = meanwhile.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            anyhow::Ok((took, meanwhile))
        })?;
        Ok(vec![
            (Figure::SteadyLatency, calm.p99_ms),
            (Figure::RecoveryLatency, meanwhile.p99_ms),
            (Figure::RecoveryTime, took),
        ])
    }

    /// Of a cluster that has lived: every log was made, and checkpoints name them.
    fn cold_start(&self) -> Result<Vec<(Figure, f64)>> {
        let mut cluster = self.cluster(MANY_PARTITIONS, Durability::PageCache)?;
        for id in NODES {
            let data = cluster.data(id)?;
            wait_until("every log is made", COLD_LIMIT, COLD_INTERVAL, || {
                Answer::from(logs_in(&data).and_then(|logs| {
                    ensure!(logs >= usize::try_from(MANY_PARTITIONS)?, "{logs} are");
                    Ok(())
                }))
            })?;
        }
        thread::sleep(COLD_REST);
        cluster.kill_all()?;
        let started = Instant::now();
        NODES.into_iter().try_for_each(|id| cluster.spawn(id))?;
        wait_until("every partition is led", COLD_LIMIT, COLD_INTERVAL, || {
            Answer::from(cluster.partitions_seen_by(NODES[0]).and_then(|seen| {
                let led = seen.iter().filter(|partition| partition.leader.is_some()).count();
                ensure!(led == usize::try_from(MANY_PARTITIONS)?, "{led} of {} are led", seen.len());
                Ok(())
            }))
        })?;
        let took = started.elapsed().as_secs_f64();
        cluster.wait_until_whole(COLD_LIMIT)?;
        Ok(vec![(Figure::ColdStart, took), (Figure::ColdMemory, largest_mebi(&mut cluster)?)])
    }
}

/// How many logs are whole in a node's directory: both products write that file once a log has its topic.
fn logs_in(data: &Path) -> Result<usize> {
    let mut logs = 0;
    for entry in fs::read_dir(data).with_context(|| format!("list {}", data.display()))? {
        logs += usize::from(entry?.path().join("partition.metadata").exists());
    }
    Ok(logs)
}

/// A leader of a partition that is not that node.
fn leader_other_than(cluster: &Cluster, node: u32) -> Result<u32> {
    let leaders: Vec<u32> =
        (0..PARTITIONS).map(|partition| cluster.leader(partition)).collect::<Result<_>>()?;
    leaders.into_iter().find(|leader| *leader != node).context("one node leads everything")
}

/// Waits until every partition acknowledges again, and some seconds more; the longest gap of all in seconds.
fn longest_gap(load: Load) -> Result<f64> {
    // What comes later than this was not on its way already.
    let harmed_ms = now_ms()? + u64::try_from(GRACE.as_millis())?;
    wait_until("every partition acknowledges again", LIMIT, INTERVAL, || {
        Answer::from(load.events().and_then(|events| {
            let new = |event: &&Event| event.time_ms > harmed_ms;
            let partitions: BTreeSet<u32> = events.iter().filter(new).filter_map(acknowledged).collect();
            ensure!(partitions.len() == usize::try_from(PARTITIONS)?, "only {partitions:?} do");
            Ok(())
        }))
    })?;
    thread::sleep(CALM);
    Ok(seconds(gap_ms(&load.stop()?)))
}

fn acknowledged(event: &Event) -> Option<u32> {
    match event.what {
        What::Sent { partition, .. } => Some(partition),
        What::Sending { .. }
        | What::Refused { .. }
        | What::Unknown { .. }
        | What::Read { .. }
        | What::NotRead { .. }
        | What::End => None,
    }
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?.as_millis(),
    )?)
}

fn gap_ms(events: &[Event]) -> u64 {
    history::gaps_ms(events, LIBRDKAFKA).into_values().max().unwrap_or_default()
}

/// The longest time without an acknowledgement of any partition: a client that stays with one partition for many
/// records, as Kafka's does without keys, has gaps in each of the others that nobody waited for.
fn pause_ms(events: &[Event], client: &str) -> u64 {
    let acknowledged = events.iter().filter(|event| event.process == client && acknowledged(event).is_some());
    let times: Vec<u64> = acknowledged.map(|event| event.time_ms).collect();
    times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}

/// How long it takes from `started` until clients that know nothing yet have a record acknowledged in each partition.
fn reach_every_partition(victim: u32, started: Instant) -> Result<f64> {
    let others: Vec<String> = Cluster::others(victim).into_iter().map(cluster::address).collect();
    let kcat = Kcat::new("kcat".into()).with("message.timeout.ms=1000").with("socket.timeout.ms=1000");
    for partition in 0..PARTITIONS {
        wait_until("a fresh client is acknowledged", LIMIT, INTERVAL, || {
            Answer::from(kcat.produce_to(&others.join(","), TOPIC, partition, "fresh.0"))
        })?;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// What all brokers have spent so far.
fn processor_seconds(cluster: &mut Cluster) -> Result<f64> {
    let of = |id: u32| -> Result<f64> {
        let path = format!("/proc/{}/stat", cluster.process(id)?);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        // Behind the name, which may hold blanks: state is the first, user and system time the 12th and 13th.
        let (_, rest) = text.rsplit_once(") ").context("a process without a name")?;
        let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / TICKS_PER_SECOND)
    };
    NODES.map(of).into_iter().sum()
}

fn largest_mebi(cluster: &mut Cluster) -> Result<f64> {
    let sizes: Vec<u64> = NODES.map(|id| cluster.resident_kib(id)).into_iter().collect::<Result<_>>()?;
    Ok(mebi(sizes.into_iter().max().unwrap_or_default()))
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

/// Without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate, far from the bounds of both"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
