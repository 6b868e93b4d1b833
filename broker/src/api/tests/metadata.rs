//! Metadata on a node that allows everything.

use std::sync::Arc;

use ottla_core::ids::NodeId;
use ottla_core::metadata::image::{Broker, Fencing};
use ottla_wire::messages::MetadataRequest;
use ottla_wire::messages::metadata_request::MetadataRequestTopic;
use tokio::sync::watch;

use super::rig::{MISSING, PRESENT, ask, image, node, node_that_knows};
use crate::api::Scope;
use crate::api::authorize::Authorizer;

#[tokio::test]
async fn metadata_of_a_topic_is_given_once_however_often_it_is_asked_for() {
    let node = node(Authorizer::AllowAll);
    let by_name = |id| MetadataRequestTopic::default().with_name(Some(PRESENT.topic())).with_topic_id(id);
    let by_id = || MetadataRequestTopic::default().with_name(None).with_topic_id(PRESENT.id);
    let topics = vec![by_name(PRESENT.id), by_id(), by_name(MISSING.id), by_id()];
    let request = MetadataRequest::default().with_topics(Some(topics));
    let answer = ask(&node, Scope::Broker, 13, &request).await;
    assert_eq!(answer.topics.len(), 2, "once by its name, once by its id");
}

#[tokio::test]
async fn a_broker_on_its_way_out_is_still_told_of() {
    let mut image = image();
    let mut broker = Broker::clone(&image.brokers[&NodeId(1)]);
    broker.fencing = Fencing::InControlledShutdown;
    image.brokers.insert(NodeId(1), Arc::new(broker));
    let (_, images) = watch::channel(Arc::new(image));
    let node = node_that_knows(images, Authorizer::AllowAll, None);
    let answer = ask(&node, Scope::Broker, 13, &MetadataRequest::default()).await;
    assert_eq!(answer.brokers.iter().map(|broker| broker.node_id.0).collect::<Vec<_>>(), [1]);
}
