//! ElectLeaders, key 43, versions 0–2.
//!
//! Behaviour (KIP-460, rule 58): preferred leaders, or unclean ones where nobody leads, of the partitions named
//! or of all. Each partition alone: ELECTION_NOT_NEEDED where the leader is there that was asked for,
//! PREFERRED_LEADER_NOT_AVAILABLE or ELIGIBLE_LEADERS_NOT_AVAILABLE where no replica can lead. Where all were
//! asked for, those that need no election are left out. A partition twice in the request is INVALID_REQUEST.
//! Authorization: Alter on the cluster; else CLUSTER_AUTHORIZATION_FAILED for every partition, as in Kafka.
//! Version notes: 0 elects preferred leaders only, and has no error for the whole request; 1 brings both.
//! Not done: nothing. The reply leaves when the leaders are committed, not when every broker has heard of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::controller::operation::{ElectLeaders, ElectionType};
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::TopicPartition;
use ottla_core::metadata::image::Image;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::elect_leaders_request::TopicPartitions;
use ottla_wire::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use ottla_wire::messages::{self, ElectLeadersRequest, ElectLeadersResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<ElectLeadersRequest>(call, body)
}

/// Below this version only partitions have errors.
const WHOLE_ERRORS_FROM: i16 = 1;

/// A partition as the request names it, and what came of it.
type Results = Vec<((messages::TopicName, i32), Result<(), Refusal>)>;

impl AdminRequest for ElectLeadersRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    async fn decide(&self, call: &Call) -> Result<ElectLeadersResponse, OperationError> {
        if !call.allows(Operation::Alter, Resource::Cluster, "") {
            let refusal = Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed);
            return Ok(self.refuse_in(call.version, &refusal));
        }
        let election = match self.election_type {
            0 => ElectionType::Preferred,
            1 => ElectionType::Unclean,
            other => {
                let text = format!("unknown election type {other}: 0 is preferred, 1 is unclean");
                let refusal = Refusal::new(ResponseError::InvalidRequest, text);
                return Ok(self.refuse_in(call.version, &refusal));
            }
        };
        let results = match &self.topic_partitions {
            None => elect_all(call, election).await?,
            Some(named) => elect_named(call, election, named).await?,
        };
        Ok(ElectLeadersResponse::default().with_replica_election_results(by_topic(results)))
    }

    fn refuse(&self, refusal: &Refusal) -> ElectLeadersResponse {
        let named = self.topic_partitions.iter().flatten();
        let results = asked(named).map(|at| (at, Err(refusal.clone()))).collect();
        ElectLeadersResponse::default()
            .with_error_code(refusal.code)
            .with_replica_election_results(by_topic(results))
    }

    fn refuse_in(&self, version: i16, refusal: &Refusal) -> ElectLeadersResponse {
        let response = self.refuse(refusal);
        if version < WHOLE_ERRORS_FROM { response.with_error_code(0) } else { response }
    }
}

fn asked<'a>(
    named: impl Iterator<Item = &'a TopicPartitions>,
) -> impl Iterator<Item = (messages::TopicName, i32)> {
    named.flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic.clone(), *index)))
}

async fn elect_all(call: &Call, election: ElectionType) -> Result<Results, OperationError> {
    let results = ask(call, election, None).await?;
    let image = call.node.controller_image();
    // A topic that was deleted meanwhile has no leaders to tell of.
    let named = results.into_iter().filter_map(|(at, result)| {
        let name = image.topics.get(&at.topic_id)?.name.to_string();
        let name = messages::TopicName(StrBytes::from_string(name));
        Some(((name, at.partition.0), result.map_err(Refusal::from)))
    });
    Ok(named.collect())
}

async fn elect_named(
    call: &Call,
    election: ElectionType,
    named: &[TopicPartitions],
) -> Result<Results, OperationError> {
    let image = image_with(call, election, named).await?;
    let mut found = Vec::new();
    let checked: Vec<_> = asked(named.iter())
        .map(|(name, index)| {
            let at = image.named_partition(&name, index).map(|at| found.push(at));
            let unknown = || {
                let text =
                    format!("partition {index} of topic \"{}\" does not exist", forward::bounded(&name));
                Refusal::new(ResponseError::UnknownTopicOrPartition, text)
            };
            ((name.clone(), index), at.ok_or_else(unknown))
        })
        .collect();
    let results = if found.is_empty() { Vec::new() } else { ask(call, election, Some(found)).await? };
    let results = results.into_iter().map(|(_, result)| result).collect();
    Ok(forward::outcomes(checked, results).collect())
}

/// An image in which a topic that is not there is none: where one is not seen, the active controller is asked for
/// nothing first. Another than this one says that it is not the active one.
async fn image_with(
    call: &Call,
    election: ElectionType,
    named: &[TopicPartitions],
) -> Result<Arc<Image>, OperationError> {
    let image = call.node.controller_image();
    if asked(named.iter()).all(|(name, index)| image.named_partition(&name, index).is_some()) {
        return Ok(image);
    }
    ask(call, election, Some(Vec::new())).await?;
    Ok(call.node.controller_image())
}

async fn ask(
    call: &Call,
    election: ElectionType,
    partitions: Option<Vec<TopicPartition>>,
) -> Result<Vec<(TopicPartition, Result<(), OperationError>)>, OperationError> {
    let operation = controller::Operation::ElectLeaders(ElectLeaders { election, partitions });
    let reply = forward::ask(call, operation).await?;
    let controller::Reply::ElectLeaders(results) = reply else {
        unreachable!("ElectLeaders answered by {reply:?}")
    };
    Ok(results)
}

fn by_topic(results: Results) -> Vec<ReplicaElectionResult> {
    let mut topics: BTreeMap<messages::TopicName, Vec<PartitionResult>> = BTreeMap::new();
    for ((name, index), result) in results {
        let refusal = result.err();
        let described = PartitionResult::default()
            .with_partition_id(index)
            .with_error_code(refusal.as_ref().map_or(0, |refusal| refusal.code))
            .with_error_message(refusal.as_ref().and_then(Refusal::text));
        topics.entry(name).or_default().push(described);
    }
    let described = topics.into_iter().map(|(name, partitions)| {
        ReplicaElectionResult::default().with_topic(name).with_partition_result(partitions)
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::rig::{PRESENT, image};

    fn partitions(name: &'static str, indexes: &[i32]) -> TopicPartitions {
        TopicPartitions::default()
            .with_topic(StrBytes::from_static_str(name).into())
            .with_partitions(indexes.to_vec())
    }

    #[test]
    fn a_refusal_names_every_partition_and_fits_every_version() {
        let named = vec![partitions("b", &[0, 1]), partitions("a", &[3]), partitions("b", &[2])];
        let request = ElectLeadersRequest::default().with_topic_partitions(Some(named));
        let refusal = Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed);
        for version in 0..=2 {
            let response = request.refuse_in(version, &refusal);
            let body = ottla_wire::response::encode_body::<ElectLeadersRequest>(version, &response)
                .unwrap_or_else(|error| panic!("version {version}: {error}"));
            let read = ottla_wire::response::decode_body::<ElectLeadersRequest>(version, body).expect("ours");
            assert_eq!(read.error_code, if version == 0 { 0 } else { 31 });
            let told: Vec<(&str, Vec<(i32, i16)>)> = read
                .replica_election_results
                .iter()
                .map(|topic| {
                    let partitions = topic.partition_result.iter();
                    (topic.topic.as_str(), partitions.map(|p| (p.partition_id, p.error_code)).collect())
                })
                .collect();
            assert_eq!(told, [("a", vec![(3, 31)]), ("b", vec![(0, 31), (1, 31), (2, 31)])]);
        }
    }

    #[test]
    fn partitions_are_found_by_name_and_index() {
        let image = image();
        let found = image.named_partition(PRESENT.name, 0).expect("it is there");
        assert_eq!((found.topic_id.0, found.partition.0), (PRESENT.id, 0));
        for (name, index) in [(PRESENT.name, 1), (PRESENT.name, -1), ("missing", 0), ("no name!", 0)] {
            assert_eq!(image.named_partition(name, index), None, "{name}-{index}");
        }
    }
}
