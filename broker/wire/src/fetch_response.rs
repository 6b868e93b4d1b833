//! Fetch responses, written without copying records.
//!
//! The generated encoder copies every record into its output. A broker's busiest
//! answer is worth more care: here the fields are written into one buffer and the
//! records are handed back as the slices they came as, in between. What comes out,
//! put end to end, is the same frame byte for byte (a test compares the two in
//! every version).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData, SnapshotId,
};
use kafka_protocol::messages::{ApiKey, FetchRequest};
use kafka_protocol::protocol::{Encodable, Request};

use crate::error::EncodeError;
use crate::frame::LENGTH_BYTES;
use crate::{response, varint, version};

/// From here on arrays, strings and records have compact lengths and structs tags.
const FLEXIBLE: i16 = 12;

/// Records shorter than this are copied after all: one more piece costs the socket
/// more than so few bytes do.
const COPY_BELOW_BYTES: usize = 512;

/// Writes a Fetch response as a whole frame, length included, in pieces to be sent
/// in order.
///
/// Fields that `api_version` does not have are left out, as are unknown tagged
/// fields, which a broker has no reason to set.
///
/// # Errors
/// If the version does not exist or a length does not fit its field.
pub fn encode(
    api_version: i16,
    correlation_id: i32,
    fetch: &FetchResponse,
) -> Result<Vec<Bytes>, EncodeError> {
    let unsupported = EncodeError::UnsupportedVersion { key: FetchRequest::KEY, version: api_version };
    let range = version::supported(FetchRequest::KEY);
    if !range.is_some_and(|range| (range.min..=range.max).contains(&api_version)) {
        return Err(unsupported);
    }
    let partitions: usize = fetch.responses.iter().map(|topic| topic.partitions.len()).sum();
    let size_hint = 64 + fetch.responses.len() * 32 + partitions * 64;
    let fields = response::start(ApiKey::Fetch as i16, api_version, correlation_id, size_hint)?;
    let mut writer = Writer { version: api_version, fields, records: Vec::with_capacity(partitions) };
    writer.put_response(fetch)?;
    writer.finish()
}

/// Records, and how many bytes of fields stand before them.
struct Placed {
    after: usize,
    records: Bytes,
}

struct Writer {
    version: i16,
    fields: BytesMut,
    records: Vec<Placed>,
}

impl Writer {
    fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn put_response(&mut self, fetch: &FetchResponse) -> Result<(), EncodeError> {
        self.fields.put_i32(fetch.throttle_time_ms);
        if self.version >= 7 {
            self.fields.put_i16(fetch.error_code);
            self.fields.put_i32(fetch.session_id);
        }
        self.put_count(fetch.responses.len())?;
        fetch.responses.iter().try_for_each(|topic| self.put_topic(topic))?;
        if !self.flexible() {
            return Ok(());
        }
        if self.version < 16 || fetch.node_endpoints.is_empty() {
            self.fields.put_u8(0);
            return Ok(());
        }
        let mut endpoints = BytesMut::new();
        put_compact_length(&mut endpoints, "node endpoints", fetch.node_endpoints.len())?;
        for endpoint in &fetch.node_endpoints {
            put_small(endpoint, self.version, &mut endpoints)?;
        }
        self.fields.put_u8(1);
        self.put_tag(0, &endpoints)
    }

    fn put_topic(&mut self, topic: &FetchableTopicResponse) -> Result<(), EncodeError> {
        if self.version >= 13 {
            self.fields.put_slice(topic.topic_id.as_bytes());
        } else if self.flexible() {
            put_compact_length(&mut self.fields, "topic name", topic.topic.len())?;
            self.fields.put_slice(topic.topic.as_bytes());
        } else {
            let length =
                i16::try_from(topic.topic.len()).map_err(|_| too_long("topic name", topic.topic.len()))?;
            self.fields.put_i16(length);
            self.fields.put_slice(topic.topic.as_bytes());
        }
        self.put_count(topic.partitions.len())?;
        topic.partitions.iter().try_for_each(|partition| self.put_partition(partition))?;
        if self.flexible() {
            self.fields.put_u8(0);
        }
        Ok(())
    }

    fn put_partition(&mut self, partition: &PartitionData) -> Result<(), EncodeError> {
        self.fields.put_i32(partition.partition_index);
        self.fields.put_i16(partition.error_code);
        self.fields.put_i64(partition.high_watermark);
        self.fields.put_i64(partition.last_stable_offset);
        if self.version >= 5 {
            self.fields.put_i64(partition.log_start_offset);
        }
        self.put_aborted(partition.aborted_transactions.as_deref())?;
        if self.version >= 11 {
            self.fields.put_i32(partition.preferred_read_replica.0);
        }
        self.put_records(partition.records.as_ref())?;
        if self.flexible() {
            self.put_partition_tags(partition)?;
        }
        Ok(())
    }

    fn put_aborted(&mut self, aborted: Option<&[AbortedTransaction]>) -> Result<(), EncodeError> {
        let Some(aborted) = aborted else {
            if self.flexible() {
                self.fields.put_u8(0);
            } else {
                self.fields.put_i32(-1);
            }
            return Ok(());
        };
        self.put_count(aborted.len())?;
        aborted.iter().try_for_each(|one| put_small(one, self.version, &mut self.fields))
    }

    fn put_records(&mut self, records: Option<&Bytes>) -> Result<(), EncodeError> {
        let Some(records) = records else {
            if self.flexible() {
                self.fields.put_u8(0);
            } else {
                self.fields.put_i32(-1);
            }
            return Ok(());
        };
        if self.flexible() {
            put_compact_length(&mut self.fields, "records", records.len())?;
        } else {
            let length = i32::try_from(records.len()).map_err(|_| too_long("records", records.len()))?;
            self.fields.put_i32(length);
        }
        if records.len() < COPY_BELOW_BYTES {
            self.fields.put_slice(records);
        } else {
            self.records.push(Placed { after: self.fields.len(), records: records.clone() });
        }
        Ok(())
    }

    fn put_partition_tags(&mut self, partition: &PartitionData) -> Result<(), EncodeError> {
        let diverging = partition.diverging_epoch != EpochEndOffset::default();
        let leader = partition.current_leader != LeaderIdAndEpoch::default();
        let snapshot = partition.snapshot_id != SnapshotId::default();
        self.fields.put_u8(u8::from(diverging) + u8::from(leader) + u8::from(snapshot));
        let mut scratch = BytesMut::new();
        if diverging {
            put_small(&partition.diverging_epoch, self.version, &mut scratch)?;
            self.put_tag(0, &scratch)?;
            scratch.clear();
        }
        if leader {
            put_small(&partition.current_leader, self.version, &mut scratch)?;
            self.put_tag(1, &scratch)?;
            scratch.clear();
        }
        if snapshot {
            put_small(&partition.snapshot_id, self.version, &mut scratch)?;
            self.put_tag(2, &scratch)?;
        }
        Ok(())
    }

    fn put_tag(&mut self, tag: u32, value: &[u8]) -> Result<(), EncodeError> {
        let length = u32::try_from(value.len()).map_err(|_| too_long("tagged field", value.len()))?;
        varint::put_u32(&mut self.fields, tag);
        varint::put_u32(&mut self.fields, length);
        self.fields.put_slice(value);
        Ok(())
    }

    fn put_count(&mut self, count: usize) -> Result<(), EncodeError> {
        if self.flexible() {
            return put_compact_length(&mut self.fields, "array", count);
        }
        let count = i32::try_from(count).map_err(|_| too_long("array", count))?;
        self.fields.put_i32(count);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Bytes>, EncodeError> {
        let records: usize = self.records.iter().map(|placed| placed.records.len()).sum();
        let length = self.fields.len() - LENGTH_BYTES + records;
        let prefix = i32::try_from(length).map_err(|_| too_long("frame", length))?;
        self.fields[..LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
        let fields = self.fields.freeze();
        let mut pieces = Vec::with_capacity(self.records.len() * 2 + 1);
        let mut written = 0;
        for placed in self.records {
            if placed.after > written {
                pieces.push(fields.slice(written..placed.after));
            }
            written = placed.after;
            pieces.push(placed.records);
        }
        if written < fields.len() {
            pieces.push(fields.slice(written..));
        }
        Ok(pieces)
    }
}

/// Length + 1: zero is null.
fn put_compact_length(out: &mut BytesMut, what: &'static str, length: usize) -> Result<(), EncodeError> {
    let plus_one = u32::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(1))
        .ok_or_else(|| too_long(what, length))?;
    varint::put_u32(out, plus_one);
    Ok(())
}

/// Structs that hold no records are left to the generated encoder.
fn put_small<T: Encodable>(value: &T, version: i16, out: &mut BytesMut) -> Result<(), EncodeError> {
    value.encode(out, version).map_err(|error| EncodeError::Body {
        key: FetchRequest::KEY,
        version,
        source: error.into(),
    })
}

const fn too_long(what: &'static str, length: usize) -> EncodeError {
    EncodeError::TooLong { what, length }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::fetch_response::NodeEndpoint;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn records() -> impl Strategy<Value = Option<Bytes>> {
        let lengths = prop_oneof![Just(0usize), 1..COPY_BELOW_BYTES, COPY_BELOW_BYTES..3000];
        let bytes = (lengths, any::<u8>()).prop_map(|(length, fill)| Bytes::from(vec![fill; length]));
        prop::option::of(bytes)
    }

    prop_compose! {
        fn partition(version: i16)(
            ids in any::<(i32, i16, i64, i64, i64)>(),
            records in records(),
            aborted in prop::option::of(prop::collection::vec(any::<(i64, i64)>(), 0..3)),
            replica in any::<i32>(),
            diverging in prop::option::of(any::<(i32, i64)>()),
            leader in prop::option::of(any::<(i32, i32)>()),
            snapshot in prop::option::of(any::<(i64, i32)>()),
        ) -> PartitionData {
            let aborted = aborted.map(|list| list.into_iter().map(|(producer, first)| {
                AbortedTransaction::default().with_producer_id(producer.into()).with_first_offset(first)
            }).collect());
            let mut data = PartitionData::default()
                .with_partition_index(ids.0)
                .with_error_code(ids.1)
                .with_high_watermark(ids.2)
                .with_last_stable_offset(ids.3)
                .with_log_start_offset(ids.4)
                .with_aborted_transactions(aborted)
                .with_records(records);
            if version >= 11 {
                data.preferred_read_replica = replica.into();
            }
            if version >= 12 {
                if let Some((epoch, end)) = diverging {
                    data.diverging_epoch = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
                }
                if let Some((id, epoch)) = leader {
                    data.current_leader =
                        LeaderIdAndEpoch::default().with_leader_id(id.into()).with_leader_epoch(epoch);
                }
                if let Some((end, epoch)) = snapshot {
                    data.snapshot_id = SnapshotId::default().with_end_offset(end).with_epoch(epoch);
                }
            }
            data
        }
    }

    prop_compose! {
        fn response(version: i16)(
            top in any::<(i32, i16, i32)>(),
            topics in prop::collection::vec(
                ("[a-z]{0,20}", any::<u128>(), prop::collection::vec(partition(version), 0..4)), 0..4),
            endpoints in prop::collection::vec(("[a-z.]{0,20}", any::<(i32, i32)>(), any::<bool>()), 0..3),
        ) -> FetchResponse {
            let topics = topics.into_iter().map(|(name, id, partitions)| {
                let topic = FetchableTopicResponse::default().with_partitions(partitions);
                if version >= 13 {
                    topic.with_topic_id(Uuid::from_u128(id))
                } else {
                    topic.with_topic(kafka_protocol::messages::TopicName(name.into()))
                }
            }).collect();
            let mut fetch = FetchResponse::default().with_throttle_time_ms(top.0).with_responses(topics);
            if version >= 7 {
                fetch = fetch.with_error_code(top.1).with_session_id(top.2);
            }
            if version >= 16 {
                fetch.node_endpoints = endpoints.into_iter().map(|(host, (node, port), rack)| {
                    NodeEndpoint::default()
                        .with_node_id(node.into())
                        .with_host(host.into())
                        .with_port(port)
                        .with_rack(rack.then(|| "rack".into()))
                }).collect();
            }
            fetch
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn pieces_put_end_to_end_equal_the_generated_encoding(
            (version, fetch) in (4i16..=18).prop_flat_map(|version| (Just(version), response(version))),
            correlation_id in any::<i32>(),
        ) {
            let expected = response::encode::<FetchRequest>(version, correlation_id, &fetch).unwrap();
            let pieces = encode(version, correlation_id, &fetch).unwrap();
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), expected);
        }
    }

    #[test]
    fn every_version_is_written_and_no_other() {
        let partition = PartitionData::default().with_records(Some(Bytes::from(vec![7; 4096])));
        let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
        let fetch = FetchResponse::default().with_responses(vec![topic]);
        for version in 4..=18 {
            let expected = response::encode::<FetchRequest>(version, 3, &fetch).unwrap();
            assert_eq!(encode(version, 3, &fetch).unwrap().concat(), expected, "version {version}");
        }
        assert!(encode(3, 3, &fetch).is_err() && encode(19, 3, &fetch).is_err());
    }

    #[test]
    fn records_are_handed_on_not_copied() {
        let records = Bytes::from(vec![7; 4096]);
        let partition = PartitionData::default().with_records(Some(records.clone()));
        let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
        let fetch = FetchResponse::default().with_responses(vec![topic]);
        let pieces = encode(18, 3, &fetch).unwrap();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].as_ptr(), records.as_ptr());
    }
}
