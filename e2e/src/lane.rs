//! What the tests of each lane stand on. A lane's site is started by its first test and kept for the next;
//! `cargo xtask test` removes it at the end, `cargo xtask down --site NAME` at any time.

pub mod api;
pub mod broker;
pub mod namespace;
pub mod node;
pub mod process;

use std::fs::{self, File};
use std::io::Read;

use anyhow::{Context, Result};

use crate::kcat::Kcat;
use crate::kubectl::Kubectl;
use crate::lane::namespace::Namespace;
use crate::repository;
use crate::site::Site;

/// A running cluster with our operator in it.
#[derive(Debug)]
pub struct Lane {
    /// Its site.
    pub site: Site,
    /// Its administrator.
    pub kubectl: Kubectl,
    /// A client inside its network.
    pub kcat: Kcat,
}

impl Lane {
    /// A namespace called `name`, made anew.
    pub fn namespace(&self, name: &str) -> Result<Namespace<'_>> {
        Namespace::create(self, name)
    }
}

/// The custom resource definitions of the checkout, as one manifest.
pub fn definitions() -> Result<String> {
    let directory = repository::root().join("crds");
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .with_context(|| format!("list {}", directory.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    let mut manifest = String::new();
    for path in paths {
        manifest.push_str("---\n");
        File::open(&path)
            .and_then(|mut file| file.read_to_string(&mut manifest))
            .with_context(|| format!("read {}", path.display()))?;
    }
    Ok(manifest)
}
