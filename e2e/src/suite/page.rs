//! `docs/reference/librdkafka.md`: the list of tests with what came of them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::catalogue::{self, Plan, Test, Topics};
use super::verdicts::{Column, Verdict, Verdicts};
use crate::repository;
use crate::{kafka, librdkafka};

/// Writes the page.
pub fn write(verdicts: &Verdicts) -> Result<()> {
    let file = file();
    fs::write(&file, text(verdicts)?).with_context(|| format!("write {}", file.display()))
}

fn file() -> PathBuf {
    repository::root().join("docs/reference/librdkafka.md")
}

fn text(verdicts: &Verdicts) -> Result<String> {
    let (version, kafka) = (librdkafka::version()?, kafka::version()?);
    let (run, left): (Vec<&Test>, Vec<&Test>) =
        catalogue::ALL.iter().partition(|test| test.lacks().is_none());
    let passed = |column| {
        run.iter().filter(|test| verdicts.of(column, &test.label()) == Some(&Verdict::Passed)).count()
    };
    let mut page = format!(
        "# librdkafka's own tests\n\n\
         This page is written by `cargo xtask suite librdkafka --record`; do not edit it. The list is\n\
         `e2e/src/suite/catalogue.rs`, and what came of the tests is `e2e/librdkafka/verdicts.tsv`.\n\n\
         These are the tests of librdkafka {version} that are not marked as local (those need no broker), each run\n\
         alone, in librdkafka's quick mode (parts of a test: in its full mode), against three nodes with three replicas\n\
         by default, of Ottla and of Apache Kafka {kafka}. How to run them is told in [testing.md](../testing.md).\n\n\
         Brokers make no topics by themselves here, neither Ottla's (which cannot yet) nor Kafka's\n\
         (`auto.create.topics.enable=false`). Where a test expects it, the rig makes the topic, with four partitions and\n\
         three replicas, as soon as the test says its name: these are marked with a star.\n\n\
         A consumer with the name of a group that closes waits a while for the coordinator of its group: while Ottla has\n\
         none, some tests (0053, 0085, 0112) take up to a minute longer with it.\n\n\
         Of {total} tests and parts of tests {count} are run: Ottla passes {ours}, Apache Kafka {theirs}.\n\n\
         ## Run\n\n\
         | test | Ottla | Apache Kafka {kafka} |\n|---|---|---|\n",
        total = catalogue::ALL.len(),
        count = run.len(),
        ours = passed(Column::Ottla),
        theirs = passed(Column::Kafka),
    );
    for test in run {
        let label = test.label();
        let cell = |column| {
            let verdict = verdicts.of(column, &label);
            verdict.map_or_else(|| "not recorded".to_owned(), |verdict| escaped(&verdict.to_string()))
        };
        let star = match test.plan {
            Plan::Run(Topics::Named | Topics::NamedBut(_)) => " *",
            Plan::Run(Topics::Own | Topics::Refused) | Plan::Left(_) => "",
        };
        page.push_str(&format!(
            "| {}{star} | {} | {} |\n",
            shown(test),
            cell(Column::Ottla),
            cell(Column::Kafka)
        ));
    }
    page.push_str("\n## Not run\n\n| test | needs |\n|---|---|\n");
    for test in left {
        let lacks = test.lacks().context("it is not run")?;
        page.push_str(&format!("| {} | {lacks} |\n", shown(test)));
    }
    Ok(page)
}

fn shown(test: &Test) -> String {
    test.part.map_or_else(|| format!("`{}`", test.name), |part| format!("`{}`, `{part}`", test.name))
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_current() {
        let wanted = text(&Verdicts::read().unwrap()).unwrap();
        if std::env::var_os("UPDATE").is_some() {
            fs::write(file(), &wanted).unwrap();
        }
        let found = fs::read_to_string(file()).unwrap_or_default();
        assert!(
            found == wanted,
            "docs/reference/librdkafka.md is not current: run UPDATE=1 cargo test -p e2e --lib page_is_current"
        );
    }
}
