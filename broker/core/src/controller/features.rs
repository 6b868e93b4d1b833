//! Finalised features (KIP-584): which levels this release can run, and which a new cluster starts with.
//!
//! A feature is listed here only when what it promises works. `ottla.version` gates our own formats;
//! the others are there for Kafka's
//! tools. Eligible leader replicas (KIP-966) are always kept, also in a cluster that was made before they were.

use super::error::OperationError;
use crate::metadata::image::{FeatureRange, Image};
use crate::metadata::record::{FeatureLevel, Record};

/// Name, lowest level, highest level. A new cluster starts with the highest.
const FEATURES: [(&str, i16, i16); 4] = [
    ("eligible.leader.replicas.version", 1, 1),
    ("kraft.version", 1, 1),
    ("metadata.version", 30, 30),
    ("ottla.version", 1, 1),
];

/// What this release can run: what a broker registers with and ApiVersions shows.
pub fn supported_features() -> Vec<FeatureRange> {
    let range = |(name, level_min, level_max): (&str, i16, i16)| FeatureRange {
        name: name.to_owned(),
        level_min,
        level_max,
    };
    FEATURES.into_iter().map(range).collect()
}

/// What the first active controller of a cluster writes.
pub(super) fn first_features(image: &Image) -> Vec<Record> {
    let missing = FEATURES.iter().filter(|_| image.features.is_empty());
    missing
        .map(|(name, _, level)| {
            Record::FeatureLevel(FeatureLevel { name: (*name).to_owned(), level: *level })
        })
        .collect()
}

/// Whether a broker can run what is finalised.
pub(super) fn check_features(image: &Image, supported: &[FeatureRange]) -> Result<(), OperationError> {
    for (name, level) in &image.features {
        let range = supported.iter().find(|range| range.name == *name);
        if !range.is_some_and(|range| (range.level_min..=range.level_max).contains(level)) {
            return Err(OperationError::UnsupportedVersion(format!(
                "the cluster runs {name} at level {level}, which the broker cannot"
            )));
        }
    }
    Ok(())
}
