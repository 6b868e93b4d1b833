//! What the API server cannot refuse is named by a condition, and everything that runs is left alone.

use std::path::Path;

use anyhow::Result;
use e2e::kcat;
use e2e::lane::namespace::{THREE_BROKERS, condition, message};
use e2e::lane::process;

#[test]
fn a_bad_config_key_is_named_and_changes_nothing() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-refused")?;
    namespace.start_cluster()?;
    let written = kcat::records(100);
    lane.kcat.produce(&namespace.bootstrap(), "orders", &written)?;
    let pods = |namespace: &e2e::lane::namespace::Namespace<'_>| -> Result<Vec<String>> {
        let pods = namespace.object(&["pods", "-l", "ottla.dev/cluster=my"])?;
        Ok(pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pod| pod["metadata"]["uid"].to_string())
            .collect())
    };
    let before = pods(&namespace)?;

    for (spec, words) in [
        ("{replicas: 3, storage: {size: 1Gi}, config: {num.partitons: 3}}", ["num.partitons"]),
        ("{replicas: 3, storage: {size: 1Gi}, config: {num.partitions: many}}", ["num.partitions"]),
    ] {
        namespace.apply_cluster(spec)?;
        let refused = namespace.wait_for("the spec is called invalid", "kafkacluster/my", |cluster| {
            let observed = cluster["status"]["observedGeneration"] == cluster["metadata"]["generation"];
            observed && condition(cluster, "Valid") == "False"
        })?;
        for word in words {
            assert!(message(&refused, "Valid").contains(word), "{refused:#}");
        }
    }
    assert_eq!(pods(&namespace)?, before);
    kcat::compare(&written, &lane.kcat.consume(&namespace.bootstrap(), "orders")?)?;

    namespace.apply_cluster(THREE_BROKERS)?;
    namespace.wait_for("the spec is valid again", "kafkacluster/my", |cluster| {
        condition(cluster, "Valid") == "True" && condition(cluster, "Ready") == "True"
    })?;
    namespace.remove()
}

#[test]
fn a_taken_name_is_told_and_the_rest_of_a_running_cluster_is_kept_up() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-taken")?;
    let spec = |paused: bool| format!("{{replicas: 1, storage: {{size: 1Gi}}, paused: {paused}}}");
    namespace.apply_cluster(&spec(false))?;
    namespace.wait_ready("kafkacluster/my")?;
    // While the operator looks away, somebody else takes one of the names, and another object is lost.
    namespace.apply_cluster(&spec(true))?;
    namespace
        .wait_for("it is paused", "kafkacluster/my", |cluster| condition(cluster, "Paused") == "True")?;
    namespace.kubectl(&["delete", "service/my-bootstrap", "poddisruptionbudget/my-nodes"])?;
    namespace.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: my-bootstrap, labels: {ottla.dev/cluster: my}}, \
         spec: {selector: {app: theirs}, ports: [{port: 80}]}}",
    )?;
    namespace.apply_cluster(&spec(false))?;
    let told = namespace.wait_for("the taken name is told", "kafkacluster/my", |cluster| {
        condition(cluster, "Valid") == "False" && message(cluster, "Valid").contains("my-bootstrap")
    })?;
    assert!(message(&told, "Valid").contains("Service \"my-bootstrap\""), "{told:#}");
    namespace.wait_for("the lost object is back", "poddisruptionbudget/my-nodes", |_| true)?;
    let theirs = namespace.object(&["service/my-bootstrap"])?;
    assert_eq!(theirs["spec"]["selector"]["app"], "theirs", "{theirs:#}");
    // What stands in the way goes, and its name gets its own object.
    namespace.kubectl(&["delete", "service/my-bootstrap"])?;
    namespace.wait_for("the name is the cluster's", "kafkacluster/my", |cluster| {
        condition(cluster, "Valid") == "True" && condition(cluster, "Ready") == "True"
    })?;
    namespace.remove()
}

#[test]
fn a_topic_with_more_replicas_than_there_are_brokers_is_refused() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-refused-topic")?;
    namespace.apply_cluster(THREE_BROKERS)?;
    namespace.wait_ready("kafkacluster/my")?;
    namespace.apply(
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaTopic, metadata: {name: wide}, \
         spec: {clusterRef: {name: my}, partitions: 1, replicas: 5}}",
    )?;
    let refused = namespace.wait_for("a condition refuses it", "kafkatopic/wide", |topic| {
        condition(topic, "Ready") == "False" && !message(topic, "Ready").is_empty()
    })?;
    assert!(message(&refused, "Ready").contains("replication factor 5 is larger"), "{refused:#}");
    namespace.remove()
}
