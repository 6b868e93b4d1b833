//! Who a node is, where it listens, where its data lies.

use super::other_name;
use crate::key::{ConfigType, Key, Validator};

/// Of `cordoned.log.dirs`: every directory of the broker (KIP-1066).
const ALL_DIRECTORIES: &str = "*";

pub(super) const KEYS: &[Key] = &[
    Key::required("process.roles", ConfigType::List, "What the node does: \"broker\" stores data and serves clients, \"controller\" votes on the cluster's metadata. Both in one process is fine for small clusters.")
        .valid(Validator::ListOf(&["broker", "controller"]))
        .high(),
    Key::required("node.id", ConfigType::Int, "The node's number, unique in the cluster and never changed: the data directory remembers it.")
        .at_least(0)
        .high()
        .synonyms(&[other_name("broker.id", ConfigType::Int)]),
    Key::unset("broker.id", ConfigType::Int, "The older name of node.id. If both are set they must agree.").at_least(0),
    Key::unset("broker.rack", ConfigType::String, "The rack or zone the node stands in. Replicas of a partition are spread over racks."),
    Key::list(
        "listeners",
        "PLAINTEXT://:9092",
        "Where the node accepts connections, as NAME://HOST:PORT. No host listens on all interfaces. A controller lists its controller listener here too.",
    )
    .valid(Validator::NotEmpty)
    .high(),
    Key::unset(
        "advertised.listeners",
        ConfigType::List,
        "The addresses told to clients and to other nodes, as NAME://HOST:PORT. Unset: as listeners, with the machine's own name where no host is given.",
    )
    .high(),
    Key::list(
        "listener.security.protocol.map",
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "The security protocol of each listener, as NAME:PROTOCOL. Only PLAINTEXT works yet; a listener with another protocol is refused. Controller listeners that are not listed are PLAINTEXT while no listener uses TLS or SASL.",
    ),
    Key::unset(
        "inter.broker.listener.name",
        ConfigType::String,
        "The listener that brokers use among themselves; max.connections does not count its connections where clients have another one. Unset: the first listener with the protocol that security.inter.broker.protocol names.",
    ),
    Key::string("security.inter.broker.protocol", "PLAINTEXT", "The protocol brokers use among themselves when inter.broker.listener.name is not set.")
        .valid(Validator::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]))
        .default_only("listeners are PLAINTEXT only yet"),
    Key::required(
        "log.dirs",
        ConfigType::List,
        "The directories that hold the data, each formatted with `ottla storage format` before the first start. There is no default: data in a temporary directory is a trap.",
    )
    .valid(Validator::NotEmpty)
    .high()
    .synonyms(&[other_name("log.dir", ConfigType::List)]),
    Key::unset("log.dir", ConfigType::List, "The data directories, if log.dirs is not set.").high(),
    Key::list(
        "cordoned.log.dirs",
        "",
        "The log directories of a broker that get no new replicas: \"*\", which is all of them, or none. New topics and partitions are placed on other brokers, and what the broker has stays; replicas can still be put there by name. Set while the cluster runs; a properties file cannot set it.",
    )
    .valid(Validator::Custom {
        wanted: "\"*\" for all directories of the broker, or nothing, since single ones cannot be cordoned",
        accepts: |entry| entry == ALL_DIRECTORIES,
    })
    .cluster_wide(),
    Key::unset("metadata.log.dir", ConfigType::String, "The directory that holds the cluster's metadata. Unset: the first of log.dirs.").high(),
];
