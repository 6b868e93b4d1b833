//! Clusters of processes, made as `docs/first-cluster.md` says: edited copies of `examples/server.properties`,
//! formatted with one list of first controllers, started.

use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::{Bench, http};
use crate::ports;
use crate::repository;
use crate::server::Server;

/// What one process of a cluster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Broker and controller in one.
    Combined,
    /// A controller alone.
    Controller,
    /// A broker alone.
    Broker,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub server: Server,
    /// Its id.
    pub id: u32,
    /// Its properties file.
    pub properties: PathBuf,
    /// Its log directories: `node-<id>` in the story's own directory, and `node-<id>-2` and so on.
    pub directories: Vec<PathBuf>,
    role: Role,
    controller: String,
    http: String,
}

impl Node {
    /// Whether clients may talk to it.
    #[must_use]
    pub fn is_broker(&self) -> bool {
        self.role != Role::Controller
    }

    /// Where its controller listener is, if it is a controller.
    #[must_use]
    pub fn controller(&self) -> &str {
        &self.controller
    }

    /// Where its probes and metrics are.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }
}

impl Role {
    fn text(self) -> &'static str {
        match self {
            Self::Combined => "broker,controller",
            Self::Controller => "controller",
            Self::Broker => "broker",
        }
    }

    fn is_controller(self) -> bool {
        self != Self::Broker
    }

    fn listeners(self, broker: &str, controller: &str) -> String {
        let (broker, controller) = (format!("PLAINTEXT://{broker}"), format!("CONTROLLER://{controller}"));
        match self {
            Self::Combined => format!("{broker},{controller}"),
            Self::Controller => controller,
            Self::Broker => broker,
        }
    }
}

/// Makes and formats a cluster of these roles, with ids from 1; nothing runs yet.
pub fn format(bench: &Bench, roles: &[Role]) -> Result<Vec<Node>> {
    format_with_directories(bench, roles, 1)
}

/// The same with so many log directories on each node.
pub fn format_with_directories(bench: &Bench, roles: &[Role], directories: u32) -> Result<Vec<Node>> {
    let nodes: Vec<Node> =
        (1..).zip(roles).map(|(id, role)| make(bench, id, *role, directories)).collect::<Result<Vec<_>>>()?;
    let controllers: Vec<&Node> = nodes.iter().filter(|node| node.role.is_controller()).collect();
    let addresses: Vec<&str> = controllers.iter().map(|node| node.controller.as_str()).collect();
    let uuid = || Ok::<_, anyhow::Error>(bench.ottla(&["storage", "random-uuid"]).read()?.trim().to_owned());
    let first = controllers
        .iter()
        .map(|node| Ok(format!("{}@{}:{}", node.id, node.controller, uuid()?)))
        .collect::<Result<Vec<_>>>()?
        .join(",");
    let cluster = uuid()?;
    for node in &nodes {
        let text = properties(node, &addresses.join(","))?;
        fs::write(&node.properties, text).with_context(|| format!("write {}", node.properties.display()))?;
        let mut words = vec!["storage", "format", "-t", &cluster];
        if node.role.is_controller() {
            words.extend(["--initial-controllers", &first]);
        }
        bench.ottla(&words).arg("-c").arg(&node.properties).read()?;
    }
    Ok(nodes)
}

/// Makes and formats one more controller for a cluster, which votes only when somebody adds it; it does not run yet.
pub fn format_another(bench: &Bench, nodes: &[Node], role: Role) -> Result<Node> {
    let id = nodes.iter().map(|node| node.id).max().unwrap_or_default() + 1;
    let node = make(bench, id, role, 1)?;
    let first = nodes.first().context("a cluster has nodes")?;
    let text = fs::read_to_string(&first.properties).context("read the first node's properties")?;
    let known = "controller.quorum.bootstrap.servers=";
    let controllers = text.lines().find_map(|line| line.strip_prefix(known)).context("no controllers")?;
    let text = properties(&node, controllers)?;
    fs::write(&node.properties, text).with_context(|| format!("write {}", node.properties.display()))?;
    let cluster = meta(bench, first, "cluster.id")?;
    let words = ["storage", "format", "-t", &cluster, "--no-initial-controllers"];
    bench.ottla(&words).arg("-c").arg(&node.properties).read()?;
    Ok(node)
}

/// The id of the directory that a node was formatted with.
pub fn directory_id(bench: &Bench, node: &Node) -> Result<String> {
    meta(bench, node, "directory.id")
}

/// What a node's `meta.properties` says.
fn meta(bench: &Bench, node: &Node, key: &str) -> Result<String> {
    let path = bench.path(&format!("node-{}/meta.properties", node.id));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.map(str::to_owned).with_context(|| format!("no {key} in {}", path.display()))
}

/// Makes, formats and starts a cluster, and waits until every node is in service.
pub fn start(bench: &Bench, roles: &[Role]) -> Result<Vec<Node>> {
    let mut nodes = format(bench, roles)?;
    spawn_all(&mut nodes)?;
    wait_until_ready(&mut nodes)?;
    Ok(nodes)
}

/// Starts every node.
pub fn spawn_all(nodes: &mut [Node]) -> Result<()> {
    nodes.iter_mut().try_for_each(|node| node.server.spawn())
}

/// Waits until every node says that it is in service.
pub fn wait_until_ready(nodes: &mut [Node]) -> Result<()> {
    nodes.iter_mut().try_for_each(|node| {
        let address = node.http.clone();
        node.server.wait_until("is in service", || http(&address, "/readyz").map(drop))
    })
}

/// Asks all nodes to stop, at the same time, and waits until they have.
pub fn stop_all(nodes: &mut [Node]) -> Result<()> {
    thread::scope(|scope| {
        let stops: Vec<_> = nodes.iter_mut().map(|node| scope.spawn(|| node.server.stop())).collect();
        stops.into_iter().try_for_each(|stop| stop.join().map_err(|_| anyhow!("a stop panicked"))?)
    })
}

/// The brokers' addresses, joined as clients take them.
#[must_use]
pub fn bootstrap(nodes: &[Node]) -> String {
    let brokers = nodes.iter().filter(|node| node.is_broker());
    brokers.map(|node| node.server.address()).collect::<Vec<_>>().join(",")
}

fn make(bench: &Bench, id: u32, role: Role, directories: u32) -> Result<Node> {
    let address = |port: u16| format!("127.0.0.1:{port}");
    let (client, http) = (ports::free()?, ports::free()?);
    let (broker, controller) = (address(client), address(client + 1));
    let name = format!("node-{id}");
    let properties = bench.path(&format!("{name}.properties"));
    let directory = |number: u32| match number {
        1 => bench.path(&name),
        _ => bench.path(&format!("{name}-{number}")),
    };
    let directories = (1..=directories).map(directory).collect();
    let reached = if role == Role::Controller { &controller } else { &broker };
    let server = bench.node(&name, &properties, reached);
    Ok(Node { server, id, properties, directories, role, controller, http: address(http) })
}

/// The example, edited. Each key must be there already: what a reader of the example does not see is not used.
fn properties(node: &Node, controllers: &str) -> Result<String> {
    let path = repository::root().join("examples/server.properties");
    let mut text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let listeners = node.role.listeners(node.server.address(), &node.controller);
    let directories: Vec<String> =
        node.directories.iter().map(|directory| directory.display().to_string()).collect();
    for (key, value) in [
        ("process.roles", node.role.text()),
        ("node.id", &node.id.to_string()),
        ("log.dirs", &directories.join(",")),
        ("controller.quorum.bootstrap.servers", controllers),
        ("listeners", &listeners),
        ("advertised.listeners", &listeners),
        ("ottla.http.listener", &node.http),
    ] {
        text = with_value(&text, key, value)?;
    }
    Ok(text)
}

fn with_value(text: &str, key: &str, value: &str) -> Result<String> {
    let prefix = format!("{key}=");
    ensure!(text.lines().any(|line| line.starts_with(&prefix)), "the example has no {key}");
    let edit = |line: &str| {
        if line.starts_with(&prefix) { format!("{prefix}{value}\n") } else { format!("{line}\n") }
    };
    Ok(text.lines().map(edit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_where_the_key_is_and_an_absent_key_is_an_error() {
        assert_eq!(with_value("a=1\nb=2\n", "b", "3").unwrap(), "a=1\nb=3\n");
        assert!(with_value("ab=1\n", "a", "3").is_err());
    }
}
