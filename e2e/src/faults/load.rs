//! Clients that work while a fault is on: librdkafka and Kafka's VerifiableProducer send, librdkafka reads.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, TOPIC};
use super::history::{self, Event, What};
use crate::attached::Attached;
use crate::command::{Answer, kill, wait_until};
use crate::kafka::Kafka;
use crate::librdkafka::Librdkafka;
use crate::repository;
use crate::step::Steps;

/// The process that reads everything at the end.
pub const LAST_READER: &str = "last";
/// The producer of librdkafka. It sends to every partition in turn.
pub const LIBRDKAFKA: &str = "c";
/// The Java producer: VerifiableProducer takes a number as the prefix of its values.
pub const JAVA: &str = "7";
const WATCHER: &str = "watcher";
/// Of the topic of a run: each broker leads one.
pub const PARTITIONS: u32 = 3;
/// Records a second.
const LIBRDKAFKA_RATE: u32 = 600;
const JAVA_RATE: u32 = 300;
/// Of each of librdkafka's.
const RECORD_BYTES: u32 = 200;
/// How long the first acknowledgement of each producer may take; a JVM starts.
const FIRST_LIMIT: Duration = Duration::from_secs(30);
/// How long a producer may take to have all its records acknowledged or given up after it was told to stop: its own
/// limit is 30 s.
const STOP_LIMIT: Duration = Duration::from_secs(45);
/// How long the last reader may take by its own clock.
const READ_SECONDS: u32 = 20;
const READ_LIMIT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(100);

/// What the clients of a run come from.
#[derive(Debug)]
pub struct Releases {
    /// Has the Java clients.
    pub kafka: Kafka,
    /// Has the others.
    pub librdkafka: Librdkafka,
}

/// The clients of a run.
#[derive(Debug)]
pub struct Load {
    clients: Vec<Client>,
}

/// One of them.
#[derive(Debug)]
pub struct Client {
    name: &'static str,
    process: Attached,
}

impl Releases {
    /// Fetches and builds what the cache does not hold.
    pub fn ensure(steps: &Steps) -> Result<Self> {
        Ok(Self { kafka: Kafka::ensure(steps)?, librdkafka: Librdkafka::ensure(steps)? })
    }
}

impl Load {
    /// Starts the clients and waits until each producer had an acknowledgement.
    pub fn start(cluster: &Cluster, releases: &Releases, idempotent: bool) -> Result<Self> {
        let clients = vec![
            Client::sender(cluster, releases, idempotent),
            librdkafka(cluster, releases, "watch", WATCHER, &[]),
            java(cluster, &releases.kafka, idempotent)?,
        ];
        let mut load = Self { clients };
        for client in &mut load.clients {
            client.process.spawn()?;
        }
        load.wait_for_acknowledgements(FIRST_LIMIT)?;
        Ok(load)
    }

    /// Starts one producer of librdkafka alone, and waits until it had an acknowledgement.
    pub fn start_alone(cluster: &Cluster, releases: &Releases, idempotent: bool) -> Result<Self> {
        let mut sender = Client::sender(cluster, releases, idempotent);
        sender.process.spawn()?;
        let mut load = Self { clients: vec![sender] };
        load.wait_for_acknowledgements(FIRST_LIMIT)?;
        Ok(load)
    }

    /// What the producers wrote down so far.
    pub fn events(&self) -> Result<Vec<Event>> {
        let events: Vec<Vec<Event>> = self.clients.iter().map(Client::events).collect::<Result<_>>()?;
        Ok(events.into_iter().flatten().collect())
    }

    /// Waits until each producer has had another acknowledgement than those it has had already.
    pub fn wait_for_acknowledgements(&mut self, limit: Duration) -> Result<()> {
        let count = |client: &Client| -> Result<usize> {
            let sent = |event: &&Event| matches!(event.what, What::Sent { .. });
            Ok(client.events()?.iter().filter(sent).count())
        };
        let producers: Vec<&Client> = self.clients.iter().filter(|client| client.name != WATCHER).collect();
        let before: Vec<usize> = producers.iter().map(|client| count(client)).collect::<Result<_>>()?;
        wait_until("each producer has another acknowledgement", limit, INTERVAL, || {
            Answer::from(producers.iter().zip(&before).try_for_each(|(client, before)| {
                ensure!(count(client)? > *before, "{} has none since", client.name);
                Ok(())
            }))
        })
    }

    /// Tells the producers to stop, and when they have, the reader; what all of them wrote down.
    pub fn stop(mut self) -> Result<Vec<Event>> {
        let (readers, producers): (Vec<_>, Vec<_>) =
            self.clients.iter_mut().partition(|client| client.name == WATCHER);
        for group in [producers, readers] {
            if group.is_empty() {
                continue;
            }
            let ids: Vec<u32> = group.iter().map(|client| client.process.id()).collect::<Result<_>>()?;
            kill("TERM", ids)?;
            for client in group {
                client.process.wait_until_it_ends(STOP_LIMIT)?;
            }
        }
        let mut events = Vec::new();
        for client in &self.clients {
            let its = client.events()?;
            ensure!(
                its.iter().any(|event| event.what == What::End),
                "{} broke off: {}",
                client.name,
                client.process.tail()
            );
            events.extend(its);
        }
        Ok(events)
    }
}

/// The producers that keep the order of what they send. Without idempotence librdkafka does not, even with one request
/// in flight: while one to a leader that does not answer is waited for, the next goes to the new leader already.
#[must_use]
pub fn ordered(idempotent: bool) -> BTreeSet<String> {
    let all = [Some(JAVA), idempotent.then_some(LIBRDKAFKA)];
    all.into_iter().flatten().map(str::to_owned).collect()
}

/// Reads everything there is, once.
pub fn read_everything(cluster: &Cluster, releases: &Releases) -> Result<Vec<Event>> {
    let mut client = librdkafka(cluster, releases, "read", LAST_READER, &[READ_SECONDS.to_string()]);
    client.process.spawn()?;
    let status = client.process.wait_until_it_ends(READ_LIMIT)?;
    ensure!(status.success(), "not everything can be read: {}", client.process.tail());
    client.events()
}

impl Client {
    /// librdkafka's producer, to every partition in turn.
    fn sender(cluster: &Cluster, releases: &Releases, idempotent: bool) -> Self {
        let words = [LIBRDKAFKA_RATE.to_string(), RECORD_BYTES.to_string(), idempotent.to_string()];
        librdkafka(cluster, releases, "send", LIBRDKAFKA, &words)
    }

    fn new(cluster: &Cluster, name: &'static str, program: &str, words: Vec<OsString>) -> Self {
        let output = cluster.path(&format!("client-{name}.out"));
        Self { name, process: Attached::new(name, program.into(), words, output) }
    }

    /// What it has written down so far; its last line may not be whole yet.
    fn events(&self) -> Result<Vec<Event>> {
        let text = self.process.log()?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        history::parse(self.name, whole)
    }
}

fn librdkafka(
    cluster: &Cluster,
    releases: &Releases,
    verb: &str,
    name: &'static str,
    rest: &[String],
) -> Client {
    let (program, mut line) = releases.librdkafka.python(&repository::root().join("e2e/faults/client.py"));
    let words = [verb, &Cluster::bootstrap(), TOPIC, &PARTITIONS.to_string(), name].map(OsString::from);
    line.extend(words.into_iter().chain(rest.iter().map(OsString::from)));
    Client::new(cluster, name, program, line)
}

fn java(cluster: &Cluster, kafka: &Kafka, idempotent: bool) -> Result<Client> {
    let in_flight = if idempotent { 5 } else { 1 };
    let settings = format!(
        "enable.idempotence={idempotent}\nmax.in.flight.requests.per.connection={in_flight}\nretries=2147483647\n\
         linger.ms=5\ndelivery.timeout.ms=30000\nrequest.timeout.ms=5000\nmetadata.max.age.ms=5000\n\
         reconnect.backoff.max.ms=500\nmax.block.ms=30000\n"
    );
    let file = cluster.path("producer.properties");
    fs::write(&file, settings).with_context(|| format!("write {}", file.display()))?;
    let mut words = kafka.tool_words("org.apache.kafka.tools.VerifiableProducer");
    let rate = JAVA_RATE.to_string();
    let options = [
        "--bootstrap-server",
        &Cluster::bootstrap(),
        "--topic",
        TOPIC,
        "--throughput",
        &rate,
        "--acks",
        "-1",
    ];
    words.extend(options.map(OsString::from));
    words.extend(["--value-prefix", JAVA, "--command-config"].map(OsString::from));
    words.push(file.into());
    Ok(Client::new(cluster, JAVA, "java", words))
}
