//! DescribeConfigs on a node that allows everything.

use ottla_wire::messages::DescribeConfigsRequest;
use ottla_wire::messages::describe_configs_request::DescribeConfigsResource;
use ottla_wire::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use ottla_wire::protocol::StrBytes;

use super::rig::{
    KEY_PASSWORD, MISSING, PRESENT, RETENTION_OF_BROKERS, RETENTION_OF_FILE, RETENTION_OF_TOPIC, ask, node,
    send,
};
use crate::api::Scope;
use crate::api::authorize::Authorizer;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn of(kind: i8, name: &'static str, keys: Option<&[&'static str]>) -> DescribeConfigsResource {
    let keys = keys.map(|keys| keys.iter().copied().map(StrBytes::from_static_str).collect());
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_static_str(name))
        .with_configuration_keys(keys)
}

fn request(resource: DescribeConfigsResource) -> DescribeConfigsRequest {
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

async fn describe(request: DescribeConfigsRequest) -> DescribeConfigsResult {
    let node = node(Authorizer::AllowAll);
    let response = ask(&node, Scope::Broker, 4, &request).await;
    response.results.into_iter().next().expect("one result")
}

fn value(entry: &DescribeConfigsResourceResult) -> Option<&str> {
    entry.value.as_ref().map(StrBytes::as_str)
}

#[tokio::test]
async fn a_topic_shows_the_value_that_counts_and_on_request_what_is_behind_it() {
    let wanted = of(TOPIC, PRESENT.name, Some(&["retention.ms"]));
    let plain = describe(request(wanted.clone())).await;
    let [entry] = plain.configs.as_slice() else { panic!("{plain:?}") };
    assert_eq!((value(entry), entry.config_source, entry.config_type), (Some(RETENTION_OF_TOPIC), 1, 5));
    assert!(entry.synonyms.is_empty() && entry.documentation.is_none() && !entry.read_only);
    let full = request(wanted).with_include_synonyms(true).with_include_documentation(true);
    let full = describe(full).await;
    let entry = &full.configs[0];
    assert!(entry.documentation.as_ref().is_some_and(|text| !text.is_empty()));
    let synonyms: Vec<(&str, &str, i8)> = entry
        .synonyms
        .iter()
        .map(|synonym| (synonym.name.as_str(), synonym.value.as_deref().unwrap_or("-"), synonym.source))
        .collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", RETENTION_OF_TOPIC, 1),
            ("log.retention.ms", RETENTION_OF_BROKERS, 3),
            ("log.retention.ms", RETENTION_OF_FILE, 4),
            ("log.retention.hours", "168", 5),
        ]
    );
}

#[tokio::test]
async fn no_key_named_is_every_key() {
    let all = describe(request(of(TOPIC, PRESENT.name, None))).await.configs;
    assert_eq!(all.len(), ottla_core::config::topic_keys().len());
    assert_eq!(describe(request(of(TOPIC, PRESENT.name, Some(&[])))).await.configs, all);
    assert!(describe(request(of(TOPIC, PRESENT.name, Some(&["colour"])))).await.configs.is_empty());
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_unknown_and_a_name_that_is_none_is_invalid() {
    let code = async |name| describe(request(of(TOPIC, name, None))).await.error_code;
    assert_eq!(code(MISSING.name).await, 3);
    assert_eq!(code("no/name").await, 17);
}

#[tokio::test]
async fn this_broker_shows_its_own_and_no_secret() {
    let node = node(Authorizer::AllowAll);
    for version in 1..=4 {
        let all = request(of(BROKER, "1", None)).with_include_synonyms(true);
        let body = send(&node, Scope::Broker, version, &all).await;
        let leaked = body.windows(KEY_PASSWORD.len()).any(|window| window == KEY_PASSWORD.as_bytes());
        assert!(!leaked, "v{version}");
    }
    let all = describe(request(of(BROKER, "1", None))).await.configs;
    assert_eq!(all.len(), ottla_core::config::broker_keys().len());
    let entry = |name: &str| all.iter().find(|entry| entry.name.as_str() == name).expect("a row");
    let id = entry("node.id");
    assert_eq!((value(id), id.config_source, id.read_only), (Some("1"), 4, true));
    let secret = entry("ssl.key.password");
    assert_eq!((value(secret), secret.config_source, secret.is_sensitive), (None, 2, true));
}

#[tokio::test]
async fn all_brokers_show_only_what_was_set_while_they_ran() {
    let all = describe(request(of(BROKER, "", None)).with_include_synonyms(true)).await.configs;
    let [entry] = all.as_slice() else { panic!("{all:?}") };
    let shown = (entry.name.as_str(), value(entry), entry.config_source, entry.synonyms.len());
    assert_eq!(shown, ("log.retention.ms", Some(RETENTION_OF_BROKERS), 3, 1));
}

#[tokio::test]
async fn another_broker_has_to_be_asked_itself() {
    let refused = describe(request(of(BROKER, "2", None))).await;
    assert_eq!(refused.error_code, 42);
    assert_eq!(
        refused.error_message.as_deref(),
        Some("this is broker 1: only broker 2 knows its configuration, ask that broker")
    );
    assert_eq!(describe(request(of(BROKER, "two", None))).await.error_code, 42);
}

#[tokio::test]
async fn what_cannot_be_configured_is_refused() {
    for kind in [0, 1, 8, 16, 32, 99] {
        let refused = describe(request(of(kind, "x", None))).await;
        assert_eq!((refused.error_code, refused.configs.len()), (42, 0), "type {kind}");
    }
}

#[tokio::test]
async fn what_is_asked_for_many_times_is_answered_once() {
    let node = node(Authorizer::AllowAll);
    let names = [PRESENT.name, "1", PRESENT.name, "01", "+1", "1"];
    let kind = |name: &str| if name == PRESENT.name { TOPIC } else { BROKER };
    let resources = names.map(|name| of(kind(name), name, None)).to_vec();
    let all = DescribeConfigsRequest::default().with_resources(resources);
    let results = ask(&node, Scope::Broker, 4, &all).await.results;
    let answered: Vec<(&str, bool)> =
        results.iter().map(|result| (result.resource_name.as_str(), result.configs.is_empty())).collect();
    assert_eq!(answered, [(PRESENT.name, false), ("1", false), ("01", true), ("+1", true)]);
}
