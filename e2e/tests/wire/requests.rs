//! One real request of every key and version that a broker advertises, as a frame without its length.

#[path = "group_requests.rs"]
mod group_requests;

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use e2e::wire;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_producers_request as producers;
use kafka_protocol::messages::describe_quorum_request as quorum;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::elect_leaders_request as elect;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AddRaftVoterRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, ApiKey,
    ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest, FetchRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListOffsetsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    RemoveRaftVoterRequest, RequestHeader, RequestKind, TopicName, UnregisterBrokerRequest,
    UpdateFeaturesRequest,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

/// The topic that requests are about.
pub(crate) const TOPIC: &str = "fuzzed";
/// What the answer to each begins with.
pub(crate) const CORRELATION: [u8; 4] = [0, 0, 0, 42];

/// A request that a broker must answer.
#[derive(Debug, Clone)]
pub(crate) struct Real {
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) frame: Vec<u8>,
}

/// Where in the API's history something changed, as the protocol's schemas have it.
const PRODUCE_WITH_TOPIC_IDS: i16 = 13;
const FETCH_WITH_TOPIC_IDS: i16 = 13;
const FETCH_WITHOUT_REPLICA_ID: i16 = 15;
const DELETE_BY_STATE: i16 = 6;
/// Listed for old librdkafka, but never served: Kafka 4 has no such messages.
const PRODUCE_SERVED_FROM: i16 = 3;

/// One request for each advertised key and version.
pub(crate) fn all(advertised: &[(i16, i16, i16)], topic_id: Uuid) -> Result<Vec<Real>> {
    let mut found = Vec::new();
    for (key, min, max) in advertised {
        let min = if *key == ApiKey::Produce as i16 { PRODUCE_SERVED_FROM } else { *min };
        for version in min..=*max {
            let frame = frame(*key, version, &body(*key, version, topic_id)?)
                .with_context(|| format!("encode key {key}, version {version}"))?;
            found.push(Real { key: *key, version, frame });
        }
    }
    Ok(found)
}

/// A header and a body.
pub(crate) fn frame(key: i16, version: i16, body: &RequestKind) -> Result<Vec<u8>> {
    let api = ApiKey::try_from(key).map_err(|()| anyhow::anyhow!("no such key: {key}"))?;
    let mut bytes = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(i32::from_be_bytes(CORRELATION))
        .with_client_id(Some(StrBytes::from_static_str("fuzz")))
        .encode(&mut bytes, api.request_header_version(version))?;
    // The newest versions differ from the ones before only in what their fields may say.
    body.encode(&mut bytes, version.min(api.valid_versions().max))?;
    Ok(bytes.to_vec())
}

/// What an ApiVersions answer of version 0 lists: key, lowest and highest version.
pub(crate) fn advertised(answer: &[u8]) -> Result<Vec<(i16, i16, i16)>> {
    let (head, rows) = answer.split_at_checked(6).context("an answer that is too short")?;
    ensure!(head[..2] == [0, 0], "error {:?}", &head[..2]);
    let number = |bytes: &[u8]| i16::from_be_bytes([bytes[0], bytes[1]]);
    Ok(rows.chunks_exact(6).map(|row| (number(row), number(&row[2..]), number(&row[4..]))).collect())
}

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

fn topic() -> TopicName {
    TopicName(text(TOPIC))
}

/// A batch for partition 0 of the topic.
pub(crate) fn produce(version: i16, topic_id: Uuid, batch: Vec<u8>) -> RequestKind {
    let partition = PartitionProduceData::default().with_records(Some(Bytes::from(batch)));
    let mut data = TopicProduceData::default().with_partition_data(vec![partition]);
    if version >= PRODUCE_WITH_TOPIC_IDS {
        data.topic_id = topic_id;
    } else {
        data.name = topic();
    }
    RequestKind::Produce(
        ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data]),
    )
}

/// From offset 0 of partition 0, without waiting.
pub(crate) fn fetch(version: i16, topic_id: Uuid, max_bytes: i32) -> RequestKind {
    let partition = FetchPartition::default().with_partition_max_bytes(max_bytes);
    let mut data = FetchTopic::default().with_partitions(vec![partition]);
    if version >= FETCH_WITH_TOPIC_IDS {
        data.topic_id = topic_id;
    } else {
        data.topic = topic();
    }
    let mut request = FetchRequest::default().with_max_bytes(max_bytes).with_topics(vec![data]);
    if version < FETCH_WITHOUT_REPLICA_ID {
        request.replica_id = BrokerId(-1);
    }
    RequestKind::Fetch(request)
}

/// The bodies of the keys that a broker serves. Changes nothing if it arrives as it is; a flipped bit may make it change something, which a broker must bear.
#[expect(clippy::wildcard_enum_match_arm, reason = "a key without a request here is an error that says so")]
fn body(key: i16, version: i16, topic_id: Uuid) -> Result<RequestKind> {
    let key = ApiKey::try_from(key).map_err(|()| anyhow::anyhow!("no such key: {key}"))?;
    Ok(match key {
        ApiKey::Produce => produce(version, topic_id, wire::batch_of_one(b"a value of some length")),
        ApiKey::Fetch => fetch(version, topic_id, 1 << 16),
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
            let topic = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
            let request =
                ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
            RequestKind::ListOffsets(request)
        }
        ApiKey::OffsetForLeaderEpoch => {
            let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1);
            let topic = OffsetForLeaderTopic::default().with_topic(topic()).with_partitions(vec![partition]);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
            RequestKind::OffsetForLeaderEpoch(request)
        }
        ApiKey::Metadata => {
            let topic = MetadataRequestTopic::default().with_name(Some(topic()));
            RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![topic])))
        }
        ApiKey::ApiVersions => {
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                request.client_software_name = text("fuzz");
                request.client_software_version = text("1.0");
            }
            RequestKind::ApiVersions(request)
        }
        ApiKey::DescribeCluster => RequestKind::DescribeCluster(DescribeClusterRequest::default()),
        ApiKey::DescribeQuorum => {
            let partition = quorum::PartitionData::default().with_partition_index(0);
            let topic = quorum::TopicData::default()
                .with_topic_name(TopicName(text("__cluster_metadata")))
                .with_partitions(vec![partition]);
            RequestKind::DescribeQuorum(DescribeQuorumRequest::default().with_topics(vec![topic]))
        }
        _ => admin(key, version, topic_id)?,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a key without a request here is an error that says so")]
fn admin(key: ApiKey, version: i16, topic_id: Uuid) -> Result<RequestKind> {
    const TOPIC_RESOURCE: i8 = 2;
    const TIMEOUT_MS: i32 = 1000;
    Ok(match key {
        ApiKey::CreateTopics => {
            let config = CreatableTopicConfig::default()
                .with_name(text("retention.ms"))
                .with_value(Some(text("60000")));
            let topic = CreatableTopic::default()
                .with_name(TopicName(text("not-made")))
                .with_num_partitions(2)
                .with_replication_factor(1)
                .with_configs(vec![config]);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]);
            RequestKind::CreateTopics(request.with_timeout_ms(TIMEOUT_MS).with_validate_only(true))
        }
        ApiKey::DeleteTopics => {
            let mut request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
            // An id and a name that nobody has.
            if version >= DELETE_BY_STATE {
                let id = Uuid::from_u128(topic_id.as_u128() ^ 1);
                request.topics = vec![DeleteTopicState::default().with_name(None).with_topic_id(id)];
            } else {
                request.topic_names = vec![TopicName(text("no-such-topic"))];
            }
            RequestKind::DeleteTopics(request)
        }
        ApiKey::CreatePartitions => {
            let topic =
                CreatePartitionsTopic::default().with_name(topic()).with_count(3).with_assignments(None);
            let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
            RequestKind::CreatePartitions(request.with_timeout_ms(TIMEOUT_MS).with_validate_only(true))
        }
        ApiKey::DescribeLogDirs => {
            RequestKind::DescribeLogDirs(DescribeLogDirsRequest::default().with_topics(None))
        }
        ApiKey::AlterReplicaLogDirs => {
            // There is no such directory.
            let topic = AlterReplicaLogDirTopic::default().with_name(topic()).with_partitions(vec![0]);
            let to = AlterReplicaLogDir::default().with_path(text("/nowhere")).with_topics(vec![topic]);
            RequestKind::AlterReplicaLogDirs(AlterReplicaLogDirsRequest::default().with_dirs(vec![to]))
        }
        ApiKey::AlterPartitionReassignments => {
            // Nothing is moved, so there is nothing to cancel.
            let partition = ReassignablePartition::default().with_replicas(None);
            let topic = ReassignableTopic::default().with_name(topic()).with_partitions(vec![partition]);
            let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
            RequestKind::AlterPartitionReassignments(request.with_timeout_ms(TIMEOUT_MS))
        }
        ApiKey::ListPartitionReassignments => {
            let request = ListPartitionReassignmentsRequest::default().with_topics(None);
            RequestKind::ListPartitionReassignments(request.with_timeout_ms(TIMEOUT_MS))
        }
        ApiKey::DescribeConfigs => {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(text(TOPIC))
                .with_configuration_keys(Some(vec![text("retention.ms")]));
            RequestKind::DescribeConfigs(DescribeConfigsRequest::default().with_resources(vec![resource]))
        }
        ApiKey::IncrementalAlterConfigs => {
            let config =
                AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("60000")));
            let resource = AlterConfigsResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(text(TOPIC))
                .with_configs(vec![config]);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            RequestKind::IncrementalAlterConfigs(request.with_validate_only(true))
        }
        _ => of_the_cluster(key, version)?,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a key without a request here is an error that says so")]
fn of_the_cluster(key: ApiKey, version: i16) -> Result<RequestKind> {
    const TIMEOUT_MS: i32 = 1000;
    Ok(match key {
        ApiKey::ElectLeaders => {
            let partition = elect::TopicPartitions::default().with_topic(topic()).with_partitions(vec![0]);
            let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![partition]));
            RequestKind::ElectLeaders(request.with_timeout_ms(TIMEOUT_MS))
        }
        ApiKey::InitProducerId => {
            let request = InitProducerIdRequest::default().with_transactional_id(None);
            RequestKind::InitProducerId(request.with_transaction_timeout_ms(TIMEOUT_MS))
        }
        ApiKey::DescribeProducers => {
            let topic = producers::TopicRequest::default().with_name(topic()).with_partition_indexes(vec![0]);
            RequestKind::DescribeProducers(DescribeProducersRequest::default().with_topics(vec![topic]))
        }
        ApiKey::UnregisterBroker => {
            // Nobody's id, and one flipped bit makes it nobody else's.
            let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(i32::MAX >> 1));
            RequestKind::UnregisterBroker(request)
        }
        ApiKey::DescribeTopicPartitions => {
            let topic = TopicRequest::default().with_name(topic());
            let request = DescribeTopicPartitionsRequest::default().with_topics(vec![topic]);
            RequestKind::DescribeTopicPartitions(request)
        }
        // What nobody knows.
        ApiKey::UpdateFeatures => {
            let update = FeatureUpdateKey::default().with_feature(text("no.such.feature"));
            let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
            RequestKind::UpdateFeatures(request.with_timeout_ms(TIMEOUT_MS))
        }
        // Of another cluster.
        ApiKey::AddRaftVoter => RequestKind::AddRaftVoter(
            AddRaftVoterRequest::default().with_cluster_id(Some(text("another"))).with_voter_id(77),
        ),
        ApiKey::RemoveRaftVoter => RequestKind::RemoveRaftVoter(
            RemoveRaftVoterRequest::default().with_cluster_id(Some(text("another"))).with_voter_id(77),
        ),
        _ => group_requests::body(key, version)?,
    })
}
