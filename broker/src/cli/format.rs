//! Formatting data directories: giving them to one node of one cluster, once.
//!
//! A server refuses a directory that is not formatted, because a majority of wiped controllers that format
//! themselves could elect a leader without what was committed. So formatting is a step of its own, it never
//! touches a directory that holds anything, and it is never repeated.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ottla_core::config::{Address, BrokerConfig, InitialController};
use ottla_core::ids::{ClusterId, DirectoryId, NodeId};
use ottla_core::quorum::identity::{BadVoters, check_voters};

use super::meta_properties::{
    BOOTSTRAP_PROPERTIES, BootstrapVoters, META_PROPERTIES, MetaProperties, SmallFileError, TEMPORARY_SUFFIX,
    sync_directory,
};
use crate::random::random_uuid;

/// Who votes first in the quorum this node belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InitialVoters {
    /// This node alone (`--standalone`).
    Standalone,
    /// These controllers, this node among them (`--initial-controllers`).
    Listed(Vec<InitialController>),
    /// Others, or this node later (`--no-initial-controllers`).
    Others,
}

/// What to do about a directory that is formatted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfFormatted {
    /// Nothing at all: refuse.
    Refuse,
    /// Leave it and format the others, if it belongs to the same node of the same cluster.
    Skip,
}

/// A directory that was formatted just now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FormattedDirectory {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its new id.
    pub(crate) id: DirectoryId,
    /// Whether it holds a first voter's metadata log.
    pub(crate) votes: bool,
}

/// Why nothing was formatted, or not everything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// Formatted before.
    #[error(
        "log directory \"{}\" is already formatted; use --ignore-formatted to ignore it and format the others",
        .0.display()
    )]
    AlreadyFormatted(PathBuf),
    /// Formatted for somebody else.
    #[error(
        "log directory \"{}\" belongs to node {} of cluster {}, not to node {node_id} of cluster {cluster_id}",
        path.display(), found.node_id, found.cluster_id
    )]
    OtherOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: MetaProperties,
        /// Who asked.
        node_id: NodeId,
        /// For which cluster.
        cluster_id: ClusterId,
    },
    /// Not formatted, but not empty either.
    #[error(
        "log directory \"{}\" is not formatted but holds \"{entry}\"; formatting it could hide data, so give an empty directory",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        entry: String,
    },
    /// The list of first voters leaves this node out.
    #[error(
        "node {0} is not among the initial controllers; use --no-initial-controllers, it can be added later"
    )]
    NotListed(NodeId),
    /// The list of first voters cannot make a quorum.
    #[error("the initial controllers cannot make a quorum")]
    BadVoters(#[from] BadVoters),
    /// First voters on a node that never votes.
    #[error("node {0} has no \"controller\" in its process.roles and cannot be an initial controller")]
    NoController(NodeId),
    /// The disk says no.
    #[error("cannot {verb} \"{}\"", path.display())]
    Io {
        /// What was attempted.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A small file cannot be read or written.
    #[error(transparent)]
    SmallFile(#[from] SmallFileError),
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Format<'a> {
    /// The node whose directories are formatted.
    pub(crate) config: &'a BrokerConfig,
    /// Its cluster.
    pub(crate) cluster_id: ClusterId,
    /// Its quorum.
    pub(crate) voters: InitialVoters,
    /// What to do about directories that are formatted already.
    pub(crate) if_formatted: IfFormatted,
}

impl Format<'_> {
    /// Formats every directory of the node that is not. Looks at all of them before it writes to any.
    pub(crate) fn run(&self) -> Result<Vec<FormattedDirectory>, FormatError> {
        self.check_voters()?;
        let mut empty = Vec::new();
        for path in self.config.directories() {
            match MetaProperties::read(&path)? {
                Some(found) => self.check_owner(&path, found)?,
                None => {
                    check_empty(&path)?;
                    empty.push(path);
                }
            }
        }
        empty.into_iter().map(|path| self.format(path)).collect()
    }

    fn check_owner(&self, path: &Path, found: MetaProperties) -> Result<(), FormatError> {
        let path = path.to_owned();
        let (node_id, cluster_id) = (self.config.node_id, self.cluster_id);
        if (found.node_id, found.cluster_id) != (node_id, cluster_id) {
            return Err(FormatError::OtherOwner { path, found, node_id, cluster_id });
        }
        match self.if_formatted {
            IfFormatted::Refuse => Err(FormatError::AlreadyFormatted(path)),
            IfFormatted::Skip => Ok(()),
        }
    }

    fn check_voters(&self) -> Result<(), FormatError> {
        let node_id = self.config.node_id;
        if self.voters != InitialVoters::Others && !self.config.roles.is_controller() {
            return Err(FormatError::NoController(node_id));
        }
        let InitialVoters::Listed(voters) = &self.voters else { return Ok(()) };
        if voters.iter().all(|voter| voter.node_id != node_id) {
            return Err(FormatError::NotListed(node_id));
        }
        Ok(check_voters(&self.config.voters(voters))?)
    }

    fn format(&self, path: PathBuf) -> Result<FormattedDirectory, FormatError> {
        let io = |verb| {
            let path = path.clone();
            move |source| FormatError::Io { verb, path, source }
        };
        create_durably(&path).map_err(io("create directory"))?;
        let holds_metadata = path == self.config.metadata_log_dir;
        let voters = if holds_metadata { self.first_voters().map_err(io("draw an id for"))? } else { None };
        let own = voters.iter().flatten().find(|voter| voter.node_id == self.config.node_id);
        let id = match own {
            Some(voter) => voter.directory_id,
            None => random_directory_id().map_err(io("draw an id for"))?,
        };
        let votes = voters.is_some();
        // meta.properties comes last: it is what makes the directory a formatted one.
        if let Some(voters) = voters {
            BootstrapVoters(voters).write(&path)?;
        }
        let node_id = self.config.node_id;
        let cluster_id = self.cluster_id;
        MetaProperties { cluster_id, node_id, directory_id: id, metadata_log_begun: false }.write(&path)?;
        Ok(FormattedDirectory { path, id, votes })
    }

    fn first_voters(&self) -> io::Result<Option<Vec<InitialController>>> {
        match &self.voters {
            InitialVoters::Others => Ok(None),
            InitialVoters::Listed(voters) => Ok(Some(voters.clone())),
            InitialVoters::Standalone => {
                let directory_id = random_directory_id()?;
                let (node_id, address) = (self.config.node_id, self.controller_address());
                Ok(Some(vec![InitialController { node_id, directory_id, address }]))
            }
        }
    }

    /// Where this node's controller listener is reached. A controller has one; the configuration says so.
    fn controller_address(&self) -> Address {
        let controller = &self.config.controller_listener;
        self.config
            .advertised_listeners
            .iter()
            .find(|listener| listener.name == *controller)
            .map(|listener| listener.address.clone())
            .expect("a controller's listeners have one of controller.listener.names")
    }
}

/// What may lie in a directory that is not formatted: what a new file system has, and what an interrupted
/// formatting leaves.
fn check_empty(path: &Path) -> Result<(), FormatError> {
    let leftovers = [
        "lost+found".to_owned(),
        ".lock".to_owned(),
        BOOTSTRAP_PROPERTIES.to_owned(),
        format!("{BOOTSTRAP_PROPERTIES}{TEMPORARY_SUFFIX}"),
        format!("{META_PROPERTIES}{TEMPORARY_SUFFIX}"),
    ];
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(FormatError::Io { verb: "list", path: path.to_owned(), source }),
    };
    for entry in entries {
        let entry =
            entry.map_err(|source| FormatError::Io { verb: "list", path: path.to_owned(), source })?;
        let entry = entry.file_name().to_string_lossy().into_owned();
        if !leftovers.contains(&entry) {
            return Err(FormatError::NotEmpty { path: path.to_owned(), entry });
        }
    }
    Ok(())
}

/// Makes a directory and those above it, so that none is lost in a crash.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_directory(parent)
}

fn random_directory_id() -> io::Result<DirectoryId> {
    random_uuid().map(DirectoryId)
}
