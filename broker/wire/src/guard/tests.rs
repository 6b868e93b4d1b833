//! Messages are made from the schemas and given to the decoders: what one writes the
//! other must read, in every version. Then the same messages are made to lie.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use proptest::prelude::*;

use super::*;
use crate::version;

const KEYS: [ApiKey; 42] = [
    ApiKey::ApiVersions,
    ApiKey::Metadata,
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::InitProducerId,
    ApiKey::AllocateProducerIds,
    ApiKey::DescribeProducers,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::CreatePartitions,
    ApiKey::DescribeConfigs,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DescribeCluster,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::AssignReplicasToDirs,
    ApiKey::DescribeQuorum,
    ApiKey::AlterPartition,
    ApiKey::BrokerRegistration,
    ApiKey::BrokerHeartbeat,
    ApiKey::ElectLeaders,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::UnregisterBroker,
    ApiKey::DescribeTopicPartitions,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
    ApiKey::UpdateRaftVoter,
    ApiKey::UpdateFeatures,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::OffsetDelete,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::DeleteGroups,
];

/// Every message there is a schema for, in every version.
fn every() -> Vec<(Direction, ApiKey, i16)> {
    let mut every = Vec::new();
    for key in KEYS {
        let range = version::supported(key as i16).unwrap();
        for version in range.min..=range.max {
            every.push((Direction::Request, key, version));
            every.push((Direction::Response, key, version));
        }
    }
    every
}

fn schema(direction: Direction, key: ApiKey) -> &'static Message {
    match direction {
        Direction::Request => requests::find(key as i16),
        Direction::Response => responses::find(key as i16),
    }
    .unwrap()
}

/// Writes messages from a schema. Choices come from `entropy`, over and over.
struct Writer<'a> {
    out: BytesMut,
    version: i16,
    flexible: bool,
    entropy: &'a [u8],
    at: usize,
    /// Which array lies about its count, and what it says. Nothing is written after it.
    lie: Option<(usize, u32)>,
    arrays: usize,
    over: bool,
    /// Inside a tagged field: it is only written again if it differs from its default.
    inside_tag: bool,
}

impl<'a> Writer<'a> {
    fn new(message: &Message, version: i16, entropy: &'a [u8], lie: Option<(usize, u32)>) -> Self {
        let flexible = version >= message.flexible_from;
        let out = BytesMut::new();
        let mut writer =
            Self { out, version, flexible, entropy, at: 0, lie, arrays: 0, over: false, inside_tag: false };
        writer.fields(message.fields);
        writer
    }

    fn next(&mut self) -> u8 {
        self.at += 1;
        self.entropy[self.at % self.entropy.len()]
    }

    fn fields(&mut self, fields: &[Field]) {
        for field in fields {
            if self.over {
                return;
            }
            if field.tag.is_none() && field.exists_in(self.version) {
                self.value(&field.kind);
            }
        }
        if !self.flexible || self.over {
            return;
        }
        let version = self.version;
        let known = fields.iter().filter(|field| field.tag.is_some() && field.exists_in(version));
        let known: Vec<&Field> = known.filter(|_| self.next().is_multiple_of(2)).collect();
        let unknown = self.next() % 2;
        varint::put_u32(&mut self.out, known.len() as u32 + u32::from(unknown));
        for field in known {
            let before = self.out.split();
            self.inside_tag = true;
            self.value(&field.kind);
            self.inside_tag = false;
            let value = self.out.split();
            self.out = before;
            varint::put_u32(&mut self.out, field.tag.unwrap());
            varint::put_u32(&mut self.out, value.len() as u32);
            self.out.extend_from_slice(&value);
            if self.over {
                return;
            }
        }
        if unknown == 1 {
            self.out.extend_from_slice(&[0x90, 0x4e, 2, 1, 2]);
        }
    }

    fn length(&mut self, length: u32, narrow: bool) {
        if self.flexible {
            varint::put_u32(&mut self.out, length.wrapping_add(1));
        } else if narrow {
            self.out.put_u16(length as u16);
        } else {
            self.out.put_u32(length);
        }
    }

    fn count(&mut self) -> u32 {
        let honest = u32::from(self.next() % 3);
        let count = match self.lie {
            Some((array, count)) if array == self.arrays => {
                self.over = true;
                count
            }
            Some(_) | None => honest.max(u32::from(self.lie.is_some() || self.inside_tag)),
        };
        self.arrays += 1;
        self.length(count, false);
        if self.over { 0 } else { count }
    }

    fn value(&mut self, kind: &Kind) {
        match kind {
            // Bools must be 0 or 1 to come out as they went in; 1 suits every other field.
            Kind::Fixed(bytes) => self.out.extend_from_slice(&[&vec![0; bytes - 1][..], &[1]].concat()),
            Kind::String | Kind::Bytes => {
                let length = u32::from(self.next() % 5 + u8::from(self.inside_tag));
                self.length(length, matches!(kind, Kind::String));
                self.out.extend(std::iter::repeat_n(b'x', length as usize));
            }
            Kind::Array(element) => {
                for _ in 0..self.count() {
                    self.value(element);
                }
            }
            Kind::Structs(fields) => {
                for _ in 0..self.count() {
                    if !self.over {
                        self.fields(fields);
                    }
                }
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Nullable(fields) => {
                let there = self.lie.is_some() || self.next().is_multiple_of(2);
                self.out.put_i8(if there { 1 } else { -1 });
                if there {
                    self.fields(fields);
                }
            }
        }
    }
}

/// Decodes with the generated code and writes again.
fn reencode(direction: Direction, key: ApiKey, version: i16, bytes: &Bytes) -> (Bytes, usize) {
    let encoding = version::encoding_of(key as i16, version);
    let mut input = bytes.clone();
    let mut out = BytesMut::new();
    match direction {
        Direction::Request => {
            let kind = RequestKind::decode(key, &mut input, encoding).unwrap();
            kind.encode(&mut out, encoding).unwrap();
        }
        Direction::Response => {
            let kind = ResponseKind::decode(key, &mut input, encoding).unwrap();
            kind.encode(&mut out, encoding).unwrap();
        }
    }
    (out.freeze(), input.len())
}

fn run(direction: Direction, key: ApiKey, version: i16, bytes: &[u8]) -> Result<(), DecodeError> {
    check(direction, key as i16, version::encoding_of(key as i16, version), bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn schemas_and_decoders_agree_in_every_version(entropy in prop::collection::vec(any::<u8>(), 64)) {
        for (direction, key, version) in every() {
            let what = format!("{key:?} {direction:?} {version}");
            let bytes = Writer::new(schema(direction, key), version, &entropy, None).out.freeze();
            run(direction, key, version, &bytes).expect(&what);
            let (again, left) = reencode(direction, key, version, &bytes);
            prop_assert_eq!(left, 0, "{}", &what);
            prop_assert_eq!(again, bytes, "{}", &what);
        }
    }

    #[test]
    fn arbitrary_bytes_are_never_decoded_into_a_panic(
        bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), any::<u8>()], 0..80),
    ) {
        for (direction, key, version) in every() {
            if run(direction, key, version, &bytes).is_ok() {
                let encoding = version::encoding_of(key as i16, version);
                let mut input = Bytes::from(bytes.clone());
                // It may still refuse a null or text that is not UTF-8.
                match direction {
                    Direction::Request => drop(RequestKind::decode(key, &mut input, encoding)),
                    Direction::Response => drop(ResponseKind::decode(key, &mut input, encoding)),
                }
            }
        }
    }
}

/// The count of an array is the peer's to state. Every array of every message says,
/// in turn, that it holds as much as can be said, or just more than is there.
#[test]
fn hostile_counts_are_refused_in_every_array_of_every_message() {
    let entropy = [0u8; 1];
    let mut lies = 0;
    for (direction, key, version) in every() {
        let message = schema(direction, key);
        let honest = Writer::new(message, version, &entropy, Some((usize::MAX, 0)));
        for array in 0..honest.arrays {
            for count in [i32::MAX as u32, i32::MAX as u32 - 1, 1 << 24, 1 << 17, 100] {
                let bytes = Writer::new(message, version, &entropy, Some((array, count))).out;
                let refused = run(direction, key, version, &bytes);
                let what = format!("{key:?} {direction:?} {version}, array {array} of {count}");
                assert!(
                    matches!(
                        refused,
                        Err(DecodeError::TooManyElements { .. }
                            | DecodeError::Truncated { .. }
                            | DecodeError::Malformed { .. })
                    ),
                    "{what}: {refused:?}"
                );
                lies += 1;
            }
        }
    }
    assert!(lies > 1_000, "only {lies} lies were told");
}

#[test]
fn every_truncation_is_refused_and_bytes_after_a_response() {
    let entropy = [1u8, 2, 4, 3];
    for (direction, key, version) in every() {
        let bytes = Writer::new(schema(direction, key), version, &entropy, None).out;
        for cut in 0..bytes.len() {
            let refused = run(direction, key, version, &bytes[..cut]);
            assert!(refused.is_err(), "{key:?} {direction:?} {version} cut at {cut} of {}", bytes.len());
        }
        let mut longer = bytes.clone();
        longer.put_u8(0);
        let expected = match direction {
            Direction::Request => Ok(()),
            Direction::Response => Err(DecodeError::TrailingBytes { count: 1 }.to_string()),
        };
        let came = run(direction, key, version, &longer).map_err(|error| error.to_string());
        assert_eq!(came, expected, "{key:?} {direction:?} {version}");
    }
}

#[test]
fn elements_that_are_really_there_are_limited_too() {
    // Metadata 4: names of no length, then a bool.
    let request = |count: u32| {
        let mut bytes = BytesMut::new();
        bytes.put_u32(count);
        bytes.put_bytes(0, count as usize * 2);
        bytes.put_u8(1);
        bytes
    };
    run(Direction::Request, ApiKey::Metadata, 4, &request(REQUEST_ELEMENTS_MAX)).unwrap();
    let refused = run(Direction::Request, ApiKey::Metadata, 4, &request(REQUEST_ELEMENTS_MAX + 1));
    assert!(matches!(refused, Err(DecodeError::TooManyElements { max: REQUEST_ELEMENTS_MAX })));
}

#[test]
fn a_tagged_field_must_fill_its_length() {
    // BrokerHeartbeat 1: broker id, epoch, offset, two bools, then tag 0 with an array of no uuids.
    let heartbeat = |tag: &[u8]| [&[0; 4 + 8 + 8 + 2][..], &[1], tag].concat();
    let check = |tag: &[u8]| run(Direction::Request, ApiKey::BrokerHeartbeat, 1, &heartbeat(tag));
    check(&[0, 1, 1]).unwrap();
    assert!(matches!(check(&[0, 2, 1, 1]), Err(DecodeError::Malformed { what: "offline_log_dirs" })));
    assert!(matches!(check(&[0, 1, 2]), Err(DecodeError::Truncated { .. })));
    let huge = check(&[0, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(huge, Err(DecodeError::TooManyElements { .. })), "{huge:?}");
    check(&[9, 2, 0xff, 0xff]).unwrap();
}

#[test]
fn a_message_without_a_schema_is_refused() {
    let refused = check(Direction::Request, ApiKey::AddOffsetsToTxn as i16, 0, &[]);
    assert!(matches!(refused, Err(DecodeError::NoSchema { key: 25 })));
}
