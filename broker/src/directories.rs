//! The data directories of a node that starts: checked, locked, and known by their ids.
//!
//! A node must not start on a directory of another cluster or node (it would serve, or vote with, what is
//! not its own), on one that is not formatted (see `cli::format`), or on one another process works in.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use ottla_core::config::BrokerConfig;
use ottla_core::ids::{BrokerEpoch, ClusterId, DirectoryId, NodeId};
use ottla_core::log::checkpoints::{CLEAN_SHUTDOWN, parse_clean_shutdown};

use crate::cli::meta_properties::{BootstrapVoters, MetaProperties, SmallFileError};

/// A file that Kafka's storage tool writes into the metadata log directory, and Ottla's never.
const KAFKA_BOOTSTRAP: &str = "bootstrap.checkpoint";

/// A data directory that is ours alone while this value lives.
#[derive(Debug)]
pub(crate) struct LoadedDirectory {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its id.
    pub(crate) id: DirectoryId,
    /// The broker epoch under which its logs were last closed in order.
    closed_by: Option<BrokerEpoch>,
    /// Holds the lock on the file `.lock`; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

/// The data directories of this node.
#[derive(Debug)]
pub(crate) struct LoadedDirectories {
    /// The cluster they belong to.
    pub(crate) cluster_id: ClusterId,
    /// Those of `log.dirs`, in that order.
    pub(crate) logs: Vec<LoadedDirectory>,
    /// That of `metadata.log.dir` where it is not one of `log.dirs`.
    metadata_apart: Option<LoadedDirectory>,
    /// Which of `logs` holds the metadata log where one of them does.
    metadata_index: usize,
    /// The first voters of the quorum, if this node was formatted as one of them.
    pub(crate) bootstrap_voters: Option<BootstrapVoters>,
}

/// Why a node does not start on its directories.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Nobody formatted it, or its volume was lost.
    #[error("log directory \"{}\" is not formatted; run \"ottla storage format\" first", .0.display())]
    NotFormatted(PathBuf),
    /// Another node's.
    #[error("log directory \"{}\" belongs to node {found}, but node.id is {wanted}", path.display())]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who we are.
        wanted: NodeId,
    },
    /// Another cluster's than the directories before.
    #[error(
        "log directory \"{}\" belongs to cluster {found}, but \"{}\" to cluster {other}",
        path.display(), other_path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Its cluster.
        found: ClusterId,
        /// A directory before.
        other_path: PathBuf,
        /// That one's cluster.
        other: ClusterId,
    },
    /// A copy of another.
    #[error(
        "log directories \"{}\" and \"{}\" have the same id {id}: one is a copy of the other",
        path.display(), other_path.display()
    )]
    SameId {
        /// The directory.
        path: PathBuf,
        /// A directory before.
        other_path: PathBuf,
        /// Their id.
        id: DirectoryId,
    },
    /// Kafka's own: its records are as ours, but its metadata is not.
    #[error(
        "log directory \"{}\" was formatted by Apache Kafka and its metadata cannot be read; give an empty directory, and copy the topics with a client or MirrorMaker",
        .0.display()
    )]
    Kafkas(PathBuf),
    /// Another process works in it.
    #[error("log directory \"{}\" is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The lock cannot be taken.
    #[error("cannot lock log directory \"{}\"", path.display())]
    Lock {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A small file cannot be read.
    #[error(transparent)]
    SmallFile(#[from] SmallFileError),
}

impl LoadedDirectories {
    /// Checks and locks every directory of the node. Nothing in them is changed but the lock file.
    pub(crate) fn load(config: &BrokerConfig) -> Result<Self, LoadError> {
        let mut loaded: Vec<LoadedDirectory> = Vec::new();
        let mut first: Option<(PathBuf, ClusterId)> = None;
        for path in config.directories() {
            let found = MetaProperties::read(&path)?.ok_or_else(|| LoadError::NotFormatted(path.clone()))?;
            if found.node_id != config.node_id {
                let (found, wanted) = (found.node_id, config.node_id);
                return Err(LoadError::OtherNode { path, found, wanted });
            }
            let (other_path, other) = first.get_or_insert_with(|| (path.clone(), found.cluster_id));
            if found.cluster_id != *other {
                let (other_path, other) = (other_path.clone(), *other);
                return Err(LoadError::OtherCluster { path, found: found.cluster_id, other_path, other });
            }
            let id = found.directory_id;
            if let Some(same) = loaded.iter().find(|earlier| earlier.id == id) {
                return Err(LoadError::SameId { path, other_path: same.path.clone(), id });
            }
            if path.join(KAFKA_BOOTSTRAP).exists() {
                return Err(LoadError::Kafkas(path));
            }
            let lock = lock(&path)?;
            let closed_by = std::fs::read_to_string(path.join(CLEAN_SHUTDOWN)).ok();
            let closed_by = closed_by.and_then(|text| parse_clean_shutdown(&text));
            loaded.push(LoadedDirectory { path, id, closed_by, _lock: lock });
        }
        let (_, cluster_id) = first.expect("a node has at least one log directory");
        let metadata_index = config.log_dirs.iter().position(|path| *path == config.metadata_log_dir);
        Ok(Self {
            cluster_id,
            bootstrap_voters: BootstrapVoters::read(&config.metadata_log_dir)?,
            // BrokerConfig::directories puts a metadata log directory of its own behind the others.
            metadata_apart: if metadata_index.is_none() { loaded.pop() } else { None },
            metadata_index: metadata_index.unwrap_or(0),
            logs: loaded,
        })
    }

    /// The epoch under which the broker last stopped in order, if every log directory says so: the opening of the logs
    /// takes that mark away.
    pub(crate) fn stopped_in_order(&self) -> Option<BrokerEpoch> {
        let first = self.logs.first()?.closed_by?;
        self.logs.iter().all(|directory| directory.closed_by == Some(first)).then_some(first)
    }

    /// The directory that holds the metadata log.
    pub(crate) fn metadata(&self) -> &LoadedDirectory {
        self.metadata_apart.as_ref().unwrap_or_else(|| &self.logs[self.metadata_index])
    }
}

fn lock(directory: &Path) -> Result<File, LoadError> {
    let path = directory.to_owned();
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(".lock"));
    let file = file.map_err(|source| LoadError::Lock { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LoadError::InUse(path)),
        Err(TryLockError::Error(source)) => Err(LoadError::Lock { path, source }),
    }
}

#[cfg(test)]
mod tests;
