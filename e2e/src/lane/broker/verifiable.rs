//! Kafka's VerifiableProducer beside a story: it sends 0, 1, 2, ... and says of each what came of it.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::Bench;
use crate::attached::Attached;
use crate::faults::history::{self, What};
use crate::kafka::Kafka;

const NAME: &str = "producer";

/// A producer that runs until it is stopped.
#[derive(Debug)]
pub struct VerifiableProducer<'a> {
    bench: &'a Bench,
    process: Attached,
}

impl<'a> VerifiableProducer<'a> {
    /// Starts the one of a story, with acks=all. The tool turns retries off, and idempotence with them, where `settings`
    /// (lines of a properties file) do not say otherwise.
    pub fn start(
        bench: &'a Bench,
        kafka: &Kafka,
        (bootstrap, topic): (&str, &str),
        per_second: u32,
        settings: &str,
    ) -> Result<Self> {
        let file = bench.path("producer.properties");
        fs::write(&file, settings).with_context(|| format!("write {}", file.display()))?;
        let mut words = kafka.tool_words("org.apache.kafka.tools.VerifiableProducer");
        words.extend(["--bootstrap-server", bootstrap, "--topic", topic, "--acks", "-1"].map(Into::into));
        words.extend(["--max-messages", "-1", "--throughput", &per_second.to_string()].map(Into::into));
        words.extend(["--command-config".into(), file.into()]);
        let errors = bench.path(&format!("{NAME}.err"));
        let mut process = bench.beside(NAME, "java", words).with_errors_in(errors);
        process.spawn()?;
        Ok(Self { bench, process })
    }

    /// The values that it says were acknowledged, in the order of their acknowledgements.
    pub fn acknowledged(&self) -> Result<Vec<String>> {
        said(self.bench).map(|said| said.acknowledged)
    }

    /// Waits until more values than that are acknowledged from now on.
    pub fn wait_for_more_than(&mut self, count: usize) -> Result<()> {
        let before = self.acknowledged()?.len();
        let bench = self.bench;
        self.process.wait_until("gets acknowledgements", || {
            let more = said(bench)?.acknowledged.len() - before;
            ensure!(more > count, "{more} since then");
            Ok(())
        })
    }

    /// Lets it send what it still has, and gives the values that were acknowledged. An error if a send failed.
    pub fn finish(mut self) -> Result<Vec<String>> {
        // Java ends with a status of its own after SIGTERM; what counts is that it has sent all it had.
        let _terminated = self.process.stop();
        let said = said(self.bench)?;
        ensure!(said.has_ended, "the producer did not finish");
        ensure!(said.errors.is_empty(), "sends failed: {:?}", said.errors);
        Ok(said.acknowledged)
    }

    /// Kills it, and gives the values that were acknowledged.
    pub fn kill(mut self) -> Result<Vec<String>> {
        self.process.kill()?;
        self.acknowledged()
    }
}

/// An error if a value that was acknowledged is not among those that were read back.
pub fn ensure_none_is_lost(acknowledged: &[String], read: &[String]) -> Result<()> {
    let read: BTreeSet<&String> = read.iter().collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|value| !read.contains(value)).collect();
    ensure!(lost.is_empty(), "{} of {} acknowledged are lost: {lost:?}", lost.len(), acknowledged.len());
    Ok(())
}

/// All that a producer has said.
#[derive(Debug, Default)]
struct Said {
    acknowledged: Vec<String>,
    errors: Vec<String>,
    has_ended: bool,
}

fn said(bench: &Bench) -> Result<Said> {
    let file = bench.path(&format!("{NAME}.out"));
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    // It may be in the middle of a line.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut said = Said::default();
    for event in history::parse(NAME, whole)? {
        match event.what {
            What::Sent { value, .. } => said.acknowledged.push(value),
            What::Unknown { value, error } => said.errors.push(format!("{value}: {error}")),
            What::End => said.has_ended = true,
            other @ (What::Sending { .. }
            | What::Refused { .. }
            | What::Read { .. }
            | What::NotRead { .. }) => {
                bail!("the producer says {other:?}")
            }
        }
    }
    Ok(said)
}
