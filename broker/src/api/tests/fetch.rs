//! Fetch on a node that allows everything and has no shard.

use std::sync::Arc;

use ottla_wire::messages::FetchRequest;
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};

use ottla_wire::messages::{ApiKey, BrokerId};
use ottla_wire::replica_fetch::with_flushed_offset;

use super::rig::{PRESENT, ask, body_of, call, node};
use crate::api::authorize::Authorizer;
use crate::api::{Call, Reply, Scope, find};
use crate::server::listener::ListenerContext;

const SESSION_ID_NOT_FOUND: i16 = 70;
const CLUSTER_DENIED: i16 = 31;
const NOT_LEADER: i16 = 6;

fn request() -> FetchRequest {
    let partition = FetchPartition::default().with_partition_max_bytes(1_000);
    let topic = FetchTopic::default().with_topic(PRESENT.topic()).with_partitions(vec![partition]);
    FetchRequest::default().with_topics(vec![topic]).with_max_bytes(1_000)
}

#[tokio::test]
async fn a_request_that_goes_on_with_a_session_is_told_that_there_is_none() {
    let node = node(Authorizer::AllowAll);
    for (session_id, session_epoch, expected) in [
        (0, 0, 0),
        (0, -1, 0),
        (7, -1, 0),
        (7, 0, 0),
        (7, 1, SESSION_ID_NOT_FOUND),
        (0, 3, SESSION_ID_NOT_FOUND),
    ] {
        let request = request().with_session_id(session_id).with_session_epoch(session_epoch);
        let answer = ask(&node, Scope::Broker, 12, &request).await;
        assert_eq!(answer.error_code, expected, "session {session_id}, epoch {session_epoch}");
        assert_eq!((answer.session_id, answer.responses.is_empty()), (0, expected != 0));
    }
}

/// As broker 2 fetches, and says how much of its log is durable, or does not.
fn as_follower(says_what_is_durable: bool) -> FetchRequest {
    let partition = FetchPartition::default().with_partition_max_bytes(1_000);
    let partition = if says_what_is_durable { with_flushed_offset(partition, 0) } else { partition };
    let topic = FetchTopic::default().with_topic_id(PRESENT.id).with_partitions(vec![partition]);
    let state = ReplicaState::default().with_replica_id(BrokerId(2)).with_replica_epoch(5);
    FetchRequest::default().with_replica_state(state).with_topics(vec![topic]).with_max_bytes(1_000)
}

/// Why the connection is closed.
fn closes(call: Call, request: &FetchRequest) -> &'static str {
    let api = find(ApiKey::Fetch as i16).expect("it is in the table");
    let body = body_of(call.version, request);
    match api.serve(Scope::Broker, call, body) {
        Ok(Reply::Close(reason)) => reason,
        Ok(_) => panic!("the request is answered"),
        Err(error) => panic!("the request cannot be read: {error}"),
    }
}

#[tokio::test]
async fn a_follower_is_heard_where_brokers_meet_and_if_it_may_act_for_the_cluster() {
    let allowing = node(Authorizer::AllowAll);
    let answer = ask(&allowing, Scope::Broker, 18, &as_follower(true)).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, NOT_LEADER, "this node has no shard");
    let denying = node(Authorizer::DenyAll);
    let answer = ask(&denying, Scope::Broker, 18, &as_follower(true)).await;
    assert_eq!((answer.error_code, answer.responses.len()), (CLUSTER_DENIED, 0));

    let mut elsewhere = call(&allowing, Scope::Broker, ApiKey::Fetch as i16, 18);
    elsewhere.context.listener =
        Arc::new(ListenerContext { name: "EXTERNAL".to_owned(), scope: Scope::Broker });
    let reason = closes(elsewhere, &as_follower(true));
    assert!(reason.contains("inter.broker.listener.name"), "{reason}");
}

#[tokio::test]
async fn a_follower_that_does_not_say_enough_is_not_believed() {
    let node = node(Authorizer::AllowAll);
    let at = |version| call(&node, Scope::Broker, ApiKey::Fetch as i16, version);
    let reason = closes(at(18), &as_follower(false));
    assert!(reason.contains("durable"), "{reason}");
    let partition = FetchPartition::default().with_partition_max_bytes(1_000);
    let topic = FetchTopic::default().with_topic(PRESENT.topic()).with_partitions(vec![partition]);
    let old = FetchRequest::default().with_replica_id(BrokerId(2)).with_topics(vec![topic]);
    let reason = closes(at(12), &old);
    assert!(reason.contains("version 15"), "{reason}");
}
