//! The nodes this kubelet stands for.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::api::{Api, Outcome};
use crate::command::program;
use crate::kube::Node;

/// The controller manager gives a node 16 s.
pub(super) const LEASE_RENEWAL: Duration = Duration::from_secs(4);

/// Makes the node known.
pub(super) fn register(api: &Api, node: Node) -> Result<()> {
    let name = node.name();
    let labels = json!({
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": node.zone(),
    });
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
    api.create("/api/v1/nodes", &object).with_context(|| format!("register {name}"))?;
    report_alive(api, node)
}

/// Says that the node lives and is ready. Both each time: the controller manager takes the readiness of a node whose
/// lease ran out, and gives it back to nobody who does not ask.
pub(super) fn report_alive(api: &Api, node: Node) -> Result<()> {
    let (name, now) = (node.name(), now()?);
    let room = json!({"cpu": "16", "memory": "64Gi", "pods": "200"});
    let status = json!({"status": {
        "capacity": room,
        "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": node.address()}, {"type": "Hostname", "address": name}],
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "ProcessLane", "message": "pods are processes",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
    }});
    api.patch(&format!("/api/v1/nodes/{name}/status"), &status)?;
    renew_lease(api, node)
}

fn renew_lease(api: &Api, node: Node) -> Result<()> {
    let name = node.name();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now_precise()?});
    if api.patch(&format!("{leases}/{name}"), &json!({"spec": spec}))? == Outcome::NotFound {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec,
        });
        api.create(leases, &lease)?;
    }
    Ok(())
}

/// The time as Kubernetes writes it.
pub(super) fn now() -> Result<String> {
    Ok(program("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).read()?.trim().to_owned())
}

fn now_precise() -> Result<String> {
    Ok(program("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%6NZ"]).read()?.trim().to_owned())
}
