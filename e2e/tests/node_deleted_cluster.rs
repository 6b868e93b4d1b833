//! A deleted cluster leaves its volumes and nothing else; the same manifest gets it back with its data.

use std::time::Duration;

use anyhow::Result;
use e2e::command::{Answer, wait_until};
use e2e::kcat;
use e2e::lane::namespace::{LIMIT, Namespace, THREE_BROKERS};
use e2e::lane::node;

const KINDS: &str = "kafkaclusters,kafkatopics,statefulsets,pods,services,configmaps,secrets,serviceaccounts,\
                     poddisruptionbudgets.policy,networkpolicies,roles,rolebindings,endpointslices,leases,controllerrevisions";

/// What lies in the namespace besides what Kubernetes itself puts into each.
fn leftovers(namespace: &Namespace<'_>) -> Result<Vec<String>> {
    let names = namespace.kubectl(&["get", KINDS, "-o", "name"])?;
    let of_kubernetes = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    Ok(names.lines().filter(|name| !of_kubernetes.contains(name)).map(str::to_owned).collect())
}

fn wait_for_nothing(namespace: &Namespace<'_>) -> Result<()> {
    let interval = Duration::from_millis(500);
    wait_until("nothing but volumes is left", LIMIT, interval, || match leftovers(namespace) {
        Ok(left) if left.is_empty() => Answer::Yes,
        Ok(left) => Answer::NotYet(left.join(" ")),
        Err(error) => Answer::NotYet(format!("{error:#}")),
    })
}

fn claims(namespace: &Namespace<'_>) -> Result<usize> {
    let claims = namespace.object(&["persistentvolumeclaims"])?;
    Ok(claims["items"].as_array().map_or(0, Vec::len))
}

#[test]
fn volumes_outlive_the_cluster_and_bring_it_back() -> Result<()> {
    let lane = node::ensure()?;
    let namespace = lane.namespace("e2e-deleted")?;
    namespace.start_cluster()?;
    let written = kcat::records(500);
    lane.kcat.produce(&namespace.bootstrap(), "orders", &written)?;
    let first = namespace.object(&["kafkacluster/my"])?["status"]["clusterId"].to_string();
    assert_eq!(first.trim_matches('"').len(), 22, "{first}");

    namespace.kubectl(&["delete", "kafkacluster", "my", "--timeout=180s"])?;
    // The topic object is the user's own; without its cluster it can be let go at once, and its topic stays.
    namespace.kubectl(&["delete", "kafkatopic", "orders", "--timeout=60s"])?;
    wait_for_nothing(&namespace)?;
    assert_eq!(claims(&namespace)?, 3);

    namespace.apply_cluster(THREE_BROKERS)?;
    namespace.wait_ready("kafkacluster/my")?;
    let second = namespace.object(&["kafkacluster/my"])?["status"]["clusterId"].to_string();
    assert_eq!(second, first);
    kcat::compare(&written, &lane.kcat.consume(&namespace.bootstrap(), "orders")?)?;
    namespace.remove()
}

#[test]
fn with_delete_claim_the_volumes_go_too() -> Result<()> {
    let lane = node::ensure()?;
    let namespace = lane.namespace("e2e-delete-claim")?;
    namespace.apply_cluster("{replicas: 1, storage: {size: 1Gi, deleteClaim: true}}")?;
    namespace.wait_ready("kafkacluster/my")?;
    assert_eq!(claims(&namespace)?, 1);
    namespace.kubectl(&["delete", "kafkacluster", "my", "--timeout=180s"])?;
    wait_for_nothing(&namespace)?;
    let interval = Duration::from_millis(500);
    wait_until("the claim is gone", LIMIT, interval, || match claims(&namespace) {
        Ok(0) => Answer::Yes,
        Ok(left) => Answer::NotYet(format!("{left} claims")),
        Err(error) => Answer::NotYet(format!("{error:#}")),
    })?;
    namespace.remove()
}
