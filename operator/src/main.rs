//! The operator's process: logging, settings, the run.

use std::{env, process::ExitCode};

use ottla_operator::{run::run, settings::Settings};
use tracing::error;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    start_logging();
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => {
            error!(%error, "a setting cannot be used");
            return ExitCode::from(2);
        }
    };
    // One thread: the work is waiting for the API server, and each thread more costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(settings)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = format!("{error:#}"), "the operator ends");
            ExitCode::FAILURE
        }
    }
}

fn start_logging() {
    let filter =
        env::var("OTTLA_LOG").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "info".to_owned());
    let builder =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    if env::var("OTTLA_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(false).init();
    }
}
