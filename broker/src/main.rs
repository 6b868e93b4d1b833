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
    #[cfg(feature = "planted-bugs")]
    if let Err(message) = plant() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{message}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    cli::run(&arguments)
}

/// Plants the bug that the environment names, in a build that exists to prove that its tests can fail.
#[cfg(feature = "planted-bugs")]
fn plant() -> Result<(), String> {
    use ottla_core::planted::{self, Bug};
    let Ok(wanted) = std::env::var("OTTLA_PLANTED") else { return Ok(()) };
    let found = Bug::ALL.iter().find(|(name, _)| *name == wanted);
    let (_, bug) = found.ok_or_else(|| format!("OTTLA_PLANTED: no such bug: {wanted}"))?;
    planted::plant_everywhere(*bug);
    Ok(())
}
