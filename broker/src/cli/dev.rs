//! `ottla dev`: one broker for people who develop against Kafka.
//!
//! Without `--data` everything lies in a directory of its own below the system's temporary one and is
//! removed at the end. With it the directory is kept, and used again by the next start. The port after the one
//! that is listened on is taken too, on loopback, for the controller.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ottla_client::HostPort;
use ottla_core::config::BrokerConfig;
use ottla_core::ids::ClusterId;

use super::format::{Format, IfFormatted, InitialVoters};
use super::meta_properties::MetaProperties;
use super::{complain, server, usage, with_causes};
use crate::properties::Properties;
use crate::random::random_uuid;

/// Kafka's port.
const LISTEN: &str = "127.0.0.1:9092";

struct Options {
    data: Option<PathBuf>,
    listen: HostPort,
}

/// Runs `ottla dev ARGUMENTS`.
pub(super) fn run(arguments: &[String]) -> ExitCode {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(problem) => return usage(&problem),
    };
    server::log_to_stderr("warn");
    match &options.data {
        Some(data) => start(data, &options),
        None => match tempfile::Builder::new().prefix("ottla-dev-").tempdir() {
            Ok(data) => start(data.path(), &options),
            Err(error) => {
                complain(&format!("cannot make a directory for the data: {error}"));
                ExitCode::FAILURE
            }
        },
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { data: None, listen: parse_listen(LISTEN)? };
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{option} wants a value"));
        match option.as_str() {
            "--data" => options.data = Some(PathBuf::from(value()?)),
            "--listen" => options.listen = parse_listen(value()?)?,
            other => return Err(format!("there is no option \"{other}\"")),
        }
    }
    Ok(options)
}

fn parse_listen(text: &str) -> Result<HostPort, String> {
    text.parse().map_err(|error| format!("--listen: {error}"))
}

fn start(data: &Path, options: &Options) -> ExitCode {
    let config = match prepare(data, &options.listen) {
        Ok(config) => config,
        Err(problem) => {
            complain(&problem);
            return ExitCode::FAILURE;
        }
    };
    let kept = if options.data.is_some() { "kept" } else { "removed at the end; --data DIR keeps it" };
    let greeting = format!(
        "ottla {}: a broker for development on {} (data in {}, {kept})\nstop it with Ctrl-C\n",
        env!("CARGO_PKG_VERSION"),
        options.listen,
        data.display(),
    );
    if let Err(error) = std::io::stdout().write_all(greeting.as_bytes()) {
        complain(&format!("cannot write to standard output: {error}"));
    }
    server::run_node(config)
}

/// The settings of the one node, its directory formatted if it was empty.
fn prepare(data: &Path, listen: &HostPort) -> Result<BrokerConfig, String> {
    let advertised = match listen.host.as_str() {
        "0.0.0.0" | "::" => HostPort::new("localhost", listen.port),
        _ => listen.clone(),
    };
    // Nobody but this process talks to the controller: on the next port, as Kafka's examples have it.
    let controller = listen.port.checked_add(1).filter(|_| listen.port > 0).ok_or_else(|| {
        format!("--listen {listen}: the port must be 1 to 65534; the next one is the controller's")
    })?;
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=CONTROLLER://127.0.0.1:{controller},PLAINTEXT://{listen}\n\
         advertised.listeners=PLAINTEXT://{advertised}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         offsets.topic.replication.factor=1\ngroup.initial.rebalance.delay.ms=0\n"
    );
    let mut properties = Properties::parse(text.as_bytes(), |_| None).map_err(|errors| join(&errors))?;
    let directory = format!("log.dirs={}", data.display());
    properties.add_overrides(&[directory], |_| None).map_err(|errors| join(&errors))?;
    let (config, _) =
        BrokerConfig::resolve(&properties.settings, "localhost").map_err(|problems| join(&problems))?;
    let formatted = MetaProperties::read(data).map_err(|error| with_causes(&error))?;
    let cluster_id = match formatted {
        Some(found) => found.cluster_id,
        None => ClusterId(random_uuid().map_err(|error| format!("cannot draw a cluster id: {error}"))?),
    };
    Format {
        config: &config,
        cluster_id,
        voters: InitialVoters::Standalone,
        if_formatted: IfFormatted::Skip,
    }
    .run()
    .map_err(|error| with_causes(&error))?;
    Ok(config)
}

fn join(problems: &[impl ToString]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_keeps_its_cluster_over_restarts() {
        let data = tempfile::tempdir().expect("a directory");
        let listen = HostPort::new("127.0.0.1", 9092);
        prepare(data.path(), &listen).expect("the first start formats");
        let first = MetaProperties::read(data.path()).expect("readable").expect("formatted");
        prepare(data.path(), &listen).expect("the second start leaves it");
        let second = MetaProperties::read(data.path()).expect("readable").expect("formatted");
        assert_eq!(first.cluster_id, second.cluster_id);
    }

    #[test]
    fn wrong_options_are_named() {
        let problem = parse(&["--listen".to_owned(), "9092".to_owned()]).err().unwrap_or_default();
        assert!(problem.contains("9092"), "{problem}");
        let problem = parse(&["--port".to_owned()]).err().unwrap_or_default();
        assert!(problem.contains("--port"), "{problem}");
    }
}
