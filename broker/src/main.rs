//! `ottla`: Apache Kafka's job in one binary. See ARCHITECTURE.md.

mod api;
mod cli;
mod clock;
mod directories;
mod disk;
mod drive;
mod http;
mod metrics;
mod node;
mod open_files;
mod peer;
mod process;
mod properties;
mod random;
mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    cli::run(&arguments)
}
