//! Frames: four bytes of big-endian length, then that many bytes of message.
//!
//! A length is checked against the limit before anything is allocated for it. A
//! frame that breaks the limit ends the connection without an answer (Kafka does
//! the same), because nothing after it can be trusted.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes the length takes.
pub const LENGTH_BYTES: usize = 4;

/// Kafka's default of `socket.request.max.bytes`: 100 MiB.
pub const MAX_BODY_BYTES_DEFAULT: u32 = 100 * 1024 * 1024;

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is below zero.
    #[error("frame length {length} is negative")]
    Negative {
        /// The length as sent.
        length: i32,
    },
    /// The length is above the limit.
    #[error("frame length {length} is above the limit of {max} bytes")]
    TooLong {
        /// The length as sent.
        length: u32,
        /// The limit.
        max: u32,
    },
}

/// The length of the body that follows these four bytes.
///
/// # Errors
/// If the length is negative or above `max`.
pub fn body_length(prefix: [u8; LENGTH_BYTES], max: u32) -> Result<u32, FrameError> {
    let length = i32::from_be_bytes(prefix);
    let length = u32::try_from(length).map_err(|_| FrameError::Negative { length })?;
    if length > max {
        return Err(FrameError::TooLong { length, max });
    }
    Ok(length)
}

/// Cuts frames off the front of a growing buffer.
///
/// For readers that want to reserve memory between the length and the body there
/// is [`body_length`]; this type is for those who already hold the bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameDecoder {
    max_body_bytes: u32,
}

impl FrameDecoder {
    /// A decoder that refuses bodies above `max_body_bytes`.
    #[must_use]
    pub const fn new(max_body_bytes: u32) -> Self {
        Self { max_body_bytes }
    }

    /// The next frame's body, or `None` while the buffer holds only part of it.
    ///
    /// Takes nothing from the buffer until the whole frame is there, and does not
    /// grow the buffer.
    ///
    /// # Errors
    /// If the frame's length is refused; the buffer is then left as it was.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(&prefix) = buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = body_length(prefix, self.max_body_bytes)? as usize;
        if buffer.len() - LENGTH_BYTES < length {
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES);
        Ok(Some(buffer.split_to(length).freeze()))
    }
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new(MAX_BODY_BYTES_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded_on_both_sides() {
        assert_eq!(body_length([0, 0, 0, 0], 10), Ok(0));
        assert_eq!(body_length([0, 0, 0, 10], 10), Ok(10));
        assert_eq!(body_length([0, 0, 0, 11], 10), Err(FrameError::TooLong { length: 11, max: 10 }));
        assert_eq!(body_length([0xff; 4], 10), Err(FrameError::Negative { length: -1 }));
        assert_eq!(body_length([0x80, 0, 0, 0], u32::MAX), Err(FrameError::Negative { length: i32::MIN }));
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let stream = [0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let decoder = FrameDecoder::new(16);
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in stream {
            buffer.extend_from_slice(&[byte]);
            while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                frames.push(frame.to_vec());
            }
        }
        assert_eq!(frames, [vec![7, 8], vec![], vec![9]]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_oversized_frame_is_refused_before_its_body_and_costs_nothing() {
        let decoder = FrameDecoder::new(1024);
        let mut buffer = BytesMut::from(&[0x7f, 0xff, 0xff, 0xff, 1][..]);
        let capacity = buffer.capacity();
        assert!(matches!(decoder.decode(&mut buffer), Err(FrameError::TooLong { .. })));
        assert_eq!(buffer.capacity(), capacity);
    }
}
