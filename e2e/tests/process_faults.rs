//! While one broker of three is frozen or cut off, topics are still made; when it is back, nothing is lost.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kcat::{self, Record};
use e2e::lane::namespace::{LIMIT, Namespace};
use e2e::lane::{Lane, process};
use e2e::shim;
use e2e::wire::{self, Wire};

const PODS: [&str; 3] = ["my-nodes-0", "my-nodes-1", "my-nodes-2"];

/// What can happen to a broker that goes on afterwards as if nothing had been.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Frozen,
    CutOff,
}

impl Fault {
    fn begin(self, namespace: &Namespace<'_>, pod: &str) -> Result<()> {
        match self {
            Self::Frozen => namespace.signal(pod, "STOP"),
            Self::CutOff => namespace.cut_off(pod),
        }
    }

    fn end(self, namespace: &Namespace<'_>, pod: &str) -> Result<()> {
        match self {
            Self::Frozen => namespace.signal(pod, "CONT"),
            Self::CutOff => namespace.reconnect(pod),
        }
    }
}

/// Waits until the brokers other than `victim` say that the topic is there.
fn wait_for_topic(lane: &Lane, namespace: &Namespace<'_>, victim: usize, topic: &str) -> Result<()> {
    let others: Vec<String> = (0..)
        .zip(PODS)
        .filter(|(ordinal, _)| *ordinal != victim)
        .map(|(ordinal, _)| ordinal)
        .filter_map(|ordinal| u32::try_from(ordinal).ok())
        .map(|ordinal| namespace.broker(ordinal))
        .collect();
    wait_until("the topic exists", LIMIT, Duration::from_millis(250), || {
        for broker in &others {
            match lane.kcat.metadata(broker, Some(topic)) {
                Ok(seen) if seen["topics"][0]["partitions"].as_array().is_some_and(|all| !all.is_empty()) => {
                }
                Ok(seen) => return Answer::NotYet(seen["topics"].to_string()),
                Err(error) => return Answer::NotYet(format!("{error:#}")),
            }
        }
        Answer::Yes
    })
}

/// The ordinal of the node that leads the quorum.
fn active_controller(wire: &Wire, namespace: &Namespace<'_>) -> Result<usize> {
    let mut found = 0;
    wait_until("who leads the quorum is told", LIMIT, Duration::from_millis(250), || {
        let answer = wire.send(&namespace.broker(0), &wire::describe_quorum());
        Answer::from(answer.and_then(|answer| wire::quorum_leader(&answer)).map(|leader| found = leader))
    })?;
    Ok(usize::try_from(found)?)
}

#[test]
fn a_frozen_or_cut_off_broker_stops_neither_the_controllers_nor_its_clients_for_good() -> Result<()> {
    let lane = process::ensure(Path::new(env!("CARGO_BIN_EXE_e2e")))?;
    let namespace = lane.namespace("e2e-faults")?;
    namespace.start_cluster()?;
    let bootstrap = namespace.brokers();
    let mut written: Vec<Record> = Vec::new();
    let wire = Wire::new(shim::path(&lane.site, "enter"));
    // In both ways the active controller and one that is not.
    for (fault, is_active) in
        [Fault::Frozen, Fault::CutOff].into_iter().flat_map(|fault| [(fault, true), (fault, false)])
    {
        let active = active_controller(&wire, &namespace)?;
        let victim = if is_active { active } else { (active + 1) % PODS.len() };
        let pod = PODS[victim];
        let what = || format!("{pod} {fault:?}");
        let topic = format!("while-{is_active}-{}", format!("{fault:?}").to_lowercase());
        let records = kcat::marked_records(50, &topic);
        thread::scope(|scope| -> Result<()> {
            fault.begin(&namespace, pod)?;
            let producing = scope.spawn(|| lane.kcat.produce(&bootstrap, "orders", &records));
            let made = namespace
                .apply_topic(&topic, 3)
                .and_then(|()| wait_for_topic(&lane, &namespace, victim, &topic));
            fault.end(&namespace, pod)?;
            made?;
            producing.join().map_err(|_| anyhow!("the producing thread panicked"))?
        })
        .with_context(what)?;
        written.extend(records);
        namespace.wait_ready(&format!("kafkatopic/{topic}")).with_context(what)?;
        namespace.wait_ready("kafkacluster/my").with_context(what)?;
    }
    let lost = kcat::lost(&written, &lane.kcat.consume(&namespace.bootstrap(), "orders")?);
    ensure!(lost.is_empty(), "{} of {} acknowledged records are lost: {lost:?}", lost.len(), written.len());
    namespace.remove()
}
