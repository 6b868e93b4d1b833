//! Takes frames off a stream, never holding more of one than the peer has paid for.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_wire::frame::{FrameError, LENGTH_BYTES, body_length};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::memory::{MemoryBudget, Reservation};

/// How much room a read gets at once, and how much of a frame may arrive before anything is reserved for it: a
/// part of what each connection costs, of which there are only so many. A frame's buffer, and what is reserved
/// for it, grow with what has arrived, so a peer that announces 100 MiB and sends nothing costs one such piece
/// of memory and nothing of the budget.
const READ_BYTES_MIN: usize = 16 * 1024;

/// How long a frame that has begun may take to arrive whole. It holds a part of the memory budget.
const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The length is refused.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream failed, or ended inside a frame.
    #[error("the connection broke while a request was read")]
    Io(#[from] io::Error),
    /// See [`FRAME_TIMEOUT`].
    #[error("a request of {bytes} bytes did not arrive whole within {} s", FRAME_TIMEOUT.as_secs())]
    Slow {
        /// The announced length.
        bytes: u32,
    },
}

/// One request's bytes and what they hold of the memory budget.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Header and body.
    pub(crate) bytes: Bytes,
    /// Given back when the request has been answered.
    pub(crate) reservation: Reservation,
}

#[derive(Debug)]
struct Begun {
    length: u32,
    deadline: Instant,
    reservation: Reservation,
}

impl Begun {
    /// How much must be reserved once so much has arrived: what the buffer may grow to before more of it has.
    fn bytes_due(&self, arrived: usize) -> usize {
        let length = to_usize(self.length);
        if arrived >= length || arrived >= READ_BYTES_MIN { length.min(arrived.saturating_mul(2)) } else { 0 }
    }
}

/// The reading half of a connection. [`FrameReader::next`] may be dropped and called again without losing
/// a byte: everything read is kept here.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    begun: Option<Begun>,
    body_bytes_max: u32,
}

impl FrameReader {
    pub(crate) fn new(body_bytes_max: u32) -> Self {
        Self { buffer: BytesMut::new(), begun: None, body_bytes_max }
    }

    /// The next frame; `None` if the peer closed the stream between two frames.
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        memory: &MemoryBudget,
    ) -> Result<Option<Frame>, ReadError> {
        loop {
            if let Some(frame) = self.take_frame(memory).await? {
                return Ok(Some(frame));
            }
            let wanted = self.begun.as_ref().map_or(0, |begun| to_usize(begun.length)) + LENGTH_BYTES;
            let missing = wanted.saturating_sub(self.buffer.len());
            // Twice what is there already, so that a long frame is copied a constant number of times.
            self.buffer.reserve(missing.min(self.buffer.len().max(READ_BYTES_MIN)).max(1));
            let read = match &self.begun {
                None => stream.read_buf(&mut self.buffer).await?,
                Some(begun) => tokio::time::timeout_at(begun.deadline, stream.read_buf(&mut self.buffer))
                    .await
                    .map_err(|_| ReadError::Slow { bytes: begun.length })??,
            };
            if read == 0 {
                let clean = self.buffer.is_empty() && self.begun.is_none();
                return if clean {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    async fn take_frame(&mut self, memory: &MemoryBudget) -> Result<Option<Frame>, ReadError> {
        if self.begun.is_none() {
            let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
            let length = body_length(*prefix, self.body_bytes_max)?;
            let _prefix = self.buffer.split_to(LENGTH_BYTES);
            let deadline = Instant::now() + FRAME_TIMEOUT;
            self.begun = Some(Begun { length, deadline, reservation: Reservation::default() });
        }
        let Some(begun) = &mut self.begun else { return Ok(None) };
        let due = begun.bytes_due(self.buffer.len());
        let since = Instant::now();
        memory.grow(&mut begun.reservation, due).await;
        // Waiting for memory is our doing, not the peer's.
        begun.deadline += since.elapsed();
        let length = to_usize(begun.length);
        if self.buffer.len() < length {
            return Ok(None);
        }
        let bytes = self.buffer.split_to(length).freeze();
        let reservation = self.begun.take().map(|begun| begun.reservation).unwrap_or_default();
        Ok(Some(Frame { bytes, reservation }))
    }
}

fn to_usize(length: u32) -> usize {
    usize::try_from(length).expect("a u32 fits a usize here")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(input: &[u8]) -> Vec<Result<Vec<u8>, String>> {
        let memory = MemoryBudget::new(1 << 20);
        let mut reader = FrameReader::new(1000);
        let mut stream = input;
        let mut out = Vec::new();
        loop {
            match reader.next(&mut stream, &memory).await {
                Ok(Some(frame)) => out.push(Ok(frame.bytes.to_vec())),
                Ok(None) => return out,
                Err(error) => {
                    out.push(Err(error.to_string()));
                    return out;
                }
            }
        }
    }

    #[tokio::test]
    async fn frames_come_whole_and_in_order() {
        let out = read_all(&[0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 2, 8, 9]).await;
        assert_eq!(out, [Ok(vec![7]), Ok(vec![]), Ok(vec![8, 9])]);
    }

    #[tokio::test]
    async fn a_frame_cut_short_is_an_error_and_so_is_one_too_long() {
        let out = read_all(&[0, 0, 0, 5, 7]).await;
        assert!(out[0].as_ref().is_err_and(|error| error.contains("broke")), "{out:?}");
        let out = read_all(&[0, 1, 0, 0, 7]).await;
        assert!(out[0].as_ref().is_err_and(|error| error.contains("limit")), "{out:?}");
        let out = read_all(&[0xff, 0xff, 0xff, 0xff]).await;
        assert!(out[0].as_ref().is_err_and(|error| error.contains("negative")), "{out:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_announced_frame_holds_nothing_of_the_budget_until_it_comes() {
        let memory = MemoryBudget::new(1 << 20);
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut reader = FrameReader::new(100 << 20);
        let mut send = async |bytes: &[u8]| {
            tokio::io::AsyncWriteExt::write_all(&mut theirs, bytes).await.expect("room");
            // Reads all there is, then waits for more.
            let next = reader.next(&mut ours, &memory);
            assert!(tokio::time::timeout(Duration::from_millis(1), next).await.is_err(), "no whole frame");
            (1 << 20) - memory.available_bytes()
        };
        assert_eq!(send(&(100_u32 << 20).to_be_bytes()).await, 0);
        assert_eq!(send(&[0; READ_BYTES_MIN - 1]).await, 0);
        let held = send(&[0; 300_000]).await;
        assert!((300_000..=2 * 320_000).contains(&held), "{held}");
    }

    #[tokio::test]
    async fn a_frame_holds_its_length_when_it_is_whole() {
        let memory = MemoryBudget::new(1 << 20);
        let length = 5_000_u32;
        let frame = [&length.to_be_bytes()[..], &[7; 5_000]].concat();
        let whole = FrameReader::new(10_000).next(&mut frame.as_slice(), &memory).await;
        let whole = whole.expect("readable").expect("whole");
        assert_eq!((1 << 20) - memory.available_bytes(), 5 * 1024);
        drop(whole);
        assert_eq!(memory.available_bytes(), 1 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_never_ends_is_given_up() {
        let memory = MemoryBudget::new(1 << 20);
        let mut reader = FrameReader::new(1000);
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &[0, 0, 0, 5, 1]).await.expect("room");
        let error = reader.next(&mut ours, &memory).await.expect_err("no whole frame");
        assert!(matches!(error, ReadError::Slow { bytes: 5 }), "{error}");
    }
}
