//! Replies that are much larger than their requests, and the memory budget.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ottla_wire::messages::describe_configs_request::DescribeConfigsResource;
use ottla_wire::messages::metadata_request::MetadataRequestTopic;
use ottla_wire::messages::{DescribeConfigsRequest, MetadataRequest, TopicName};
use ottla_wire::protocol::Request;

use super::rig::{PRESENT, ask, node};
use crate::api::authorize::Authorizer;
use crate::api::describe_configs::{BROKER_BYTES, TOPIC_BYTES};
use crate::api::{Scope, find};
use crate::node::Node;

/// Sends a request while others hold all the memory; it is answered once they have given it back.
async fn check<R: Request>(node: &Arc<Node>, request: &R) -> R::Response {
    let memory = node.memory.of(Scope::Broker);
    let free = memory.available_bytes();
    let all = (memory.reserve(usize::MAX).await, memory.reserve(1).await);
    let version = *find(R::KEY).expect("a row").versions.end();
    let mut answer = pin!(ask(node, Scope::Broker, version, request));
    let mut context = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut context).is_pending(), "key {} holds what nobody counts", R::KEY);
    drop(all);
    let answer = answer.await;
    assert_eq!(memory.available_bytes(), free, "all is given back");
    answer
}

#[tokio::test]
async fn large_replies_are_made_when_there_is_memory_for_them() {
    let node = node(Authorizer::AllowAll);
    let metadata = check(&node, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(metadata.topics.len(), 1);
    let topic = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(PRESENT.text());
    let configs = DescribeConfigsRequest::default().with_resources(vec![topic.with_configuration_keys(None)]);
    let configs = check(&node, &configs).await;
    assert!(configs.results[0].configs.len() > 10);
}

#[tokio::test]
async fn what_is_named_often_is_counted_once() {
    let node = node(Authorizer::AllowAll);
    let memory = node.memory.of(Scope::Broker);
    // All but what one broker takes is held, and so is what one goes on with without.
    let spare = memory.reserve(BROKER_BYTES).await;
    let _others = (memory.reserve(memory.available_bytes()).await, memory.reserve(1).await);
    drop(spare);
    let broker = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(ottla_wire::protocol::StrBytes::from_static_str("1"))
        .with_configuration_keys(Some(Vec::new()));
    let request = DescribeConfigsRequest::default().with_resources(vec![broker; 2_000]);
    let mut answer = pin!(ask(&node, Scope::Broker, 4, &request));
    let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("two thousand are counted")
    };
    assert_eq!(answer.results.len(), 1);
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(PRESENT.text())));
    let request = MetadataRequest::default().with_topics(Some(vec![topic; 2_000]));
    let mut answer = pin!(ask(&node, Scope::Broker, 12, &request));
    let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("two thousand are counted")
    };
    assert_eq!(answer.topics.len(), 1);
}

#[tokio::test]
async fn what_a_description_of_configurations_takes_is_not_underrated() {
    let node = node(Authorizer::AllowAll);
    for (kind, name, most) in [(2, PRESENT.name, TOPIC_BYTES), (4, "1", BROKER_BYTES)] {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(ottla_wire::protocol::StrBytes::from_static_str(name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true)
            .with_include_documentation(true);
        let frame = super::rig::send(&node, Scope::Broker, 4, &request).await;
        // The response's own structures take about as much as its frame.
        assert!((most / 8..most / 2).contains(&frame.len()), "{name}: {}", frame.len());
    }
}
