//! A pod that is deleted or crashes comes back with its identity and everything it acknowledged.

use anyhow::Result;
use e2e::kcat::{self, Record};
use e2e::lane::namespace::Namespace;
use e2e::lane::node;
use serde_json::Value;

fn uid(namespace: &Namespace<'_>, pod: &str) -> Result<Value> {
    Ok(namespace.object(&[&format!("pod/{pod}")])?["metadata"]["uid"].take())
}

/// Waits until the pod is another one than `before`, or has restarted, and is ready.
fn wait_for_return(namespace: &Namespace<'_>, pod: &str, before: &Value) -> Result<()> {
    let what = format!("{pod} is back");
    namespace.wait_for(&what, &format!("pod/{pod}"), |pod| {
        let container = &pod["status"]["containerStatuses"][0];
        let renewed = pod["metadata"]["uid"] != *before || container["restartCount"] != 0;
        renewed && container["ready"] == true
    })?;
    namespace.wait_ready("kafkacluster/my")
}

#[test]
fn every_acknowledged_record_survives_lost_pods() -> Result<()> {
    let lane = node::ensure()?;
    let namespace = lane.namespace("e2e-pod-lost")?;
    namespace.start_cluster()?;
    let cluster_id = namespace.object(&["kafkacluster/my"])?["status"]["clusterId"].to_string();
    let mut written = Vec::new();
    let mut produce = |number| -> Result<Vec<Record>> {
        let records = kcat::marked_records(300, &format!("round {number}"));
        lane.kcat.produce(&namespace.bootstrap(), "orders", &records)?;
        written.extend(records);
        Ok(written.clone())
    };

    produce(1)?;
    let before = uid(&namespace, "my-nodes-1")?;
    namespace.kubectl(&["delete", "pod", "my-nodes-1", "--wait=false"])?;
    wait_for_return(&namespace, "my-nodes-1", &before)?;
    let expected = produce(2)?;
    kcat::compare(&expected, &lane.kcat.consume(&namespace.broker(1), "orders")?)?;

    let before = uid(&namespace, "my-nodes-2")?;
    namespace.crash("my-nodes-2")?;
    wait_for_return(&namespace, "my-nodes-2", &before)?;
    let expected = produce(3)?;
    kcat::compare(&expected, &lane.kcat.consume(&namespace.broker(2), "orders")?)?;

    let pods = ["my-nodes-0", "my-nodes-1", "my-nodes-2"];
    let before = pods.iter().map(|pod| uid(&namespace, pod)).collect::<Result<Vec<_>>>()?;
    namespace.kubectl(&["delete", "pod", "--grace-period=0", "--force", "-l", "ottla.dev/cluster=my"])?;
    for (pod, before) in pods.iter().zip(&before) {
        wait_for_return(&namespace, pod, before)?;
    }
    let expected = produce(4)?;
    kcat::compare(&expected, &lane.kcat.consume(&namespace.broker(0), "orders")?)?;
    let cluster = namespace.object(&["kafkacluster/my"])?;
    assert_eq!(cluster["status"]["clusterId"].to_string(), cluster_id);
    namespace.remove()
}
