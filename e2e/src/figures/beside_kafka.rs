//! One broker alone, measured in the same run and in the same way as Apache Kafka's.
//!
//! The client is ours and the same for both: it tries to connect every millisecond, makes a topic with one partition,
//! sends one record with `acks=all` and waits for its acknowledgement. What an acknowledgement means is the topic's
//! `flush.messages`, which both know; so each is measured with its own default and with the other's.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{Answer, wait_until};
use crate::kafka::{self, Kafka};
use crate::ports;
use crate::repository::{self, VERSION};
use crate::server::Server;
use crate::step::Steps;
use crate::wire;

/// How often a start is measured; the median is told, and the range.
const RUNS: usize = 5;
/// How long a broker idles, after its first record, before its memory is read.
const IDLE: Duration = Duration::from_secs(60);
/// How long one start may take at most.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How often the client tries again.
const INTERVAL: Duration = Duration::from_millis(1);
const TOPIC: &str = "first";

/// What is measured.
#[derive(Debug)]
pub enum Broker {
    /// `ottla dev` of a release build; it formats its directory itself, and that is measured with it.
    Ottla(PathBuf),
    /// Kafka's broker on a directory that its StorageTool has formatted before, with the heap its scripts set.
    Kafka(Kafka),
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The record is on the disk: Ottla's default.
    Synced,
    /// The record is in the page cache: Kafka's default.
    PageCache,
}

/// What came of measuring one broker with one durability.
#[derive(Debug)]
pub struct Figures {
    /// Which broker.
    pub broker: String,
    /// What its acknowledgements mean.
    pub durability: Durability,
    /// From the start of the process to the first acknowledged record, sorted.
    pub first_record: Vec<Duration>,
    /// Its memory after a minute without work, in KiB.
    pub idle_kib: u64,
}

impl Durability {
    /// Both, our default first.
    pub const ALL: [Self; 2] = [Self::Synced, Self::PageCache];

    fn flush_messages(self) -> &'static str {
        match self {
            Self::Synced => "1",
            Self::PageCache => "9223372036854775807",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Synced => "on the disk",
            Self::PageCache => "in the page cache",
        }
    }
}

impl Broker {
    fn name(&self) -> Result<String> {
        Ok(match self {
            Self::Ottla(_) => format!("Ottla {VERSION}"),
            Self::Kafka(_) => format!("Apache Kafka {}", kafka::version()?),
        })
    }

    /// A broker on an empty directory, ready to be started.
    ///
    /// # Errors
    /// If the directory cannot be made, or Kafka's not be formatted.
    pub fn prepare(&self, directory: &Path) -> Result<Server> {
        if directory.exists() {
            fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
        }
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let port = ports::free()?;
        let address = format!("127.0.0.1:{port}");
        let log = directory.join("log");
        match self {
            Self::Ottla(binary) => {
                let words = ["dev", "--listen", &address, "--data"].map(Into::into);
                let words = words.into_iter().chain([directory.join("data").into()]).collect();
                Ok(Server::new("ottla", binary.clone(), words, address, log))
            }
            Self::Kafka(kafka) => {
                let properties = directory.join("server.properties");
                fs::write(&properties, kafka_properties(port, &directory.join("data")))
                    .with_context(|| format!("write {}", properties.display()))?;
                let format = kafka.tool("kafka.tools.StorageTool");
                let format = format.args(["format", "--standalone", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"]);
                format.arg(&properties).read()?;
                let mut words = kafka.server_words();
                words.push(properties.into());
                Ok(Server::new("kafka", PathBuf::from("java"), words, address, log))
            }
        }
    }

    /// Measures this broker with both durabilities.
    pub fn measure(&self, steps: &Steps) -> Result<Vec<Figures>> {
        let name = self.name()?;
        let directory = repository::target().join("figures").join(name.replace(' ', "-"));
        let measured = Durability::ALL.into_iter().map(|durability| {
            let title = format!("{name}, acknowledged {}: {RUNS} starts, {IDLE:?} idle", durability.text());
            steps.run(&title, |_| self.measure_with(&name, durability, &directory))
        });
        let measured: Vec<Figures> = measured.collect::<Result<_>>()?;
        fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
        Ok(measured)
    }

    fn measure_with(&self, name: &str, durability: Durability, directory: &Path) -> Result<Figures> {
        let mut first_record = Vec::new();
        let mut last = None;
        for _ in 0..RUNS {
            drop(last.take());
            let mut server = self.prepare(directory)?;
            first_record.push(until_first_record(&mut server, durability)?);
            last = Some(server);
        }
        first_record.sort();
        thread::sleep(IDLE);
        let idle_kib = last.context("at least one run")?.memory()?.resident_kib;
        Ok(Figures { broker: name.to_owned(), durability, first_record, idle_kib })
    }
}

fn until_first_record(server: &mut Server, durability: Durability) -> Result<Duration> {
    const ALREADY_EXISTS: &str = "error 36:";
    let address = server.address().to_owned();
    let topic = wire::create_topic(TOPIC, 1, 1, &[("flush.messages", durability.flush_messages())]);
    let record = wire::produce(TOPIC, b"the first record");
    let started = Instant::now();
    server.spawn()?;
    wait_until("the topic is made", START_LIMIT, INTERVAL, || {
        if let Err(error) = server.check_alive() {
            return Answer::Never(error.to_string());
        }
        match wire::send(&address, &topic).and_then(|answer| wire::created(&answer)) {
            // An earlier try whose answer did not come.
            Err(error) if error.to_string().starts_with(ALREADY_EXISTS) => Answer::Yes,
            other => Answer::from(other),
        }
    })?;
    wait_until("the record is acknowledged", START_LIMIT, INTERVAL, || {
        Answer::from(wire::send(&address, &record).and_then(|answer| wire::produced(&answer)))
    })?;
    Ok(started.elapsed())
}

/// One node that is broker and controller; what has a replication factor has one replica.
fn kafka_properties(port: u16, data: &Path) -> String {
    let controller = port + 1;
    format!(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs={}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n",
        data.display()
    )
}

/// The figures as a table in Markdown.
#[must_use]
pub fn table(figures: &[Figures]) -> String {
    let mut text = String::from(
        "| broker | an acknowledged record is | start to first acknowledged record: median (range) | VmRSS after 60 s idle |\n\
         |---|---|---|---|\n",
    );
    for one in figures {
        let seconds = |place: usize| one.first_record.get(place).map_or(0.0, Duration::as_secs_f64);
        let last = one.first_record.len().saturating_sub(1);
        text.push_str(&format!(
            "| {} | {} | {:.3} s ({:.3} to {:.3}) | {:.1} MiB |\n",
            one.broker,
            one.durability.text(),
            seconds(last / 2),
            seconds(0),
            seconds(last),
            super::mebi(one.idle_kib),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_median_range_and_durability() {
        let first_record = [1, 2, 9].map(Duration::from_secs).to_vec();
        let durability = Durability::Synced;
        let figures = Figures { broker: "X".to_owned(), durability, first_record, idle_kib: 2048 };
        let row = "| X | on the disk | 2.000 s (1.000 to 9.000) | 2.0 MiB |";
        assert_eq!(table(&[figures]).lines().last(), Some(row));
    }
}
