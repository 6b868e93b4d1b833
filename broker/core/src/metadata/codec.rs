//! The bytes of everything of our own that reaches a disk or another controller.
//!
//! Varints are LEB128 (signed ones zigzag first), texts and byte strings are length-prefixed, a struct ends
//! with a *tagged section*: a count, then for each field its tag, its length and its bytes, in rising order
//! of tag. A reader skips tags it does not know, so a field can be added without breaking older readers.
//! Nothing here trusts a length: no allocation is larger than what the input really holds.

use uuid::Uuid;

use crate::release::FORMATS;

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside a value.
    #[error("input ends inside {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// A value is outside of what its type allows.
    #[error("{what} has an impossible value")]
    BadValue {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes are left over after the last field.
    #[error("bytes are left over after {what}")]
    TrailingBytes {
        /// What was being read.
        what: &'static str,
    },
    /// A record of a kind that this release does not know.
    #[error("metadata record {ordinal} is not known to this release")]
    UnknownRecord {
        /// The number of its kind.
        ordinal: u64,
    },
    /// A structure in a version that this release does not know.
    #[error("version {version} of {what} is not known to this release")]
    UnknownVersion {
        /// What was being read.
        what: &'static str,
        /// The version found.
        version: u64,
    },
    /// The formats of a later release are in use.
    #[error(
        "the cluster runs {FORMATS} at level {level}, and this release reads up to {level_max}: start a later release"
    )]
    LaterLevel {
        /// The level that was finalised.
        level: i16,
        /// The highest that this release knows.
        level_max: i16,
    },
}

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(crate) fn varint(&mut self, value: i64) {
        self.uvarint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.uvarint(count as u64);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn uuid(&mut self, uuid: Uuid) {
        self.raw(uuid.as_bytes());
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.count(items.len());
        for item in items {
            each(self, item);
        }
    }

    /// Writes a tagged section. Each tag must be above the one before.
    pub(crate) fn tags(&mut self, tags: Tags) {
        self.count(tags.fields.len());
        for (tag, bytes) in tags.fields {
            self.uvarint(tag);
            self.bytes(&bytes);
        }
    }
}

/// The fields of a tagged section, as they are collected.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    fields: Vec<(u64, Vec<u8>)>,
}

impl Tags {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn put(&mut self, tag: u64, write: impl FnOnce(&mut Writer)) {
        debug_assert!(self.fields.last().is_none_or(|(last, _)| *last < tag), "tags rise");
        let mut writer = Writer::default();
        write(&mut writer);
        self.fields.push((tag, writer.into_bytes()));
    }

    pub(crate) fn put_some<T>(&mut self, tag: u64, value: Option<&T>, write: impl FnOnce(&mut Writer, &T)) {
        if let Some(value) = value {
            self.put(tag, |writer| write(writer, value));
        }
    }
}

/// Takes values off the front of a buffer.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not yet read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn raw(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn uvarint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.raw(1, what)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::BadValue { what });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::BadValue { what })
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let value = self.uvarint(what)?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A signed number that must fit a narrower type.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self, what: &'static str) -> Result<T, DecodeError> {
        T::try_from(self.varint(what)?).map_err(|_| DecodeError::BadValue { what })
    }

    /// A count of things that each take at least one byte: never more than there are bytes left.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let count = self.uvarint(what)?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or(DecodeError::Truncated { what })
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.count(what)?;
        self.raw(length, what)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes(what)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::BadValue { what })
    }

    pub(crate) fn uuid(&mut self, what: &'static str) -> Result<Uuid, DecodeError> {
        let bytes = self.raw(16, what)?;
        Uuid::from_slice(bytes).map_err(|_| DecodeError::BadValue { what })
    }

    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(what)?;
        // Grown as it is read: an element may be far larger in memory than its one byte on the wire.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(each(self)?);
        }
        Ok(items)
    }

    /// Reads a tagged section; `each` is given a reader of exactly one field's bytes.
    pub(crate) fn tags(
        &mut self,
        mut each: impl FnMut(u64, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut last = None;
        for _ in 0..self.count("tagged section")? {
            let tag = self.uvarint("tag")?;
            if last.is_some_and(|last| last >= tag) {
                return Err(DecodeError::BadValue { what: "tag" });
            }
            last = Some(tag);
            each(tag, &mut Self::new(self.bytes("tagged field")?))?;
        }
        Ok(())
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes { what }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(unsigned: u64, signed: i64) {
            let mut writer = Writer::default();
            writer.uvarint(unsigned);
            writer.varint(signed);
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.uvarint("u"), Ok(unsigned));
            prop_assert_eq!(reader.varint("s"), Ok(signed));
            prop_assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn a_count_beyond_the_input_is_refused_before_anything_is_allocated() {
        let mut writer = Writer::default();
        writer.uvarint(u64::MAX);
        let bytes = writer.into_bytes();
        assert!(Reader::new(&bytes).list("things", |reader| reader.uvarint("thing")).is_err());
    }

    #[test]
    fn a_varint_of_eleven_bytes_is_refused() {
        assert!(Reader::new(&[0xff; 11]).uvarint("u").is_err());
    }
}
