//! `kubectl get` shows useful columns and `kubectl explain` reads like documentation.

use anyhow::{Context, Result};
use e2e::lane::api::ApiLane;

const CLUSTER: &str = "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {name: shown}, spec: {storage: {size: 1Gi}}}";
const TOPIC: &str = "{apiVersion: ottla.dev/v1alpha1, kind: KafkaTopic, metadata: {name: shown}, spec: {clusterRef: {name: shown}, partitions: 6}}";

fn columns(lane: &ApiLane, kind: &str) -> Result<Vec<String>> {
    let table = lane.kubectl.read(&["get", kind])?;
    let header = table.lines().next().context("a table without a header")?;
    Ok(header.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn both_kinds_have_useful_columns_and_belong_to_the_category_kafka() -> Result<()> {
    let lane = ApiLane::ensure()?;
    lane.kubectl.apply(&format!("{CLUSTER}\n---\n{TOPIC}\n"))?;
    assert_eq!(columns(&lane, "kc")?, ["NAME", "DESIRED", "BROKERS", "VERSION", "READY", "AGE"]);
    assert_eq!(columns(&lane, "kt")?, ["NAME", "CLUSTER", "PARTITIONS", "REPLICAS", "READY", "AGE"]);
    let both = lane.kubectl.read(&["get", "kafka", "-o", "name"])?;
    assert!(
        both.contains("kafkacluster.ottla.dev/shown") && both.contains("kafkatopic.ottla.dev/shown"),
        "{both}"
    );
    Ok(())
}

#[test]
fn explain_describes_every_field_and_shows_the_defaults() -> Result<()> {
    let lane = ApiLane::ensure()?;
    for kind in ["kafkacluster", "kafkatopic"] {
        let definition = lane.kubectl.object(&["crd", &format!("{kind}s.ottla.dev")])?;
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            let fields = schema[part]["properties"].as_object().context("a part without fields")?;
            for (name, field) in fields {
                assert!(field["description"].is_string(), "{kind}.{part}.{name} has no description");
            }
        }
    }
    let text = lane.kubectl.read(&["explain", "kafkacluster.spec.replicas"])?;
    assert!(text.contains("How many brokers"), "{text}");
    let defaults = lane.kubectl.object(&["crd", "kafkaclusters.ottla.dev"])?;
    let replicas = &defaults["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["replicas"];
    assert_eq!(replicas["default"], 3);
    Ok(())
}

#[test]
fn the_scale_subresource_changes_the_number_of_brokers() -> Result<()> {
    let lane = ApiLane::ensure()?;
    let manifest = CLUSTER.replace("name: shown", "name: scaled");
    lane.kubectl.apply(&manifest)?;
    lane.kubectl.read(&["scale", "kc/scaled", "--replicas", "4"])?;
    assert_eq!(lane.kubectl.object(&["kc/scaled"])?["spec"]["replicas"], 4);
    Ok(())
}
