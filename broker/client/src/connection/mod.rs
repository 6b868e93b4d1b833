//! One connection: requests in, responses out, in order.
//!
//! A task owns the socket (see `driver`). Callers hand it frames over a bounded
//! queue and wait for their own answer; dropping the [`Connection`] ends the task.

mod driver;
mod submitted;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ottla_wire::error::EncodeError;
use ottla_wire::messages::ApiVersionsResponse;
use ottla_wire::protocol::{Request, StrBytes, VersionRange};
use ottla_wire::{request, response, version};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use self::driver::{Outgoing, Shared};
pub use self::submitted::Answer;
use self::submitted::Submitted;
use crate::stream::Stream;
use crate::{ClientError, CloseReason, HostPort, negotiate};

/// Requests that wait to be written. Beyond that, callers wait: the socket is the
/// bottleneck and more buffering would only hide it.
const QUEUE_REQUESTS_MAX: usize = 64;

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// What we call ourselves.
    pub client_id: String,
    /// How long the TCP connection and the negotiation of versions may take together.
    pub connect_timeout: Duration,
    /// How long an answer may take. For requests that wait at the other side on
    /// purpose, use [`Connection::request_within`].
    pub request_timeout: Duration,
    /// Responses above this end the connection.
    pub max_response_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_id: "ottla".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_response_bytes: ottla_wire::frame::MAX_BODY_BYTES_DEFAULT,
        }
    }
}

/// A connection to one node, its versions known.
///
/// Shared by reference: requests of several callers are pipelined.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    versions: ApiVersionsResponse,
}

impl Connection {
    /// Connects and learns which versions the node speaks.
    ///
    /// # Errors
    /// If nobody answers at the address in time, or not in Kafka's protocol.
    pub async fn connect(address: &HostPort, options: &Options) -> Result<Self, ClientError> {
        let deadline = Instant::now() + options.connect_timeout;
        let late =
            |_| ClientError::ConnectTimeout { address: address.clone(), after: options.connect_timeout };
        let stream = timeout_at(deadline, Stream::connect(address))
            .await
            .map_err(late)?
            .map_err(|source| ClientError::Connect { address: address.clone(), source })?;
        let wire = Wire::start(stream, address.clone(), options);
        let versions = timeout_at(deadline, negotiate::versions(&wire)).await.map_err(late)??;
        Ok(Self { wire, versions })
    }

    /// Sends a request in the highest version both sides know and waits for the answer.
    ///
    /// # Errors
    /// If there is no such version, no answer in time, or the connection ends first.
    pub async fn request<R: Request>(&self, request: R) -> Result<R::Response, ClientError> {
        self.request_within(request, self.wire.options.request_timeout).await
    }

    /// As [`Connection::request`], with its own time limit: for requests that the
    /// other side holds back until there is something to say.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub async fn request_within<R: Request>(
        &self,
        request: R,
        within: Duration,
    ) -> Result<R::Response, ClientError> {
        let api_version = self.common_version(R::KEY)?;
        self.wire.typed(api_version, request, within).await
    }

    /// Sends a request and gives its answer to be waited for: requests submitted one after another are
    /// written in that order, none waiting for the answer to the one before.
    ///
    /// # Errors
    /// If there is no version that both sides know, or the connection has ended.
    pub async fn submit<R: Request>(&self, request: R) -> Result<Answer<R>, ClientError> {
        let api_version = self.common_version(R::KEY)?;
        let (correlation_id, frame) = self.wire.encode(api_version, &request)?;
        let within = self.wire.options.request_timeout;
        let submitted = self.wire.submit(R::KEY, api_version, correlation_id, frame, within).await?;
        Ok(Answer { submitted, request: PhantomData })
    }

    /// Sends a body that is already encoded and returns the body of the answer.
    ///
    /// The version is the caller's; whether the node speaks it can be seen in
    /// [`Connection::versions`].
    ///
    /// # Errors
    /// If the key is unknown, no answer comes in time, or the connection ends first.
    pub async fn request_raw(
        &self,
        api_key: i16,
        api_version: i16,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        self.wire.raw(api_key, api_version, &body, self.wire.options.request_timeout).await
    }

    /// The versions of a request that the node serves, `None` if it does not know it.
    #[must_use]
    pub fn versions(&self, api_key: i16) -> Option<VersionRange> {
        let found = self.versions.api_keys.iter().find(|api| api.api_key == api_key)?;
        Some(VersionRange { min: found.min_version, max: found.max_version })
    }

    /// All the node said about itself when we connected, features included.
    #[must_use]
    pub fn api_versions(&self) -> &ApiVersionsResponse {
        &self.versions
    }

    /// Where the node is.
    #[must_use]
    pub fn address(&self) -> &HostPort {
        &self.wire.shared.address
    }

    /// Why the connection has ended, `None` while it lives.
    #[must_use]
    pub fn closed(&self) -> Option<&CloseReason> {
        self.wire.shared.reason.get()
    }

    fn common_version(&self, key: i16) -> Result<i16, ClientError> {
        let unsupported = || ClientError::Unsupported { address: self.address().clone(), key };
        let ours = version::supported(key).ok_or_else(unsupported)?;
        let both = ours.intersect(&self.versions(key).ok_or_else(unsupported)?);
        if both.is_empty() { Err(unsupported()) } else { Ok(both.max) }
    }
}

/// The connection before its versions are known.
#[derive(Debug)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Outgoing>,
    next_correlation_id: AtomicI32,
    client_id: StrBytes,
    options: Options,
    task: JoinHandle<()>,
}

impl Wire {
    fn start(stream: Stream, address: HostPort, options: &Options) -> Self {
        let shared = Arc::new(Shared::new(address));
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let task =
            tokio::spawn(driver::run(stream, requests, Arc::clone(&shared), options.max_response_bytes));
        Self {
            shared,
            queue,
            next_correlation_id: AtomicI32::new(0),
            client_id: StrBytes::from_string(options.client_id.clone()),
            options: options.clone(),
            task,
        }
    }

    pub(crate) fn address(&self) -> &HostPort {
        &self.shared.address
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.options.request_timeout
    }

    async fn typed<R: Request>(
        &self,
        api_version: i16,
        request: R,
        within: Duration,
    ) -> Result<R::Response, ClientError> {
        let (correlation_id, frame) = self.encode(api_version, &request)?;
        drop(request);
        let body = self.exchange(R::KEY, api_version, correlation_id, frame, within).await?;
        response::decode_body::<R>(api_version, body).map_err(|source| self.decode_error(R::KEY, source))
    }

    fn encode<R: Request>(&self, api_version: i16, request: &R) -> Result<(i32, Bytes), ClientError> {
        let correlation_id = self.correlation_id();
        let frame = request::encode(api_version, correlation_id, &self.client_id, request)
            .map_err(|source| self.encode_error(R::KEY, source))?;
        Ok((correlation_id, frame))
    }

    pub(crate) async fn raw(
        &self,
        api_key: i16,
        api_version: i16,
        body: &[u8],
        within: Duration,
    ) -> Result<Bytes, ClientError> {
        let correlation_id = self.correlation_id();
        let client_id = self.client_id.clone();
        let header = request::RequestHeader { api_key, api_version, correlation_id, client_id };
        let frame =
            request::encode_raw(&header, body).map_err(|source| self.encode_error(api_key, source))?;
        self.exchange(api_key, api_version, correlation_id, frame, within).await
    }

    /// Hands a frame to the task and waits for the body of its answer.
    async fn exchange(
        &self,
        key: i16,
        api_version: i16,
        correlation_id: i32,
        frame: Bytes,
        within: Duration,
    ) -> Result<Bytes, ClientError> {
        self.submit(key, api_version, correlation_id, frame, within).await?.answer().await
    }

    /// Hands a frame to the task.
    async fn submit(
        &self,
        key: i16,
        api_version: i16,
        correlation_id: i32,
        frame: Bytes,
        within: Duration,
    ) -> Result<Submitted, ClientError> {
        let deadline = Instant::now() + within;
        let (reply, answer) = oneshot::channel();
        let outgoing = Outgoing { correlation_id, frame, reply };
        match timeout_at(deadline, self.queue.send(outgoing)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.shared.lost(key)),
            Err(_) => {
                self.shared.end.notify_one();
                return Err(self.shared.timeout(key, within));
            }
        }
        let shared = Arc::clone(&self.shared);
        Ok(Submitted { shared, key, api_version, within, deadline, answer })
    }

    fn correlation_id(&self) -> i32 {
        self.next_correlation_id.fetch_add(1, Ordering::Relaxed)
    }

    fn encode_error(&self, key: i16, source: EncodeError) -> ClientError {
        ClientError::Encode { address: self.address().clone(), key, source }
    }

    pub(crate) fn decode_error(&self, key: i16, source: ottla_wire::error::DecodeError) -> ClientError {
        self.shared.decode_error(key, source)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}
