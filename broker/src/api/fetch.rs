//! Fetch, key 1, versions 4–18.
//!
//! Behaviour: long polling (rule 45): answers when `min_bytes` are there, `max_wait_ms` is over, any partition
//! has an error or diverges, or a read ended with a segment and more lies in the next. The first partition
//! with data yields at least one whole batch whatever the limits, later ones obey what is left (rule 46).
//! Reads stop at the high watermark; an offset between it and the log's end waits (rule 47).
//! No session is kept: session id 0 is always legal (rule 48), and a request
//! that goes on with a session is FETCH_SESSION_ID_NOT_FOUND, upon which clients name all their partitions.
//! Consumers read from any replica (KIP-392, rule 49), and with `replica.selector.class` a leader names one in their
//! rack instead of giving records, at once. Followers give what is committed as far as they know; for an offset
//! beyond the end of its log a follower answers OFFSET_NOT_AVAILABLE, and so it does where it knows of nothing more
//! that is committed while it is not in sync or its session may be over. Kafka's answers OFFSET_OUT_OF_RANGE to the
//! former and lets consumers wait in the latter.
//! Followers (version 15 and above) read to the end of the log, and what their requests say of their own logs decides what
//! is committed; so they are heard on the listener of `inter.broker.listener.name` only, and must say with a tagged
//! field of ours how much of their log is durable ([`ottla_wire::replica_fetch`]).
//! Authorization: Read on each topic; a denied one is TOPIC_AUTHORIZATION_FAILED (by name) or
//! UNKNOWN_TOPIC_ID (by id: the id of a hidden topic is unknown). For a follower ClusterAction on the cluster.
//! Version notes: 5 brings the log start offset; 7 sessions; 9 the leader epoch (rule 50); 11 rack id; 12
//! the last fetched epoch, to which a divergence is answered (rule 51); 13 topic ids instead of names; 16 the
//! new leader's endpoint with NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH (KIP-951); 17, 18 fields of
//! followers.
//! A follower that is throttled and not in sync gets nothing while its quota is exceeded (KIP-73); nor one that is behind
//! while what those may take is used up ([`ottla_core::replication::recovery`]).
//! Where consumers may read from followers, a follower's request is answered as soon as the high watermark passes
//! the one that it says it knows (a field of version 18, which Kafka's controllers use).
//! Not done: sessions; `isolation_level` is accepted, and as there are no transactions, read_committed
//! sees what read_uncommitted sees. A `min_bytes` above `MIN_BYTES_MAX` counts as that.

mod asker;
mod nearest;
mod recovery;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::ids::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use ottla_core::metadata::image::Image;
use ottla_core::partition::PartitionError;
use ottla_core::replication::recovery::Behind;
use ottla_core::shard::FetchPosition;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_wire::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use ottla_wire::messages::{BrokerId, FetchRequest, FetchResponse};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer::hold_until_written;
use super::authorize::{Operation, Resource};
use super::leader_hints::LeaderHints;
use super::{Call, Chunks, Reply, error_code};
use crate::drive::shard::{FetchItem, Fetched, ReadBy};
use asker::{Asker, Refused};
pub(crate) use recovery::Recovery;
pub(crate) use throttle::LeaderThrottle;

/// The longest poll. Kafka has no limit of its own; a client that asks for more polls again.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// From here on topics are named by id.
const TOPIC_IDS_FROM: i16 = 13;

/// The session epochs of requests that name all their partitions: those that want a session and those that do
/// not. Any other goes on with a session (rule 48).
const FULL_EPOCH: i32 = 0;
const NO_SESSION_EPOCH: i32 = -1;

/// From here on NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH carry the new leader.
const LEADER_HINTS_FROM: i16 = 16;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: FetchRequest = ottla_wire::request::decode_body(call.version, body)?;
    let asker = match Asker::of(&call, &request) {
        Ok(asker) => asker,
        Err(Refused::Close(reason)) => return Ok(Reply::Close(reason)),
        Err(Refused::Code(error)) => {
            let refusal = FetchResponse::default().with_error_code(error.code());
            return Ok(call.answer::<FetchRequest>(&refusal));
        }
    };
    if !matches!(request.session_epoch, FULL_EPOCH | NO_SESSION_EPOCH) {
        // What only lists changes cannot be answered in full: its other partitions would never be heard of.
        let error = ResponseError::FetchSessionIdNotFound;
        return Ok(call.answer::<FetchRequest>(&FetchResponse::default().with_error_code(error.code())));
    }
    Ok(Reply::Later(Box::pin(poll(call, request, asker))))
}

/// One partition of the request, with what the image says of it.
struct Wanted {
    /// In which topic and at which place of the response it stands.
    topic: usize,
    index: i32,
    item: Result<FetchItem, ResponseError>,
}

async fn poll(call: Call, request: FetchRequest, asker: Asker) -> Option<Chunks> {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let began = Instant::now();
    let deadline = began + wait;
    let mut until = deadline;
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(MIN_BYTES_MAX);
    let limits = &call.node.config.limits;
    let server_max = u32::try_from(limits.fetch_size_max.0).unwrap_or(u32::MAX);
    let max_bytes = u32::try_from(request.max_bytes).unwrap_or(0).min(server_max);
    let image = call.node.image();
    let wanted = resolve(&call, &image, asker, &request.topics);
    let mut items: Vec<FetchItem> = wanted.iter().filter_map(|wanted| wanted.item.ok()).collect();
    let counted = throttle::withhold(&call, &image, asker, &mut items);
    // It may wait for long.
    drop(image);
    // What the reply may hold, once; the reading of each round replaces that of the round before.
    let reply_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let asked: usize = items.iter().map(|item| usize::try_from(item.max_bytes).unwrap_or(0)).sum();
    let most = reply_bytes.min(asked);
    let first = most.min(READ_BYTES_FIRST);
    let first_bytes = u32::try_from(first).unwrap_or(max_bytes);
    let memory = call.node.memory.of(call.context.listener.scope);
    let notify = Arc::new(Notify::new());
    let (mut reservation, mut results) = loop {
        let reservation = memory.reserve(first).await;
        recovery::mark(&call, asker, &mut items);
        let near = nearest::near(&call, asker, &request.rack_id);
        let results = call.node.shards.fetch(&items, near.as_ref(), first_bytes).await;
        if is_answer(&items, &results, min_bytes, wanted.len()) || Instant::now() >= until {
            break (reservation, results);
        }
        // Registered before the next read, so that nothing appended in between is missed.
        let notified = notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        call.node.shards.watch(&items, &results, &notify);
        let is_any_held = recovery::is_any_held(&items, &results);
        until = nearest::patience(&results).map_or(deadline, |patience| deadline.min(began + patience));
        // A thousand consumers may wait, and hold nothing while they do. What comes of it is read again.
        drop((results, reservation));
        // Cancel-safe: nothing is lost with either.
        tokio::select! {
            _woken_or_due = tokio::time::timeout_at(until, notified) => {}
            () = recovery::room(&call), if is_any_held => {}
        }
    };
    let read = bytes_of(&results);
    if read >= first / 2 && first < most && memory.try_grow(&mut reservation, most) {
        let near = nearest::near(&call, asker, &request.rack_id);
        results = call.node.shards.fetch(&items, near.as_ref(), max_bytes).await;
    }
    reservation.shrink(bytes_of(&results));
    counted.record(&call, &results);
    recovery::record(&call, &results);
    respond(&call, &request, &wanted, results).map(|chunks| hold_until_written(chunks, reservation))
}

/// A `min_bytes` beyond this counts as this: it is what a fetch may hold while it waits for more.
const MIN_BYTES_MAX: usize = 1 << 20;

/// How much is read at first: enough that a read cut before a batch of usual size has `MIN_BYTES_MAX` already. A
/// fetch may ask for 50 MiB; so much is read only when it is there, and only while memory is plentiful.
const READ_BYTES_FIRST: usize = 2 << 20;

fn bytes_of(results: &[Result<Fetched, PartitionError>]) -> usize {
    results.iter().flatten().map(|fetched| fetched.records.len()).sum()
}

fn is_answer(
    items: &[FetchItem],
    results: &[Result<Fetched, PartitionError>],
    min_bytes: usize,
    wanted: usize,
) -> bool {
    let bytes = bytes_of(results);
    // One read ends with its segment: waiting would not bring the records of the next (rule 45).
    let is_final = |fetched: &Fetched| {
        fetched.diverging.is_some()
            || fetched.preferred.is_some()
            || fetched.more_follows && !fetched.records.is_empty()
    };
    let is_news = |(item, result): (&FetchItem, &Result<Fetched, PartitionError>)| match result {
        // Of a follower that does not know. The leader may send who asks there back at once.
        Err(PartitionError::OffsetNotAvailable) => false,
        Err(_) => true,
        Ok(fetched) => is_final(fetched) || nearest::is_to_be_told(item, fetched),
    };
    // A partition that the image does not know is not in `results`: its error is an answer too.
    bytes >= min_bytes || wanted == 0 || results.len() < wanted || items.iter().zip(results).any(is_news)
}

fn resolve(call: &Call, image: &Image, asker: Asker, topics: &[FetchTopic]) -> Vec<Wanted> {
    let consumers = call.node.config.replication.selector;
    let mut wanted = Vec::new();
    for (place, topic) in topics.iter().enumerate() {
        let known = resolve_topic(call, image, asker, topic);
        for partition in &topic.partitions {
            let item = known.and_then(|id| {
                let exists = image.partition(id, PartitionIndex(partition.partition)).is_some();
                let error = ResponseError::UnknownTopicOrPartition;
                exists.then(|| item(id, asker.read_by(partition, consumers), partition)).ok_or(error)
            });
            wanted.push(Wanted { topic: place, index: partition.partition, item });
        }
    }
    wanted
}

fn resolve_topic(
    call: &Call,
    image: &Image,
    asker: Asker,
    topic: &FetchTopic,
) -> Result<TopicId, ResponseError> {
    let allowed = |name: &str| asker.is_follower() || call.allows(Operation::Read, Resource::Topic, name);
    if call.version >= TOPIC_IDS_FROM {
        let found = image.topics.get(&TopicId(topic.topic_id));
        return found
            .filter(|found| allowed(found.name.as_str()))
            .map(|found| found.id)
            .ok_or(ResponseError::UnknownTopicId);
    }
    if !allowed(&topic.topic) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    TopicName::parse(&topic.topic)
        .ok()
        .and_then(|name| image.topic_ids.get(&name).copied())
        .ok_or(ResponseError::UnknownTopicOrPartition)
}

/// -1 stands for an epoch that the client does not know.
fn known(epoch: i32) -> Option<LeaderEpoch> {
    (epoch >= 0).then_some(LeaderEpoch(epoch))
}

fn item(topic_id: TopicId, read_by: ReadBy, partition: &FetchPartition) -> FetchItem {
    FetchItem {
        partition: TopicPartition { topic_id, partition: PartitionIndex(partition.partition) },
        from: FetchPosition {
            offset: Offset(partition.fetch_offset),
            epoch: known(partition.current_leader_epoch),
            last_fetched_epoch: known(partition.last_fetched_epoch),
        },
        max_bytes: u32::try_from(partition.partition_max_bytes).unwrap_or(0),
        read_by,
        withheld: false,
        behind: Behind::Served,
    }
}

fn respond(
    call: &Call,
    request: &FetchRequest,
    wanted: &[Wanted],
    results: Vec<Result<Fetched, PartitionError>>,
) -> Option<Chunks> {
    let mut results = results.into_iter();
    let mut topics: Vec<FetchableTopicResponse> = request
        .topics
        .iter()
        .map(|topic| {
            FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_topic_id(topic.topic_id)
        })
        .collect();
    let mut hints = LeaderHints::new(call);
    for wanted in wanted {
        let data = match wanted.item {
            Err(error) => failed(error.code()),
            Ok(item) => match results.next()? {
                Ok(fetched) => found(fetched),
                Err(error) => {
                    let mut data = failed(error_code::of_partition_error(&error).code());
                    if let PartitionError::OffsetOutOfRange { log_start, .. } = &error
                        && matches!(item.read_by, ReadBy::Follower(_))
                    {
                        data.log_start_offset = log_start.0;
                    }
                    let moved =
                        matches!(error, PartitionError::NotLeader | PartitionError::FencedLeaderEpoch { .. });
                    if moved
                        && call.version >= LEADER_HINTS_FROM
                        && let Some((leader, epoch)) = hints.of(item.partition)
                    {
                        data.current_leader =
                            LeaderIdAndEpoch::default().with_leader_id(leader).with_leader_epoch(epoch.0);
                    }
                    data
                }
            },
        };
        topics[wanted.topic].partitions.push(data.with_partition_index(wanted.index));
    }
    let records = topics.iter().flat_map(|topic| &topic.partitions).filter_map(|data| data.records.as_ref());
    let bytes: usize = records.map(Bytes::len).sum();
    call.node.metrics.fetched_bytes.inc_by(u64::try_from(bytes).unwrap_or(0));
    let endpoints = hints.endpoints().map(|(leader, host, port)| {
        NodeEndpoint::default().with_node_id(leader).with_host(host).with_port(port)
    });
    let response = FetchResponse::default().with_responses(topics).with_node_endpoints(endpoints.collect());
    call.checked(ottla_wire::fetch_response::encode(call.version, call.correlation_id, &response))
}

fn failed(code: i16) -> PartitionData {
    PartitionData::default()
        .with_error_code(code)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_records(Some(Bytes::new()))
}

fn found(fetched: Fetched) -> PartitionData {
    let diverging = fetched.diverging.map_or_else(EpochEndOffset::default, |end| {
        EpochEndOffset::default().with_epoch(end.epoch.0).with_end_offset(end.end.0)
    });
    let data = match fetched.preferred {
        Some(NodeId(preferred)) => PartitionData::default().with_preferred_read_replica(BrokerId(preferred)),
        None => PartitionData::default(),
    };
    data.with_diverging_epoch(diverging)
        .with_high_watermark(fetched.readable.high_watermark.0)
        .with_last_stable_offset(fetched.readable.high_watermark.0)
        .with_log_start_offset(fetched.readable.log_start.0)
        .with_records(Some(fetched.records))
}

#[cfg(test)]
mod tests;
