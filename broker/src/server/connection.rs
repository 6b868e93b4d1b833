//! One client's connection.
//!
//! What a client can observe is one request at a time, in order (rule 1). Only consecutive Produce
//! requests overlap: a Produce is appended before the next request is taken, and its acknowledgement is
//! awaited while the next Produce is appended. Anything else first lets everything before it finish.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use ottla_core::config::Limit;
use ottla_wire::messages::ApiKey;
use ottla_wire::request::RequestHeader;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::frame_reader::{Frame, FrameReader, ReadError};
use super::listener::ListenerContext;
use super::memory::{MemoryBudget, Reservation};
use super::stream::Stream;
use crate::api::{self, Call, Chunks, Later, Principal, Reply, RequestContext};
use crate::node::Node;

/// How many Produce requests of one connection may wait for their acknowledgement. Clients send five
/// (`max.in.flight.requests.per.connection`) unless told otherwise.
const PRODUCE_IN_FLIGHT_MAX: usize = 32;

/// A peer that takes no byte of a reply for so long is closed: it holds memory that others need.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

struct InFlight {
    reply: Later,
    _reservation: Reservation,
}

/// Why a connection is closed from our side.
#[derive(Debug, thiserror::Error)]
enum CloseReason {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the request's header is malformed")]
    Header(#[source] ottla_wire::error::DecodeError),
    #[error("api key {key} is not served on this listener")]
    NotServed { key: i16 },
    #[error("version {version} of {name} is not served")]
    Version { name: &'static str, version: i16 },
    #[error("the {name} request is malformed")]
    Body {
        name: &'static str,
        #[source]
        source: ottla_wire::error::DecodeError,
    },
    #[error("the handler asks to close the connection: {0}")]
    Handler(&'static str),
    #[error("the reply could not be written")]
    Write(#[source] io::Error),
    #[error("the peer was idle for too long")]
    Idle,
}

/// Serves a connection until the peer closes it, breaks a rule, or `shutdown` says so.
pub(crate) async fn serve(
    stream: Stream,
    context: Arc<ListenerContext>,
    node: Arc<Node>,
    peer: std::net::SocketAddr,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connection = Connection {
        stream,
        reader: FrameReader::new(u32::try_from(node.config.limits.request_size_max.0).unwrap_or(u32::MAX)),
        in_flight: VecDeque::new(),
        memory: node.memory.of(context.scope).clone(),
        node,
        context,
        peer,
    };
    // Dropping the connection in the middle of a reply is what the peer sees of a process that stops;
    // draining is done before by refusing new work.
    let outcome = tokio::select! {
        outcome = connection.run() => outcome,
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
    };
    match outcome {
        Ok(()) => debug!(%peer, "connection closed by the peer"),
        Err(CloseReason::Read(ReadError::Io(error))) => debug!(%peer, %error, "connection broke"),
        Err(reason) => {
            let source = std::error::Error::source(&reason).map(ToString::to_string);
            warn_about(&reason, peer, source.as_deref());
        }
    }
}

fn warn_about(reason: &CloseReason, peer: std::net::SocketAddr, source: Option<&str>) {
    match reason {
        CloseReason::Idle | CloseReason::Handler(_) | CloseReason::Write(_) => {
            debug!(%peer, error = %reason, source, "connection closed");
        }
        CloseReason::Read(_)
        | CloseReason::Header(_)
        | CloseReason::NotServed { .. }
        | CloseReason::Version { .. }
        | CloseReason::Body { .. } => tracing::info!(%peer, error = %reason, source, "connection closed"),
    }
}

struct Connection {
    stream: Stream,
    reader: FrameReader,
    in_flight: VecDeque<InFlight>,
    memory: MemoryBudget,
    node: Arc<Node>,
    context: Arc<ListenerContext>,
    peer: std::net::SocketAddr,
}

impl Connection {
    async fn run(&mut self) -> Result<(), CloseReason> {
        while let Some(frame) = self.next_frame().await? {
            let Frame { mut bytes, reservation } = frame;
            let header = RequestHeader::decode(&mut bytes).map_err(CloseReason::Header)?;
            if header.api_key != ApiKey::Produce as i16 || self.in_flight.len() >= PRODUCE_IN_FLIGHT_MAX {
                self.drain().await?;
            }
            let reply = match self.dispatch(&header, bytes)? {
                Reply::Now(chunks) => {
                    self.drain().await?;
                    self.write(chunks).await?;
                    continue;
                }
                Reply::Close(reason) => {
                    self.drain().await?;
                    return Err(CloseReason::Handler(reason));
                }
                Reply::Later(later) => later,
                Reply::Staged(stage) => self.staged(stage).await?,
            };
            if header.api_key == ApiKey::Produce as i16 {
                self.in_flight.push_back(InFlight { reply, _reservation: reservation });
            } else {
                let chunks = reply.await.ok_or(CloseReason::Handler("no reply can be given"))?;
                self.write(chunks).await?;
            }
        }
        self.drain().await
    }

    /// Waits for the next frame while replies to Produce requests go out as they come.
    async fn next_frame(&mut self) -> Result<Option<Frame>, CloseReason> {
        let idle_max = match self.node.config.timeouts.connection_idle {
            Limit::Unlimited => Duration::MAX,
            Limit::AtMost(idle) => idle,
        };
        loop {
            let Some(first) = self.in_flight.front_mut() else {
                let next = self.reader.next(&mut self.stream, &self.memory);
                return Ok(tokio::time::timeout(idle_max, next).await.map_err(|_| CloseReason::Idle)??);
            };
            // Both arms are cancel-safe: the reader keeps what it has read, and the reply is only polled.
            tokio::select! {
                frame = self.reader.next(&mut self.stream, &self.memory) => return Ok(frame?),
                chunks = &mut first.reply => self.finish_first(chunks).await?,
            }
        }
    }

    /// Waits for the stage of a request that is done elsewhere, while replies to those before it go out.
    async fn staged(
        &mut self,
        mut stage: Pin<Box<dyn Future<Output = Later> + Send>>,
    ) -> Result<Later, CloseReason> {
        loop {
            let Some(first) = self.in_flight.front_mut() else { return Ok(stage.await) };
            // Both are only polled.
            tokio::select! {
                later = &mut stage => return Ok(later),
                chunks = &mut first.reply => self.finish_first(chunks).await?,
            }
        }
    }

    async fn finish_first(&mut self, chunks: Option<Chunks>) -> Result<(), CloseReason> {
        self.in_flight.pop_front();
        let chunks = chunks.ok_or(CloseReason::Handler("a produce with acks=0 failed"))?;
        self.write(chunks).await
    }

    async fn drain(&mut self) -> Result<(), CloseReason> {
        while let Some(first) = self.in_flight.pop_front() {
            let chunks = first.reply.await.ok_or(CloseReason::Handler("a produce with acks=0 failed"))?;
            self.write(chunks).await?;
        }
        Ok(())
    }

    fn dispatch(&self, header: &RequestHeader, body: Bytes) -> Result<Reply, CloseReason> {
        let key = header.api_key;
        let call = Call {
            node: Arc::clone(&self.node),
            context: RequestContext {
                principal: Principal::anonymous(),
                listener: Arc::clone(&self.context),
                client_id: header.client_id.clone(),
                peer: self.peer,
            },
            key,
            version: header.api_version,
            correlation_id: header.correlation_id,
        };
        let scope = self.context.scope;
        let Some(api) = api::find(key).filter(|api| api.serves(scope)) else {
            return Err(CloseReason::NotServed { key });
        };
        if !api.versions.contains(&header.api_version) {
            if key == ApiKey::ApiVersions as i16 {
                return Ok(api::api_versions::refuse_version(&call));
            }
            return Err(CloseReason::Version { name: api.name, version: header.api_version });
        }
        self.node.metrics.count_request(api.index);
        api.serve(scope, call, body).map_err(|source| CloseReason::Body { name: api.name, source })
    }

    async fn write(&mut self, chunks: Chunks) -> Result<(), CloseReason> {
        tokio::time::timeout(WRITE_TIMEOUT, write_all(&mut self.stream, chunks))
            .await
            .unwrap_or_else(|_| {
                warn!(peer = %self.peer, "a peer took no byte of its reply for too long");
                Err(io::ErrorKind::TimedOut.into())
            })
            .map_err(CloseReason::Write)
    }
}

/// How many pieces go to the kernel in one call; Linux takes 1,024 at most.
const SLICES_MAX: usize = 64;

async fn write_all(stream: &mut (impl AsyncWrite + Unpin), chunks: Chunks) -> io::Result<()> {
    let mut chunks: VecDeque<Bytes> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
    while !chunks.is_empty() {
        let slices: Vec<IoSlice<'_>> =
            chunks.iter().take(SLICES_MAX).map(|chunk| IoSlice::new(chunk)).collect();
        let mut written = stream.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while written > 0 {
            let Some(front) = chunks.front_mut() else { break };
            let step = written.min(front.len());
            front.advance(step);
            written -= step;
            if front.is_empty() {
                chunks.pop_front();
            }
        }
    }
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_leave_in_order_however_many_bytes_the_kernel_takes() {
        let (mut ours, mut theirs) = tokio::io::duplex(3);
        let chunks = vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cdefg")];
        let write = tokio::spawn(async move { write_all(&mut ours, chunks).await });
        let mut read = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut read).await.expect("readable");
        write.await.expect("joined").expect("written");
        assert_eq!(read, b"abcdefg");
    }
}
