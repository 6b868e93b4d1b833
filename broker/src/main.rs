//! See ARCHITECTURE.md.

mod cli;
// Used by the server, which follows.
#[allow(dead_code)]
mod directories;
// Used by the server, which follows.
#[allow(dead_code)]
mod disk;
mod properties;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((verb, rest)) if verb == "storage" => {
            cli::storage::run(rest, &mut std::io::stdout(), &mut std::io::stderr())
        }
        _ => {
            eprintln!("usage: ottla storage ...");
            ExitCode::from(2)
        }
    }
}
