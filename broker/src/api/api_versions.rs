//! ApiVersions, key 18, versions 0–4.
//!
//! Behaviour: lists the rows of the table for this listener with their ranges, and the finalised features.
//! An unknown version is answered in version 0 with UNSUPPORTED_VERSION and this key's own range only
//! (rule 3). Produce is listed from version 0 although 0–2 are refused: old librdkafka looks for version 0
//! before it enables compression (rule 5, KAFKA-18659).
//! Authorization: none; it is asked before authentication.
//! Version notes: 3 brings the client's software name and version, checked (rule 4); below 4 features with
//! a minimum of 0 are left out (KAFKA-17011).
//! Not done: the software name is checked but not kept for metrics (KIP-511).

use bytes::Bytes;
use ottla_core::controller::supported_features;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use ottla_wire::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use ottla_wire::protocol::StrBytes;

use super::{Api, Call, Reply, Scope, TABLE};

/// The lowest private key. Private keys are for peers, and so for the listener of controllers alone.
const PRIVATE_KEYS_FROM: i16 = 10_000;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: ApiVersionsRequest = ottla_wire::request::decode_body(call.version, body)?;
    if call.version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        let response = ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
        return Ok(call.answer::<ApiVersionsRequest>(&response));
    }
    let scope = call.context.listener.scope;
    let keys = TABLE
        .iter()
        .filter(|api| api.serves(scope) && (scope == Scope::Controller || api.key < PRIVATE_KEYS_FROM))
        .map(listed);
    let image = call.node.image();
    let supported = supported_features().into_iter();
    let supported = supported.filter(|range| call.version >= 4 || range.level_min > 0).map(|range| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_string(range.name))
            .with_min_version(range.level_min)
            .with_max_version(range.level_max)
    });
    let finalized = image.features.iter().map(|(name, level)| {
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_min_version_level(*level)
            .with_max_version_level(*level)
    });
    let response = ApiVersionsResponse::default()
        .with_api_keys(keys.collect())
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(i64::try_from(image.offset.0).unwrap_or(i64::MAX));
    Ok(call.answer::<ApiVersionsRequest>(&response))
}

/// Answers a version nobody knows, in the encoding of version 0.
pub(crate) fn refuse_version(call: &Call) -> Reply {
    let own = super::find(ApiKey::ApiVersions as i16).map(listed);
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(own.into_iter().collect());
    Call { version: 0, ..call.clone() }.answer::<ApiVersionsRequest>(&response)
}

fn listed(api: &Api) -> ApiVersion {
    let is_produce = api.key == ApiKey::Produce as i16;
    let min = if is_produce { 0 } else { *api.versions.start() };
    ApiVersion::default().with_api_key(api.key).with_min_version(min).with_max_version(*api.versions.end())
}

/// KIP-511: letters and digits at both ends, and only `-` and `.` besides them between.
fn is_software_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kip_511() {
        for good in ["librdkafka", "2.0.2", "a", "apache-kafka-java", "confluent-kafka-python.1"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a_b", "é"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
