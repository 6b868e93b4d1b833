//! What many runs came to.

use std::io::{self, Write};
use std::time::Instant;

use ottla_core::planted::Bug;
use ottla_sim::coverage::{Coverage, Happening};
use ottla_sim::runner::Outcome;

/// How many failures are told again at the end, where a long output is read first.
const FAILURES_MAX: usize = 5;

/// See the module's text.
pub(crate) struct Summary {
    began: Instant,
    seeds: u64,
    /// Of failing seeds: the rule, and how to see it again.
    failures: Vec<String>,
    events: u64,
    simulated_micros: u64,
    coverage: Coverage,
    /// In how many runs each thing happened at all.
    runs: Coverage,
}

impl Summary {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            seeds: 0,
            failures: Vec::new(),
            events: 0,
            simulated_micros: 0,
            coverage: Coverage::default(),
            runs: Coverage::default(),
        }
    }

    pub(crate) fn add(&mut self, outcome: &Outcome, plant: Option<Bug>) {
        self.seeds += 1;
        self.events += outcome.events;
        self.simulated_micros += outcome.simulated.0;
        self.coverage.merge(&outcome.coverage);
        for happening in Happening::ALL.into_iter().filter(|happening| outcome.coverage.has(*happening)) {
            self.runs.note(happening);
        }
        if let Some(violation) = &outcome.violation {
            self.failures.push(format!("{}: {}", violation.rule, repeat(outcome.seed, plant)));
        }
    }

    /// Whether all rules held.
    pub(crate) fn held(&self) -> bool {
        self.failures.is_empty()
    }

    /// What happened how often, the failures, and last of all one line about everything.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<28}{:>10}{:>10}", "", "times", "in seeds")?;
        for happening in Happening::ALL {
            let (times, runs) = (self.coverage.times(happening), self.runs.times(happening));
            let never = if times == 0 { "   NEVER" } else { "" };
            writeln!(out, "{:<28}{times:>10}{runs:>10}{never}", happening.name())?;
        }
        for failure in self.failures.iter().take(FAILURES_MAX) {
            writeln!(out, "FAILED {failure}")?;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        writeln!(
            out,
            "{} seeds, {} failed, in {seconds:.1} s: {} events ({:.0}/s), {:.0} simulated minutes ({:.0} a real minute)",
            self.seeds,
            self.failures.len(),
            self.events,
            ratio(self.events, seconds),
            ratio(self.simulated_micros, 60e6),
            ratio(self.simulated_micros, 1e6 * seconds),
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn ratio(count: u64, of: f64) -> f64 {
    count as f64 / of
}

/// The command that repeats a seed.
pub(crate) fn repeat(seed: u64, plant: Option<Bug>) -> String {
    let name = Bug::ALL.into_iter().find(|(_, bug)| Some(*bug) == plant).map(|(name, _)| name);
    let plant = name.map(|name| format!(" --plant {name}")).unwrap_or_default();
    format!("cargo xtask sim --seeds 1 --start {seed}{plant}")
}
