//! The task that owns a socket.
//!
//! Two loops share it: one writes requests, the other reads responses, so that a
//! large request cannot block on a peer that is itself blocked on writing to us.
//! The first loop to end ends both. The reason is stored before anything that
//! callers wait on is dropped, so none of them can see an end without a reason.

use std::pin::pin;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use ottla_wire::frame::{self, LENGTH_BYTES};
use ottla_wire::response;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::stream::Stream;
use crate::{CloseReason, HostPort};

/// Requests sent and not yet answered. Enough to fill any link with small requests;
/// a bound, because each holds its caller's memory.
const IN_FLIGHT_MAX: usize = 256;

/// Bytes read at once when responses are small.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Memory set aside for a response before its bytes have come. A longer one grows
/// as it arrives, so that a length alone costs nothing.
const FIRST_RESERVE_BYTES: usize = 64 * 1024;

/// What the task and its callers both see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: HostPort,
    /// Set once, when the connection has ended.
    pub(super) reason: OnceLock<CloseReason>,
    /// Told when a request ran out of time.
    pub(super) end: Notify,
}

impl Shared {
    pub(super) fn new(address: HostPort) -> Self {
        Self { address, reason: OnceLock::new(), end: Notify::new() }
    }
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) correlation_id: i32,
    pub(super) frame: Bytes,
    /// Gets the response from behind the correlation id on.
    pub(super) reply: oneshot::Sender<Bytes>,
}

struct Waiting {
    correlation_id: i32,
    reply: oneshot::Sender<Bytes>,
}

pub(super) async fn run(
    stream: Stream,
    requests: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
    max_response_bytes: u32,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (waiting, answered) = mpsc::channel(IN_FLIGHT_MAX);
    let mut write = pin!(write_requests(writer, requests, waiting));
    let mut read = pin!(read_responses(reader, answered, max_response_bytes));
    // None of the losers is polled again, so none needs to be cancel-safe.
    let reason = tokio::select! {
        reason = &mut write => reason,
        reason = &mut read => reason,
        () = shared.end.notified() => CloseReason::Unanswered,
    };
    tracing::debug!(address = %shared.address, %reason, "connection ended");
    let _ = shared.reason.set(reason);
}

async fn write_requests(
    mut writer: WriteHalf<Stream>,
    mut requests: mpsc::Receiver<Outgoing>,
    waiting: mpsc::Sender<Waiting>,
) -> CloseReason {
    while let Some(Outgoing { correlation_id, frame, reply }) = requests.recv().await {
        if reply.is_closed() {
            continue;
        }
        // Before the write, so that the answer always finds who waits for it.
        if waiting.send(Waiting { correlation_id, reply }).await.is_err() {
            return CloseReason::ByUs;
        }
        if let Err(error) = writer.write_all(&frame).await {
            return error.into();
        }
    }
    CloseReason::ByUs
}

async fn read_responses(
    reader: ReadHalf<Stream>,
    mut waiting: mpsc::Receiver<Waiting>,
    max_response_bytes: u32,
) -> CloseReason {
    let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, reader);
    loop {
        let mut body = match read_frame(&mut reader, max_response_bytes).await {
            Ok(body) => body,
            Err(reason) => return reason,
        };
        let Ok(got) = response::decode_correlation_id(&mut body) else {
            return CloseReason::Header;
        };
        match waiting.try_recv() {
            Ok(Waiting { correlation_id, reply }) if correlation_id == got => {
                // A caller that has gone away does not want its answer.
                let _ = reply.send(body);
            }
            Ok(_) | Err(_) => return CloseReason::Correlation { got },
        }
    }
}

async fn read_frame(
    reader: &mut BufReader<ReadHalf<Stream>>,
    max_response_bytes: u32,
) -> Result<Bytes, CloseReason> {
    let mut prefix = [0; LENGTH_BYTES];
    reader.read_exact(&mut prefix).await?;
    let length = frame::body_length(prefix, max_response_bytes).map_err(CloseReason::Frame)? as usize;
    let mut body = BytesMut::with_capacity(length.min(FIRST_RESERVE_BYTES));
    while body.len() < length {
        let missing = (length - body.len()) as u64;
        if reader.take(missing).read_buf(&mut body).await? == 0 {
            return Err(CloseReason::ByPeer);
        }
    }
    Ok(body.freeze())
}
