//! The verbs of the command line.

pub(crate) mod config_file;
mod dev;
pub(crate) mod format;
pub(crate) mod meta_properties;
pub(crate) mod pod;
mod server;
pub(crate) mod storage;

use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: ottla dev [--data DIR] [--listen HOST:PORT]
       ottla server FILE.properties [--override KEY=VALUE]...
       ottla storage random-uuid | format ... | info ...
       ottla pod FILE.properties
       ottla --version

dev      one broker for people who develop against Kafka: no configuration, ready at once
server   a node of a cluster, as its properties file says, on directories that `ottla storage format` prepared
storage  prepares and shows data directories; `ottla storage` says how
pod      what a pod of the operator runs: formats an empty volume, then does what `server` does
";

/// Runs the verb; 0 if it did what was asked, 1 if it failed, 2 if it was asked for wrongly.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let Some((verb, rest)) = arguments.split_first() else { return usage("a verb is missing") };
    match verb.as_str() {
        "dev" => dev::run(rest),
        "server" => server::run(rest),
        "pod" => server::run_pod(rest),
        "storage" => storage::run(rest, &mut std::io::stdout(), &mut std::io::stderr()),
        "--version" | "-V" | "version" => print(&format!("ottla {}\n", env!("CARGO_PKG_VERSION"))),
        "--help" | "-h" | "help" => print(USAGE),
        other => usage(&format!("there is no verb \"{other}\"")),
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Refuses a command line.
fn usage(problem: &str) -> ExitCode {
    complain(&format!("{problem}\n\n{USAGE}"));
    ExitCode::from(2)
}

/// Tells the person at the terminal. If even that cannot be written there is nobody to tell.
fn complain(problem: &str) {
    let _nobody = writeln!(std::io::stderr(), "ottla: {}", problem.trim_end());
}

/// An error with all its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}
