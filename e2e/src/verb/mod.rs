//! The verbs of `cargo xtask`, one module each.

pub mod bench;
pub mod check;
pub mod down;
pub mod elsewhere;
pub mod faults;
pub mod figures;
pub mod sim;
pub mod suite;
pub mod test;
pub mod up;

use anyhow::{Result, bail};

use crate::images;
use crate::kubelet;
use crate::packages;
use crate::repository;
use crate::site::{self, Site};
use crate::step::{Steps, say};

const HELP: &str = "\
cargo xtask VERB

  up [--context NAME] [--image-prefix PREFIX]
          a three-node Kubernetes on this machine with Ottla, a cluster and a topic; with --context, the
          same on a cluster you have (its images are pushed to PREFIX/broker and PREFIX/operator)
  down [--site NAME]
          removes what up made; the tests' sites are called test, api and process
  images [--image-prefix PREFIX]
          builds both images from the Dockerfile and prints the paths of their archives
  check   formatting, clippy, licences, unit tests
  test    everything CI runs: check, the simulator, and the lanes against a real Kubernetes
  figures [broker [--binary OTTLA]]
          how quick, how small, how quiet: measures what the project promises; `figures broker` only a broker
          alone, in one run with Apache Kafka's, without Kubernetes
  faults [NAME...] [--seeds N] [--start S] [--binary OTTLA] [--kafka] [--planted BUG] [--idempotent] [--fresh]
          three brokers as processes under real faults and a load, and whether they kept what they promised;
          --list names the faults, --short is CI's part, docs/testing.md says the rest
  bench cluster [--pairs N] [--only NAME]... [--warm-up SECONDS] [--binary OTTLA]
          three brokers measured beside three of Apache Kafka's, in turn; NAME is leader, silent, controller,
          controller-apart, restart, produce, produce-synced, recovery or cold
  suite librdkafka [TEST...] [--kafka] [--binary OTTLA] [--record]
          librdkafka's own tests against three brokers, and whether one fails that did not; --list names them,
          --record writes down what came of them and docs/reference/librdkafka.md, --short is CI's part
  sim [--seeds N] [--start S] [...]
          the simulator on all cores; `cargo xtask sim --help` says the rest
  help    this text";

/// Runs the verb that `arguments` name.
pub fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        None | Some((&("help" | "--help" | "-h"), [])) => {
            say(HELP);
            Ok(())
        }
        Some((&"up", options)) => up::run(&up::Options::parse(options)?),
        Some((&"down", [])) => down::run(site::DEVELOPMENT),
        Some((&"down", ["--site", name])) if site::ALL.contains(name) => down::run(name),
        Some((&"images", options)) => make_images(options),
        Some((&"check", [])) => check::run(),
        Some((&"figures", [])) => figures::run(),
        Some((&"figures", ["broker"])) => figures::broker(None),
        Some((&"figures", ["broker", "--binary", path])) => figures::broker(Some(path)),
        Some((&"test", [])) => test::run(),
        // Not for people: a test starts it and breaks it off.
        Some((&"start", [name])) => {
            let site = Site::new(name);
            up::start_kubernetes(&site, &Steps::new(site.logs())).map(|_| ())
        }
        // Not for people: the process lane starts it.
        Some((&"kubelet", [name])) => kubelet::run(&Site::new(name)),
        Some((&"sim", options)) => sim::run(options),
        Some((&"bench", ["cluster", options @ ..])) => bench::run(options),
        // Not for people: `bench` starts it in namespaces of its own.
        Some((&"bench-inside", options)) => bench::run_inside(options),
        Some((&"suite", ["librdkafka", options @ ..])) => suite::run(options),
        // Not for people: `suite` starts it in namespaces of its own.
        Some((&"suite-inside", options)) => suite::run_inside(options),
        Some((&"faults", options)) => faults::run(options),
        // Not for people: `faults` starts it in namespaces of its own.
        Some((&"faults-inside", options)) => faults::run_inside(options),
        Some((verb, _)) => bail!("no such verb or option: {verb} {}\n\n{HELP}", words[1..].join(" ")),
    }
}

/// What a verb says while it works, kept beside what is built.
fn steps() -> Steps {
    Steps::new(repository::target().join("xtask-logs"))
}

/// Brings what every rig of processes needs from outside: inside there is no network.
fn prepare_rig() -> Result<Steps> {
    site::require_root()?;
    let steps = steps();
    packages::ensure(&steps, &[packages::FAULTS, packages::TRACING, packages::CLIENTS])?;
    Ok(steps)
}

fn make_images(options: &[&str]) -> Result<()> {
    let prefix = match options {
        [] => images::LOCAL_PREFIX,
        ["--image-prefix", prefix] => prefix,
        other => bail!("images takes --image-prefix PREFIX and nothing else, not {}", other.join(" ")),
    };
    let steps = steps();
    packages::ensure(&steps, &[packages::IMAGES])?;
    let made = images::ensure(&steps, prefix)?;
    for image in [&made.broker, &made.operator] {
        say(&format!("{}  {}", image.name, image.archive.display()));
    }
    Ok(())
}
