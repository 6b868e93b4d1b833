//! DescribeTopicPartitions, key 75, version 0.
//!
//! Behaviour (KIP-966, rule 19): topics by name, or all of them, in order of name, with their partitions, eligible
//! leader replicas and last known leaders. An answer has as many partitions as the request wants and
//! `max.request.partition.size.limit` allows; a cursor says where the next one begins. A request's cursor leaves out
//! the topics before it; one that is not among the topics named, or whose partition is negative, is INVALID_REQUEST
//! for all of them. Replicas are offline that the listener the request came in on does not reach.
//! Authorization: Describe on each topic; a named one that is denied is TOPIC_AUTHORIZATION_FAILED without its id,
//! after all others, as in Kafka; one of "all topics" is left out.
//! Version notes: there is one.
//! Not done: nothing.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_core::ids::{PartitionIndex, TopicName};
use ottla_core::metadata::image::{Image, Partition, Topic};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla_wire::messages::{self, BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{OPERATIONS_NOT_ASKED, Resource};
use super::metadata::{BYTES_EACH, ids, may_describe, offline};
use super::{Call, Reply};

/// Kafka's default of the limit.
const PARTITIONS_MAX: usize = 2_000;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DescribeTopicPartitionsRequest = ottla_wire::request::decode_body(call.version, body)?;
    let image = call.node.image();
    let partitions_max = partitions_max(&call, &image, &request);
    // Topics without partitions left to tell of are told of all the same.
    let parts = partitions_max.min(partitions(&image)) + request.topics.len() + image.topics.len();
    let answer = move |call: &Call| respond(call, &image, &request, partitions_max);
    Ok(call.answer_within::<DescribeTopicPartitionsRequest>(parts * BYTES_EACH, answer))
}

fn partitions(image: &Image) -> usize {
    image.topics.values().map(|topic| topic.partitions.len()).sum()
}

fn partitions_max(call: &Call, image: &Image, request: &DescribeTopicPartitionsRequest) -> usize {
    let most = call.node.live_number(image, "max.request.partition.size.limit").unwrap_or(PARTITIONS_MAX);
    usize::try_from(request.response_partition_limit).unwrap_or(0).min(most).max(1)
}

fn respond(
    call: &Call,
    image: &Image,
    request: &DescribeTopicPartitionsRequest,
    partitions_max: usize,
) -> DescribeTopicPartitionsResponse {
    let cursor = request.cursor.as_ref();
    let begins = cursor.map_or("", |cursor| cursor.topic_name.as_str());
    let all = request.topics.is_empty();
    let names: BTreeSet<&str> = if all {
        image.topic_ids.keys().map(TopicName::as_str).filter(|name| *name >= begins).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.as_str()).filter(|name| *name >= begins).collect()
    };
    let missed = cursor.is_some_and(|cursor| cursor.partition_index < 0 || (!all && !names.contains(begins)));
    if missed {
        let topics = request.topics.iter().map(|topic| failed(ResponseError::InvalidRequest, &topic.name));
        return DescribeTopicPartitionsResponse::default().with_topics(topics.collect());
    }
    let (allowed, denied): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| may_describe(call, name));
    let mut page = Page { call, image, left: partitions_max, topics: Vec::new(), next: None };
    for name in allowed {
        let first = cursor.filter(|_| name == begins).map_or(0, |cursor| cursor.partition_index);
        if !page.take(name, PartitionIndex(first)) {
            break;
        }
    }
    if !all {
        let error = ResponseError::TopicAuthorizationFailed;
        page.topics.extend(denied.into_iter().map(|name| failed(error, name)));
    }
    DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(page.next)
}

/// One answer as it fills.
struct Page<'a> {
    call: &'a Call,
    image: &'a Image,
    /// How many more partitions have room.
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page<'_> {
    /// Takes a topic in; false if it is not wholly there, and the page ends.
    fn take(&mut self, name: &str, first: PartitionIndex) -> bool {
        if self.left == 0 {
            self.ends_at(name, PartitionIndex(0));
            return false;
        }
        let parsed = TopicName::parse(name);
        let Some(topic) = parsed.as_ref().ok().and_then(|name| self.image.topic(name)) else {
            let error = match parsed {
                Ok(_) => ResponseError::UnknownTopicOrPartition,
                Err(_) => ResponseError::InvalidTopicException,
            };
            self.topics.push(failed(error, name));
            return true;
        };
        let mut rest = topic.partitions.range(first..);
        let partitions: Vec<_> = rest
            .by_ref()
            .take(self.left)
            .map(|(index, partition)| self.described(partition).with_partition_index(index.0))
            .collect();
        self.left -= partitions.len();
        let next = rest.next().map(|(index, _)| *index);
        self.topics.push(self.found(topic).with_partitions(partitions));
        if let Some(next) = next {
            self.ends_at(name, next);
        }
        next.is_none()
    }

    fn ends_at(&mut self, name: &str, partition: PartitionIndex) {
        let cursor = Cursor::default().with_topic_name(named(name)).with_partition_index(partition.0);
        self.next = Some(cursor);
    }

    fn found(&self, topic: &Topic) -> DescribeTopicPartitionsResponseTopic {
        let name = topic.name.as_str();
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(named(name)))
            .with_topic_id(topic.id.0)
            .with_is_internal(ottla_core::metadata::is_internal(&topic.name))
            .with_topic_authorized_operations(self.call.authorized_operations(true, Resource::Topic, name))
    }

    fn described(&self, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
        let reached = |id: &ottla_core::ids::NodeId| {
            self.call.node.live_endpoint(self.image, *id, &self.call.context.listener.name).is_some()
        };
        let leader = partition.leader.filter(reached).map_or(-1, |leader| leader.0);
        DescribeTopicPartitionsResponsePartition::default()
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(partition.leader_epoch.0)
            .with_replica_nodes(ids(&partition.replicas))
            .with_isr_nodes(ids(&partition.isr))
            .with_eligible_leader_replicas(Some(ids(&partition.elr)))
            .with_last_known_elr(Some(ids(&partition.last_known_elr)))
            .with_offline_replicas(offline(self.call, self.image, partition))
    }
}

fn named(name: &str) -> messages::TopicName {
    StrBytes::from_string(name.to_owned()).into()
}

fn failed(error: ResponseError, name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(named(name)))
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ottla_core::ids::TopicId;
    use ottla_wire::messages::describe_topic_partitions_request::{Cursor as From, TopicRequest};
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::*;
    use crate::api::Scope;
    use crate::api::authorize::Authorizer;
    use crate::api::tests::rig::{PRESENT, ask, image, node_that_knows};
    use crate::node::Node;

    /// Topics a, b and c with one, two and three partitions beside [`PRESENT`].
    fn node() -> Arc<Node> {
        let mut image = image();
        let partition = Arc::clone(&image.topics[&TopicId(PRESENT.id)].partitions[&PartitionIndex(0)]);
        for (count, name) in (1..).zip(["a", "b", "c"]) {
            let (id, name) = (TopicId(Uuid::from_u128(90 + count)), TopicName::parse(name).expect("a name"));
            let count = i32::try_from(count).expect("few");
            let partitions =
                (0..count).map(|index| (PartitionIndex(index), Arc::clone(&partition))).collect();
            image.topic_ids.insert(name.clone(), id);
            image.topics.insert(id, Arc::new(Topic { id, name, partitions }));
        }
        let (_, images) = watch::channel(Arc::new(image));
        node_that_knows(images, Authorizer::AllowAll, None)
    }

    fn request(names: &[&'static str], limit: i32) -> DescribeTopicPartitionsRequest {
        let topics = names
            .iter()
            .map(|name| TopicRequest::default().with_name(StrBytes::from_static_str(name).into()));
        DescribeTopicPartitionsRequest::default()
            .with_topics(topics.collect())
            .with_response_partition_limit(limit)
    }

    /// Name, error and partitions of each topic, and where it goes on.
    type Told = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

    async fn told(node: &Arc<Node>, request: &DescribeTopicPartitionsRequest) -> Told {
        let answer = ask(node, Scope::Broker, 0, request).await;
        let topics = answer.topics.iter().map(|topic| {
            let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
            (name, topic.error_code, topic.partitions.iter().map(|one| one.partition_index).collect())
        });
        let next = answer.next_cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
        (topics.collect(), next)
    }

    #[tokio::test]
    async fn pages_follow_each_other_until_everything_is_told_once() {
        let node = node();
        for limit in [-1, 0, 1, 2, 3, 4, 6, 7, 2000, i32::MAX] {
            let mut asked = request(&[], limit);
            let mut all = Vec::new();
            loop {
                let (topics, next) = told(&node, &asked).await;
                let page: Vec<(String, i32)> = topics
                    .into_iter()
                    .flat_map(|(name, _, parts)| parts.into_iter().map(move |part| (name.clone(), part)))
                    .collect();
                assert!(page.len() <= usize::try_from(limit).unwrap_or(0).max(1), "{limit}: {page:?}");
                all.extend(page);
                let Some((name, partition)) = next else { break };
                let name = StrBytes::from_string(name).into();
                asked.cursor = Some(From::default().with_topic_name(name).with_partition_index(partition));
            }
            let all: Vec<(&str, i32)> = all.iter().map(|(name, part)| (name.as_str(), *part)).collect();
            let expected = [("a", 0), ("b", 0), ("b", 1), ("c", 0), ("c", 1), ("c", 2), (PRESENT.name, 0)];
            assert_eq!(all, expected, "{limit}");
        }
    }

    #[tokio::test]
    async fn topics_come_once_and_in_order_and_absent_ones_say_so() {
        let node = node();
        let (topics, next) = told(&node, &request(&["c", "no name!", "b", "absent", "b"], 2000)).await;
        let seen: Vec<(&str, i16, usize)> =
            topics.iter().map(|(name, error, parts)| (name.as_str(), *error, parts.len())).collect();
        assert_eq!(seen, [("absent", 3, 0), ("b", 0, 2), ("c", 0, 3), ("no name!", 17, 0)]);
        assert_eq!(next, None);
    }

    #[tokio::test]
    async fn a_cursor_that_leads_nowhere_is_refused() {
        let node = node();
        let from = |name, partition| {
            let name = StrBytes::from_static_str(name).into();
            Some(From::default().with_topic_name(name).with_partition_index(partition))
        };
        for cursor in [from("a", 0), from("b", -1)] {
            let (topics, next) = told(&node, &request(&["b", "c"], 9).with_cursor(cursor)).await;
            let codes: Vec<i16> = topics.iter().map(|(_, error, _)| *error).collect();
            assert_eq!((codes, next), (vec![42, 42], None));
        }
        let (topics, _) = told(&node, &request(&["b", "c"], 9).with_cursor(from("c", 7))).await;
        assert_eq!(topics, [("c".to_owned(), 0, vec![])], "beyond the last partition there is nothing");
    }
}
