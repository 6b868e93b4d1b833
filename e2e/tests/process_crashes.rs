//! However often brokers crash, alone and together, what was acknowledged is there.

use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::kcat::{self, Record};
use e2e::lane::process;

/// How many times one or more brokers are killed.
const ROUNDS: usize = 30;
const PODS: [&str; 3] = ["my-nodes-0", "my-nodes-1", "my-nodes-2"];

/// Which pods die in a round: each alone, each pair, all of them, then again.
fn victims(round: usize) -> Vec<&'static str> {
    let set = 1 + round % 7;
    (0..PODS.len()).filter(|bit| set & (1 << bit) != 0).map(|bit| PODS[bit]).collect()
}

fn batch(round: usize) -> Vec<Record> {
    kcat::records(50)
        .into_iter()
        .map(|record| Record { value: format!("{round} {}", record.value), ..record })
        .collect()
}

#[test]
fn acknowledged_records_survive_crash_after_crash() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-crashes")?;
    namespace.apply_cluster("{replicas: 3, storage: {size: 1Gi}}")?;
    namespace.apply_topic("orders", 6)?;
    namespace.wait_ready("kafkacluster/my")?;
    namespace.wait_ready("kafkatopic/orders")?;
    let mut written = Vec::new();
    for round in 0..ROUNDS {
        let records = batch(round);
        let bootstrap =
            PODS.iter().enumerate().map(|(ordinal, _)| u32::try_from(ordinal).map(|n| namespace.broker(n)));
        let bootstrap = bootstrap.collect::<Result<Vec<_>, _>>()?.join(",");
        thread::scope(|scope| -> Result<()> {
            // The client is at work while its brokers die; it tells apart what was acknowledged and what was not.
            let producing = scope.spawn(|| lane.kcat.produce(&bootstrap, "orders", &records));
            for pod in victims(round) {
                // One that has not come back yet from the round before cannot die again.
                let _ = namespace.crash(pod);
            }
            producing.join().map_err(|_| anyhow!("the producing thread panicked"))?
        })
        .with_context(|| format!("round {round}: produce while {:?} crash", victims(round)))?;
        written.extend(records);
    }
    namespace.wait_ready("kafkacluster/my")?;
    let read = lane.kcat.consume(&namespace.bootstrap(), "orders")?;
    let lost = kcat::lost(&written, &read);
    ensure!(lost.is_empty(), "{} of {} acknowledged records are lost: {lost:?}", lost.len(), written.len());
    namespace.remove()
}
