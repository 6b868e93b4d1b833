//! The tests one after the other against one cluster of three nodes, in namespaces of their own.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::catalogue::{self, Plan, Test, Topics};
use super::page;
use super::run::Stand;
use super::verdicts::{Column, Verdict, Verdicts};
use crate::faults::catalogue::{Storage, Time};
use crate::faults::cluster::{Cluster, Controllers, Heap, NODES, Product, Template};
use crate::faults::network;
use crate::faults::series::emptied;
use crate::isolation;
use crate::kafka::Kafka;
use crate::librdkafka::Librdkafka;
use crate::step::{Steps, say};

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// How the labels of the tests begin; all if there are none.
    pub tests: Vec<String>,
    /// The binary of ours that is run; else this checkout is compiled.
    pub binary: Option<PathBuf>,
    /// Whether Apache Kafka is run instead.
    pub kafka: bool,
    /// Whether what came of the tests is recorded and the page written again.
    pub record: bool,
}

impl Series {
    /// Reads the words of a command line.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut series = Self { tests: Vec::new(), binary: None, kafka: false, record: false };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "--kafka" => series.kafka = true,
                "--record" => series.record = true,
                "--binary" => series.binary = Some(words.next().context("--binary takes a value")?.into()),
                option if option.starts_with("--") => bail!("no such option: {option}"),
                test => series.tests.push(test.to_owned()),
            }
        }
        series.chosen()?;
        Ok(series)
    }

    fn words(&self) -> Vec<String> {
        let mut words = self.tests.clone();
        let binary =
            self.binary.iter().flat_map(|binary| ["--binary".to_owned(), binary.display().to_string()]);
        words.extend(binary);
        for (option, is_on) in [("--kafka", self.kafka), ("--record", self.record)] {
            words.extend(is_on.then(|| option.to_owned()));
        }
        words
    }

    fn chosen(&self) -> Result<Vec<(&'static Test, Topics)>> {
        let words: Vec<&str> = self.tests.iter().map(String::as_str).collect();
        let tests = Test::named(&words).map_err(anyhow::Error::msg)?.into_iter();
        Ok(tests
            .filter_map(|test| match test.plan {
                Plan::Run(topics) => Some((test, topics)),
                Plan::Left(_) => None,
            })
            .collect())
    }

    /// The command that runs the tests in namespaces of its own.
    pub fn command(&self) -> Result<Command> {
        let words: Vec<String> = ["suite-inside".to_owned()].into_iter().chain(self.words()).collect();
        isolation::command(&words)
    }

    /// Becomes that command.
    pub fn enter(&self) -> Result<()> {
        isolation::exec(self.command()?)
    }

    /// Runs the tests. This process must be in namespaces of its own.
    pub fn run_inside(&self) -> Result<()> {
        let place = isolation::enter("suite")?;
        let steps = Steps::new(place.directory.join("steps"));
        let release = Librdkafka::ensure(&steps)?;
        catalogue::check(&release)?;
        let (column, product) = match (&self.binary, self.kafka) {
            (_, true) => (Column::Kafka, Product::Kafka(Kafka::ensure(&steps)?, Heap::Small)),
            (Some(binary), false) => (Column::Ottla, Product::Ottla(binary.clone())),
            (None, false) => bail!("no binary is named"),
        };
        let name = product.name()?;
        network::make(&NODES)?;
        let template = steps.run(&format!("format three nodes of {name}"), |_| {
            let place = emptied(&place.directory.join("template"))?;
            Template::make(product, Controllers::Combined, &place, &[])
        })?;
        let nodes = emptied(&place.directory.join(format!("nodes-{column}")))?;
        let mut cluster = template.cluster(Storage::Directory, Time::Machine, &nodes)?;
        steps.run(&format!("start three nodes of {name}"), |_| cluster.start_nodes())?;
        let directory = emptied(&place.directory.join(format!("tests-{column}")))?;
        symlink(release.sources(), directory.join("src")).context("link the sources of librdkafka")?;
        let stand = Stand { release: &release, directory: &directory };
        let came = self.run_tests(&stand, &mut cluster)?;
        cluster.kill_all()?;
        self.conclude(column, came, &directory)
    }

    fn run_tests(&self, stand: &Stand<'_>, cluster: &mut Cluster) -> Result<Vec<(String, Verdict)>> {
        let mut came = Vec::new();
        for (test, topics) in self.chosen()? {
            let started = Instant::now();
            let verdict = stand.run(test, topics).with_context(|| format!("run {}", test.label()))?;
            let seconds = started.elapsed().as_secs_f64();
            say(&format!("{seconds:6.1} s  {}: {verdict}", test.label()));
            came.push((test.label(), verdict));
            cluster.check_alive().with_context(|| format!("after {}", test.label()))?;
            let (panics, _) = cluster.complaints()?;
            ensure!(panics.is_empty(), "after {}: {panics:#?}", test.label());
        }
        Ok(came)
    }

    /// A test may fail as it did when the verdicts were recorded; another failure is news.
    fn conclude(&self, column: Column, came: Vec<(String, Verdict)>, directory: &Path) -> Result<()> {
        let mut verdicts = Verdicts::read()?;
        let failed = |verdict: Option<&Verdict>| matches!(verdict, Some(Verdict::Failed(_)));
        let news: Vec<&str> = came
            .iter()
            .filter(|(label, verdict)| failed(Some(verdict)) && !failed(verdicts.of(column, label)))
            .map(|(label, _)| label.as_str())
            .collect();
        let passed = came.iter().filter(|(_, verdict)| *verdict == Verdict::Passed).count();
        say(&format!("{passed} of {} passed; what they said is in {}", came.len(), directory.display()));
        if !self.record {
            ensure!(news.is_empty(), "failed, and passed when it was recorded: {}", news.join(", "));
            return Ok(());
        }
        for (label, verdict) in came {
            verdicts.note(column, label, verdict);
        }
        verdicts.write()?;
        page::write(&verdicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_and_written_again() {
        let series = Series::parse(&["0001", "0012", "--binary", "/x/ottla", "--record"]).unwrap();
        assert_eq!(series.chosen().unwrap().len(), 2);
        let words = series.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(Series::parse(&words).unwrap(), series);
        assert!(Series::parse(&["--kafka"]).unwrap().kafka);
    }

    #[test]
    fn a_test_that_is_not_run_or_not_there_is_refused_at_once() {
        assert!(Series::parse(&["0103"]).is_err());
        assert!(Series::parse(&["0999"]).is_err());
        assert!(Series::parse(&["--all"]).is_err());
    }
}
