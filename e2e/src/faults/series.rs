//! A series of runs, in namespaces of its own, with a table at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::catalogue::Fault;
use super::cluster::{Controllers, Heap, NODES, Product, Template};
use super::ledger::Ledger;
use super::load::Releases;
use super::network;
use super::run::{Outcome, Plan};
use crate::isolation;
use crate::step::{Steps, say};

/// How many seeds of each fault a series has if nobody says otherwise.
const SEEDS: u64 = 5;

/// How much of an error of a log is shown.
const ERROR_CHARACTERS_MAX: usize = 240;

/// What a series is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Which faults.
    pub faults: Vec<Fault>,
    /// How many seeds of each.
    pub seeds: u64,
    /// The first of them.
    pub start: u64,
    /// The binary of ours that is run; else this checkout is compiled.
    pub binary: Option<PathBuf>,
    /// Whether Apache Kafka is run instead.
    pub kafka: bool,
    /// The bug that the binary is told to have.
    pub planted: Option<String>,
    /// Whether producers are idempotent.
    pub idempotent: bool,
    /// Whether runs that the ledger has as clean are done again.
    pub fresh: bool,
}

impl Series {
    /// Reads the words of a command line.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut series = Self {
            faults: Vec::new(),
            seeds: SEEDS,
            start: 1,
            binary: None,
            kafka: false,
            planted: None,
            idempotent: false,
            fresh: false,
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} takes a value"));
            match word {
                "--seeds" => series.seeds = value()?.parse().context("--seeds takes a number")?,
                "--start" => series.start = value()?.parse().context("--start takes a number")?,
                "--binary" => series.binary = Some(value()?.into()),
                "--planted" => series.planted = Some(value()?.to_owned()),
                "--kafka" => series.kafka = true,
                "--idempotent" => series.idempotent = true,
                "--fresh" => series.fresh = true,
                name => {
                    let fault = Fault::named(name);
                    series
                        .faults
                        .push(fault.with_context(|| format!("no such fault or option: {name}; see --list"))?);
                }
            }
        }
        if series.faults.is_empty() {
            let all = || Fault::ALL.map(|(_, fault, _)| fault).to_vec();
            series.faults = series.planted.as_deref().map_or_else(all, Fault::that_show);
        }
        ensure!(
            !(series.kafka && series.planted.is_some()),
            "--kafka and --planted: only ours has planted bugs"
        );
        Ok(series)
    }

    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.faults.iter().map(|fault| fault.name().to_owned()).collect();
        words.extend([
            "--seeds".to_owned(),
            self.seeds.to_string(),
            "--start".to_owned(),
            self.start.to_string(),
        ]);
        let binary = self.binary.as_ref().map(|binary| binary.display().to_string());
        for (option, value) in [("--binary", &binary), ("--planted", &self.planted)] {
            words.extend(value.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        for (option, is_on) in
            [("--kafka", self.kafka), ("--idempotent", self.idempotent), ("--fresh", self.fresh)]
        {
            words.extend(is_on.then(|| option.to_owned()));
        }
        words
    }

    /// The command that does the series in namespaces of its own.
    pub fn command(&self) -> Result<Command> {
        let words: Vec<String> = ["faults-inside".to_owned()].into_iter().chain(self.words()).collect();
        let mut command = isolation::command(&words)?;
        if let Some(bug) = &self.planted {
            command.env("OTTLA_PLANTED", bug);
        }
        Ok(command)
    }

    /// Becomes that command.
    pub fn enter(&self) -> Result<()> {
        isolation::exec(self.command()?)
    }

    /// Does the series. This process must be in namespaces of its own.
    pub fn run_inside(&self) -> Result<()> {
        let place = isolation::enter("faults")?;
        let directory = &place.directory;
        let steps = Steps::new(directory.join("steps"));
        let releases = Releases::ensure(&steps)?;
        let product = match (&self.binary, self.kafka) {
            (_, true) => Product::Kafka(releases.kafka.clone(), Heap::Small),
            (Some(binary), false) => Product::Ottla(binary.clone()),
            (None, false) => bail!("no binary is named"),
        };
        let mut name = product.name()?;
        if let Some(bug) = &self.planted {
            name = format!("{name} with {bug}");
        }
        let ledger = Ledger::open(&name, self.binary.as_deref().filter(|_| !self.kafka))?;
        network::make(&NODES)?;
        let work = directory.join("work");
        let template = steps.run(&format!("format three nodes of {name}"), |_| {
            let place = emptied(&directory.join("template"))?;
            Template::make(product.clone(), Controllers::Combined, &place, &[])
        })?;
        let mut table = Vec::new();
        for plan in self.plans() {
            if let Some(outcome) = ledger.clean(&plan)?.filter(|_| !self.fresh && self.planted.is_none()) {
                table.push((plan, outcome));
                continue;
            }
            let outcome = plan.run(&template, &releases, &emptied(&work)?).with_context(|| {
                format!("{} seed {}: files are in {}", plan.fault, plan.seed, work.display())
            })?;
            say(&row(&plan, &outcome));
            tell(&outcome);
            if !outcome.problems.is_empty() {
                keep(&work, &directory.join(format!("kept/{}-{}", plan.fault, plan.seed)))?;
            }
            ledger.note(&plan, &outcome)?;
            table.push((plan, outcome));
        }
        summarize(&name, &table);
        let broken = is_broken(&table);
        match &self.planted {
            None => ensure!(!broken, "not every run was clean"),
            Some(bug) => ensure!(broken, "the planted bug {bug} was not found"),
        }
        Ok(())
    }

    fn plans(&self) -> Vec<Plan> {
        let seeds = self.start..self.start + self.seeds;
        let idempotent = self.idempotent;
        let plans = self
            .faults
            .iter()
            .flat_map(|fault| seeds.clone().map(move |seed| Plan { fault: *fault, seed, idempotent }));
        plans.collect()
    }
}

/// A directory with nothing in it.
pub fn emptied(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    Ok(directory.to_owned())
}

/// Keeps the files of a run that was not clean.
fn keep(work: &Path, place: &Path) -> Result<()> {
    let place = emptied(place)?;
    fs::remove_dir(&place).with_context(|| format!("remove {}", place.display()))?;
    fs::rename(work, &place).with_context(|| format!("move {}", work.display()))?;
    say(&format!("        files are kept in {}", place.display()));
    Ok(())
}

fn row(plan: &Plan, outcome: &Outcome) -> String {
    let verdict = if outcome.problems.is_empty() { "clean" } else { "BROKEN" };
    format!(
        "{:<21} seed {:<4} {:<11} {:>6} acknowledged {:>4} unknown {:>4} repeated  gap {:>6.1} s  {:>5.1} s  {verdict}",
        plan.fault,
        plan.seed,
        plan.durability().text(),
        outcome.counts.acknowledged,
        outcome.counts.unknown,
        outcome.counts.repeated,
        seconds(outcome.gap_ms),
        seconds(outcome.took_ms),
    )
}

fn tell(outcome: &Outcome) {
    say(&format!("        {}", outcome.what));
    outcome.problems.iter().for_each(|problem| say(&format!("        BROKEN: {problem}")));
    for error in &outcome.errors {
        say(&format!("        its log: {}", error.chars().take(ERROR_CHARACTERS_MAX).collect::<String>()));
    }
}

/// The table of all runs.
fn summarize(name: &str, table: &[(Plan, Outcome)]) {
    say(&format!("\n{name}"));
    table.iter().for_each(|(plan, outcome)| say(&row(plan, outcome)));
    let broken = table.iter().filter(|(_, outcome)| !outcome.problems.is_empty()).count();
    let acknowledged: usize = table.iter().map(|(_, outcome)| outcome.counts.acknowledged).sum();
    say(&format!("{} runs, {acknowledged} acknowledged records, {broken} runs not clean", table.len()));
}

fn is_broken(table: &[(Plan, Outcome)]) -> bool {
    table.iter().any(|(_, outcome)| !outcome.problems.is_empty())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_and_written_again() {
        let words = ["kill-all", "--seeds", "2", "--start", "7", "--binary", "/x/ottla", "--idempotent"];
        let series = Series::parse(&words).unwrap();
        assert_eq!(series.faults, [Fault::KillAll]);
        let written = series.words();
        let again: Vec<&str> = written.iter().map(String::as_str).collect();
        assert_eq!(Series::parse(&again).unwrap(), series);
        assert_eq!(series.plans().iter().map(|plan| plan.seed).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn without_a_name_every_fault_is_meant_and_an_unknown_one_is_refused() {
        assert_eq!(Series::parse(&[]).unwrap().faults.len(), Fault::ALL.len());
        assert!(Series::parse(&["kill-nobody"]).is_err());
        assert!(Series::parse(&["--kafka", "--planted", "x"]).is_err());
    }
}
