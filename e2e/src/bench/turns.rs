//! The order in which the two products are measured, and the table that comes of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::figure::{self, Figure, Sample};
use super::measure::{Measure, Stand};
use crate::cache;
use crate::faults::catalogue::Durability;
use crate::faults::cluster::{Controllers, Heap, IDS, Product, Template};
use crate::faults::load::Releases;
use crate::faults::network;
use crate::faults::series::emptied;
use crate::isolation;
use crate::kafka::Kafka;
use crate::repository;
use crate::step::{Steps, say};

/// As few as a median and a range mean anything with.
const PAIRS: u64 = 5;
/// What a JVM takes until it has compiled what it runs.
const WARM_UP_SECONDS: u64 = 60;
/// Brokers on one core and clients on another.
const BROKER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";
/// Of each broker: descriptors are as scarce as on a small machine. Kafka's maps two files of each log.
const OPEN_FILES: &str = "--nofile=4096";
const OPEN_FILES_OF_KAFKA: &str = "--nofile=20000";

/// What is to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turns {
    /// Which groups of figures.
    pub measures: Vec<&'static str>,
    /// How often each product has its turn.
    pub pairs: u64,
    /// How long the JVMs are run before throughput is measured.
    pub warm_up: Duration,
    /// A release build of ours; else this checkout is compiled.
    pub binary: Option<PathBuf>,
}

/// What was measured of both products, and the turns in which nothing could be.
#[derive(Debug, Default)]
struct Samples {
    figures: BTreeMap<Figure, [Vec<f64>; 2]>,
    failed: Vec<String>,
}

impl Turns {
    /// Reads the words of a command line.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut turns = Self {
            measures: Vec::new(),
            pairs: PAIRS,
            warm_up: Duration::from_secs(WARM_UP_SECONDS),
            binary: None,
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} takes a value"))?;
            match word {
                "--pairs" => turns.pairs = value.parse().context("--pairs takes a number")?,
                "--warm-up" => {
                    turns.warm_up = Duration::from_secs(value.parse().context("--warm-up takes seconds")?);
                }
                "--binary" => turns.binary = Some(value.into()),
                "--only" => turns.measures.push(named(value)?),
                other => anyhow::bail!("no such option: {other}"),
            }
        }
        ensure!(turns.pairs > 0, "--pairs 0 measures nothing");
        if turns.measures.is_empty() {
            turns.measures = Measure::ALL.map(|(name, _)| name).to_vec();
        }
        Ok(turns)
    }

    fn words(&self) -> Vec<String> {
        let mut words = vec!["--pairs".to_owned(), self.pairs.to_string()];
        words.extend(["--warm-up".to_owned(), self.warm_up.as_secs().to_string()]);
        words.extend(
            self.binary.iter().flat_map(|binary| ["--binary".to_owned(), binary.display().to_string()]),
        );
        words.extend(self.measures.iter().flat_map(|name| ["--only".to_owned(), (*name).to_owned()]));
        words
    }

    /// Becomes this program in namespaces of its own, where it measures.
    pub fn enter(&self) -> Result<()> {
        let words: Vec<String> = ["bench-inside".to_owned()].into_iter().chain(self.words()).collect();
        isolation::exec(isolation::command(&words)?)
    }

    /// Measures. This process must be in namespaces of its own.
    pub fn run_inside(&self) -> Result<()> {
        let workshop = isolation::enter("bench")?;
        let directory = &workshop.directory;
        let steps = Steps::new(directory.join("steps"));
        let releases = Releases::ensure(&steps)?;
        network::make(&IDS)?;
        pin_clients()?;
        let mut templates = BTreeMap::new();
        let mut samples = Samples::default();
        let wanted = Measure::ALL.into_iter().filter(|(name, _)| self.measures.contains(name));
        for (name, measure) in wanted {
            let templates = match templates.entry(measure.controllers()) {
                Entry::Occupied(made) => made.into_mut(),
                Entry::Vacant(free) => {
                    free.insert(self.templates(measure.controllers(), &releases.kafka, directory)?)
                }
            };
            self.take_turns(name, measure, templates, &releases, &steps, &mut samples)?;
        }
        let table = table(&samples, self.pairs);
        say(&format!("\n{table}"));
        let place = cache::root()?.join("bench");
        fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
        let place = place.join("cluster.md");
        fs::write(&place, table).with_context(|| format!("write {}", place.display()))?;
        say(&format!("kept in {}", place.display()));
        ensure!(samples.failed.is_empty(), "{} turns failed", samples.failed.len());
        Ok(())
    }

    /// Both products, ours first.
    fn templates(
        &self,
        controllers: Controllers,
        kafka: &Kafka,
        directory: &Path,
    ) -> Result<Vec<(String, Template)>> {
        let binary = self.binary.clone().context("no binary is named")?;
        let products = [Product::Ottla(binary), Product::Kafka(kafka.clone(), Heap::Upstream)];
        let files = [OPEN_FILES, OPEN_FILES_OF_KAFKA];
        let template = |(product, files): (Product, &str)| {
            let name = product.name()?;
            let place = emptied(&directory.join(format!("{}-{controllers:?}", name.replace(' ', "-"))))?;
            let before = ["taskset", "--cpu-list", BROKER_CORE, "prlimit", files, "--"];
            Ok((name, Template::make(product, controllers, &place, &before)?))
        };
        products.into_iter().zip(files).map(template).collect()
    }

    /// A pair of turns after the other; the second of one pair begins the next.
    fn take_turns(
        &self,
        name: &str,
        measure: Measure,
        templates: &[(String, Template)],
        releases: &Releases,
        steps: &Steps,
        samples: &mut Samples,
    ) -> Result<()> {
        let work = repository::target().join("bench/work");
        let turn = |product: usize, half_load: Option<u64>, title: &str| -> Result<Vec<(Figure, f64)>> {
            let (product, template) = templates.get(product).context("there are two products")?;
            let directory = emptied(&work)?;
            let stand = Stand { template, releases, directory: &directory, warm_up: self.warm_up, half_load };
            steps.run(&format!("{name}: {product}, {title}"), |_| measure.run(&stand))
        };
        let mut half_load = None;
        if let Measure::Produce(durability) = measure {
            // Both are asked for their best first: latency is measured at the same rate for both.
            let best = [0, 1].map(|product| Ok(throughput(&turn(product, None, "calibration")?, durability)));
            let best: Vec<u64> = best.into_iter().collect::<Result<_>>()?;
            half_load = best.into_iter().min().map(|slower| (slower / 2).max(1));
        }
        for pair in 1..=self.pairs {
            let order = if pair % 2 == 1 { [0, 1] } else { [1, 0] };
            for product in order {
                let title = format!("pair {pair} of {}", self.pairs);
                match turn(product, half_load, &title) {
                    Ok(figures) => figures.into_iter().for_each(|figure| samples.add(product, figure)),
                    // What has been measured in hours is not thrown away for one turn.
                    Err(error) => samples.failed.push(format!("{error:#}")),
                }
            }
        }
        Ok(())
    }
}

impl Samples {
    fn add(&mut self, product: usize, (figure, value): (Figure, f64)) {
        say(&format!("          {value:>12.2}  {}", figure.title()));
        let [ours, kafkas] = self.figures.entry(figure).or_default();
        if product == 0 { ours.push(value) } else { kafkas.push(value) }
    }
}

fn named(name: &str) -> Result<&'static str> {
    let known = Measure::ALL.iter().map(|(known, _)| *known);
    known.clone().find(|known| *known == name).with_context(|| {
        format!("no such figures: {name}; there are {}", known.collect::<Vec<_>>().join(", "))
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate, far from the bounds of both"
)]
fn throughput(figures: &[(Figure, f64)], durability: Durability) -> u64 {
    let found = figures.iter().find(|(figure, _)| *figure == Figure::Throughput(durability));
    found.map_or(0, |(_, value)| *value as u64)
}

/// This process and all that it starts, but for the brokers, which say otherwise.
fn pin_clients() -> Result<()> {
    let own = std::process::id().to_string();
    crate::command::program("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", CLIENT_CORE, &own])
        .read()
        .context("the rules ask for a core for clients beside that for brokers")
        .map(drop)
}

fn table(samples: &Samples, pairs: u64) -> String {
    let mut text = format!(
        "Three brokers on core {BROKER_CORE}, clients on core {CLIENT_CORE}; RF 3, min.insync.replicas=2; {pairs} pairs; \
         {OPEN_FILES} for Ottla, {OPEN_FILES_OF_KAFKA} for Kafka.\n\n{}\n",
        figure::HEAD
    );
    for (figure, [ours, kafkas]) in &samples.figures {
        let (ours, kafkas) = (Sample::new(ours.clone()), Sample::new(kafkas.clone()));
        text.push_str(&figure::row(*figure, ours.as_ref(), kafkas.as_ref()));
        text.push('\n');
    }
    for failed in &samples.failed {
        text.push_str(&format!("\nNot measured: {failed}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_and_written_again() {
        let turns = Turns::parse(&["--pairs", "2", "--only", "leader", "--binary", "/x/ottla"]).unwrap();
        assert_eq!((turns.pairs, &turns.measures[..]), (2, &["leader"][..]));
        let words = turns.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(Turns::parse(&words).unwrap(), turns);
        assert_eq!(Turns::parse(&[]).unwrap().measures.len(), Measure::ALL.len());
        assert!(Turns::parse(&["--only", "everything"]).is_err());
        assert!(Turns::parse(&["--pairs", "0"]).is_err());
    }
}
