//! Where the checkout and its build output lie.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    // Cargo says at run time which checkout it is; what was compiled in may be another one that shares its
    // target directory.
    let manifest_directory = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let manifest_directory = manifest_directory.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    manifest_directory.parent().map_or_else(|| manifest_directory.clone(), Path::to_path_buf)
}

/// Cargo's output directory.
#[must_use]
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// The cargo that runs us, else the one on the path.
#[must_use]
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// The version of the workspace; images and chart carry it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
