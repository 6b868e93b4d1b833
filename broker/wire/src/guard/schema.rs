//! The words schemas are written in: field names, types and versions as in Kafka's
//! own message definitions, tags only where a field is tagged.

/// A message in all its versions.
pub(super) struct Message {
    /// The first version with compact lengths and tag buffers.
    pub(super) flexible_from: i16,
    pub(super) fields: &'static [Field],
}

/// One field and the versions it exists in.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) tag: Option<u32>,
    pub(super) kind: Kind,
    min: i16,
    max: i16,
}

impl Field {
    pub(super) const fn exists_in(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// How a field is written. Whether null is allowed is left to the decoder.
pub(super) enum Kind {
    /// This many bytes.
    Fixed(usize),
    String,
    Bytes,
    Array(&'static Self),
    /// An array of structs.
    Structs(&'static [Field]),
    Struct(&'static [Field]),
    /// A struct behind a byte that says whether it is there.
    Nullable(&'static [Field]),
}

pub(super) const BOOL: Kind = Kind::Fixed(1);
pub(super) const INT8: Kind = Kind::Fixed(1);
pub(super) const INT16: Kind = Kind::Fixed(2);
pub(super) const UINT16: Kind = Kind::Fixed(2);
pub(super) const INT32: Kind = Kind::Fixed(4);
pub(super) const INT64: Kind = Kind::Fixed(8);
pub(super) const UUID: Kind = Kind::Fixed(16);
pub(super) const STRING: Kind = Kind::String;
pub(super) const BYTES: Kind = Kind::Bytes;

/// In every version.
pub(super) const fn always(name: &'static str, kind: Kind) -> Field {
    between(0, i16::MAX, name, kind)
}

/// From a version on.
pub(super) const fn since(min: i16, name: &'static str, kind: Kind) -> Field {
    between(min, i16::MAX, name, kind)
}

/// Up to a version.
pub(super) const fn until(max: i16, name: &'static str, kind: Kind) -> Field {
    between(0, max, name, kind)
}

/// In these versions.
pub(super) const fn between(min: i16, max: i16, name: &'static str, kind: Kind) -> Field {
    Field { name, tag: None, kind, min, max }
}

/// In the tag buffer, from a version on.
pub(super) const fn tagged(tag: u32, min: i16, name: &'static str, kind: Kind) -> Field {
    Field { name, tag: Some(tag), kind, min, max: i16::MAX }
}
