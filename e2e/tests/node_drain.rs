//! A node is drained as an administrator does it: one at a time, and nothing acknowledged is lost.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::command::{Answer, wait_until};
use e2e::kcat;
use e2e::lane::namespace::{LIMIT, Namespace};
use e2e::lane::node;

fn node_of(namespace: &Namespace<'_>, pod: &str) -> Result<String> {
    let pod = namespace.object(&[&format!("pod/{pod}")])?;
    pod["spec"]["nodeName"].as_str().map(str::to_owned).context("the pod is on no node")
}

/// Evicts the cluster's pods from a node. `patience`: how long kubectl asks again while that is refused.
fn drain(namespace: &Namespace<'_>, node: &str, patience: &str) -> Result<String> {
    let timeout = format!("--timeout={patience}");
    let selected = "--pod-selector=ottla.dev/cluster=my";
    namespace.kubectl(&["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", selected, &timeout])
}

fn wait_until_ready(namespace: &Namespace<'_>, pod: &str) -> Result<()> {
    namespace.wait_for(&format!("{pod} is back"), &format!("pod/{pod}"), |pod| {
        pod["metadata"]["deletionTimestamp"].is_null()
            && pod["status"]["containerStatuses"][0]["ready"] == true
    })?;
    namespace.wait_ready("kafkacluster/my")
}

/// The volumes here are a node's own, so a drained broker waits for its node: what cannot move is not moved.
fn drain_one_after_the_other(namespace: &Namespace<'_>, first: &str, second: &str) -> Result<()> {
    drain(namespace, first, "120s")?;
    let Err(refusal) = drain(namespace, second, "10s") else {
        bail!("a second node was drained while the first one's broker was away");
    };
    let refusal = format!("{refusal:#}");
    assert!(refusal.contains("disruption budget"), "{refusal}");
    namespace.kubectl(&["uncordon", second])?;

    namespace.kubectl(&["uncordon", first])?;
    wait_until_ready(namespace, "my-nodes-1")?;
    drain(namespace, second, "120s")?;
    namespace.kubectl(&["uncordon", second])?;
    wait_until_ready(namespace, "my-nodes-2")
}

#[test]
fn nodes_are_drained_one_at_a_time_and_keep_every_record() -> Result<()> {
    let lane = node::ensure()?;
    let namespace = lane.namespace("e2e-drain")?;
    namespace.start_cluster()?;
    let written = kcat::records(600);
    lane.kcat.produce(&namespace.bootstrap(), "orders", &written)?;

    let first = node_of(&namespace, "my-nodes-1")?;
    let second = node_of(&namespace, "my-nodes-2")?;
    assert_ne!(first, second);
    let drained = drain_one_after_the_other(&namespace, &first, &second);
    for node in [&first, &second] {
        namespace.kubectl(&["uncordon", node])?;
    }
    drained?;
    // A name that was asked for while its pod was away is unknown for as long as DNS remembers that.
    wait_until("every record is read back", LIMIT, Duration::from_secs(1), || {
        let read = lane.kcat.consume(&namespace.bootstrap(), "orders");
        Answer::from(read.and_then(|read| kcat::compare(&written, &read)))
    })?;
    namespace.remove()
}
