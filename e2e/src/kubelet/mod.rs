//! The process lane's kubelet: it runs one real process for each Pod, without containers.
//!
//! Each pod gets a network namespace on the site's bridge, a directory as its root (the binary, what its
//! volumes hold, a resolver), the directory of its volume, and its probes are honoured. It stands for three
//! nodes at once. It knows what our pods use (one container, config maps, a projected service account, claims on
//! `local` volumes, `httpGet` probes) and refuses everything else loudly.
//!
//! It talks plain HTTP to a `kubectl proxy`, and asks for the list of pods again and again: a watch would be
//! quicker by a tenth of a second and much more to read.

mod api;
mod container;
mod instance;
mod node;
mod probe;
mod sandbox;
mod volume;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::control_group;
use crate::kube::Node;
use crate::site::Site;
use crate::step::say;

use api::Api;
pub use api::PROXY_PORT;
use instance::Instance;

/// How many nodes it stands for, each in a zone of its own.
pub const NODES: u8 = 3;
/// How often pods and probes are looked at.
const ROUND: Duration = Duration::from_millis(100);

/// The control group of all pods of `site`.
#[must_use]
pub fn control_group(site: &Site) -> String {
    format!("{}/pods", site.control_group())
}

/// Runs until it is killed.
pub fn run(site: &Site) -> Result<()> {
    // Processes of a kubelet before this one: to Kubernetes it looks as if the machine had started anew.
    control_group::remove(&control_group(site))?;
    control_group::create(&control_group(site))?;
    for network in crate::kube::network::pods(site)? {
        crate::kube::network::remove(&network)?;
    }
    let api = Api;
    for node in Node::first(NODES) {
        node::register(&api, node)?;
    }
    let mut instances: BTreeMap<String, Instance> = BTreeMap::new();
    let mut next_pod_number = 0;
    // On a thread of its own: whatever pods keep the loop below waiting for, the nodes live.
    thread::spawn(report_nodes);
    loop {
        let started = Instant::now();
        report(round(site, &api, &mut instances, &mut next_pod_number));
        thread::sleep(ROUND.saturating_sub(started.elapsed()));
    }
}

/// Says of every node again and again that it lives.
fn report_nodes() {
    loop {
        for node in Node::first(NODES) {
            report(node::report_alive(&Api, node));
        }
        thread::sleep(node::LEASE_RENEWAL);
    }
}

/// Starts, looks after and ends pods once.
fn round(
    site: &Site,
    api: &Api,
    instances: &mut BTreeMap<String, Instance>,
    next_pod_number: &mut u16,
) -> Result<()> {
    let pods = api.get("/api/v1/pods?resourceVersion=0")?;
    let mut seen = Vec::new();
    for pod in pods["items"].as_array().context("a list without items")? {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !Node::first(NODES).any(|ours| ours.name() == node) {
            continue;
        }
        let uid = pod["metadata"]["uid"].as_str().context("a pod without uid")?.to_owned();
        seen.push(uid.clone());
        let instance = instances.entry(uid.clone()).or_insert_with(|| {
            *next_pod_number += 1;
            Instance::new(site, *next_pod_number)
        });
        report(instance.advance(api, pod).with_context(|| format!("pod {}", pod["metadata"]["name"])));
    }
    // A pod that is gone from the API server was deleted by force: nobody waits for it any more.
    let gone: Vec<String> = instances.keys().filter(|uid| !seen.contains(uid)).cloned().collect();
    for uid in gone {
        if let Some(mut instance) = instances.remove(&uid) {
            report(instance.discard());
        }
    }
    Ok(())
}

/// One pod's trouble must not stop the others; it is tried again in the next round.
fn report(result: Result<()>) {
    if let Err(error) = result {
        say(&format!("{error:#}"));
    }
}
