//! What a pod does before its server starts: it formats an empty volume with the identity that the
//! operator drew for the cluster, and refuses a volume that belongs to somebody else.

use std::io;
use std::path::{Path, PathBuf};

use ottla_core::config::{BrokerConfig, InitialController};
use ottla_core::ids::{ClusterId, NodeId};

use super::format::{Format, FormatError, FormattedDirectory, IfFormatted, InitialVoters};
use crate::properties::Properties;

/// Where the identity lies, seen from the directory of the server's properties file. It is a file of its
/// own because it changes once, when the quorum has come to life, and no pod must restart for that.
const IDENTITY_FILE: &str = "identity/identity.properties";

/// The identity of a cluster, as the operator writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `cluster.id`
    pub(crate) cluster_id: ClusterId,
    /// `bootstrapped`, `initial.controllers` and `formatted`
    pub(crate) quorum: QuorumState,
}

/// How far the cluster's quorum is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QuorumState {
    /// It lives. An empty volume is one that was lost, or a new node's: it gets a fresh id and no vote.
    Bootstrapped,
    /// It has to be made, by these controllers with these directory ids.
    New {
        /// All of them.
        listed: Vec<InitialController>,
        /// Those that have served already: an empty volume of one of these is one that was lost with what its node
        /// voted for, and must not vote under the same id.
        formatted: Vec<NodeId>,
    },
}

/// Why a pod's volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    /// The identity is not there.
    #[error("cannot read the cluster's identity \"{}\"", path.display())]
    NoIdentity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The identity cannot be understood.
    #[error("the cluster's identity \"{}\" is wrong: {problem}", path.display())]
    BadIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A directory cannot be formatted.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Formats the node's directories if they are empty. Gives those that it formatted.
pub(crate) fn prepare(
    properties_file: &Path,
    config: &BrokerConfig,
) -> Result<Vec<FormattedDirectory>, PodError> {
    let identity_file = properties_file.parent().unwrap_or_else(|| Path::new("")).join(IDENTITY_FILE);
    let identity = Identity::read(&identity_file)?;
    let voters = match identity.quorum {
        QuorumState::New { listed, formatted }
            if listed.iter().any(|voter| voter.node_id == config.node_id)
                && !formatted.contains(&config.node_id) =>
        {
            InitialVoters::Listed(listed)
        }
        QuorumState::New { .. } | QuorumState::Bootstrapped => InitialVoters::Others,
    };
    let if_formatted = IfFormatted::Skip;
    Ok(Format { config, cluster_id: identity.cluster_id, voters, if_formatted }.run()?)
}

impl Identity {
    fn read(path: &Path) -> Result<Self, PodError> {
        let bytes =
            std::fs::read(path).map_err(|source| PodError::NoIdentity { path: path.to_owned(), source })?;
        Self::parse(&bytes).map_err(|problem| PodError::BadIdentity { path: path.to_owned(), problem })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file = Properties::parse(bytes, |_| None)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let value = |key: &str| file.value(key).map(str::trim).ok_or_else(|| format!("\"{key}\" is missing"));
        let cluster_id = value("cluster.id")?.parse().map_err(|error| format!("\"cluster.id\": {error}"))?;
        let quorum = match value("bootstrapped")? {
            "true" => QuorumState::Bootstrapped,
            "false" => {
                let listed: Result<Vec<_>, _> =
                    value("initial.controllers")?.split(',').map(|entry| entry.trim().parse()).collect();
                let listed = listed.map_err(|error| format!("\"initial.controllers\": {error}"))?;
                let formatted = file.value("formatted").map_or("", str::trim);
                let formatted: Result<Vec<_>, _> =
                    formatted.split_terminator(',').map(|id| id.trim().parse().map(NodeId)).collect();
                let formatted = formatted.map_err(|error| format!("\"formatted\": {error}"))?;
                QuorumState::New { listed, formatted }
            }
            other => return Err(format!("\"bootstrapped\": \"{other}\" is not true or false")),
        };
        Ok(Self { cluster_id, quorum })
    }
}

#[cfg(test)]
mod tests;
