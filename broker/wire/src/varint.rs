//! Kafka's variable-length integers: seven bits a byte, low bits first.
//!
//! Unsigned ones carry lengths, counts and tags in flexible messages; zigzag ones
//! carry everything inside a record.

use bytes::{BufMut, BytesMut};

/// The most bytes a 32-bit value takes.
pub(crate) const MAX_U32_BYTES: usize = 5;

/// Appends an unsigned value.
pub(crate) fn put_u32(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Reads an unsigned value from the start of `bytes`: the value and the bytes it took.
///
/// `None` if the bytes end inside it or if it does not fit 32 bits.
pub(crate) fn read_u32(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u32;
    for (index, &byte) in bytes.iter().take(MAX_U32_BYTES).enumerate() {
        let part = u32::from(byte & 0x7f);
        if index == MAX_U32_BYTES - 1 && part > 0x0f {
            return None;
        }
        value |= part << (7 * index);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

/// The most bytes a 64-bit value takes.
const MAX_U64_BYTES: usize = 10;

/// Appends a signed value, zigzag: small magnitudes are short whatever their sign.
pub(crate) fn put_zigzag(out: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// Bytes a signed value takes.
pub(crate) const fn zigzag_bytes(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Takes a signed 64-bit value off the front of `bytes`.
///
/// `None` if the bytes end inside it or if it does not fit.
pub(crate) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(MAX_U64_BYTES).enumerate() {
        if index == MAX_U64_BYTES - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

/// Takes a signed 32-bit value off the front of `bytes`.
pub(crate) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    // Most are lengths and deltas of one byte.
    if let [first @ 0..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        let value = i32::from(*first);
        return Some((value >> 1) ^ -(value & 1));
    }
    i32::try_from(take_i64(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_values_survive_at_every_length() {
        for value in
            [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, 0xfff_ffff, 0x1000_0000, u32::MAX]
        {
            let mut out = BytesMut::new();
            put_u32(&mut out, value);
            assert_eq!(read_u32(&out), Some((value, out.len())));
            for cut in 0..out.len() {
                assert_eq!(read_u32(&out[..cut]), None);
            }
        }
    }

    #[test]
    fn a_value_wider_than_32_bits_is_refused() {
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x10]), None);
        assert_eq!(read_u32(&[0xff; 6]), None);
    }

    #[test]
    fn signed_values_survive_at_both_ends() {
        for value in
            [0, -1, 1, 63, -64, 64, 300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN]
        {
            let mut out = BytesMut::new();
            put_zigzag(&mut out, value);
            assert_eq!(out.len(), zigzag_bytes(value), "{value}");
            let mut rest = &out[..];
            assert_eq!(take_i64(&mut rest), Some(value));
            assert!(rest.is_empty());
            let mut rest = &out[..];
            assert_eq!(take_i32(&mut rest), i32::try_from(value).ok(), "{value}");
            for cut in 0..out.len() {
                assert_eq!(take_i64(&mut &out[..cut]), None);
            }
        }
        assert_eq!(take_i64(&mut &[0xff; 11][..]), None);
        assert_eq!(take_i64(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]), None);
    }
}
