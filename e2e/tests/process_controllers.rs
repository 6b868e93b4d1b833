//! Controllers of their own: they form the quorum, brokers do without a vote, and each of them may crash.

use std::path::Path;

use anyhow::{Context, Result};
use e2e::kcat;
use e2e::lane::process;

#[test]
fn dedicated_controllers_carry_a_cluster_through_the_crash_of_each() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-controllers")?;
    namespace.apply_cluster(
        "{replicas: 2, controllers: {replicas: 3, placement: Dedicated}, storage: {size: 1Gi}}",
    )?;
    namespace.wait_ready("kafkacluster/my")?;
    let mut pods: Vec<String> =
        namespace.kubectl(&["get", "pods", "-o", "name"])?.lines().map(str::to_owned).collect();
    pods.sort();
    assert_eq!(
        pods,
        [
            "pod/my-controllers-1000",
            "pod/my-controllers-1001",
            "pod/my-controllers-1002",
            "pod/my-nodes-0",
            "pod/my-nodes-1"
        ]
    );
    let seen = lane.kcat.metadata(&namespace.bootstrap(), None)?;
    let brokers: Vec<Option<i64>> =
        seen["brokers"].as_array().into_iter().flatten().map(|broker| broker["id"].as_i64()).collect();
    assert_eq!(brokers, [Some(0), Some(1)], "clients are told of brokers only");

    let mut written = Vec::new();
    for (round, controller) in
        (0..).zip(["my-controllers-1000", "my-controllers-1001", "my-controllers-1002"])
    {
        namespace.crash(controller)?;
        let topic = format!("after-{controller}");
        namespace.apply_topic(&topic, 4)?;
        namespace
            .wait_ready(&format!("kafkatopic/{topic}"))
            .with_context(|| format!("{controller} crashed"))?;
        let records = kcat::records(100 + round);
        lane.kcat.produce(&namespace.bootstrap(), &topic, &records)?;
        written.push((topic, records));
        namespace.wait_ready("kafkacluster/my")?;
    }
    for (topic, records) in &written {
        kcat::compare(records, &lane.kcat.consume(&namespace.bootstrap(), topic)?)?;
    }
    namespace.remove()
}
