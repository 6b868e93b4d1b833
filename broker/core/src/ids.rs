//! One type for every identifier, offset, epoch and term, so that none can be taken for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The id of a node: a broker, a controller, or both (`node.id`).
    NodeId(i32)
);
number!(
    /// The index of a partition within its topic, from 0.
    PartitionIndex(i32)
);
number!(
    /// The offset of a record in a partition. Ranges are written `start..end_exclusive`; a bare name
    /// such as `log_end` is always the offset *after* the last record.
    Offset(i64)
);
number!(
    /// Rises with every change of a partition's leader.
    LeaderEpoch(i32)
);
number!(
    /// Rises with every change of a partition's registration (leader, ISR, replicas).
    PartitionEpoch(i32)
);
number!(
    /// The metadata offset of a broker's registration record (KIP-631). Rises with every registration.
    BrokerEpoch(i64)
);
number!(
    /// The id of an idempotent or transactional producer (KIP-98). Given out once and never again.
    ProducerId(i64)
);
number!(
    /// Rises when a producer begins its sequence numbers anew (KIP-360).
    ProducerEpoch(i16)
);
number!(
    /// The index of an entry in the metadata log. One entry is one atomic batch of records.
    MetadataOffset(u64)
);
number!(
    /// A term of the metadata quorum (Raft, section 5.1).
    Term(u64)
);

impl Offset {
    /// The offset `count` further on.
    pub fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base64url(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = BadUuid;

            fn from_str(text: &str) -> Result<Self, BadUuid> {
                parse_base64url(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// The id of a topic (KIP-516). A topic deleted and made again has another one.
    TopicId
);
uuid_id!(
    /// The id of a log directory, drawn when it is formatted (KIP-853, KIP-858).
    DirectoryId
);
uuid_id!(
    /// The id of a whole cluster (`cluster.id`).
    ClusterId
);
uuid_id!(
    /// Drawn by a broker process at each start; tells a restart from a second process with the same id.
    IncarnationId
);

/// A text that is no id in Kafka's form: 22 characters of unpadded base64url.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("id \"{0}\" is not 22 characters of base64url, such as `storage random-uuid` prints")]
pub struct BadUuid(pub String);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka's text form of a uuid: base64url without padding, 22 characters.
pub fn base64url(uuid: &Uuid) -> String {
    let bits = u128::from_be_bytes(*uuid.as_bytes());
    (0..22u32)
        .map(|i| {
            // 22 digits of 6 bits hold 132 bits: the last digit has four zero bits at its end.
            let digit = if i == 21 { (bits & 0b11) << 4 } else { (bits >> (122 - 6 * i)) & 63 };
            char::from(ALPHABET[usize::try_from(digit).expect("a digit is below 64")])
        })
        .collect()
}

/// Reads [`base64url`]'s form.
pub fn parse_base64url(text: &str) -> Result<Uuid, BadUuid> {
    let bad = || BadUuid(text.to_owned());
    let text_bytes = text.strip_suffix("==").unwrap_or(text).as_bytes();
    if text_bytes.len() != 22 {
        return Err(bad());
    }
    let mut bits = 0u128;
    for (i, byte) in text_bytes.iter().enumerate() {
        let digit = ALPHABET.iter().position(|a| a == byte).ok_or_else(bad)? as u128;
        if i == 21 {
            if digit & 0b1111 != 0 {
                return Err(bad());
            }
            bits = (bits << 2) | (digit >> 4);
        } else {
            bits = (bits << 6) | digit;
        }
    }
    Ok(Uuid::from_bytes(bits.to_be_bytes()))
}

/// The name of a topic: 1 to 249 of letters, digits, `.`, `_`, `-`; neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// A text that is no name of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "topic name \"{0}\" is illegal: it must be 1 to 249 of ASCII letters, digits, '.', '_' and '-', and neither \".\" nor \"..\""
)]
pub struct BadTopicName(pub String);

impl TopicName {
    /// The longest name, in bytes.
    pub const LENGTH_MAX: usize = 249;

    /// Checks a name by Kafka's rule.
    pub fn parse(name: &str) -> Result<Self, BadTopicName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty()
            || name.len() > Self::LENGTH_MAX
            || name == "."
            || name == ".."
            || !name.bytes().all(legal)
        {
            return Err(BadTopicName(name.chars().take(300).collect()));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One partition of one incarnation of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition within it.
    pub partition: PartitionIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_is_kafkas() {
        // Kafka's Uuid.METADATA_TOPIC_ID is (0, 1).
        assert_eq!(base64url(&Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        let uuid = Uuid::from_u128(0x6fd2_9c42_6f1f_4b2a_9c3d_1122_3344_5566);
        assert_eq!(parse_base64url(&base64url(&uuid)), Ok(uuid));
        assert!(parse_base64url("AAAAAAAAAAAAAAAAAAAAAB").is_err(), "the last digit holds two bits only");
        assert!(parse_base64url("short").is_err());
    }

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for good in ["a", "a.b_c-9", &"x".repeat(249)] {
            assert!(TopicName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(TopicName::parse(bad).is_err(), "{bad}");
        }
    }
}
