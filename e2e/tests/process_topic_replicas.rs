//! The replicas of a topic become fewer, more and too many by editing its object, in a running cluster: clients that
//! produce and consume all the while see no error, and Kafka's own tool shows what is declared.

use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::command::program;
use e2e::kafka::Kafka;
use e2e::kcat::{self, Partition, Record};
use e2e::lane::namespace::{LIMIT, Namespace, THREE_BROKERS, message};
use e2e::lane::{Lane, process};
use e2e::shim;
use e2e::step::Steps;

const TOPIC: &str = "resized";
const PARTITIONS: usize = 6;

fn declare(namespace: &Namespace<'_>, replicas: usize) -> Result<()> {
    namespace.apply(&format!(
        "{{apiVersion: ottla.dev/v1alpha1, kind: KafkaTopic, metadata: {{name: {TOPIC}}}, \
         spec: {{clusterRef: {{name: my}}, partitions: {PARTITIONS}, replicas: {replicas}}}}}",
    ))
}

/// Waits until a client sees so many replicas of each partition, all of them in sync.
fn wait_for_replicas(lane: &Lane, namespace: &Namespace<'_>, replicas: usize) -> Result<()> {
    let has_them = |one: &Partition| one.replicas.len() == replicas && one.isr == one.replicas;
    let wanted = |seen: &[Partition]| seen.len() == PARTITIONS && seen.iter().all(has_them);
    let what = format!("{replicas} replicas of each partition, all in sync");
    lane.kcat.wait_for_partitions(&namespace.bootstrap(), TOPIC, &what, LIMIT, wanted).map(drop)
}

/// Declares so many replicas and waits until the topic has them, by its object and for a client.
fn resize(lane: &Lane, namespace: &Namespace<'_>, replicas: usize) -> Result<()> {
    declare(namespace, replicas)?;
    namespace.wait_for(&format!("{replicas} replicas"), &format!("kafkatopic/{TOPIC}"), |topic| {
        let status = &topic["status"];
        status["observedGeneration"] == topic["metadata"]["generation"]
            && status["replicas"] == replicas
            && status["replicasChange"].is_null()
            && message(topic, "Ready").ends_with("is as declared")
    })?;
    wait_for_replicas(lane, namespace, replicas)
}

/// The reasons of the events about the topic.
fn events(namespace: &Namespace<'_>) -> Result<Vec<String>> {
    let list = namespace.object(&["events.events.k8s.io"])?;
    let of_topic = |event: &&serde_json::Value| event["regarding"]["name"] == TOPIC;
    let items = list["items"].as_array().context("a list has items")?;
    Ok(items.iter().filter(of_topic).map(|event| event["reason"].to_string()).collect())
}

/// What Kafka's own tool shows of the topic.
fn described(lane: &Lane, namespace: &Namespace<'_>) -> Result<String> {
    let kafka = Kafka::ensure(&Steps::new(lane.site.logs()))?;
    program(shim::path(&lane.site, "enter"))
        .arg("java")
        .args(kafka.tool_words("org.apache.kafka.tools.TopicCommand"))
        .args(["--bootstrap-server", &namespace.bootstrap(), "--describe", "--topic", TOPIC])
        .read()
}

#[test]
fn clients_notice_nothing_while_a_topic_gets_fewer_and_more_replicas() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-topic-replicas")?;
    namespace.apply_cluster(THREE_BROKERS)?;
    declare(&namespace, 3)?;
    namespace.wait_ready(&format!("kafkatopic/{TOPIC}"))?;
    let bootstrap = namespace.brokers();
    let mut written: Vec<Record> = Vec::new();

    thread::scope(|scope| -> Result<()> {
        let resized = scope.spawn(|| -> Result<()> {
            for replicas in [2, 3, 1, 3] {
                resize(&lane, &namespace, replicas).with_context(|| format!("to {replicas} replicas"))?;
            }
            // A wrong value says what to do, changes nothing, and is mended by a right one.
            declare(&namespace, 5)?;
            namespace.wait_for("the remedy", &format!("kafkatopic/{TOPIC}"), |topic| {
                let change = &topic["status"]["replicasChange"];
                message(topic, "Ready").contains("set replicas to 3 at most")
                    && change["state"] == "pending"
                    && change["targetReplicas"] == 5
            })?;
            wait_for_replicas(&lane, &namespace, 3)?;
            resize(&lane, &namespace, 2)
        });
        let mut round = 0;
        while !resized.is_finished() {
            round += 1;
            let records = kcat::marked_records(60, &format!("round {round}"));
            lane.kcat.produce(&bootstrap, TOPIC, &records).with_context(|| format!("round {round}"))?;
            written.extend(records);
            let read = lane.kcat.consume(&bootstrap, TOPIC).with_context(|| format!("round {round}"))?;
            ensure!(kcat::lost(&written, &read).is_empty(), "round {round}: records are lost");
        }
        resized.join().map_err(|_| anyhow!("the resizing thread panicked"))?
    })?;

    kcat::compare(&written, &lane.kcat.consume(&namespace.bootstrap(), TOPIC)?)?;
    let events = events(&namespace)?;
    let times = |reason: &str| events.iter().filter(|event| **event == format!("{reason:?}")).count();
    ensure!(times("ReplicasChanging") == 5 && times("ReplicasChanged") == 5, "{events:?}");
    let described = described(&lane, &namespace)?;
    ensure!(described.contains("ReplicationFactor: 2"), "{described}");
    ensure!(!described.contains("Adding Replicas"), "a move is not over: {described}");
    namespace.remove()
}
