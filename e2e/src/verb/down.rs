//! `cargo xtask down`: removes what `up` made.

use anyhow::Result;

use crate::kube::teardown;
use crate::site::{self, Site};
use crate::step::{Steps, say};

/// Removes the site called `name`.
pub fn run(name: &str) -> Result<()> {
    say(&format!("removing the site {name}"));
    site::require_root()?;
    remove(&Site::new(name))
}

/// Removes `site` whatever state it is in.
pub fn remove(site: &Site) -> Result<()> {
    if !teardown::is_present(site)? {
        say("nothing to remove");
        return Ok(());
    }
    let _lock = site.lock()?;
    // The log must not lie in what is being removed.
    let logs = std::env::temp_dir().join(format!("ottla-{}-down", site.name()));
    let steps = Steps::new(logs.clone());
    steps.run("remove processes, mounts and networks", |log| teardown::remove(site, log))?;
    steps.run("remove files", |_| teardown::remove_directory(site))?;
    let _ = std::fs::remove_dir_all(logs);
    Ok(())
}
