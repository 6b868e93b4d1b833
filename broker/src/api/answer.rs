//! From a response to the pieces of its frame.

use bytes::Bytes;
use ottla_wire::error::EncodeError;
use ottla_wire::protocol::Request;
use tracing::error;

use super::{Call, Reply};

/// A whole frame in pieces that are written one after the other, so that records need not be copied.
pub(crate) type Chunks = Vec<Bytes>;

impl Call {
    /// Encodes a response of request `R`. A response that its version cannot carry is a defect of the
    /// handler; the connection is closed, as a wrong reply would confuse the client for longer.
    pub(crate) fn encode<R: Request>(&self, response: &R::Response) -> Option<Chunks> {
        self.checked(
            ottla_wire::response::encode::<R>(self.version, self.correlation_id, response)
                .map(|frame| vec![frame]),
        )
    }

    /// [`Call::encode`] as a reply.
    pub(crate) fn answer<R: Request>(&self, response: &R::Response) -> Reply {
        self.encode::<R>(response).map_or(Reply::Close("the response cannot be encoded"), Reply::Now)
    }

    /// A frame around a body that is already encoded.
    pub(crate) fn encode_raw(&self, body: &Bytes) -> Option<Chunks> {
        let frame = ottla_wire::response::encode_raw(self.key, self.version, self.correlation_id, body);
        self.checked(frame.map(|frame| vec![frame]))
    }

    /// Logs what could not be encoded.
    pub(crate) fn checked(&self, frame: Result<Chunks, EncodeError>) -> Option<Chunks> {
        frame
            .inspect_err(|error| {
                error!(api_key = self.key, api_version = self.version, %error, "response cannot be encoded");
            })
            .ok()
    }
}
