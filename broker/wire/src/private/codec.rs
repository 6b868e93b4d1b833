//! Primitive fields of the private RPCs, in Kafka's flexible encoding.
//!
//! Fixed-width integers are big-endian, lengths and counts are unsigned varints of
//! value + 1 (0 is null), and every struct ends in a tag buffer. A count never
//! decides an allocation: it is checked against the bytes that are left first.

use anyhow::{Result, anyhow, bail};
use bytes::{BufMut, Bytes};
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use uuid::Uuid;

use super::PrivateKey;

/// A message or a struct inside one: its fields in order, without the tag buffer.
pub(super) trait Fields: Sized {
    /// Writes the fields.
    fn write<S: Sink>(&self, version: i16, out: &mut S) -> Result<()>;
    /// Reads the fields.
    fn read<B: ByteBuf>(version: i16, input: &mut B) -> Result<Self>;
}

/// Where fields are written: a buffer, or a counter that only wants to know how
/// large the buffer must be.
pub(super) trait Sink {
    /// Takes the next bytes.
    fn put(&mut self, bytes: &[u8]);
}

struct Buffer<'a, B>(&'a mut B);

impl<B: BufMut> Sink for Buffer<'_, B> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }
}

struct Counter(usize);

impl Sink for Counter {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

fn check(key: &PrivateKey, version: i16) -> Result<()> {
    let range = key.versions();
    if !(range.min..=range.max).contains(&version) {
        bail!("{key:?} has no version {version}");
    }
    Ok(())
}

pub(super) fn encode<T: Fields, B: ByteBufMut>(
    value: &T,
    key: &PrivateKey,
    version: i16,
    out: &mut B,
) -> Result<()> {
    check(key, version)?;
    put_struct(value, version, &mut Buffer(out))
}

pub(super) fn size<T: Fields>(value: &T, key: &PrivateKey, version: i16) -> Result<usize> {
    check(key, version)?;
    let mut counter = Counter(0);
    put_struct(value, version, &mut counter)?;
    Ok(counter.0)
}

pub(super) fn decode<T: Fields, B: ByteBuf>(key: &PrivateKey, version: i16, input: &mut B) -> Result<T> {
    check(key, version)?;
    read_struct(version, input)
}

/// The most tagged fields a struct may have. We write none; the bound only keeps a
/// peer from making us walk a frame two bytes at a time.
const MAX_TAGGED_FIELDS: u32 = 1_000;

pub(super) fn put_struct<T: Fields, S: Sink>(value: &T, version: i16, out: &mut S) -> Result<()> {
    value.write(version, out)?;
    put_unsigned(out, 0);
    Ok(())
}

pub(super) fn read_struct<T: Fields, B: ByteBuf>(version: i16, input: &mut B) -> Result<T> {
    let value = T::read(version, input)?;
    let count = read_unsigned(input)?;
    if count > MAX_TAGGED_FIELDS {
        bail!("{count} tagged fields");
    }
    for _ in 0..count {
        let _tag = read_unsigned(input)?;
        let length = read_unsigned(input)? as usize;
        if input.remaining() < length {
            bail!("tagged field ends early");
        }
        input.advance(length);
    }
    Ok(value)
}

fn put_unsigned<S: Sink>(out: &mut S, mut value: u32) {
    while value >= 0x80 {
        out.put(&[(value & 0x7f) as u8 | 0x80]);
        value >>= 7;
    }
    out.put(&[value as u8]);
}

fn read_unsigned<B: ByteBuf>(input: &mut B) -> Result<u32> {
    let mut value = 0u64;
    for index in 0..crate::varint::MAX_U32_BYTES {
        let byte = input.try_get_u8()?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return u32::try_from(value).map_err(|_| anyhow!("varint is too wide"));
        }
    }
    bail!("varint is too long")
}

/// Writes length + 1, the form in which flexible messages carry what may be null.
fn put_length<S: Sink>(out: &mut S, length: usize) -> Result<()> {
    let plus_one = u32::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(1))
        .ok_or_else(|| anyhow!("{length} bytes are too long to write"))?;
    put_unsigned(out, plus_one);
    Ok(())
}

/// Reads a length that may be null and that the remaining bytes can hold when each
/// unit takes at least `unit_bytes`.
fn read_length<B: ByteBuf>(input: &mut B, unit_bytes: usize) -> Result<Option<usize>> {
    let Some(length) = read_unsigned(input)?.checked_sub(1) else {
        return Ok(None);
    };
    let length = length as usize;
    if length > input.remaining() / unit_bytes {
        bail!("length {length} is beyond the end of the message");
    }
    Ok(Some(length))
}

pub(super) fn put_i16<S: Sink>(out: &mut S, value: i16) {
    out.put(&value.to_be_bytes());
}

pub(super) fn put_i64<S: Sink>(out: &mut S, value: i64) {
    out.put(&value.to_be_bytes());
}

pub(super) fn put_u16<S: Sink>(out: &mut S, value: u16) {
    out.put(&value.to_be_bytes());
}

pub(super) fn put_u32<S: Sink>(out: &mut S, value: u32) {
    out.put(&value.to_be_bytes());
}

pub(super) fn put_u64<S: Sink>(out: &mut S, value: u64) {
    out.put(&value.to_be_bytes());
}

pub(super) fn put_uuid<S: Sink>(out: &mut S, value: Uuid) {
    out.put(value.as_bytes());
}

pub(super) fn read_uuid<B: ByteBuf>(input: &mut B) -> Result<Uuid> {
    let mut bytes = [0; 16];
    input.try_copy_to_slice(&mut bytes)?;
    Ok(Uuid::from_bytes(bytes))
}

pub(super) fn put_string<S: Sink>(out: &mut S, value: &str) -> Result<()> {
    put_bytes(out, value.as_bytes())
}

pub(super) fn read_string<B: ByteBuf>(input: &mut B) -> Result<String> {
    Ok(String::from_utf8(read_bytes(input)?.into())?)
}

pub(super) fn put_bytes<S: Sink>(out: &mut S, value: &[u8]) -> Result<()> {
    put_length(out, value.len())?;
    out.put(value);
    Ok(())
}

/// A slice of the frame, where the frame is `Bytes`.
pub(super) fn read_bytes<B: ByteBuf>(input: &mut B) -> Result<Bytes> {
    let length = read_length(input, 1)?.ok_or_else(|| anyhow!("unexpected null"))?;
    Ok(input.try_get_bytes(length)?)
}

pub(super) fn put_option<T: Fields, S: Sink>(value: Option<&T>, version: i16, out: &mut S) -> Result<()> {
    match value {
        None => out.put(&[0]),
        Some(value) => {
            out.put(&[1]);
            put_struct(value, version, out)?;
        }
    }
    Ok(())
}

pub(super) fn read_option<T: Fields, B: ByteBuf>(version: i16, input: &mut B) -> Result<Option<T>> {
    match input.try_get_u8()? {
        0 => Ok(None),
        1 => Ok(Some(read_struct(version, input)?)),
        other => bail!("presence byte {other}"),
    }
}

pub(super) fn put_array<T: Fields, S: Sink>(values: &[T], version: i16, out: &mut S) -> Result<()> {
    put_length(out, values.len())?;
    values.iter().try_for_each(|value| put_struct(value, version, out))
}

/// Reads an array whose elements take at least `element_bytes` each. Memory grows
/// with the elements that are really there, not with the count.
pub(super) fn read_array<T: Fields, B: ByteBuf>(
    version: i16,
    input: &mut B,
    element_bytes: usize,
) -> Result<Vec<T>> {
    let count = read_length(input, element_bytes)?.ok_or_else(|| anyhow!("unexpected null"))?;
    (0..count).map(|_| read_struct(version, input)).collect()
}
