//! From the path of a properties file to the settings of a node.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ottla_core::config::{BrokerConfig, Setting};

use crate::properties::Properties;

/// A node's settings and what is odd about them, one text for each oddity.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    /// The settings.
    pub(crate) config: BrokerConfig,
    /// To be logged once logging is set up; every one begins with the line it is about.
    pub(crate) warnings: Vec<String>,
}

/// Why a properties file cannot be used. Displayed with one line for each problem.
#[derive(Debug)]
pub(crate) enum ConfigFileError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its settings are wrong.
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, each with its line and key.
        problems: Vec<String>,
    },
}

impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => write!(f, "cannot read \"{}\": {error}", path.display()),
            Self::Wrong { path, problems } => {
                write!(f, "cannot use \"{}\":", path.display())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigFileError {}

impl ConfigFile {
    /// Reads a properties file and settings of the command line (`KEY=VALUE`), and resolves them.
    pub(crate) fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigFileError> {
        let bytes = std::fs::read(path)
            .map_err(|error| ConfigFileError::Unreadable { path: path.to_owned(), error })?;
        let environment = |name: &str| std::env::var(name).ok();
        let wrong = |problems| ConfigFileError::Wrong { path: path.to_owned(), problems };
        let mut properties = Properties::parse(&bytes, environment).map_err(|e| wrong(lines(&e)))?;
        properties.add_overrides(overrides, environment).map_err(|e| wrong(lines(&e)))?;
        let (config, oddities) = BrokerConfig::resolve(&properties.settings, &host_name())
            .map_err(|problems| wrong(lines(&problems)))?;
        let mut warnings = lines(&oddities);
        warnings.extend(properties.repeated().into_iter().map(repeated));
        Ok(Self { config, warnings })
    }
}

fn lines(problems: &[impl fmt::Display]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn repeated((first, last): (&Setting, &Setting)) -> String {
    format!("{}: config \"{}\" is set again at {}, which counts", first.origin, first.key, last.origin)
}

/// The machine's own name, which is advertised where a listener names no host.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
