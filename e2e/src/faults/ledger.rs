//! What was run already, so that a long series can be broken off and resumed: a file in the cache, one run a line.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::catalogue::Fault;
use super::check::Counts;
use super::run::{Outcome, Plan};
use crate::cache;
use crate::command::program;

/// The file, for one build of one product.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    /// What tells this build from all others.
    build: String,
}

impl Ledger {
    /// The ledger in the cache. `binary` is what is run; without one it is told apart by `name` alone.
    pub fn open(name: &str, binary: Option<&Path>) -> Result<Self> {
        let directory = cache::root()?.join("faults");
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let build = match binary {
            None => name.to_owned(),
            Some(binary) => {
                let sum = program("sha256sum").arg(binary).read()?;
                format!("{name} {}", sum.get(..16).unwrap_or(&sum))
            }
        };
        Ok(Self { path: directory.join("ledger.jsonl"), build })
    }

    /// What came of that run of this build, if it was clean.
    pub fn clean(&self, plan: &Plan) -> Result<Option<Outcome>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&self.path).with_context(|| format!("read {}", self.path.display()))?;
        Ok(find(&text, &self.build, plan).filter(|outcome| outcome.problems.is_empty()))
    }

    /// Writes down what came of a run.
    pub fn note(&self, plan: &Plan, outcome: &Outcome) -> Result<()> {
        let file = File::options().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(format!("{}\n", line(&self.build, plan, outcome)).as_bytes()))
            .with_context(|| format!("write {}", self.path.display()))
    }
}

fn line(build: &str, plan: &Plan, outcome: &Outcome) -> Value {
    json!({
        "build": build,
        "fault": plan.fault.name(),
        "seed": plan.seed,
        "idempotent": plan.idempotent,
        "what": outcome.what,
        "acknowledged": outcome.counts.acknowledged,
        "unknown": outcome.counts.unknown,
        "repeated": outcome.counts.repeated,
        "gap_ms": outcome.gap_ms,
        "took_ms": outcome.took_ms,
        "problems": outcome.problems,
        "errors": outcome.errors,
    })
}

/// The last line about that run.
fn find(text: &str, build: &str, plan: &Plan) -> Option<Outcome> {
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_it = |line: &Value| {
        line["build"] == build
            && line["fault"].as_str().and_then(Fault::named) == Some(plan.fault)
            && line["seed"] == plan.seed
            && line["idempotent"] == plan.idempotent
    };
    let line = lines.into_iter().find(is_it)?;
    let count =
        |field: &str| line[field].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    let texts = |field: &str| serde_json::from_value(line[field].clone()).unwrap_or_default();
    Some(Outcome {
        what: line["what"].as_str().unwrap_or_default().to_owned(),
        counts: Counts {
            acknowledged: count("acknowledged"),
            unknown: count("unknown"),
            repeated: count("repeated"),
        },
        gap_ms: line["gap_ms"].as_u64().unwrap_or_default(),
        took_ms: line["took_ms"].as_u64().unwrap_or_default(),
        problems: texts("problems"),
        errors: texts("errors"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_about_a_run_of_the_same_build_is_found() {
        let plan = Plan { fault: Fault::KillAll, seed: 3, idempotent: false };
        let mut outcome = Outcome {
            what: "something".to_owned(),
            counts: Counts { acknowledged: 5, unknown: 1, repeated: 2 },
            gap_ms: 700,
            took_ms: 30_000,
            problems: vec!["wrong".to_owned()],
            errors: Vec::new(),
        };
        let first = line("a", &plan, &outcome).to_string();
        outcome.problems.clear();
        let text = format!("{first}\nnot json\n{}\n", line("a", &plan, &outcome));
        assert_eq!(find(&text, "a", &plan), Some(outcome));
        assert_eq!(find(&text, "b", &plan), None);
        assert_eq!(find(&text, "a", &Plan { seed: 4, ..plan }), None);
        assert_eq!(find(&text, "a", &Plan { idempotent: true, ..plan }), None);
    }
}
