//! A whole cluster: control plane, nodes, name server, storage.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::command::{Answer, wait_until};
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
/// How often kubelets are started again while the nodes come up.
const KUBELET_STARTS_MAX: u32 = 5;

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
        wait_for_nodes(site, programs, &certificates, &kubectl)
    })?;
    Ok(kubectl)
}

/// Waits until every node is Ready. A kubelet that has ended is started again, as systemd does elsewhere: of kubelets
/// that start in the same moment two may want the machine's one socket for device plugins, and the second gives up.
fn wait_for_nodes(
    site: &Site,
    programs: &Programs,
    certificates: &Certificates,
    kubectl: &Kubectl,
) -> Result<()> {
    let mut starts_left = KUBELET_STARTS_MAX;
    let columns = "jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=='Ready')].status}{'\\n'}{end}";
    wait_until("all nodes are Ready", NODES_LIMIT, Duration::from_millis(300), || {
        for node in Node::first(NODES).filter(|node| !node::kubelet_runs(site, *node)) {
            let log = node::kubelet_log(site, node);
            if starts_left == 0 {
                return Answer::Never(format!("a kubelet ends again and again; read {}", log.display()));
            }
            starts_left -= 1;
            if let Err(error) = node::ensure_agents(site, node, programs, certificates) {
                return Answer::Never(format!("{error:#}"));
            }
        }
        let table = kubectl.read(&["get", "nodes", "-o", columns]).unwrap_or_default();
        let ready = table.lines().filter(|line| line.ends_with(" True")).count();
        if ready == usize::from(NODES) { Answer::Yes } else { Answer::NotYet(table) }
    })
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
