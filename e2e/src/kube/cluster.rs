//! A whole cluster: control plane, nodes, name server, storage.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::control_group;
use crate::kube::certificates::Certificates;
use crate::kube::kubeconfig::write_if_changed;
use crate::kube::{Node, Programs, control_plane, dns, network, node, storage};
use crate::kubectl::Kubectl;
use crate::site::Site;
use crate::step::{Log, Steps};

/// How many nodes a cluster has: enough for three brokers, each on a node and in a zone of its own.
pub const NODES: u8 = 3;
/// Nodes are Ready in 13 s here; ten times that on a busy machine.
const NODES_LIMIT: Duration = Duration::from_secs(130);

/// Starts what does not run. `archives` are loaded into every node before its kubelet starts.
pub fn ensure(site: &Site, programs: &Programs, archives: &[PathBuf], steps: &Steps) -> Result<Kubectl> {
    let kubectl = Kubectl::of_site(site, programs);
    let certificates = steps.run("networks and certificates", |log| {
        control_group::create(&format!("{}/system", site.control_group()))?;
        network::ensure_fabric(site, log)?;
        for node in Node::first(NODES) {
            network::ensure_node(site, node, NODES, log)?;
        }
        write_if_changed(&site.path("resolv-node.conf"), "")?;
        Certificates::ensure(site, NODES, log)
    })?;
    steps.run("control plane", |_| {
        control_plane::ensure_api_server(site, programs, &certificates)?;
        control_plane::ensure_controllers(site, programs, &certificates)?;
        kubectl.apply(&format!("{}---{}", dns::ROLES, storage::CLASS_MANIFEST))?;
        dns::ensure(site, programs, &certificates)
    })?;
    steps.run(&format!("{NODES} nodes"), |log| {
        thread::scope(|scope| {
            let starts: Vec<_> = Node::first(NODES)
                .map(|node| {
                    let (certificates, kubectl) = (&certificates, &kubectl);
                    scope
                        .spawn(move || start_node(site, node, programs, certificates, archives, kubectl, log))
                })
                .collect();
            starts.into_iter().try_for_each(|start| {
                start.join().map_err(|_| anyhow!("the thread that starts a node panicked"))?
            })
        })?;
        let limit = format!("--timeout={}s", NODES_LIMIT.as_secs());
        let names: Vec<String> = Node::first(NODES).map(|node| format!("node/{}", node.name())).collect();
        // `wait` gives up on an object that is not there yet, so first wait for them to register.
        for name in &names {
            kubectl.read(&["wait", "--for=create", name, &limit])?;
        }
        let mut words = vec!["wait", "--for=condition=Ready", &limit];
        words.extend(names.iter().map(String::as_str));
        kubectl.read(&words).map(|_| ())
    })?;
    Ok(kubectl)
}

fn start_node(
    site: &Site,
    node: Node,
    programs: &Programs,
    certificates: &Certificates,
    archives: &[PathBuf],
    kubectl: &Kubectl,
    log: &Log,
) -> Result<()> {
    node::ensure_containerd(site, node)?;
    for archive in archives {
        node::load_image(site, node, archive, log)?;
    }
    node::ensure_agents(site, node, programs, certificates)?;
    kubectl.apply(&storage::volumes(site, node)?).map(|_| ())
}
