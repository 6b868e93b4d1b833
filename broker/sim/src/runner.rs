//! Runs many seeds on all cores. One thread runs one simulation at a time; simulations share nothing.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use ottla_core::planted::{self, Bug};

use crate::checkers::{Rule, Violation};
use crate::clock::SimTime;
use crate::coverage::Coverage;

/// What one seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The broken rule, if one was broken.
    pub violation: Option<Violation>,
    /// How many events were handled.
    pub events: u64,
    /// How long the cluster lived.
    pub simulated: SimTime,
    /// What happened; nothing of it is known of a run that ended in a panic.
    pub coverage: Coverage,
    /// The hash of the trace.
    pub trace_hash: u64,
    /// The trace, if it was asked for.
    pub trace: Vec<String>,
}

/// How to run seeds.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// A bug to plant.
    pub plant: Option<Bug>,
    /// Keep the trace as text.
    pub trace: bool,
    /// Of the rules about replicas that are checked after every step, heed this one alone; none of them if it is
    /// another rule. To see whether a bug is found by the checker that is named for it.
    pub only: Option<Rule>,
}

thread_local! {
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The seed this thread runs now, for a panic hook to name.
pub fn running_seed() -> Option<u64> {
    RUNNING.get()
}

/// Runs one seed on this thread. A panic of a core is a broken rule like any other.
pub fn run_seed(seed: u64, options: RunOptions) -> Outcome {
    planted::plant(options.plant);
    RUNNING.set(Some(seed));
    let outcome = catch_unwind(AssertUnwindSafe(|| crate::cluster::run(seed, options.trace, options.only)));
    RUNNING.set(None);
    planted::plant(None);
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Outcome {
            seed,
            violation: Some(Violation::new(Rule::NoPanic, text)),
            events: 0,
            simulated: SimTime::default(),
            coverage: Coverage::default(),
            trace_hash: 0,
            trace: crate::trace::take_lines(),
        }
    })
}

/// Runs seeds on so many threads and hands each outcome to `report` as it comes. `report` says whether to
/// go on.
pub fn run_seeds(
    seeds: &[u64],
    threads: usize,
    options: RunOptions,
    mut report: impl FnMut(Outcome) -> bool,
) {
    let next = AtomicU64::new(0);
    let (sender, outcomes) = mpsc::sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let next = &next;
            scope.spawn(move || {
                loop {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                    let Some(seed) = seeds.get(index) else { return };
                    if sender.send(run_seed(*seed, options)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let outcomes = outcomes;
        for outcome in &outcomes {
            if !report(outcome) {
                break;
            }
        }
    });
}
