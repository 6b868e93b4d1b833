//! Responses: header and body, for the side that answers and for the side that asked.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, Request};

use crate::error::{DecodeError, EncodeError};
use crate::guard::Direction;
use crate::request::{decode_message, finish_frame, put_message, skip_tagged_fields};
use crate::version;

/// Writes a response as a whole frame, length included.
///
/// `api_version` is the version of the request that is being answered.
///
/// # Errors
/// If the version does not exist or cannot carry what the response says.
pub fn encode<R: Request>(
    api_version: i16,
    correlation_id: i32,
    response: &R::Response,
) -> Result<Bytes, EncodeError> {
    let mut out = start(R::KEY, api_version, correlation_id, response_size::<R>(api_version, response))?;
    put_message(R::KEY, api_version, response, &mut out)?;
    finish_frame(out)
}

/// Writes a response whose body is already encoded, as one that a controller sent
/// back for a forwarded request.
///
/// # Errors
/// If the key is unknown or the frame is too long.
pub fn encode_raw(
    api_key: i16,
    api_version: i16,
    correlation_id: i32,
    body: &[u8],
) -> Result<Bytes, EncodeError> {
    let mut out = start(api_key, api_version, correlation_id, body.len())?;
    out.extend_from_slice(body);
    finish_frame(out)
}

/// Writes only the body of a response.
///
/// # Errors
/// If the version cannot carry what the response says.
pub fn encode_body<R: Request>(api_version: i16, response: &R::Response) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::with_capacity(response_size::<R>(api_version, response));
    put_message(R::KEY, api_version, response, &mut out)?;
    Ok(out.freeze())
}

fn response_size<R: Request>(api_version: i16, response: &R::Response) -> usize {
    // A response that cannot be sized cannot be written either; the writer says why.
    response.compute_size(version::encoding_of(R::KEY, api_version)).unwrap_or(0)
}

/// A frame with its length left open and its header written.
pub(crate) fn start(
    api_key: i16,
    api_version: i16,
    correlation_id: i32,
    body_bytes: usize,
) -> Result<BytesMut, EncodeError> {
    let header_version = version::response_header(api_key, api_version)
        .ok_or(EncodeError::UnsupportedVersion { key: api_key, version: api_version })?;
    let mut out = BytesMut::with_capacity(body_bytes + 9);
    out.put_i32(0);
    out.put_i32(correlation_id);
    if header_version >= 1 {
        out.put_u8(0);
    }
    Ok(out)
}

/// Takes the correlation id, all that a response starts with in every version, off
/// the front of a frame's body.
///
/// # Errors
/// If the frame is too short to hold one.
pub fn decode_correlation_id(frame: &mut Bytes) -> Result<i32, DecodeError> {
    frame.try_get_i32().map_err(|_| DecodeError::Truncated { what: "response header" })
}

/// Takes what follows the correlation id in the header off the front.
///
/// # Errors
/// If the key is unknown or the tagged fields are malformed.
pub fn decode_header_rest(api_key: i16, api_version: i16, frame: &mut Bytes) -> Result<(), DecodeError> {
    let header_version =
        version::response_header(api_key, api_version).ok_or(DecodeError::UnknownKey { key: api_key })?;
    if header_version >= 1 {
        skip_tagged_fields(frame)?;
    }
    Ok(())
}

/// Reads the body of the response to a request of type `R`.
///
/// # Errors
/// If the version does not exist, the bytes are not such a response, bytes are left
/// over after it, or no schema guards the message.
pub fn decode_body<R: Request>(api_version: i16, body: Bytes) -> Result<R::Response, DecodeError> {
    decode_message::<R::Response>(Direction::Response, R::KEY, api_version, body)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
    };

    use super::*;

    fn read<R: Request>(version: i16, frame: &Bytes) -> (i32, R::Response) {
        let mut body = frame.slice(4..);
        assert_eq!(frame[..4], u32::try_from(body.len()).unwrap().to_be_bytes());
        let correlation_id = decode_correlation_id(&mut body).unwrap();
        decode_header_rest(R::KEY, version, &mut body).unwrap();
        (correlation_id, decode_body::<R>(version, body).unwrap())
    }

    #[test]
    fn responses_survive_in_every_version() {
        for version in 0..=13 {
            let response = MetadataResponse::default();
            let frame = encode::<MetadataRequest>(version, -9, &response).unwrap();
            assert_eq!(read::<MetadataRequest>(version, &frame), (-9, response));
        }
    }

    #[test]
    fn api_versions_has_no_tags_in_its_header() {
        let frame = encode::<ApiVersionsRequest>(3, 1, &ApiVersionsResponse::default()).unwrap();
        // Length, correlation id, then the error code at once.
        assert_eq!(frame[4..10], [0, 0, 0, 1, 0, 0]);
        assert_eq!(read::<ApiVersionsRequest>(3, &frame).0, 1);
    }

    #[test]
    fn a_raw_body_gets_the_same_frame_as_a_typed_one() {
        let response = MetadataResponse::default();
        let body = encode_body::<MetadataRequest>(12, &response).unwrap();
        assert_eq!(
            encode_raw(3, 12, 8, &body).unwrap(),
            encode::<MetadataRequest>(12, 8, &response).unwrap()
        );
    }

    #[test]
    fn a_version_that_does_not_exist_is_an_error() {
        assert!(encode::<MetadataRequest>(99, 0, &MetadataResponse::default()).is_err());
        assert!(encode_raw(4, 0, 0, &[]).is_err());
    }
}
