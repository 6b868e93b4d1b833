//! Finalised features (KIP-584): which levels this release can run, which a new cluster starts with, and how they
//! change.
//!
//! A feature is listed here only when what it promises works. `ottla.version` gates our own formats (`release.rs`): a
//! record of a later level is written only once that level is finalised, and then the level never falls, since an older
//! release could not read what is there. The others are there for Kafka's tools. Eligible leader replicas (KIP-966) are always
//! kept, also in a cluster that was made before they were.

use std::collections::BTreeSet;

use super::error::OperationError;
use super::operation::{FeatureUpdate, Reply, UpdateFeatures, UpgradeType};
use super::state::{Outcome, State};
use crate::metadata::image::{FeatureRange, Image};
use crate::metadata::record::{FeatureLevel, Record};
use crate::release;

/// Whether a level can be left for a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Downgrade {
    /// It is only a way to behave.
    Possible,
    /// Each level has a format of its own on disk.
    ChangesFormat,
}

/// One feature of this release. A new cluster starts with the highest level.
#[derive(Debug, Clone, Copy)]
struct Feature {
    name: &'static str,
    level_min: i16,
    level_max: i16,
    downgrade: Downgrade,
}

fn features() -> [Feature; 4] {
    [
        Feature {
            name: "eligible.leader.replicas.version",
            level_min: 1,
            level_max: 1,
            downgrade: Downgrade::Possible,
        },
        Feature { name: "kraft.version", level_min: 1, level_max: 1, downgrade: Downgrade::ChangesFormat },
        Feature {
            name: "metadata.version",
            level_min: 30,
            level_max: 30,
            downgrade: Downgrade::ChangesFormat,
        },
        Feature {
            name: release::FORMATS,
            level_min: release::LEVEL_FIRST,
            level_max: release::level_max(),
            downgrade: Downgrade::ChangesFormat,
        },
    ]
}

/// What this release can run: what a broker registers with and ApiVersions shows.
pub fn supported_features() -> Vec<FeatureRange> {
    let range = |feature: Feature| FeatureRange {
        name: feature.name.to_owned(),
        level_min: feature.level_min,
        level_max: feature.level_max,
    };
    features().into_iter().map(range).collect()
}

/// What the first active controller of a cluster writes.
pub(super) fn first_features(image: &Image) -> Vec<Record> {
    let missing = features().into_iter().filter(|_| image.features.is_empty());
    missing
        .map(|feature| {
            let (name, level) = (feature.name.to_owned(), feature.level_max);
            Record::FeatureLevel(FeatureLevel { name, level })
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

impl State {
    /// UpdateFeatures: all of them, or none and the first error.
    pub(super) fn update_features(&self, request: &UpdateFeatures) -> Result<Outcome, OperationError> {
        let records = plan_updates(&features(), &self.image, &request.updates)?;
        let records = if request.validate_only { Vec::new() } else { records };
        Ok(Outcome { records, reply: Reply::UpdateFeatures })
    }
}

fn plan_updates(
    features: &[Feature],
    image: &Image,
    updates: &[FeatureUpdate],
) -> Result<Vec<Record>, OperationError> {
    if updates.is_empty() {
        return Err(OperationError::InvalidRequest("the request names no feature".to_owned()));
    }
    let mut names = BTreeSet::new();
    let mut records = Vec::new();
    for update in updates {
        let FeatureUpdate { name, level, .. } = update;
        if !names.insert(name) {
            let text = format!("feature \"{name}\" is in the request twice");
            return Err(OperationError::InvalidRequest(text));
        }
        check_update(features, image, update).map_err(|reason| {
            OperationError::InvalidUpdateVersion(format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {level} for feature {name}. {reason}"
            ))
        })?;
        if image.features.get(name).copied().unwrap_or(0) != *level {
            records.push(Record::FeatureLevel(FeatureLevel { name: name.clone(), level: *level }));
        }
    }
    Ok(records)
}

/// Why a level cannot be finalised. In Kafka's words where it has some, since its tool shows them.
fn check_update(features: &[Feature], image: &Image, update: &FeatureUpdate) -> Result<(), String> {
    let FeatureUpdate { name, level, kind } = update;
    if *level < 0 {
        return Err("A feature version cannot be less than 0.".to_owned());
    }
    let Some(feature) = features.iter().find(|feature| feature.name == name) else {
        return Err("This release does not know the feature.".to_owned());
    };
    let (least, most) = (feature.level_min, feature.level_max);
    if !(least..=most).contains(level) {
        return Err(format!("The controllers only support versions {least}-{most}."));
    }
    let unable = image.brokers.values().find_map(|broker| {
        let range = broker.features.iter().find(|range| range.name == *name);
        let runs = range.is_some_and(|range| (range.level_min..=range.level_max).contains(level));
        (!runs).then_some((broker.node_id, range))
    });
    match unable {
        Some((id, Some(range))) => {
            let (least, most) = (range.level_min, range.level_max);
            return Err(format!("Broker {id} only supports versions {least}-{most}; upgrade it first."));
        }
        Some((id, None)) => {
            return Err(format!("Broker {id} does not support this feature; upgrade it first."));
        }
        None => {}
    }
    let current = image.features.get(name).copied().unwrap_or(0);
    match (level.cmp(&current), kind) {
        (std::cmp::Ordering::Less, UpgradeType::Upgrade) => Err(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
             downgrade."
                .to_owned(),
        ),
        (std::cmp::Ordering::Less, UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade) => {
            match feature.downgrade {
                Downgrade::Possible => Ok(()),
                Downgrade::ChangesFormat => Err(format!(
                    "What is on disk is in the format of version {current}, which version {level} cannot read."
                )),
            }
        }
        (std::cmp::Ordering::Greater, UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade) => {
            Err("Can't downgrade to a newer version.".to_owned())
        }
        (std::cmp::Ordering::Equal, _) | (std::cmp::Ordering::Greater, UpgradeType::Upgrade) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::ids::{BrokerEpoch, IncarnationId, NodeId};
    use crate::metadata::image::{Broker, Fencing};

    const LATER: [Feature; 2] = [
        Feature { name: "manners", level_min: 0, level_max: 3, downgrade: Downgrade::Possible },
        Feature { name: "ottla.version", level_min: 1, level_max: 3, downgrade: Downgrade::ChangesFormat },
    ];

    /// Levels as finalised, and one broker of an earlier release.
    fn image() -> Image {
        let range = |name: &str, level_max| FeatureRange { name: name.to_owned(), level_min: 0, level_max };
        let broker = Broker {
            node_id: NodeId(7),
            epoch: BrokerEpoch(1),
            incarnation_id: IncarnationId(Uuid::nil()),
            endpoints: Vec::new(),
            rack: None,
            directories: Vec::new(),
            offline_directories: Vec::new(),
            features: vec![range("manners", 2), range("ottla.version", 3)],
            fencing: Fencing::Fenced,
        };
        Image {
            brokers: [(NodeId(7), Arc::new(broker))].into_iter().collect(),
            features: [("manners".to_owned(), 1_i16), ("ottla.version".to_owned(), 2)].into_iter().collect(),
            ..Image::default()
        }
    }

    fn update(name: &str, level: i16, kind: UpgradeType) -> FeatureUpdate {
        FeatureUpdate { name: name.to_owned(), level, kind }
    }

    fn refused(updates: &[FeatureUpdate]) -> String {
        let error = plan_updates(&LATER, &image(), updates).unwrap_err();
        assert!(matches!(error.code(), 42 | 95), "{error}");
        error.to_string()
    }

    #[test]
    fn levels_rise_and_fall_where_they_may_and_what_is_there_is_not_written() {
        use UpgradeType::{SafeDowngrade, Upgrade};
        let planned = |updates: &[FeatureUpdate]| plan_updates(&LATER, &image(), updates).unwrap();
        let record = |name: &str, level| Record::FeatureLevel(FeatureLevel { name: name.to_owned(), level });
        let both = [update("manners", 2, Upgrade), update("ottla.version", 3, Upgrade)];
        assert_eq!(planned(&both), [record("manners", 2), record("ottla.version", 3)]);
        assert_eq!(planned(&[update("manners", 0, SafeDowngrade)]), [record("manners", 0)]);
        assert_eq!(planned(&[update("manners", 1, Upgrade)]), []);
        assert_eq!(planned(&[update("ottla.version", 2, SafeDowngrade)]), []);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        use UpgradeType::{SafeDowngrade, UnsafeDowngrade, Upgrade};
        let cases = [
            (update("manners", 3, Upgrade), "Broker 7 only supports versions 0-2"),
            (update("manners", 9, Upgrade), "The controllers only support versions 0-3"),
            (update("manners", -1, Upgrade), "cannot be less than 0"),
            (update("manners", 0, Upgrade), "without setting the upgrade type"),
            (update("manners", 2, UnsafeDowngrade), "Can't downgrade to a newer version"),
            (update("sports", 1, Upgrade), "does not know the feature"),
            (update("ottla.version", 1, SafeDowngrade), "in the format of version 2"),
            (update("ottla.version", 1, UnsafeDowngrade), "in the format of version 2"),
            (update("ottla.version", 0, UnsafeDowngrade), "only support versions 1-3"),
        ];
        for (case, reason) in cases {
            let fine = update("manners", 2, Upgrade);
            let said = refused(std::slice::from_ref(&case));
            assert!(said.contains(reason), "{said}");
            if case.name != fine.name {
                assert_eq!(refused(&[fine, case]), said, "all or nothing");
            }
        }
        assert!(refused(&[]).contains("no feature"));
        let twice = [update("manners", 2, Upgrade), update("manners", 2, Upgrade)];
        assert!(refused(&twice).contains("twice"));
    }
}
