//! Error codes as they stand on the wire, and the errors of this crate's codecs.
//!
//! The codes are Kafka's; the mapping from an operation's error to a code is not
//! made here but where the operation is served.

pub use kafka_protocol::ResponseError as ErrorCode;

/// The code that says "no error".
pub const NONE: i16 = 0;

/// The code for a result that may have failed: [`NONE`] when it has not.
#[must_use]
pub fn code_of(error: Option<ErrorCode>) -> i16 {
    error.map_or(NONE, |error| error.code())
}

/// The error a code stands for, `None` for [`NONE`].
///
/// A code this version does not know comes back as [`ErrorCode::Unknown`], so
/// that a newer peer's error is never mistaken for success.
#[must_use]
pub fn from_code(code: i16) -> Option<ErrorCode> {
    ErrorCode::try_from_code(code)
}

/// Why bytes from a peer could not be read as a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No message with this API key exists.
    #[error("unknown api key {key}")]
    UnknownKey {
        /// The key the peer named.
        key: i16,
    },
    /// The message exists, but not in this version.
    #[error("api key {key} has no version {version}")]
    UnsupportedVersion {
        /// The key the peer named.
        key: i16,
        /// The version the peer named.
        version: i16,
    },
    /// The message exists, but no schema guards its decoder (see the `guard` module).
    #[error("no schema guards messages of api key {key}")]
    NoSchema {
        /// The key of the message.
        key: i16,
    },
    /// The bytes end before the message does.
    #[error("message ends early while reading {what}")]
    Truncated {
        /// The part that was being read.
        what: &'static str,
    },
    /// A length, count or tag cannot be what it claims to be.
    #[error("malformed {what}")]
    Malformed {
        /// The part that was being read.
        what: &'static str,
    },
    /// The message describes more elements than a message may have.
    #[error("message holds more than {max} elements")]
    TooManyElements {
        /// The limit that was passed.
        max: u32,
    },
    /// Bytes are left over after the message.
    #[error("{count} bytes follow the end of the message")]
    TrailingBytes {
        /// How many bytes are left.
        count: usize,
    },
    /// The message type's decoder refused a value.
    #[error("invalid body for api key {key} version {version}")]
    Body {
        /// The key of the message.
        key: i16,
        /// The version of the message.
        version: i16,
        /// What the decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a message of ours could not be written.
///
/// Every variant is a mistake of the caller: a value the chosen version cannot
/// carry, or one too long for its length field.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The message cannot be expressed in this version.
    #[error("cannot write api key {key} in version {version}")]
    Body {
        /// The key of the message.
        key: i16,
        /// The version asked for.
        version: i16,
        /// What the encoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The message exists, but not in this version.
    #[error("api key {key} has no version {version}")]
    UnsupportedVersion {
        /// The key of the message.
        key: i16,
        /// The version asked for.
        version: i16,
    },
    /// A part is longer than its length field can say.
    #[error("{what} of {length} bytes is too long to write")]
    TooLong {
        /// The part that is too long.
        what: &'static str,
        /// Its length.
        length: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_round_trip_and_unknown_ones_stay_errors() {
        assert_eq!(code_of(None), 0);
        assert_eq!(from_code(NONE), None);
        assert_eq!(code_of(from_code(3)), 3);
        assert_eq!(from_code(3), Some(ErrorCode::UnknownTopicOrPartition));
        assert_eq!(code_of(from_code(7777)), 7777);
    }
}
