//! A changed configuration reaches every broker, one at a time, under the eyes of a producer that notices nothing;
//! afterwards the operator is at rest and writes nothing at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::command::{Answer, wait_until};
use e2e::figures;
use e2e::kcat::{self, Record};
use e2e::lane::namespace::{LIMIT, Namespace, condition};
use e2e::lane::process;
use serde_json::Value;

/// How long the operator is watched at rest; `cargo xtask figures` watches it for 5 minutes.
const REST: Duration = Duration::from_secs(45);

/// The pods by name: their identity, and whether they are ready.
fn pods(namespace: &Namespace<'_>) -> Result<BTreeMap<String, (String, bool)>> {
    let list = namespace.object(&["pods", "-l", "ottla.dev/cluster=my"])?;
    let items: &[Value] = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(items
        .iter()
        .map(|pod| {
            let ready = condition(pod, "Ready") == "True" && pod["metadata"]["deletionTimestamp"].is_null();
            (pod["metadata"]["name"].to_string(), (pod["metadata"]["uid"].to_string(), ready))
        })
        .collect())
}

#[test]
fn a_changed_configuration_rolls_through_the_brokers_one_by_one() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-rolls")?;
    namespace.start_cluster()?;
    let bootstrap = namespace.brokers();
    let before = pods(&namespace)?;
    assert_eq!(before.len(), 3);

    namespace.apply_cluster("{replicas: 3, storage: {size: 1Gi}, config: {log.retention.hours: 24}}")?;
    let mut written: Vec<Record> = Vec::new();
    let mut worst = 0;
    let mut round = 0;
    thread::scope(|scope| -> Result<()> {
        let rolled = scope.spawn(|| {
            wait_until("every broker is another one and ready", LIMIT, Duration::from_millis(100), || {
                let now = match pods(&namespace) {
                    Ok(now) => now,
                    Err(error) => return Answer::NotYet(format!("{error:#}")),
                };
                worst = worst.max(3 - now.values().filter(|(_, ready)| *ready).count().min(3));
                let renewed = now.iter().filter(|(name, (uid, ready))| {
                    *ready && before.get(*name).is_some_and(|(old, _)| old != uid)
                });
                if renewed.count() == 3 { Answer::Yes } else { Answer::NotYet(format!("{now:?}")) }
            })
        });
        while !rolled.is_finished() {
            round += 1;
            let records = kcat::marked_records(40, &round.to_string());
            lane.kcat.produce(&bootstrap, "orders", &records).with_context(|| format!("round {round}"))?;
            written.extend(records);
        }
        rolled.join().map_err(|_| anyhow!("the watching thread panicked"))?
    })?;
    ensure!(worst <= 1, "{worst} brokers were away at the same time");
    let lost = kcat::lost(&written, &lane.kcat.consume(&namespace.bootstrap(), "orders")?);
    ensure!(lost.is_empty(), "{} of {} acknowledged records are lost: {lost:?}", lost.len(), written.len());
    namespace.wait_for("the roll is over", "kafkacluster/my", |cluster| {
        condition(cluster, "Ready") == "True" && condition(cluster, "Progressing") != "True"
    })?;

    let writes = figures::writes_at_rest(&lane, REST)?;
    ensure!(writes.is_empty(), "the operator writes at rest: {writes:#?}");
    namespace.remove()
}
