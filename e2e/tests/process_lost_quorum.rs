//! A quorum that has lost the volumes of a majority is named by a condition, and nothing that still runs is touched.

use std::path::Path;

use anyhow::{Result, ensure};
use e2e::lane::namespace::{Namespace, condition, message};
use e2e::lane::process;

/// Takes the volumes of nodes away as an unlucky hand would: claims first, then the pods that use them. Not before it is
/// on record that the quorum has formed: a volume that is lost earlier is another thing, and told as one.
fn lose_volumes(namespace: &Namespace<'_>, nodes: &[u32]) -> Result<()> {
    namespace.wait_for("the quorum has formed", "configmap/my-identity", |identity| {
        identity["data"].to_string().contains("bootstrapped=true")
    })?;
    for node in nodes {
        namespace.kubectl(&["delete", "pvc", &format!("data-0-my-nodes-{node}"), "--wait=false"])?;
    }
    for node in nodes {
        let pod = format!("my-nodes-{node}");
        namespace.kubectl(&["delete", "pod", &pod, "--grace-period=0", "--force"])?;
    }
    Ok(())
}

fn wait_until_told(namespace: &Namespace<'_>, nodes: &[u32]) -> Result<()> {
    let told = namespace.wait_for("the lost quorum is told", "kafkacluster/my", |cluster| {
        let conditions = cluster["status"]["conditions"].as_array();
        let lost = |one: &&serde_json::Value| one["reason"] == "QuorumLost" && one["status"] == "True";
        conditions.into_iter().flatten().any(|one| lost(&one) && one["type"] == "Degraded")
    })?;
    assert_eq!(condition(&told, "Ready"), "False");
    for node in nodes {
        let claim = format!("data-0-my-nodes-{node} of node {node}");
        ensure!(message(&told, "Degraded").contains(&claim), "{told:#}");
    }
    ensure!(message(&told, "Degraded").contains("restore these volumes"), "{told:#}");
    namespace.wait_for("an event tells of it", "events", |events| {
        let events = events["items"].as_array().into_iter().flatten();
        events.filter(|event| event["type"] == "Warning").any(|event| event["reason"] == "QuorumLost")
    })?;
    Ok(())
}

fn uid(namespace: &Namespace<'_>, pod: &str) -> Result<String> {
    Ok(namespace.object(&["pod", pod])?["metadata"]["uid"].to_string())
}

#[test]
fn a_quorum_without_a_majority_is_told_and_what_is_left_runs_on() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-lost-quorum")?;
    namespace.start_cluster()?;
    let survivor = uid(&namespace, "my-nodes-0")?;
    lose_volumes(&namespace, &[1, 2])?;
    wait_until_told(&namespace, &[1, 2])?;
    // A change that needs a restart waits for the quorum.
    namespace.apply_cluster("{replicas: 3, storage: {size: 1Gi}, config: {num.partitions: 3}}")?;
    namespace.wait_for("the restart waits", "kafkacluster/my", |cluster| {
        let waits = cluster["status"]["rollout"]["blockedBy"].as_str().unwrap_or_default();
        waits.contains("the quorum to be restored")
    })?;
    assert_eq!(uid(&namespace, "my-nodes-0")?, survivor);
    namespace.remove()
}

#[test]
fn the_only_voter_with_an_empty_volume_is_a_lost_quorum() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-lost-voter")?;
    namespace.apply_cluster("{replicas: 1, storage: {size: 1Gi}}")?;
    namespace.wait_ready("kafkacluster/my")?;
    lose_volumes(&namespace, &[0])?;
    wait_until_told(&namespace, &[0])?;
    namespace.remove()
}
