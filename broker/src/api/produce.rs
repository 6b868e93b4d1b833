//! Produce, key 0, versions 3–13 (listed from 0, see ApiVersions).
//!
//! Behaviour: validates each partition's batch (rules 21–27), appends in the order of the request, and
//! answers when what `acks` asks for is true of every partition (rules 28–30). `acks=0` has no answer; if
//! one of its batches is refused the connection is closed, so that the client notices. What is not true when
//! `timeout_ms` is over is REQUEST_TIMED_OUT; its records stay.
//! Authorization: Write on each topic; a denied one is TOPIC_AUTHORIZATION_FAILED (by name) or
//! UNKNOWN_TOPIC_ID (by id).
//! Version notes: 8 brings record errors; 10 the new leader with NOT_LEADER_OR_FOLLOWER (KIP-951); 13 topic
//! ids instead of names. Version 12 is where transactions of the second kind begin.
//! Idempotent producers (rules 33 and 34): a batch that is in the log already is answered with its first offset and its
//! timestamp when what `acks` asks for is true of it; one that does not follow is OUT_OF_ORDER_SEQUENCE_NUMBER, one of an
//! epoch that is over INVALID_PRODUCER_EPOCH.
//! Not done: transactions (a transactional id is INVALID_TXN_STATE until there is a coordinator, and a transactional
//! batch without one TRANSACTIONAL_ID_AUTHORIZATION_FAILED, as in Kafka).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::config::{CleanupPolicy, Compression, Limit, TimestampType, TopicConfig};
use ottla_core::ids::{PartitionIndex, TopicId, TopicName, TopicPartition};
use ottla_core::metadata::image::{Image, Topic};
use ottla_core::partition::{AckLevel, PartitionError};
use ottla_core::shard::{Batch, Produced};
use ottla_wire::ResponseError;
use ottla_wire::batch::BatchHeader;
use ottla_wire::batch::compression::Codec;
use ottla_wire::batch::validate::{ProduceError, TargetCompression, TopicSettings, validate};
use ottla_wire::error::DecodeError;
use ottla_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_wire::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use ottla_wire::messages::{ProduceRequest, ProduceResponse};
use ottla_wire::protocol::StrBytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::authorize::{Operation, Resource};
use super::leader_hints::LeaderHints;
use super::{Call, Chunks, Later, Reply, error_code};
use crate::clock;

const TOPIC_IDS_FROM: i16 = 13;
const LEADER_HINTS_FROM: i16 = 10;
const RECORD_ERRORS_FROM: i16 = 8;

/// `timeout_ms` is about other replicas: a client that gives 0 does not want to wait for them. In Kafka the
/// leader's own write is not part of it, and here that includes the sync, which so has at least this long.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// How many bytes of plain batches are validated at once on the runtime's threads: some 50 µs.
const INLINE_BYTES_MAX: usize = 64 * 1024;

#[expect(clippy::async_yields_async, reason = "two stages: the connection goes on after the first")]
pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: ProduceRequest = ottla_wire::request::decode_body(call.version, body)?;
    let Some(acks) = AckLevel::from_wire(request.acks) else {
        return Ok(refuse_all(&call, &request, ResponseError::InvalidRequiredAcks));
    };
    if request.transactional_id.is_some() {
        return Ok(refuse_all(&call, &request, ResponseError::InvalidTxnState));
    }
    if !is_long_work(&request) {
        let topics = submit_all(&call, acks, &request);
        return Ok(Reply::Later(acknowledge(call, acks, &request, topics)));
    }
    Ok(Reply::Staged(Box::pin(async move {
        let validations = Arc::clone(&call.node.validations);
        let _turn = validations.acquire().await.expect("the semaphore is never closed");
        let work = move || {
            let topics = submit_all(&call, acks, &request);
            acknowledge(call, acks, &request, topics)
        };
        tokio::task::spawn_blocking(work).await.expect("validation panics only on a broken invariant")
    })))
}

/// Whether validation may take more than half a millisecond and has to leave the runtime's threads, on which the
/// quorum and heartbeats run too. A compressed batch of any size may: a few bytes can stand for megabytes.
fn is_long_work(request: &ProduceRequest) -> bool {
    let batches = || {
        let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
        partitions.filter_map(|data| data.records.as_ref())
    };
    let is_compressed = |batch: &Bytes| {
        BatchHeader::parse(batch).is_ok_and(|header| header.attributes.codec() != Ok(Codec::None))
    };
    batches().map(Bytes::len).sum::<usize>() > INLINE_BYTES_MAX || batches().any(is_compressed)
}

/// Stage one, in order: everything is handed to its shard before the next request is looked at.
fn submit_all(call: &Call, acks: AckLevel, request: &ProduceRequest) -> Vec<PendingTopic> {
    let image = call.node.image();
    request.topic_data.iter().map(|topic| submit_topic(call, &image, acks, topic)).collect()
}

fn acknowledge(call: Call, acks: AckLevel, request: &ProduceRequest, topics: Vec<PendingTopic>) -> Later {
    let deadline = Instant::now() + timeout(request);
    Box::pin(async move { finish(&call, acks, deadline, topics).await })
}

/// How long the client waits, counted from when everything was appended.
fn timeout(request: &ProduceRequest) -> Duration {
    Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).max(TIMEOUT_MIN)
}

struct PendingTopic {
    name: ottla_wire::messages::TopicName,
    id: uuid::Uuid,
    partitions: Vec<(i32, Pending)>,
}

enum Pending {
    Refused(Refusal),
    /// This broker has no replica of it.
    Elsewhere(TopicPartition),
    Submitted {
        partition: TopicPartition,
        /// Whether this broker may have been replaced as the leader by then.
        doubtful: bool,
        answer: oneshot::Receiver<Result<Produced, PartitionError>>,
    },
}

enum Refusal {
    Code(ResponseError),
    Batch(ProduceError),
}

fn submit_topic(call: &Call, image: &Image, acks: AckLevel, topic: &TopicProduceData) -> PendingTopic {
    let resolved = resolve(call, image, topic);
    let submit = |data: &PartitionProduceData| match &resolved {
        Err(error) => Pending::Refused(Refusal::Code(*error)),
        Ok(topic) => submit(call, topic, acks, data),
    };
    PendingTopic {
        name: topic.name.clone(),
        id: topic.topic_id,
        partitions: topic.partition_data.iter().map(|data| (data.index, submit(data))).collect(),
    }
}

fn resolve<'a>(
    call: &Call,
    image: &'a Image,
    topic: &TopicProduceData,
) -> Result<&'a Arc<Topic>, ResponseError> {
    let allowed = |name: &str| call.allows(Operation::Write, Resource::Topic, name);
    if call.version >= TOPIC_IDS_FROM {
        let found = image.topics.get(&TopicId(topic.topic_id));
        return found.filter(|found| allowed(found.name.as_str())).ok_or(ResponseError::UnknownTopicId);
    }
    if !allowed(&topic.name) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let name = TopicName::parse(&topic.name).map_err(|_| ResponseError::InvalidTopicException)?;
    image.topic(&name).ok_or(ResponseError::UnknownTopicOrPartition)
}

fn submit(call: &Call, topic: &Topic, acks: AckLevel, data: &PartitionProduceData) -> Pending {
    let index = PartitionIndex(data.index);
    if !topic.partitions.contains_key(&index) {
        return Pending::Refused(Refusal::Code(ResponseError::UnknownTopicOrPartition));
    }
    if ottla_core::metadata::is_internal(&topic.name) && call.context.client_id.as_str() != "__admin_client" {
        return Pending::Refused(Refusal::Code(ResponseError::InvalidTopicException));
    }
    let partition = TopicPartition { topic_id: topic.id, partition: index };
    let Some(config) = call.node.shards.config(partition) else { return Pending::Elsewhere(partition) };
    let records = data.records.as_deref().unwrap_or_default();
    let validated = match validate(records, call.version, &topic_settings(&config), clock::wall().0) {
        Ok(validated) => validated,
        Err(error) => return Pending::Refused(Refusal::Batch(error)),
    };
    if validated.header.attributes.is_transactional() {
        return Pending::Refused(Refusal::Code(ResponseError::TransactionalIdAuthorizationFailed));
    }
    call.node.metrics.produced_bytes.inc_by(u64::try_from(validated.bytes.len()).unwrap_or(0));
    let batch = Batch {
        record_count: validated.header.record_count.unsigned_abs(),
        log_append_time: validated.log_append_time_ms,
        bytes: validated.bytes,
        only_in: None,
    };
    let doubtful = call.node.shards.is_doubtful();
    Pending::Submitted { partition, doubtful, answer: call.node.shards.produce(partition, batch, acks) }
}

/// What the validation of batches needs of a topic's configuration.
fn topic_settings(config: &TopicConfig) -> TopicSettings {
    use ottla_wire::batch::TimestampType as WireTimestamps;
    use ottla_wire::batch::compression::Compression as Codec;
    let millis = |limit: Limit<Duration>| match limit {
        Limit::Unlimited => i64::MAX,
        Limit::AtMost(duration) => i64::try_from(duration.as_millis()).unwrap_or(i64::MAX),
    };
    let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let (timestamp_type, before_max_ms, after_max_ms) = match config.timestamps {
        TimestampType::CreateTime { before_max, after_max } => {
            (WireTimestamps::CreateTime, millis(before_max), millis(after_max))
        }
        TimestampType::LogAppendTime => (WireTimestamps::LogAppendTime, i64::MAX, i64::MAX),
    };
    let compression = match config.compression {
        Compression::Producer => TargetCompression::Producer,
        Compression::Uncompressed => TargetCompression::To(Codec::None),
        Compression::Gzip(level) => TargetCompression::To(Codec::Gzip { level }),
        Compression::Snappy => TargetCompression::To(Codec::Snappy),
        // The codec has one level.
        Compression::Lz4(_) => TargetCompression::To(Codec::Lz4),
        Compression::Zstd(level) => TargetCompression::To(Codec::Zstd { level }),
    };
    let CleanupPolicy { compact, .. } = config.cleanup;
    TopicSettings {
        compacted: compact,
        timestamp_type,
        before_max_ms,
        after_max_ms,
        max_message_bytes: narrow(config.batch_size_max.0),
        segment_bytes: narrow(config.segment_size_max.0),
        compression,
    }
}

async fn finish(call: &Call, acks: AckLevel, deadline: Instant, topics: Vec<PendingTopic>) -> Option<Chunks> {
    let mut hints = LeaderHints::new(call);
    let mut refused = false;
    let mut responses = Vec::with_capacity(topics.len());
    for topic in topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, pending) in topic.partitions {
            let response = match pending {
                Pending::Refused(refusal) => describe_refusal(call, &refusal),
                Pending::Elsewhere(partition) => {
                    describe_result(call, partition, Err(PartitionError::NotLeader), &mut hints)
                }
                Pending::Submitted { partition, doubtful, answer } => {
                    match tokio::time::timeout_at(deadline, answer).await {
                        // A shard that is gone is one whose directory has failed.
                        Ok(result) => {
                            let mut result = result.unwrap_or(Err(PartitionError::Storage));
                            if doubtful || call.node.shards.is_doubtful() {
                                result = result.map_err(PartitionError::of_doubtful_leader);
                            }
                            describe_result(call, partition, result, &mut hints)
                        }
                        Err(_) => failed(ResponseError::RequestTimedOut),
                    }
                }
            };
            refused |= response.error_code != 0;
            partitions.push(response.with_index(index));
        }
        responses.push(
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_topic_id(topic.id)
                .with_partition_responses(partitions),
        );
    }
    if acks == AckLevel::None {
        return if refused { None } else { Some(Chunks::new()) };
    }
    let endpoints = hints.endpoints().map(|(leader, host, port)| {
        NodeEndpoint::default().with_node_id(leader).with_host(host).with_port(port)
    });
    let response =
        ProduceResponse::default().with_responses(responses).with_node_endpoints(endpoints.collect());
    call.encode::<ProduceRequest>(&response)
}

fn failed(error: ResponseError) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_error_code(error.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
}

fn describe_refusal(call: &Call, refusal: &Refusal) -> PartitionProduceResponse {
    let error = match refusal {
        Refusal::Code(code) => return failed(*code),
        Refusal::Batch(error) => error,
    };
    let response = failed(error.code());
    if call.version < RECORD_ERRORS_FROM {
        return response;
    }
    let records = error.record_errors().iter().map(|record| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(record.batch_index)
            .with_batch_index_error_message(Some(StrBytes::from_string(record.message.clone())))
    });
    response
        .with_record_errors(records.collect())
        .with_error_message(Some(StrBytes::from_string(error.to_string())))
}

fn describe_result(
    call: &Call,
    partition: TopicPartition,
    result: Result<Produced, PartitionError>,
    hints: &mut LeaderHints<'_>,
) -> PartitionProduceResponse {
    match result {
        Ok(produced) => PartitionProduceResponse::default()
            .with_base_offset(produced.base_offset.0)
            .with_log_append_time_ms(produced.log_append_time.unwrap_or(-1))
            .with_log_start_offset(produced.log_start.0),
        Err(error) => {
            let mut response = failed(error_code::of_partition_error(&error));
            if call.version >= RECORD_ERRORS_FROM {
                response.error_message = Some(StrBytes::from_string(error.to_string()));
            }
            if error == PartitionError::NotLeader
                && call.version >= LEADER_HINTS_FROM
                && let Some((leader, epoch)) = hints.of(partition)
            {
                response.current_leader =
                    LeaderIdAndEpoch::default().with_leader_id(leader).with_leader_epoch(epoch.0);
            }
            response
        }
    }
}

fn refuse_all(call: &Call, request: &ProduceRequest, error: ResponseError) -> Reply {
    if request.acks == 0 {
        return Reply::Close("a produce with acks=0 was refused");
    }
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|data| failed(error).with_index(data.index));
        TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partition_responses(partitions.collect())
    });
    call.answer::<ProduceRequest>(&ProduceResponse::default().with_responses(topics.collect()))
}

#[cfg(test)]
mod tests {
    use ottla_core::ids::ProducerId;
    use ottla_core::log::SequenceError;
    use ottla_core::time::Monotonic;
    use ottla_wire::batch::BatchBuilder;
    use ottla_wire::batch::compression::Compression;

    use super::*;
    use crate::api::Scope;
    use crate::api::authorize::Authorizer;
    use crate::api::tests::rig::{PRESENT, body_of, call, node, read};

    /// One partition answered, one that never is.
    fn half_answered() -> (Vec<PendingTopic>, oneshot::Sender<Result<Produced, PartitionError>>) {
        let partition =
            |index| TopicPartition { topic_id: TopicId(PRESENT.id), partition: PartitionIndex(index) };
        let (now, answered) = oneshot::channel();
        let (never, waits) = oneshot::channel();
        now.send(Err(PartitionError::NotLeader)).expect("the receiver is there");
        let submitted = |index, answer| {
            (index, Pending::Submitted { partition: partition(index), doubtful: false, answer })
        };
        let partitions = vec![submitted(0, answered), submitted(1, waits)];
        let topic = PendingTopic { name: PRESENT.topic(), id: PRESENT.id, partitions };
        (vec![topic], never)
    }

    #[tokio::test]
    async fn a_leader_that_may_have_been_replaced_does_not_say_what_a_producer_has_not_sent() {
        const NOT_LEADER: i16 = 6;
        const OUT_OF_ORDER: i16 = 45;
        let node = node(Authorizer::AllowAll);
        let call = call(&node, Scope::Broker, ottla_wire::messages::ApiKey::Produce as i16, 9);
        for (was_doubtful, session_ends, code) in
            [(false, u64::MAX, OUT_OF_ORDER), (true, u64::MAX, NOT_LEADER), (false, 0, NOT_LEADER)]
        {
            node.shards.session_ends(Monotonic(session_ends));
            let (answer, answered) = oneshot::channel();
            let missed = SequenceError::OutOfOrder { id: ProducerId(1), expected: 0, found: 7 };
            answer.send(Err(missed.into())).expect("it is waited for");
            let partition = TopicPartition { topic_id: TopicId(PRESENT.id), partition: PartitionIndex(0) };
            let pending = Pending::Submitted { partition, doubtful: was_doubtful, answer: answered };
            let topic =
                PendingTopic { name: PRESENT.topic(), id: PRESENT.id, partitions: vec![(0, pending)] };
            let deadline = Instant::now() + Duration::from_secs(1);
            let chunks = finish(&call, AckLevel::All, deadline, vec![topic]).await.expect("an answer");
            assert_eq!(codes_of(&chunks), [code], "{was_doubtful} {session_ends}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_acknowledged_in_time_is_told_so() {
        let node = node(Authorizer::AllowAll);
        let call = call(&node, Scope::Broker, ottla_wire::messages::ApiKey::Produce as i16, 9);
        let (topics, _never) = half_answered();
        let wait = timeout(&ProduceRequest::default().with_timeout_ms(1_500));
        let began = Instant::now();
        let chunks = finish(&call, AckLevel::All, began + wait, topics).await.expect("a reply");
        assert_eq!(began.elapsed(), Duration::from_millis(1_500));
        assert_eq!(codes_of(&chunks), [6, 7]);
    }

    /// The error codes of the partitions of the first topic, in a reply of version 9.
    fn codes_of(chunks: &Chunks) -> Vec<i16> {
        let frame: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        // Length, correlation id, and no tags.
        let response = read::<ProduceRequest>(9, Bytes::from(frame).slice(9..));
        response.responses[0].partition_responses.iter().map(|one| one.error_code).collect()
    }

    fn batch(compression: Compression, value: &[u8]) -> Bytes {
        let builder = BatchBuilder::new().compression(compression).record(0, None, Some(value));
        builder.build().expect("a batch").0.freeze()
    }

    #[tokio::test]
    async fn batches_that_take_long_to_validate_leave_the_runtime_and_come_to_the_same() {
        let node = node(Authorizer::AllowAll);
        let plain = batch(Compression::None, b"v");
        let long = batch(Compression::None, &[0; INLINE_BYTES_MAX]);
        let zstd = Compression::of(Codec::Zstd);
        for (records, is_staged) in [(plain, false), (long, true), (batch(zstd, b"v"), true)] {
            let call = call(&node, Scope::Broker, ottla_wire::messages::ApiKey::Produce as i16, 9);
            let data = PartitionProduceData::default().with_records(Some(records));
            let topic =
                TopicProduceData::default().with_name(PRESENT.topic()).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
            let reply = match (serve(call, body_of(9, &request)).expect("a request"), is_staged) {
                (Reply::Later(later), false) => later.await,
                (Reply::Staged(staged), true) => staged.await.await,
                _ => panic!("staged: {is_staged}"),
            };
            let codes = codes_of(&reply.expect("a reply"));
            assert_eq!(codes, [ResponseError::NotLeaderOrFollower.code()], "there is no shard");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_for_others_is_a_wait_for_the_own_disk() {
        for ms in [0, -1] {
            assert_eq!(timeout(&ProduceRequest::default().with_timeout_ms(ms)), TIMEOUT_MIN);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_produce_that_wants_no_answer_closes_when_its_time_is_over() {
        let node = node(Authorizer::AllowAll);
        let call = call(&node, Scope::Broker, ottla_wire::messages::ApiKey::Produce as i16, 9);
        let (topics, _never) = half_answered();
        assert!(finish(&call, AckLevel::None, Instant::now() + TIMEOUT_MIN, topics).await.is_none());
    }
}
