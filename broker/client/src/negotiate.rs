//! Learning which versions a node speaks.
//!
//! We ask in the newest version of ApiVersions we know. A node that does not know
//! it answers in version 0 with UNSUPPORTED_VERSION and the range it does know; we
//! then ask once more inside that range.

use bytes::{Bytes, BytesMut};
use ottla_wire::error::{self, DecodeError, ErrorCode};
use ottla_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_wire::protocol::{Encodable, Request, StrBytes, VersionRange};
use ottla_wire::{response, version};

use crate::ClientError;
use crate::connection::Wire;

const KEY: i16 = ApiVersionsRequest::KEY;

/// Asks a node for its versions.
pub(crate) async fn versions(wire: &Wire) -> Result<ApiVersionsResponse, ClientError> {
    let ours = version::supported(KEY).unwrap_or(VersionRange { min: 0, max: 0 });
    let first = ask(wire, ours.max).await?;
    let Some(code) = error::from_code(first.error_code) else {
        return Ok(first);
    };
    if code != ErrorCode::UnsupportedVersion {
        return Err(refused(wire, code));
    }
    // A node too old to say its range knows version 0.
    let theirs = first.api_keys.iter().find(|api| api.api_key == KEY);
    let again = theirs.map_or(0, |api| api.max_version.clamp(ours.min, ours.max));
    let second = ask(wire, again).await?;
    match error::from_code(second.error_code) {
        None => Ok(second),
        Some(code) => Err(refused(wire, code)),
    }
}

async fn ask(wire: &Wire, api_version: i16) -> Result<ApiVersionsResponse, ClientError> {
    let mut request = ApiVersionsRequest::default();
    if api_version >= 3 {
        request.client_software_name = StrBytes::from_static_str("ottla");
        request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
    }
    let mut body = BytesMut::new();
    request.encode(&mut body, api_version).map_err(|source| ClientError::Encode {
        address: wire.address().clone(),
        key: KEY,
        source: error::EncodeError::Body { key: KEY, version: api_version, source: source.into() },
    })?;
    let answer = wire.raw(KEY, api_version, &body, wire.request_timeout()).await?;
    read(api_version, answer).map_err(|source| wire.decode_error(KEY, source))
}

/// Every version starts with the error code, and this error is always written in version 0.
fn read(api_version: i16, answer: Bytes) -> Result<ApiVersionsResponse, DecodeError> {
    let unsupported = ErrorCode::UnsupportedVersion.code().to_be_bytes();
    let written_in = if answer.starts_with(&unsupported) { 0 } else { api_version };
    response::decode_body::<ApiVersionsRequest>(written_in, answer)
}

fn refused(wire: &Wire, code: ErrorCode) -> ClientError {
    ClientError::Negotiation { address: wire.address().clone(), code }
}
