//! The node lane: the whole cluster of `up`, on a site of its own, shared by the lane's tests.

use anyhow::Result;

use crate::kcat::Kcat;
use crate::lane::Lane;
use crate::shim;
use crate::site::{self, Site};
use crate::step::Steps;
use crate::verb::up;

/// Starts what does not run.
pub fn ensure() -> Result<Lane> {
    site::require_root()?;
    let site = Site::new(site::TEST);
    let _lock = site.wait_for_lock()?;
    let running = up::start_kubernetes(&site, &Steps::new(site.logs()))?;
    let kcat = Kcat::new(shim::path(&site, "kcat"));
    Ok(Lane { site, kubectl: running.kubectl, kcat })
}
