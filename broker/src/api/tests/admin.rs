//! Admin requests where no controller is active, on both sides of a Forward.

use std::sync::Arc;

use bytes::Bytes;
use ottla_wire::messages::add_raft_voter_request::Listener;
use ottla_wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use ottla_wire::messages::create_partitions_request::CreatePartitionsTopic;
use ottla_wire::messages::create_topics_request::CreatableTopic;
use ottla_wire::messages::delete_topics_request::DeleteTopicState;
use ottla_wire::messages::describe_quorum_request::{PartitionData, TopicData};
use ottla_wire::messages::elect_leaders_request::TopicPartitions;
use ottla_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla_wire::messages::{
    AddRaftVoterRequest, AlterPartitionReassignmentsRequest, ApiKey, BrokerId, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteTopicsRequest, DescribeQuorumRequest, ElectLeadersRequest,
    IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest, MetadataRequest,
    RemoveRaftVoterRequest, UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use ottla_wire::private::{ForwardRequest, ForwardResponse};
use ottla_wire::protocol::{Request, StrBytes};
use tokio::sync::watch;
use uuid::Uuid;

use super::rig::{Asked, MISSING, PRESENT, ask, body_of, call, image, node, node_that_knows, send};
use crate::api::authorize::Authorizer;
use crate::api::{Scope, find, forward};
use crate::drive::controller::ControllerHandle;
use crate::node::Node;

const INVALID_REQUEST: i16 = 42;
const NOT_LEADER: i16 = 6;
const NOT_CONTROLLER: i16 = 41;
const TIMED_OUT: i16 = 7;
const UNKNOWN_TOPIC_ID: i16 = 100;

fn topic(asked: Asked) -> CreatableTopic {
    CreatableTopic::default().with_name(asked.topic()).with_num_partitions(1).with_replication_factor(1)
}

fn create(asked: &[Asked]) -> CreateTopicsRequest {
    CreateTopicsRequest::default()
        .with_topics(asked.iter().map(|asked| topic(*asked)).collect())
        .with_timeout_ms(1000)
}

fn delete(version: i16, asked: &[Asked]) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(1000);
    if version < 6 {
        return request.with_topic_names(asked.iter().map(Asked::topic).collect());
    }
    let by_name = |asked: &Asked| DeleteTopicState::default().with_name(Some(asked.topic()));
    request.with_topics(asked.iter().map(by_name).collect())
}

fn enlarge(asked: &[Asked]) -> CreatePartitionsRequest {
    let topics = asked.iter().map(|asked| {
        CreatePartitionsTopic::default().with_name(asked.topic()).with_count(2).with_assignments(None)
    });
    CreatePartitionsRequest::default().with_topics(topics.collect()).with_timeout_ms(1000)
}

fn elect(asked: &[Asked]) -> ElectLeadersRequest {
    let named = asked
        .iter()
        .map(|asked| TopicPartitions::default().with_topic(asked.topic()).with_partitions(vec![0]));
    ElectLeadersRequest::default().with_topic_partitions(Some(named.collect())).with_timeout_ms(1000)
}

fn resource(
    kind: i8,
    name: StrBytes,
    keys: &[(&'static str, i8, Option<&'static str>)],
) -> AlterConfigsResource {
    let configs = keys.iter().map(|(key, operation, value)| {
        AlterableConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_config_operation(*operation)
            .with_value(value.map(StrBytes::from_static_str))
    });
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(name)
        .with_configs(configs.collect())
}

fn alter(resources: Vec<AlterConfigsResource>) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest::default().with_resources(resources)
}

fn quorum() -> DescribeQuorumRequest {
    let topic = TopicData::default()
        .with_topic_name(StrBytes::from_static_str("__cluster_metadata").into())
        .with_partitions(vec![PartitionData::default()]);
    DescribeQuorumRequest::default().with_topics(vec![topic])
}

async fn every_version<R: Request>(
    scope: Scope,
    request: impl Fn(i16) -> R,
    codes: impl Fn(&R::Response) -> Vec<i16>,
    expected: &[i16],
) {
    let node = node(Authorizer::AllowAll);
    let api = find(R::KEY).expect("a row");
    for version in api.versions.clone() {
        let answer = ask(&node, scope, version, &request(version)).await;
        assert_eq!(codes(&answer), expected, "{} v{version}", api.name);
    }
}

async fn every_admin_api(scope: Scope, expected: i16, expected_of_quorum: (i16, Option<i16>)) {
    let two = [PRESENT, MISSING];
    let both = [expected, expected];
    every_version(
        scope,
        |_| create(&two),
        |answer| answer.topics.iter().map(|topic| topic.error_code).collect(),
        &both,
    )
    .await;
    every_version(
        scope,
        |version| delete(version, &two),
        |answer| answer.responses.iter().map(|topic| topic.error_code).collect(),
        &both,
    )
    .await;
    every_version(
        scope,
        |_| enlarge(&two),
        |answer| answer.results.iter().map(|topic| topic.error_code).collect(),
        &both,
    )
    .await;
    every_version(
        scope,
        |_| alter(vec![resource(2, PRESENT.text(), &[]), resource(4, StrBytes::new(), &[])]),
        |answer| answer.responses.iter().map(|resource| resource.error_code).collect(),
        &both,
    )
    .await;
    every_version(
        scope,
        |_| elect(&two),
        |answer| {
            let topics = answer.replica_election_results.iter();
            topics.flat_map(|topic| &topic.partition_result).map(|one| one.error_code).collect()
        },
        &both,
    )
    .await;
    of_reassignments(scope, expected).await;
    of_the_cluster(scope, expected, expected_of_quorum).await;
}

/// The same for moves of replicas.
async fn of_reassignments(scope: Scope, expected: i16) {
    let named = AlterPartitionReassignmentsRequest::default().with_topics(vec![
        ReassignableTopic::default()
            .with_name(PRESENT.topic())
            .with_partitions(vec![ReassignablePartition::default().with_replicas(None)]),
    ]);
    every_version(
        scope,
        |_| named.clone().with_timeout_ms(1000),
        |answer| vec![answer.error_code, answer.responses[0].partitions[0].error_code],
        &[expected, expected],
    )
    .await;
    every_version(
        scope,
        |_| ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(1000),
        |answer| vec![answer.error_code],
        &[expected],
    )
    .await;
}

/// The same for what names no topic.
async fn of_the_cluster(scope: Scope, expected: i16, expected_of_quorum: (i16, Option<i16>)) {
    every_version(
        scope,
        |_| UnregisterBrokerRequest::default().with_broker_id(BrokerId(1)),
        |answer| vec![answer.error_code],
        &[expected],
    )
    .await;
    every_version(scope, |_| UpdateFeaturesRequest::default(), |answer| vec![answer.error_code], &[expected])
        .await;
    // Of the voters a controller says who leads, in the quorum's words.
    let of_voters = if expected == NOT_CONTROLLER { NOT_LEADER } else { expected };
    let listener = Listener::default()
        .with_name(StrBytes::from_static_str("CONTROLLER"))
        .with_host(StrBytes::from_static_str("c4"));
    let id = Uuid::from_u128(4 << 64);
    let voter = AddRaftVoterRequest::default().with_cluster_id(None).with_voter_directory_id(id);
    let voter = voter.with_listeners(vec![listener]);
    every_version(scope, |_| voter.clone(), |answer| vec![answer.error_code], &[of_voters]).await;
    let voter = RemoveRaftVoterRequest::default().with_cluster_id(None).with_voter_directory_id(id);
    every_version(scope, |_| voter.clone(), |answer| vec![answer.error_code], &[of_voters]).await;
    let (top, partition) = expected_of_quorum;
    every_version(
        scope,
        |_| quorum(),
        |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            [answer.error_code].into_iter().chain(partitions.map(|partition| partition.error_code)).collect()
        },
        &[top].into_iter().chain(partition).collect::<Vec<_>>(),
    )
    .await;
}

#[tokio::test]
async fn a_broker_that_finds_no_controller_in_time_says_so_for_every_item() {
    every_admin_api(Scope::Broker, TIMED_OUT, (TIMED_OUT, None)).await;
}

#[tokio::test]
async fn a_controller_that_is_not_active_says_so_for_every_item() {
    every_admin_api(Scope::Controller, NOT_CONTROLLER, (0, Some(NOT_LEADER))).await;
}

/// A node with such a controller part, and a broker part that has published nothing yet.
fn node_with(controller: ControllerHandle) -> Arc<Node> {
    let (_, nothing) = watch::channel(Arc::default());
    node_that_knows(nothing, Authorizer::AllowAll, Some(controller))
}

async fn forwarded(node: &Arc<Node>, key: i16, version: i16, body: Bytes) -> ForwardResponse {
    let request = ForwardRequest {
        principal_type: "User".to_owned(),
        principal_name: "alice".to_owned(),
        client_id: "test".to_owned(),
        listener: "PLAIN".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        api_key: key,
        api_version: version,
        body,
    };
    ask(node, Scope::Controller, 0, &request).await
}

#[tokio::test]
async fn a_forward_to_a_controller_that_is_not_active_goes_back_to_the_broker() {
    let node = node(Authorizer::AllowAll);
    let answer = forwarded(&node, ApiKey::CreateTopics as i16, 7, body_of(7, &create(&[MISSING]))).await;
    assert_eq!((answer.error_code, answer.body.len()), (NOT_CONTROLLER, 0));
}

#[tokio::test]
async fn a_forward_answers_with_the_body_the_client_would_get() {
    let node = node(Authorizer::AllowAll);
    let request = create(&[MISSING, MISSING]);
    for version in 2..=7 {
        let answer = forwarded(&node, ApiKey::CreateTopics as i16, version, body_of(version, &request)).await;
        assert_eq!(answer.error_code, 0);
        let direct = send(&node, Scope::Controller, version, &request).await;
        assert_eq!(answer.body, direct, "v{version}");
    }
}

#[tokio::test]
async fn a_forward_of_what_is_not_forwarded_is_refused() {
    let node = node(Authorizer::AllowAll);
    let body = body_of(13, &MetadataRequest::default());
    assert_eq!(forwarded(&node, ApiKey::Metadata as i16, 13, body.clone()).await.error_code, 35);
    assert_eq!(forwarded(&node, ApiKey::CreateTopics as i16, 99, body.clone()).await.error_code, 35);
    assert_eq!(forwarded(&node, ApiKey::CreateTopics as i16, 7, body).await.error_code, INVALID_REQUEST);
}

#[tokio::test]
async fn a_malformed_body_ends_the_connection_before_anything_is_forwarded() {
    let node = node(Authorizer::AllowAll);
    for key in forward::keys() {
        let api = find(key).expect("a row");
        let call = call(&node, Scope::Broker, key, *api.versions.end());
        assert!(api.serve(Scope::Broker, call, Bytes::from_static(&[200])).is_err(), "{}", api.name);
    }
}

#[tokio::test]
async fn what_a_request_names_twice_is_refused_once() {
    let node = node(Authorizer::AllowAll);
    let three = [PRESENT, PRESENT, PRESENT];
    let created = ask(&node, Scope::Controller, 7, &create(&three)).await;
    let codes: Vec<i16> = created.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST]);
    let deleted = ask(&node, Scope::Controller, 6, &delete(6, &three)).await;
    let codes: Vec<i16> = deleted.responses.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST]);
    let enlarged = ask(&node, Scope::Controller, 3, &enlarge(&three)).await;
    let codes: Vec<i16> = enlarged.results.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST]);
    let altered = alter(vec![resource(2, PRESENT.text(), &[]), resource(2, PRESENT.text(), &[])]);
    let altered = ask(&node, Scope::Controller, 1, &altered).await;
    let codes: Vec<i16> = altered.responses.iter().map(|resource| resource.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST]);
}

#[tokio::test]
async fn alterations_that_say_nothing_clear_are_refused_before_the_controller_is_asked() {
    let node = node(Authorizer::AllowAll);
    let refused = [
        resource(2, PRESENT.text(), &[("retention.ms", 0, None)]),
        resource(2, MISSING.text(), &[("retention.ms", 9, Some("5"))]),
        resource(
            4,
            StrBytes::from_static_str("1"),
            &[("log.retention.ms", 0, Some("5")), ("log.retention.ms", 1, None)],
        ),
        resource(4, StrBytes::from_static_str("one"), &[]),
        resource(8, StrBytes::from_static_str("1"), &[]),
        resource(16, StrBytes::from_static_str("m"), &[]),
        resource(99, StrBytes::new(), &[]),
    ];
    let answer = ask(&node, Scope::Controller, 1, &alter(refused.to_vec())).await;
    for response in &answer.responses {
        assert_eq!(response.error_code, INVALID_REQUEST, "{response:?}");
        assert!(response.error_message.is_some());
    }
    assert_eq!(answer.responses.len(), refused.len());
}

#[tokio::test]
async fn a_topic_is_deleted_by_its_name_or_its_id_and_not_by_both_or_none() {
    let node = node_with(ControllerHandle::idle(image()));
    let topics = vec![
        DeleteTopicState::default().with_name(Some(PRESENT.topic())).with_topic_id(PRESENT.id),
        DeleteTopicState::default().with_name(None).with_topic_id(Uuid::nil()),
        DeleteTopicState::default().with_name(None).with_topic_id(MISSING.id),
    ];
    let request = DeleteTopicsRequest::default().with_topics(topics).with_timeout_ms(1000);
    let answer = ask(&node, Scope::Controller, 6, &request).await;
    let codes: Vec<i16> = answer.responses.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, INVALID_REQUEST, UNKNOWN_TOPIC_ID]);
}

#[tokio::test]
async fn only_the_active_controller_says_that_there_is_no_topic_with_an_id() {
    let topics = vec![DeleteTopicState::default().with_name(None).with_topic_id(MISSING.id)];
    let body = body_of(6, &DeleteTopicsRequest::default().with_topics(topics).with_timeout_ms(1000));
    for (controller, expected) in
        [(ControllerHandle::gone(image()), NOT_CONTROLLER), (ControllerHandle::idle(image()), 0)]
    {
        let node = node_with(controller);
        let answer = forwarded(&node, ApiKey::DeleteTopics as i16, 6, body.clone()).await;
        assert_eq!(answer.error_code, expected);
    }
}

#[tokio::test]
async fn nobody_creates_the_topic_of_the_metadata() {
    let node = node(Authorizer::AllowAll);
    let asked = Asked { name: "__cluster_metadata", id: Uuid::nil() };
    let answer = ask(&node, Scope::Controller, 7, &create(&[asked])).await;
    assert_eq!(answer.topics[0].error_code, 29);
}

#[tokio::test]
async fn a_combined_node_judges_by_what_its_controller_has_committed() {
    let node = node_with(ControllerHandle::gone(image()));
    let topics = vec![DeleteTopicState::default().with_name(None).with_topic_id(PRESENT.id)];
    let body = body_of(6, &DeleteTopicsRequest::default().with_topics(topics));
    let answer = forwarded(&node, ApiKey::DeleteTopics as i16, 6, body).await;
    assert_eq!(
        answer.error_code, NOT_CONTROLLER,
        "the topic is known, and the machine is asked to delete it"
    );
}
