//! The table itself.

use std::collections::BTreeSet;

use ottla_wire::messages::{ApiKey, ApiVersionsRequest};
use ottla_wire::protocol::StrBytes;

use super::rig::{ask, node};
use crate::api::authorize::Authorizer;
use crate::api::{Scope, TABLE, find, forward};

#[test]
fn rows_are_in_order_of_key_and_each_key_has_one() {
    for pair in TABLE.windows(2) {
        assert!(pair[0].key < pair[1].key, "{} before {}", pair[0].name, pair[1].name);
    }
    for (index, api) in TABLE.iter().enumerate() {
        assert_eq!(api.index, index, "{}", api.name);
    }
}

#[test]
fn every_version_served_can_be_read_and_written() {
    for api in TABLE {
        let range = ottla_wire::version::supported(api.key).unwrap_or_else(|| panic!("{}", api.name));
        let served = (*api.versions.start(), *api.versions.end());
        assert!(range.min <= served.0 && served.1 <= range.max, "{}: {served:?} of {range:?}", api.name);
    }
}

#[test]
fn every_row_is_served_somewhere_and_bears_kafkas_name() {
    for api in TABLE {
        assert!(api.serves(Scope::Broker) || api.serves(Scope::Controller), "{}", api.name);
        if let Ok(key) = ApiKey::try_from(api.key) {
            assert_eq!(format!("{key:?}"), api.name);
        }
    }
}

#[test]
fn what_both_listeners_serve_is_forwarded_and_nothing_else_is() {
    let both = TABLE.iter().filter(|api| api.serves(Scope::Broker) && api.serves(Scope::Controller));
    // What each of the two answers about itself.
    let own = [ApiKey::ApiVersions as i16, ApiKey::DescribeCluster as i16];
    let expected: BTreeSet<i16> = both.map(|api| api.key).filter(|key| !own.contains(key)).collect();
    assert_eq!(forward::keys().into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn api_versions_lists_what_the_listener_serves() {
    let node = node(Authorizer::AllowAll);
    for scope in [Scope::Broker, Scope::Controller] {
        let expected: BTreeSet<(i16, i16, i16)> = TABLE
            .iter()
            // Private keys are shown to peers only, who negotiate their versions as clients do.
            .filter(|api| api.serves(scope) && (scope == Scope::Controller || api.key < 10_000))
            .map(|api| {
                // Rule 5: old librdkafka looks for version 0 of Produce.
                let is_produce = api.key == ApiKey::Produce as i16;
                let min = if is_produce { 0 } else { *api.versions.start() };
                (api.key, min, *api.versions.end())
            })
            .collect();
        let api = find(ApiKey::ApiVersions as i16).expect("a row");
        for version in api.versions.clone() {
            let software = StrBytes::from_static_str("test");
            let request = ApiVersionsRequest::default();
            let request = if version < 3 {
                request
            } else {
                request.with_client_software_name(software.clone()).with_client_software_version(software)
            };
            let response = ask(&node, scope, version, &request).await;
            assert_eq!(response.error_code, 0);
            let keys = response.api_keys.iter().map(|key| (key.api_key, key.min_version, key.max_version));
            let keys: Vec<_> = keys.collect();
            assert_eq!(keys.len(), expected.len(), "no key is listed twice");
            assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), expected, "{scope:?} v{version}");
        }
    }
}
