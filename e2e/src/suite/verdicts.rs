//! What came of the tests, as it was last recorded: `e2e/librdkafka/verdicts.tsv`, one test of one product a line.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::catalogue;
use crate::repository;

/// Whose brokers a test was run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Ours.
    Ottla,
    /// Apache Kafka's.
    Kafka,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// It failed, with what it said first.
    Failed(String),
    /// It did not want to run, and why.
    Skipped(String),
}

/// What came of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts(BTreeMap<(Column, String), Verdict>);

impl Column {
    const ALL: [(&'static str, Self); 2] = [("ottla", Self::Ottla), ("kafka", Self::Kafka)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, column)| *column == self).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => formatter.write_str("passed"),
            Self::Failed(line) => write!(formatter, "failed: {line}"),
            Self::Skipped(why) => write!(formatter, "skipped itself: {why}"),
        }
    }
}

impl Verdict {
    fn parse(text: &str) -> Result<Self> {
        Ok(match text.split_once(": ") {
            None if text == "passed" => Self::Passed,
            Some(("failed", line)) => Self::Failed(line.to_owned()),
            Some(("skipped itself", why)) => Self::Skipped(why.to_owned()),
            _ => bail!("no verdict: {text}"),
        })
    }
}

impl Verdicts {
    /// Reads the file.
    pub fn read() -> Result<Self> {
        let file = file();
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is damaged", file.display()))
    }

    /// Writes the file.
    pub fn write(&self) -> Result<()> {
        let file = file();
        fs::write(&file, self.text()).with_context(|| format!("write {}", file.display()))
    }

    /// What came of a test, if it was recorded.
    #[must_use]
    pub fn of(&self, column: Column, label: &str) -> Option<&Verdict> {
        self.0.get(&(column, label.to_owned()))
    }

    /// Records what came of a test.
    pub fn note(&mut self, column: Column, label: String, verdict: Verdict) {
        self.0.insert((column, label), verdict);
    }

    fn parse(text: &str) -> Result<Self> {
        let entry = |line: &str| {
            let mut fields = line.splitn(3, '\t');
            let mut field = || fields.next().with_context(|| format!("a line of less than 3 fields: {line}"));
            let (name, label, verdict) = (field()?, field()?.to_owned(), field()?);
            let column = Column::ALL.iter().find(|(known, _)| *known == name);
            let (_, column) = column.with_context(|| format!("no such product: {name}"))?;
            Ok(((*column, label), Verdict::parse(verdict)?))
        };
        text.lines().map(entry).collect::<Result<BTreeMap<_, _>>>().map(Self)
    }

    /// In the order of the list; what is no longer run is forgotten.
    fn text(&self) -> String {
        let run = catalogue::ALL.iter().filter(|test| test.lacks().is_none());
        let lines = run.flat_map(|test| {
            let label = test.label();
            Column::ALL.iter().filter_map(move |(name, column)| {
                let verdict = self.of(*column, &label)?;
                Some(format!("{name}\t{label}\t{verdict}\n"))
            })
        });
        lines.collect()
    }
}

fn file() -> PathBuf {
    repository::root().join("e2e/librdkafka/verdicts.tsv")
}

impl fmt::Display for Column {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_written_and_read_again_in_the_order_of_the_list() {
        let mut verdicts = Verdicts::default();
        verdicts.note(Column::Kafka, "0002_unkpart".to_owned(), Verdict::Passed);
        verdicts.note(Column::Ottla, "0002_unkpart".to_owned(), Verdict::Failed("main():7: a: b".to_owned()));
        verdicts.note(Column::Ottla, "0001_multiobj".to_owned(), Verdict::Skipped("no JSON".to_owned()));
        let text = verdicts.text();
        assert_eq!(
            text,
            "ottla\t0001_multiobj\tskipped itself: no JSON\nottla\t0002_unkpart\tfailed: main():7: a: b\n\
             kafka\t0002_unkpart\tpassed\n"
        );
        assert_eq!(Verdicts::parse(&text).unwrap(), verdicts);
        assert!(Verdicts::parse("ottla\t0001_multiobj\tperhaps\n").is_err());
        assert!(Verdicts::parse("redpanda\t0001_multiobj\tpassed\n").is_err());
    }
}
