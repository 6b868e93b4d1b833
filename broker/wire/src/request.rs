//! Requests: header and body.
//!
//! Reading is in two steps, because the header says how to read the body and
//! because a broker decides between them whether it serves the request at all:
//! [`RequestHeader::decode`] takes the header off a frame's body, [`decode_body`]
//! reads the rest as the type the key names. Strings and records stay slices of
//! the frame.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

use crate::error::{DecodeError, EncodeError};
use crate::frame::LENGTH_BYTES;
use crate::guard::{self, Direction};
use crate::private::PrivateKey;
use crate::{varint, version};

/// What stands before every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which request follows.
    pub api_key: i16,
    /// In which version it is written.
    pub api_version: i16,
    /// Returned in the response, so that the client can match the two.
    pub correlation_id: i32,
    /// What the client calls itself; empty if it sent null.
    pub client_id: StrBytes,
}

impl RequestHeader {
    /// Takes the header off the front of a frame's body.
    ///
    /// The version need not be one that exists: whether to answer an ApiVersions
    /// request of an unknown version, or to close the connection for any other, is
    /// the caller's decision, taken with [`version::supported`].
    ///
    /// # Errors
    /// If the key is unknown, or if the bytes end inside the header or contradict
    /// themselves.
    pub fn decode(frame: &mut Bytes) -> Result<Self, DecodeError> {
        if frame.len() < 8 {
            return Err(DecodeError::Truncated { what: "request header" });
        }
        let api_key = frame.get_i16();
        let api_version = frame.get_i16();
        let correlation_id = frame.get_i32();
        let header_version =
            version::request_header(api_key, api_version).ok_or(DecodeError::UnknownKey { key: api_key })?;
        // Nobody can say how a request from the future goes on, and for ApiVersions
        // the answer must not depend on it.
        let lenient = api_key == ApiKey::ApiVersions as i16
            && version::supported(api_key).is_some_and(|range| api_version > range.max);
        let rest = decode_client_id(frame).and_then(|client_id| {
            if header_version >= 2 {
                skip_tagged_fields(frame)?;
            }
            Ok(client_id)
        });
        let client_id = match rest {
            Ok(client_id) => client_id,
            Err(_) if lenient => StrBytes::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let header_version = version::request_header(self.api_key, self.api_version)
            .ok_or(EncodeError::UnsupportedVersion { key: self.api_key, version: self.api_version })?;
        let length = i16::try_from(self.client_id.len())
            .map_err(|_| EncodeError::TooLong { what: "client id", length: self.client_id.len() })?;
        out.put_i16(self.api_key);
        out.put_i16(self.api_version);
        out.put_i32(self.correlation_id);
        out.put_i16(length);
        out.put_slice(self.client_id.as_bytes());
        if header_version >= 2 {
            out.put_u8(0);
        }
        Ok(())
    }
}

fn decode_client_id(frame: &mut Bytes) -> Result<StrBytes, DecodeError> {
    let what = "client id";
    let length = frame.try_get_i16().map_err(|_| DecodeError::Truncated { what })?;
    if length == -1 {
        return Ok(StrBytes::new());
    }
    let length = usize::try_from(length).map_err(|_| DecodeError::Malformed { what })?;
    if frame.len() < length {
        return Err(DecodeError::Truncated { what });
    }
    StrBytes::from_utf8(frame.split_to(length)).map_err(|_| DecodeError::Malformed { what })
}

/// Skips a tag buffer: a count, then that many (tag, length, bytes).
pub(crate) fn skip_tagged_fields(bytes: &mut Bytes) -> Result<(), DecodeError> {
    let what = "tagged fields";
    let unsigned = |bytes: &mut Bytes| {
        let (value, length) = varint::read_u32(bytes).ok_or(DecodeError::Malformed { what })?;
        bytes.advance(length);
        Ok(value)
    };
    let count = unsigned(bytes)?;
    for _ in 0..count {
        let _tag = unsigned(bytes)?;
        let length = unsigned(bytes)? as usize;
        if bytes.len() < length {
            return Err(DecodeError::Truncated { what });
        }
        bytes.advance(length);
    }
    Ok(())
}

/// Reads the body of a request as the type `R`.
///
/// # Errors
/// If the version does not exist, the bytes are not such a request, or no schema guards
/// the message. Bytes that follow a request of Kafka's are let be; one of our own is
/// refused with them.
pub fn decode_body<R: Request>(api_version: i16, body: Bytes) -> Result<R, DecodeError> {
    decode_message::<R>(Direction::Request, R::KEY, api_version, body)
}

/// Reads a whole message of a key and version.
pub(crate) fn decode_message<M: Decodable>(
    direction: Direction,
    key: i16,
    api_version: i16,
    mut body: Bytes,
) -> Result<M, DecodeError> {
    if !version::supported(key).is_some_and(|range| (range.min..=range.max).contains(&api_version)) {
        return Err(DecodeError::UnsupportedVersion { key, version: api_version });
    }
    let encoding = version::encoding_of(key, api_version);
    // Private messages are decoded by our own code, which believes no count.
    let is_private = PrivateKey::from_code(key).is_some();
    if !is_private {
        guard::check(direction, key, encoding, &body)?;
    }
    let message = M::decode(&mut body, encoding).map_err(|error| DecodeError::Body {
        key,
        version: api_version,
        source: error.into(),
    })?;
    // Kafka lets be what follows a request.
    let is_refused = is_private || direction == Direction::Response;
    if is_refused && body.has_remaining() {
        return Err(DecodeError::TrailingBytes { count: body.remaining() });
    }
    Ok(message)
}

/// Writes a request as a whole frame, length included.
///
/// # Errors
/// If the version does not exist or cannot carry what the request says.
pub fn encode<R: Request>(
    api_version: i16,
    correlation_id: i32,
    client_id: &StrBytes,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let unsupported = || EncodeError::UnsupportedVersion { key: R::KEY, version: api_version };
    let range = version::supported(R::KEY).ok_or_else(unsupported)?;
    if !(range.min..=range.max).contains(&api_version) {
        return Err(unsupported());
    }
    let header = RequestHeader { api_key: R::KEY, api_version, correlation_id, client_id: client_id.clone() };
    let mut out = start_frame(&header)?;
    put_message(R::KEY, api_version, request, &mut out)?;
    finish_frame(out)
}

/// Writes the body of a request alone, to be sent on by another node.
///
/// # Errors
/// If the version does not exist or cannot carry what the request says.
pub fn encode_body<R: Request>(api_version: i16, request: &R) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    put_message(R::KEY, api_version, request, &mut out)?;
    Ok(out.freeze())
}

/// Writes a request whose body is already encoded as a whole frame.
///
/// # Errors
/// If the key is unknown or the frame is too long.
pub fn encode_raw(header: &RequestHeader, body: &[u8]) -> Result<Bytes, EncodeError> {
    let mut out = start_frame(header)?;
    out.extend_from_slice(body);
    finish_frame(out)
}

fn start_frame(header: &RequestHeader) -> Result<BytesMut, EncodeError> {
    let mut out = BytesMut::with_capacity(256);
    out.put_i32(0);
    header.encode(&mut out)?;
    Ok(out)
}

/// Appends a message in the encoding of its version.
pub(crate) fn put_message<M: Encodable>(
    key: i16,
    api_version: i16,
    message: &M,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    message.encode(out, version::encoding_of(key, api_version)).map_err(|error| EncodeError::Body {
        key,
        version: api_version,
        source: error.into(),
    })
}

/// Fills in the length that stands at the front of `out`.
pub(crate) fn finish_frame(mut out: BytesMut) -> Result<Bytes, EncodeError> {
    let length = out.len() - LENGTH_BYTES;
    let prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong { what: "frame", length })?;
    out[..LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, ApiVersionsRequest,
        BrokerHeartbeatRequest, BrokerRegistrationRequest, CreatePartitionsRequest, CreateTopicsRequest,
        DeleteTopicsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, DescribeQuorumRequest,
        FetchRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest,
        MetadataRequest, ProduceRequest,
        produce_request::{PartitionProduceData, TopicProduceData},
    };

    use super::*;
    use crate::frame::FrameDecoder;
    use crate::private::FetchMetadataRequest;

    fn body_of(frame: Bytes) -> Bytes {
        let mut buffer = BytesMut::from(&frame[..]);
        let body = FrameDecoder::default().decode(&mut buffer).unwrap().unwrap();
        assert!(buffer.is_empty());
        body
    }

    fn round_trip<R: Request + PartialEq + std::fmt::Debug>(request: &R, version: i16) -> Bytes {
        let client_id = StrBytes::from_static_str("it");
        let whole = body_of(encode(version, 77, &client_id, request).unwrap());
        let mut rest = whole.clone();
        let header = RequestHeader::decode(&mut rest).unwrap();
        assert_eq!(
            header,
            RequestHeader { api_key: R::KEY, api_version: version, correlation_id: 77, client_id }
        );
        assert_eq!(&decode_body::<R>(version, rest).unwrap(), request);
        whole
    }

    #[test]
    fn requests_survive_in_every_version() {
        for version in 0..=4 {
            round_trip(&ApiVersionsRequest::default(), version);
        }
        for version in 1..=11 {
            round_trip(&ListOffsetsRequest::default(), version);
        }
    }

    #[test]
    fn records_stay_slices_of_the_frame() {
        let records = Bytes::from_static(b"sixteen byte rec");
        let partition = PartitionProduceData::default().with_records(Some(records));
        let topic = TopicProduceData::default().with_partition_data(vec![partition]);
        let request = ProduceRequest::default().with_topic_data(vec![topic]);
        let whole = round_trip(&request, 9);
        let mut rest = whole.clone();
        RequestHeader::decode(&mut rest).unwrap();
        let read: ProduceRequest = decode_body(9, rest).unwrap();
        let records = read.topic_data[0].partition_data[0].records.as_ref().unwrap();
        let frame = whole.as_ptr_range();
        assert!(frame.contains(&records.as_ptr()), "records were copied out of the frame");
    }

    #[test]
    fn a_null_client_id_reads_as_empty() {
        let mut frame = Bytes::from_static(&[0, 3, 0, 1, 0, 0, 0, 5, 0xff, 0xff]);
        let header = RequestHeader::decode(&mut frame).unwrap();
        assert_eq!((header.client_id.as_str(), header.correlation_id), ("", 5));
        assert!(frame.is_empty());
    }

    #[test]
    fn an_api_versions_request_from_the_future_still_has_a_correlation_id() {
        let mut frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 5, 0x70]);
        assert_eq!(RequestHeader::decode(&mut frame).unwrap().correlation_id, 5);
        let mut known = Bytes::from_static(&[0, 18, 0, 4, 0, 0, 0, 5, 0x70]);
        assert!(RequestHeader::decode(&mut known).is_err());
    }

    #[test]
    fn broken_headers_are_refused() {
        let cases: [(&[u8], &str); 6] = [
            (&[], "message ends early while reading request header"),
            (&[0, 4, 0, 0, 0, 0, 0, 0, 0, 0], "unknown api key 4"),
            (&[0, 3, 0, 1, 0, 0, 0, 5, 0], "message ends early while reading client id"),
            (&[0, 3, 0, 1, 0, 0, 0, 5, 0xff, 0xfe], "malformed client id"),
            (&[0, 3, 0, 1, 0, 0, 0, 5, 0, 1, 0xff], "malformed client id"),
            (&[0, 3, 0, 9, 0, 0, 0, 5, 0, 0, 1, 0, 9], "message ends early while reading tagged fields"),
        ];
        for (bytes, message) in cases {
            let error = RequestHeader::decode(&mut Bytes::from_static(bytes)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn unknown_tags_in_the_header_are_skipped() {
        let mut frame = Bytes::from_static(&[0, 3, 0, 9, 0, 0, 0, 5, 0, 0, 2, 0x90, 0x4e, 1, 7, 3, 0, 42]);
        RequestHeader::decode(&mut frame).unwrap();
        assert_eq!(&frame[..], [42]);
    }

    #[test]
    fn librdkafkas_metadata_request_with_three_bytes_too_many_asks_for_all_topics() {
        // The count of topics as a number of four bytes, where one byte says that there is none.
        let body = Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(decode_body::<MetadataRequest>(13, body).unwrap().topics, None);
    }

    #[test]
    fn bytes_after_a_private_request_and_missing_versions_are_refused() {
        let body = Bytes::from_static(&[0; 1 << 10]);
        let trailing = decode_body::<FetchMetadataRequest>(0, body);
        assert!(matches!(trailing, Err(DecodeError::TrailingBytes { .. })), "{trailing:?}");
        let version = decode_body::<MetadataRequest>(14, Bytes::new());
        assert!(matches!(version, Err(DecodeError::UnsupportedVersion { key: 3, version: 14 })));
        let short = decode_body::<MetadataRequest>(1, Bytes::from_static(&[0, 0]));
        assert!(short.is_err());
    }

    /// The whole way, not only the guard. A count that reached a decoder would be refused
    /// there too, but only after hundreds of gigabytes were asked for, which ends the
    /// process unless the system overcommits without limit: who refuses matters.
    #[test]
    fn a_stated_count_never_decides_an_allocation() {
        fn hostile<R: Request>(version: i16, before: &[u8]) {
            let count: &[u8] = match version::request_header(R::KEY, version).unwrap() {
                1 => &[0x7f, 0xff, 0xff, 0xff],
                _ => &[0xff, 0xff, 0xff, 0xff, 0x0f],
            };
            let body = Bytes::from([before, count].concat());
            let refused = decode_body::<R>(version, body);
            let by_the_guard = matches!(
                refused,
                Err(DecodeError::TooManyElements { .. }
                    | DecodeError::Truncated { .. }
                    | DecodeError::Malformed { .. })
            );
            assert!(by_the_guard, "api key {} version {version}", R::KEY);
        }
        for version in 3..=8 {
            hostile::<ProduceRequest>(version, &[0xff, 0xff, 0, 1, 0, 0, 0, 0]);
        }
        for version in 9..=13 {
            hostile::<ProduceRequest>(version, &[0, 0, 1, 0, 0, 0, 0]);
        }
        for version in 0..=13 {
            hostile::<MetadataRequest>(version, &[]);
        }
        for version in 1..=11 {
            hostile::<ListOffsetsRequest>(version, &[0; 5][..if version == 1 { 4 } else { 5 }]);
        }
        hostile::<FetchRequest>(4, &[0; 17]);
        hostile::<FetchRequest>(12, &[0; 25]);
        hostile::<FetchRequest>(18, &[0; 21]);
        hostile::<CreateTopicsRequest>(7, &[]);
        hostile::<DeleteTopicsRequest>(1, &[]);
        hostile::<DeleteTopicsRequest>(6, &[]);
        hostile::<CreatePartitionsRequest>(3, &[]);
        hostile::<DescribeConfigsRequest>(4, &[]);
        hostile::<IncrementalAlterConfigsRequest>(0, &[]);
        hostile::<AlterPartitionReassignmentsRequest>(1, &[0, 0, 0, 1, 1]);
        hostile::<ListPartitionReassignmentsRequest>(0, &[0, 0, 0, 1]);
        hostile::<AlterReplicaLogDirsRequest>(1, &[]);
        hostile::<AlterReplicaLogDirsRequest>(2, &[]);
        hostile::<DescribeLogDirsRequest>(1, &[]);
        hostile::<DescribeLogDirsRequest>(4, &[]);
        hostile::<DescribeQuorumRequest>(2, &[]);
        hostile::<BrokerRegistrationRequest>(4, &[&[0, 0, 0, 1, 1][..], &[0; 16]].concat());
        hostile::<BrokerHeartbeatRequest>(1, &[&[0; 22][..], &[1, 0, 9]].concat());
        // The header's tag buffer is walked, never sized.
        let mut header = Bytes::from_static(&[0, 3, 0, 9, 0, 0, 0, 5, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(RequestHeader::decode(&mut header).is_err());
    }
}
