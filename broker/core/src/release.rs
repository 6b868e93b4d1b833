//! Which formats of the cluster's metadata this release reads and writes.
//!
//! The feature [`FORMATS`] says which of them are in use: a record of a later level is written only once that level is
//! finalised (`controller/features.rs`), and a release that does not know the level reads no more from there
//! (`metadata/record_codec.rs`). There is one level yet. So that the way to the next one is tried before it is needed, a
//! simulation may run a later release: with the feature `planted-bugs`, which nothing that is released has, [`run_as`]
//! makes the code on this thread that of a release which knows one level more. Nothing is new in that one but
//! version 1 of the record `PartitionChange`, the bulk of the log, which has the fields of version 0.

use crate::metadata::image::Image;
use crate::planted::{self, Bug};

/// The feature whose levels are formats.
pub const FORMATS: &str = "ottla.version";

/// The level of the first release.
pub const LEVEL_FIRST: i16 = 1;

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    static LEVEL_MAX: std::cell::Cell<i16> = const { std::cell::Cell::new(LEVEL_FIRST) };
}

/// From here on this thread runs the release that knows the levels up to this one.
#[cfg(feature = "planted-bugs")]
pub fn run_as(level_max: i16) {
    LEVEL_MAX.set(level_max);
}

/// Without the feature there is one release.
#[cfg(not(feature = "planted-bugs"))]
pub fn run_as(_level_max: i16) {}

/// The highest level that this release knows.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn level_max() -> i16 {
    LEVEL_MAX.get()
}

/// The highest level that this release knows.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn level_max() -> i16 {
    LEVEL_FIRST
}

/// The level at which records are written.
#[must_use]
pub fn level_of(image: &Image) -> i16 {
    if planted::is(Bug::RecordBeforeFeature) {
        return level_max();
    }
    image.features.get(FORMATS).copied().unwrap_or(LEVEL_FIRST)
}
