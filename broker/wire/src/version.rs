//! Versions: which exist for a key, and which header goes with each.
//!
//! The message types come from a crate generated from Kafka 4.1. Where Kafka 4.3
//! has a later version with the same encoding, it is carried here under the
//! encoding of the version it equals.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::VersionRange;

use crate::private::PrivateKey;

/// ListOffsets 11 (KIP-1023) allows one more special timestamp and is otherwise
/// encoded as version 10.
const LIST_OFFSETS_MAX: i16 = 11;
const LIST_OFFSETS_ENCODING_MAX: i16 = 10;

/// InitProducerId 6 (KIP-939) is not stable in Kafka 4.3, and the crate has its number without its encoding.
const INIT_PRODUCER_ID_MAX: i16 = 5;

/// Of OffsetCommit 10 and OffsetFetch 10 (KIP-848's topic ids) the crate has the responses only.
const OFFSETS_MAX: i16 = 9;

/// Versions of a request that this crate can read and write, `None` for an
/// unknown key.
#[must_use]
pub fn supported(key: i16) -> Option<VersionRange> {
    if let Some(private) = PrivateKey::from_code(key) {
        return Some(private.versions());
    }
    let api = ApiKey::try_from(key).ok()?;
    let mut range = api.valid_versions();
    if api == ApiKey::ListOffsets {
        range.max = LIST_OFFSETS_MAX;
    }
    if api == ApiKey::InitProducerId {
        range.max = INIT_PRODUCER_ID_MAX;
    }
    if matches!(api, ApiKey::OffsetCommit | ApiKey::OffsetFetch) {
        range.max = OFFSETS_MAX;
    }
    Some(range)
}

/// The version whose encoding `version` of this key has.
#[must_use]
pub fn encoding_of(key: i16, version: i16) -> i16 {
    if key == ApiKey::ListOffsets as i16 && version == LIST_OFFSETS_MAX {
        return LIST_OFFSETS_ENCODING_MAX;
    }
    version
}

/// The version of the header before a request: 2 has tagged fields, 1 has not.
///
/// `None` for an unknown key. SaslHandshake and OffsetDelete never became
/// flexible and keep 1 for all their versions. A version newer than we know gets
/// the header of the newest, which is how an ApiVersions request from the future
/// is read far enough to answer it.
#[must_use]
pub fn request_header(key: i16, version: i16) -> Option<i16> {
    if PrivateKey::from_code(key).is_some() {
        return Some(2);
    }
    ApiKey::try_from(key).ok().map(|api| api.request_header_version(version))
}

/// The version of the header before a response: 1 has tagged fields, 0 has not.
///
/// `None` for an unknown key. ApiVersions answers with 0 whatever its version, so
/// that a client whose version we do not know can read it.
#[must_use]
pub fn response_header(key: i16, version: i16) -> Option<i16> {
    if PrivateKey::from_code(key).is_some() {
        return Some(1);
    }
    ApiKey::try_from(key).ok().map(|api| api.response_header_version(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SASL_HANDSHAKE: i16 = 17;
    const API_VERSIONS: i16 = 18;
    const OFFSET_DELETE: i16 = 47;

    #[test]
    fn headers_follow_flexibility() {
        assert_eq!((request_header(0, 8), response_header(0, 8)), (Some(1), Some(0)));
        assert_eq!((request_header(0, 9), response_header(0, 9)), (Some(2), Some(1)));
        assert_eq!((request_header(2, 11), response_header(2, 11)), (Some(2), Some(1)));
    }

    #[test]
    fn keys_that_never_became_flexible_keep_the_old_header() {
        for key in [SASL_HANDSHAKE, OFFSET_DELETE] {
            let newest = supported(key).unwrap().max;
            assert_eq!((request_header(key, newest), response_header(key, newest)), (Some(1), Some(0)));
        }
    }

    #[test]
    fn api_versions_always_answers_without_tags() {
        for version in [0, 2, 3, 4, 99] {
            assert_eq!(response_header(API_VERSIONS, version), Some(0));
        }
        assert_eq!(request_header(API_VERSIONS, 2), Some(1));
        assert_eq!(request_header(API_VERSIONS, 99), Some(2));
    }

    #[test]
    fn list_offsets_reaches_kafka_4_3_in_the_encoding_of_version_10() {
        assert_eq!(supported(2).unwrap().max, 11);
        assert_eq!(encoding_of(2, 11), 10);
        assert_eq!(encoding_of(2, 9), 9);
        assert_eq!(encoding_of(3, 11), 11);
    }

    #[test]
    fn unknown_keys_have_neither_versions_nor_headers() {
        for key in [-1, 4, 93, 9_999, 10_005] {
            assert!(supported(key).is_none() && request_header(key, 0).is_none(), "{key}");
            assert!(response_header(key, 0).is_none(), "{key}");
        }
    }
}
