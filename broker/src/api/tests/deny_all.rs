//! A node whose authorizer refuses everything: every API asks it, and no answer tells what exists.
//!
//! Each case is sent twice, about a topic that exists and about one that does not. The two answers must be the
//! same byte for byte, but for the name and the id that the request itself holds.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::ids::TopicId;
use ottla_wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use ottla_wire::messages::alter_partition_request;
use ottla_wire::messages::create_partitions_request::CreatePartitionsTopic;
use ottla_wire::messages::create_topics_request::CreatableTopic;
use ottla_wire::messages::delete_topics_request::DeleteTopicState;
use ottla_wire::messages::describe_configs_request::DescribeConfigsResource;
use ottla_wire::messages::describe_log_dirs_request::DescribableLogDirTopic;
use ottla_wire::messages::describe_producers_request::TopicRequest as ProducersOfTopic;
use ottla_wire::messages::describe_quorum_request::{PartitionData, TopicData};
use ottla_wire::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use ottla_wire::messages::elect_leaders_request::TopicPartitions;
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use ottla_wire::messages::metadata_request::MetadataRequestTopic;
use ottla_wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use ottla_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_wire::messages::{
    AddRaftVoterRequest, AllocateProducerIdsRequest, AlterPartitionReassignmentsRequest,
    AlterPartitionRequest, ApiKey, ApiVersionsRequest, BrokerHeartbeatRequest, BrokerId,
    BrokerRegistrationRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest, FetchRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListOffsetsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    RemoveRaftVoterRequest, UnregisterBrokerRequest, UpdateFeaturesRequest, UpdateRaftVoterRequest,
};
use ottla_wire::private::{
    FetchMetadataRequest, FetchMetadataSnapshotRequest, ForwardRequest, PrivateKey, RaftMessageRequest,
    RestartSafetyRequest,
};
use ottla_wire::protocol::{Request, StrBytes};
use tokio::sync::watch;
use uuid::Uuid;

use super::rig::{
    Asked, KEY_PASSWORD, MISSING, PRESENT, RETENTION_OF_BROKERS, RETENTION_OF_FILE, RETENTION_OF_TOPIC,
    body_of, image, node, node_that_knows, read, send,
};
use crate::api::authorize::{Authorizer, Resource};
use crate::api::{Api, Scope, TABLE};
use crate::drive::controller::ControllerHandle;
use crate::node::Node;

const OK: i16 = 0;
const TOPIC_DENIED: i16 = 29;
const CLUSTER_DENIED: i16 = 31;
const TRANSACTIONAL_ID_DENIED: i16 = 53;
const ID_UNKNOWN: i16 = 100;

#[tokio::test]
async fn every_api_refuses_and_tells_nothing() {
    let node = node(Authorizer::DenyAll);
    for api in TABLE {
        let private = PrivateKey::from_code(api.key);
        match ApiKey::try_from(api.key) {
            Ok(key) => kafkas(&node, api, key).await,
            Err(()) => ours(&node, api, private.expect("a key of Kafka's or ours")).await,
        }
    }
}

/// One API: what is asked about a topic, and the error codes in the answer.
struct Case<'a> {
    node: &'a Arc<Node>,
    api: &'a Api,
    scope: Scope,
}

impl Case<'_> {
    async fn check<R: Request>(
        &self,
        request: impl Fn(i16, &Asked) -> R,
        codes: impl Fn(&R::Response) -> Vec<i16>,
        expected: impl Fn(i16) -> Vec<i16>,
    ) {
        assert_eq!(R::KEY, self.api.key);
        for version in self.api.versions.clone() {
            let what = format!("{} v{version}", self.api.name);
            let present = send(self.node, self.scope, version, &request(version, &PRESENT)).await;
            let missing = send(self.node, self.scope, version, &request(version, &MISSING)).await;
            let told = codes(&read::<R>(version, present.clone()));
            assert_eq!(told, expected(version), "{what}");
            self.check_row(&told);
            assert_eq!(as_if_missing(&present), missing, "{what} tells whether the topic exists");
            let secrets = [RETENTION_OF_TOPIC, RETENTION_OF_BROKERS, RETENTION_OF_FILE, KEY_PASSWORD];
            for secret in secrets {
                assert!(!contains(&present, secret.as_bytes()), "{what} tells {secret}");
            }
        }
    }
}

impl Case<'_> {
    /// What was refused is what the row says is asked for.
    fn check_row(&self, codes: &[i16]) {
        let names = |resource| self.api.authorizes.iter().any(|(named, _)| *named == resource);
        for code in codes {
            let named = match *code {
                TOPIC_DENIED | ID_UNKNOWN => names(Resource::Topic),
                CLUSTER_DENIED => names(Resource::Cluster),
                TRANSACTIONAL_ID_DENIED => names(Resource::TransactionalId),
                _ => true,
            };
            assert!(named, "{} refuses with {code}, which its row does not say", self.api.name);
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn as_if_missing(bytes: &Bytes) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // The name, the id, and the id as a message writes it.
    let forms = |asked: &Asked| {
        let id = TopicId(asked.id).to_string();
        [asked.name.as_bytes().to_vec(), asked.id.as_bytes().to_vec(), id.into_bytes()]
    };
    for (from, to) in forms(&PRESENT).iter().zip(forms(&MISSING)) {
        for start in 0..bytes.len().saturating_sub(from.len() - 1) {
            if bytes[start..].starts_with(from) {
                bytes[start..start + to.len()].copy_from_slice(&to);
            }
        }
    }
    bytes
}

#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's keys without a row need no case")]
async fn kafkas(node: &Arc<Node>, api: &Api, key: ApiKey) {
    let on_broker = Case { node, api, scope: Scope::Broker };
    let on_controller = Case { node, api, scope: Scope::Controller };
    match key {
        ApiKey::Produce => produce(on_broker).await,
        ApiKey::Fetch => fetch(on_broker).await,
        ApiKey::ListOffsets => list_offsets(on_broker).await,
        ApiKey::Metadata => metadata(on_broker).await,
        ApiKey::ApiVersions => {
            api_versions(on_broker).await;
            api_versions(on_controller).await;
        }
        ApiKey::CreateTopics => create_topics(on_controller).await,
        ApiKey::DeleteTopics => {
            // Who is not the active controller knows of no topic that it may be asked about by its id.
            let (_, images) = watch::channel(Arc::new(image()));
            let active = ControllerHandle::idle(image());
            let node = node_that_knows(images, Authorizer::DenyAll, Some(active));
            delete_topics(Case { node: &node, ..on_controller }).await;
        }
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch(on_broker).await,
        ApiKey::DescribeConfigs => describe_configs(on_broker).await,
        ApiKey::DescribeLogDirs => describe_log_dirs(on_broker).await,
        ApiKey::CreatePartitions => create_partitions(on_controller).await,
        ApiKey::IncrementalAlterConfigs => alter_configs(on_controller).await,
        ApiKey::AlterPartitionReassignments => reassign(on_controller).await,
        ApiKey::ListPartitionReassignments => list_reassignments(on_controller).await,
        ApiKey::DescribeQuorum => describe_quorum(on_controller).await,
        ApiKey::ElectLeaders => elect_leaders(on_controller).await,
        ApiKey::AlterPartition => alter_partition(on_controller).await,
        ApiKey::UnregisterBroker => unregister_broker(on_controller).await,
        ApiKey::UpdateFeatures => update_features(on_controller).await,
        ApiKey::DescribeTopicPartitions => describe_topic_partitions(on_broker).await,
        ApiKey::DescribeCluster => describe_cluster(on_broker).await,
        ApiKey::AddRaftVoter | ApiKey::RemoveRaftVoter | ApiKey::UpdateRaftVoter => {
            change_voters(key, on_controller).await;
        }
        ApiKey::BrokerRegistration => register_broker(on_controller).await,
        ApiKey::BrokerHeartbeat => heartbeat(on_controller).await,
        ApiKey::InitProducerId => init_producer_id(on_broker).await,
        ApiKey::DescribeProducers => describe_producers(on_broker).await,
        ApiKey::AllocateProducerIds => allocate_producer_ids(on_controller).await,
        other => panic!("{other:?} has a row in the table and no case here"),
    }
}

async fn ours(node: &Arc<Node>, api: &Api, key: PrivateKey) {
    let case = Case { node, api, scope: Scope::Controller };
    let denied = |_| vec![CLUSTER_DENIED];
    match key {
        PrivateKey::RaftMessage => case.check(raft_message, |answer| vec![answer.error_code], denied).await,
        PrivateKey::FetchMetadata => {
            let codes = |answer: &ottla_wire::private::FetchMetadataResponse| {
                assert!(answer.entries.is_empty() && answer.snapshot.is_none() && answer.leader.is_none());
                vec![answer.error_code]
            };
            case.check(fetch_metadata, codes, denied).await;
        }
        PrivateKey::FetchMetadataSnapshot => {
            let codes = |answer: &ottla_wire::private::FetchMetadataSnapshotResponse| {
                assert!(answer.bytes.is_empty() && answer.size == 0);
                vec![answer.error_code]
            };
            case.check(fetch_snapshot, codes, denied).await;
        }
        PrivateKey::Forward => {
            let codes = |answer: &ottla_wire::private::ForwardResponse| {
                assert!(answer.body.is_empty());
                vec![answer.error_code]
            };
            case.check(forward, codes, denied).await;
        }
        PrivateKey::RestartSafety => {
            let request = |_, _: &Asked| RestartSafetyRequest { brokers: vec![1] };
            case.check(request, |answer| vec![answer.error_code], denied).await;
        }
    }
}

async fn produce(case: Case<'_>) {
    let request = |version, asked: &Asked| {
        let partition = PartitionProduceData::default().with_records(Some(Bytes::from_static(b"no batch")));
        let topic = TopicProduceData::default().with_partition_data(vec![partition]);
        let topic = if version < 13 { topic.with_name(asked.topic()) } else { topic.with_topic_id(asked.id) };
        ProduceRequest::default().with_acks(1).with_topic_data(vec![topic])
    };
    let expected = |version| vec![if version < 13 { TOPIC_DENIED } else { ID_UNKNOWN }];
    case.check(
        request,
        |answer| {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            partitions.map(|partition| partition.error_code).collect()
        },
        expected,
    )
    .await;
}

async fn fetch(case: Case<'_>) {
    let request = |version, asked: &Asked| {
        let partition = FetchPartition::default().with_partition_max_bytes(1000);
        let topic = FetchTopic::default().with_partitions(vec![partition]);
        let topic =
            if version < 13 { topic.with_topic(asked.topic()) } else { topic.with_topic_id(asked.id) };
        FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_bytes(1000).with_topics(vec![topic])
    };
    let expected = |version| vec![if version < 13 { TOPIC_DENIED } else { ID_UNKNOWN }];
    case.check(
        request,
        |answer| {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        },
        expected,
    )
    .await;
}

async fn list_offsets(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default().with_name(asked.topic()).with_partitions(vec![partition]);
        ListOffsetsRequest::default().with_topics(vec![topic])
    };
    case.check(
        request,
        |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        },
        |_| vec![TOPIC_DENIED],
    )
    .await;
}

async fn offset_for_leader_epoch(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let partition = OffsetForLeaderPartition::default().with_leader_epoch(1);
        let topic =
            OffsetForLeaderTopic::default().with_topic(asked.topic()).with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    };
    case.check(
        request,
        |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        },
        |_| vec![TOPIC_DENIED],
    )
    .await;
}

async fn metadata(case: Case<'_>) {
    let codes = |answer: &ottla_wire::messages::MetadataResponse| -> Vec<i16> {
        answer.topics.iter().map(|topic| topic.error_code).collect()
    };
    let named = |version: i16, asked: &Asked| {
        let by_name = MetadataRequestTopic::default().with_name(Some(asked.topic()));
        let by_id = MetadataRequestTopic::default().with_topic_id(asked.id).with_name(None);
        let topics = if version < 12 { vec![by_name] } else { vec![by_name, by_id] };
        MetadataRequest::default().with_allow_auto_topic_creation(true).with_topics(Some(topics))
    };
    let expected = |version| if version < 12 { vec![TOPIC_DENIED] } else { vec![TOPIC_DENIED, ID_UNKNOWN] };
    case.check(named, codes, expected).await;
    let all = |version: i16, _: &Asked| {
        MetadataRequest::default()
            .with_allow_auto_topic_creation(true)
            .with_topics((version == 0).then(Vec::new))
            .with_include_topic_authorized_operations(version >= 8)
    };
    case.check(all, codes, |_| Vec::new()).await;
}

async fn api_versions(case: Case<'_>) {
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

async fn create_topics(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let topic = CreatableTopic::default()
            .with_name(asked.topic())
            .with_num_partitions(1)
            .with_replication_factor(1);
        CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
    };
    case.check(
        request,
        |answer| answer.topics.iter().map(|topic| topic.error_code).collect(),
        |_| vec![TOPIC_DENIED],
    )
    .await;
}

async fn delete_topics(case: Case<'_>) {
    let request = |version, asked: &Asked| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(1000);
        if version < 6 {
            return request.with_topic_names(vec![asked.topic()]);
        }
        let by_name = DeleteTopicState::default().with_name(Some(asked.topic()));
        let by_id = DeleteTopicState::default().with_name(None).with_topic_id(asked.id);
        request.with_topics(vec![by_name, by_id])
    };
    case.check(
        request,
        |answer| answer.responses.iter().map(|topic| topic.error_code).collect(),
        |version| if version < 6 { vec![TOPIC_DENIED] } else { vec![TOPIC_DENIED, ID_UNKNOWN] },
    )
    .await;
}

async fn create_partitions(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let topic = CreatePartitionsTopic::default().with_name(asked.topic()).with_count(2);
        CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
    };
    case.check(
        request,
        |answer| answer.results.iter().map(|topic| topic.error_code).collect(),
        |_| vec![TOPIC_DENIED],
    )
    .await;
}

async fn describe_log_dirs(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let topic = DescribableLogDirTopic::default().with_topic(asked.topic()).with_partitions(vec![0]);
        DescribeLogDirsRequest::default().with_topics(Some(vec![topic]))
    };
    case.check(
        request,
        |answer| {
            assert!(answer.results.is_empty());
            vec![answer.error_code]
        },
        |version| vec![if version < 3 { OK } else { CLUSTER_DENIED }],
    )
    .await;
}

async fn reassign(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let to = ReassignablePartition::default().with_replicas(Some(vec![BrokerId(1)]));
        let topic = ReassignableTopic::default()
            .with_name(asked.topic())
            .with_partitions(vec![to, ReassignablePartition::default().with_replicas(None)]);
        AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
    };
    case.check(
        request,
        |answer| {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
            [answer.error_code].into_iter().chain(partitions.map(|partition| partition.error_code)).collect()
        },
        |_| vec![CLUSTER_DENIED; 3],
    )
    .await;
}

async fn list_reassignments(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let topic = ListPartitionReassignmentsTopics::default()
            .with_name(asked.topic())
            .with_partition_indexes(vec![0]);
        ListPartitionReassignmentsRequest::default().with_topics(Some(vec![topic])).with_timeout_ms(1000)
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

async fn describe_configs(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let of = |kind, name| {
            let resource =
                DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(name);
            resource.with_configuration_keys(None)
        };
        let topic = of(2, asked.text());
        let this = of(4, StrBytes::from_static_str("1"));
        let other = of(4, StrBytes::from_static_str("2"));
        let all = of(4, StrBytes::new());
        DescribeConfigsRequest::default()
            .with_resources(vec![topic, this, other, all])
            .with_include_synonyms(true)
    };
    case.check(
        request,
        |answer| {
            assert!(answer.results.iter().all(|result| result.configs.is_empty()));
            answer.results.iter().map(|result| result.error_code).collect()
        },
        |_| vec![TOPIC_DENIED, CLUSTER_DENIED, CLUSTER_DENIED, CLUSTER_DENIED],
    )
    .await;
}

async fn alter_configs(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let of = |kind, name| {
            let config = AlterableConfig::default()
                .with_name(StrBytes::from_static_str("retention.ms"))
                .with_value(Some(StrBytes::from_static_str("5")));
            AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_configs(vec![config])
        };
        let resources =
            vec![of(2, asked.text()), of(4, StrBytes::from_static_str("1")), of(4, StrBytes::new())];
        IncrementalAlterConfigsRequest::default().with_resources(resources)
    };
    case.check(
        request,
        |answer| answer.responses.iter().map(|resource| resource.error_code).collect(),
        |_| vec![TOPIC_DENIED, CLUSTER_DENIED, CLUSTER_DENIED],
    )
    .await;
}

async fn describe_quorum(case: Case<'_>) {
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

async fn elect_leaders(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let named = TopicPartitions::default().with_topic(asked.topic()).with_partitions(vec![0]);
        ElectLeadersRequest::default().with_topic_partitions(Some(vec![named])).with_timeout_ms(1000)
    };
    case.check(
        request,
        |answer| {
            let topics = answer.replica_election_results.iter();
            topics.flat_map(|topic| &topic.partition_result).map(|one| one.error_code).collect()
        },
        |_| vec![CLUSTER_DENIED],
    )
    .await;
}

async fn unregister_broker(case: Case<'_>) {
    let request = |_, _: &Asked| UnregisterBrokerRequest::default().with_broker_id(BrokerId(1));
    case.check(request, |answer| vec![answer.error_code], |_| vec![CLUSTER_DENIED]).await;
}

async fn update_features(case: Case<'_>) {
    let request = |_, _: &Asked| UpdateFeaturesRequest::default();
    case.check(request, |answer| vec![answer.error_code], |_| vec![CLUSTER_DENIED]).await;
}

async fn change_voters(key: ApiKey, case: Case<'_>) {
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

async fn describe_topic_partitions(case: Case<'_>) {
    let codes = |answer: &ottla_wire::messages::DescribeTopicPartitionsResponse| -> Vec<i16> {
        assert!(answer.next_cursor.is_none());
        answer.topics.iter().map(|topic| topic.error_code).collect()
    };
    let named = |_, asked: &Asked| {
        let topic = TopicRequest::default().with_name(asked.topic());
        DescribeTopicPartitionsRequest::default().with_topics(vec![topic])
    };
    case.check(named, codes, |_| vec![TOPIC_DENIED]).await;
    let all = |_, _: &Asked| DescribeTopicPartitionsRequest::default();
    case.check(all, codes, |_| Vec::new()).await;
    let from = |_, asked: &Asked| {
        let cursor = Cursor::default().with_topic_name(asked.topic());
        DescribeTopicPartitionsRequest::default().with_cursor(Some(cursor))
    };
    case.check(from, codes, |_| Vec::new()).await;
}

async fn alter_partition(case: Case<'_>) {
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

/// Kafka shows the brokers to everybody, here as in Metadata; what may be done is nothing.
async fn describe_cluster(case: Case<'_>) {
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

async fn register_broker(case: Case<'_>) {
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

async fn heartbeat(case: Case<'_>) {
    let request =
        |_, _: &Asked| BrokerHeartbeatRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(5);
    case.check(request, |answer| vec![answer.error_code], |_| vec![CLUSTER_DENIED]).await;
}

async fn init_producer_id(case: Case<'_>) {
    for (transactional_id, denied) in [(None, CLUSTER_DENIED), (Some("a"), TRANSACTIONAL_ID_DENIED)] {
        let id = transactional_id.map(|id| StrBytes::from_static_str(id).into());
        let request = |_, _: &Asked| InitProducerIdRequest::default().with_transactional_id(id.clone());
        case.check(
            request,
            |answer| {
                assert_eq!((answer.producer_id.0, answer.producer_epoch), (-1, -1));
                vec![answer.error_code]
            },
            |_| vec![denied],
        )
        .await;
    }
}

async fn describe_producers(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let topic = ProducersOfTopic::default().with_name(asked.topic()).with_partition_indexes(vec![0]);
        DescribeProducersRequest::default().with_topics(vec![topic])
    };
    case.check(
        request,
        |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        },
        |_| vec![TOPIC_DENIED],
    )
    .await;
}

async fn allocate_producer_ids(case: Case<'_>) {
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

fn raft_message(_: i16, _: &Asked) -> RaftMessageRequest {
    RaftMessageRequest {
        cluster_id: "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
        from_node_id: 2,
        from_directory_id: Uuid::from_u128(4),
        to_directory_id: Uuid::from_u128(2),
        payload: Bytes::from_static(b"a raft message"),
    }
}

fn fetch_metadata(_: i16, _: &Asked) -> FetchMetadataRequest {
    FetchMetadataRequest { node_id: 1, broker_epoch: 5, from_offset: 1, max_bytes: 1000, max_wait_ms: 0 }
}

fn fetch_snapshot(_: i16, _: &Asked) -> FetchMetadataSnapshotRequest {
    FetchMetadataSnapshotRequest { offset: 9, term: 1, position: 0, max_bytes: 1000 }
}

/// A sender that is no broker cannot borrow a principal.
fn forward(_: i16, asked: &Asked) -> ForwardRequest {
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
