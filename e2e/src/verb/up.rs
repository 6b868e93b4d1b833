//! `cargo xtask up`: from a checkout to a running cluster with acknowledged records in it.

use anyhow::{Result, bail};

use crate::images;
use crate::kube::{Programs, cluster};
use crate::packages;
use crate::site::{self, Site};
use crate::step::{Steps, say};

/// What the user asked for.
#[derive(Debug, Default)]
pub struct Options {
    context: Option<String>,
    image_prefix: Option<String>,
}

impl Options {
    /// Reads the command line.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = words;
        loop {
            rest = match rest {
                [] => return Ok(options),
                ["--context", name, rest @ ..] => {
                    options.context = Some((*name).to_owned());
                    rest
                }
                ["--image-prefix", prefix, rest @ ..] => {
                    options.image_prefix = Some((*prefix).to_owned());
                    rest
                }
                [other, ..] => bail!("up takes --context NAME and --image-prefix PREFIX, not {other}"),
            }
        }
    }
}

/// Starts what does not run.
pub fn run(options: &Options) -> Result<()> {
    say("bringing up a Kubernetes with Ottla; `cargo xtask down` removes it again");
    if options.context.is_some() {
        bail!("--context is not there yet");
    }
    site::require_root()?;
    start(&Site::new(site::DEVELOPMENT))
}

/// Starts what does not run of `site`.
pub fn start(site: &Site) -> Result<()> {
    let _lock = site.lock()?;
    let steps = Steps::new(site.logs());
    packages::ensure(&steps, &[packages::KUBERNETES, packages::IMAGES, packages::CLIENTS])?;
    let programs = Programs::ensure(&steps)?;
    let pause = images::ensure_pause(&steps)?;
    cluster::ensure(site, &programs, &[pause], &steps)?;
    Ok(())
}
