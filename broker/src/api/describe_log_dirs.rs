//! DescribeLogDirs, key 35, versions 1–4 (KIP-113, KIP-827).
//!
//! Behaviour: the log directories of the broker that is asked, in the order of `log.dirs`, each with the logs in it that are asked
//! for and their lengths in bytes. One that has failed is KAFKA_STORAGE_ERROR, and tells nothing of its logs. A log
//! whose topic is not known here is left out, and so is one that is damaged.
//! Authorization: Describe on the cluster; else CLUSTER_AUTHORIZATION_FAILED, which versions 1 and 2 say by an empty answer.
//! Version notes: 3 brings an error code for the whole; 4 the size of the file system and what is free of it.
//! Not done: 5, which tells of cordoned directories: the crate that has the messages does not know it, and only whole brokers are
//! cordoned. Replicas do not move between directories, so none is a future one, and none lags behind another.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_core::ids::{PartitionIndex, TopicId, TopicName, TopicPartition};
use ottla_core::metadata::image::Image;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::describe_log_dirs_request::DescribableLogDirTopic;
use ottla_wire::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use ottla_wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::{Call, Reply};
use crate::drive::shard::Contents;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DescribeLogDirsRequest = ottla_wire::request::decode_body(call.version, body)?;
    if !call.allows(Operation::Describe, Resource::Cluster, "") {
        let error = ResponseError::ClusterAuthorizationFailed;
        let refusal = DescribeLogDirsResponse::default().with_error_code(error.code());
        return Ok(call.answer::<DescribeLogDirsRequest>(&refusal));
    }
    Ok(Reply::Later(Box::pin(async move {
        let image = call.node.image();
        let wanted = request.topics.as_deref().map(|topics| wanted(&image, topics));
        let directories = call.node.shards.describe().await;
        let results = directories.into_iter().map(|(path, contents)| {
            let path = StrBytes::from_string(path.display().to_string());
            result(&image, wanted.as_ref(), contents).with_log_dir(path)
        });
        let response = DescribeLogDirsResponse::default().with_results(results.collect());
        call.encode::<DescribeLogDirsRequest>(&response)
    })))
}

/// The partitions that are named and known.
fn wanted(image: &Image, topics: &[DescribableLogDirTopic]) -> BTreeSet<TopicPartition> {
    let mut wanted = BTreeSet::new();
    for topic in topics {
        let id = TopicName::parse(&topic.topic).ok().and_then(|name| image.topic_ids.get(&name).copied());
        let Some(topic_id) = id else { continue };
        let indexes = topic.partitions.iter().copied().map(PartitionIndex);
        wanted.extend(indexes.map(|partition| TopicPartition { topic_id, partition }));
    }
    wanted
}

fn result(
    image: &Image,
    wanted: Option<&BTreeSet<TopicPartition>>,
    contents: Option<Contents>,
) -> DescribeLogDirsResult {
    let Some(Contents { space, logs }) = contents else {
        return DescribeLogDirsResult::default().with_error_code(ResponseError::KafkaStorageError.code());
    };
    let mut topics: BTreeMap<TopicId, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (id, bytes) in logs {
        if wanted.is_none_or(|wanted| wanted.contains(&id)) {
            let partition = DescribeLogDirsPartition::default()
                .with_partition_index(id.partition.0)
                .with_partition_size(number(bytes));
            topics.entry(id.topic_id).or_default().push(partition);
        }
    }
    let topics = topics.into_iter().filter_map(|(id, partitions)| {
        let name = StrBytes::from_string(image.topics.get(&id)?.name.to_string());
        Some(DescribeLogDirsTopic::default().with_name(name.into()).with_partitions(partitions))
    });
    DescribeLogDirsResult::default()
        .with_topics(topics.collect())
        .with_total_bytes(number(space.total))
        .with_usable_bytes(number(space.usable))
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
