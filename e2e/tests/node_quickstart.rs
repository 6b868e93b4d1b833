//! `cargo xtask up` ends with a cluster that serves records; a second `up` changes nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::kcat;
use e2e::lane::{Lane, node};
use e2e::process;
use e2e::quickstart::{self, CLUSTER, NAMESPACE, TOPIC};
use e2e::verb::up;

/// Every object of the example and of the operator with its version, and every process with its id.
fn fingerprint(lane: &Lane) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let kinds = "kafkaclusters,kafkatopics,statefulsets,deployments,services,configmaps,secrets,pods,persistentvolumeclaims,\
         poddisruptionbudgets,networkpolicies,serviceaccounts";
    let objects = lane.kubectl.object(&[kinds, "--all-namespaces"])?;
    for object in objects["items"].as_array().context("no list")? {
        let metadata = &object["metadata"];
        let name = format!("{}/{}/{}", object["kind"], metadata["namespace"], metadata["name"]);
        found.insert(name, metadata["resourceVersion"].to_string());
    }
    for process in ["etcd", "kube-apiserver", "coredns", "node1-kubelet", "node2-containerd", "node3-proxy"] {
        let id =
            process::running_id(&lane.site, process).with_context(|| format!("{process} does not run"))?;
        found.insert(process.to_owned(), id.to_string());
    }
    Ok(found)
}

#[test]
fn up_ends_with_records_that_every_broker_serves_and_a_second_up_changes_nothing() -> Result<()> {
    let lane = node::ensure()?;
    up::start(&lane.site)?;
    let first = lane.kcat.consume(&quickstart::broker_address(CLUSTER, NAMESPACE, 0), TOPIC)?;
    assert!(first.len() >= 1000, "{} records", first.len());
    for broker in 1..3 {
        let read = lane.kcat.consume(&quickstart::broker_address(CLUSTER, NAMESPACE, broker), TOPIC)?;
        kcat::compare(&first, &read)?;
    }
    let before = fingerprint(&lane)?;
    up::start(&lane.site)?;
    assert_eq!(fingerprint(&lane)?, before);
    Ok(())
}
