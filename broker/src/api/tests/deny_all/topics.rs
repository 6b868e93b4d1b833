//! Topics, their partitions and their configuration.

use ottla_wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use ottla_wire::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use ottla_wire::messages::create_partitions_request::CreatePartitionsTopic;
use ottla_wire::messages::create_topics_request::CreatableTopic;
use ottla_wire::messages::delete_topics_request::DeleteTopicState;
use ottla_wire::messages::describe_configs_request::DescribeConfigsResource;
use ottla_wire::messages::describe_log_dirs_request::DescribableLogDirTopic;
use ottla_wire::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use ottla_wire::messages::elect_leaders_request::TopicPartitions;
use ottla_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla_wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use ottla_wire::messages::metadata_request::MetadataRequestTopic;
use ottla_wire::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest,
};
use ottla_wire::protocol::StrBytes;

use super::{CLUSTER_DENIED, Case, ID_UNKNOWN, OK, TOPIC_DENIED};
use crate::api::tests::rig::Asked;

pub(super) async fn create_topics(case: Case<'_>) {
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

pub(super) async fn delete_topics(case: Case<'_>) {
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

pub(super) async fn create_partitions(case: Case<'_>) {
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

pub(super) async fn alter_log_dirs(case: Case<'_>) {
    let request = |_, asked: &Asked| {
        let topic = AlterReplicaLogDirTopic::default().with_name(asked.topic()).with_partitions(vec![0, 7]);
        let to = |path| {
            let path = StrBytes::from_static_str(path);
            AlterReplicaLogDir::default().with_path(path).with_topics(vec![topic.clone()])
        };
        AlterReplicaLogDirsRequest::default().with_dirs(vec![to("/nowhere"), to("/elsewhere")])
    };
    case.check(
        request,
        |answer| {
            let partitions = answer.results.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).collect()
        },
        |_| vec![CLUSTER_DENIED; 4],
    )
    .await;
}

pub(super) async fn describe_log_dirs(case: Case<'_>) {
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

pub(super) async fn reassign(case: Case<'_>) {
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

pub(super) async fn list_reassignments(case: Case<'_>) {
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

pub(super) async fn describe_configs(case: Case<'_>) {
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

pub(super) async fn alter_configs(case: Case<'_>) {
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

pub(super) async fn elect_leaders(case: Case<'_>) {
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

pub(super) async fn describe_topic_partitions(case: Case<'_>) {
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

pub(super) async fn metadata(case: Case<'_>) {
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
