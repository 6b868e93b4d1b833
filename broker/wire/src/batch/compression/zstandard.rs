//! Zstandard, with one decompressor a thread kept for the next batch.
//!
//! Setting one up costs more than decompressing a small batch does.

use std::cell::Cell;
use std::io;

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// A decompressor keeps a window as large as what it has seen. After a larger batch
/// than this it is given back, so that one such batch does not cost memory for ever.
const KEEP_UP_TO_BYTES: usize = 1024 * 1024;

/// What is set aside for the output at first, in terms of the input.
const FIRST_RATIO: usize = 4;

thread_local! {
    static IDLE: Cell<Option<Decoder<'static>>> = const { Cell::new(None) };
}

/// All frames of `payload`, or `None` once they give more than `max_bytes`.
pub(super) fn decompress(payload: &[u8], max_bytes: u32) -> io::Result<Option<Vec<u8>>> {
    let mut decoder = match IDLE.take() {
        Some(decoder) => decoder,
        None => Decoder::new()?,
    };
    decoder.reinit()?;
    let out = run(&mut decoder, payload, max_bytes as usize)?;
    if out.as_ref().is_some_and(|out| out.len() <= KEEP_UP_TO_BYTES) {
        IDLE.set(Some(decoder));
    }
    Ok(out)
}

fn run(decoder: &mut Decoder<'_>, payload: &[u8], max_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut input = InBuffer::around(payload);
    let mut out = Vec::with_capacity(payload.len().saturating_mul(FIRST_RATIO).clamp(1, max_bytes + 1));
    loop {
        let filled = out.len();
        let hint = decoder.run(&mut input, &mut OutBuffer::around_pos(&mut out, filled))?;
        if out.len() > max_bytes {
            return Ok(None);
        }
        let all_read = input.pos() == payload.len();
        if all_read && hint == 0 {
            return Ok(Some(out));
        }
        if out.len() == out.capacity() {
            // Double, but never far past the bound.
            out.reserve(out.len().clamp(1, max_bytes + 1 - out.len()));
        } else if all_read {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
