//! Groups as a broker answers that coordinates none.

use ottla_wire::messages::metadata_request::MetadataRequestTopic;
use ottla_wire::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, MetadataRequest, OffsetFetchRequest,
    SyncGroupRequest, TopicName,
};
use ottla_wire::protocol::StrBytes;

use super::rig::{MISSING, ask, config_with, node};
use crate::api::Scope;
use crate::api::authorize::Authorizer;
use crate::drive::auto_topics::{Asked, AutoTopics};
use crate::drive::groups::OFFSETS_TOPIC;
use crate::node::Node;
use std::sync::Arc;

const UNKNOWN_TOPIC: i16 = 3;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;
const TOPIC_DENIED: i16 = 29;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;

/// A node, and what it asks to have made.
fn noting(authorizer: Authorizer, settings: &[(&str, &str)]) -> (Arc<Node>, Asked) {
    let mut node = node(authorizer);
    let (auto_topics, asked) = AutoTopics::noted();
    let inner = Arc::get_mut(&mut node).expect("nobody else has it");
    inner.auto_topics = auto_topics;
    inner.config = Arc::new(config_with(settings));
    (node, asked)
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

#[tokio::test]
async fn who_looks_for_a_coordinator_has_the_topic_made_that_keeps_groups() {
    let (node, mut asked) = noting(Authorizer::AllowAll, &[("auto.create.topics.enable", "false")]);
    for version in 0..=6 {
        let request = FindCoordinatorRequest::default();
        let key = StrBytes::from_static_str("g");
        let request =
            if version < 4 { request.with_key(key) } else { request.with_coordinator_keys(vec![key]) };
        let found = ask(&node, Scope::Broker, version, &request).await;
        let code = found.coordinators.first().map_or(found.error_code, |one| one.error_code);
        assert_eq!(code, COORDINATOR_NOT_AVAILABLE, "v{version}");
        assert_eq!(asked.next(), Some((OFFSETS_TOPIC.to_owned(), false)), "v{version}");
    }
}

#[tokio::test]
async fn there_are_no_coordinators_of_other_things() {
    let (node, mut asked) = noting(Authorizer::AllowAll, &[]);
    for (key_type, expected) in [(1, UNSUPPORTED_VERSION), (2, INVALID_REQUEST), (9, INVALID_REQUEST)] {
        let request = FindCoordinatorRequest::default()
            .with_key_type(key_type)
            .with_coordinator_keys(vec![StrBytes::from_static_str("g")]);
        let found = ask(&node, Scope::Broker, 6, &request).await;
        assert_eq!(found.coordinators[0].error_code, expected, "{key_type}");
    }
    assert_eq!(asked.next(), None);
}

#[tokio::test]
async fn who_asks_the_wrong_broker_is_told_so() {
    let node = node(Authorizer::AllowAll);
    for version in 2..=7 {
        let request = OffsetFetchRequest::default().with_group_id(group());
        assert_eq!(ask(&node, Scope::Broker, version, &request).await.error_code, NOT_COORDINATOR);
    }
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    for version in 0..=6 {
        let described = ask(&node, Scope::Broker, version, &request).await;
        assert_eq!(described.groups[0].error_code, NOT_COORDINATOR, "v{version}");
    }
}

#[tokio::test]
async fn a_sync_says_of_which_group_and_from_5_on_of_which_protocol() {
    let node = node(Authorizer::AllowAll);
    let nameless = SyncGroupRequest::default();
    assert_eq!(ask(&node, Scope::Broker, 3, &nameless).await.error_code, INVALID_GROUP_ID);
    let request = SyncGroupRequest::default().with_group_id(group()).with_protocol_name(None);
    assert_eq!(ask(&node, Scope::Broker, 5, &request).await.error_code, INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(ask(&node, Scope::Broker, 4, &request).await.error_code, NOT_COORDINATOR);
}

fn about_missing(allow: bool) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(MISSING.topic()));
    MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(allow)
}

#[tokio::test]
async fn a_topic_that_is_asked_for_is_made_if_broker_and_request_allow_it() {
    let table = [("true", true, true), ("true", false, false), ("false", true, false)];
    for (broker, request, made) in table {
        let (node, mut asked) = noting(Authorizer::AllowAll, &[("auto.create.topics.enable", broker)]);
        let answer = ask(&node, Scope::Broker, 4, &about_missing(request)).await;
        assert_eq!(answer.topics[0].error_code, UNKNOWN_TOPIC, "clients ask again");
        let expected = made.then(|| (MISSING.name.to_owned(), true));
        assert_eq!(asked.next(), expected, "{broker} {request}");
    }
    let (node, mut asked) = noting(Authorizer::AllowAll, &[]);
    ask(&node, Scope::Broker, 3, &about_missing(true)).await;
    assert!(asked.next().is_some(), "before version 4 every request allows it");
    ask(&node, Scope::Broker, 4, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(asked.next(), None, "nobody has named one");
}

#[tokio::test]
async fn no_topic_is_made_of_a_name_that_none_can_have_nor_for_who_may_not() {
    let (node, mut asked) = noting(Authorizer::AllowAll, &[]);
    let name = TopicName(StrBytes::from_static_str("a b"));
    let topic = MetadataRequestTopic::default().with_name(Some(name));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
    ask(&node, Scope::Broker, 9, &request).await;
    assert_eq!(asked.next(), None);
    let (node, mut asked) = noting(Authorizer::DenyAll, &[]);
    let answer = ask(&node, Scope::Broker, 9, &about_missing(true)).await;
    assert_eq!((answer.topics[0].error_code, asked.next()), (TOPIC_DENIED, None));
}
