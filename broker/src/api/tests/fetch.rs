//! Fetch on a node that allows everything and has no shard.

use ottla_wire::messages::FetchRequest;
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic};

use super::rig::{PRESENT, ask, node};
use crate::api::Scope;
use crate::api::authorize::Authorizer;

const SESSION_ID_NOT_FOUND: i16 = 70;

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
