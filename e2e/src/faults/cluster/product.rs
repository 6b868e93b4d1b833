//! What a node runs, and what it is told: both products by the same keys.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::NODES;
use crate::command::program;
use crate::faults::network;
use crate::kafka::{self, Kafka};

/// The ids of the controllers, where they are nodes of their own.
const CONTROLLERS: [u32; 3] = [4, 5, 6];
pub(super) const CLIENT_PORT: u16 = 9092;
pub(super) const CONTROLLER_PORT: u16 = 9093;
pub(super) const CONTROLLER_LISTENER: &str = "CONTROLLER";
const HTTP_PORT: u16 = 8090;

/// What is run.
#[derive(Debug, Clone)]
pub enum Product {
    /// The binary of a build of ours.
    Ottla(PathBuf),
    /// Apache Kafka as released.
    Kafka(Kafka, Heap),
}

/// Which nodes decide about metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controllers {
    /// The brokers.
    Combined,
    /// Three nodes of their own.
    Apart,
}

impl Controllers {
    pub(super) fn ids(self) -> [u32; 3] {
        match self {
            Self::Combined => NODES,
            Self::Apart => CONTROLLERS,
        }
    }

    pub(super) fn nodes(self) -> BTreeSet<u32> {
        NODES.into_iter().chain(self.ids()).collect()
    }

    fn roles_of(self, id: u32) -> &'static str {
        match (self, NODES.contains(&id)) {
            (Self::Combined, _) => "broker,controller",
            (Self::Apart, true) => "broker",
            (Self::Apart, false) => "controller",
        }
    }
}

/// How much memory Kafka's brokers may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heap {
    /// As upstream's scripts set it.
    Upstream,
    /// As little as it takes, where nobody measures.
    Small,
}

impl Product {
    /// For tables.
    pub fn name(&self) -> Result<String> {
        Ok(match self {
            Self::Ottla(_) => "Ottla".to_owned(),
            Self::Kafka(..) => format!("Apache Kafka {}", kafka::version()?),
        })
    }

    /// The properties of a node whose only log directory is `data`.
    pub(super) fn properties(&self, controllers: Controllers, id: u32, data: &Path) -> String {
        let address = network::address(id);
        let voters: Vec<String> =
            controllers.ids().map(|id| format!("{}:{CONTROLLER_PORT}", network::address(id))).to_vec();
        let listeners = [
            NODES.contains(&id).then(|| format!("PLAINTEXT://{address}:{CLIENT_PORT}")),
            controllers
                .ids()
                .contains(&id)
                .then(|| format!("{CONTROLLER_LISTENER}://{address}:{CONTROLLER_PORT}")),
        ];
        let listeners = listeners.into_iter().flatten().collect::<Vec<_>>().join(",");
        let roles = controllers.roles_of(id);
        let own = match self {
            Self::Ottla(_) => format!("ottla.http.listener={address}:{HTTP_PORT}\n"),
            Self::Kafka(..) => {
                "offsets.topic.replication.factor=3\ntransaction.state.log.replication.factor=3\n\
                               group.initial.rebalance.delay.ms=0\n\
                               initial.broker.registration.timeout.ms=180000\n"
                    .to_owned()
            }
        };
        format!(
            "process.roles={roles}\nnode.id={id}\nlog.dirs={}\nlisteners={listeners}\n\
             advertised.listeners={listeners}\ncontroller.listener.names={CONTROLLER_LISTENER}\n\
             controller.quorum.bootstrap.servers={}\ndefault.replication.factor=3\n\
             auto.create.topics.enable=false\n{own}",
            data.display(),
            voters.join(",")
        )
    }

    /// What runs as a node: the executable and its arguments.
    pub(super) fn program(&self, properties: &Path) -> (PathBuf, Vec<OsString>) {
        match self {
            Self::Ottla(binary) => (binary.clone(), vec!["server".into(), properties.into()]),
            Self::Kafka(kafka, heap) => {
                let mut words = match heap {
                    Heap::Upstream => kafka.server_words(),
                    Heap::Small => kafka.small_server_words(),
                };
                words.push(properties.into());
                ("java".into(), words)
            }
        }
    }

    /// Formats the log directory that these properties name.
    pub(super) fn format(&self, controllers: Controllers, id: u32, properties: &Path) -> Result<()> {
        // Any ids will do; each series is a cluster of its own.
        const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
        let voter =
            |id: u32| format!("{id}@{}:{CONTROLLER_PORT}:{}", network::address(id), directory_id_text(id));
        let voters = controllers.ids().map(voter).join(",");
        let mut words = vec!["format", "-t", CLUSTER];
        if controllers.ids().contains(&id) {
            words.extend(["--initial-controllers", &voters]);
        }
        let tool = match self {
            Self::Ottla(binary) => program(binary).arg("storage"),
            Self::Kafka(kafka, _) => kafka.tool("kafka.tools.StorageTool"),
        };
        tool.args(words).arg("-c").arg(properties).read().map(drop)
    }
}

/// The id of a node's directory, as Kafka writes it: base64 for the web, without padding.
fn directory_id_text(id: u32) -> String {
    format!("B{id}AAAAAAAAAAAAAAAAAAAA")
}

/// The same as bytes, for a node with one digit.
pub(super) fn directory_id(id: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    // `B` is 1 and `0` is 52, in six bits each.
    let [.., high, low] = ((1 << 10) | ((52 + id) << 4)).to_be_bytes();
    bytes[..2].copy_from_slice(&[high, low]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_directory_is_the_same_as_text_and_as_bytes() {
        // As `base64 -d` reads `B1AAAAAAAAAAAAAAAAAAAA==`.
        assert_eq!(directory_id_text(1), "B1AAAAAAAAAAAAAAAAAAAA");
        assert_eq!(directory_id(1), [7, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
