//! AlterReplicaLogDirs, key 34, versions 1–2 (KIP-113).
//!
//! Behaviour: replicas of the broker that is asked go to other log directories of its own. The answer comes when the moves
//! are under way and not when they are over: DescribeLogDirs shows both logs until then. A partition that is named for
//! several directories goes to the last of them and is answered once, as in Kafka. The directory where a replica is
//! already takes back a move that is under way. A directory is named as DescribeLogDirs names it, letter by letter; any
//! other is LOG_DIR_NOT_FOUND. A partition without a replica here is REPLICA_NOT_AVAILABLE, which Kafka's tools take for
//! "not yet"; one whose directory, or the other one, has failed is KAFKA_STORAGE_ERROR. On a cordoned broker
//! (KIP-1066) all is INVALID_REPLICA_ASSIGNMENT, also the way back.
//! Authorization: Alter on the cluster; else CLUSTER_AUTHORIZATION_FAILED for each item.
//! Version notes: 2 is encoded flexibly; there is no other difference.
//! Not done: what Kafka does for a partition that has no replica here, which is to remember the directory for the
//! time when it gets one: the controller chooses that (decision 0031), and the replica moves afterwards. An illegal name
//! of a topic is always INVALID_TOPIC_EXCEPTION; Kafka says so only of one that is too long.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use ottla_core::ids::{TopicName, TopicPartition};
use ottla_core::metadata::image::Image;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use ottla_wire::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::error_code::of_move_refusal;
use super::{Call, Reply};

/// A partition as the request names it.
type Named<'a> = (&'a StrBytes, i32);

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: AlterReplicaLogDirsRequest = ottla_wire::request::decode_body(call.version, body)?;
    if !call.allows(Operation::Alter, Resource::Cluster, "") {
        let error = ResponseError::ClusterAuthorizationFailed;
        let refused = named(&request).map(|(named, _)| (named, error.code()));
        return Ok(call.answer::<AlterReplicaLogDirsRequest>(&respond(refused)));
    }
    Ok(Reply::Later(Box::pin(async move {
        let response = alter(&call, &request).await;
        call.encode::<AlterReplicaLogDirsRequest>(&response)
    })))
}

async fn alter(call: &Call, request: &AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
    let image = call.node.image();
    let directories: Vec<&Path> = call.node.shards.directories().collect();
    let mut wanted: BTreeMap<Named<'_>, &str> = BTreeMap::new();
    for (named, path) in named(request) {
        // The directory that is named last counts.
        wanted.insert(named, path);
    }
    let mut codes: BTreeMap<Named<'_>, i16> = BTreeMap::new();
    let (mut asked, mut moves) = (Vec::new(), Vec::new());
    for (named, path) in wanted {
        match wanted_move(call, &image, &directories, (named, path)) {
            Ok(one) => {
                asked.push(named);
                moves.push(one);
            }
            Err(error) => {
                codes.insert(named, error.code());
            }
        }
    }
    let answers = call.node.directory_moves.ask(moves).await;
    let code = |answer: Result<(), _>| answer.map_or_else(|refusal| of_move_refusal(refusal).code(), |()| 0);
    codes.extend(asked.into_iter().zip(answers.into_iter().map(code)));
    respond(codes.into_iter())
}

/// Each partition with the path of its directory, in the order of the request.
fn named(request: &AlterReplicaLogDirsRequest) -> impl Iterator<Item = (Named<'_>, &str)> {
    request.dirs.iter().flat_map(|directory| {
        directory.topics.iter().flat_map(move |topic| {
            topic.partitions.iter().map(move |index| ((&topic.name.0, *index), &*directory.path))
        })
    })
}

/// The partition, and the place of the directory in `log.dirs`.
fn wanted_move(
    call: &Call,
    image: &Image,
    directories: &[&Path],
    ((topic, index), path): (Named<'_>, &str),
) -> Result<(TopicPartition, usize), ResponseError> {
    if TopicName::parse(topic).is_err() {
        return Err(ResponseError::InvalidTopicException);
    }
    // As text: Kafka's tools compare paths so when they ask whether a move is over.
    let directory = directories.iter().position(|directory| directory.display().to_string() == path);
    let directory = directory.ok_or(ResponseError::LogDirNotFound)?;
    if image.is_cordoned(call.node.id) {
        return Err(ResponseError::InvalidReplicaAssignment);
    }
    let partition = image.named_partition(topic, index).ok_or(ResponseError::UnknownTopicOrPartition)?;
    Ok((partition, directory))
}

/// A response with these codes; neighbours of one topic share its entry.
fn respond<'a>(codes: impl Iterator<Item = (Named<'a>, i16)>) -> AlterReplicaLogDirsResponse {
    let mut topics: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for ((topic, index), code) in codes {
        let partition =
            AlterReplicaLogDirPartitionResult::default().with_partition_index(index).with_error_code(code);
        match topics.last_mut() {
            Some(last) if last.topic_name.0 == *topic => last.partitions.push(partition),
            _ => {
                let topic = AlterReplicaLogDirTopicResult::default().with_topic_name(topic.clone().into());
                topics.push(topic.with_partitions(vec![partition]));
            }
        }
    }
    AlterReplicaLogDirsResponse::default().with_results(topics)
}
