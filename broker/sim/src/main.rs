//! `ottla-sim`: runs seeds, prints what they came to, and for a failing one the command that repeats it.

mod summary;

use std::io::{self, Write};
use std::process::ExitCode;

use ottla_core::planted::{self, Bug};
use ottla_sim::checkers::{Rule, history};
use ottla_sim::runner::{Outcome, RunOptions, run_seeds, running_seed};

use self::summary::{Summary, repeat};

const USAGE: &str =
    "usage: cargo xtask sim [--seeds N] [--start S] [--seed X] [--trace] [--plant NAME] [--threads T]
  --seeds N     how many seeds to run, besides the fixed ones of broker/sim/seeds.txt (100);
                1 runs that seed alone, 0 the fixed ones alone
  --start S     the first seed (0)
  --seed X      one seed: the same as --seeds 1 --start X
  --trace       print every event
  --plant NAME  plant a bug, which must be found (docs/testing.md has their names)
  --only RULE   of the rules about replicas heed this one alone: in-sync, log-matching, and so on
  --threads T   how many threads (all cores)
  --help        this text
or:    cargo xtask sim --history FILE
  judges a history of real clients, JSON lines as checkers/history describes them";

/// The fixed seeds; every run begins with them unless one seed is asked for.
const FIXED: &str = include_str!("../seeds.txt");

#[derive(Debug)]
struct Arguments {
    seeds: u64,
    start: u64,
    threads: usize,
    run: RunOptions,
}

#[derive(Debug)]
enum Command {
    Help,
    Run(Arguments),
    /// Judge a file instead of running anything.
    Judge(String),
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match parse(std::env::args().skip(1)) {
        Err(problem) => {
            let _ = writeln!(io::stderr(), "error: {problem}; `cargo xtask sim --help` says what there is");
            return ExitCode::from(2);
        }
        Ok(Command::Help) => writeln!(out, "{USAGE}").map(|()| true),
        Ok(Command::Judge(file)) => judge(&file, &mut out).or_else(|error| {
            let _ = writeln!(io::stderr(), "{file}: {error}");
            Ok(false)
        }),
        Ok(Command::Run(arguments)) => {
            name_seed_in_panics();
            run(&arguments, &mut out)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // A broken rule; or the reader of our output went away.
        Ok(false) | Err(_) => ExitCode::from(1),
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Command, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments = Arguments { seeds: 100, start: 0, threads, run: RunOptions::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--seeds" => arguments.seeds = number(&word, &value()?)?,
            "--start" => arguments.start = number(&word, &value()?)?,
            "--seed" => (arguments.start, arguments.seeds) = (number(&word, &value()?)?, 1),
            "--threads" => arguments.threads = usize::try_from(number(&word, &value()?)?).unwrap_or(1).max(1),
            "--trace" => arguments.run.trace = true,
            "--plant" => arguments.run.plant = Some(bug(&value()?)?),
            "--only" => arguments.run.only = Some(rule(&value()?)?),
            "--history" => return Ok(Command::Judge(value()?)),
            "--help" | "-h" => return Ok(Command::Help),
            _ => return Err(format!("there is no argument \"{word}\"")),
        }
    }
    Ok(Command::Run(arguments))
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name} wants a number, not \"{text}\""))
}

fn bug(name: &str) -> Result<Bug, String> {
    if !planted::AVAILABLE {
        return Err("this build cannot plant bugs; build with --features planted-bugs".to_owned());
    }
    let found = Bug::ALL.into_iter().find(|(known, _)| *known == name);
    let known = || Bug::ALL.map(|(name, _)| name).join(" and ");
    found.map(|(_, bug)| bug).ok_or_else(|| format!("no bug is named \"{name}\"; there are {}", known()))
}

fn rule(name: &str) -> Result<Rule, String> {
    let known = || Rule::ALL.map(|rule| rule.to_string()).join(", ");
    let found = Rule::ALL.into_iter().find(|rule| rule.to_string() == name);
    found.ok_or_else(|| format!("no rule is named \"{name}\"; there are {}", known()))
}

fn name_seed_in_panics() {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        if let Some(seed) = running_seed() {
            let _ = writeln!(io::stderr(), "that was seed {seed}");
        }
    }));
}

/// Judges a history; true if no rule is broken in it.
fn judge(file: &str, out: &mut impl Write) -> Result<bool, history::ReadError> {
    let entries = history::read(io::BufReader::new(std::fs::File::open(file)?))?;
    let broken = history::check(&entries);
    for violation in &broken {
        writeln!(out, "{violation}")?;
    }
    writeln!(out, "{} entries, {} broken rules", entries.len(), broken.len())?;
    Ok(broken.is_empty())
}

/// Runs the seeds; true if all rules held.
fn run(arguments: &Arguments, out: &mut impl Write) -> io::Result<bool> {
    let mut seeds: Vec<u64> = (0..arguments.seeds).map(|i| arguments.start.wrapping_add(i)).collect();
    let alone = seeds.len() == 1;
    if !alone && arguments.run.plant.is_none() {
        seeds.splice(0..0, ottla_sim::fixed_seeds(FIXED));
    }
    writeln!(out, "running {} seeds on {} threads", seeds.len(), arguments.threads)?;
    out.flush()?;
    let mut summary = Summary::begin();
    let mut written = Ok(());
    run_seeds(&seeds, arguments.threads, arguments.run, |outcome| {
        written = print(&outcome, alone, arguments.run.plant, out);
        summary.add(&outcome, arguments.run.plant);
        written.is_ok()
    });
    written?;
    summary.print(out)?;
    Ok(summary.held())
}

fn print(outcome: &Outcome, alone: bool, plant: Option<Bug>, out: &mut impl Write) -> io::Result<()> {
    for line in &outcome.trace {
        writeln!(out, "{line}")?;
    }
    if alone {
        writeln!(out, "seed {}: trace hash {:016x}", outcome.seed, outcome.trace_hash)?;
    }
    if let Some(violation) = &outcome.violation {
        writeln!(out, "seed {} at {} s: {violation}", outcome.seed, outcome.simulated)?;
        writeln!(out, "  repeat it: {}", repeat(outcome.seed, plant))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_failing_seed_is_repeated_by_the_command_that_is_printed() {
        let command = repeat(42, Some(Bug::AckBeforeSync));
        let arguments = command.strip_prefix("cargo xtask sim ").unwrap();
        let Ok(Command::Run(arguments)) = parsed(arguments) else { panic!("{command} is not understood") };
        assert_eq!((arguments.seeds, arguments.start), (1, 42));
        assert_eq!(arguments.run.plant, Some(Bug::AckBeforeSync));
    }

    #[test]
    fn bad_arguments_are_refused_by_name() {
        for (line, part) in [
            ("--seeds", "--seeds wants a value"),
            ("--seeds many", "--seeds wants a number, not \"many\""),
            ("--start -1", "--start wants a number, not \"-1\""),
            ("--plant it", "there are ack_before_sync and vote_before_sync"),
            ("--only it", "there are one-leader, committed-metadata"),
            ("seeds", "there is no argument \"seeds\""),
        ] {
            let problem = parsed(line).err().unwrap_or_default();
            assert!(problem.contains(part), "{line}: {problem}");
        }
    }
}
