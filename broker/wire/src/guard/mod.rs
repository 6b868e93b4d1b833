//! A walk over a message's bytes before they are decoded.
//!
//! The generated decoders allocate arrays by the count the peer states, so a frame of
//! thirty bytes can ask for hundreds of gigabytes and end the process. This walk
//! follows the message's schema over the same bytes, allocating nothing. It refuses a
//! message whose arrays, strings or tagged fields are not really there, or that has more
//! elements than a message may have. What it lets through, the decoder can only turn into
//! as much memory as there are elements.
//!
//! Bytes that follow a response are refused. Those that follow a request are let be, as
//! by Kafka: librdkafka 2.12.1 ends a Metadata request for all topics with three bytes
//! too many from version 9 on.
//!
//! A message without a schema in `requests` or `responses` is refused as well: to
//! serve a new API, its two schemas are written down first. A test compares every
//! schema with the decoder in every version.

mod admin;
mod group_admin;
mod groups;
mod log_dirs;
mod offsets;
mod reassignments;
mod requests;
mod responses;
mod schema;
#[cfg(test)]
mod tests;

use self::schema::{Field, Kind, Message};
use crate::error::DecodeError;
use crate::varint;

/// Array elements and tagged fields in one request. Decoded, an element takes up to a
/// few hundred bytes, so this keeps a request below some 64 MB whatever its frame; the
/// largest real ones, a Fetch of every partition of a broker, have tens of thousands.
pub(crate) const REQUEST_ELEMENTS_MAX: u32 = 1 << 18;

/// The same for responses: Metadata about 100 brokers with 5,000 replicas each has
/// some four million, and who asks has chosen whom to ask.
pub(crate) const RESPONSE_ELEMENTS_MAX: u32 = 1 << 23;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// Walks a message. `encoding` is a version that exists, in terms of its encoding.
pub(crate) fn check(direction: Direction, key: i16, encoding: i16, body: &[u8]) -> Result<(), DecodeError> {
    let (message, max) = match direction {
        Direction::Request => (requests::find(key), REQUEST_ELEMENTS_MAX),
        Direction::Response => (responses::find(key), RESPONSE_ELEMENTS_MAX),
    };
    let message = message.ok_or(DecodeError::NoSchema { key })?;
    let left = walk(message, encoding, body, max)?;
    if let (Direction::Response, 1..) = (direction, left) {
        return Err(DecodeError::TrailingBytes { count: left });
    }
    Ok(())
}

/// Returns how many bytes follow the message.
fn walk(message: &Message, version: i16, body: &[u8], max: u32) -> Result<usize, DecodeError> {
    let flexible = version >= message.flexible_from;
    let mut walk = Walk { rest: body, version, flexible, elements: 0, max };
    walk.fields(message.fields)?;
    Ok(walk.rest.len())
}

/// The longest string of the protocol: its length was 16 bits once.
const STRING_BYTES_MAX: usize = 32_767;

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: u32,
    max: u32,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Result<(), DecodeError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.exists_in(version)) {
            self.value(field.name, &field.kind)?;
        }
        if self.flexible { self.tagged(fields) } else { Ok(()) }
    }

    fn value(&mut self, what: &'static str, kind: &Kind) -> Result<(), DecodeError> {
        match kind {
            Kind::Fixed(bytes) => self.skip(what, *bytes),
            Kind::String => {
                let length = self.length(what, Prefix::I16)?.unwrap_or(0);
                // As in Kafka also where the encoding could say more.
                if length > STRING_BYTES_MAX {
                    return Err(DecodeError::Malformed { what });
                }
                self.skip(what, length)
            }
            Kind::Bytes => {
                let length = self.length(what, Prefix::I32)?;
                self.skip(what, length.unwrap_or(0))
            }
            Kind::Array(element) => {
                let count = self.length(what, Prefix::I32)?.unwrap_or(0);
                self.count(count)?;
                if let Kind::Fixed(bytes) = element {
                    return self.skip(what, count.saturating_mul(*bytes));
                }
                (0..count).try_for_each(|_| self.value(what, element))
            }
            Kind::Structs(fields) => {
                let count = self.length(what, Prefix::I32)?.unwrap_or(0);
                self.count(count)?;
                (0..count).try_for_each(|_| self.fields(fields))
            }
            Kind::Struct(fields) => self.fields(fields),
            // The decoder takes any other number for "not there".
            Kind::Nullable(fields) => match self.take(what)? {
                [1] => self.fields(fields),
                [255] => Ok(()),
                [_] => Err(DecodeError::Malformed { what }),
            },
        }
    }

    /// A tag buffer. Known fields must fill their stated length, which the decoder
    /// would not look at; unknown ones are skipped.
    fn tagged(&mut self, fields: &[Field]) -> Result<(), DecodeError> {
        let what = "tagged fields";
        let count = self.varint(what)?;
        self.count(count as usize)?;
        for _ in 0..count {
            let tag = self.varint(what)?;
            let length = self.varint(what)? as usize;
            let (value, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { what })?;
            let known = fields.iter().find(|field| field.tag == Some(tag) && field.exists_in(self.version));
            if let Some(field) = known {
                let mut inner = Walk { rest: value, ..*self };
                inner.value(field.name, &field.kind)?;
                if !inner.rest.is_empty() {
                    return Err(DecodeError::Malformed { what: field.name });
                }
                self.elements = inner.elements;
            }
            self.rest = rest;
        }
        Ok(())
    }

    fn count(&mut self, elements: usize) -> Result<(), DecodeError> {
        let total = u32::try_from(elements).ok().and_then(|elements| self.elements.checked_add(elements));
        self.elements =
            total.filter(|total| *total <= self.max).ok_or(DecodeError::TooManyElements { max: self.max })?;
        Ok(())
    }

    /// A length or count, `None` if it says null.
    fn length(&mut self, what: &'static str, prefix: Prefix) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            return Ok(self.varint(what)?.checked_sub(1).map(|length| length as usize));
        }
        let length = match prefix {
            Prefix::I16 => i32::from(i16::from_be_bytes(self.take(what)?)),
            Prefix::I32 => i32::from_be_bytes(self.take(what)?),
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(DecodeError::Malformed { what }),
        }
    }

    fn varint(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let (value, bytes) = varint::read_u32(self.rest).ok_or(DecodeError::Malformed { what })?;
        self.rest = &self.rest[bytes..];
        Ok(value)
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(*value)
    }

    fn skip(&mut self, what: &'static str, bytes: usize) -> Result<(), DecodeError> {
        self.rest = self.rest.get(bytes..).ok_or(DecodeError::Truncated { what })?;
        Ok(())
    }
}

/// How a length is written where the message is not flexible.
#[derive(Clone, Copy)]
enum Prefix {
    I16,
    I32,
}
