//! A topic declared is a topic in Kafka's sense, through its whole life.

use std::time::Duration;

use anyhow::Result;
use e2e::command::{Answer, wait_until};
use e2e::lane::namespace::{LIMIT, Namespace, THREE_BROKERS};
use e2e::lane::{Lane, node};
use e2e::shim;
use e2e::wire::{self, Wire};

const INTERVAL: Duration = Duration::from_millis(250);

/// How many partitions a client sees; none if there is no such topic.
fn partitions(lane: &Lane, namespace: &Namespace<'_>, topic: &str) -> Result<usize> {
    let metadata = lane.kcat.metadata(&namespace.bootstrap(), None)?;
    let topics = metadata["topics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = topics.iter().find(|seen| seen["topic"] == topic);
    Ok(found.and_then(|topic| topic["partitions"].as_array()).map_or(0, Vec::len))
}

fn wait_for_partitions(lane: &Lane, namespace: &Namespace<'_>, wanted: usize) -> Result<()> {
    wait_until(&format!("{wanted} partitions"), LIMIT, INTERVAL, || {
        match partitions(lane, namespace, "orders") {
            Ok(seen) if seen == wanted => Answer::Yes,
            Ok(seen) => Answer::NotYet(format!("{seen} partitions")),
            Err(error) => Answer::NotYet(format!("{error:#}")),
        }
    })
}

#[test]
fn a_declared_topic_is_created_grown_restored_and_deleted() -> Result<()> {
    let lane = node::ensure()?;
    let namespace = lane.namespace("e2e-topic")?;
    namespace.apply_cluster(THREE_BROKERS)?;
    namespace.apply_topic("orders", 3)?;
    namespace.wait_ready("kafkatopic/orders")?;
    assert_eq!(partitions(&lane, &namespace, "orders")?, 3);
    let created = namespace.object(&["kafkatopic/orders"])?;
    let id = created["status"]["topicId"].as_str().unwrap_or_default().to_owned();
    assert_eq!(id.len(), 22, "a topic id is 22 characters: {created:#}");

    namespace.apply_topic("orders", 5)?;
    wait_for_partitions(&lane, &namespace, 5)?;
    let grown = namespace.wait_for("the status shows 5 partitions", "kafkatopic/orders", |topic| {
        topic["status"]["partitions"] == 5
    })?;
    assert_eq!(grown["status"]["topicId"], id.as_str());

    // Behind the operator's back: a client deletes the topic, and it comes back under a new id.
    let wire = Wire::new(shim::path(&lane.site, "enter"));
    wire.send(&namespace.broker(2), &wire::delete_topic("orders"))?;
    namespace.wait_for("the topic is back", "kafkatopic/orders", |topic| {
        let status = &topic["status"];
        status["partitions"] == 5
            && status["topicId"].as_str().is_some_and(|now| !now.is_empty() && now != id)
    })?;
    wait_for_partitions(&lane, &namespace, 5)?;

    namespace.kubectl(&["delete", "kafkatopic", "orders", "--timeout=120s"])?;
    wait_for_partitions(&lane, &namespace, 0)?;
    namespace.remove()
}

#[test]
fn a_config_changed_by_a_client_is_brought_back() -> Result<()> {
    let lane = node::ensure()?;
    let namespace = lane.namespace("e2e-topic-config")?;
    namespace.apply_cluster("{replicas: 1, storage: {size: 1Gi}}")?;
    namespace.apply(
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaTopic, metadata: {name: orders}, \
         spec: {clusterRef: {name: my}, partitions: 1, replicas: 1, config: {retention.ms: 86400000}}}",
    )?;
    namespace.wait_ready("kafkatopic/orders")?;
    let wire = Wire::new(shim::path(&lane.site, "enter"));
    let is_set_to = |value: &str| -> Result<bool> {
        let answer =
            wire.send(&namespace.broker(0), &wire::describe_topic_config("orders", "retention.ms"))?;
        Ok(answer.windows(value.len()).any(|window| window == value.as_bytes()))
    };
    assert!(is_set_to("86400000")?);
    wire.send(&namespace.broker(0), &wire::set_topic_config("orders", "retention.ms", "60001"))?;
    wait_until("the declared value is back", LIMIT, INTERVAL, || match is_set_to("86400000") {
        Ok(true) => Answer::Yes,
        Ok(false) => Answer::NotYet("another value".to_owned()),
        Err(error) => Answer::NotYet(format!("{error:#}")),
    })?;
    namespace.remove()
}
