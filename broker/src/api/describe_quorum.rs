//! DescribeQuorum, key 55, versions 0–2.
//!
//! Behaviour: who votes on `__cluster_metadata`, who only follows (learners and brokers), and how far each is.
//! Anything but partition 0 of that topic is UNKNOWN_TOPIC_OR_PARTITION, as in Kafka. Offsets are Kafka's ends:
//! one past the last entry. Times are those of the leader's clock; the leader's own are "now".
//! Authorization: Describe on the cluster; else CLUSTER_AUTHORIZATION_FAILED for the whole request.
//! Version notes: 1 brings the times of the last fetch and the last catch-up; 2 error messages, directory ids
//! and the controllers' endpoints; a broker's directory id is that of one of its log directories. A controller that does not lead says NOT_LEADER_OR_FOLLOWER in the partition,
//! as Kafka's does.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::controller::operation::{QuorumDescription, QuorumReplica};
use ottla_core::controller::{self, OperationError};
use ottla_core::metadata::image::Voter;
use ottla_core::time::{Monotonic, Wall};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use ottla_wire::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};
use crate::clock;

/// The one partition that can be described.
const TOPIC: &str = "__cluster_metadata";
const PARTITION: i32 = 0;

/// What Kafka says for a time nobody knows.
const UNKNOWN_TIME: i64 = -1;

/// The first version with directory ids, endpoints and messages.
const DIRECTORY_IDS_FROM: i16 = 2;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<DescribeQuorumRequest>(call, body)
}

impl AdminRequest for DescribeQuorumRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    async fn decide(&self, call: &Call) -> Result<DescribeQuorumResponse, OperationError> {
        if !call.allows(Operation::Describe, Resource::Cluster, "") {
            return Ok(self.refuse(&Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed)));
        }
        if !asks_for_the_quorum(self) {
            return Ok(unknown_partitions(self));
        }
        let reply = forward::ask(call, controller::Operation::DescribeQuorum).await?;
        let controller::Reply::DescribeQuorum(quorum) = reply else {
            unreachable!("DescribeQuorum answered by {reply:?}")
        };
        Ok(describe(call.version, &quorum))
    }

    fn refuse(&self, refusal: &Refusal) -> DescribeQuorumResponse {
        if refusal.code == ResponseError::NotController.code() {
            let partition = empty(PARTITION)
                .with_error_code(ResponseError::NotLeaderOrFollower.code())
                .with_error_message(refusal.text());
            return of_one(partition).with_error_message(None);
        }
        DescribeQuorumResponse::default().with_error_code(refusal.code).with_error_message(refusal.text())
    }
}

fn asks_for_the_quorum(request: &DescribeQuorumRequest) -> bool {
    let [topic] = request.topics.as_slice() else { return false };
    let [partition] = topic.partitions.as_slice() else { return false };
    topic.topic_name.as_str() == TOPIC && partition.partition_index == PARTITION
}

fn unknown_partitions(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let text = StrBytes::from_static_str("only partition 0 of __cluster_metadata has a quorum");
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            empty(partition.partition_index)
                .with_error_code(ResponseError::UnknownTopicOrPartition.code())
                .with_error_message(Some(text.clone()))
        });
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_error_message(None).with_topics(topics.collect())
}

fn empty(index: i32) -> PartitionData {
    PartitionData::default().with_partition_index(index).with_leader_id(BrokerId(-1)).with_error_message(None)
}

fn of_one(partition: PartitionData) -> DescribeQuorumResponse {
    let name = StrBytes::from_static_str(TOPIC).into();
    let topic = TopicData::default().with_topic_name(name).with_partitions(vec![partition]);
    DescribeQuorumResponse::default().with_topics(vec![topic])
}

fn describe(version: i16, quorum: &QuorumDescription) -> DescribeQuorumResponse {
    let now = (clock::monotonic(), clock::wall());
    let described = |replicas: &[QuorumReplica]| {
        replicas.iter().map(|replica| replica_state(version, quorum, replica, now)).collect::<Vec<_>>()
    };
    let partition = empty(PARTITION)
        .with_leader_id(BrokerId(quorum.leader.0))
        .with_leader_epoch(i32::try_from(quorum.term.0).unwrap_or(i32::MAX))
        .with_high_watermark(end_of(quorum.committed.0))
        .with_current_voters(described(&quorum.voters))
        .with_observers(described(&quorum.observers));
    let response = of_one(partition).with_error_message(None);
    if version < DIRECTORY_IDS_FROM {
        return response;
    }
    response.with_nodes(quorum.nodes.iter().map(node).collect())
}

fn end_of(last: u64) -> i64 {
    i64::try_from(last).unwrap_or(i64::MAX).saturating_add(1)
}

fn replica_state(
    version: i16,
    quorum: &QuorumDescription,
    replica: &QuorumReplica,
    (now, wall): (Monotonic, Wall),
) -> ReplicaState {
    let is_leader = replica.node_id == quorum.leader && quorum.voters.contains(replica);
    let time = |at: Option<Monotonic>| {
        let at = if is_leader { Some(now) } else { at };
        at.map_or(UNKNOWN_TIME, |at| wall_time_of(at, now, wall))
    };
    let state = ReplicaState::default()
        .with_replica_id(BrokerId(replica.node_id.0))
        .with_log_end_offset(end_of(replica.log_end.0))
        .with_last_fetch_timestamp(time(replica.last_contact))
        .with_last_caught_up_timestamp(time(replica.last_caught_up));
    if version < DIRECTORY_IDS_FROM { state } else { state.with_replica_directory_id(replica.directory_id.0) }
}

/// The time of day at a point of the monotonic clock, reckoned from what both clocks show now.
fn wall_time_of(at: Monotonic, now: Monotonic, wall: Wall) -> i64 {
    let ago_ms = i64::try_from(now.since(at).as_millis()).unwrap_or(i64::MAX);
    wall.0.saturating_sub(ago_ms)
}

fn node(voter: &Voter) -> Node {
    let listeners = voter.endpoints.iter().map(|endpoint| {
        Listener::default()
            .with_name(StrBytes::from_string(endpoint.listener.clone()))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(endpoint.port)
    });
    Node::default().with_node_id(BrokerId(voter.node_id.0)).with_listeners(listeners.collect())
}

#[cfg(test)]
mod tests {
    use ottla_core::ids::{DirectoryId, MetadataOffset, NodeId, Term};
    use ottla_core::metadata::image::Endpoint;
    use ottla_wire::messages::describe_quorum_request::{
        PartitionData as AskedPartition, TopicData as AskedTopic,
    };
    use uuid::Uuid;

    use super::*;

    fn asked(topic: &'static str, partitions: &[i32]) -> DescribeQuorumRequest {
        let partitions =
            partitions.iter().map(|index| AskedPartition::default().with_partition_index(*index));
        let topic = AskedTopic::default()
            .with_topic_name(StrBytes::from_static_str(topic).into())
            .with_partitions(partitions.collect());
        DescribeQuorumRequest::default().with_topics(vec![topic])
    }

    fn replica(id: i32, log_end: u64, last_contact: Option<u64>) -> QuorumReplica {
        QuorumReplica {
            node_id: NodeId(id),
            directory_id: DirectoryId(Uuid::from_u128(7)),
            log_end: MetadataOffset(log_end),
            last_contact: last_contact.map(Monotonic),
            last_caught_up: None,
        }
    }

    fn quorum() -> QuorumDescription {
        let endpoint = Endpoint {
            listener: "CONTROLLER".to_owned(),
            host: "c1".to_owned(),
            port: 9090,
            security_protocol: 0,
        };
        QuorumDescription {
            leader: NodeId(1),
            term: Term(3),
            committed: MetadataOffset(9),
            voters: vec![replica(1, 10, None), replica(2, 8, None)],
            observers: vec![replica(5, 7, Some(0))],
            nodes: vec![Voter {
                node_id: NodeId(1),
                directory_id: DirectoryId(Uuid::from_u128(7)),
                endpoints: vec![endpoint],
            }],
        }
    }

    #[test]
    fn only_the_one_partition_has_a_quorum() {
        assert!(asks_for_the_quorum(&asked("__cluster_metadata", &[0])));
        for wrong in [asked("a", &[0]), asked(TOPIC, &[1]), asked(TOPIC, &[0, 1]), asked(TOPIC, &[])] {
            assert!(!asks_for_the_quorum(&wrong), "{wrong:?}");
        }
        let answer = unknown_partitions(&asked("a", &[0, 4]));
        let codes: Vec<i16> = answer.topics[0].partitions.iter().map(|p| p.error_code).collect();
        assert_eq!((answer.error_code, codes), (0, vec![3, 3]));
    }

    #[test]
    fn every_version_can_carry_the_description() {
        for version in 0..=2 {
            let response = describe(version, &quorum());
            let body = ottla_wire::response::encode_body::<DescribeQuorumRequest>(version, &response)
                .unwrap_or_else(|error| panic!("version {version}: {error}"));
            let read =
                ottla_wire::response::decode_body::<DescribeQuorumRequest>(version, body).expect("ours");
            let partition = &read.topics[0].partitions[0];
            assert_eq!((partition.leader_id.0, partition.leader_epoch, partition.high_watermark), (1, 3, 10));
            let ends: Vec<i64> = partition.current_voters.iter().map(|voter| voter.log_end_offset).collect();
            assert_eq!(ends, [11, 9]);
            assert_eq!(read.nodes.len(), usize::from(version >= 2));
        }
    }

    #[test]
    fn times_are_the_leaders_own_and_unknown_ones_say_so() {
        let wall = Wall(1_000_000);
        let quorum = quorum();
        let time = |replica: &QuorumReplica| {
            replica_state(1, &quorum, replica, (Monotonic(500), wall)).last_fetch_timestamp
        };
        assert_eq!(time(&quorum.voters[0]), 1_000_000, "the leader has just heard itself");
        assert_eq!(time(&quorum.voters[1]), -1);
        assert_eq!(time(&quorum.observers[0]), 999_500);
    }

    #[test]
    fn a_controller_that_does_not_lead_says_so_in_the_partition() {
        let refusal = Refusal::from(OperationError::NotController { leader: None });
        let response = asked(TOPIC, &[0]).refuse(&refusal);
        assert_eq!((response.error_code, response.topics[0].partitions[0].error_code), (0, 6));
    }
}
