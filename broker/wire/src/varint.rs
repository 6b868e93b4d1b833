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
}
