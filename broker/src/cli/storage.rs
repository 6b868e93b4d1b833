//! `ottla storage`: what Kafka's StorageTool does, in its words.
//!
//! `random-uuid` prints an id for a new cluster or directory; `format` gives the data directories of a
//! properties file to one node of a cluster; `info` shows whose they are.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ottla_core::config::InitialController;
use ottla_core::ids::ClusterId;

use super::config_file::{ConfigFile, ConfigFileError};
use super::format::{Format, FormatError, FormattedDirectory, IfFormatted, InitialVoters};
use super::meta_properties::{MetaProperties, SmallFileError};
use crate::random::random_uuid;

const USAGE: &str = "usage: ottla storage random-uuid
       ottla storage format -t CLUSTER_ID -c FILE.properties
             [--standalone | --initial-controllers ID@HOST:PORT:DIRECTORY_ID,... | --no-initial-controllers]
             [--ignore-formatted]
       ottla storage info -c FILE.properties

random-uuid  print a random id, for a cluster or for a directory
format       give the directories of log.dirs and metadata.log.dir to the node of FILE, before its first start
info         show whose those directories are

-t, --cluster-id ID          the cluster; the same on all of its nodes
-c, --config FILE            the node's properties file
-s, --standalone             the node is the only voter of a new quorum
-I, --initial-controllers L  the voters of a new quorum, the same list on all of them
-N, --no-initial-controllers the quorum exists already, or has other voters
-g, --ignore-formatted       leave directories that are formatted already, format the others
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    RandomUuid,
    Format { cluster_id: ClusterId, file: PathBuf, voters: Option<InitialVoters>, if_formatted: IfFormatted },
    Info { file: PathBuf },
    Help,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
enum StorageError {
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    #[error(
        "node {0} is a controller: say who votes first with --standalone, --initial-controllers or --no-initial-controllers"
    )]
    VotersNotSaid(ottla_core::ids::NodeId),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("there is a problem with a log directory, see above")]
    ProblemFound,
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

/// Runs `ottla storage ARGUMENTS` and gives the exit code: 0 done, 1 not done, 2 asked for wrongly.
pub(crate) fn run(arguments: &[String], out: &mut impl Write, err: &mut impl Write) -> ExitCode {
    let Err(error) = parse(arguments).and_then(|command| execute(command, out)) else {
        return ExitCode::SUCCESS;
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    // If even that cannot be written there is nobody to tell.
    let _ = writeln!(err, "{}", text.trim_end());
    match error {
        StorageError::Usage(_) | StorageError::Config(_) | StorageError::VotersNotSaid(_) => {
            ExitCode::from(2)
        }
        StorageError::Format(_) | StorageError::ProblemFound | StorageError::Output(_) => ExitCode::FAILURE,
    }
}

fn parse(arguments: &[String]) -> Result<Command, StorageError> {
    let usage = |text: String| StorageError::Usage(text);
    let (verb, rest) = arguments.split_first().ok_or_else(|| usage("no command given".to_owned()))?;
    match verb.as_str() {
        "-h" | "--help" | "help" => return Ok(Command::Help),
        "random-uuid" | "format" | "info" => {}
        other => return Err(usage(format!("there is no command \"{other}\""))),
    }
    let (mut cluster_id, mut file, mut voters) = (None, None, None);
    let mut if_formatted = IfFormatted::Refuse;
    let mut rest = rest.iter().flat_map(|argument| {
        // --flag=value is --flag value; a value may hold further signs of equality.
        let parts = argument.strip_prefix("--").and_then(|_| argument.split_once('='));
        parts.map_or_else(|| vec![argument.as_str()], |(flag, value)| vec![flag, value])
    });
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| usage(format!("{flag} wants a value")));
        let mut say_voters = |who| match voters.replace(who) {
            None => Ok(()),
            Some(_) => Err(usage(
                "only one of --standalone, --initial-controllers and --no-initial-controllers can be given"
                    .to_owned(),
            )),
        };
        match (verb.as_str(), flag) {
            (_, "-h" | "--help") => return Ok(Command::Help),
            ("format", "-t" | "--cluster-id") => {
                let text = value()?;
                cluster_id = Some(text.parse::<ClusterId>().map_err(|error| usage(error.to_string()))?);
            }
            ("format" | "info", "-c" | "--config") => file = Some(PathBuf::from(value()?)),
            ("format", "-g" | "--ignore-formatted") => if_formatted = IfFormatted::Skip,
            ("format", "-s" | "--standalone") => say_voters(InitialVoters::Standalone)?,
            ("format", "-N" | "--no-initial-controllers") => say_voters(InitialVoters::Others)?,
            ("format", "-I" | "--initial-controllers") => {
                let list: Result<Vec<InitialController>, _> =
                    value()?.split(',').map(|entry| entry.trim().parse()).collect();
                say_voters(InitialVoters::Listed(list.map_err(|error| usage(error.to_string()))?))?;
            }
            _ => return Err(usage(format!("\"{flag}\" is not understood"))),
        }
    }
    let file = file.ok_or_else(|| usage("-c FILE is missing".to_owned()));
    match verb.as_str() {
        "random-uuid" => Ok(Command::RandomUuid),
        "info" => Ok(Command::Info { file: file? }),
        _ => {
            let cluster_id = cluster_id.ok_or_else(|| usage("-t CLUSTER_ID is missing".to_owned()))?;
            Ok(Command::Format { cluster_id, file: file?, voters, if_formatted })
        }
    }
}

fn execute(command: Command, out: &mut impl Write) -> Result<(), StorageError> {
    match command {
        Command::Help => out.write_all(USAGE.as_bytes())?,
        Command::RandomUuid => writeln!(out, "{}", ClusterId(random_uuid()?))?,
        Command::Info { file } => info(&file, out)?,
        Command::Format { cluster_id, file, voters, if_formatted } => {
            let ConfigFile { config, warnings } = ConfigFile::load(&file, &[])?;
            for warning in warnings {
                writeln!(out, "warning: {warning}")?;
            }
            let voters = match voters {
                None if config.roles.is_controller() => {
                    return Err(StorageError::VotersNotSaid(config.node_id));
                }
                None => InitialVoters::Others,
                Some(voters) => voters,
            };
            let formatted = Format { config: &config, cluster_id, voters, if_formatted }.run()?;
            if formatted.is_empty() {
                writeln!(out, "All of the log directories are already formatted.")?;
            }
            for FormattedDirectory { path, id, votes } in formatted {
                let what = match (votes, path == config.metadata_log_dir) {
                    (true, _) => "dynamic metadata voter directory",
                    (false, true) => "metadata directory",
                    (false, false) => "data directory",
                };
                writeln!(out, "Formatting {what} {} with directory id {id}.", path.display())?;
            }
        }
    }
    Ok(())
}

fn info(file: &Path, out: &mut impl Write) -> Result<(), StorageError> {
    let config = ConfigFile::load(file, &[])?.config;
    let mut found: Vec<MetaProperties> = Vec::new();
    let mut problems = Vec::new();
    let directories = config.directories();
    let word = if directories.len() == 1 { "directory" } else { "directories" };
    writeln!(out, "Found log {word}:")?;
    for path in &directories {
        writeln!(out, "  {}", path.display())?;
        match MetaProperties::read(path) {
            Ok(Some(meta)) => found.push(meta),
            Ok(None) => problems.push(format!("{} is not formatted.", path.display())),
            Err(error) => problems.push(described(&error)),
        }
    }
    writeln!(out)?;
    for meta in &found {
        writeln!(out, "Found metadata: {meta}")?;
    }
    if let Some(first) = found.first() {
        if found.iter().any(|meta| meta.cluster_id != first.cluster_id) {
            problems.push("The directories belong to different clusters.".to_owned());
        }
        for meta in found.iter().filter(|meta| meta.node_id != config.node_id) {
            let (wanted, id) = (config.node_id, meta.directory_id);
            problems.push(format!("Directory {id} belongs to node {}, not to node {wanted}.", meta.node_id));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let word = if problems.len() == 1 { "problem" } else { "problems" };
    writeln!(out, "\nFound {word}:")?;
    for problem in problems {
        writeln!(out, "  {problem}")?;
    }
    Err(StorageError::ProblemFound)
}

fn described(error: &SmallFileError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
