//! DescribeLogDirs, key 35, versions 1–4 (KIP-113, KIP-827).
//!
//! Behaviour: the log directories of the broker that is asked, in the order of `log.dirs`, each with the logs in it that are asked
//! for and their lengths in bytes. One that has failed is KAFKA_STORAGE_ERROR, and tells nothing of its logs. A log
//! whose topic is not known here is left out, and so is one that is damaged. A replica that moves to another directory has two:
//! its log, and there the one that is to take its place (`is_future_key`). A log's lag is what it lacks of the records that
//! its replica knows to be committed; of one that is to take a place, what it lacks of the log that it is copied from, and
//! -1 while that one does not serve.
//! Authorization: Describe on the cluster; else CLUSTER_AUTHORIZATION_FAILED, which versions 1 and 2 say by an empty answer.
//! Version notes: 3 brings an error code for the whole; 4 the size of the file system and what is free of it.
//! Not done: 5, which tells of cordoned directories: the crate that has the messages does not know it, and only whole brokers are
//! cordoned.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_core::ids::{Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
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
use crate::drive::shard::{Contents, LogFound};

/// Of a log whose lag nobody can tell.
const NO_LAG: i64 = -1;

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
        let ends = ends(directories.iter().flat_map(|(_, contents)| contents).flat_map(|of| &of.logs));
        let results = directories.into_iter().map(|(path, contents)| {
            let path = StrBytes::from_string(path.display().to_string());
            result(&image, wanted.as_ref(), contents, &ends).with_log_dir(path)
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
    ends: &BTreeMap<TopicPartition, Offset>,
) -> DescribeLogDirsResult {
    let Some(Contents { space, logs }) = contents else {
        return DescribeLogDirsResult::default().with_error_code(ResponseError::KafkaStorageError.code());
    };
    let mut topics: BTreeMap<TopicId, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for log in logs {
        if wanted.is_none_or(|wanted| wanted.contains(&log.partition)) {
            let partition = DescribeLogDirsPartition::default()
                .with_partition_index(log.partition.partition.0)
                .with_partition_size(number(log.bytes))
                .with_offset_lag(lag(&log, ends))
                .with_is_future_key(log.is_future);
            topics.entry(log.partition.topic_id).or_default().push(partition);
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

/// Where the logs of replicas end, and not those that are to take their places.
fn ends<'a>(logs: impl Iterator<Item = &'a LogFound>) -> BTreeMap<TopicPartition, Offset> {
    logs.filter(|log| !log.is_future).map(|log| (log.partition, log.end)).collect()
}

/// How much a log lacks.
fn lag(log: &LogFound, ends: &BTreeMap<TopicPartition, Offset>) -> i64 {
    let whole = if log.is_future { ends.get(&log.partition).copied() } else { Some(log.high_watermark) };
    whole.map_or(NO_LAG, |whole| whole.0.saturating_sub(log.end.0).max(0))
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(partition: i32, end: i64, high_watermark: i64, is_future: bool) -> LogFound {
        let partition = TopicPartition { topic_id: TopicId::default(), partition: PartitionIndex(partition) };
        let (end, high_watermark) = (Offset(end), Offset(high_watermark));
        LogFound { partition, bytes: 10, end, high_watermark, is_future }
    }

    fn lags(logs: &[LogFound]) -> Vec<i64> {
        let ends = ends(logs.iter());
        logs.iter().map(|log| lag(log, &ends)).collect()
    }

    #[test]
    fn a_log_lags_behind_what_is_committed() {
        // What a leader has and nobody else yet is no lag; a follower that was cut lacks what is committed.
        assert_eq!(lags(&[log(0, 100, 90, false), log(1, 20, 20, false), log(2, 70, 80, false)]), [0, 0, 10]);
    }

    #[test]
    fn a_future_log_lags_behind_the_log_that_it_is_copied_from() {
        let logs = [log(0, 30, 0, true), log(0, 100, 90, false), log(1, 20, 20, false), log(1, 20, 0, true)];
        assert_eq!(lags(&logs), [70, 0, 0, 0]);
        // The replica's log was cut just now, and the copy not yet.
        assert_eq!(lags(&[log(0, 90, 90, false), log(0, 95, 0, true)]), [0, 0]);
    }

    #[test]
    fn the_lag_of_a_future_log_is_unknown_while_the_log_that_it_is_copied_from_does_not_serve() {
        assert_eq!(lags(&[log(0, 30, 0, true), log(1, 100, 100, false)]), [NO_LAG, 0]);
    }
}
