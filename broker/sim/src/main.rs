//! `ottla-sim`: runs seeds, prints what they came to, and for a failing one the command that repeats it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use ottla_core::planted::{self, Bug};
use ottla_sim::checkers::history;
use ottla_sim::runner::{Outcome, RunOptions, run_seeds, running_seed};
use ottla_sim::trace::take_lines;

const USAGE: &str =
    "usage: ottla-sim [--seeds N] [--start S] [--seed X] [--trace] [--plant NAME] [--threads T]
  --seeds N     how many seeds to run (100)
  --start S     the first seed (0)
  --seed X      one seed: the same as --seeds 1 --start X
  --trace       print every event
  --plant NAME  plant a bug: ack_before_sync or vote_before_sync
  --threads T   how many threads (all cores)
or:    ottla-sim --history FILE
  judges a history of real clients, JSON lines as checkers/history describes them";

/// The seeds that once found a bug; every run begins with them unless one seed is asked for.
const REGRESSIONS: &str = include_str!("../seeds.txt");

struct Arguments {
    seeds: u64,
    start: u64,
    with_regressions: bool,
    threads: usize,
    run: RunOptions,
    /// A file to judge instead of running anything.
    history: Option<String>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            let _ = writeln!(io::stderr(), "{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(file) = &arguments.history {
        return judge(file, &mut io::stdout().lock()).unwrap_or_else(|error| {
            let _ = writeln!(io::stderr(), "{file}: {error}");
            ExitCode::from(1)
        });
    }
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        if let Some(seed) = running_seed() {
            // Where a panic aborts, nobody else will print what came before it.
            for line in take_lines() {
                let _ = writeln!(io::stderr(), "{line}");
            }
            let _ = writeln!(io::stderr(), "seed {seed} panicked\n  repeat it: {}", repeat(seed));
        }
    }));
    match run(&arguments, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // The reader of our output went away.
        Err(_) => ExitCode::from(1),
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments = Arguments {
        seeds: 100,
        start: 0,
        with_regressions: true,
        threads,
        run: RunOptions::default(),
        history: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--seeds" => arguments.seeds = number(&word, &value()?)?,
            "--start" => arguments.start = number(&word, &value()?)?,
            "--seed" => (arguments.start, arguments.seeds) = (number(&word, &value()?)?, 1),
            "--threads" => arguments.threads = usize::try_from(number(&word, &value()?)?).unwrap_or(1).max(1),
            "--history" => arguments.history = Some(value()?),
            "--trace" => arguments.run.trace = true,
            "--plant" => arguments.run.plant = Some(bug(&value()?)?),
            _ => return Err(format!("unknown argument \"{word}\"")),
        }
    }
    arguments.with_regressions = arguments.seeds > 1 && arguments.run.plant.is_none();
    Ok(arguments)
}

/// Judges a history; success if no rule is broken in it.
fn judge(file: &str, out: &mut impl Write) -> Result<ExitCode, history::ReadError> {
    let entries = history::read(io::BufReader::new(std::fs::File::open(file)?))?;
    let broken = history::check(&entries);
    for violation in &broken {
        writeln!(out, "{violation}")?;
    }
    writeln!(out, "{} entries, {} broken rules", entries.len(), broken.len())?;
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name} wants a number, not \"{text}\""))
}

fn bug(name: &str) -> Result<Bug, String> {
    if !planted::AVAILABLE {
        return Err("this build cannot plant bugs; build with --features planted-bugs".to_owned());
    }
    let found = Bug::ALL.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, bug)| bug).ok_or_else(|| format!("no bug is named \"{name}\""))
}

/// Runs the seeds; true if all rules held.
fn run(arguments: &Arguments, out: &mut impl Write) -> io::Result<bool> {
    let mut seeds: Vec<u64> = Vec::new();
    if arguments.with_regressions {
        seeds.extend(ottla_sim::regression_seeds(REGRESSIONS));
    }
    seeds.extend((0..arguments.seeds).map(|i| arguments.start.wrapping_add(i)));
    writeln!(out, "running {} seeds on {} threads", seeds.len(), arguments.threads)?;
    out.flush()?;
    let began = Instant::now();
    let mut total = Total::default();
    let mut written = Ok(());
    run_seeds(&seeds, arguments.threads, arguments.run, |outcome| {
        total.add(&outcome);
        written = print(&outcome, arguments, out);
        written.is_ok()
    });
    written?;
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let per_second = total.events as f64 / seconds;
    writeln!(
        out,
        "{} seeds, {} failed: {} events in {seconds:.1} s ({per_second:.0}/s), {} s of simulated time, {} acknowledged batches, {} faults",
        seeds.len(),
        total.failed,
        total.events,
        total.simulated_micros / 1_000_000,
        total.acknowledged,
        total.faults,
    )?;
    Ok(total.failed == 0)
}

#[derive(Default)]
struct Total {
    failed: u64,
    events: u64,
    simulated_micros: u64,
    acknowledged: u64,
    faults: u64,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.failed += u64::from(outcome.violation.is_some());
        self.events += outcome.events;
        self.simulated_micros += outcome.simulated.0;
        self.acknowledged += outcome.acknowledged;
        self.faults += outcome.faults;
    }
}

fn print(outcome: &Outcome, arguments: &Arguments, out: &mut impl Write) -> io::Result<()> {
    for line in &outcome.trace {
        writeln!(out, "{line}")?;
    }
    if arguments.seeds == 1 {
        writeln!(out, "seed {}: trace hash {:016x}", outcome.seed, outcome.trace_hash)?;
    }
    if let Some(violation) = &outcome.violation {
        writeln!(out, "seed {} at {} s: {violation}", outcome.seed, outcome.simulated)?;
        writeln!(out, "  repeat it: {}", repeat(outcome.seed))?;
    }
    Ok(())
}

fn repeat(seed: u64) -> String {
    format!("cargo xtask sim --seeds 1 --start {seed}")
}
