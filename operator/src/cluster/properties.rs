//! The node configuration, as one text for all nodes of a pool.
//!
//! What differs between nodes is left to the environment of their pods (`${env:NAME}`), so that the text, its
//! digest and with it the name of its ConfigMap change only when the configuration does.

use std::fmt::Write as _;

use super::{
    durability::{
        DEFAULT_REPLICATION_FACTOR, MIN_INSYNC_REPLICAS, OFFSETS_REPLICATION_FACTOR,
        default_replication_factor, min_insync_replicas,
    },
    validate::Cluster,
};
use crate::{
    crd::PlacementOfControllers,
    digest::digest_of_bytes,
    names::{PORT_CLIENT, PORT_CONTROLLER, PORT_HTTP, PORT_REPLICATION, Pool},
};

/// Where a pod's volume is mounted.
pub const VOLUME: &str = "/var/lib/ottla";
/// Where the data lies: below the mount, beside `lost+found`.
pub const DATA: &str = "/var/lib/ottla/data";

/// Whether clients make topics by asking for them.
const AUTO_CREATE: &str = "auto.create.topics.enable";

/// A rendered configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Properties {
    /// The file.
    pub text: String,
    /// Its digest, which the broker reports back.
    pub hash: ConfigHash,
}

/// The digest of a node's configuration.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ConfigHash(pub String);

/// Renders the configuration of a pool's nodes.
#[must_use]
pub fn render(cluster: &Cluster, pool: Pool) -> Properties {
    let combined = cluster.placement == PlacementOfControllers::Combined;
    let (controller, broker) = match pool {
        Pool::Nodes => (combined, true),
        Pool::Controllers => (true, false),
    };
    let host = format!("${{env:POD_NAME}}.{}.{}.svc", cluster.name.pool(pool), cluster.namespace);
    let mut listeners = Vec::new();
    if controller {
        listeners.push(("CONTROLLER", PORT_CONTROLLER));
    }
    if broker {
        listeners.push(("REPLICATION", PORT_REPLICATION));
        listeners.push(("PLAIN", PORT_CLIENT));
    }
    let join = |each: &dyn Fn(&str, u16) -> String| {
        listeners.iter().map(|(name, port)| each(name, *port)).collect::<Vec<_>>().join(",")
    };
    let roles = match (broker, controller) {
        (true, true) => "broker,controller",
        (true, false) => "broker",
        (false, _) => "controller",
    };
    let servers: Vec<String> =
        cluster.controller_addresses().into_iter().map(|(_, address)| address).collect();

    let mut lines = vec![
        ("process.roles", roles.to_owned()),
        ("node.id", "${env:NODE_ID}".to_owned()),
        ("log.dirs", DATA.to_owned()),
        ("listeners", join(&|name, port| format!("{name}://:{port}"))),
        ("advertised.listeners", join(&|name, port| format!("{name}://{host}:{port}"))),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,REPLICATION:PLAINTEXT,PLAIN:PLAINTEXT".to_owned(),
        ),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("controller.quorum.bootstrap.servers", servers.join(",")),
    ];
    if broker {
        lines.push(("inter.broker.listener.name", "REPLICATION".to_owned()));
        lines.push(("broker.rack", "${env:RACK}".to_owned()));
        // A client that asks before its KafkaTopic is reconciled would make another topic of that name (decision 0053).
        if !cluster.config.contains_key(AUTO_CREATE) {
            lines.push((AUTO_CREATE, "false".to_owned()));
        }
    }
    lines.push(("ottla.http.listener", format!(":{PORT_HTTP}")));
    let replicas = default_replication_factor(cluster);
    if replicas > 1 && !cluster.config.contains_key(DEFAULT_REPLICATION_FACTOR) {
        lines.push((DEFAULT_REPLICATION_FACTOR, replicas.to_string()));
    }
    // Kafka's default is three, and fewer brokers could not make the topic.
    if broker && replicas != 3 && !cluster.config.contains_key(OFFSETS_REPLICATION_FACTOR) {
        lines.push((OFFSETS_REPLICATION_FACTOR, replicas.to_string()));
    }

    let mut text = String::new();
    for (key, value) in lines {
        let _ = writeln!(text, "{key}={value}");
    }
    // Set in the running cluster instead, where it takes no restart.
    let live = min_insync_replicas(cluster).map(|_| MIN_INSYNC_REPLICAS);
    for (key, value) in cluster.config.iter().filter(|(key, _)| Some(key.as_str()) != live) {
        let _ = writeln!(text, "{key}={}", value.replace('\\', "\\\\"));
    }
    let hash = ConfigHash(digest_of_bytes(text.as_bytes()));
    let _ = writeln!(text, "ottla.config.hash={}", hash.0);
    Properties { text, hash }
}
