//! kubectl tells what state a cluster and a topic are in: columns, conditions, events.

use anyhow::Result;
use e2e::lane::node;
use e2e::repository::VERSION;

fn row(table: &str) -> Vec<&str> {
    table.lines().nth(1).unwrap_or_default().split_whitespace().collect()
}

#[test]
fn columns_conditions_and_events_tell_the_state() -> Result<()> {
    let lane = node::ensure()?;
    let namespace = lane.namespace("e2e-kubectl")?;
    namespace.start_cluster()?;

    let clusters = namespace.kubectl(&["get", "kafkacluster"])?;
    assert_eq!(row(&clusters)[..5], ["my", "3", "3", VERSION, "True"], "{clusters}");
    let topics = namespace.kubectl(&["get", "kafkatopic"])?;
    assert_eq!(row(&topics)[..5], ["orders", "my", "6", "1", "True"], "{topics}");

    let cluster = namespace.object(&["kafkacluster/my"])?;
    let conditions = cluster["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(!conditions.is_empty());
    for condition in conditions {
        for field in ["reason", "message"] {
            assert!(condition[field].as_str().is_some_and(|text| !text.is_empty()), "{condition}");
        }
    }
    assert_eq!(cluster["status"]["observedGeneration"], cluster["metadata"]["generation"]);
    let described = namespace.kubectl(&["describe", "kafkacluster", "my"])?;
    let events = described.split("Events:").nth(1).unwrap_or_default();
    assert!(events.contains("ottla"), "no event of the operator:\n{described}");
    namespace.remove()
}
