//! `cargo xtask`: see [`e2e::verb`].

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match e2e::verb::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            e2e::step::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
