//! However often brokers crash, alone and together, what was acknowledged is there.

use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::kcat;
use e2e::lane::process;

/// How many times one or more brokers are killed; `OTTLA_CRASH_ROUNDS` asks for another number.
const ROUNDS: usize = 14;
const PODS: [&str; 3] = ["my-nodes-0", "my-nodes-1", "my-nodes-2"];

/// Which pods die in a round: each alone, each pair, all of them, then again.
fn victims(round: usize) -> Vec<&'static str> {
    let set = 1 + round % 7;
    (0..PODS.len()).filter(|bit| set & (1 << bit) != 0).map(|bit| PODS[bit]).collect()
}

fn rounds() -> Result<usize> {
    match std::env::var("OTTLA_CRASH_ROUNDS") {
        Ok(number) => number.parse().context("OTTLA_CRASH_ROUNDS is no number"),
        Err(_) => Ok(ROUNDS),
    }
}

#[test]
fn acknowledged_records_survive_crash_after_crash() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-crashes")?;
    namespace.start_cluster()?;
    let bootstrap = namespace.brokers();
    let rounds = rounds()?;
    let mut written = Vec::new();
    let mut crashes = 0;
    for round in 0..rounds {
        let records = kcat::marked_records(50, &round.to_string());
        thread::scope(|scope| -> Result<()> {
            // The client is at work while its brokers die; it waits until every record is acknowledged.
            let producing = scope.spawn(|| lane.kcat.produce(&bootstrap, "orders", &records));
            for pod in victims(round) {
                // One that has not come back yet from the round before cannot die again.
                crashes += usize::from(namespace.crash(pod).is_ok());
            }
            producing.join().map_err(|_| anyhow!("the producing thread panicked"))?
        })
        .with_context(|| format!("round {round}: produce while {:?} crash", victims(round)))?;
        written.extend(records);
    }
    ensure!(crashes >= rounds, "only {crashes} crashes in {rounds} rounds");
    namespace.wait_ready("kafkacluster/my")?;
    let read = lane.kcat.consume(&namespace.bootstrap(), "orders")?;
    let lost = kcat::lost(&written, &read);
    ensure!(lost.is_empty(), "{} of {} acknowledged records are lost: {lost:?}", lost.len(), written.len());
    println!("{crashes} crashes, {} records acknowledged, none lost", written.len());
    namespace.remove()
}
