//! From a response to the pieces of its frame.

use bytes::Bytes;
use ottla_wire::error::EncodeError;
use ottla_wire::protocol::Request;
use tracing::error;

use super::{Call, Reply};
use crate::server::memory::Reservation;

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

    /// A reply that may be much larger than its request: it is made when the memory budget has so many bytes for
    /// it, which are to be enough for the response and its frame, and holds what it takes until it is written.
    pub(super) fn answer_within<R: Request>(
        self,
        bytes: usize,
        make: impl FnOnce(&Self) -> R::Response + Send + 'static,
    ) -> Reply
    where
        R::Response: Send,
    {
        Reply::Later(Box::pin(async move {
            let memory = self.node.memory.of(self.context.listener.scope);
            let mut reservation = memory.reserve(bytes).await;
            let response = make(&self);
            let chunks = self.encode::<R>(&response)?;
            reservation.shrink(chunks.iter().map(Bytes::len).sum());
            Some(hold_until_written(chunks, reservation))
        }))
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

/// Bytes of a reply with what they hold of the memory budget: a peer that does not read keeps both.
struct Held {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Gives the reservation back when the last byte has been written, or the connection is gone.
pub(super) fn hold_until_written(mut chunks: Chunks, reservation: Reservation) -> Chunks {
    if let Some(last) = chunks.iter_mut().rfind(|chunk| !chunk.is_empty()) {
        let bytes = std::mem::take(last);
        *last = Bytes::from_owner(Held { bytes, _reservation: reservation });
    }
    chunks
}
