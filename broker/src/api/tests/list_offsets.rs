//! ListOffsets on a node that has no log.

use ottla_wire::messages::ListOffsetsRequest;
use ottla_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use super::rig::{Asked, MISSING, PRESENT, ask, node};
use crate::api::Scope;
use crate::api::authorize::Authorizer;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const NOT_LEADER: i16 = 6;
const TOPIC_DENIED: i16 = 29;
const INVALID_REQUEST: i16 = 42;

fn topic(asked: Asked, partitions: &[i32]) -> ListOffsetsTopic {
    let partition =
        |index: &i32| ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(-1);
    ListOffsetsTopic::default()
        .with_name(asked.topic())
        .with_partitions(partitions.iter().map(partition).collect())
}

/// The partitions of the answer with their codes, topic by topic.
async fn codes(authorizer: Authorizer, topics: Vec<ListOffsetsTopic>) -> Vec<Vec<(i32, i16)>> {
    let request = ListOffsetsRequest::default().with_topics(topics);
    let answer = ask(&node(authorizer), Scope::Broker, 11, &request).await;
    let of_topic = |topic: &ottla_wire::messages::list_offsets_response::ListOffsetsTopicResponse| {
        topic.partitions.iter().map(|partition| (partition.partition_index, partition.error_code)).collect()
    };
    answer.topics.iter().map(of_topic).collect()
}

#[tokio::test]
async fn a_partition_that_is_asked_for_twice_is_refused_once() {
    let within = vec![topic(PRESENT, &[0, 7, 0]), topic(MISSING, &[0])];
    let expected =
        [vec![(0, INVALID_REQUEST), (7, UNKNOWN_TOPIC_OR_PARTITION)], vec![(0, UNKNOWN_TOPIC_OR_PARTITION)]];
    assert_eq!(codes(Authorizer::AllowAll, within).await, expected);
    let across = vec![topic(PRESENT, &[0]), topic(MISSING, &[1]), topic(PRESENT, &[0])];
    let expected = [vec![(0, INVALID_REQUEST)], vec![(1, UNKNOWN_TOPIC_OR_PARTITION)]];
    assert_eq!(codes(Authorizer::AllowAll, across).await, expected);
    assert_eq!(codes(Authorizer::AllowAll, vec![topic(PRESENT, &[0])]).await, [[(0, NOT_LEADER)]]);
    let denied = vec![topic(PRESENT, &[0, 0])];
    assert_eq!(codes(Authorizer::DenyAll, denied).await, [[(0, TOPIC_DENIED)]], "who may not see it");
}
