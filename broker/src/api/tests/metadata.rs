//! Metadata on a node that allows everything.

use ottla_wire::messages::MetadataRequest;
use ottla_wire::messages::metadata_request::MetadataRequestTopic;

use super::rig::{MISSING, PRESENT, ask, node};
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
