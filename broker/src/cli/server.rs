//! `ottla server` and `ottla pod`: a node of a cluster, until a signal says stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ottla_core::config::BrokerConfig;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::config_file::ConfigFile;
use super::{complain, pod, usage, with_causes};
use crate::directories::LoadedDirectories;
use crate::process;

/// Runs `ottla server FILE [--override KEY=VALUE]...`.
pub(super) fn run(arguments: &[String]) -> ExitCode {
    match parse(arguments) {
        Ok((file, overrides)) => serve(&file, &overrides, false),
        Err(problem) => usage(&problem),
    }
}

/// Runs `ottla pod FILE`.
pub(super) fn run_pod(arguments: &[String]) -> ExitCode {
    match parse(arguments) {
        Ok((file, overrides)) => serve(&file, &overrides, true),
        Err(problem) => usage(&problem),
    }
}

fn parse(arguments: &[String]) -> Result<(PathBuf, Vec<String>), String> {
    let mut file = None;
    let mut overrides = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--override" => match rest.next() {
                Some(setting) if setting.contains('=') => overrides.push(setting.clone()),
                _ => return Err("--override wants KEY=VALUE".to_owned()),
            },
            option if option.starts_with('-') => return Err(format!("there is no option \"{option}\"")),
            path if file.is_none() => file = Some(PathBuf::from(path)),
            extra => return Err(format!("\"{extra}\" is one argument too many")),
        }
    }
    file.map(|file| (file, overrides)).ok_or_else(|| "the properties file is missing".to_owned())
}

fn serve(file: &Path, overrides: &[String], in_pod: bool) -> ExitCode {
    let ConfigFile { config, warnings } = match ConfigFile::load(file, overrides) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(2);
        }
    };
    log_to_stderr("info");
    for warning in warnings {
        warn!("{warning}");
    }
    if in_pod {
        match pod::prepare(file, &config) {
            Ok(formatted) => {
                for directory in formatted {
                    info!(path = %directory.path.display(), id = %directory.id, "formatted an empty volume");
                }
            }
            Err(error) => {
                complain(&with_causes(&error));
                return ExitCode::FAILURE;
            }
        }
    }
    run_node(config)
}

/// Runs a node on directories that are formatted.
pub(super) fn run_node(config: BrokerConfig) -> ExitCode {
    let directories = match LoadedDirectories::load(&config) {
        Ok(directories) => directories,
        Err(error) => {
            complain(&with_causes(&error));
            return ExitCode::FAILURE;
        }
    };
    match process::run(config, directories) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// Logs what `RUST_LOG` asks for, or `default`; as JSON where `OTTLA_LOG_FORMAT=json`.
pub(super) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("OTTLA_LOG_FORMAT").is_ok_and(|format| format == "json") {
        subscriber.json().flatten_event(true).init();
    } else {
        subscriber.with_ansi(false).with_target(false).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<(PathBuf, Vec<String>), String> {
        parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_file_and_its_overrides_come_in_any_order() {
        let expected = Ok((PathBuf::from("f"), vec!["a=b".to_owned(), "c=d".to_owned()]));
        assert_eq!(parsed(&["--override", "a=b", "f", "--override", "c=d"]), expected);
        for wrong in [&["--override"][..], &["f", "--override", "a"], &[], &["f", "g"], &["f", "--what"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
