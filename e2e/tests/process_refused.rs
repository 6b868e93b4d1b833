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
fn a_topic_with_more_replicas_than_this_release_can_do_is_refused() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-refused-topic")?;
    namespace.apply_cluster(THREE_BROKERS)?;
    namespace.wait_ready("kafkacluster/my")?;
    namespace.apply(
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaTopic, metadata: {name: wide}, \
         spec: {clusterRef: {name: my}, partitions: 1, replicas: 3}}",
    )?;
    let refused = namespace.wait_for("a condition refuses it", "kafkatopic/wide", |topic| {
        condition(topic, "Ready") == "False" && !message(topic, "Ready").is_empty()
    })?;
    assert!(message(&refused, "Ready").contains("replic"), "{refused:#}");
    namespace.remove()
}
