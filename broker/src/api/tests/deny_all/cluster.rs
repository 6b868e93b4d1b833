//! The cluster: brokers, controllers, features.

use bytes::Bytes;
use ottla_wire::messages::delete_topics_request::DeleteTopicState;
use ottla_wire::messages::describe_quorum_request::{PartitionData, TopicData};
use ottla_wire::messages::{
    AddRaftVoterRequest, AllocateProducerIdsRequest, AlterPartitionRequest, ApiKey, ApiVersionsRequest,
    AssignReplicasToDirsRequest, BrokerHeartbeatRequest, BrokerId, BrokerRegistrationRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest, UpdateRaftVoterRequest, alter_partition_request,
    assign_replicas_to_dirs_request,
};
use ottla_wire::private::{
    FetchMetadataRequest, FetchMetadataSnapshotRequest, ForwardRequest, RaftMessageRequest,
};
use ottla_wire::protocol::StrBytes;
use uuid::Uuid;

use super::{CLUSTER_DENIED, Case, OK};
use crate::api::tests::rig::{Asked, body_of};

pub(super) async fn api_versions(case: Case<'_>) {
    let request = |version, _: &Asked| {
        let software = StrBytes::from_static_str("test");
        let request = ApiVersionsRequest::default();
        if version < 3 {
            return request;
        }
        request.with_client_software_name(software.clone()).with_client_software_version(software)
    };
    case.check(request, |answer| vec![answer.error_code], |_| vec![OK]).await;
}

pub(super) async fn describe_quorum(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let topic = TopicData::default()
            .with_topic_name(asked.topic())
            .with_partitions(vec![PartitionData::default()]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    };
    case.check(
        request,
        |answer| {
            assert!(answer.topics.is_empty() && answer.nodes.is_empty());
            vec![answer.error_code]
        },
        |_| vec![CLUSTER_DENIED],
    )
    .await;
}

pub(super) async fn unregister_broker(case: Case<'_>) {
    let request = |_, _: &Asked| UnregisterBrokerRequest::default().with_broker_id(BrokerId(1));
    case.check(request, |answer| vec![answer.error_code], |_| vec![CLUSTER_DENIED]).await;
}

pub(super) async fn update_features(case: Case<'_>) {
    let request = |_, _: &Asked| UpdateFeaturesRequest::default();
    case.check(request, |answer| vec![answer.error_code], |_| vec![CLUSTER_DENIED]).await;
}

pub(super) async fn change_voters(key: ApiKey, case: Case<'_>) {
    let (id, expected) = (Uuid::from_u128(4 << 64), |_| vec![CLUSTER_DENIED]);
    if key == ApiKey::AddRaftVoter {
        let request = |_, _: &Asked| AddRaftVoterRequest::default().with_voter_directory_id(id);
        case.check(request, |answer| vec![answer.error_code], expected).await;
    } else if key == ApiKey::RemoveRaftVoter {
        let request = |_, _: &Asked| RemoveRaftVoterRequest::default().with_voter_directory_id(id);
        case.check(request, |answer| vec![answer.error_code], expected).await;
    } else {
        let request = |_, _: &Asked| UpdateRaftVoterRequest::default().with_voter_directory_id(id);
        case.check(request, |answer| vec![answer.error_code], expected).await;
    }
}

pub(super) async fn alter_partition(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let partition = alter_partition_request::PartitionData::default();
        let topic = alter_partition_request::TopicData::default().with_topic_id(asked.id);
        let topic = topic.with_partitions(vec![partition]);
        AlterPartitionRequest::default()
            .with_broker_id(BrokerId(1))
            .with_broker_epoch(5)
            .with_topics(vec![topic])
    };
    case.check(
        request,
        |answer| {
            assert!(answer.topics.is_empty());
            vec![answer.error_code]
        },
        |_| vec![CLUSTER_DENIED],
    )
    .await;
}

pub(super) async fn assign_replicas_to_dirs(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let partition = assign_replicas_to_dirs_request::PartitionData::default();
        let topic = assign_replicas_to_dirs_request::TopicData::default().with_topic_id(asked.id);
        let directory = assign_replicas_to_dirs_request::DirectoryData::default()
            .with_topics(vec![topic.with_partitions(vec![partition])]);
        AssignReplicasToDirsRequest::default()
            .with_broker_id(BrokerId(1))
            .with_broker_epoch(5)
            .with_directories(vec![directory])
    };
    case.check(
        request,
        |answer| {
            assert!(answer.directories.is_empty());
            vec![answer.error_code]
        },
        |_| vec![CLUSTER_DENIED],
    )
    .await;
}

pub(super) async fn describe_controllers(case: Case<'_>) {
    let request = |_, _: &Asked| DescribeClusterRequest::default();
    case.check(
        request,
        |answer| {
            assert!(answer.brokers.is_empty() && answer.cluster_id.is_empty());
            vec![answer.error_code]
        },
        |_| vec![CLUSTER_DENIED],
    )
    .await;
}

/// Kafka shows the brokers to everybody, here as in Metadata; what may be done is nothing.
pub(super) async fn describe_cluster(case: Case<'_>) {
    let request =
        |_, _: &Asked| DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    case.check(
        request,
        |answer| {
            assert_eq!(answer.cluster_authorized_operations, 0);
            vec![answer.error_code]
        },
        |_| vec![OK],
    )
    .await;
}

pub(super) async fn register_broker(case: Case<'_>) {
    let request = |_, _: &Asked| {
        BrokerRegistrationRequest::default()
            .with_broker_id(BrokerId(1))
            .with_cluster_id(StrBytes::from_static_str("AAAAAAAAAAAAAAAAAAAAAQ"))
    };
    case.check(
        request,
        |answer| {
            assert_eq!(answer.broker_epoch, -1);
            vec![answer.error_code]
        },
        |_| vec![CLUSTER_DENIED],
    )
    .await;
}

pub(super) async fn heartbeat(case: Case<'_>) {
    let request =
        |_, _: &Asked| BrokerHeartbeatRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(5);
    case.check(request, |answer| vec![answer.error_code], |_| vec![CLUSTER_DENIED]).await;
}

pub(super) async fn allocate_producer_ids(case: Case<'_>) {
    let request =
        |_, _: &Asked| AllocateProducerIdsRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(5);
    case.check(
        request,
        |answer| {
            assert_eq!((answer.producer_id_start.0, answer.producer_id_len), (0, 0));
            vec![answer.error_code]
        },
        |_| vec![CLUSTER_DENIED],
    )
    .await;
}

pub(super) fn raft_message(_: i16, _: &Asked) -> RaftMessageRequest {
    RaftMessageRequest {
        cluster_id: "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
        from_node_id: 2,
        from_directory_id: Uuid::from_u128(4),
        to_directory_id: Uuid::from_u128(2),
        payload: Bytes::from_static(b"a raft message"),
    }
}

pub(super) fn fetch_metadata(_: i16, _: &Asked) -> FetchMetadataRequest {
    FetchMetadataRequest { node_id: 1, broker_epoch: 5, from_offset: 1, max_bytes: 1000, max_wait_ms: 0 }
}

pub(super) fn fetch_snapshot(_: i16, _: &Asked) -> FetchMetadataSnapshotRequest {
    FetchMetadataSnapshotRequest { offset: 9, term: 1, position: 0, max_bytes: 1000 }
}

/// A sender that is no broker cannot borrow a principal.
pub(super) fn forward(_: i16, asked: &Asked) -> ForwardRequest {
    let topic = DeleteTopicState::default().with_name(Some(asked.topic()));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
    ForwardRequest {
        principal_type: "User".to_owned(),
        principal_name: "admin".to_owned(),
        client_id: "test".to_owned(),
        listener: "PLAIN".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        api_key: ApiKey::DeleteTopics as i16,
        api_version: 6,
        body: body_of(6, &request),
    }
}
