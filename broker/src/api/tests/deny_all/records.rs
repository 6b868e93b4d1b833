//! Records, and who writes them.

use bytes::Bytes;
use ottla_wire::messages::describe_producers_request::TopicRequest as ProducersOfTopic;
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use ottla_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_wire::messages::{
    BrokerId, DescribeProducersRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    OffsetForLeaderEpochRequest, ProduceRequest,
};
use ottla_wire::protocol::StrBytes;

use super::{CLUSTER_DENIED, Case, ID_UNKNOWN, TOPIC_DENIED, TRANSACTIONAL_ID_DENIED};
use crate::api::tests::rig::Asked;

pub(super) async fn produce(case: Case<'_>) {
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

pub(super) async fn fetch(case: Case<'_>) {
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

pub(super) async fn list_offsets(case: Case<'_>) {
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

pub(super) async fn offset_for_leader_epoch(case: Case<'_>) {
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

pub(super) async fn init_producer_id(case: Case<'_>) {
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

pub(super) async fn describe_producers(case: Case<'_>) {
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
