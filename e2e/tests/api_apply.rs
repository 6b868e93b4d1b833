//! Server-side apply by several hands: each owns the fields it set, and a clash is told by field.

use anyhow::{Result, ensure};
use e2e::lane::api::ApiLane;
use serde_json::Value;

fn cluster(spec: &str) -> String {
    format!(
        "{{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {{name: shared}}, spec: {spec}}}"
    )
}

fn apply(lane: &ApiLane, manager: &str, spec: &str) -> Result<Result<(), String>> {
    let manager = format!("--field-manager={manager}");
    let words = ["apply", "--server-side", &manager, "-f", "-"];
    let output = lane.kubectl.program(&words).stdin(cluster(spec)).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(text) })
}

fn spec(lane: &ApiLane) -> Result<Value> {
    Ok(lane.kubectl.object(&["kafkacluster/shared"])?["spec"].take())
}

#[test]
fn two_hands_share_an_object_field_by_field() -> Result<()> {
    let lane = ApiLane::ensure()?;
    lane.kubectl.read(&["delete", "kafkacluster", "shared", "--ignore-not-found"])?;
    let done = apply(&lane, "people", "{replicas: 3, storage: {size: 1Gi}, config: {num.partitions: 3}}")?;
    ensure!(done.is_ok(), "{done:?}");
    // Another key of the same map, another label of the same map: nobody is in the way.
    let done = apply(&lane, "tuning", "{storage: {size: 1Gi}, config: {log.retention.hours: 24}}")?;
    ensure!(done.is_ok(), "{done:?}");
    let both = spec(&lane)?;
    assert_eq!(both["config"]["num.partitions"], 3);
    assert_eq!(both["config"]["log.retention.hours"], 24);

    let clash = apply(&lane, "tuning", "{storage: {size: 1Gi}, replicas: 5}")?.err().unwrap_or_default();
    ensure!(
        clash.contains("conflict") && clash.contains(".spec.replicas") && clash.contains("people"),
        "{clash}"
    );

    // What a hand no longer names goes, what the other owns stays.
    let done = apply(&lane, "tuning", "{storage: {size: 1Gi}}")?;
    ensure!(done.is_ok(), "{done:?}");
    let left = spec(&lane)?;
    assert!(left["config"]["log.retention.hours"].is_null());
    assert_eq!((&left["config"]["num.partitions"], &left["replicas"]), (&3.into(), &3.into()));
    lane.kubectl.read(&["delete", "kafkacluster", "shared"])?;
    Ok(())
}

#[test]
fn status_and_spec_have_writers_of_their_own() -> Result<()> {
    let lane = ApiLane::ensure()?;
    let manifest = "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {name: split}, \
                    spec: {replicas: 3, storage: {size: 1Gi}}, status: {clusterId: by-the-wrong-door}}";
    lane.kubectl.apply(manifest)?;
    let before = lane.kubectl.object(&["kafkacluster/split"])?;
    assert!(before["status"]["clusterId"].is_null(), "an apply of the object must not reach its status");
    let change = r#"{"spec": {"replicas": 9}, "status": {"clusterId": "by-the-right-door"}}"#;
    lane.kubectl.read(&[
        "patch",
        "kafkacluster/split",
        "--subresource=status",
        "--type=merge",
        "-p",
        change,
    ])?;
    let after = lane.kubectl.object(&["kafkacluster/split"])?;
    assert_eq!(after["status"]["clusterId"], "by-the-right-door");
    assert_eq!(after["spec"], before["spec"], "a write of the status must not reach the spec");
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);

    // kubectl scale, and a HorizontalPodAutoscaler, come by this door.
    lane.kubectl.read(&["scale", "kafkacluster/split", "--replicas=4"])?;
    assert_eq!(lane.kubectl.object(&["kafkacluster/split"])?["spec"]["replicas"], 4);
    lane.kubectl.read(&["delete", "kafkacluster", "split"])?;
    Ok(())
}
