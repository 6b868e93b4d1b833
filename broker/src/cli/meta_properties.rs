//! The small files that say what a data directory is.
//!
//! `meta.properties` marks a directory as formatted: whose it is. `bootstrap.properties`, in the metadata
//! log directory of a first voter, names all first voters (Kafka keeps them in a checkpoint; our quorum's
//! log has its own format). Both are written whole or not at all: to a temporary name, synced, renamed,
//! and the directory synced.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ottla_core::config::InitialController;
use ottla_core::ids::{ClusterId, DirectoryId, NodeId};

use crate::properties::Properties;

/// The name of the file that marks a directory as formatted.
pub(crate) const META_PROPERTIES: &str = "meta.properties";
/// The name of the file that names the first voters.
pub(crate) const BOOTSTRAP_PROPERTIES: &str = "bootstrap.properties";
/// What a file is called while it is written.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// The version both files are written with. Version 0 of `meta.properties` was ZooKeeper's.
const VERSION: &str = "1";

const METADATA_LOG_BEGUN: &str = "metadata.log.begun";

/// Whose a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetaProperties {
    /// `cluster.id`
    pub(crate) cluster_id: ClusterId,
    /// `node.id`
    pub(crate) node_id: NodeId,
    /// `directory.id`
    pub(crate) directory_id: DirectoryId,
    /// `metadata.log.begun`, ours: a metadata log was made here and may have voted under this directory id. If it
    /// is gone, nothing knows for whom, and the id must not vote again.
    pub(crate) metadata_log_begun: bool,
}

/// A small file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SmallFileError {
    /// The disk says no.
    #[error("cannot {verb} \"{}\"", path.display())]
    Io {
        /// What was attempted.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there and holds something else.
    #[error("\"{}\" is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl MetaProperties {
    /// Reads the file in `directory`. None if the directory or the file is not there: not formatted.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, SmallFileError> {
        let Some(file) = SmallFile::read(&directory.join(META_PROPERTIES))? else { return Ok(None) };
        file.check_version()?;
        Ok(Some(Self {
            cluster_id: file.value("cluster.id")?,
            node_id: file.value("node.id").map(NodeId)?,
            directory_id: file.value("directory.id")?,
            metadata_log_begun: file.properties.value(METADATA_LOG_BEGUN) == Some("true"),
        }))
    }

    /// Writes the file into `directory`, durably. From then on the directory is formatted.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), SmallFileError> {
        let begun =
            if self.metadata_log_begun { format!("{METADATA_LOG_BEGUN}=true\n") } else { String::new() };
        let text = format!(
            "cluster.id={}\ndirectory.id={}\n{begun}node.id={}\nversion={VERSION}\n",
            self.cluster_id, self.directory_id, self.node_id
        );
        write_durably(&directory.join(META_PROPERTIES), &text)
    }
}

impl fmt::Display for MetaProperties {
    /// As Kafka's `storage info` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster_id, directory_id, node_id, metadata_log_begun: _ } = self;
        write!(
            f,
            "{{cluster.id={cluster_id}, directory.id={directory_id}, node.id={node_id}, version={VERSION}}}"
        )
    }
}

/// The first voters of a quorum, as written when a metadata log directory is formatted. The quorum reads
/// them at the first start, when its log is empty; later the log knows better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootstrapVoters(pub(crate) Vec<InitialController>);

impl BootstrapVoters {
    /// Reads the file in a metadata log directory. None where this node was not formatted as a first
    /// voter: it waits for the quorum to take it in.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, SmallFileError> {
        let Some(file) = SmallFile::read(&directory.join(BOOTSTRAP_PROPERTIES))? else { return Ok(None) };
        file.check_version()?;
        let voters: String = file.value("voters")?;
        let voters: Result<Vec<_>, _> = voters.split(',').map(str::parse).collect();
        voters.map(|voters| Some(Self(voters))).map_err(|error| file.damaged(error.to_string()))
    }

    /// Writes the file, durably.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), SmallFileError> {
        let voters: Vec<String> = self.0.iter().map(InitialController::to_string).collect();
        let text = format!("version={VERSION}\nvoters={}\n", voters.join(","));
        write_durably(&directory.join(BOOTSTRAP_PROPERTIES), &text)
    }
}

/// A properties file of ours.
struct SmallFile {
    path: PathBuf,
    properties: Properties,
}

impl SmallFile {
    fn read(path: &Path) -> Result<Option<Self>, SmallFileError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SmallFileError::Io { verb: "read", path: path.to_owned(), source }),
        };
        // No variable is expanded in a file that we wrote.
        match Properties::parse(&bytes, |_| None) {
            Ok(properties) => Ok(Some(Self { path: path.to_owned(), properties })),
            Err(errors) => {
                let problem = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Err(SmallFileError::Damaged { path: path.to_owned(), problem })
            }
        }
    }

    fn damaged(&self, problem: String) -> SmallFileError {
        SmallFileError::Damaged { path: self.path.clone(), problem }
    }

    fn value<T: FromStr<Err: fmt::Display>>(&self, key: &str) -> Result<T, SmallFileError> {
        let text = self.properties.value(key).ok_or_else(|| self.damaged(format!("\"{key}\" is missing")))?;
        text.parse().map_err(|error| self.damaged(format!("\"{key}\": {error}")))
    }

    fn check_version(&self) -> Result<(), SmallFileError> {
        let version: String = self.value("version")?;
        if version == VERSION {
            return Ok(());
        }
        Err(self.damaged(format!("it has version {version}, this release knows version {VERSION}")))
    }
}

/// Replaces a file so that after a crash either the old or the new one is there, whole.
fn write_durably(path: &Path, text: &str) -> Result<(), SmallFileError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY_SUFFIX);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path.parent().unwrap_or_else(|| Path::new(".")))
    };
    write().map_err(|source| SmallFileError::Io { verb: "write", path: path.to_owned(), source })
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}
