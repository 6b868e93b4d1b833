//! Of two operators one acts; when it is gone the other takes over, and clusters do not notice.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::command::{Answer, wait_until};
use e2e::helm;
use e2e::lane::namespace::LIMIT;
use e2e::lane::{Lane, process};

const DEPLOYMENT: &str = "deployment/ottla-operator";

/// The operator that holds the Lease: the name of its pod.
fn holder(lane: &Lane) -> Result<String> {
    let leases = lane.kubectl.object(&["leases", "--namespace", helm::NAMESPACE])?;
    let holder = leases["items"][0]["spec"]["holderIdentity"].as_str().context("nobody holds the Lease")?;
    Ok(holder.to_owned())
}

fn scale(lane: &Lane, replicas: &str) -> Result<()> {
    let namespace = ["--namespace", helm::NAMESPACE];
    lane.kubectl.program(&["scale", DEPLOYMENT, "--replicas", replicas]).args(namespace).read()?;
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    lane.kubectl.program(&["rollout", "status", DEPLOYMENT, &limit]).args(namespace).read().map(|_| ())
}

#[test]
fn the_second_operator_goes_on_where_the_first_was_killed() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-operator")?;
    namespace.apply_cluster("{replicas: 1, storage: {size: 1Gi}}")?;
    namespace.wait_ready("kafkacluster/my")?;
    scale(&lane, "2")?;
    let outcome = take_over(&lane, &namespace);
    scale(&lane, "1")?;
    outcome?;
    namespace.remove()
}

fn take_over(lane: &Lane, namespace: &e2e::lane::namespace::Namespace<'_>) -> Result<()> {
    for round in ["one", "two"] {
        let first = holder(lane)?;
        let delete = ["delete", "pod", &first, "--namespace", helm::NAMESPACE, "--grace-period=0", "--force"];
        lane.kubectl.read(&delete)?;
        wait_until("another one holds the Lease", LIMIT, Duration::from_millis(250), || {
            match holder(lane) {
                Ok(now) if now != first => Answer::Yes,
                Ok(now) => Answer::NotYet(now),
                Err(error) => Answer::NotYet(format!("{error:#}")),
            }
        })?;
        namespace.apply_topic(round, 3)?;
        namespace.wait_ready(&format!("kafkatopic/{round}"))?;
    }
    // Nobody acted twice: one topic of each name, and no complaint in the events.
    let warnings = namespace.object(&["events", "--field-selector", "type=Warning"])?;
    let warnings = warnings["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: Vec<_> = warnings.iter().filter(|event| event["regarding"]["kind"] == "KafkaTopic").collect();
    ensure!(ours.is_empty(), "{ours:#?}");
    Ok(())
}
