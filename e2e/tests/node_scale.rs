//! More brokers serve new partitions; fewer are refused and nothing is removed.

use anyhow::Result;
use e2e::kcat;
use e2e::lane::namespace::{THREE_BROKERS, condition};
use e2e::lane::node;

#[test]
fn scaling_up_adds_brokers_that_serve_and_scaling_down_is_refused() -> Result<()> {
    let lane = node::ensure()?;
    let namespace = lane.namespace("e2e-scale")?;
    namespace.apply_cluster(THREE_BROKERS)?;
    namespace.wait_ready("kafkacluster/my")?;

    namespace.kubectl(&["scale", "kc/my", "--replicas", "4"])?;
    namespace.wait_for("four brokers are ready", "kafkacluster/my", |cluster| {
        cluster["status"]["brokers"]["ready"] == 4 && condition(cluster, "Ready") == "True"
    })?;
    namespace.apply_topic("wide", 8)?;
    namespace.wait_ready("kafkatopic/wide")?;
    let metadata = lane.kcat.metadata(&namespace.bootstrap(), Some("wide"))?;
    let partitions = metadata["topics"][0]["partitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(partitions.iter().any(|partition| partition["leader"] == 3), "{metadata:#}");
    let written = kcat::records(400);
    lane.kcat.produce(&namespace.broker(3), "wide", &written)?;
    kcat::compare(&written, &lane.kcat.consume(&namespace.broker(0), "wide")?)?;

    namespace.kubectl(&["scale", "kc/my", "--replicas", "3"])?;
    let refused =
        namespace.wait_for("a condition says that this is refused", "kafkacluster/my", |cluster| {
            let generation = &cluster["metadata"]["generation"];
            let conditions =
                cluster["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            conditions.iter().any(|condition| {
                condition["observedGeneration"] == *generation
                    && condition["message"].as_str().is_some_and(|text| text.contains("replicas"))
                    && condition["type"] == "Valid"
                    && condition["status"] == "False"
            })
        })?;
    let pods = namespace.object(&["pods", "-l", "ottla.dev/cluster=my"])?;
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(4), "{refused:#}");
    kcat::compare(&written, &lane.kcat.consume(&namespace.broker(3), "wide")?)?;
    namespace.remove()
}
