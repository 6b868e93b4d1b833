//! Bridge, cables and routes between the network namespaces of a site.

use anyhow::{Context, Result};

use crate::command::program;
use crate::kube::{FABRIC_ADDRESS, Node, SERVICE_RANGE};
use crate::site::{Network, Site};
use crate::step::Log;

/// Makes the network of the control plane, with the bridge all nodes are plugged into.
pub fn ensure_fabric(site: &Site, log: &Log) -> Result<()> {
    let fabric = site.fabric();
    if !ensure_namespace(&fabric, log)? {
        return Ok(());
    }
    ip(&fabric, log, "link add br0 type bridge")?;
    ip(&fabric, log, &format!("addr add {FABRIC_ADDRESS}/16 dev br0"))?;
    ip(&fabric, log, "link set br0 up")
}

/// Makes the network of `node`, plugs it into the bridge and lays the routes of its pods everywhere.
pub fn ensure_node(site: &Site, node: Node, count: u8, log: &Log) -> Result<()> {
    let (fabric, network) = (site.fabric(), site.node_network(&node.name()));
    if !ensure_namespace(&network, log)? {
        return Ok(());
    }
    let port = format!("p{}", node.number);
    ip(&fabric, log, &format!("link add {port} type veth peer name eth0 netns {}", network.name()))?;
    ip(&fabric, log, &format!("link set {port} master br0 up"))?;
    ip(&network, log, &format!("addr add {}/24 dev eth0", node.address()))?;
    ip(&network, log, "link set eth0 up")?;
    ip(&network, log, &format!("route add default via {FABRIC_ADDRESS}"))?;
    for other in Node::first(count).filter(|other| *other != node) {
        ip(&network, log, &format!("route add {} via {}", other.pod_range(), other.address()))?;
    }
    ip(&fabric, log, &format!("route replace {} via {}", node.pod_range(), node.address()))?;
    if node.number == 1 {
        // Services exist in the packet rules of the nodes; the fabric reaches them by way of the first.
        ip(&fabric, log, &format!("route replace {SERVICE_RANGE} via {}", node.address()))?;
    }
    network.program("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).log(log)
}

/// Makes a network namespace; returns whether it was not there. One without a loopback interface that is
/// up was left by a crash half-way and is made again.
fn ensure_namespace(network: &Network, log: &Log) -> Result<bool> {
    if network.path().exists() {
        if is_complete(network) {
            return Ok(false);
        }
        remove(network)?;
    }
    program("ip").args(["netns", "add", network.name()]).log(log)?;
    ip(network, log, "link set lo up")?;
    Ok(true)
}

/// Whether the last thing a network gets is there: the bridge or the cable, up.
fn is_complete(network: &Network) -> bool {
    ["br0", "eth0"].iter().any(|link| {
        let shown = network.program("ip").args(["-4", "-o", "addr", "show", "dev", link, "up"]).read();
        shown.is_ok_and(|text| text.contains("inet "))
    })
}

/// Deletes a network namespace if it is there.
pub fn remove(network: &Network) -> Result<()> {
    if network.path().exists() {
        program("ip").args(["netns", "delete", network.name()]).read()?;
    }
    Ok(())
}

/// The network namespaces of a site that exist, those of pods and nodes first.
pub fn existing(site: &Site) -> Result<Vec<Network>> {
    let mut networks = pods(site)?;
    networks.extend(
        Node::first(u8::MAX).map(|node| site.node_network(&node.name())).filter(|node| node.path().exists()),
    );
    networks.extend(Some(site.fabric()).filter(|fabric| fabric.path().exists()));
    Ok(networks)
}

/// The network namespaces of pods of the process lane that exist.
pub fn pods(site: &Site) -> Result<Vec<Network>> {
    let mut networks = Vec::new();
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Ok(networks) };
    let prefix = format!("{}-pod", site.fabric().name());
    for entry in entries {
        let name = entry.context("list /run/netns")?.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix(&prefix).and_then(|number| number.parse().ok());
        networks.extend(number.map(|number| site.pod_network(number)));
    }
    Ok(networks)
}

fn ip(network: &Network, log: &Log, words: &str) -> Result<()> {
    program("ip").args(["-n", network.name()]).args(words.split(' ')).log(log)
}
