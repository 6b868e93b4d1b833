//! A request that is on its way, and its answer.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_wire::protocol::Request;
use ottla_wire::response;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::driver::Shared;
use crate::{ClientError, CloseReason};

/// The answer to a request whose type nobody knows here.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) shared: Arc<Shared>,
    pub(super) key: i16,
    pub(super) api_version: i16,
    pub(super) within: Duration,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Receiver<Bytes>,
}

impl Submitted {
    /// Waits for the body of the answer. Cancel-safe, until it has returned.
    pub(super) async fn answer(&mut self) -> Result<Bytes, ClientError> {
        let Ok(answered) = timeout_at(self.deadline, &mut self.answer).await else {
            self.shared.end.notify_one();
            return Err(self.shared.timeout(self.key, self.within));
        };
        let mut body = answered.map_err(|_| self.shared.lost(self.key))?;
        response::decode_header_rest(self.key, self.api_version, &mut body)
            .map_err(|source| self.shared.decode_error(self.key, source))?;
        Ok(body)
    }
}

/// A request that was written, or will be before any submitted later.
#[derive(Debug)]
pub struct Answer<R> {
    pub(super) submitted: Submitted,
    pub(super) request: PhantomData<fn() -> R>,
}

impl<R: Request> Answer<R> {
    /// Waits for it, once. Cancel-safe: what was not there yet can be waited for again.
    ///
    /// # Errors
    /// If none comes in time, or the connection ends first.
    pub async fn wait(&mut self) -> Result<R::Response, ClientError> {
        let body = self.submitted.answer().await?;
        response::decode_body::<R>(self.submitted.api_version, body)
            .map_err(|source| self.submitted.shared.decode_error(R::KEY, source))
    }
}

impl Shared {
    pub(super) fn timeout(&self, key: i16, after: Duration) -> ClientError {
        ClientError::Timeout { address: self.address.clone(), key, after }
    }

    pub(super) fn lost(&self, key: i16) -> ClientError {
        let reason = self.reason.get().cloned().unwrap_or(CloseReason::ByUs);
        ClientError::Lost { address: self.address.clone(), key, reason }
    }

    pub(super) fn decode_error(&self, key: i16, source: ottla_wire::error::DecodeError) -> ClientError {
        ClientError::Decode { address: self.address.clone(), key, source }
    }
}
