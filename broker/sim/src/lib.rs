//! A seeded simulation of a whole cluster over the same cores as the binary.
//!
//! One seed decides everything: delays, losses, crashes, torn writes, what clients do. Nothing here reads
//! a clock, starts a thread or iterates in an order that is not the same on every run.

pub mod checkers;
pub mod clock;
mod cluster;
pub mod coverage;
pub mod disk;
pub mod events;
pub mod nemesis;
pub mod network;
pub mod options;
pub mod records;
pub mod rng;
pub mod runner;
pub mod trace;

/// The seeds of `seeds.txt`: one a line, whatever follows it on the line is a comment.
pub fn fixed_seeds(text: &str) -> Vec<u64> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
    lines.map(|line| first(line).expect("every line of the file begins with a seed")).collect()
}
