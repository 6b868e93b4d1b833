//! What can go wrong between us and another node. Every error names the node and
//! what was attempted.

use std::time::Duration;

use ottla_wire::error::{DecodeError, EncodeError, ErrorCode};
use ottla_wire::frame::FrameError;
use ottla_wire::messages::ApiKey;
use ottla_wire::private::PrivateKey;

use crate::HostPort;

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host has no address, or nobody answers there.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: HostPort,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection was not ready in time: no TCP connection, or no answer to ApiVersions.
    #[error("no connection to {address} after {after:?}")]
    ConnectTimeout {
        /// Where to.
        address: HostPort,
        /// How long we waited.
        after: Duration,
    },
    /// The node refused to say which versions it speaks.
    #[error("cannot negotiate versions with {address}: {code}")]
    Negotiation {
        /// Which node.
        address: HostPort,
        /// What it answered.
        code: ErrorCode,
    },
    /// The two sides have no version of this request in common.
    #[error("{address} does not speak {} in a version known here", api(*.key))]
    Unsupported {
        /// Which node.
        address: HostPort,
        /// The request.
        key: i16,
    },
    /// The request cannot be written in the version both sides know.
    #[error("cannot write {} for {address}", api(*.key))]
    Encode {
        /// Which node.
        address: HostPort,
        /// The request.
        key: i16,
        /// What the encoder said.
        source: EncodeError,
    },
    /// The response is not one to this request.
    #[error("cannot read the answer of {address} to {}", api(*.key))]
    Decode {
        /// Which node.
        address: HostPort,
        /// The request.
        key: i16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// No answer in time. The connection is closed with it, because answers come in
    /// order and every later one would be stuck behind the missing one.
    #[error("{address} did not answer {} within {after:?}", api(*.key))]
    Timeout {
        /// Which node.
        address: HostPort,
        /// The request.
        key: i16,
        /// How long we waited.
        after: Duration,
    },
    /// The connection ended before the answer came. Whether the request was carried
    /// out is not known.
    #[error("connection to {address} ended before it answered {}: {reason}", api(*.key))]
    Lost {
        /// Which node.
        address: HostPort,
        /// The request.
        key: i16,
        /// Why it ended.
        reason: CloseReason,
    },
    /// No bootstrap address was given.
    #[error("no bootstrap address given")]
    NoAddress,
    /// None of several bootstrap addresses worked.
    #[error("none of {count} bootstrap addresses answers; the last one tried: {last}")]
    NoneAnswers {
        /// How many were tried.
        count: usize,
        /// The error of the last one.
        last: Box<Self>,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloseReason {
    /// The other side closed it.
    #[error("closed by the other side")]
    ByPeer,
    /// Reading or writing failed.
    #[error("{message}")]
    Io {
        /// The kind of failure, for those who want to tell them apart.
        kind: std::io::ErrorKind,
        /// What the system said.
        message: String,
    },
    /// A frame broke the limit.
    #[error("{0}")]
    Frame(FrameError),
    /// A response came that answers nothing, or not the oldest request.
    #[error("unexpected correlation id {got}")]
    Correlation {
        /// The id that came.
        got: i32,
    },
    /// A frame too short to be a response.
    #[error("response without a header")]
    Header,
    /// Another request on the same connection ran out of time.
    #[error("an earlier request went unanswered")]
    Unanswered,
    /// Our side closed it.
    #[error("closed by this side")]
    ByUs,
}

impl From<std::io::Error> for CloseReason {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return Self::ByPeer;
        }
        Self::Io { kind: error.kind(), message: error.to_string() }
    }
}

/// The name of a request, for people.
fn api(key: i16) -> String {
    match (PrivateKey::from_code(key), ApiKey::try_from(key)) {
        (Some(private), _) => format!("{private:?}"),
        (None, Ok(kafka)) => format!("{kafka:?}"),
        (None, Err(())) => format!("api key {key}"),
    }
}
