//! UpdateFeatures, key 57, versions 0–2.
//!
//! Behaviour (KIP-584, KIP-778): finalised levels of features are raised, or lowered where that is asked for and the
//! formats on disk allow it: all of them or none. A level that this controller or a registered broker cannot run, a
//! downgrade that is called an upgrade and the other way round, and one over a change of format are
//! INVALID_UPDATE_VERSION, with the feature and the reason. `validate_only` runs everything but the commit.
//! Authorization: Alter on the cluster; else CLUSTER_AUTHORIZATION_FAILED.
//! Version notes: 0 says `allow_downgrade`, 1 an upgrade type and `validate_only`; 0 and 1 list the features of a
//! request that was carried out, 2 has an error for the whole request only, as Kafka's controller does in all.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::controller::operation::{FeatureUpdate, UpdateFeatures, UpgradeType};
use ottla_core::controller::{self, OperationError};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::update_features_request::FeatureUpdateKey;
use ottla_wire::messages::update_features_response::UpdatableFeatureResult;
use ottla_wire::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};

/// From here on an upgrade type stands in the place of `allow_downgrade`.
const UPGRADE_TYPES_FROM: i16 = 1;

/// Up to here features have results of their own.
const RESULTS_UNTIL: i16 = 1;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<UpdateFeaturesRequest>(call, body)
}

impl AdminRequest for UpdateFeaturesRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    async fn decide(&self, call: &Call) -> Result<UpdateFeaturesResponse, OperationError> {
        if !call.allows(Operation::Alter, Resource::Cluster, "") {
            return Ok(self.refuse(&Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed)));
        }
        let updates: Result<Vec<FeatureUpdate>, Refusal> =
            self.feature_updates.iter().map(|update| asked(call.version, update)).collect();
        let updates = match updates {
            Ok(updates) => updates,
            Err(refusal) => return Ok(self.refuse(&refusal)),
        };
        let operation = UpdateFeatures { updates, validate_only: self.validate_only };
        let reply = forward::ask(call, controller::Operation::UpdateFeatures(operation)).await?;
        let controller::Reply::UpdateFeatures = reply else {
            unreachable!("UpdateFeatures answered by {reply:?}")
        };
        let done = UpdateFeaturesResponse::default().with_error_message(None);
        if call.version > RESULTS_UNTIL {
            return Ok(done);
        }
        let results = self.feature_updates.iter().map(|update| {
            UpdatableFeatureResult::default().with_feature(update.feature.clone()).with_error_message(None)
        });
        Ok(done.with_results(results.collect()))
    }

    fn refuse(&self, refusal: &Refusal) -> UpdateFeaturesResponse {
        UpdateFeaturesResponse::default().with_error_code(refusal.code).with_error_message(refusal.text())
    }
}

fn asked(version: i16, update: &FeatureUpdateKey) -> Result<FeatureUpdate, Refusal> {
    let kind = match (version < UPGRADE_TYPES_FROM, update.allow_downgrade, update.upgrade_type) {
        (true, false, _) | (false, _, 1) => UpgradeType::Upgrade,
        (true, true, _) | (false, _, 2) => UpgradeType::SafeDowngrade,
        (false, _, 3) => UpgradeType::UnsafeDowngrade,
        (false, _, other) => {
            let text = format!(
                "unknown upgrade type {other} for feature \"{}\": 1 is an upgrade, 2 a safe and 3 an unsafe downgrade",
                update.feature.as_str()
            );
            return Err(Refusal::new(ResponseError::InvalidUpdateVersion, text));
        }
    };
    Ok(FeatureUpdate { name: update.feature.to_string(), level: update.max_version_level, kind })
}

#[cfg(test)]
mod tests {
    use ottla_wire::protocol::StrBytes;

    use super::*;

    #[test]
    fn what_is_asked_for_follows_from_the_version() {
        let update = FeatureUpdateKey::default()
            .with_feature(StrBytes::from_static_str("ottla.version"))
            .with_max_version_level(1);
        let kind = |version, update: FeatureUpdateKey| asked(version, &update).map(|asked| asked.kind);
        assert_eq!(kind(0, update.clone()), Ok(UpgradeType::Upgrade));
        assert_eq!(kind(0, update.clone().with_allow_downgrade(true)), Ok(UpgradeType::SafeDowngrade));
        for (code, expected) in
            [(1, UpgradeType::Upgrade), (2, UpgradeType::SafeDowngrade), (3, UpgradeType::UnsafeDowngrade)]
        {
            assert_eq!(kind(2, update.clone().with_upgrade_type(code)), Ok(expected));
        }
        let refusal = kind(1, update.with_upgrade_type(9)).unwrap_err();
        assert_eq!(refusal.code, 95);
    }

    #[test]
    fn a_refusal_fits_every_version() {
        let request = UpdateFeaturesRequest::default();
        for version in 0..=2 {
            let response = request.refuse(&Refusal::new(ResponseError::InvalidUpdateVersion, "no"));
            let body = ottla_wire::response::encode_body::<UpdateFeaturesRequest>(version, &response)
                .unwrap_or_else(|error| panic!("version {version}: {error}"));
            let read =
                ottla_wire::response::decode_body::<UpdateFeaturesRequest>(version, body).expect("ours");
            assert_eq!((read.error_code, read.results.len()), (95, 0));
        }
    }
}
