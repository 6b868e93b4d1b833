//! Snappy in the framing of snappy-java, which Kafka's clients share.

use std::io;

/// xerial's framing: this, a version and a compatible version, then blocks, each
/// after its length. Data without it is one raw block, as some clients send.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// The block size of the Java client.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

pub(super) fn decompress(payload: &[u8], max_bytes: u32) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    if !payload.starts_with(&XERIAL_MAGIC) {
        return Ok(block(payload, &mut out, max_bytes)?.then_some(out));
    }
    let mut rest = payload;
    while !rest.is_empty() {
        // Streams put end to end have a header each.
        if rest.starts_with(&XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_BYTES..).ok_or(io::ErrorKind::UnexpectedEof)?;
            continue;
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (inner, after) = after.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        if !block(inner, &mut out, max_bytes)? {
            return Ok(None);
        }
        rest = after;
    }
    Ok(Some(out))
}

/// Appends one block, or returns false if that would pass the bound. The block's own
/// statement of its length is checked before it is believed.
fn block(input: &[u8], out: &mut Vec<u8>, max_bytes: u32) -> io::Result<bool> {
    let start = out.len();
    let length = snap::raw::decompress_len(input)?;
    if start + length > max_bytes as usize {
        return Ok(false);
    }
    // Snappy writes at most 64 bytes for 3 bytes of input.
    if length / 64 > input.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(input, &mut out[start..])?;
    out.truncate(start + written);
    Ok(true)
}

/// Compresses as the Java client does.
pub(super) fn compress(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(XERIAL_HEADER_BYTES + payload.len() / 2);
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for chunk in payload.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(chunk)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}
